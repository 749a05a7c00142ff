//! The one thread that writes the log: takes what waits, writes it at once, one fsync, then answers all.

use std::{
    collections::HashMap,
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use datafusion::arrow::array::RecordBatch;
use parking_lot::{Mutex, RwLock};
use picket_event::{DeviceUid, SpoolUid};
use tokio::sync::{Notify, mpsc, oneshot};

use super::{
    frame::{Body, Entry},
    marks::{Marks, Verdict},
    segment::Segment,
};
use crate::{Appended, LakeError, contents::Contents, schema::Day};

/// Appends that wait for the writer; further ones wait in line before it.
const QUEUE_MAX: usize = 1024;
/// One group: what one fsync covers. More gains nothing and delays its first member.
const GROUP_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Segments that wait to be flushed beside the active one. Beyond it appends wait: memory stays bounded when the disk is slow.
const SEALED_MAX: usize = 3;

pub(crate) struct WriterConfig {
    pub(crate) dir: PathBuf,
    pub(crate) segment_bytes: u64,
    pub(crate) rows_max: usize,
    pub(crate) disk_free_bytes_min: u64,
}

/// One request: what is logged and, where it has some, its rows.
pub(crate) struct Append {
    pub(crate) entry: Entry,
    pub(crate) rows: Option<Rows>,
    pub(crate) reply: oneshot::Sender<Result<Appended, LakeError>>,
}

pub(crate) struct Rows {
    pub(crate) day: Day,
    pub(crate) batch: RecordBatch,
}

enum Command {
    Append(Box<Append>),
    /// Seal the active segment if it holds anything.
    Roll(oneshot::Sender<Result<(), LakeError>>),
}

/// What others may read of the writer.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) appended: AtomicU64,
    pub(crate) replayed: AtomicU64,
    pub(crate) active_bytes: AtomicU64,
    pub(crate) disk_full: AtomicBool,
}

/// The running thread.
pub(crate) struct Writer {
    sender: Mutex<Option<mpsc::Sender<Command>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    pub(crate) marks: Arc<RwLock<Marks>>,
    pub(crate) counters: Arc<Counters>,
}

impl Writer {
    /// Begins segment `number` and starts the thread. `sealed` is notified whenever a segment is ready to be flushed.
    pub(crate) fn start(config: WriterConfig, number: u64, marks: Marks, contents: Arc<Contents>, sealed: Arc<Notify>) -> Result<Self, LakeError> {
        marks.store(&config.dir, number)?;
        let segment = Segment::create(&config.dir, number)?;
        contents.begin_segment(number);
        let (sender, receiver) = mpsc::channel(QUEUE_MAX);
        let marks = Arc::new(RwLock::new(marks));
        let counters = Arc::new(Counters::default());
        let thread = Thread {
            config,
            segment,
            segment_rows: 0,
            began: Instant::now(),
            marks: Arc::clone(&marks),
            contents,
            sealed,
            counters: Arc::clone(&counters),
            failed: None,
        };
        let handle = std::thread::Builder::new()
            .name("lake-log".into())
            .spawn(move || thread.run(receiver))
            .map_err(LakeError::io("starting the writer of", "the log"))?;
        Ok(Self { sender: Mutex::new(Some(sender)), thread: Mutex::new(Some(handle)), marks, counters })
    }

    async fn send(&self, command: Command) -> Result<(), LakeError> {
        let sender = self.sender.lock().clone().ok_or_else(closed)?;
        sender.send(command).await.map_err(|_| closed())
    }

    pub(crate) async fn append(&self, entry: Entry, rows: Option<Rows>) -> Result<Appended, LakeError> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Append(Box::new(Append { entry, rows, reply }))).await?;
        answer.await.map_err(|_| closed())?
    }

    /// Seals the active segment if it holds anything.
    pub(crate) async fn roll(&self) -> Result<(), LakeError> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Roll(reply)).await?;
        answer.await.map_err(|_| closed())?
    }

    /// Answers what is queued and ends the thread. Later appends are refused.
    pub(crate) fn close(&self) {
        drop(self.sender.lock().take());
        if let Some(thread) = self.thread.lock().take() {
            // A panic of the thread has been reported by the panic hook already.
            let _ = thread.join();
        }
    }
}

fn closed() -> LakeError {
    LakeError::Closed("it is shutting down".into())
}

struct Thread {
    config: WriterConfig,
    segment: Segment,
    segment_rows: usize,
    began: Instant,
    marks: Arc<RwLock<Marks>>,
    contents: Arc<Contents>,
    sealed: Arc<Notify>,
    counters: Arc<Counters>,
    /// Set when the log could not be brought back to a known state: nothing is accepted any more.
    failed: Option<String>,
}

impl Thread {
    fn run(mut self, mut receiver: mpsc::Receiver<Command>) {
        let mut group = Vec::new();
        while let Some(command) = receiver.blocking_recv() {
            let mut next = Some(command);
            let mut roll = None;
            let mut bytes = 0;
            while let Some(command) = next.take() {
                match command {
                    Command::Append(append) => {
                        if let Body::Batch(frame) = &append.entry.body {
                            bytes += frame.len();
                        }
                        group.push(*append);
                    }
                    Command::Roll(reply) => {
                        roll = Some(reply);
                        break;
                    }
                }
                if bytes < GROUP_BYTES_MAX && group.len() < QUEUE_MAX {
                    next = receiver.try_recv().ok();
                }
            }
            self.store(group.drain(..));
            if let Some(reply) = roll {
                let rolled = if self.segment.is_empty() { Ok(()) } else { self.roll() };
                let _ = reply.send(rolled);
            } else if self.segment.bytes() >= self.config.segment_bytes || self.segment_rows >= self.config.rows_max {
                self.wait_for_room(&receiver);
                if let Err(error) = self.roll() {
                    tracing::error!(error = &error as &dyn std::error::Error, "cannot begin a new segment of the log; going on in the old one");
                }
            } else {
                self.contents.join_small();
            }
        }
    }

    /// Judges, writes, syncs, publishes and answers one group.
    fn store(&mut self, group: impl Iterator<Item = Append>) {
        let refusal = self.refusal();
        let mut ends: HashMap<(DeviceUid, SpoolUid), u64> = HashMap::new();
        let mut buffer = Vec::new();
        let mut accepted = Vec::new();
        for append in group {
            if let Some(refusal) = &refusal {
                answer(append.reply, Err(refusal.error()));
                continue;
            }
            let entry = &append.entry;
            let key = (entry.device, entry.spool);
            let watermark = ends.get(&key).copied().unwrap_or_else(|| self.marks.read().watermark(entry.device, entry.spool));
            match Verdict::of(watermark, entry.first_seq, entry.count) {
                // A watermark that this very group raised is not durable yet: such a duplicate waits for the same fsync.
                Verdict::Replayed { .. } => accepted.push((append, None)),
                Verdict::Gap { watermark } => answer(append.reply, Err(LakeError::Gap { watermark })),
                Verdict::Store { skip } => {
                    entry.write(&mut buffer);
                    ends.insert(key, entry.first_seq + (entry.count - 1));
                    accepted.push((append, Some(skip)));
                }
            }
        }
        if !buffer.is_empty()
            && let Err(error) = self.segment.append(&buffer)
        {
            let refusal = self.recover_from(error);
            for (append, _) in accepted {
                answer(append.reply, Err(refusal.error()));
            }
            return;
        }
        self.counters.active_bytes.store(self.segment.bytes(), Ordering::Relaxed);
        self.publish(accepted);
    }

    fn publish(&mut self, accepted: Vec<(Append, Option<u64>)>) {
        let mut rows = Vec::new();
        let mut replies = Vec::with_capacity(accepted.len());
        {
            let mut marks = self.marks.write();
            for (append, skip) in accepted {
                let Append { entry, rows: appended, reply } = append;
                let (device, spool) = (entry.device, entry.spool);
                if let Some(skip) = skip {
                    let mut stored = 0;
                    if let Some(Rows { day, batch }) = appended {
                        let skip = usize::try_from(skip).unwrap_or(usize::MAX).min(batch.num_rows());
                        let fresh = batch.slice(skip, batch.num_rows() - skip);
                        stored = fresh.num_rows() as u64;
                        rows.push((day, fresh));
                    }
                    marks.advance(device, spool, entry.first_seq + (entry.count - 1), stored, entry.received);
                    self.counters.appended.fetch_add(stored, Ordering::Relaxed);
                    self.segment_rows += usize::try_from(stored).unwrap_or(usize::MAX);
                } else {
                    self.counters.replayed.fetch_add(entry.count, Ordering::Relaxed);
                }
                replies.push((reply, Appended { watermark: marks.watermark(device, spool), replayed: skip.is_none() }));
            }
        }
        self.contents.publish(rows);
        for (reply, appended) in replies {
            answer(reply, Ok(appended));
        }
    }

    /// Why nothing can be stored now, if so.
    fn refusal(&self) -> Option<Refusal> {
        if let Some(reason) = &self.failed {
            return Some(Refusal::Failed(reason.clone()));
        }
        let full = matches!(free_bytes(&self.config.dir), Ok(free) if free < self.config.disk_free_bytes_min);
        self.counters.disk_full.store(full, Ordering::Relaxed);
        full.then(|| self.disk_full())
    }

    fn disk_full(&self) -> Refusal {
        Refusal::DiskFull { dir: self.config.dir.clone(), floor_bytes: self.config.disk_free_bytes_min }
    }

    /// After a failed write or fsync: nothing of the group counts. What may have reached the disk is cut off; where even that fails, a replay would find
    /// events that were never acknowledged, which is harmless by itself, but we no longer know what the disk holds: refuse everything.
    fn recover_from(&mut self, error: io::Error) -> Refusal {
        let full = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        tracing::error!(error = &error as &dyn std::error::Error, segment = self.segment.number, "writing the log failed");
        if let Err(error) = self.segment.rewind() {
            let reason = format!("{error}: restart the server after repairing the disk");
            self.failed = Some(reason.clone());
            return Refusal::Failed(reason);
        }
        if full {
            self.counters.disk_full.store(true, Ordering::Relaxed);
            return self.disk_full();
        }
        Refusal::Io(error.kind(), self.config.dir.clone())
    }

    /// Begins the next segment; the old one may be flushed then.
    fn roll(&mut self) -> Result<(), LakeError> {
        let number = self.segment.number + 1;
        self.marks.read().store(&self.config.dir, number)?;
        self.segment = Segment::create(&self.config.dir, number)?;
        tracing::debug!(segment = number, rows = self.segment_rows, age_ms = self.began.elapsed().as_millis(), "sealed a segment of the log");
        self.segment_rows = 0;
        self.began = Instant::now();
        self.contents.begin_segment(number);
        self.counters.active_bytes.store(self.segment.bytes(), Ordering::Relaxed);
        self.sealed.notify_one();
        Ok(())
    }

    fn wait_for_room(&self, receiver: &mpsc::Receiver<Command>) {
        let mut warned = false;
        while !self.contents.wait_for_room(SEALED_MAX + 1, Duration::from_millis(500)) {
            if receiver.is_closed() {
                return;
            }
            if !warned {
                warned = true;
                tracing::warn!("flushing is slower than ingest; appends wait");
            }
        }
    }
}

fn answer(reply: oneshot::Sender<Result<Appended, LakeError>>, result: Result<Appended, LakeError>) {
    // The caller may have gone; its batch is stored all the same and will be a replay when it comes again.
    let _ = reply.send(result);
}

/// A reason that many callers are told.
enum Refusal {
    DiskFull { dir: PathBuf, floor_bytes: u64 },
    Failed(String),
    Io(io::ErrorKind, PathBuf),
}

impl Refusal {
    fn error(&self) -> LakeError {
        match self {
            Self::DiskFull { dir, floor_bytes } => LakeError::DiskFull { dir: dir.clone(), floor_bytes: *floor_bytes },
            Self::Failed(reason) => LakeError::Closed(reason.clone()),
            Self::Io(kind, dir) => LakeError::Io { action: "writing the log in", path: dir.clone(), source: (*kind).into() },
        }
    }
}

fn free_bytes(dir: &std::path::Path) -> io::Result<u64> {
    let stat = nix::sys::statvfs::statvfs(dir)?;
    Ok(stat.blocks_available().saturating_mul(stat.fragment_size()))
}
