//! `picket-agent run --stdout` without the kernel's probes.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    sync::mpsc,
    time::Duration,
};

use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn files_of_watched_trees_are_told_without_a_process() {
    let folder = tempfile::tempdir().unwrap();
    let models = folder.path().join("models");
    std::fs::create_dir(&models).unwrap();
    let config = folder.path().join("agent.toml");
    let watch =
        format!("[sensor]\nbackend = \"fs_watch\"\n[gpu]\nsample_seconds = 0\n[[watch]]\npath = {:?}\nasset_class = \"model\"\n", models.display().to_string());
    std::fs::write(&config, watch).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_picket-agent")).args(["run", "--stdout", "--config"]).arg(&config).stdout(Stdio::piped()).spawn().unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    let (told, lines) = mpsc::channel();
    std::thread::spawn(move || out.lines().map_while(Result::ok).for_each(|line| drop(told.send(line))));
    let next = || -> Value { serde_json::from_str(&lines.recv_timeout(PATIENCE).expect("a line")).unwrap() };
    let report = next();
    let text = |event: &Value, pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    assert_eq!(text(&report, "/picket/report/backend"), "fs_watch");
    assert!(text(&report, "/picket/report/exclusions/0").contains("no event knows its process"), "{report:#}");
    // The report is written before the watches are set; the first file that is told shows that they are.
    let marker = models.join("marker");
    let end = std::time::Instant::now() + PATIENCE;
    loop {
        assert!(std::time::Instant::now() < end, "nothing is told");
        std::fs::write(&marker, "x").unwrap();
        if let Ok(line) = lines.recv_timeout(Duration::from_millis(100)) {
            assert!(line.contains("/marker"), "{line}");
            break;
        }
    }
    let path = models.join("weights.safetensors");
    std::fs::write(&path, "12345").unwrap();
    let update = loop {
        let event = next();
        if text(&event, "/file/path") == path.to_str().unwrap() && event.pointer("/activity_id") == Some(&Value::from(3)) {
            break event;
        }
    };
    assert_eq!(text(&update, "/picket/asset_class"), "model");
    assert!(update.pointer("/picket/flag_names").and_then(Value::as_array).is_some_and(|flags| flags.contains(&Value::from("no_process"))), "{update:#}");
    assert_eq!(update.pointer("/actor/process/pid"), None);
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap()), nix::sys::signal::Signal::SIGTERM).unwrap();
    assert!(child.wait().unwrap().success());
}
