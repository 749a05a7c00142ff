//! Every check over hosts that are built from `rules/posture/tests/cases.toml`: at least one that fails it and one that nearly does.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    net::{IpAddr, SocketAddr},
    os::unix::fs::PermissionsExt,
};

use serde::Deserialize;

use super::*;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cases {
    case: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    check: String,
    status: String,
    #[serde(default)]
    process: Vec<Running>,
    /// Content by path.
    #[serde(default)]
    files: BTreeMap<String, String>,
    /// Octal, by path.
    #[serde(default)]
    modes: BTreeMap<String, String>,
    /// Target by path.
    #[serde(default)]
    links: BTreeMap<String, String>,
    /// A part of the evidence.
    #[serde(default)]
    evidence: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Running {
    args: Vec<String>,
    #[serde(default)]
    env: Vec<String>,
    #[serde(default)]
    listens: Vec<SocketAddr>,
    #[serde(default)]
    uid: u32,
    #[serde(default)]
    age: u64,
}

const UPTIME: u64 = 100_000;

fn write(root: &Path, path: &str, content: &str) {
    let path = root.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}

fn hex(address: SocketAddr) -> String {
    let bytes = match address.ip() {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let words = bytes.chunks(4).map(|word| u32::from_le_bytes(word.try_into().unwrap()));
    words.fold(String::new(), |all, word| format!("{all}{word:08X}")) + &format!(":{:04X}", address.port())
}

fn build(case: &Case) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let mut tables = BTreeMap::from([("proc/net/tcp", String::new()), ("proc/net/tcp6", String::new())]);
    write(root.path(), "proc/uptime", &format!("{UPTIME}.00 0.00\n"));
    write(root.path(), "etc/passwd", "root:x:0:0::/root:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\n");
    for name in ["kernel/unprivileged_bpf_disabled", "kernel/yama/ptrace_scope", "kernel/kptr_restrict"] {
        write(root.path(), &format!("proc/sys/{name}"), "1\n");
    }
    write(root.path(), "proc/sys/kernel/core_pattern", "|/bin/false\n");
    write(root.path(), "proc/sys/fs/suid_dumpable", "0\n");
    write(root.path(), "proc/cmdline", "quiet\n");
    let mut inode = 100;
    for (pid, process) in (10..).zip(&case.process) {
        let folder = format!("proc/{pid}");
        let joined = |texts: &[String]| texts.iter().fold(String::new(), |all, text| all + text + "\0");
        write(root.path(), &format!("{folder}/cmdline"), &joined(&process.args));
        write(root.path(), &format!("{folder}/environ"), &joined(&process.env));
        write(root.path(), &format!("{folder}/status"), &format!("Uid:\t{0}\t{0}\t{0}\t{0}\nGid:\t{0}\t{0}\t{0}\t{0}\nGroups:\t{0} \n", process.uid));
        let started = (UPTIME - process.age) * 100;
        write(root.path(), &format!("{folder}/stat"), &format!("{pid} (a ) b) S 1 {}{started} 0\n", "0 ".repeat(17)));
        std::fs::create_dir_all(root.path().join(format!("{folder}/fd"))).unwrap();
        for address in &process.listens {
            inode += 1;
            let table = tables.get_mut(if address.is_ipv4() { "proc/net/tcp" } else { "proc/net/tcp6" }).unwrap();
            writeln!(table, "  0: {} 0:0 0A 0:0 00:0 0 0 0 {inode} 1", hex(*address)).unwrap();
            std::os::unix::fs::symlink(format!("socket:[{inode}]"), root.path().join(format!("{folder}/fd/{inode}"))).unwrap();
        }
    }
    tables.iter().for_each(|(path, table)| write(root.path(), path, table));
    case.files.iter().for_each(|(path, content)| write(root.path(), path, content));
    for (path, target) in &case.links {
        std::os::unix::fs::symlink(target, root.path().join(path)).unwrap();
    }
    for (path, mode) in &case.modes {
        std::fs::set_permissions(root.path().join(path), std::fs::Permissions::from_mode(u32::from_str_radix(mode, 8).unwrap())).unwrap();
    }
    root
}

fn assets() -> Vec<WatchConfig> {
    let watch = |path: &str, asset_class| WatchConfig { path: path.into(), asset_class };
    vec![watch("/srv/models", crate::config::AssetClass::Model), watch("/srv/data", crate::config::AssetClass::Dataset)]
}

#[test]
fn every_check_fails_where_it_must_and_not_where_it_nearly_does() {
    let checks = load(None).unwrap();
    let cases: Cases = toml::from_str(include_str!("../../../rules/posture/tests/cases.toml")).unwrap();
    let (mut fails, mut near) = (BTreeSet::new(), BTreeSet::new());
    for (number, case) in (1..).zip(&cases.case) {
        let root = build(case);
        let check: Vec<Check> = checks.iter().filter(|check| check.id == case.check).cloned().collect();
        let outcome = assess(root.path(), &check, &assets()).pop().unwrap_or_else(|| panic!("no check {}", case.check));
        assert_eq!(outcome.status.name(), case.status, "case {number} of {}: {:?}", case.check, outcome.evidence);
        assert!(outcome.evidence.iter().any(|line| line.contains(&case.evidence)) || case.evidence.is_empty(), "case {number}: {:?}", outcome.evidence);
        let _ = if case.status == "fail" { fails.insert(&case.check) } else { near.insert(&case.check) };
    }
    let all: BTreeSet<&String> = checks.iter().map(|check| &check.id).collect();
    assert_eq!((&fails, &near), (&all, &all), "each check needs a case that fails and one that does not");
}

#[test]
fn an_empty_host_fails_nothing_and_says_what_it_does_not_know() {
    let root = tempfile::tempdir().unwrap();
    let outcomes = assess(root.path(), &load(None).unwrap(), &assets());
    let of = |id: &str| outcomes.iter().find(|outcome| outcome.id == id).unwrap();
    assert!(outcomes.iter().all(|outcome| outcome.status != Status::Fail));
    assert_eq!(of("P28").status, Status::Unknown);
    assert!(of("P28").evidence.iter().any(|line| line.contains("kernel.kptr_restrict cannot be read")));
    assert_eq!(of("P01").status, Status::NotApplicable);
}

#[test]
fn evidence_never_holds_a_value() {
    let case = Case {
        check: String::new(),
        status: String::new(),
        process: vec![Running {
            args: ["vllm", "serve", "--trust-remote-code"].map(str::to_owned).to_vec(),
            env: ["MY_API_KEY=hush-1".to_owned(), "VLLM_ALLOW_RUNTIME_LORA_UPDATING=1".to_owned()].to_vec(),
            listens: vec!["0.0.0.0:8000".parse().unwrap()],
            uid: 0,
            age: 1_000,
        }],
        files: BTreeMap::from([("home/ann/.config/pip/pip.conf".to_owned(), "extra-index-url = https://ann:hush-2@index\n".to_owned())]),
        modes: BTreeMap::new(),
        links: BTreeMap::new(),
        evidence: String::new(),
    };
    let root = build(&case);
    let outcomes = assess(root.path(), &load(None).unwrap(), &assets());
    let text = format!("{outcomes:?}");
    assert!(text.contains("MY_API_KEY") && text.contains("extra-index-url") && !text.contains("hush"), "{text}");
}

#[test]
fn the_checks_are_documented_both_ways() {
    let document = include_str!("../../../docs/posture.md");
    let documented: BTreeSet<&str> = document.lines().filter_map(|line| line.strip_prefix("| P")).filter_map(|line| line.split(" |").next()).collect();
    let checks = load(None).unwrap();
    let built_in: BTreeSet<&str> = checks.iter().filter_map(|check| check.id.strip_prefix('P')).collect();
    assert_eq!(documented, built_in);
}
