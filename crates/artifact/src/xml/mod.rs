//! XML: document types and inclusions, which no model needs, found without following them; PMML by its extensions, OpenVINO by
//! its operators and kernels.

mod limits;
mod parser;

use crate::Format;
use crate::path;
use crate::report::Finding;
use crate::rules;
use crate::scan::{Place, Scan};
use limits::{ELEMENTS_MAX, ENTITIES_MAX, SHOWN_MAX};
use parser::{Element, elements};

/// Judges a document and says which of the known ones it is.
pub(crate) fn examine_xml(scan: &mut Scan<'_>, place: &Place, text: &str) -> Format {
    let text = without_comments(text);
    declarations(scan, place, &text);
    let mut format = Format::Xml;
    let mut shown = 0;
    for (number, element) in elements(&text).enumerate() {
        if number as u64 >= ELEMENTS_MAX || scan.budget.spend_steps(1).is_err() {
            scan.incomplete(place, "the document has more elements than the limit");
            break;
        }
        if number == 0 {
            format = kind(&element, &text);
        }
        let judged = match format {
            Format::Pmml => pmml(&element),
            Format::OpenVino => openvino(&element),
            _ => None,
        };
        let Some((rule, explanation, value)) = judged.or_else(|| included(&element)) else { continue };
        shown += 1;
        if shown <= SHOWN_MAX {
            scan.add(Finding::new(rule, &place.member, explanation).at(place.base.saturating_add(element.at as u64)).key(element.name).value(value));
        }
    }
    format
}

/// What the first element makes of it.
fn kind(root: &Element<'_>, text: &str) -> Format {
    match root.local() {
        "PMML" => Format::Pmml,
        "net" if root.attribute("version").is_some() && text.contains("<layer") => Format::OpenVino,
        "CustomLayer" => Format::OpenVino,
        _ => Format::Xml,
    }
}

type Judged = Option<(&'static rules::Rule, String, String)>;

/// Another document that a reader puts in the place of the element.
fn included(element: &Element<'_>) -> Judged {
    if element.local() != "include" || !element.name.contains(':') {
        return None;
    }
    let target = element.attribute("href")?;
    Some((&rules::XML_ENTITY, format!("A reader that follows inclusions reads {target} while it parses."), target))
}

/// Words in extensions that only code has.
const CODE: &[&str] =
    &["Runtime.getRuntime", "ProcessBuilder", "java.lang", "<script", "javascript:", "os.system", "subprocess", "eval(", "exec(", "ScriptEngine"];

/// Extensions are for the reader that knows them: scripts and classes in them are what it may run.
fn pmml(element: &Element<'_>) -> Judged {
    let function = element.local() == "Apply" || element.local() == "DefineFunction";
    let name = element.attribute(if element.local() == "Apply" { "function" } else { "name" }).unwrap_or_default();
    // Functions of one's own are named like Java classes where an evaluator finds them by name.
    if function && name.contains('.') && name.split('.').count() > 2 {
        return Some((&rules::OBJECT_UNKNOWN, format!("Evaluating this model calls the Java class {name}, which is not part of PMML."), name));
    }
    if element.local() != "Extension" {
        return None;
    }
    let value = element.attribute("value").unwrap_or_default();
    let code = CODE.iter().find(|word| value.contains(**word) || element.text.contains(**word));
    let script = name.to_ascii_lowercase().contains("script") || element.attribute("extender").is_some_and(|extender| extender.contains("script"));
    if code.is_none() && !script {
        return None;
    }
    let shown = if value.is_empty() { element.text.trim().to_owned() } else { value };
    Some((&rules::CODE_RISKY, "An extension of this model carries a script for the reader that runs it.".to_owned(), shown))
}

/// Layers outside the numbered operator sets need a library; kernels are OpenCL files that the driver compiles.
fn openvino(element: &Element<'_>) -> Judged {
    match element.local() {
        "layer" => {
            let version = element.attribute("version")?;
            let own = version.strip_prefix("opset").is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()));
            if own || version == "experimental" || version.is_empty() {
                return None;
            }
            let kind = element.attribute("type").unwrap_or_default();
            let explanation = format!("The layer type {kind} of the set {version} comes from a library that is loaded for it.");
            Some((&rules::GRAPH_CUSTOM_OP, explanation, kind))
        }
        "Source" => {
            let file = element.attribute("filename")?;
            let rule = if path::escapes(&file) { &rules::EXTERNAL_PATH } else { &rules::GRAPH_CUSTOM_OP };
            Some((rule, format!("The kernel of a layer is compiled from {file}."), file))
        }
        _ => None,
    }
}

fn declarations(scan: &mut Scan<'_>, place: &Place, text: &str) {
    let mut entities = 0;
    for (at, _) in text.match_indices("<!") {
        let declaration = text.get(at..).unwrap_or_default();
        let declaration = declaration.get(..declaration.find('>').unwrap_or(declaration.len())).unwrap_or_default();
        let words: Vec<&str> = declaration.split_whitespace().take(64).collect();
        let external = words.iter().any(|word| matches!(*word, "SYSTEM" | "PUBLIC"));
        match words.first() {
            Some(&"<!ENTITY") if external => {
                let explanation = "A reader that resolves entities reads this file or address while it parses.";
                scan.add(Finding::new(&rules::XML_ENTITY, &place.member, explanation).value(declaration));
            }
            Some(&"<!ENTITY") if declaration.contains('&') => entities += 1,
            Some(&"<!DOCTYPE") if external && !declaration.contains("w3.org") => {
                let explanation = "A reader that resolves document types reads this file or address while it parses.";
                scan.add(Finding::new(&rules::XML_ENTITY, &place.member, explanation).value(declaration));
            }
            _ => {}
        }
    }
    if entities >= ENTITIES_MAX {
        scan.add(Finding::new(&rules::BOMB, &place.member, format!("{entities} entities expand to one another, which grows beyond any memory.")));
    }
    for (at, _) in text.match_indices("<?xml-stylesheet").take(SHOWN_MAX) {
        let instruction = text.get(at..).unwrap_or_default();
        let instruction = instruction.get(..instruction.find("?>").unwrap_or(instruction.len())).unwrap_or_default();
        let explanation = "A reader that follows style sheets transforms the document by what it fetches.";
        scan.add(Finding::new(&rules::EXTERNAL_REFERENCE, &place.member, explanation).at(place.base.saturating_add(at as u64)).value(instruction));
    }
}

fn without_comments(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once("<!--") {
        out.push_str(before);
        rest = behind.split_once("-->").map_or("", |(_, rest)| rest);
    }
    out.push_str(rest);
    out
}
