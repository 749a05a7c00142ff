//! The binary itself: configuration errors, tokens beside a running server, signals.

use std::{
    path::Path,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use crate::support::{PATIENCE, TestServer, csr, new_key};

fn picket_server(arguments: &[&str], config: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_picket-server")).args(arguments).arg(config).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A configuration with free ports over a folder.
fn write_config(folder: &Path) -> std::path::PathBuf {
    let path = folder.join("server.toml");
    let ports = "[agents]\nlisten = \"127.0.0.1:0\"\n[api]\nlisten = \"127.0.0.1:0\"\n[metrics]\nlisten = \"127.0.0.1:0\"\n[lake]\ndisk_free_bytes_min = 0\n";
    std::fs::write(&path, format!("state_dir = \"state\"\n{ports}")).unwrap();
    path
}

#[test]
fn a_wrong_configuration_is_named_by_line_and_column() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("server.toml");
    std::fs::write(&path, "[lake]\nretention_dys = 3\n").unwrap();
    let checked = picket_server(&["config", "check"], &path);
    assert_eq!(checked.status.code(), Some(1));
    assert!(text(&checked.stderr).contains("server.toml: line 2, column 1: unknown field `retention_dys`"), "{}", text(&checked.stderr));
    std::fs::write(&path, "[lake]\nretention_days = 3\n").unwrap();
    assert!(picket_server(&["config", "check"], &path).status.success());
}

#[test]
fn a_ttl_that_is_no_time_is_a_usage_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = write_config(folder.path());
    for ttl in ["1w", "h", "1.5h", "-1s", "99999999999999999999d"] {
        let ttl = format!("--ttl={ttl}");
        assert_eq!(picket_server(&["enrol-token", &ttl, "--config"], &path).status.code(), Some(2), "{ttl}");
    }
    assert_eq!(picket_server(&["enrol-token", "--ttl", "25h", "--config"], &path).status.code(), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_made_beside_a_running_server_enrols() {
    let server = TestServer::start().await;
    let path = write_config(server.folder.path());
    let printed = tokio::task::spawn_blocking(move || picket_server(&["enrol-token", "--ttl", "10m", "--label", "rack 4", "--config"], &path)).await.unwrap();
    let token = text(&printed.stdout);
    assert!(printed.status.success() && token.starts_with("pe1.") && token.trim().split('.').count() == 4, "{token} {}", text(&printed.stderr));
    server.enrol_with(token.trim(), csr(&new_key())).await.unwrap();
}

#[test]
fn a_new_folder_starts_and_a_signal_stops_it_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let path = write_config(folder.path());
    let mut child = Command::new(env!("CARGO_BIN_EXE_picket-server")).args(["run", "--config"]).arg(&path).stderr(Stdio::piped()).spawn().unwrap();
    let announced = folder.path().join("state/listening.json");
    let started = Instant::now();
    while !announced.exists() && started.elapsed() < PATIENCE {
        assert!(child.try_wait().unwrap().is_none(), "the server ended by itself");
        std::thread::sleep(Duration::from_millis(20));
    }
    let code = picket_server(&["sign-in", "--config"], &path);
    assert!(text(&code.stdout).starts_with("ps1."), "{}", text(&code.stderr));
    let second = picket_server(&["run", "--config"], &path);
    assert_eq!(second.status.code(), Some(1));
    assert!(text(&second.stderr).contains("another server runs on"), "{}", text(&second.stderr));
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    let ended = child.wait_with_output().unwrap();
    let log = text(&ended.stderr);
    assert!(ended.status.success() && log.contains("stopped"), "{log}");
    // Whoever reads the log learns how to sign in, and no secret.
    assert!(log.contains("picket-server sign-in") && !log.contains(text(&code.stdout).trim()), "{log}");
}
