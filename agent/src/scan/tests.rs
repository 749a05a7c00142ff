//! The thread with the real `picket-scanner`, where it is built.

use std::{
    path::{Path, PathBuf},
    sync::mpsc::Receiver,
    time::Instant,
};

use picket_event::{Actor, Completeness, EventFlags, File, FileSystemActivity, ScanActivityKind, Severity, Timestamp};

use super::*;

const EVIL: &[u8] = b"cbuiltins\nprint\n(S'harmless'\ntR.";
const WAIT_MAX: Duration = Duration::from_secs(60);

/// The program beside the tests' own folder: `cargo build --workspace --bins` puts it there.
fn scanner() -> Option<PathBuf> {
    let path = std::env::current_exe().ok()?.parent()?.parent()?.join("picket-scanner");
    if path.is_file() {
        return Some(path);
    }
    eprintln!("SKIPPED scan::tests: {} is not built", path.display());
    None
}

struct Rig {
    thread: Option<ScanThread>,
    events: Receiver<Chunk>,
    ledger: Arc<LossLedger>,
    status: Arc<ScanStatus>,
    folder: tempfile::TempDir,
    launcher: u32,
}

impl Rig {
    fn start(config: &str, arguments: &[&str]) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let arguments: Vec<String> = arguments.iter().map(|one| (*one).to_owned()).collect();
        // The launcher ends with the thread that started it, as it shall with the agent's main thread: tests keep theirs.
        let launcher = Launcher::start(&scanner()?, &arguments).unwrap();
        let quiet = if config.contains("quiet_ms") { "" } else { "quiet_ms = 50\n" };
        let launcher_pid = launcher.pid();
        let text = format!("[scan]\n{quiet}cpu_percent = 100.0\nbytes_per_second_max = 1099511627776\nrescan_hours = 0\n{config}");
        let config = Arc::new(ArcSwap::from_pointee(Config::parse(&text, Path::new("agent.toml")).unwrap()));
        let (sender, events) = mpsc::sync_channel(64);
        let (ledger, status) = (Arc::<LossLedger>::default(), Arc::<ScanStatus>::default());
        let thread = start(launcher, config, &ledger, sender, Arc::clone(&status)).unwrap();
        Some(Self { thread: Some(thread), events, ledger, status, folder, launcher: launcher_pid })
    }

    fn intake(&self) -> &Intake {
        &self.thread.as_ref().unwrap().intake
    }

    fn write(&self, name: &str, content: &[u8]) -> String {
        let path = self.folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.to_string_lossy().into_owned()
    }

    fn written(&self, path: &str) {
        self.intake().offer(&written(path, None));
    }

    /// Events until one is a scan that came to its end.
    fn until_scanned(&self) -> Vec<Event> {
        let (began, mut events) = (Instant::now(), Vec::new());
        loop {
            let left = WAIT_MAX.checked_sub(began.elapsed()).expect("no scan ended in time");
            events.extend(self.events.recv_timeout(left).expect("the thread ended").into_iter().map(|one| one.event));
            if events.iter().any(|event| matches!(&event.activity, Activity::Scan(scan) if scan.until.is_some())) {
                return events;
            }
        }
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            let _ = thread.stop();
        }
    }
}

fn file(path: &str) -> File {
    File { path: path.to_owned(), inode: 0, device: 0, size_bytes: None, mode: 0, owner_uid: 0, asset_class: "model".to_owned(), sha256: None }
}

fn written(path: &str, actor: Option<Actor>) -> Event {
    let activity = FileSystemActivity::new(FileActivityKind::Update, picket_event::Access::default(), file(path));
    Event { time: Timestamp(1), severity: Severity::Informational, flags: EventFlags::default(), actor, activity: Activity::File(activity) }
}

fn findings(events: &[Event]) -> Vec<&picket_event::DetectionFinding> {
    events.iter().filter_map(|event| if let Activity::Finding(finding) = &event.activity { Some(&**finding) } else { None }).collect()
}

fn scans(events: &[Event]) -> Vec<&picket_event::ScanActivity> {
    events.iter().filter_map(|event| if let Activity::Scan(scan) = &event.activity { Some(&**scan) } else { None }).collect()
}

#[test]
fn a_file_that_landed_is_judged_once_and_named_in_full() {
    let Some(rig) = Rig::start("", &[]) else { return };
    let path = rig.write("model.pkl", EVIL);
    rig.written(&path);
    rig.written(&path);
    let events = rig.until_scanned();
    let found = findings(&events);
    assert_eq!(found.len(), 1, "{events:?}");
    let (finding, scan) = (found[0], scans(&events)[0]);
    assert_eq!((finding.rule.uid.get(..11), finding.scan_uid.as_str()), (Some("PICKET-PKL-"), scan.scan_uid.as_str()));
    let seen = finding.file.as_ref().unwrap();
    assert_eq!(
        (seen.path.as_str(), seen.size_bytes, seen.asset_class.as_str(), seen.sha256.is_some()),
        (path.as_str(), Some(EVIL.len() as u64), "model", true)
    );
    assert_eq!((scan.kind, scan.counts.files, scan.counts.detections), (ScanActivityKind::Completed, 1, 1));
    // It did not change: nothing is read or told again. Another file is.
    rig.written(&path);
    let clean = rig.write("clean.pkl", b"\x80\x02N.");
    rig.written(&clean);
    let events = rig.until_scanned();
    assert!(findings(&events).is_empty() && scans(&events)[0].name == clean, "{events:?}");
    assert!(rig.ledger.is_empty());
}

#[test]
fn unfinished_downloads_wait_for_their_name() {
    let Some(rig) = Rig::start("", &[]) else { return };
    rig.written(&rig.write("abc.incomplete", EVIL));
    let marked = rig.write("big.pkl", EVIL);
    rig.write("big.pkl.aria2", b"notes");
    rig.written(&marked);
    std::thread::sleep(Duration::from_millis(600));
    assert!(rig.events.try_recv().is_err(), "something was scanned too early");
    std::fs::remove_file(format!("{marked}.aria2")).unwrap();
    assert_eq!(scans(&rig.until_scanned())[0].name, marked);
    let (from, to) = (rig.folder.path().join("abc.incomplete"), rig.folder.path().join("abc"));
    std::fs::rename(&from, &to).unwrap();
    let mut activity = FileSystemActivity::new(FileActivityKind::Rename, picket_event::Access::default(), file(&from.to_string_lossy()));
    activity.file_result = Some(file(&to.to_string_lossy()));
    rig.intake().offer(&Event { activity: Activity::File(activity), ..written("/", None) });
    let events = rig.until_scanned();
    assert_eq!(findings(&events)[0].file.as_ref().unwrap().path, to.to_string_lossy());
}

#[test]
fn a_file_that_hangs_the_scanner_is_told_and_not_tried_again() {
    let Some(rig) = Rig::start("time_seconds_max = 1\n", &["--self-test", "slow"]) else { return };
    let path = rig.write("model.pkl", EVIL);
    rig.written(&path);
    let events = rig.until_scanned();
    let finding = findings(&events)[0];
    assert_eq!((finding.rule.uid.as_str(), finding.verdict), ("PICKET-SCAN-002", picket_event::Verdict::Unscannable));
    assert!(finding.explanation.contains("did not come back") && matches!(finding.completeness, Completeness::Partial(_)), "{finding:?}");
    assert_eq!(scans(&events)[0].kind, ScanActivityKind::Error);
    rig.written(&path);
    std::thread::sleep(Duration::from_millis(1_500));
    assert!(rig.events.try_recv().is_err(), "it was tried again");
    assert_eq!(rig.status.json()["killed"], 1);
}

#[test]
fn a_scanner_that_is_killed_in_the_middle_is_told_and_started_again() {
    let Some(rig) = Rig::start("", &["--self-test", "slow"]) else { return };
    rig.written(&rig.write("model.pkl", EVIL));
    let pid = (0..600).find_map(|_| {
        std::thread::sleep(Duration::from_millis(50));
        worker_of(rig.launcher)
    });
    std::thread::sleep(Duration::from_millis(1_000));
    let pid = nix::unistd::Pid::from_raw(i32::try_from(pid.expect("no worker was started")).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    let events = rig.until_scanned();
    assert!(findings(&events)[0].explanation.contains("was killed"), "{events:?}");
}

/// The worker below a launcher.
fn worker_of(launcher: u32) -> Option<u32> {
    let tasks = std::fs::read_dir(format!("/proc/{launcher}/task")).ok()?.flatten();
    let children = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
    let pid = tasks.map(children).find_map(|pids| pids.split_whitespace().next().and_then(|pid| pid.parse().ok()))?;
    // Locked in: the next thing that it gets is a file.
    std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?.contains("Seccomp:\t2").then_some(pid)
}

#[test]
fn trees_are_scanned_on_command_and_their_sums_told() {
    let Some(rig) = Rig::start("", &[]) else { return };
    rig.write("a.pkl", EVIL);
    rig.write("b.pkl", b"\x80\x02N.");
    rig.write("c.7z", b"7z\xbc\xaf\x27\x1c\0\x04");
    let folder = rig.folder.path().to_string_lossy().into_owned();
    assert!(rig.intake().command("command-0", &["relative".to_owned()]).is_err() && rig.intake().command("command-0", &[]).is_err());
    rig.intake().command("command-1", &[folder.clone(), "/nowhere/at/all".to_owned()]).unwrap();
    let events = rig.until_scanned();
    let told = scans(&events);
    assert_eq!((told[0].kind, told[0].command_uid.as_str()), (ScanActivityKind::Started, "command-1"));
    let last = told.last().unwrap();
    assert_eq!((last.counts.files, last.trigger), (3, picket_event::ScanTrigger::Manual));
    assert!(last.counts.skipped >= 1 && last.counts.detections >= 1 && last.kind == ScanActivityKind::Error, "{last:?}");
    // Again: everything is known.
    rig.intake().command("command-2", &[folder]).unwrap();
    let events = rig.until_scanned();
    let last = scans(&events).last().copied().unwrap().clone();
    assert_eq!((last.counts.files, last.counts.trusted, findings(&events).len()), (0, 3, 0));
}

#[test]
fn bytes_that_were_judged_are_known_under_another_inode() {
    let Some(rig) = Rig::start("", &[]) else { return };
    let evil = rig.write("model.pkl", EVIL);
    rig.written(&evil);
    let first = findings(&rig.until_scanned())[0].clone();
    // A copy in another folder is told with findings of its own, and not judged again.
    std::fs::create_dir(rig.folder.path().join("layer")).unwrap();
    let copy = rig.write("layer/model.pkl", EVIL);
    rig.written(&copy);
    let events = rig.until_scanned();
    let (finding, scan) = (findings(&events)[0], scans(&events)[0]);
    assert_eq!((finding.file.as_ref().unwrap().path.as_str(), finding.rule.uid.as_str()), (copy.as_str(), first.rule.uid.as_str()));
    assert_eq!(finding.file.as_ref().unwrap().sha256, first.file.as_ref().unwrap().sha256);
    assert_eq!((scan.counts.files, scan.counts.trusted, scan.counts.detections), (0, 1, 1));
    assert!(scan.detail.contains(&first.file.as_ref().unwrap().sha256.unwrap().to_string()), "{scan:?}");
    assert_eq!((rig.status.json()["files"].as_u64(), rig.status.json()["by_digest"].as_u64()), (Some(1), Some(1)));
    // Where something was found, the name counts whole: under this one there is more to say.
    let renamed = rig.write("model.safetensors", EVIL);
    rig.written(&renamed);
    let events = rig.until_scanned();
    assert!(findings(&events).len() > 1 && scans(&events)[0].counts.files == 1, "{events:?}");
    // A clean one is known under every name with its ending, and one more byte is another content.
    for (name, content, judged) in [("a.pkl", &b"\x80\x02N."[..], 1), ("b.pkl", b"\x80\x02N.", 0), ("c.pkl", b"\x80\x02K\x01.", 1), ("d.bin", b"\x80\x02N.", 1)]
    {
        rig.written(&rig.write(name, content));
        let events = rig.until_scanned();
        assert_eq!((findings(&events).len(), scans(&events)[0].counts.files), (0, judged), "{name}: {events:?}");
    }
    assert_eq!(rig.status.json()["by_digest"], 2);
}

#[test]
fn what_waits_at_the_end_is_counted() {
    let Some(mut rig) = Rig::start("quiet_ms = 60000\n", &[]) else { return };
    for number in 0..5 {
        rig.written(&rig.write(&format!("{number}.pkl"), EVIL));
    }
    std::thread::sleep(Duration::from_millis(500));
    rig.thread.take().unwrap().stop().unwrap();
    let lost: u64 = rig.ledger.totals().iter().map(|(_, _, count)| count).sum();
    assert_eq!(lost, 5);
}

#[test]
fn plain_reads_and_deletions_are_no_reason_to_scan() {
    let (sender, inbox) = mpsc::sync_channel(8);
    let intake = Intake { sender, ledger: Arc::default() };
    for kind in [FileActivityKind::Open, FileActivityKind::Delete, FileActivityKind::Create] {
        let activity = FileSystemActivity::new(kind, picket_event::Access::default(), file("/m/a.pt"));
        intake.offer(&Event { activity: Activity::File(activity), ..written("/m/a.pt", None) });
    }
    intake.offer(&written("relative.pt", None));
    assert!(inbox.try_recv().is_err());
    // A full queue is a loss, and never a wait.
    for _ in 0..10 {
        intake.offer(&written("/m/a.pt", None));
    }
    assert_eq!(intake.ledger.totals().iter().map(|(_, _, count)| count).sum::<u64>(), 2);
}
