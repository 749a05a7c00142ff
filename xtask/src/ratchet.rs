//! Sizes that rot when nothing checks them. What exceeds a limit today stands in `xtask/ratchet.toml` and may only shrink.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::lexer::{Language, functions, test_ranges, tokens};
use crate::repo::Repo;

const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;
const BASELINE: &str = "xtask/ratchet.toml";

/// What was over a limit when it was last written down: path (and `path::function`) → lines.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Excess {
    #[serde(default)]
    files: BTreeMap<String, usize>,
    #[serde(default)]
    functions: BTreeMap<String, usize>,
}

/// Compares what is over a limit now with the baseline.
pub(crate) fn check(repo: &Repo) -> Result<Vec<String>> {
    let (now, before) = (measure(repo)?, baseline(repo)?);
    let mut violations = compare("file", FILE_LINES_MAX, &now.files, &before.files);
    violations.extend(compare("function", FUNCTION_LINES_MAX, &now.functions, &before.functions));
    Ok(violations)
}

/// Lowers the baseline to what is there now; what grew stays a violation.
pub(crate) fn write(repo: &Repo) -> Result<Vec<String>> {
    let (now, before) = (measure(repo)?, baseline(repo)?);
    let lowered = Excess { files: lower(&now.files, &before.files), functions: lower(&now.functions, &before.functions) };
    std::fs::write(repo.root.join(BASELINE), render(&lowered)).context("cannot write the baseline")?;
    check(repo)
}

fn baseline(repo: &Repo) -> Result<Excess> {
    toml::from_str(&repo.read_if_there(BASELINE)?.unwrap_or_default()).with_context(|| format!("{BASELINE} is malformed"))
}

fn lower(now: &BTreeMap<String, usize>, before: &BTreeMap<String, usize>) -> BTreeMap<String, usize> {
    before.iter().filter_map(|(name, old)| now.get(name).map(|new| (name.clone(), *new.min(old)))).collect()
}

fn compare(what: &str, limit: usize, now: &BTreeMap<String, usize>, before: &BTreeMap<String, usize>) -> Vec<String> {
    let mut violations = Vec::new();
    for (name, lines) in now {
        match before.get(name) {
            None => violations.push(format!("{name}: {what} of {lines} lines, the limit is {limit}; split it")),
            Some(old) if lines > old => violations.push(format!("{name}: {what} grew from {old} to {lines} lines; old excess may only shrink")),
            Some(_) => {}
        }
    }
    for (name, old) in before {
        if now.get(name).is_none_or(|lines| lines < old) {
            violations.push(format!("{name}: shrank below its baseline of {old}; run `cargo xtask ratchet --write` and commit {BASELINE}"));
        }
    }
    violations
}

fn render(excess: &Excess) -> String {
    let mut text = "# What was over the limits of style.md when it was last written down. It may only shrink: cargo xtask ratchet --write\n".to_owned();
    for (section, entries) in [("files", &excess.files), ("functions", &excess.functions)] {
        let _ = write!(text, "\n[{section}]\n");
        for (name, lines) in entries {
            let _ = writeln!(text, "\"{name}\" = {lines}");
        }
    }
    text
}

fn measure(repo: &Repo) -> Result<Excess> {
    let mut excess = Excess::default();
    for path in repo.files(&["rs", "c", "h", "sh"])? {
        if is_test(&path) {
            continue;
        }
        let source = repo.read(&path)?;
        let (lines, long) = sizes(&path, &source);
        if lines > FILE_LINES_MAX {
            excess.files.insert(path.clone(), lines);
        }
        for (name, lines) in long {
            // Two of one name in a file: the longer one counts.
            let entry = excess.functions.entry(format!("{path}::{name}")).or_insert(lines);
            *entry = lines.max(*entry);
        }
    }
    Ok(excess)
}

/// Tests may be long: one table of cases reads better than five files.
fn is_test(path: &str) -> bool {
    let mut folders = path.split('/');
    let name = folders.next_back().unwrap_or_default();
    let below: Vec<_> = folders.collect();
    // The top-level `tests` package has a library and programs in `tests/src`, which count.
    let inside = below.iter().skip(usize::from(below.first() == Some(&"tests"))).any(|folder| *folder == "tests");
    inside || name == "tests.rs"
}

/// Lines of a file and its overlong functions, `#[cfg(test)]` items apart.
fn sizes(path: &str, source: &str) -> (usize, Vec<(String, usize)>) {
    let language = match path.rsplit_once('.') {
        Some((_, "rs")) => Language::Rust,
        Some((_, "c" | "h")) => Language::C,
        _ => return (source.lines().count(), Vec::new()),
    };
    let all = tokens(source, language);
    let ranges = if language == Language::Rust { test_ranges(&all) } else { Vec::new() };
    let test_lines: usize = ranges.iter().filter_map(|range| Some(all.get(range.end - 1)?.line + 1 - all.get(range.start)?.line)).sum();
    let mut code = all;
    for range in ranges.into_iter().rev() {
        code.drain(range);
    }
    let long =
        functions(&code, language).into_iter().filter(|function| function.lines > FUNCTION_LINES_MAX).map(|function| (function.name, function.lines)).collect();
    (source.lines().count() - test_lines, long)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(pairs: &[(&str, usize)]) -> BTreeMap<String, usize> {
        pairs.iter().map(|(name, lines)| ((*name).to_owned(), *lines)).collect()
    }

    #[test]
    fn new_growing_and_stale_excess_are_violations() {
        let before = entries(&[("same", 600), ("grew", 600), ("shrank", 600), ("gone", 600)]);
        let now = entries(&[("same", 600), ("grew", 601), ("shrank", 599), ("new", 501)]);
        let found = compare("file", 500, &now, &before);
        assert_eq!(found.len(), 4, "{found:?}");
        assert!(!found.iter().any(|line| line.starts_with("same")));
    }

    #[test]
    fn lowering_never_raises_nor_adds() {
        let before = entries(&[("grew", 600), ("shrank", 600), ("gone", 600)]);
        let now = entries(&[("grew", 700), ("shrank", 550), ("new", 900)]);
        assert_eq!(lower(&now, &before), entries(&[("grew", 600), ("shrank", 550)]));
    }

    #[test]
    fn a_baseline_reads_back() {
        let excess = Excess { files: entries(&[("a/b.rs", 501)]), functions: entries(&[("a/b.rs::f", 71)]) };
        assert_eq!(toml::from_str::<Excess>(&render(&excess)).unwrap(), excess);
    }

    #[test]
    fn test_items_do_not_count() {
        let body = "let _ = 1;\n".repeat(80);
        let source = format!("fn short() {{}}\n#[cfg(test)]\nmod tests {{\nfn long() {{\n{body}}}\n}}\n");
        assert_eq!(sizes("x.rs", &source), (1, Vec::new()));
        let source = format!("fn long() {{\n{body}}}\n");
        assert_eq!(sizes("x.rs", &source), (82, vec![("long".to_owned(), 82)]));
    }

    #[test]
    fn test_files_are_known_by_their_folder() {
        assert!(is_test("crates/spool/tests/model.rs") && is_test("tests/tests/e2e.rs") && is_test("agent/src/enrich/tests.rs"));
        assert!(!is_test("tests/src/lib.rs") && !is_test("agent/src/main.rs"));
    }
}
