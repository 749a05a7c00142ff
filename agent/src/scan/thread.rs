//! The thread: files that changed first, then the trees that somebody asked for, then those that are due.

use std::{
    collections::VecDeque,
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use picket_event::{Event, File, ScanActivityKind, ScanCounts, ScanTrigger};

use super::{
    Command, IDLE_MAX, Message, ScanStatus,
    cache::{FileKey, VerdictCache},
    client::Client,
    digests::Digests,
    events::{self, Scanned, Told},
    job::Job,
    lost,
    open::{Opened, open, open_seen},
    outcome::{Outcome, Report, Verdict},
    pace::Pace,
    pending::{Pending, Touched},
};
use crate::{
    boot::wall_now,
    config::Config,
    loss::LossLedger,
    pipeline::{Chunk, Numbered},
};

/// How often the thread looks up: also how fast it stops.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Scans of trees that wait; a server that asks for more is refused.
const JOBS_MAX: usize = 16;

/// The state of the thread.
pub(super) struct Scans {
    client: Client,
    config: Arc<ArcSwap<Config>>,
    ledger: Arc<LossLedger>,
    events: SyncSender<Chunk>,
    status: Arc<ScanStatus>,
    stop: Arc<AtomicBool>,
    cache: VerdictCache,
    digests: Digests,
    pending: Pending,
    jobs: VecDeque<Job>,
    pace: Pace,
    used_at: Instant,
    due_at: Instant,
    number: u64,
    /// Nobody takes events any more.
    deaf: bool,
    /// That nothing can be scanned for now was told.
    delayed: bool,
}

/// Why a file is scanned.
struct Cause<'a> {
    scan_uid: &'a str,
    asset_class: &'a str,
    actor: Option<&'a picket_event::Actor>,
}

/// What came of one file, for the sums of a scan.
enum Came {
    Judged {
        findings: u64,
        bytes: u64,
        whole: bool,
        detail: String,
    },
    /// Known under these rules; true where something was found in it then.
    Trusted(bool),
    /// Another file with the same bytes was judged under these rules; what was found then is told of this one too.
    Copy {
        findings: u64,
        detail: String,
    },
    /// No scanner: try again later.
    NotNow,
}

impl Scans {
    pub(super) fn new(
        client: Client,
        config: Arc<ArcSwap<Config>>,
        ledger: Arc<LossLedger>,
        events: SyncSender<Chunk>,
        status: Arc<ScanStatus>,
        stop: Arc<AtomicBool>,
    ) -> Self {
        let now = Instant::now();
        Self {
            client,
            config,
            ledger,
            events,
            status,
            stop,
            cache: VerdictCache::default(),
            digests: Digests::default(),
            pending: Pending::default(),
            jobs: VecDeque::new(),
            pace: Pace::default(),
            used_at: now,
            due_at: now,
            number: 0,
            deaf: false,
            delayed: false,
        }
    }

    /// Until it is told to stop, or nobody takes events any more.
    pub(super) fn run(mut self, inbox: &Receiver<Message>) {
        self.due_at = Instant::now() + self.rescan_every().unwrap_or(LOOK_EVERY);
        while !self.stop.load(Ordering::Relaxed) && !self.deaf {
            match inbox.recv_timeout(if self.ready() { Duration::ZERO } else { LOOK_EVERY }) {
                Ok(message) => {
                    self.take(message);
                    // Everything that is there: the channel is short, and this thread is the one that can wait.
                    while let Ok(message) = inbox.try_recv() {
                        self.take(message);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.schedule();
            self.step();
        }
        lost(&self.ledger, self.pending.len() as u64 + inbox.try_iter().count() as u64);
        self.client.stop();
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Touched(touched) => {
                if !self.pending.note(*touched, Instant::now()) {
                    lost(&self.ledger, 1);
                }
            }
            Message::Command(Command { uid, paths }) => self.begin(ScanTrigger::Manual, uid, paths),
        }
    }

    fn rescan_every(&self) -> Option<Duration> {
        let hours = self.config.load().scan.rescan_hours;
        (hours > 0).then(|| Duration::from_secs(hours * 3_600))
    }

    /// Watched trees, when they are due. Files whose verdict is known cost one look at their inode.
    fn schedule(&mut self) {
        let Some(every) = self.rescan_every() else { return };
        let now = Instant::now();
        if now < self.due_at {
            return;
        }
        self.due_at = now + every;
        let roots: Vec<PathBuf> = self.config.load().watch.iter().filter(|watch| watch.asset_class.holds_artifacts()).map(|watch| watch.path.clone()).collect();
        if !roots.is_empty() && !self.jobs.iter().any(|job| job.trigger == ScanTrigger::Scheduled) {
            self.begin(ScanTrigger::Scheduled, String::new(), roots);
        }
    }

    fn begin(&mut self, trigger: ScanTrigger, command: String, roots: Vec<PathBuf>) {
        let job = Job::new(self.uid(), trigger, command, roots, wall_now());
        if self.jobs.len() >= JOBS_MAX {
            self.tell_job(&job, ScanActivityKind::Cancelled, "too many scans wait on this host");
            return;
        }
        self.tell_job(&job, ScanActivityKind::Started, "");
        self.jobs.push_back(job);
        self.count();
    }

    fn uid(&mut self) -> String {
        self.number += 1;
        format!("{}-{}", uuid::Uuid::now_v7(), self.number)
    }

    fn count(&self) {
        self.status.pending.store(self.pending.len() as u64, Ordering::Relaxed);
        self.status.jobs.store(self.jobs.len() as u64, Ordering::Relaxed);
        self.status.known.store(self.cache.len() as u64, Ordering::Relaxed);
        self.status.known_contents.store(self.digests.len() as u64, Ordering::Relaxed);
    }

    /// True where a file can be scanned right now.
    fn ready(&self) -> bool {
        !self.jobs.is_empty() && self.at_rest().is_zero()
    }

    fn at_rest(&self) -> Duration {
        let now = Instant::now();
        self.pace.rest(now).max(self.client.wait(now))
    }

    /// One file, where one is due and the budget allows it.
    fn step(&mut self) {
        self.count();
        if !self.at_rest().is_zero() {
            self.status.state(if self.client.wait(Instant::now()).is_zero() { "resting" } else { "failing" });
            return;
        }
        let quiet = Duration::from_millis(self.config.load().scan.quiet_ms);
        if let Some(touched) = self.pending.take(Instant::now(), quiet) {
            self.status.state("scanning");
            self.touched(touched);
        } else if let Some(job) = self.jobs.pop_front() {
            self.status.state("scanning");
            self.tree(job);
        } else {
            self.status.state("idle");
            if self.client.running() && self.used_at.elapsed() > IDLE_MAX {
                self.client.stop();
            }
        }
        self.count();
    }

    /// A file that changed. One that is gone again is no gap: there is nothing left that could be loaded.
    fn touched(&mut self, touched: Touched) {
        let since = wall_now();
        let pid = touched.actor.as_ref().map(|actor| actor.process.pid);
        let opened = match open_seen(&touched.path, touched.inode, pid) {
            Ok(opened) => opened,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.status.vanished.fetch_add(1, Ordering::Relaxed);
                return;
            }
            Err(error) => {
                let (uid, counts) = (self.uid(), ScanCounts { skipped: 1, ..ScanCounts::default() });
                self.tell(ScanActivityKind::Error, &uid, &touched.path, since, counts, format!("{}: {error}", touched.path));
                return;
            }
        };
        // A downloader that keeps its notes beside the file has not finished.
        if Path::new(&format!("{}.aria2", touched.path)).exists() {
            self.pending.note(touched, Instant::now());
            return;
        }
        let uid = self.uid();
        let cause = Cause { scan_uid: &uid, asset_class: &touched.asset_class, actor: touched.actor.as_ref() };
        match self.scan(&opened, &touched.path, &cause) {
            Came::NotNow => {
                if !self.pending.note(touched, Instant::now()) {
                    lost(&self.ledger, 1);
                }
            }
            Came::Trusted(_) => {}
            Came::Copy { findings, detail } => {
                let counts = ScanCounts { detections: findings, trusted: 1, ..ScanCounts::default() };
                self.tell(ScanActivityKind::Completed, &uid, &touched.path, since, counts, detail);
            }
            Came::Judged { findings, bytes, whole, detail } => {
                let counts = ScanCounts { files: 1, bytes, detections: findings, skipped: u64::from(!whole), trusted: 0 };
                let kind = if whole { ScanActivityKind::Completed } else { ScanActivityKind::Error };
                self.tell(kind, &uid, &touched.path, since, counts, detail);
            }
        }
    }

    /// The next file of a tree; the job goes back to the end of the queue until it is done.
    fn tree(&mut self, mut job: Job) {
        let Some(path) = job.next() else {
            let kind = if job.counts.skipped > 0 { ScanActivityKind::Error } else { ScanActivityKind::Completed };
            let detail = job.first_error.clone();
            self.tell_job(&job, kind, &detail);
            return;
        };
        match open(&path) {
            Err(error) => job.skip(&path, &error.to_string()),
            Ok(opened) => {
                let (uid, class) = (job.uid.clone(), self.class_of(&path));
                let name = path.to_string_lossy();
                match self.scan(&opened, &name, &Cause { scan_uid: &uid, asset_class: class, actor: None }) {
                    Came::Trusted(found) => {
                        job.counts.trusted += 1;
                        job.counts.detections += u64::from(found);
                    }
                    Came::Copy { findings, .. } => {
                        job.counts.trusted += 1;
                        job.counts.detections += findings;
                    }
                    Came::NotNow => job.skip(&path, "the scanner could not be started"),
                    Came::Judged { findings, bytes, whole, detail } => {
                        job.counts.files += 1;
                        job.counts.bytes += bytes;
                        job.counts.detections += findings;
                        if !whole {
                            job.skip(&path, &detail);
                        }
                    }
                }
            }
        }
        self.jobs.push_back(job);
    }

    fn class_of(&self, path: &Path) -> &'static str {
        let config = self.config.load();
        config
            .watch
            .iter()
            .filter(|watch| path.starts_with(&watch.path))
            .max_by_key(|watch| watch.path.as_os_str().len())
            .map_or("", |watch| watch.asset_class.name())
    }

    /// Judges an open file unless its verdict is known, and tells what was found.
    fn scan(&mut self, opened: &Opened, path: &str, cause: &Cause<'_>) -> Came {
        let key = FileKey::of(&opened.metadata);
        if let Some(verdict) = self.cache.get(&key) {
            self.status.trusted.fetch_add(1, Ordering::Relaxed);
            return Came::Trusted(matches!(verdict, Verdict::Malicious | Verdict::Suspicious));
        }
        let (size, time, percent, bytes_per_second) = {
            let scan = &self.config.load().scan;
            (opened.metadata.len(), Duration::from_secs(scan.time_seconds_max), scan.cpu_percent, scan.bytes_per_second_max)
        };
        let began = Instant::now();
        let digests = &mut self.digests;
        let outcome = self.client.judge(&opened.file, path, size, time, &mut |rules, sha256| {
            digests.rules(rules);
            digests.get(sha256, path).is_some()
        });
        self.used_at = Instant::now();
        self.status.worker(&self.client.last.sandbox, &self.client.last.rules, &self.client.last.rules_errors);
        self.cache.rules(&self.client.last.rules);
        self.digests.rules(&self.client.last.rules);
        let took = began.elapsed();
        let file = file_of(opened, path, cause.asset_class);
        match outcome {
            Outcome::Unavailable { why } => {
                tracing::warn!(why, "artifacts are not scanned for now");
                self.status.problem(&why);
                self.delayed(cause.scan_uid, path, &why);
                Came::NotNow
            }
            Outcome::Killed { why } => {
                tracing::warn!(path, why, "a file ended the scanner");
                self.status.killed.fetch_add(1, Ordering::Relaxed);
                self.pace.note(self.used_at, took, took, 0, percent, bytes_per_second);
                self.digests.forget(self.client.number());
                self.cache.insert(key, Verdict::Unscannable);
                let event = events::killed(&Scanned { scan_uid: cause.scan_uid, actor: cause.actor, file, now: wall_now() }, &why);
                self.send(vec![event]);
                Came::Judged { findings: 1, bytes: 0, whole: false, detail: why }
            }
            Outcome::Known { sha256, cpu_us, bytes_read } => {
                self.pace.note(self.used_at, took, Duration::from_micros(cpu_us), bytes_read, percent, bytes_per_second);
                // It was there when the worker asked; nothing was forgotten since.
                let Some(report) = self.digests.get(sha256, path) else { return Came::NotNow };
                self.judged(key, file, &report, cause);
                self.spent(bytes_read, cpu_us);
                self.status.by_digest.fetch_add(1, Ordering::Relaxed);
                Came::Copy { findings: report.findings.len() as u64, detail: format!("these bytes were judged before (sha256 {sha256})") }
            }
            Outcome::Judged { report, held, cpu_us, bytes_read } => {
                let report = Arc::<Report>::from(report);
                self.pace.note(self.used_at, took, Duration::from_micros(cpu_us), bytes_read, percent, bytes_per_second);
                self.delayed = false;
                self.judged(key, file, &report, cause);
                if let Some(sha256) = report.sha256.filter(|_| held) {
                    self.digests.insert(sha256, path, &report, self.client.number());
                }
                self.status.files.fetch_add(1, Ordering::Relaxed);
                self.spent(bytes_read, cpu_us);
                let findings = report.findings.len() as u64 + report.findings_dropped;
                self.status.findings.fetch_add(findings, Ordering::Relaxed);
                Came::Judged { findings, bytes: size, whole: report.incomplete.is_empty(), detail: report.incomplete.first().cloned().unwrap_or_default() }
            }
        }
    }

    fn spent(&self, bytes_read: u64, cpu_us: u64) {
        self.status.bytes_read.fetch_add(bytes_read, Ordering::Relaxed);
        self.status.cpu_us.fetch_add(cpu_us, Ordering::Relaxed);
    }

    /// Files wait, and the analyst knows why: told once, until a file is judged again.
    fn delayed(&mut self, scan_uid: &str, path: &str, why: &str) {
        if !std::mem::replace(&mut self.delayed, true) && !self.stop.load(Ordering::Relaxed) {
            self.tell(ScanActivityKind::Delayed, scan_uid, path, wall_now(), ScanCounts::default(), why.to_owned());
        }
    }

    fn judged(&mut self, key: FileKey, mut file: File, report: &Report, cause: &Cause<'_>) {
        file.sha256 = report.sha256;
        self.cache.insert(key, report.verdict);
        let events = events::findings(&Scanned { scan_uid: cause.scan_uid, actor: cause.actor, file, now: wall_now() }, report);
        self.send(events);
    }

    fn tell_job(&mut self, job: &Job, kind: ScanActivityKind, detail: &str) {
        let now = wall_now();
        let rules = self.client.last.rules.clone();
        let until = (kind != ScanActivityKind::Started).then_some(now);
        let told = Told {
            kind,
            uid: &job.uid,
            name: &job.name,
            trigger: job.trigger,
            command: &job.command,
            rules: &rules,
            since: job.since,
            until,
            counts: job.counts,
            detail: detail.to_owned(),
        };
        self.send(vec![events::scan(told, now)]);
    }

    fn tell(&mut self, kind: ScanActivityKind, uid: &str, name: &str, since: picket_event::Timestamp, counts: ScanCounts, detail: String) {
        let now = wall_now();
        let rules = self.client.last.rules.clone();
        let told = Told {
            kind,
            uid,
            name,
            trigger: ScanTrigger::FileChanged,
            command: "",
            rules: &rules,
            since,
            until: (kind != ScanActivityKind::Delayed).then_some(now),
            counts,
            detail,
        };
        self.send(vec![events::scan(told, now)]);
    }

    /// Waits for the spooler: findings are what all this is for.
    fn send(&mut self, events: Vec<Event>) {
        if !events.is_empty() {
            self.deaf |= self.events.send(events.into_iter().map(Numbered::own).collect()).is_err();
        }
    }
}

fn file_of(opened: &Opened, path: &str, asset_class: &str) -> File {
    use std::os::unix::fs::MetadataExt;
    let metadata = &opened.metadata;
    File {
        path: path.to_owned(),
        inode: metadata.ino(),
        device: kernel_device(metadata.dev()),
        size_bytes: Some(metadata.len()),
        mode: u16::try_from(metadata.mode()).unwrap_or(0),
        owner_uid: metadata.uid(),
        asset_class: asset_class.to_owned(),
        sha256: None,
    }
}

/// `stat` packs a device number as the C library does; events have it as the kernel does.
fn kernel_device(device: u64) -> u32 {
    let (major, minor) = (nix::sys::stat::major(device), nix::sys::stat::minor(device));
    u32::try_from(major << 20 | minor).unwrap_or(0)
}
