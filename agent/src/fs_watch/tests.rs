//! What the kernel's notices become, in real folders.

use std::path::Path;

use picket_event::{FileActivityKind, FileSystemActivity};

use super::*;
use crate::{config::Config, enrich::Roles, queue::queue, sensor::SensorSnapshot, watches::WatchIds};

const PATIENCE: Duration = Duration::from_secs(30);

struct Rig {
    watch: FsWatch,
    events: mpsc::Receiver<Chunk>,
    snapshot: SharedSnapshot,
    ready: std::collections::VecDeque<Event>,
}

fn rig(config: &str) -> Rig {
    let config = Config::parse(config, Path::new("agent.toml")).unwrap();
    let mut ids = WatchIds::default();
    let specs = ids.specs(&config.watch);
    let rules = Arc::new(ArcSwap::from_pointee(Rules::new(&config, Roles::load(None).unwrap(), &ids)));
    let snapshot: SharedSnapshot = Arc::new(ArcSwap::from_pointee(SensorSnapshot::default()));
    let (sink, events) = mpsc::sync_channel(1_024);
    let (queue, _) = queue(1 << 20);
    let shared = Shared { rules, snapshot: Arc::clone(&snapshot), ledger: Arc::default(), sink, beats: Arc::default(), _queue: queue };
    Rig { watch: FsWatch::start(specs, shared).unwrap(), events, snapshot, ready: std::collections::VecDeque::new() }
}

fn watching(path: &Path) -> String {
    format!("[[watch]]\npath = {:?}\nasset_class = \"model\"\n", path.display().to_string())
}

impl Rig {
    fn next(&mut self) -> Event {
        while self.ready.is_empty() {
            self.ready.extend(self.events.recv_timeout(PATIENCE).expect("an event").into_iter().map(|numbered| numbered.event));
        }
        self.ready.pop_front().unwrap()
    }

    /// The next activities of a file, until one of `last`.
    fn until(&mut self, last: FileActivityKind, path: &Path) -> Vec<FileSystemActivity> {
        let mut all = Vec::new();
        loop {
            let event = self.next();
            let Activity::File(activity) = event.activity else { continue };
            assert!(event.actor.is_none() && event.flags.contains(EventFlags::NO_PROCESS));
            let is_last = activity.kind == last && Path::new(&activity.file.path) == path;
            all.push(activity);
            if is_last {
                return all;
            }
        }
    }
}

fn kinds(activities: &[FileSystemActivity], path: &Path) -> Vec<FileActivityKind> {
    activities.iter().filter(|activity| Path::new(&activity.file.path) == path).map(|activity| activity.kind).collect()
}

#[test]
fn a_file_is_made_read_renamed_and_removed() {
    let folder = tempfile::tempdir().unwrap();
    let mut rig = rig(&watching(folder.path()));
    let (path, renamed) = (folder.path().join("w.bin"), folder.path().join("v.bin"));
    std::fs::write(&path, "12345").unwrap();
    let seen = rig.until(FileActivityKind::Update, &path);
    assert_eq!(kinds(&seen, &path), [FileActivityKind::Create, FileActivityKind::Update], "the open that makes a file is no event of its own");
    let update = seen.last().unwrap();
    assert_eq!((update.file.size_bytes, update.file.asset_class.as_str(), update.file.mode & 0o170_000), (Some(5), "model", 0o100_000));
    std::fs::read(&path).unwrap();
    rig.until(FileActivityKind::Open, &path);
    std::fs::rename(&path, &renamed).unwrap();
    let seen = rig.until(FileActivityKind::Rename, &path);
    let result = seen.last().unwrap().file_result.as_ref().unwrap();
    assert_eq!((Path::new(&result.path), result.inode), (renamed.as_path(), seen.last().unwrap().file.inode));
    assert_ne!(result.inode, 0);
    std::fs::remove_file(&renamed).unwrap();
    let seen = rig.until(FileActivityKind::Delete, &renamed);
    assert!(!kinds(&seen, &path).contains(&FileActivityKind::Delete) && !kinds(&seen, &renamed).contains(&FileActivityKind::Create), "{seen:?}");
    rig.watch.stop().unwrap();
}

#[test]
fn a_rename_over_the_edge_is_a_removal_or_a_creation() {
    let (folder, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::fs::write(folder.path().join("out.bin"), "x").unwrap();
    std::fs::write(outside.path().join("in.bin"), "x").unwrap();
    let mut rig = rig(&watching(folder.path()));
    std::fs::rename(folder.path().join("out.bin"), outside.path().join("out.bin")).unwrap();
    rig.until(FileActivityKind::Delete, &folder.path().join("out.bin"));
    std::fs::rename(outside.path().join("in.bin"), folder.path().join("in.bin")).unwrap();
    rig.until(FileActivityKind::Create, &folder.path().join("in.bin"));
    rig.watch.stop().unwrap();
}

#[test]
fn nothing_that_is_made_in_a_new_folder_is_missed() {
    let folder = tempfile::tempdir().unwrap();
    let mut rig = rig(&watching(folder.path()));
    // Faster than anybody can add a watch.
    let mut expected: std::collections::BTreeSet<PathBuf> = std::collections::BTreeSet::new();
    for at in 0..40 {
        let deep = folder.path().join(format!("a{at}/b/c"));
        std::fs::create_dir_all(&deep).unwrap();
        std::fs::write(deep.join("w.bin"), "x").unwrap();
        expected.insert(deep.join("w.bin"));
    }
    let end = Instant::now() + PATIENCE;
    while !expected.is_empty() {
        assert!(Instant::now() < end, "never told: {expected:?}");
        if let Activity::File(activity) = rig.next().activity
            && activity.kind == FileActivityKind::Create
        {
            expected.remove(Path::new(&activity.file.path));
        }
    }
    // And afterwards they are watched.
    let path = folder.path().join("a7/b/c/later.bin");
    std::fs::write(&path, "x").unwrap();
    rig.until(FileActivityKind::Update, &path);
    // Also under a new name.
    std::fs::rename(folder.path().join("a8"), folder.path().join("z8")).unwrap();
    let moved = folder.path().join("z8/b/c/moved.bin");
    let end = Instant::now() + PATIENCE;
    loop {
        std::fs::write(&moved, "x").unwrap();
        let seen = std::iter::from_fn(|| rig.events.recv_timeout(Duration::from_millis(200)).ok()).flatten().any(|numbered| {
            matches!(numbered.event.activity, Activity::File(activity) if Path::new(&activity.file.path) == moved && activity.kind == FileActivityKind::Update)
        });
        if seen {
            break;
        }
        assert!(Instant::now() < end, "a folder is not watched under its new name");
    }
    rig.watch.stop().unwrap();
}

#[test]
fn after_an_overflow_the_trees_are_compared() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    for name in ["same", "changed", "removed"] {
        std::fs::write(path(name), "x").unwrap();
    }
    let watcher = notify::recommended_watcher(|_| {}).unwrap();
    let mut folders = Folders::new(watcher);
    let states = folders.set(&[WatchSpec { id: 1, path: folder.path().to_path_buf() }]);
    assert!(states.first().unwrap().active && states.first().unwrap().reason.is_empty());
    std::fs::write(path("changed"), "longer").unwrap();
    std::fs::remove_file(path("removed")).unwrap();
    std::fs::create_dir(path("new")).unwrap();
    std::fs::write(path("new/made"), "x").unwrap();
    assert_eq!(folders.compare(), [Change::Changed(path("changed")), Change::Created(path("new/made")), Change::Removed(path("removed"))]);
    std::fs::write(path("changed"), "again longer").unwrap();
    assert_eq!(folders.compare(), [Change::Changed(path("changed"))]);
}

#[test]
fn an_overflow_is_a_loss_and_is_healed() {
    let folder = tempfile::tempdir().unwrap();
    let (notices, inbox) = mpsc::sync_channel(4);
    let config = Config::parse(&watching(folder.path()), Path::new("agent.toml")).unwrap();
    let mut ids = WatchIds::default();
    let specs = ids.specs(&config.watch);
    let (sink, events) = mpsc::sync_channel(64);
    let (queue, _receiver) = queue(1 << 20);
    let rules = Arc::new(ArcSwap::from_pointee(Rules::new(&config, Roles::load(None).unwrap(), &ids)));
    let shared = Shared { rules, snapshot: Arc::default(), ledger: Arc::default(), sink, beats: Arc::default(), _queue: queue };
    // The kernel's watcher tells nobody: what happens is seen by the comparison alone.
    let folders = Folders::new(notify::recommended_watcher(|_| {}).unwrap());
    let mut worker = Worker { folders, translator: Translator::default(), inbox, dropped: Arc::default(), shared, overflowed_at: None, chunk: Vec::new() };
    worker.set(&specs);
    std::fs::write(folder.path().join("w.bin"), "x").unwrap();
    notices.send(Ok(notify::Event::new(notify::EventKind::Other).set_flag(notify::event::Flag::Rescan))).unwrap();
    let (requests, asked) = mpsc::channel();
    let thread = std::thread::spawn(move || worker.run(&asked));
    let first = events.recv_timeout(PATIENCE).unwrap();
    let Activity::Loss(loss) = &first.first().unwrap().event.activity else { panic!("no loss") };
    assert_eq!((loss.cause, loss.count), (LossCause::QueueFull, None));
    let healed = events.recv_timeout(PATIENCE).unwrap();
    let event = &healed.first().unwrap().event;
    assert!(matches!(&event.activity, Activity::File(activity) if activity.kind == FileActivityKind::Create && activity.file.path.ends_with("/w.bin")));
    assert!(event.flags.contains(EventFlags::PREEXISTING), "nobody saw the moment");
    requests.send(Request::Stop).unwrap();
    thread.join().unwrap();
}

#[test]
fn a_root_that_goes_or_is_not_there_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("models");
    std::fs::create_dir(&root).unwrap();
    let absent = folder.path().join("absent");
    let rig = rig(&format!("{}{}", watching(&root), watching(&absent)));
    let state = |path: &Path| rig.snapshot.load().watches.iter().find(|state| state.path == path).map(|state| (state.active, state.reason.clone())).unwrap();
    assert_eq!(state(&root), (true, String::new()));
    assert!(!state(&absent).0 && state(&absent).1.contains("cannot be watched"));
    std::fs::remove_dir(&root).unwrap();
    let end = Instant::now() + PATIENCE;
    while state(&root).0 {
        assert!(Instant::now() < end);
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(state(&root).1, "it was removed or renamed");
    // Once it is there, setting the watches again takes it up.
    std::fs::create_dir(&absent).unwrap();
    assert!(rig.watch.watches().set(vec![WatchSpec { id: 2, path: absent.clone() }], PATIENCE));
    assert_eq!(state(&absent), (true, String::new()));
    rig.watch.stop().unwrap();
}
