//! JSON around models: configurations that name code, indexes that name files, templates, notebooks, Keras architectures.

#[cfg(test)]
pub(crate) mod tests;
mod tree;

pub(crate) use tree::{Document, Json, JsonError, parse};

use crate::Format;
use crate::config;
use crate::jinja;
use crate::keras;
use crate::path;
use crate::report::Finding;
use crate::repository;
use crate::rules;
use crate::scan::{Place, Scan};
use std::collections::HashSet;

/// Findings of one rule in one document.
const FINDINGS_MAX: usize = 20;

/// Judges a document by what its keys make of it.
pub(crate) fn examine_json(scan: &mut Scan<'_>, place: &Place, document: &Document) -> Format {
    for key in &document.duplicates {
        let explanation = format!("The key {key} appears twice in one object; readers disagree about which value counts.");
        scan.add(Finding::new(&rules::DUPLICATE_KEY, &place.member, explanation).key(key));
    }
    let document = &document.root;
    if document.get("cells").is_some() && document.get("nbformat").is_some() {
        config::notebook::examine_notebook(scan, place, document);
        return Format::Notebook;
    }
    if document.get("__module__").is_some() && document.get("__loader__").is_some() {
        config::skops::examine_schema(scan, place, document);
        return Format::Skops;
    }
    if keras::is_config(document) {
        keras::examine_config(scan, place, document);
        return Format::Json;
    }
    keras::examine_config(scan, place, document);
    templates(scan, place, document);
    remote_code(scan, place, document);
    index(scan, place, document);
    config::targets(scan, place, document);
    repository::examine_document(scan, place, document);
    Format::Json
}

/// `chat_template` as text, or as a list of named ones; `chat_templates` of processors.
fn templates(scan: &mut Scan<'_>, place: &Place, document: &Json) {
    for (key, value) in document.pairs().iter().filter(|(key, _)| key.contains("chat_template")) {
        if let Some(template) = value.text() {
            jinja::examine_template(scan, place, key, template);
        }
        for (name, template) in value.pairs() {
            jinja::examine_template(scan, place, &format!("{key}.{name}"), &template.lines());
        }
        for item in value.items() {
            let name = item.get("name").and_then(Json::text).unwrap_or_default();
            if let Some(template) = item.get("template").and_then(Json::text) {
                jinja::examine_template(scan, place, &format!("{key}.{name}"), template);
            }
        }
    }
}

/// What makes a hub client import Python from the repository.
fn remote_code(scan: &mut Scan<'_>, place: &Place, document: &Json) {
    document.objects("", &mut |at, object| {
        for (key, value) in object.pairs() {
            let asks = match &**key {
                "auto_map" | "custom_pipelines" => true,
                "trust_remote_code" => *value == Json::Bool(true),
                _ => false,
            };
            if !asks {
                continue;
            }
            let code: Vec<&str> = value.pairs().iter().filter_map(|(_, value)| value.text()).collect();
            let explanation = "Loading this model runs Python code from its repository, where the loader is told to trust it.";
            scan.add(Finding::new(&rules::REMOTE_CODE, &place.member, explanation).key(format!("{at}.{key}").trim_start_matches('.')).value(code.join(", ")));
        }
    });
}

/// `weight_map` of sharded checkpoints: a shard is a file beside the index.
fn index(scan: &mut Scan<'_>, place: &Place, document: &Json) {
    let Some(map) = document.get("weight_map") else { return };
    let mut seen = HashSet::new();
    for (tensor, shard) in map.pairs() {
        let Some(shard) = shard.text() else { continue };
        if path::escapes(shard) && seen.insert(shard) && seen.len() <= FINDINGS_MAX {
            let explanation = format!("The tensor {tensor} is read from {shard}, outside the model's folder.");
            scan.add(Finding::new(&rules::EXTERNAL_PATH, &place.member, explanation).key(format!("weight_map.{tensor}")).value(shard));
        }
    }
}
