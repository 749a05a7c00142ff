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

#[test]
fn posture_says_by_its_exit_status_what_it_found() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("host");
    let config = folder.path().join("agent.toml");
    std::fs::write(&config, "[[watch]]\npath = \"/srv/models\"\nasset_class = \"model\"\n").unwrap();
    let write = |path: &str, text: &str| {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("srv/models/m/model.safetensors", "");
    let posture = |more: &[&str]| {
        let common = ["posture", "--config", config.to_str().unwrap(), "--root", root.to_str().unwrap()];
        agent(&[&common, more].concat())
    };
    assert_eq!(posture(&["--check", "P21"]).status.code(), Some(0));
    assert_eq!(posture(&["--check", "P28"]).status.code(), Some(2), "the copy holds no kernel settings");
    write("srv/models/m/pytorch_model.bin", "");
    let failed = posture(&["--check", "P21", "--format", "json"]);
    assert_eq!(failed.status.code(), Some(1));
    let object: serde_json::Value = serde_json::from_slice(&failed.stdout).unwrap();
    assert_eq!(object.get("status").and_then(serde_json::Value::as_str), Some("fail"));
    assert_eq!(object.pointer("/evidence/0").and_then(serde_json::Value::as_str), Some("/srv/models/m/pytorch_model.bin"));
    let text = String::from_utf8_lossy(&posture(&[]).stdout).into_owned();
    assert!(text.contains("FAIL P21 [medium]") && text.contains("fix: "), "{text}");
    assert!(stderr(&posture(&["--check", "P99"])).contains("no check has the id P99"));
}
