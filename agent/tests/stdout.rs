//! `picket-agent run --stdout` on the running kernel.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../../tests/src/ocsf_schema.rs"]
#[expect(unreachable_pub, reason = "shared with other test crates")]
mod ocsf_schema;

use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);

struct Agent {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Agent {
    /// `None`, said on standard error, where the kernel side cannot be loaded here.
    fn start(test: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("agent.toml");
        std::fs::write(&config, "").unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_picket-agent"))
            .args(["run", "--stdout", "--config"])
            .arg(&config)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let (told, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                if told.send(line).is_err() {
                    return;
                }
            }
        });
        let mut agent = Self { child, lines };
        let first = agent.lines.recv_timeout(PATIENCE);
        if let Ok(first) = first {
            let first: Value = serde_json::from_str(&first).unwrap();
            assert_eq!(first.pointer("/class_uid"), Some(&Value::from(5002)), "the first line is the capability report");
            let probes = first.pointer("/picket/report/probes").and_then(Value::as_array).unwrap();
            assert!(probes.iter().any(|probe| probe.get("attached") == Some(&Value::from(true))));
            return Some(agent);
        }
        let status = agent.child.wait().unwrap();
        let mut error = String::new();
        agent.child.stderr.take().unwrap().read_to_string(&mut error).unwrap();
        let privileged = nix::unistd::geteuid().is_root() && std::path::Path::new("/sys/kernel/btf/vmlinux").exists();
        assert!(!privileged, "root on a kernel with BTF, and yet {status}: {error}");
        eprintln!("SKIPPED {test}: the kernel side cannot be loaded here: {}", error.trim());
        None
    }

    /// The first event that `wanted` takes.
    fn event(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + PATIENCE;
        loop {
            let line =
                self.lines.recv_timeout(end.saturating_duration_since(Instant::now())).unwrap_or_else(|_| panic!("not in {} s: {what}", PATIENCE.as_secs()));
            let event: Value = serde_json::from_str(&line).unwrap();
            if wanted(&event) {
                return event;
            }
        }
    }

    fn interrupt(&self) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    }

    fn ended(&mut self) -> std::process::ExitStatus {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < end, "the agent does not end");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn text<'a>(event: &'a Value, pointer: &str) -> &'a str {
    event.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

#[test]
fn a_model_that_is_copied_read_and_removed_is_told_with_its_actor() {
    let Some(mut agent) = Agent::start("a_model_that_is_copied_read_and_removed_is_told_with_its_actor") else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.safetensors");
    let path = path.to_str().unwrap();
    let sh = format!("head -c 1000 /dev/zero > {path}; cat {path} > /dev/null; rm {path}");
    let shell = Command::new("sh").args(["-c", &sh]).env("WANDB_RUN_ID", "run-7").env("SECRET_KEY", "hush").status().unwrap();
    assert!(shell.success());
    let of = |class: i64, activity: i64, name: &'static str| {
        move |event: &Value| {
            event.pointer("/class_uid") == Some(&Value::from(class))
                && event.pointer("/activity_id") == Some(&Value::from(activity))
                && (text(event, "/file/path") == path || class == 1007)
                && text(event, "/actor/process/name") == name
        }
    };
    let mut seen = vec![agent.event("the exec of cat", |event| of(1007, 1, "cat")(event) && text(event, "/process/cmd_line") == format!("cat {path}"))];
    let read = agent.event("the read", of(1001, 14, "cat"));
    assert_eq!(text(&read, "/picket/asset_class"), "model");
    assert_eq!(text(&read, "/actor/process/cmd_line"), format!("cat {path}"));
    assert_eq!(text(&read, "/actor/process/parent_process/name"), "sh");
    assert_eq!(read.pointer("/actor/process/user/uid").and_then(Value::as_str), Some(nix::unistd::getuid().to_string().as_str()));
    assert_eq!((text(&read, "/picket/job/scheduler"), text(&read, "/picket/job/uid")), ("wandb", "run-7"));
    assert!(!read.to_string().contains("hush"), "only selected variables leave the kernel");
    seen.push(read);
    seen.push(agent.event("the removal", of(1001, 4, "rm")));
    agent.interrupt();
    assert!(agent.ended().success());
    while let Ok(line) = agent.lines.recv_timeout(PATIENCE) {
        seen.push(serde_json::from_str(&line).unwrap());
    }
    match ocsf_schema::Schema::load() {
        Some(schema) => seen.iter().for_each(|event| assert_eq!(schema.validate(event), Vec::<String>::new(), "{event:#}")),
        None => eprintln!("SKIPPED OCSF validation of a_model_that_is_copied_read_and_removed_is_told_with_its_actor: the published schema is not here"),
    }
}

#[test]
fn a_reader_that_goes_away_ends_the_agent_quietly() {
    let Some(mut agent) = Agent::start("a_reader_that_goes_away_ends_the_agent_quietly") else { return };
    // The reading thread ends with the next line, and the pipe with it.
    let (_, nobody) = mpsc::channel();
    drop(std::mem::replace(&mut agent.lines, nobody));
    let end = Instant::now() + PATIENCE;
    let status = loop {
        // Something must happen for a line to be written.
        Command::new("true").status().unwrap();
        if let Some(status) = agent.child.try_wait().unwrap() {
            break status;
        }
        assert!(Instant::now() < end, "the agent does not end");
        std::thread::sleep(Duration::from_millis(20));
    };
    assert!(status.success(), "{status}");
}

#[test]
fn a_reader_that_is_too_slow_gets_the_losses_told() {
    let name = "a_reader_that_is_too_slow_gets_the_losses_told";
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("agent.toml");
    std::fs::write(&config, "[sensor]\nqueue_bytes_max = 65536\n").unwrap();
    let Some(probe) = Agent::start(name) else { return };
    drop(probe);
    let mut child = Command::new(env!("CARGO_BIN_EXE_picket-agent")).args(["run", "--stdout", "--config"]).arg(&config).stdout(Stdio::piped()).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut first = String::new();
    out.read_line(&mut first).unwrap();
    assert!(first.contains("5002"));
    // Nobody reads while this happens: pipe, chunks and queue fill.
    let path = folder.path().join("x.safetensors");
    std::fs::write(&path, "x").unwrap();
    for _ in 0..40_000 {
        drop(std::fs::File::open(&path).unwrap());
    }
    let (told, lines) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        for line in out.lines().map_while(Result::ok) {
            let _ = told.send(line);
        }
    });
    let end = Instant::now() + PATIENCE;
    let lost = loop {
        let line = lines.recv_timeout(end.saturating_duration_since(Instant::now())).expect("a loss is told");
        let event: Value = serde_json::from_str(&line).unwrap();
        if text(&event, "/picket/loss/cause") == "queue_full" {
            break event;
        }
    };
    assert!(lost.pointer("/picket/loss/count").and_then(Value::as_u64).unwrap() > 0, "{lost}");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap()), nix::sys::signal::Signal::SIGTERM).unwrap();
    assert!(child.wait().unwrap().success());
    reader.join().unwrap();
}
