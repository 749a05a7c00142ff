//! XML (PMML and the like): document types, which no model needs, found without following them.

use crate::report::Finding;
use crate::rules;
use crate::scan::{Place, Scan};

/// Entities that a document declares before expanding them is called a bomb.
const ENTITIES_MAX: usize = 5;

pub(super) fn examine_xml(scan: &mut Scan<'_>, place: &Place, text: &str) {
    let text = without_comments(text);
    let mut entities = 0;
    for (at, _) in text.match_indices("<!") {
        let declaration = text.get(at..).unwrap_or_default();
        let declaration = declaration.get(..declaration.find('>').unwrap_or(declaration.len())).unwrap_or_default();
        let words: Vec<&str> = declaration.split_whitespace().collect();
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
