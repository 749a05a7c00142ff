//! The engine: errors with their places, identity, limits, evidence.

use picket_artifact::{Completeness, ScanOptions, Severity, Verdict, scan};
use picket_yara::{Limits, Pack, RuleErrors, RuleSet, built_in, read_packs};
use std::fs;
use std::path::Path;
use std::sync::Arc;

fn compile(text: &str) -> Result<RuleSet, RuleErrors> {
    RuleSet::compile(&[Pack::new("folder/pack.yar", text)], Limits::default())
}

fn options(rules: RuleSet) -> ScanOptions {
    ScanOptions { region_rules: Some(Arc::new(rules)), ..ScanOptions::default() }
}

#[test]
fn every_error_of_every_pack_has_its_place() {
    let good = Pack::new("a/good.yar", "rule good { condition: true }");
    let unknown = Pack::new("a/unknown.yar", "rule one {\n  condition:\n    $missing\n}\nrule two {\n  condition:\n    nothing\n}\n");
    let syntax = Pack::new("b/syntax.yar", "rule broken {\n  strings: $a = \"x\n  condition: $a\n}\n");
    let errors = RuleSet::compile(&[good, unknown, syntax], Limits::default()).unwrap_err();
    let places: Vec<(&str, u64)> = errors.0.iter().map(|error| (error.origin.as_str(), error.line)).collect();
    assert!(places.contains(&("a/unknown.yar", 3)) && places.contains(&("a/unknown.yar", 7)), "{errors}");
    assert!(places.iter().any(|(origin, line)| *origin == "b/syntax.yar" && *line == 2), "{errors}");
    assert!(errors.0.iter().all(|error| error.column > 0 && !error.message.is_empty()), "{errors}");
    assert!(errors.to_string().lines().all(|line| line.starts_with("a/") || line.starts_with("b/")), "{errors}");
}

#[test]
fn metadata_that_means_nothing_is_an_error_with_its_line() {
    let error = compile("\nrule r {\n meta:\n  severity = \"terrible\"\n condition: true\n}\n").unwrap_err();
    assert_eq!((error.0[0].origin.as_str(), error.0[0].line), ("folder/pack.yar", 2));
    assert!(error.to_string().contains("terrible"), "{error}");
}

#[test]
fn a_pack_opens_no_other_file() {
    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("other.yar");
    fs::write(&other, "rule other { condition: true }").unwrap();
    assert!(compile(&format!("include \"{}\"\nrule r {{ condition: true }}", other.display())).is_err());
}

#[test]
fn identity_follows_content_and_not_place() {
    let set = |packs: &[Pack]| RuleSet::compile(packs, Limits::default()).unwrap().identity();
    let rule = "rule a { condition: true }";
    assert_eq!(set(&[Pack::new("here/x.yar", rule)]), set(&[Pack::new("there/x.yar", rule)]));
    assert_ne!(set(&[Pack::new("x.yar", rule)]), set(&[Pack::new("x.yar", "rule a { condition: false }")]));
    assert_ne!(set(&[Pack::new("x.yar", rule)]), set(&[Pack::new("x.yar", rule), Pack::new("y.yar", rule)]));
    assert_eq!(set(&[]).len(), 64);
}

#[test]
fn packs_of_one_name_do_not_collide() {
    let rule = "rule a { condition: true }";
    let set = RuleSet::compile(&[Pack::new("one/x.yar", rule), Pack::new("two/x.yar", rule)], Limits::default()).unwrap();
    assert_eq!(set.len(), 2);
}

#[test]
fn a_folder_is_read_whole_and_in_order() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("team")).unwrap();
    fs::write(folder.path().join("b.yar"), "rule b { condition: true }").unwrap();
    fs::write(folder.path().join("team/a.yara"), "rule a { condition: true }").unwrap();
    fs::write(folder.path().join("README.md"), "not rules").unwrap();
    let packs = read_packs(folder.path()).unwrap();
    assert_eq!(packs.iter().map(|pack| pack.namespace.as_str()).collect::<Vec<_>>(), ["b", "a"]);
    fs::write(folder.path().join("c.yar"), b"rule \xff").unwrap();
    assert!(read_packs(folder.path()).unwrap_err().to_string().contains("byte 5"));
    let empty = tempfile::tempdir().unwrap();
    assert!(read_packs(empty.path()).unwrap_err().to_string().contains("no .yar"));
    assert!(read_packs(Path::new("/nowhere/at/all")).is_err());
}

#[test]
fn what_a_rule_says_of_itself_is_in_the_finding() {
    let rules = compile(
        r#"rule r { meta: id = "MINE-1" title = "Mine" severity = "critical" version = "7" attack = "T1027, T1059" atlas = "AML.T0010" explanation = "Why it counts"
            strings: $a = "needle" condition: #a == 2 }"#,
    )
    .unwrap();
    let text: &[u8] = b"one needle and another needle\x1b";
    let report = scan(&text, "a.txt", &options(rules));
    let finding = &report.findings[0];
    assert_eq!((finding.rule_id, finding.rule_version, finding.title, finding.severity), ("MINE-1", "7", "Mine", Severity::Critical));
    assert_eq!(finding.techniques, ["T1027", "T1059", "AML.T0010"]);
    assert_eq!(finding.explanation, "Why it counts (2 places in all)");
    assert_eq!((finding.evidence.offset, finding.evidence.key.as_deref(), finding.evidence.value.as_deref()), (Some(4), Some("$a"), Some("needle")));
    assert_eq!(report.verdict, Verdict::Malicious);
}

#[test]
fn rules_may_ask_what_they_look_at() {
    let rules = compile(r#"rule r { condition: picket_format == "text" and picket_name == "a.txt" and picket_member == "" and picket_offset == 0 }"#).unwrap();
    let text: &[u8] = b"some words";
    let report = scan(&text, "folder/a.txt", &options(rules));
    assert_eq!((report.findings[0].rule_id, report.findings[0].evidence.offset), ("YARA:pack.r", None));
}

#[test]
fn binary_matches_are_shown_as_hex_and_secrets_are_not_shown() {
    let rules = compile(
        r#"rule bytes { strings: $a = { 01 02 80 81 82 ff } condition: $a }
           rule secret { meta: attack = "T1552.001" strings: $a = /token-[a-z]{20}/ condition: $a }"#,
    )
    .unwrap();
    let mut content = b"token-abcdefghijklmnopqrst ".to_vec();
    content.extend_from_slice(&[1, 2, 0x80, 0x81, 0x82, 0xff]);
    let report = scan(&content.as_slice(), "a", &options(rules));
    let values: Vec<&str> = report.findings.iter().filter_map(|finding| finding.evidence.value.as_deref()).collect();
    assert!(values.contains(&"01 02 80 81 82 ff") && values.contains(&"token-ab…"), "{values:?}");
}

#[test]
fn matches_are_bounded() {
    let rules = compile(r#"rule r { strings: $a = "a" condition: #a > 0 }"#).unwrap();
    let text = vec![b'a'; 1 << 20];
    let report = scan(&text.as_slice(), "a.txt", &options(rules));
    assert!(report.findings[0].explanation.contains("(1000 places in all)"), "{}", report.findings[0].explanation);
    let many: String = (0..150).map(|number| format!("rule r{number} {{ condition: true }}\n")).collect();
    let report = scan(&b"x".as_slice(), "a.txt", &options(compile(&many).unwrap()));
    assert_eq!((report.findings.len(), report.completeness), (100, Completeness::Partial));
    assert!(report.incomplete[0].contains("50 more"), "{:?}", report.incomplete);
}

#[test]
fn rules_that_take_too_long_make_the_scan_partial() {
    let rules = RuleSet::compile(
        &[Pack::new("slow.yar", "rule slow { condition: for all i in (0..2000000000) : (for all j in (0..2000000000) : (i + j >= 0)) }")],
        Limits { time_max_s: 1, ..Limits::default() },
    )
    .unwrap();
    let began = std::time::Instant::now();
    let report = scan(&b"x".as_slice(), "a.txt", &options(rules));
    assert!(began.elapsed().as_secs() < 30, "it ended");
    assert_eq!((report.completeness, report.verdict), (Completeness::Partial, Verdict::Unscannable));
    assert!(report.incomplete[0].contains("longer than their time"), "{:?}", report.incomplete);
}

#[test]
fn threads_share_a_set_and_one_thread_changes_sets() {
    let first = Arc::new(compile(r#"rule r { strings: $a = "one" condition: $a }"#).unwrap());
    let second = Arc::new(compile(r#"rule r { strings: $a = "two" condition: $a }"#).unwrap());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..20 {
                    let with = |rules: &Arc<RuleSet>, text: &[u8]| {
                        let options = ScanOptions { region_rules: Some(Arc::<RuleSet>::clone(rules)), ..ScanOptions::default() };
                        scan(&text, "a.txt", &options).findings.len()
                    };
                    assert_eq!((with(&first, b"one"), with(&second, b"one"), with(&second, b"two")), (1, 0, 1));
                }
            });
        }
    });
}

#[test]
fn the_built_in_pack_is_the_folder() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../rules/yara");
    let mut files: Vec<(String, String)> = read_packs(&folder).unwrap().into_iter().map(|pack| (pack.namespace, pack.text)).collect();
    files.sort();
    let built_in: Vec<(String, String)> = built_in().into_iter().map(|pack| (pack.namespace, pack.text)).collect();
    assert_eq!(files, built_in);
}
