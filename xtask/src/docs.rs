//! Documents that name things of the code, compared with the code both ways.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use anyhow::Result;

use crate::lexer::{Kind, Language, test_ranges, tokens};
use crate::repo::Repo;

/// Every rule of this file.
pub(crate) fn check(repo: &Repo) -> Result<Vec<String>> {
    let documents: Vec<(String, String)> = repo.files(&["md"])?.into_iter().map(|path| repo.read(&path).map(|text| (path, text))).collect::<Result<_>>()?;
    let makefile = repo.read("Makefile")?;
    let targets = targets(&makefile);
    let mut violations = makefile_shape(&makefile, &targets);
    for (path, text) in &documents {
        violations.extend(make_mentions(path, text, &targets));
        violations.extend(links(repo, path, text));
    }
    violations.extend(promises(&repo.read("SPECIFICATION.md")?));
    violations.extend(invariants(&repo.read("ARCHITECTURE.md")?));
    violations.extend(api_methods(repo)?);
    violations.extend(metrics(repo)?);
    violations.extend(configuration(repo)?);
    violations.extend(probes(repo)?);
    Ok(violations)
}

/// A make target: its name, and whether it says what it does.
struct Target {
    name: String,
    line: usize,
    helped: bool,
    recipe_lines: usize,
}

fn targets(makefile: &str) -> Vec<Target> {
    let mut found: Vec<Target> = Vec::new();
    for (index, line) in makefile.lines().enumerate() {
        if line.starts_with('\t') {
            if let Some(last) = found.last_mut() {
                last.recipe_lines += 1;
            }
            continue;
        }
        let Some((name, rest)) = line.split_once(':') else { continue };
        let plain = !name.is_empty()
            && !rest.starts_with('=')
            && name.chars().all(|character| character.is_ascii_lowercase() || character.is_ascii_digit() || character == '-');
        if plain {
            found.push(Target { name: name.to_owned(), line: index + 1, helped: rest.contains("## "), recipe_lines: 0 });
        }
    }
    found
}

/// One line a target, each with its `##` help, each phony: a file of that name must not switch a target off.
fn makefile_shape(makefile: &str, targets: &[Target]) -> Vec<String> {
    let phony: BTreeSet<&str> = makefile.lines().filter_map(|line| line.strip_prefix(".PHONY:")).flat_map(str::split_whitespace).collect();
    let mut violations = Vec::new();
    for target in targets {
        let (name, line) = (&target.name, target.line);
        if !target.helped {
            violations.push(format!("Makefile:{line}: `{name}` has no `## help`, so `make help` does not list it"));
        }
        if target.recipe_lines != 1 {
            violations.push(format!("Makefile:{line}: `{name}` has {} recipe lines; a target is one line that calls a script or xtask", target.recipe_lines));
        }
        if !phony.contains(name.as_str()) {
            violations.push(format!("Makefile:{line}: `{name}` is missing in .PHONY"));
        }
    }
    let names: BTreeSet<&str> = targets.iter().map(|target| target.name.as_str()).collect();
    violations.extend(phony.difference(&names).map(|name| format!("Makefile: .PHONY names `{name}`, which is no target")));
    violations
}

/// `make X` in code spans and code blocks names a target that exists.
fn make_mentions(path: &str, text: &str, targets: &[Target]) -> Vec<String> {
    let mut violations = Vec::new();
    let mut block = false;
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            block = !block;
            continue;
        }
        let spans: Vec<&str> = if block { vec![line.trim_start_matches(['$', ' '])] } else { line.split('`').skip(1).step_by(2).collect() };
        for span in spans {
            let Some(rest) = span.strip_prefix("make ") else { continue };
            let name = rest.split_whitespace().next().unwrap_or_default();
            if !targets.iter().any(|target| target.name == name) {
                violations.push(format!("{path}:{}: `make {name}` is no target of the Makefile", index + 1));
            }
        }
    }
    violations
}

/// A markdown link outside code.
struct Link<'a> {
    line: usize,
    label: &'a str,
    target: &'a str,
}

fn links_of(text: &str) -> Vec<Link<'_>> {
    let mut found = Vec::new();
    let mut block = false;
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            block = !block;
        }
        if block {
            continue;
        }
        let mut rest = line;
        while let Some((before, after)) = rest.split_once("](") {
            let label = before.rsplit_once('[').map_or("", |(_, label)| label);
            let Some((target, tail)) = after.split_once(')') else { break };
            found.push(Link { line: index + 1, label, target });
            rest = tail;
        }
    }
    found
}

/// Relative links lead to files; a label in backticks is a name that must stand in that file, so that a renamed test breaks the promise's link.
fn links(repo: &Repo, path: &str, text: &str) -> Vec<String> {
    let mut violations = Vec::new();
    for link in links_of(text) {
        if link.target.contains("://") || link.target.starts_with("mailto:") {
            continue;
        }
        let (file, anchor) = link.target.split_once('#').map_or((link.target, None), |(file, anchor)| (file, Some(anchor)));
        let resolved = if file.is_empty() { path.to_owned() } else { normal(path, file) };
        let there = repo.root.join(&resolved);
        if !there.exists() {
            violations.push(format!("{path}:{}: link to {resolved}, which is not there", link.line));
            continue;
        }
        let Ok(content) = std::fs::read_to_string(&there) else { continue };
        if let Some(anchor) = anchor
            && resolved.ends_with(".md")
            && !headings(&content).any(|heading| heading == anchor)
        {
            violations.push(format!("{path}:{}: {resolved} has no heading #{anchor}", link.line));
        }
        let name = link.label.strip_prefix('`').and_then(|label| label.strip_suffix('`'));
        if let Some(name) = name.filter(|name| !name.contains(['/', '.', ' ']) && !resolved.ends_with(".md"))
            && !content.contains(name)
        {
            violations.push(format!("{path}:{}: {resolved} does not contain `{name}`", link.line));
        }
    }
    violations
}

/// A link target relative to the document's folder, `..` resolved.
fn normal(document: &str, target: &str) -> String {
    let mut path = PathBuf::from(document);
    path.pop();
    for part in Path::new(target).components() {
        match part {
            Component::ParentDir => {
                path.pop();
            }
            Component::Normal(name) => path.push(name),
            _ => {}
        }
    }
    path.to_string_lossy().into_owned()
}

/// Anchors as the forges build them: lower case, spaces to hyphens, marks dropped.
fn headings(text: &str) -> impl Iterator<Item = String> {
    text.lines().filter(|line| line.starts_with('#')).map(|line| {
        let title = line.trim_start_matches('#').trim().to_lowercase();
        title
            .chars()
            .filter_map(
                |character| {
                    if character == ' ' { Some('-') } else { (character.is_alphanumeric() || character == '-' || character == '_').then_some(character) }
                },
            )
            .collect()
    })
}

/// Each row of a table in SPECIFICATION.md before the figures links its proof or says *pending*.
fn promises(text: &str) -> Vec<String> {
    let promised = text.split_once("<!-- figures: begin -->").map_or(text, |(head, _)| head);
    let mut violations = Vec::new();
    let mut rows = 0_usize;
    let mut previous = "";
    for (index, line) in promised.lines().enumerate() {
        let header = !previous.starts_with('|');
        previous = line;
        if !line.starts_with('|') || header || line.starts_with("|--") || line.starts_with("|:-") {
            continue;
        }
        rows += 1;
        if !line.contains("](") && !line.contains("*pending*") {
            violations.push(format!("SPECIFICATION.md:{}: a promise without a link to its test or benchmark; link it or say *pending*", index + 1));
        }
    }
    if rows == 0 {
        violations.push("SPECIFICATION.md: no promises found".to_owned());
    }
    violations
}

/// ARCHITECTURE.md numbers its invariants from 1 without gaps and gives each a link or *pending*.
fn invariants(text: &str) -> Vec<String> {
    let Some(section) = text.split_once("## Invariants").map(|(_, rest)| rest.split("\n## ").next().unwrap_or_default()) else {
        return vec!["ARCHITECTURE.md: no section `## Invariants`".to_owned()];
    };
    let mut violations = Vec::new();
    let mut items: Vec<String> = Vec::new();
    for line in section.lines() {
        let numbered = line.split_once(". ").is_some_and(|(number, _)| !number.is_empty() && number.chars().all(|digit| digit.is_ascii_digit()));
        if numbered {
            items.push(line.to_owned());
        } else if let Some(last) = items.last_mut() {
            last.push_str(line);
        }
    }
    for (index, item) in items.iter().enumerate() {
        let expected = index + 1;
        if !item.starts_with(&format!("{expected}. ")) {
            violations.push(format!("ARCHITECTURE.md: invariant {expected} is numbered otherwise: {item}"));
        }
        if !item.contains("](") && !item.contains("*pending*") {
            violations.push(format!("ARCHITECTURE.md: invariant {expected} links no test or lint and does not say *pending*"));
        }
    }
    if items.is_empty() {
        violations.push("ARCHITECTURE.md: no invariants found".to_owned());
    }
    violations
}

/// Every `rpc` of the protocol stands in docs/api.md and the other way round.
fn api_methods(repo: &Repo) -> Result<Vec<String>> {
    let mut declared = BTreeSet::new();
    for path in repo.files(&["proto"])? {
        declared.extend(methods(&repo.read(&path)?));
    }
    let Some(document) = repo.read_if_there("docs/api.md")? else { return Ok(vec!["docs/api.md is missing".to_owned()]) };
    let documented = documented_methods(&document);
    let missing = declared.difference(&documented).map(|method| format!("docs/api.md does not name `{method}`"));
    let stale = documented.difference(&declared).map(|method| format!("docs/api.md names `{method}`, which no .proto declares"));
    Ok(missing.chain(stale).collect())
}

/// Every metric that the server registers stands in docs/operations.md and the other way round.
fn metrics(repo: &Repo) -> Result<Vec<String>> {
    let registered: BTreeSet<String> = registered(&repo.read("server/src/metrics.rs")?);
    let document = repo.read("docs/operations.md")?;
    let documented: BTreeSet<String> = document
        .split('`')
        .filter(|span| span.starts_with("picket_") && span.chars().all(|character| character.is_ascii_lowercase() || character == '_'))
        .map(str::to_owned)
        .collect();
    let known = |name: &String| documented.contains(name) || documented.contains(&format!("{name}_total"));
    let missing = registered.iter().filter(|name| !known(name)).map(|name| format!("docs/operations.md does not name the metric `{name}`"));
    let stale = documented
        .iter()
        .filter(|name| !registered.contains(*name) && !registered.contains(name.strip_suffix("_total").unwrap_or(name)))
        .map(|name| format!("docs/operations.md names `{name}`, which nothing registers"));
    Ok(missing.chain(stale).collect())
}

/// Names as Prometheus shows them, without the `_total` that counters get.
fn registered(source: &str) -> BTreeSet<String> {
    let all = tokens(source, Language::Rust);
    let mut found = BTreeSet::new();
    for (index, token) in all.iter().enumerate() {
        let (plain, with_unit) = (token.is_word("register"), token.is_word("register_with_unit"));
        let Some(Kind::Text(name)) = all.get(index + 2).map(|token| &token.kind).filter(|_| plain || with_unit) else { continue };
        let unit = all
            .iter()
            .skip(index)
            .zip(all.iter().skip(index + 3))
            .find(|(token, _)| token.is_word("Unit"))
            .and_then(|(_, unit)| if let Kind::Word(unit) = &unit.kind { Some(unit.to_lowercase()) } else { None });
        found.insert(match unit.filter(|_| with_unit) {
            Some(unit) => format!("picket_{name}_{unit}"),
            None => format!("picket_{name}"),
        });
    }
    found
}

/// Every key of the server's configuration stands in docs/configuration.md and the other way round.
fn configuration(repo: &Repo) -> Result<Vec<String>> {
    let keys = keys(&repo.read("server/src/config/mod.rs")?, "ServerConfig");
    let document = repo.read("docs/configuration.md")?;
    let documented: BTreeSet<String> = document.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` |")).map(|(key, _)| key.to_owned()).collect();
    let missing = keys.difference(&documented).map(|key| format!("docs/configuration.md does not name `{key}`"));
    let stale = documented.difference(&keys).map(|key| format!("docs/configuration.md names `{key}`, which the server does not read"));
    Ok(missing.chain(stale).collect())
}

/// Every probe that the loader reports stands in docs/probes.md with its test and the other way round.
fn probes(repo: &Repo) -> Result<Vec<String>> {
    let mut reported = BTreeSet::new();
    for path in repo.files(&["rs"])?.iter().filter(|path| path.starts_with("ebpf/src/")) {
        reported.extend(probe_names(&repo.read(path)?));
    }
    let document = repo.read("docs/probes.md")?;
    let documented: BTreeSet<String> =
        document.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` |")).map(|(name, _)| name.to_owned()).collect();
    let missing = reported.difference(&documented).map(|name| format!("docs/probes.md does not name the probe `{name}`"));
    let stale = documented.difference(&reported).map(|name| format!("docs/probes.md names the probe `{name}`, which the loader does not report"));
    let untested = document
        .lines()
        .filter(|line| line.starts_with("| `") && !line.contains("](../ebpf/tests/"))
        .map(|line| format!("docs/probes.md: no test linked: {line}"));
    Ok(missing.chain(stale).chain(untested).collect())
}

/// Texts of two words or more joined by `_` that stand as a probe's name: `name: "…"`, `state("…"`, `("iterate_…"`.
fn probe_names(source: &str) -> BTreeSet<String> {
    let all = tokens(source, Language::Rust);
    let tests = test_ranges(&all);
    let mut found = BTreeSet::new();
    for (index, window) in all.windows(3).enumerate() {
        let [first, second, third] = window else { continue };
        let Kind::Text(name) = &third.kind else { continue };
        let named = first.is_word("name") && second.is(':') || first.is_word("state") && second.is('(');
        let iterator = second.is('(') && name.starts_with("iterate_");
        if (named || iterator) && name.contains('_') && !tests.iter().any(|range| range.contains(&index)) {
            found.insert(name.clone());
        }
    }
    found
}

/// Fields of a struct of structs, as dotted keys.
fn keys(source: &str, root: &str) -> BTreeSet<String> {
    let structs = structs(source);
    let fields = |name: &str| structs.iter().find(|(own, _)| own == name).map(|(_, fields)| fields.as_slice());
    let mut keys = BTreeSet::new();
    for (field, kind) in fields(root).unwrap_or_default() {
        match fields(kind) {
            Some(below) => keys.extend(below.iter().map(|(name, _)| format!("{field}.{name}"))),
            None => {
                keys.insert(field.clone());
            }
        }
    }
    keys
}

type Fields = Vec<(String, String)>;

/// Structs with their public fields and the first word of each field's type.
fn structs(source: &str) -> Vec<(String, Fields)> {
    let all = tokens(source, Language::Rust);
    let mut found: Vec<(String, Fields)> = Vec::new();
    for window in all.windows(4) {
        let [first, second, third, fourth] = window else { continue };
        let (Kind::Word(second), kind) = (&second.kind, &fourth.kind) else { continue };
        if first.is_word("struct") && third.is('{') {
            found.push((second.clone(), Vec::new()));
        } else if let (true, true, Kind::Word(kind), Some((_, fields))) = (first.is_word("pub"), third.is(':'), kind, found.last_mut()) {
            fields.push((second.clone(), kind.clone()));
        }
    }
    found
}

/// `### Service`, then `**Method**` at the beginning of a line.
fn documented_methods(document: &str) -> BTreeSet<String> {
    let mut service = "";
    let mut found = BTreeSet::new();
    for line in document.lines() {
        if let Some(heading) = line.strip_prefix("### ") {
            service = heading.trim();
        } else if let Some((method, _)) = line.strip_prefix("**").and_then(|rest| rest.split_once("**")) {
            found.insert(format!("{service}/{method}"));
        }
    }
    found
}

fn methods(proto: &str) -> Vec<String> {
    let mut service = String::new();
    let mut found = Vec::new();
    for line in proto.lines() {
        let mut words = line.split_whitespace();
        match (words.next(), words.next()) {
            (Some("service"), Some(name)) => service = name.to_owned(),
            (Some("rpc"), Some(rest)) => found.push(format!("{service}/{}", rest.split('(').next().unwrap_or_default())),
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_has_help_one_line_and_is_phony() {
        let makefile = ".PHONY: up gone\nSHELL := /bin/bash\nup: ## Starts\n\t@scripts/up.sh\ndown:\n\t@a\n\t@b\n";
        let targets = targets(makefile);
        assert_eq!(targets.len(), 2);
        let found = makefile_shape(makefile, &targets);
        assert_eq!(found.len(), 4, "{found:?}");
    }

    #[test]
    fn mentioned_targets_exist() {
        let targets = targets("up: ## Starts\n\t@x\n");
        assert!(make_mentions("R.md", "`make up DETACH=1` and make sure\n```\n$ make up\n```\n", &targets).is_empty());
        assert_eq!(make_mentions("R.md", "`make demo`\n```\nmake tea\n```\n", &targets).len(), 2);
    }

    #[test]
    fn links_resolve_and_named_tests_exist() {
        let repo = Repo::find().unwrap();
        let good = "[x](src/docs.rs) [`links_resolve_and_named_tests_exist`](src/docs.rs) [web](https://example.org/x)";
        assert_eq!(links(&repo, "xtask/README.md", good), Vec::<String>::new());
        let missing = format!("no_such{}", "_test");
        let bad = format!("[x](src/gone.rs) [`{missing}`](src/docs.rs)");
        assert_eq!(links(&repo, "xtask/README.md", &bad).len(), 2);
    }

    #[test]
    fn anchors_are_built_as_the_forges_do() {
        assert_eq!(headings("# A b\n## What's `new`, in 1.0?\ntext").collect::<Vec<_>>(), ["a-b", "whats-new-in-10"]);
    }

    #[test]
    fn a_promise_needs_its_proof() {
        let text = "| promise | proof |\n|---|---|\n| a | [t](x.rs) |\n| b | *pending* |\n| c | trust me |\n";
        assert_eq!(promises(text).len(), 1);
        assert_eq!(promises("nothing").len(), 1);
    }

    #[test]
    fn an_invariant_needs_its_proof() {
        assert!(invariants("## Invariants\n\n1. a\n   [t](x)\n2. b *pending*\n\n## Rooms\n").is_empty());
        assert_eq!(invariants("## Invariants\n1. a\n3. b [t](x)\n").len(), 2);
        assert_eq!(invariants("# x").len(), 1);
    }

    #[test]
    fn metrics_are_read_from_their_registration() {
        let source = r#"fn register(&mut self) { r.register("refusals", "Words", x); r.register_with_unit("ingest", "Words", Unit::Bytes, y); }"#;
        assert_eq!(registered(source).into_iter().collect::<Vec<_>>(), ["picket_ingest_bytes", "picket_refusals"]);
    }

    #[test]
    fn keys_are_read_from_the_structs() {
        let source = "pub struct Root { pub dir: PathBuf, pub api: Api, pub list: Vec<String> } impl Root { pub fn x(&self) {} } pub struct Api { pub listen: SocketAddr, }";
        assert_eq!(keys(source, "Root").into_iter().collect::<Vec<_>>(), ["api.listen", "dir", "list"]);
    }

    #[test]
    fn probes_are_read_from_the_loader() {
        let source = r#"const P: &[Probe] = &[Probe { name: "file_open", hook: "x_y" }]; fn f() { for (a, b) in [("iterate_all", "task"), ("sys_exit", "tp")] {} state("file_sweep", "h"); }"#;
        assert_eq!(probe_names(source).into_iter().collect::<Vec<_>>(), ["file_open", "file_sweep", "iterate_all"]);
    }

    #[test]
    fn methods_are_read_from_the_protocol() {
        assert_eq!(methods("service A {\n  rpc B(C) returns (D);\n  // rpc X\n}\nservice E { \n rpc F(stream G) returns (H);\n"), ["A/B", "E/F"]);
        assert_eq!(documented_methods("### A\n\n**B**: [C](#c) → [D](#d)\ntext **bold**\n### E\n**F**: x\n").into_iter().collect::<Vec<_>>(), ["A/B", "E/F"]);
    }
}
