//! Watched trees through inotify, where eBPF is not available (a container, an old kernel, no privileges) or not wanted.
//!
//! What it cannot see: which process did it (every event says so), reads and writes as such (an open and a close after writing are seen), files
//! that only an extension would match, processes and the network. Watches are one a folder, so the kernel's `max_user_watches` may end them: the
//! state of the watch says so. A new folder is watched first and listed then, so that nothing made in between is missed. When the kernel's
//! queue overflowed, that is a loss event, and the trees are compared with what was known.

mod folders;
#[cfg(test)]
mod tests;
mod translate;

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, RecvTimeoutError, SyncSender, TrySendError},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use picket_ebpf::{WatchSpec, WatchState};
use picket_event::{Activity, Event, EventClass, EventFlags, LossCause, SensorLoss, Severity, Timestamp};

use self::{
    folders::{Change, Folders},
    translate::Translator,
};
use crate::{
    boot::wall_now,
    loss::{LossLedger, Pending},
    pipeline::{Chunk, Numbered, Rules},
    queue::QueueSender,
    sensor::SharedSnapshot,
    supervisor::Beats,
};

/// Notices that may wait. An unprivileged user makes them as fast as the kernel lets them; beyond it they are dropped and counted.
const NOTICES_MAX: usize = 65_536;
const CHUNK_EVENTS_MAX: usize = 256;
/// How often the thread looks around when nothing happens.
const TICK: Duration = Duration::from_millis(50);

enum Request {
    Watches(Vec<WatchSpec>, SyncSender<()>),
    Stop,
}

/// The running thread.
pub(crate) struct FsWatch {
    requests: mpsc::Sender<Request>,
    thread: JoinHandle<()>,
}

/// Sets the watches of the running thread.
#[derive(Clone)]
pub(crate) struct FsWatchSetter(mpsc::Sender<Request>);

impl FsWatchSetter {
    /// The snapshot shows what became of them. False where the thread did not answer.
    pub(crate) fn set(&self, watches: Vec<WatchSpec>, wait_max: Duration) -> bool {
        let (done, answer) = mpsc::sync_channel(1);
        self.0.send(Request::Watches(watches, done)).is_ok() && answer.recv_timeout(wait_max).is_ok()
    }
}

/// What the thread shares with the rest of the agent.
pub(crate) struct Shared {
    pub(crate) rules: Arc<ArcSwap<Rules>>,
    pub(crate) snapshot: SharedSnapshot,
    pub(crate) ledger: Arc<LossLedger>,
    pub(crate) sink: SyncSender<Chunk>,
    pub(crate) beats: Arc<Beats>,
    /// Keeps the pipeline's thread, which has nothing to do, in its place.
    pub(crate) _queue: QueueSender,
}

impl FsWatch {
    /// Watches `watches` until it is stopped.
    pub(crate) fn start(watches: Vec<WatchSpec>, shared: Shared) -> anyhow::Result<Self> {
        let (notices, inbox) = mpsc::sync_channel(NOTICES_MAX);
        let dropped = Arc::<AtomicU64>::default();
        let counting = Arc::clone(&dropped);
        let watcher = notify::recommended_watcher(move |notice| {
            if let Err(TrySendError::Full(_)) = notices.try_send(notice) {
                counting.fetch_add(1, Ordering::Relaxed);
            }
        })?;
        let (requests, asked) = mpsc::channel();
        let mut worker =
            Worker { folders: Folders::new(watcher), translator: Translator::default(), inbox, dropped, shared, overflowed_at: None, chunk: Vec::new() };
        worker.set(&watches);
        let thread = std::thread::Builder::new().name("fs_watch".to_owned()).spawn(move || worker.run(&asked))?;
        Ok(Self { requests, thread })
    }

    pub(crate) fn watches(&self) -> FsWatchSetter {
        FsWatchSetter(self.requests.clone())
    }

    /// Hands over what was noticed, and ends.
    pub(crate) fn stop(self) -> std::thread::Result<()> {
        let _ = self.requests.send(Request::Stop);
        self.thread.join()
    }
}

struct Worker {
    folders: Folders,
    translator: Translator,
    inbox: mpsc::Receiver<notify::Result<notify::Event>>,
    dropped: Arc<AtomicU64>,
    shared: Shared,
    /// The kernel's queue overflowed and the trees have not been compared since.
    overflowed_at: Option<Instant>,
    chunk: Chunk,
}

/// After an overflow the trees are compared once it is quiet for so long, at the latest after [`QUIET_MAX`].
const QUIET: Duration = Duration::from_millis(200);
const QUIET_MAX: Duration = Duration::from_secs(5);

impl Worker {
    fn run(mut self, asked: &mpsc::Receiver<Request>) {
        let mut quiet_since = Instant::now();
        loop {
            self.shared.beats.sensor.fetch_add(1, Ordering::Relaxed);
            match self.inbox.recv_timeout(TICK) {
                Ok(notice) => {
                    quiet_since = Instant::now();
                    self.notice(notice);
                    // A burst is handed on in chunks, and a request waits no longer than one.
                    while self.chunk.len() < CHUNK_EVENTS_MAX
                        && let Ok(notice) = self.inbox.try_recv()
                    {
                        self.notice(notice);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            let late = self.translator.late();
            self.push(late);
            if let Some(at) = self.overflowed_at
                && (quiet_since.elapsed() >= QUIET || at.elapsed() >= QUIET_MAX)
            {
                self.overflowed_at = None;
                let changes = self.folders.compare();
                self.changes(changes, EventFlags::PREEXISTING);
            }
            self.count();
            if !self.hand_on() {
                return;
            }
            match asked.try_recv() {
                Ok(Request::Watches(watches, done)) => {
                    self.set(&watches);
                    let _ = done.try_send(());
                }
                Ok(Request::Stop) | Err(mpsc::TryRecvError::Disconnected) => {
                    while let Ok(notice) = self.inbox.try_recv() {
                        self.notice(notice);
                    }
                    let late = self.translator.all();
                    self.push(late);
                    let _ = self.hand_on();
                    return;
                }
                Err(mpsc::TryRecvError::Empty) => {}
            }
        }
    }

    fn set(&mut self, watches: &[WatchSpec]) {
        let states = self.folders.set(watches);
        self.publish(states);
    }

    fn publish(&self, states: Vec<WatchState>) {
        let mut snapshot = (**self.shared.snapshot.load()).clone();
        snapshot.watches = states;
        self.shared.snapshot.store(Arc::new(snapshot));
    }

    fn notice(&mut self, notice: notify::Result<notify::Event>) {
        let event = match notice {
            Ok(event) => event,
            Err(error) => {
                tracing::warn!(%error, "a notice of the file system could not be read");
                return self.overflow();
            }
        };
        if event.need_rescan() {
            return self.overflow();
        }
        let (changes, states_changed) = self.folders.follow(&event);
        if states_changed {
            self.publish(self.folders.states());
        }
        let activities = self.translator.activities(&event);
        self.push(activities);
        self.changes(changes, EventFlags::default());
    }

    /// The kernel dropped notices; nobody knows how many.
    fn overflow(&mut self) {
        if self.overflowed_at.is_some() {
            return;
        }
        self.overflowed_at = Some(Instant::now());
        let now = wall_now();
        let message = "events of watched trees were lost because the kernel's inotify queue was full; the trees are compared with what was known".to_owned();
        let loss = SensorLoss {
            cause: LossCause::QueueFull,
            class: Some(EventClass::FileSystemActivity),
            count: None,
            cpu: None,
            since: now,
            until: now,
            healed: None,
            message,
        };
        self.chunk.push(Numbered::own(crate::stdout::own_event(Activity::Loss(loss), now)));
    }

    fn count(&self) {
        let count = self.dropped.swap(0, Ordering::Relaxed);
        let now = wall_now();
        let class = Some(EventClass::FileSystemActivity);
        self.shared.ledger.add(Pending {
            cause: LossCause::QueueFull,
            class,
            cpu: None,
            count,
            produced: 0,
            since: Timestamp(now.0 - 1_000_000_000),
            until: now,
        });
    }

    fn changes(&mut self, changes: Vec<Change>, flags: EventFlags) {
        for change in changes {
            let activity = translate::of_change(&change);
            self.file(activity, flags);
        }
    }

    fn push(&mut self, activities: Vec<picket_event::FileSystemActivity>) {
        for activity in activities {
            self.file(activity, EventFlags::default());
        }
    }

    fn file(&mut self, mut activity: picket_event::FileSystemActivity, flags: EventFlags) {
        let rules = self.shared.rules.load();
        for file in [Some(&mut activity.file), activity.file_result.as_mut()].into_iter().flatten() {
            let watch = self.folders.watch_of(&PathBuf::from(&file.path));
            file.asset_class = watch.and_then(|id| rules.watch_classes.get(&id)).map(|class| (*class).to_owned()).unwrap_or_default();
        }
        let flags = flags.union(EventFlags::NO_PROCESS);
        let event = Event { time: wall_now(), severity: Severity::Informational, flags, actor: None, activity: Activity::File(activity) };
        self.chunk.push(Numbered::own(event));
    }

    /// False where nobody takes the events any more.
    fn hand_on(&mut self) -> bool {
        let chunk = std::mem::take(&mut self.chunk);
        chunk.is_empty() || self.shared.sink.send(chunk).is_ok()
    }
}
