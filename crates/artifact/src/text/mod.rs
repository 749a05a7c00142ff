//! Text around models: told apart by content and use, read whole, and searched for credentials.

mod secrets;
#[cfg(test)]
mod tests;

use crate::Format;
use crate::checkpoint;
use crate::config::yaml;
use crate::jinja;
use crate::json::{self, JsonError};
use crate::python::{self, Context};
use crate::repository;
use crate::scan::{Claim, Place, Scan};
use crate::xml;
use picket_bounded::{Source, read_range};

/// Text held at once. Larger files are data sets, which are not judged as code.
const TEXT_BYTES_MAX: u64 = 64 << 20;

pub(crate) fn examine_text(scan: &mut Scan<'_>, source: &dyn Source, place: &Place, format: Format) -> Claim {
    let whole = Claim { format, end: source.len() };
    let bytes = match read_range(source, 0, source.len(), TEXT_BYTES_MAX) {
        Ok(bytes) => bytes,
        Err(error) => {
            scan.failed(place, &error);
            return whole;
        }
    };
    let text = decoded(bytes);
    secrets::examine(scan, place, &text);
    let format = match format {
        Format::Json => match json::parse(&text) {
            Ok(document) => json::examine_json(scan, place, &document),
            // One document a line, or no JSON at all: data that no loader takes as configuration.
            Err(JsonError::Syntax(_)) => Format::Text,
            Err(JsonError::Limit(why)) => {
                scan.incomplete(place, why);
                Format::Json
            }
        },
        Format::Python => {
            python::examine_code(scan, place, &text, &Context { key: None, import_time: place.name != "setup.py" });
            Format::Python
        }
        Format::Script if text.lines().next().is_some_and(|first| first.contains("python")) => {
            python::examine_code(scan, place, &text, &Context { key: None, import_time: false });
            Format::Script
        }
        Format::Pth => {
            python::examine_start_up(scan, place, &text);
            Format::Pth
        }
        // Other template engines use the same brackets; by content alone, only what escapes is held against a file.
        Format::Jinja if !is_named_template(&place.name) && !jinja::escapes(&text) => Format::Text,
        Format::Jinja => {
            jinja::examine_template(scan, place, &place.name, &text);
            Format::Jinja
        }
        Format::Yaml => {
            yaml::examine_yaml(scan, place, &text);
            // JSON is YAML.
            if let Ok(document) = json::parse(&text) {
                json::examine_json(scan, place, &document);
            }
            Format::Yaml
        }
        Format::Xml => xml::examine_xml(scan, place, &text),
        Format::MlModel => {
            yaml::examine_yaml(scan, place, &text);
            repository::examine_mlmodel(scan, place, &text);
            Format::MlModel
        }
        Format::Requirements => {
            yaml::examine_yaml(scan, place, &text);
            repository::examine_requirements(scan, place, &text);
            Format::Requirements
        }
        other => {
            plain(scan, place, &text);
            other
        }
    };
    Claim { format, end: source.len() }
}

/// Text of no kind that is known by its use.
fn plain(scan: &mut Scan<'_>, place: &Place, text: &str) {
    if place.name == "checkpoint" {
        checkpoint::examine_state(scan, place, text);
    }
    // YAML needs no extension to be loaded as YAML.
    if text.contains("!!python/") || text.contains("tag:yaml.org,2002:python/") {
        yaml::examine_yaml(scan, place, text);
    }
}

/// Text without a copy: what is no UTF-8 becomes `?`, a byte for a byte, so that offsets stay true.
fn decoded(bytes: Vec<u8>) -> String {
    match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let mut bytes = error.into_bytes();
            let mut at = 0;
            while let Err(error) = std::str::from_utf8(bytes.get(at..).unwrap_or_default()) {
                let start = at + error.valid_up_to();
                let end = error.error_len().map_or(bytes.len(), |length| start + length);
                bytes.get_mut(start..end).unwrap_or_default().fill(b'?');
                at = end;
            }
            String::from_utf8(bytes).unwrap_or_default()
        }
    }
}

fn is_named_template(name: &str) -> bool {
    name.ends_with(".jinja") || name.ends_with(".jinja2") || name.ends_with(".j2") || name.contains("chat_template")
}
