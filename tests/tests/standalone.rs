//! `picket-agent run --stdout`: OCSF on standard output without any server, the capability report first, a clean end.
#![expect(clippy::unwrap_used, reason = "a test that meets a surprise ends there")]

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use picket_tests::{
    binaries::{can_trace, program},
    host_load::write_safetensors,
    wait,
};
use serde_json::Value;

struct Standalone {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Standalone {
    fn start(name: &str) -> Option<Self> {
        if let Some(reason) = can_trace() {
            wait::skipped(name, &reason);
            return None;
        }
        let mut child = Command::new(program("picket-agent").unwrap()).args(["run", "--stdout"]).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let output = child.stdout.take().unwrap();
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Some(Self { child, lines })
    }

    fn next(&self) -> Value {
        let line = self.lines.recv_timeout(Duration::from_secs(30)).expect("a line within 30 s");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }

    fn find(&self, what: &str, matches: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + Duration::from_secs(30);
        while Instant::now() < end {
            let row = self.next();
            if matches(&row) {
                return row;
            }
        }
        panic!("{what}: not within 30 s")
    }

    fn ends_after(mut self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), signal).unwrap();
        let end = Instant::now() + Duration::from_secs(15);
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                assert!(status.success(), "after {signal}: {status}");
                return;
            }
            assert!(Instant::now() < end, "still running 15 s after {signal}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Standalone {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_first_line_is_the_capability_report() {
    let Some(agent) = Standalone::start("the_first_line_is_the_capability_report") else { return };
    let first = agent.next();
    assert_eq!(first["class_uid"], 5002, "{first:#}");
    assert!(first.to_string().contains("sched_process_exec"), "{first:#}");
    agent.ends_after(Signal::SIGTERM);
}

#[test]
fn activity_of_this_kernel_is_printed_one_event_a_line() {
    let Some(agent) = Standalone::start("activity_of_this_kernel_is_printed_one_event_a_line") else { return };
    agent.next();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.safetensors");
    write_safetensors(&path, 4096).unwrap();
    let created =
        agent.find("the file is created", |row| row["class_uid"] == 1001 && row["activity_id"] == 1 && row["file"]["path"] == *path.to_string_lossy());
    assert_eq!(created["actor"]["process"]["pid"], std::process::id(), "{created:#}");
    assert_eq!(created["metadata"]["version"], "1.8.0", "{created:#}");
    let mark = format!("picket-{}", uuid::Uuid::new_v4());
    assert!(Command::new("/bin/echo").arg(&mark).stdout(Stdio::null()).status().unwrap().success());
    let launched =
        agent.find("echo is launched", |row| row["class_uid"] == 1007 && row["activity_id"] == 1 && row["process"]["cmd_line"].to_string().contains(&mark));
    assert_eq!(launched["process"]["name"], "echo", "{launched:#}");
    let ended = agent.find("echo ends", |row| row["class_uid"] == 1007 && row["activity_id"] == 2 && row["process"]["uid"] == launched["process"]["uid"]);
    assert_eq!(ended["exit_code"], 0, "{ended:#}");
    agent.ends_after(Signal::SIGINT);
}

#[test]
fn a_closed_pipe_ends_it() {
    let Some(mut agent) = Standalone::start("a_closed_pipe_ends_it") else { return };
    agent.next();
    // The reader goes away, as `| head -1` does; the agent's next line meets a closed pipe.
    let (_, nobody) = mpsc::channel();
    drop(std::mem::replace(&mut agent.lines, nobody));
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        assert!(Command::new("/bin/true").status().unwrap().success());
        if agent.child.try_wait().unwrap().is_some() {
            return;
        }
        assert!(Instant::now() < end, "still running 20 s after its reader left");
        std::thread::sleep(Duration::from_millis(50));
    }
}
