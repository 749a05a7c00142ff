use std::sync::mpsc;

use picket_event::{
    Completeness, Confidence, DetectionFinding, FileActivityKind, FileSystemActivity, FindingActivityKind, FindingRule, LaunchType, ProcessActivity,
    ProcessActivityKind, RuleKind, Verdict,
};
use picket_spool::{SpoolConfig, Stored};

use super::*;

fn event(number: u32, time: i64) -> Event {
    let kind = ProcessActivityKind::Launch(LaunchType::Fork);
    let process = picket_event::Process { pid: number, cmd_line: format!("{number} ").repeat(60), ..picket_event::Process::default() };
    let activity = if number.is_multiple_of(2) {
        Activity::Process(ProcessActivity { kind, process, method: picket_event::ProcessMethod::None })
    } else {
        let file = picket_event::File { path: format!("/{number}/").repeat(60), ..picket_event::File::default() };
        Activity::File(FileSystemActivity::new(FileActivityKind::Open, picket_event::Access::READ, file))
    };
    own_event(activity, Timestamp(time))
}

fn chunk(numbers: std::ops::Range<u32>) -> Chunk {
    let numbered = |number| Numbered { produced: Some((number % 2) as usize), ..Numbered::own(event(number, i64::from(number))) };
    numbers.map(numbered).collect()
}

/// Everything that is in the spool after `seq`.
fn stored(spool: &Spool, seq: u64) -> Vec<Event> {
    let mut found = Vec::new();
    let mut reader = spool.reader();
    let mut seq = seq;
    loop {
        let batch = reader.frames_after(seq, 1 << 20).unwrap();
        let Some(last) = batch.last() else { return found };
        seq = last.last_seq();
        for stored in batch {
            let Stored::Frame(frame) = stored else { panic!("{stored:?}") };
            found.extend(picket_proto::frame::decode(&frame.payload, frame.count).unwrap());
        }
    }
}

fn kept_and_lost(events: &[Event]) -> (u64, Vec<(LossCause, Option<EventClass>, u64)>) {
    let mut kept = 0;
    let mut lost = Vec::new();
    for event in events {
        match &event.activity {
            Activity::Loss(loss) => lost.push((loss.cause, loss.class, loss.count.unwrap())),
            Activity::Sensor(_) => {}
            _ => kept += 1,
        }
    }
    (kept, lost)
}

struct Setup {
    spool: Spool,
    ledger: Arc<LossLedger>,
    chunks: mpsc::SyncSender<Chunk>,
    thread: std::thread::JoinHandle<bool>,
    dir: std::path::PathBuf,
    _folder: Option<tempfile::TempDir>,
}

fn setup(dir: std::path::PathBuf, bytes_max: u64, folder: Option<tempfile::TempDir>) -> Setup {
    let (spool, _) = Spool::open(SpoolConfig { bytes_max, segment_bytes: 8 << 10, reserve_bytes: bytes_max / 8, ..SpoolConfig::new(dir.clone()) }).unwrap();
    let ledger = Arc::<LossLedger>::default();
    let (synced, _) = watch::channel(0);
    let spooler = Spooler::new(spool.clone(), Arc::clone(&ledger), [9; 16], synced, Arc::default()).unwrap();
    let (chunks, events) = mpsc::sync_channel(4);
    let thread = std::thread::spawn(move || spooler.run(&events, "the test is over"));
    Setup { spool, ledger, chunks, thread, dir, _folder: folder }
}

fn in_folder(bytes_max: u64) -> Setup {
    let folder = tempfile::tempdir().unwrap();
    setup(folder.path().join("spool"), bytes_max, Some(folder))
}

#[test]
fn what_is_fed_is_stored_in_order_and_the_checkpoint_accounts_for_it() {
    let setup = in_folder(16 << 20);
    for part in 0..40 {
        setup.chunks.send(chunk(part * 100..part * 100 + 100)).unwrap();
    }
    drop(setup.chunks);
    assert!(setup.thread.join().unwrap());
    let events = stored(&setup.spool, 0);
    let times: Vec<i64> = events.iter().filter(|event| !matches!(event.activity, Activity::Sensor(_))).map(|event| event.time.0).collect();
    assert_eq!(times, (0..4_000).collect::<Vec<i64>>());
    assert!(matches!(&events.last().unwrap().activity, Activity::Sensor(state) if state.kind == SensorStateKind::Stopped));
    let Setup { spool, dir, _folder, .. } = setup;
    drop(spool);
    let (_, recovery) = Spool::open(SpoolConfig::new(dir)).unwrap();
    let checkpoint = Checkpoint::decode(&recovery.checkpoint.unwrap()).unwrap();
    assert_eq!(checkpoint, Checkpoint { boot: [9; 16], accounted: [2_000, 2_000, 0], dropped: [0; 3] });
}

#[test]
fn a_full_spool_loses_nothing_that_is_not_told() {
    let setup = in_folder(64 << 10);
    for part in 0..200 {
        setup.chunks.send(chunk(part * 100..part * 100 + 100)).unwrap();
    }
    setup.ledger.add(Pending {
        cause: LossCause::RingFull,
        class: Some(EventClass::ProcessActivity),
        cpu: Some(1),
        count: 5,
        produced: 0,
        since: Timestamp(1),
        until: Timestamp(2),
    });
    drop(setup.chunks);
    assert!(setup.thread.join().unwrap(), "the reserved room holds what was lost");
    let (kept, lost) = kept_and_lost(&stored(&setup.spool, 0));
    let told: u64 = lost.iter().filter(|(cause, ..)| *cause == LossCause::SpoolFull).map(|(.., count)| count).sum();
    assert!(kept > 0 && told > 0, "{kept} kept, {told} told");
    assert_eq!(kept + told, 20_000, "{lost:?}");
    assert!(lost.contains(&(LossCause::RingFull, Some(EventClass::ProcessActivity), 5)));
    let Setup { spool, dir, _folder, .. } = setup;
    drop(spool);
    let (_, recovery) = Spool::open(SpoolConfig::new(dir)).unwrap();
    let checkpoint = Checkpoint::decode(&recovery.checkpoint.unwrap()).unwrap();
    assert_eq!(checkpoint, Checkpoint { boot: [9; 16], accounted: [10_000, 10_000, 0], dropped: [5, 0, 0] }, "told is accounted for");
}

fn finding() -> DetectionFinding {
    let rule = FindingRule { uid: "one".to_owned(), version: "1".to_owned(), title: "One".to_owned(), kind: RuleKind::Scanner };
    DetectionFinding {
        kind: FindingActivityKind::Create,
        uid: "a finding".to_owned(),
        rule,
        title: "a pickle that runs a shell".to_owned(),
        explanation: String::new(),
        verdict: Verdict::Malicious,
        confidence: Confidence::High,
        completeness: Completeness::Full,
        file: None,
        process: None,
        evidence: Vec::new(),
        techniques: Vec::new(),
        related_events: Vec::new(),
        scan_uid: String::new(),
    }
}

#[test]
fn an_allowance_that_files_filled_takes_processes_and_findings() {
    let setup = in_folder(256 << 10);
    let finding = |at| own_event(Activity::Finding(Box::new(finding())), Timestamp(at));
    // A process in 500 events, a finding in a thousand; every third read is of a file that no watch names.
    for part in 0..800 {
        let mut chunk: Chunk = (part * 100..part * 100 + 100)
            .map(|number| {
                let numbered = Numbered::own(event(if number % 500 == 0 { number } else { number | 1 }, i64::from(number)));
                let process = matches!(numbered.event.activity, Activity::Process(_));
                let priority = if !process && number % 3 == 0 { Priority::Low } else { numbered.priority };
                Numbered { produced: Some(usize::from(!process)), priority, ..numbered }
            })
            .collect();
        if part % 10 == 0 {
            chunk.push(Numbered::own(finding(i64::from(part))));
        }
        setup.chunks.send(chunk).unwrap();
    }
    drop(setup.chunks);
    assert!(setup.thread.join().unwrap());
    let events = stored(&setup.spool, 0);
    let count = |of: fn(&Activity) -> bool| events.iter().filter(|event| of(&event.activity)).count();
    assert_eq!(count(|activity| matches!(activity, Activity::Process(_))), 160, "no process is lost");
    assert_eq!(count(|activity| matches!(activity, Activity::Finding(_))), 80, "no finding is lost");
    let files = count(|activity| matches!(activity, Activity::File(_)));
    let (_, lost) = kept_and_lost(&events);
    assert!(files > 0 && !lost.is_empty(), "the allowance was filled: {files} files kept, {lost:?}");
    assert!(lost.iter().all(|(cause, class, _)| (*cause, *class) == (LossCause::SpoolFull, Some(EventClass::FileSystemActivity))), "{lost:?}");
    let told: u64 = lost.iter().map(|(.., count)| count).sum();
    assert_eq!(files as u64 + told, 79_840, "what is missing is what was counted");
    let low = |event: &&Event| matches!(event.activity, Activity::File(_)) && event.time.0 % 3 == 0;
    let last = |events: Vec<&Event>| events.iter().map(|event| event.time.0).max().unwrap();
    let (lows, files): (Vec<_>, Vec<_>) = events.iter().filter(|event| matches!(event.activity, Activity::File(_))).partition(low);
    assert!(last(lows) < last(files), "reads that nothing watches stop first");
    let Setup { spool, dir, _folder, .. } = setup;
    drop(spool);
    let (_, recovery) = Spool::open(SpoolConfig::new(dir)).unwrap();
    let checkpoint = Checkpoint::decode(&recovery.checkpoint.unwrap()).unwrap();
    assert_eq!(checkpoint, Checkpoint { boot: [9; 16], accounted: [160, 79_840, 0], dropped: [0; 3] });
}

#[test]
fn a_full_disk_loses_nothing_that_is_not_told() {
    let folder = tempfile::tempdir().unwrap();
    let mounted = std::process::Command::new("mount").args(["-t", "tmpfs", "-o", "size=256k", "none"]).arg(folder.path()).status();
    if !mounted.is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED a_full_disk_loses_nothing_that_is_not_told: cannot mount a tmpfs (needs root)");
        return;
    }
    let result = std::panic::catch_unwind(|| fill_the_disk(folder.path()));
    std::process::Command::new("umount").arg("-l").arg(folder.path()).status().unwrap();
    if let Err(panic) = result {
        std::panic::resume_unwind(panic);
    }
}

fn fill_the_disk(point: &std::path::Path) {
    // What fills it is somebody else's; it goes away later.
    std::fs::write(point.join("other"), vec![1; 100 << 10]).unwrap();
    let setup = setup(point.join("spool"), 16 << 20, None);
    for part in 0..200 {
        setup.chunks.send(chunk(part * 100..part * 100 + 100)).unwrap();
    }
    let end = Instant::now() + Duration::from_secs(60);
    while !setup.ledger.totals().iter().any(|(cause, ..)| *cause == LossCause::DiskError) {
        assert!(Instant::now() < end, "the disk does not get full");
        std::thread::sleep(Duration::from_millis(10));
    }
    std::fs::remove_file(point.join("other")).unwrap();
    drop(setup.chunks);
    assert!(setup.thread.join().unwrap());
    let (kept, lost) = kept_and_lost(&stored(&setup.spool, 0));
    let told: u64 = lost.iter().filter(|(cause, ..)| *cause == LossCause::DiskError).map(|(.., count)| count).sum();
    assert!(kept > 0 && told > 0, "{kept} kept, {told} told");
    assert_eq!(kept + told, 20_000, "{lost:?}");
}
