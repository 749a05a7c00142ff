//! What scripts rely on: exit codes, messages with line and column, nothing secret on the command line.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::{Command, Output};

fn agent(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_picket-agent")).args(arguments).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_configuration_is_checked_with_line_and_column() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("agent.toml");
    let path = file.to_str().unwrap();
    std::fs::write(&file, include_str!("../picket-agent.toml")).unwrap();
    let good = agent(&["config", "check", path]);
    assert!(good.status.success(), "{}", stderr(&good));
    std::fs::write(&file, "[spool]\nbytes_maximum = 5\n").unwrap();
    let bad = agent(&["config", "check", path]);
    assert_eq!(bad.status.code(), Some(1));
    assert!(stderr(&bad).contains(&format!("{path}:2:1: unknown field `bytes_maximum`")), "{}", stderr(&bad));
    std::fs::write(&file, "roles_file = \"/nowhere/roles.toml\"\n").unwrap();
    assert!(stderr(&agent(&["config", "check", path])).contains("/nowhere/roles.toml"));
}

#[test]
fn what_is_missing_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("agent.toml");
    let path = file.to_str().unwrap();
    assert!(stderr(&agent(&["run", "--config", path])).contains(path));
    std::fs::write(&file, format!("run_dir = {:?}\nstate_dir = {:?}\n", folder.path().join("run"), folder.path().join("state"))).unwrap();
    let status = agent(&["status", "--config", path]);
    assert_eq!(status.status.code(), Some(1));
    assert!(stderr(&status).contains("no agent answers at"), "{}", stderr(&status));
    let token = folder.path().join("token");
    std::fs::write(&token, "not a token but secret\n").unwrap();
    let enrol = agent(&["enroll", "--server", "https://127.0.0.1:1", "--token-file", token.to_str().unwrap(), "--config", path]);
    assert!(stderr(&enrol).contains("holds no enrolment token"), "{}", stderr(&enrol));
    assert!(!stderr(&enrol).contains("secret."), "a token is never repeated");
    let plain = agent(&["enroll", "--server", "http://127.0.0.1:1", "--token-file", token.to_str().unwrap(), "--config", path]);
    assert!(stderr(&plain).contains("https://HOST:PORT"), "{}", stderr(&plain));
    assert_eq!(agent(&["no-such-command"]).status.code(), Some(2));
}
