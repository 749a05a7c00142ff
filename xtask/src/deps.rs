//! Who may depend on whom, and where a dangerous thing may live: ARCHITECTURE.md's direction, checked on what cargo resolves.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::lexer::{Kind, Language, Token, test_ranges, tokens};
use crate::repo::Repo;

/// A room and the rooms it may use. Tests of a room may use more (`DEV_ALLOWED`). A new package needs a line here: that is the point.
const ALLOWED: &[(&str, &[&str])] = &[
    ("picket-event", &[]),
    ("picket-bounded", &[]),
    ("picket-pin", &[]),
    ("picket-signing", &[]),
    ("picket-spool", &[]),
    ("picket-ebpf", &[]),
    ("picket-artifact", &["picket-bounded"]),
    ("picket-yara", &["picket-artifact", "picket-bounded"]),
    ("picket-detect", &["picket-event"]),
    ("picket-proto", &["picket-event"]),
    ("picket-scanner", &["picket-artifact", "picket-bounded", "picket-event", "picket-yara"]),
    ("picket-lake", &["picket-event", "picket-proto"]),
    (
        "picket-agent",
        &["picket-artifact", "picket-bounded", "picket-detect", "picket-ebpf", "picket-event", "picket-pin", "picket-proto", "picket-spool", "picket-yara"],
    ),
    ("picket-server", &["picket-bounded", "picket-detect", "picket-event", "picket-lake", "picket-proto"]),
    ("picketctl", &["picket-artifact", "picket-bounded", "picket-detect", "picket-event", "picket-pin", "picket-proto", "picket-signing", "picket-yara"]),
    ("picket-tests", &["picket-artifact", "picket-bounded", "picket-detect", "picket-event", "picket-pin", "picket-proto", "picket-spool", "picket-yara"]),
    ("xtask", &[]),
];

/// What only the tests of a room may use beside `ALLOWED`.
const DEV_ALLOWED: &[(&str, &[&str])] =
    &[("picket-agent", &["picket-tests"]), ("picket-proto", &["picket-tests"]), ("picket-event", &["picket-tests"]), ("picket-ebpf", &["picket-tests"])];

/// A third-party crate and the only rooms that may name it.
const ONLY: &[(&str, &[&str])] = &[
    ("aya", &["picket-ebpf"]),
    ("aya-obj", &["picket-ebpf"]),
    ("libbpf-sys", &["picket-ebpf"]),
    ("yara-x", &["picket-yara"]),
    ("yara-x-parser", &["picket-yara"]),
    ("landlock", &["picket-scanner"]),
    ("seccompiler", &["picket-scanner"]),
    ("datafusion", &["picket-lake"]),
    ("deltalake-core", &["picket-lake"]),
    ("object_store", &["picket-lake"]),
    ("sqlx", &["picket-server"]),
    ("protox", &["picket-proto"]),
    ("tonic-prost-build", &["picket-proto"]),
];

/// Two versions of these in one binary would not understand each other.
const ONE_VERSION: &[&str] = &["arrow", "arrow-array", "datafusion", "deltalake-core", "parquet", "prost", "rustls", "tokio", "tonic"];

/// A second TLS stack or crypto provider is a second thing to patch.
const ABSENT: &[&str] = &["openssl", "openssl-sys", "native-tls", "serde_yaml"];

/// The only room that holds `unsafe`.
const UNSAFE_ROOM: &str = "ebpf/";

/// The only rooms that hold SQL.
const SQL_ROOMS: &[&str] = &["server/lake/", "server/src/state/"];

/// Where a string that reads as SQL is only looked at, never sent: help texts, and tests that speak to the server as a user does.
const SQL_SPOKEN: &[&str] = &["ctl/", "tests/", "xtask/", "server/tests/"];

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    workspace_members: BTreeSet<String>,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    manifest_path: String,
    license: Option<String>,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    kind: Option<String>,
}

/// Every rule of this file.
pub(crate) fn check(repo: &Repo) -> Result<Vec<String>> {
    let metadata = metadata(repo)?;
    let mut violations = directions(&metadata);
    violations.extend(versions(&metadata));
    violations.extend(crypto(repo, &metadata)?);
    violations.extend(licences(repo, &metadata)?);
    violations.extend(manifests(repo, &metadata)?);
    violations.extend(sources(repo)?);
    Ok(violations)
}

fn metadata(repo: &Repo) -> Result<Metadata> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output =
        Command::new(cargo).args(["metadata", "--format-version", "1", "--locked"]).current_dir(&repo.root).output().context("cannot run cargo metadata")?;
    if !output.status.success() {
        bail!("cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    serde_json::from_slice(&output.stdout).context("cargo metadata printed something else")
}

fn members(metadata: &Metadata) -> impl Iterator<Item = &Package> {
    metadata.packages.iter().filter(|package| metadata.workspace_members.contains(&package.id))
}

fn directions(metadata: &Metadata) -> Vec<String> {
    let names: BTreeSet<&str> = members(metadata).map(|package| package.name.as_str()).collect();
    let (allowed, dev_allowed): (BTreeMap<_, _>, BTreeMap<_, _>) = (ALLOWED.iter().copied().collect(), DEV_ALLOWED.iter().copied().collect());
    let only: BTreeMap<_, _> = ONLY.iter().copied().collect();
    let mut violations = Vec::new();
    for package in members(metadata) {
        let own = package.name.as_str();
        let Some(may) = allowed.get(own) else {
            violations.push(format!("{own}: not in the table of xtask/src/deps.rs; say there which rooms it may use"));
            continue;
        };
        for dependency in &package.dependencies {
            let name = dependency.name.as_str();
            let dev = dependency.kind.as_deref() == Some("dev");
            let also = dev && dev_allowed.get(own).is_some_and(|more| more.contains(&name));
            if names.contains(name) && !may.contains(&name) && !also {
                violations.push(format!("{own} depends on {name}: not its direction (ARCHITECTURE.md)"));
            }
            if only.get(name).is_some_and(|rooms| !rooms.contains(&own)) && !dev {
                violations.push(format!("{own} depends on {name}: only {} may", only.get(name).map(|rooms| rooms.join(", ")).unwrap_or_default()));
            }
        }
    }
    violations
}

fn versions(metadata: &Metadata) -> Vec<String> {
    let mut violations = Vec::new();
    for name in ONE_VERSION {
        let versions: BTreeSet<&str> = metadata.packages.iter().filter(|package| package.name == *name).map(|package| package.version.as_str()).collect();
        if versions.len() > 1 {
            violations.push(format!("{name} is there in {} versions: {}", versions.len(), versions.into_iter().collect::<Vec<_>>().join(", ")));
        }
    }
    for name in ABSENT {
        if metadata.packages.iter().any(|package| package.name == *name) {
            violations.push(format!("{name} came into the graph: `cargo tree -i {name}` says through whom"));
        }
    }
    violations
}

/// The table's engine brings rustls with `ring` beside aws-lc-rs, so that the provider is never to be guessed: our table asks for aws-lc-rs
/// alone, no room names `ring`, and every program installs aws-lc-rs or
/// names it at each connection.
fn crypto(repo: &Repo, metadata: &Metadata) -> Result<Vec<String>> {
    let root: toml::Table = toml::from_str(&repo.read("Cargo.toml")?)?;
    let mut violations = providers(&root, metadata);
    for program in ["agent", "ctl", "server"] {
        let mut named = false;
        for path in repo.files(&["rs"])?.iter().filter(|path| path.starts_with(&format!("{program}/src/"))) {
            let all = tokens(&repo.read(path)?, Language::Rust);
            let says = |word: &str| all.iter().any(|token| token.is_word(word));
            named |= says("aws_lc_rs") && (says("install_default") || says("default_provider"));
        }
        if !named {
            violations.push(format!("{program}: neither installs nor names aws_lc_rs as its crypto provider"));
        }
    }
    Ok(violations)
}

fn providers(root: &toml::Table, metadata: &Metadata) -> Vec<String> {
    let mut violations: Vec<String> = members(metadata)
        .filter(|package| package.dependencies.iter().any(|dependency| dependency.name == "ring"))
        .map(|package| format!("{} depends on ring: aws-lc-rs is the one provider", package.name))
        .collect();
    let table = root.get("workspace").and_then(|workspace| workspace.get("dependencies"));
    for name in ["rustls", "tokio-rustls", "rcgen"] {
        let Some(entry) = table.and_then(|table| table.get(name)) else { continue };
        let features: Vec<&str> = entry.get("features").and_then(toml::Value::as_array).into_iter().flatten().filter_map(toml::Value::as_str).collect();
        if features.contains(&"ring") || !features.contains(&"aws_lc_rs") || entry.get("default-features").and_then(toml::Value::as_bool) != Some(false) {
            violations.push(format!("Cargo.toml: {name} must be asked for with `aws_lc_rs`, without `ring` and without its defaults"));
        }
    }
    violations
}

/// Every crate that reaches a binary may be distributed with ours: the list is cargo-deny's, so that there is one.
fn licences(repo: &Repo, metadata: &Metadata) -> Result<Vec<String>> {
    let deny: toml::Table = toml::from_str(&repo.read("deny.toml")?)?;
    let listed = deny.get("licenses").and_then(|licences| licences.get("allow")).and_then(toml::Value::as_array).context("deny.toml has no licenses.allow")?;
    let allowed: Vec<&str> = listed.iter().filter_map(toml::Value::as_str).collect();
    let foreign = metadata.packages.iter().filter(|package| !metadata.workspace_members.contains(&package.id));
    Ok(foreign
        .filter(|package| !package.license.as_deref().is_some_and(|expression| permitted(expression, &allowed)))
        .map(|package| format!("{} {}: licence {} is not in deny.toml", package.name, package.version, package.license.as_deref().unwrap_or("not stated")))
        .collect())
}

/// An SPDX expression of one level of brackets: every part joined by AND needs one allowed choice of those joined by OR.
fn permitted(expression: &str, allowed: &[&str]) -> bool {
    let mut depth = 0_i32;
    let mut parts = vec![String::new()];
    for word in expression.replace('(', " ( ").replace(')', " ) ").split_whitespace() {
        match word {
            "(" => depth += 1,
            ")" => depth -= 1,
            "AND" if depth == 0 => parts.push(String::new()),
            other => {
                if let Some(last) = parts.last_mut() {
                    last.push_str(other);
                    last.push(' ');
                }
            }
        }
    }
    // AND binds tighter than OR: `A OR B AND C` has no bracket, and is read strictly, which can only refuse too much.
    parts.iter().all(|part| part.replace('/', " OR ").split(" OR ").any(|choice| choice.split(" AND ").all(|licence| allowed.contains(&licence.trim()))))
}

/// Versions stand in the root table only, and every room takes the reviewed lint list; `ebpf` has its own, which must only differ in unsafe.
fn manifests(repo: &Repo, metadata: &Metadata) -> Result<Vec<String>> {
    let root: toml::Table = toml::from_str(&repo.read("Cargo.toml")?)?;
    let mut violations = Vec::new();
    for package in members(metadata) {
        let text = std::fs::read_to_string(&package.manifest_path)?;
        let manifest: toml::Table = toml::from_str(&text)?;
        for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let Some(table) = manifest.get(section).and_then(toml::Value::as_table) else { continue };
            for (name, entry) in table {
                if entry.get("workspace").and_then(toml::Value::as_bool) != Some(true) {
                    violations.push(format!("{}: {name} must come from [workspace.dependencies]", package.name));
                }
            }
        }
        violations.extend(lints(&root, &manifest, &package.name));
    }
    Ok(violations)
}

fn lints(root: &toml::Table, manifest: &toml::Table, name: &str) -> Option<String> {
    let own = manifest.get("lints");
    if own.and_then(|lints| lints.get("workspace")).and_then(toml::Value::as_bool) == Some(true) {
        return None;
    }
    if name != "picket-ebpf" {
        return Some(format!("{name}: [lints] workspace = true is missing"));
    }
    let mut expected = root.get("workspace")?.get("lints")?.clone();
    expected.get_mut("rust")?.as_table_mut()?.insert("unsafe_code".to_owned(), "deny".into());
    (own != Some(&expected)).then(|| format!("{name}: its [lints] must be the workspace's with unsafe_code = \"deny\""))
}

fn sources(repo: &Repo) -> Result<Vec<String>> {
    let mut violations = Vec::new();
    for path in repo.files(&["rs", "sql"])? {
        if path.ends_with(".sql") {
            if !SQL_ROOMS.iter().any(|room| path.starts_with(room)) {
                violations.push(format!("{path}: SQL lives in {} only", SQL_ROOMS.join(" and ")));
            }
            continue;
        }
        let all = tokens(&repo.read(&path)?, Language::Rust);
        violations.extend(source(&path, &all));
    }
    Ok(violations)
}

fn source(path: &str, all: &[Token]) -> Vec<String> {
    let tests = test_ranges(all);
    let mut violations = Vec::new();
    for (index, token) in all.iter().enumerate() {
        let line = token.line;
        if token.is_word("unsafe") && !path.starts_with(UNSAFE_ROOM) {
            violations.push(format!("{path}:{line}: unsafe outside {UNSAFE_ROOM}"));
        }
        let elsewhere = !SQL_ROOMS.iter().chain(SQL_SPOKEN).any(|room| path.starts_with(room)) && !tests.iter().any(|range| range.contains(&index));
        if elsewhere && (token.is_word("sqlx") || matches!(&token.kind, Kind::Text(text) if reads_as_sql(text))) {
            violations.push(format!("{path}:{line}: SQL lives in {} only", SQL_ROOMS.join(" and ")));
        }
    }
    violations
}

/// A statement, not a sentence: two of its keywords, in capitals.
fn reads_as_sql(text: &str) -> bool {
    const STATEMENTS: &[(&str, &str)] = &[
        ("SELECT ", " FROM "),
        ("INSERT ", " INTO "),
        ("UPDATE ", " SET "),
        ("DELETE ", "FROM "),
        ("CREATE ", " TABLE "),
        ("CREATE ", "INDEX "),
        ("PRAGMA ", "="),
    ];
    let text = text.trim_start();
    STATEMENTS.iter().any(|(first, second)| text.strip_prefix(first).is_some_and(|rest| format!(" {rest}").contains(second)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, dependencies: &[(&str, Option<&str>)]) -> Package {
        let dependencies = dependencies.iter().map(|(name, kind)| Dependency { name: (*name).to_owned(), kind: kind.map(str::to_owned) }).collect();
        Package { id: name.to_owned(), name: name.to_owned(), version: "1.0.0".to_owned(), manifest_path: String::new(), license: None, dependencies }
    }

    fn graph(packages: Vec<Package>) -> Metadata {
        let workspace_members = packages.iter().map(|package| package.id.clone()).collect();
        Metadata { packages, workspace_members }
    }

    #[test]
    fn the_allowed_direction_passes_and_the_other_does_not() {
        assert!(directions(&graph(vec![package("picket-event", &[]), package("picket-proto", &[("picket-event", None)])])).is_empty());
        let found = directions(&graph(vec![package("picket-event", &[("picket-proto", None)]), package("picket-proto", &[])]));
        assert_eq!(found.len(), 1, "{found:?}");
    }

    #[test]
    fn agent_server_and_ctl_never_use_each_other() {
        let apart = ["picket-agent", "picket-server", "picketctl"];
        for own in apart {
            for other in apart.iter().filter(|other| **other != own) {
                let found = directions(&graph(vec![package(own, &[(other, None)]), package(other, &[])]));
                assert_eq!(found.len(), 1, "{own} -> {other}");
            }
        }
    }

    #[test]
    fn a_fenced_crate_and_an_unknown_room_are_violations() {
        assert_eq!(directions(&graph(vec![package("picket-agent", &[("aya", None)])])).len(), 1);
        assert_eq!(directions(&graph(vec![package("picket-news", &[])])).len(), 1);
    }

    #[test]
    fn two_versions_and_a_second_tls_stack_are_violations() {
        let mut older = package("rustls", &[]);
        older.version = "0.21.0".to_owned();
        assert_eq!(versions(&graph(vec![package("rustls", &[]), older, package("openssl-sys", &[])])).len(), 2);
    }

    #[test]
    fn a_second_provider_is_a_violation() {
        let root = |features: &str| {
            toml::from_str::<toml::Table>(&format!(
                "[workspace.dependencies]\nrustls = {{ version = \"1\", default-features = false, features = [{features}] }}\n"
            ))
            .unwrap()
        };
        let metadata = graph(vec![package("picket-agent", &[("rustls", None)])]);
        assert!(providers(&root("\"aws_lc_rs\", \"std\""), &metadata).is_empty());
        assert_eq!(providers(&root("\"std\""), &metadata).len(), 1);
        assert_eq!(providers(&root("\"aws_lc_rs\", \"ring\""), &metadata).len(), 1);
        assert_eq!(providers(&root("\"aws_lc_rs\""), &graph(vec![package("picket-agent", &[("ring", None)])])).len(), 1);
    }

    #[test]
    fn licences_need_one_allowed_choice_of_each_part() {
        let allowed = ["MIT", "Apache-2.0", "ISC", "Apache-2.0 WITH LLVM-exception"];
        for good in
            ["MIT", "MIT/Apache-2.0", "GPL-2.0 OR MIT", "ISC AND (Apache-2.0 OR GPL-2.0)", "Apache-2.0 WITH LLVM-exception OR GPL-3.0", "Apache-2.0 AND ISC"]
        {
            assert!(permitted(good, &allowed), "{good}");
        }
        for bad in ["GPL-2.0", "MIT AND GPL-2.0", "ISC AND (GPL-2.0 OR LGPL-2.1)", "", "Apache-2.0 WITH Classpath-exception"] {
            assert!(!permitted(bad, &allowed), "{bad}");
        }
    }

    #[test]
    fn unsafe_and_sql_stay_in_their_rooms() {
        let all = tokens("fn f() { unsafe { g(\"SELECT a FROM b\") } }", Language::Rust);
        assert_eq!(source("agent/src/main.rs", &all).len(), 2);
        assert_eq!(source("ebpf/src/lib.rs", &all).len(), 1);
        assert_eq!(source("server/src/state/tokens.rs", &all).len(), 1);
        assert!(source("agent/src/x.rs", &tokens("// unsafe SELECT a FROM b\nlet s = \"select one from the list\";", Language::Rust)).is_empty());
        assert!(source("server/src/x.rs", &tokens("#[cfg(test)] mod tests { const S: &str = \"DELETE FROM t\"; }", Language::Rust)).is_empty());
    }

    #[test]
    fn lints_are_the_workspaces() {
        let root: toml::Table = toml::from_str("[workspace.lints.rust]\nunsafe_code = \"forbid\"\nmissing_docs = \"warn\"\n").unwrap();
        let own: toml::Table = toml::from_str("[lints]\nworkspace = true\n").unwrap();
        assert_eq!(lints(&root, &own, "picket-agent"), None);
        let looser: toml::Table = toml::from_str("[lints.rust]\nunsafe_code = \"deny\"\nmissing_docs = \"warn\"\n").unwrap();
        assert!(lints(&root, &looser, "picket-agent").is_some());
        assert_eq!(lints(&root, &looser, "picket-ebpf"), None);
    }
}
