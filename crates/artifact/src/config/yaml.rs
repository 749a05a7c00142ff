//! YAML: only what makes a loader construct Python objects, found by line without loading anything.

use super::target;
use crate::pickle::policy::{Tier, judge};
use crate::report::Finding;
use crate::rules;
use crate::scan::{Place, Scan};

/// Tags that PyYAML's unsafe loaders turn into calls and imports.
const TAGS: &[&str] = &["!!python/", "tag:yaml.org,2002:python/"];

pub(crate) fn examine_yaml(scan: &mut Scan<'_>, place: &Place, text: &str) {
    let mut offset = 0;
    for line in text.split_inclusive('\n') {
        let content = uncommented(line);
        tags(scan, place, content, offset);
        if let Some((key, value)) = content.split_once(':') {
            let key = key.trim().trim_start_matches("- ").trim_matches(['"', '\'']);
            let value = value.trim().trim_matches(['"', '\'', ',']);
            if matches!(key, "_target_" | "class_path") {
                target(scan, place, key, value);
            }
        }
        offset += line.len() as u64;
    }
}

/// A `#` at the start or behind a space begins a comment, unless a quote is open.
fn uncommented(line: &str) -> &str {
    let mut quote = None;
    let mut before = ' ';
    for (at, character) in line.char_indices() {
        match quote {
            Some(open) if character == open => quote = None,
            Some(_) => {}
            None if character == '#' && before.is_whitespace() => return line.get(..at).unwrap_or(line),
            None if matches!(character, '"' | '\'') => quote = Some(character),
            None => {}
        }
        before = character;
    }
    line
}

fn tags(scan: &mut Scan<'_>, place: &Place, line: &str, offset: u64) {
    for tag in TAGS {
        for (at, _) in line.match_indices(tag) {
            let rest = line.get(at + tag.len()..).unwrap_or_default();
            let end = rest.find([' ', '\t', '\n', '\r', '>', '[', '{', ',']).unwrap_or(rest.len());
            let spelled = rest.get(..end).unwrap_or_default();
            let (kind, name) = spelled.split_once(':').unwrap_or((spelled, ""));
            // tuple, str, int and their like are data.
            if !kind.starts_with("object") && !matches!(kind, "name" | "module") {
                continue;
            }
            let (module, attribute) = name.rsplit_once('.').unwrap_or(("builtins", name));
            let (rule, how) = match (kind, judge(module, attribute).tier) {
                (_, Tier::Allowed) => continue,
                (_, Tier::Executes(how)) => (&rules::OBJECT_CONSTRUCTION, how),
                _ => (&rules::OBJECT_UNKNOWN, "is on no list of what frameworks need"),
            };
            let explanation = format!("An unsafe YAML loader constructs {name} here, which {how}.");
            scan.add(Finding::new(rule, &place.member, explanation).at(place.base + offset + at as u64).key(format!("{tag}{kind}")).value(name));
        }
    }
}
