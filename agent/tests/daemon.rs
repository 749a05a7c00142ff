//! `picket-agent run` on the running kernel, killed and started again: what was synced is there once, what was not is told.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use picket_event::{Activity, Event, FileActivityKind, LossCause, SensorStateKind};
use picket_spool::{Spool, SpoolConfig, Stored};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);
const FILES: usize = 2_000;

struct Host {
    folder: tempfile::TempDir,
    config: PathBuf,
    pins: PathBuf,
}

impl Host {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let pins = PathBuf::from(format!("/sys/fs/bpf/picket-agent-test-{}", std::process::id()));
        std::fs::create_dir(path("models")).unwrap();
        let text = format!(
            "state_dir = {:?}\nrun_dir = {:?}\n[sensor]\npin_dir = {pins:?}\n[[watch]]\npath = {:?}\nasset_class = \"model\"\n",
            path("state"),
            path("run"),
            path("models")
        );
        let config = path("agent.toml");
        std::fs::write(&config, text).unwrap();
        Self { config, pins, folder }
    }

    fn start(&self) -> Agent {
        let log = std::fs::File::create(self.folder.path().join("log")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_picket-agent")).args(["run", "--config"]).arg(&self.config).stderr(Stdio::from(log)).spawn().unwrap();
        let mut agent = Agent { child };
        let end = Instant::now() + PATIENCE;
        while self.status().is_none() {
            assert!(agent.child.try_wait().unwrap().is_none() && Instant::now() < end, "no agent: {}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
        agent
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    fn status(&self) -> Option<Value> {
        let asked = Command::new(env!("CARGO_BIN_EXE_picket-agent")).args(["status", "--format", "json", "--config"]).arg(&self.config).output().unwrap();
        asked.status.success().then(|| serde_json::from_slice(&asked.stdout).unwrap())
    }

    /// Everything in the spool of an agent that does not run.
    fn stored(&self) -> Vec<Event> {
        let dir = self.folder.path().join("state/spool");
        // The kernel may still be taking down the killed agent, which holds the lock.
        let end = Instant::now() + PATIENCE;
        let spool = loop {
            match Spool::open(SpoolConfig::new(dir.clone())) {
                Ok((spool, recovery)) => {
                    assert_eq!(recovery.lost, vec![]);
                    break spool;
                }
                Err(error) => assert!(Instant::now() < end, "{error}"),
            }
            std::thread::sleep(Duration::from_millis(50));
        };
        let (mut events, mut seq, mut reader) = (Vec::new(), 0, spool.reader());
        loop {
            let batch = reader.frames_after(seq, 1 << 20).unwrap();
            let Some(last) = batch.last() else { return events };
            seq = last.last_seq();
            for stored in batch {
                let Stored::Frame(frame) = stored else { panic!("{stored:?}") };
                events.extend(picket_proto::frame::decode(&frame.payload, frame.count).unwrap());
            }
        }
    }

    fn make_files(&self, from: usize) {
        for number in from..from + FILES {
            let path = self.folder.path().join("models").join(number.to_string());
            drop(std::fs::File::create(&path).unwrap());
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.pins);
    }
}

struct Agent {
    child: Child,
}

impl Agent {
    fn signal(mut self, signal: Signal) -> std::process::ExitStatus {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), signal).unwrap();
        self.child.wait().unwrap()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Creations by file number.
fn created(events: &[Event], models: &Path) -> BTreeMap<usize, usize> {
    let mut found = BTreeMap::new();
    for event in events {
        if let Activity::File(file) = &event.activity
            && file.kind == FileActivityKind::Create
            && let Ok(name) = Path::new(&file.file.path).strip_prefix(models)
        {
            *found.entry(name.to_str().unwrap().parse().unwrap()).or_default() += 1;
        }
    }
    found
}

fn losses(events: &[Event]) -> Vec<(LossCause, Option<u64>)> {
    events.iter().filter_map(|event| if let Activity::Loss(loss) = &event.activity { Some((loss.cause, loss.count)) } else { None }).collect()
}

#[test]
fn a_killed_agent_keeps_what_it_synced_and_tells_what_it_lost() {
    let privileged = nix::unistd::geteuid().is_root() && Path::new("/sys/kernel/btf/vmlinux").exists() && Path::new("/sys/fs/bpf").exists();
    if !privileged {
        eprintln!("SKIPPED a_killed_agent_keeps_what_it_synced_and_tells_what_it_lost: needs root, BTF and a bpf file system");
        return;
    }
    let host = Host::new();
    let models = host.folder.path().join("models");
    let agent = host.start();
    assert_eq!(host.status().unwrap().pointer("/link/state"), Some(&Value::from("not_enrolled")));
    host.make_files(0);
    // A second is ten times what drain, batch and fsync take.
    std::thread::sleep(Duration::from_secs(2));
    host.make_files(FILES);
    assert!(!agent.signal(Signal::SIGKILL).success());
    let agent = host.start();
    host.make_files(2 * FILES);
    assert!(agent.signal(Signal::SIGTERM).success(), "{}", host.log());
    let events = host.stored();
    let created = created(&events, &models);
    assert!(created.values().all(|count| *count == 1), "no event twice");
    let of = |from: usize| (from..from + FILES).filter(|number| created.contains_key(number)).count();
    assert_eq!(of(0), FILES, "synced before the kill");
    assert_eq!(of(2 * FILES), FILES, "after it, up to the last one");
    let told = losses(&events);
    assert!(told.contains(&(LossCause::AgentDown, None)), "the time in between: {told:?}");
    // A create is opened and closed for writing: two records, both counted by the kernel before the kill.
    let counted: u64 = told.iter().filter_map(|(_, count)| *count).sum();
    let missing = FILES - of(FILES);
    assert!(counted >= u64::try_from(missing).unwrap(), "{missing} creations are missing, {told:?}");
    let states: Vec<_> = events.iter().filter_map(|event| if let Activity::Sensor(state) = &event.activity { Some(state.kind) } else { None }).collect();
    use SensorStateKind::{Capabilities, Started, Stopped};
    assert_eq!(states, [Started, Capabilities, Started, Capabilities, Stopped]);
}
