//! A malicious model lands on a host: the sensor sees the write, the locked-in scanner judges the file, and the analyst finds it on the server
//! with the process that wrote it. The payload would call `print`, and nothing here loads it.
#![expect(clippy::unwrap_used, reason = "a test that meets a surprise ends there")]

use std::{path::Path, process::Command, time::Duration};

use picket_tests::{binaries::program, fixture::WatchedHost, wait};
use serde_json::Value;

/// Quiet time, start of the scanner and of its rules, and the way to the server, on a loaded machine.
const FOUND_MAX: Duration = Duration::from_secs(60);

fn start(test: &str) -> Option<WatchedHost> {
    if let Err(error) = program("picket-scanner") {
        wait::skipped(test, &error.to_string());
        return None;
    }
    WatchedHost::start(test)
}

/// The first row about findings and scans that matches.
fn found(watched: &WatchedHost, what: &str, matches: impl Fn(&Value) -> bool) -> Value {
    let rows = watched.rows("class:finding OR class:scan", FOUND_MAX, |rows| rows.iter().any(&matches));
    rows.unwrap_or_else(|error| panic!("{what}: {error:#}")).into_iter().find(|row| matches(row)).unwrap()
}

/// Writes a pickle that would print, as a download does: under another name first.
fn download(to: &Path) {
    let script = "import os, sys\nwith open(sys.argv[1] + '.incomplete', 'wb') as f:\n    f.write(b\"cbuiltins\\nprint\\n(S'harmless'\\ntR.\")\nos.rename(sys.argv[1] + '.incomplete', sys.argv[1])";
    let output = Command::new("python3").args(["-c", script]).arg(to).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn is_about(row: &Value, path: &Path) -> bool {
    row["class_uid"] == 2004 && row.to_string().contains(&*path.to_string_lossy())
}

#[test]
fn a_malicious_model_that_lands_is_found_with_who_wrote_it() {
    let Some(mut watched) = start("a_malicious_model_that_lands_is_found_with_who_wrote_it") else { return };
    let model = watched.models.join("landed.pkl");
    download(&model);
    let finding = found(&watched, "the finding", |row| is_about(row, &model));
    assert!(finding["finding_info"]["analytic"]["uid"].as_str().unwrap().starts_with("PICKET-PKL-"), "{finding:#}");
    assert!(finding.to_string().contains("builtins.print('harmless')"), "{finding:#}");
    assert!(finding.to_string().contains(".incomplete"), "the command line of who wrote it: {finding:#}");
    let scan = found(&watched, "the scan", |row| row["class_uid"] == 6007 && row.to_string().contains("landed.pkl"));
    assert_eq!(scan["activity_id"], 2, "{scan:#}");
    watched.agent.stop().unwrap();
}

#[test]
fn a_scan_that_the_server_asks_for_is_done_and_told() {
    let Some(mut watched) = start("a_scan_that_the_server_asks_for_is_done_and_told") else { return };
    let hosts = watched.deployment.ctl.lines(&["hosts", "list", "--format", "jsonl"]).unwrap();
    let host = hosts.first().unwrap()["deviceUid"].as_str().unwrap().to_owned();
    // Not watched, and of no ending that is: only the command leads here.
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("payload.xyz"), b"cbuiltins\nprint\n(S'harmless'\ntR.").unwrap();
    let refused = watched.deployment.ctl.text(&["scans", "start", "--host", &host, "relative"]);
    assert!(refused.is_err_and(|error| error.to_string().contains("absolute")));
    let command = watched.deployment.ctl.text(&["scans", "start", "--host", &host, &folder.path().to_string_lossy()]).unwrap();
    let finding = found(&watched, "the finding", |row| is_about(row, &folder.path().join("payload.xyz")));
    assert!(finding["finding_info"]["analytic"]["uid"].as_str().unwrap().starts_with("PICKET-PKL-"), "{finding:#}");
    let scan = found(&watched, "the end of the scan", |row| row["class_uid"] == 6007 && row["activity_id"] == 2 && row.to_string().contains(command.trim()));
    assert!(scan.to_string().contains("payload.xyz") || scan["num_files"] == 1, "{scan:#}");
    let shown = watched.deployment.ctl.lines(&["--format", "jsonl", "scans", "show", command.trim()]).unwrap();
    assert_eq!((shown[0]["state"].as_str(), shown[0]["findings"].as_array().map(Vec::len)), (Some("Completed"), Some(1)), "{shown:#?}");
    let listed = watched.deployment.ctl.lines(&["--format", "jsonl", "scans", "list", "--host", &host]).unwrap();
    assert!(listed.iter().any(|scan| scan["command_uid"] == command.trim() && scan["trigger"] == "Manual"), "{listed:#?}");
    watched.agent.stop().unwrap();
}
