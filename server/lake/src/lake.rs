//! The lake as its callers hold it: appending, asking, and the figures.

use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures::{Stream, StreamExt};
use parking_lot::Mutex;
use picket_event::{DeviceUid, SpoolUid, StoredEvent, Timestamp, limits};
use tokio::{runtime::Runtime, sync::Notify};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::{
    Appended, Batch, LakeConfig, LakeError, LakeStats, SearchPage, SearchQuery, SqlQuery, SqlResult, Tailed,
    contents::Contents,
    maintenance::{self, Progress},
    query::{self, Engine, Predicate},
    rows,
    schema::Day,
    table::Table,
    wal::{self, Body, Entry, Rows, Writer, WriterConfig},
};

/// Stack of the lake's threads. The query planner recurses over expressions as deep as `SQL_TOKENS_MAX`; pages that are never touched cost nothing.
pub(crate) const STACK_BYTES: usize = 64 * 1024 * 1024;
/// Longest wait for the last flush at shutdown. What is not flushed then is replayed from the log at the next start.
const SHUTDOWN_FLUSH: Duration = Duration::from_secs(20);

/// The lake. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Lake {
    handle: Arc<Handle>,
}

/// Owns the threads; the last clone's drop ends them.
struct Handle {
    inner: Arc<Inner>,
    runtime: Mutex<Option<Runtime>>,
    spawner: tokio::runtime::Handle,
}

pub(crate) struct Inner {
    pub(crate) config: LakeConfig,
    pub(crate) table_dir: PathBuf,
    pub(crate) wal_dir: PathBuf,
    pub(crate) contents: Arc<Contents>,
    pub(crate) writer: Writer,
    pub(crate) table: tokio::sync::Mutex<Table>,
    pub(crate) engine: Engine,
    pub(crate) sealed: Arc<Notify>,
    pub(crate) closing: CancellationToken,
    pub(crate) progress: Progress,
    lost_events: u64,
    /// Held for as long as the lake is open: a second process on the same folder would store everything twice.
    lock: Mutex<Option<File>>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.inner.closing.cancel();
        self.inner.writer.close();
        if let Some(runtime) = self.runtime.lock().take() {
            runtime.shutdown_background();
        }
        drop(self.inner.lock.lock().take());
    }
}

impl Lake {
    /// Opens the lake in its folder, making it when there is none, and replays what the log holds beyond the table. Blocks while it does.
    ///
    /// # Errors
    /// When the folder cannot be used, is used by another process, or holds something that is damaged beyond what a crash explains.
    pub fn open(config: LakeConfig) -> Result<Self, LakeError> {
        let threads = std::thread::available_parallelism().map_or(2, std::num::NonZero::get).max(2);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads)
            .thread_name("lake")
            .thread_stack_size(STACK_BYTES)
            .enable_all()
            .build()
            .map_err(LakeError::io("starting the threads of", &config.dir))?;
        // On a thread of its own: the caller may be inside another runtime, where blocking on this one is a panic.
        let spawner = runtime.handle().clone();
        let opened = std::thread::scope(|scope| scope.spawn(|| spawner.block_on(Inner::open(config))).join());
        let inner = match opened {
            Ok(Ok(inner)) => Arc::new(inner),
            Ok(Err(error)) => {
                runtime.shutdown_background();
                return Err(error);
            }
            Err(panic) => std::panic::resume_unwind(panic),
        };
        maintenance::start(runtime.handle(), &inner);
        Ok(Self { handle: Arc::new(Handle { inner, runtime: Mutex::new(Some(runtime)), spawner }) })
    }

    fn inner(&self) -> &Arc<Inner> {
        &self.handle.inner
    }

    /// Runs a future on the lake's own threads; it is cancelled when the caller goes away.
    async fn on_own_threads<T: Send + 'static>(&self, future: impl Future<Output = Result<T, LakeError>> + Send + 'static) -> Result<T, LakeError> {
        AbortOnDropHandle::new(self.handle.spawner.spawn(future)).await.map_err(|error| match error.try_into_panic() {
            Ok(_) => LakeError::Engine { action: "running a query", source: "it panicked; the log has the details".into() },
            Err(_) => LakeError::Cancelled,
        })?
    }

    /// Stores a batch. What this returns is durable, and every search that begins afterwards sees the events.
    ///
    /// # Errors
    /// [`LakeError::Gap`] when events before it are missing, [`LakeError::DiskFull`] below the floor of free space, [`LakeError::Closed`] when shutting down.
    pub async fn append(&self, batch: Batch) -> Result<Appended, LakeError> {
        let Batch { device, spool, first_seq, received, frame, events } = batch;
        if frame.len() > limits::BATCH_WIRE_BYTES_MAX {
            return Err(LakeError::Misuse("the frame is larger than a batch may be"));
        }
        let count = events.len() as u64;
        let last = range_end(first_seq, count)?;
        let watermark = self.watermark(device.uid, spool);
        if last <= watermark {
            self.inner().writer.counters.replayed.fetch_add(count, Ordering::Relaxed);
            return Ok(Appended { watermark, replayed: true });
        }
        let stored: Vec<StoredEvent> =
            (first_seq..).zip(events).map(|(seq, event)| StoredEvent { device: Arc::clone(&device), spool, seq, received, event }).collect();
        let rows = Rows { day: Day::of(received), batch: rows::encode(stored.iter())? };
        let entry = Entry { device: device.uid, hostname: device.hostname.clone(), spool, first_seq, count, received, body: Body::Batch(frame) };
        self.inner().writer.append(entry, Some(rows)).await
    }

    /// Counts a range that cannot be read as stored: the watermark moves over it, durably, and no row is made.
    ///
    /// # Errors
    /// As [`Lake::append`].
    pub async fn skip(&self, device: DeviceUid, spool: SpoolUid, first_seq: u64, count: u64) -> Result<Appended, LakeError> {
        range_end(first_seq, count)?;
        let received = now();
        self.inner().writer.append(Entry { device, hostname: String::new(), spool, first_seq, count, received, body: Body::Skip }, None).await
    }

    /// Highest sequence of a spool stored without a gap; 0 before the first.
    #[must_use]
    pub fn watermark(&self, device: DeviceUid, spool: SpoolUid) -> u64 {
        self.inner().writer.marks.read().watermark(device, spool)
    }

    /// Events ever stored of a device, whether or not they have expired since.
    #[must_use]
    pub fn events_stored(&self, device: DeviceUid) -> u64 {
        self.inner().writer.marks.read().events_stored(device)
    }

    /// Finds events, newest first.
    ///
    /// # Errors
    /// [`LakeError::BadQuery`] with the position, [`LakeError::LimitExceeded`].
    pub async fn search(&self, query: SearchQuery) -> Result<SearchPage, LakeError> {
        let inner = Arc::clone(self.inner());
        self.on_own_threads(async move { query::search(&inner.engine, inner.contents.view(), query, now()).await }).await
    }

    /// The last `last` matching events, then those that match as they are acknowledged. Ends when the lake shuts down.
    ///
    /// # Errors
    /// [`LakeError::BadQuery`] with the position, [`LakeError::LimitExceeded`].
    pub async fn tail(&self, query: &str, last: usize) -> Result<impl Stream<Item = Result<Tailed, LakeError>> + Send + use<>, LakeError> {
        let inner = Arc::clone(self.inner());
        let query = query.to_owned();
        let closing = inner.closing.clone();
        let stream = self
            .on_own_threads(async move {
                let predicate = Predicate::compile(&inner.engine, &query, now())?;
                let (view, seen, receiver) = inner.contents.subscribe();
                let mut first = Vec::new();
                if last > 0 {
                    first = query::search(&inner.engine, view, SearchQuery { query, limit: last, ..SearchQuery::default() }, now()).await?.events;
                    first.reverse();
                }
                Ok(query::tail(first, seen, receiver, predicate))
            })
            .await?;
        Ok(stream.take_until(closing.cancelled_owned()))
    }

    /// Starts a read-only SQL query. It ends when the result is dropped.
    ///
    /// # Errors
    /// [`LakeError::BadQuery`], [`LakeError::LimitExceeded`].
    pub async fn sql(&self, query: SqlQuery) -> Result<SqlResult, LakeError> {
        let inner = Arc::clone(self.inner());
        self.on_own_threads(async move { query::sql(&inner.engine, inner.contents.view(), query).await }).await
    }

    /// The lake in figures.
    #[must_use]
    pub fn stats(&self) -> LakeStats {
        let inner = self.inner();
        let files = inner.contents.files();
        let (tail_rows, _) = inner.contents.unflushed();
        let (segments, wal_bytes) = log_size(&inner.wal_dir);
        let counters = &inner.writer.counters;
        let mut stats = LakeStats {
            events_stored: files.rows() + tail_rows as u64,
            files: files.count(),
            bytes: files.bytes(),
            tail_events: tail_rows as u64,
            wal_bytes,
            segments,
            table_version: files.version,
            appended: counters.appended.load(Ordering::Relaxed),
            replayed: counters.replayed.load(Ordering::Relaxed),
            disk_full: counters.disk_full.load(Ordering::Relaxed),
            lost_events: inner.lost_events,
            queries_running: inner.engine.running(),
            ..LakeStats::default()
        };
        inner.progress.fill(&mut stats);
        stats
    }

    /// Flushes everything that has been acknowledged until now to Parquet.
    ///
    /// # Errors
    /// When writing or committing fails; the events stay in the log and the tail.
    pub async fn flush(&self) -> Result<(), LakeError> {
        let inner = Arc::clone(self.inner());
        self.on_own_threads(async move {
            inner.writer.roll().await?;
            maintenance::flush_sealed(&inner).await
        })
        .await
    }

    /// Merges the files of a day (`YYYY-MM-DD`, by the day received) into few sorted ones.
    ///
    /// # Errors
    /// When the day is none, or reading, writing or committing fails; the old files stay then.
    pub async fn compact(&self, day: &str) -> Result<(), LakeError> {
        let day = Day::parse(day).ok_or_else(|| LakeError::BadQuery { message: format!("{day:?} is not a day; write YYYY-MM-DD"), position: None })?;
        let inner = Arc::clone(self.inner());
        self.on_own_threads(async move { maintenance::compact_day(&inner, day).await }).await
    }

    /// Drops the days that are over the retention.
    ///
    /// # Errors
    /// When committing fails.
    pub async fn expire(&self) -> Result<(), LakeError> {
        let inner = Arc::clone(self.inner());
        self.on_own_threads(async move { maintenance::expire(&inner).await }).await
    }

    /// Refuses new appends, flushes what it can in a short time, and closes. Queries that still run are cancelled.
    pub async fn shutdown(&self) {
        let inner = Arc::clone(self.inner());
        let flushed = tokio::time::timeout(SHUTDOWN_FLUSH, self.flush()).await;
        match flushed {
            Ok(Err(error)) => tracing::warn!(error = &error as &dyn std::error::Error, "the last flush failed; the log keeps the events"),
            Err(_) => tracing::warn!("the last flush takes too long; the log keeps the events"),
            Ok(Ok(())) => {}
        }
        inner.closing.cancel();
        // Joins a thread that may be in an fsync. A failure is a panic there, which the hook has reported.
        let _ = tokio::task::spawn_blocking(move || inner.writer.close()).await;
        let runtime = self.handle.runtime.lock().take();
        if let Some(runtime) = runtime {
            let _ = tokio::task::spawn_blocking(move || runtime.shutdown_timeout(Duration::from_secs(5))).await;
        }
        drop(self.handle.inner.lock.lock().take());
    }
}

impl Inner {
    async fn open(mut config: LakeConfig) -> Result<Self, LakeError> {
        config.dir = make_dir(&config.dir)?;
        let lock = lock(&config.dir)?;
        let (table_dir, wal_dir, spill_dir) = (config.dir.join("events"), config.dir.join("wal"), config.dir.join("spill"));
        for dir in [&table_dir, &wal_dir] {
            make_dir(dir)?;
        }
        // What an interrupted merge spilled is of no use.
        match std::fs::remove_dir_all(&spill_dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(LakeError::io("clearing", &spill_dir)(error)),
            _ => make_dir(&spill_dir)?,
        };
        let table = Table::open(&table_dir, &config.server_uid).await?;
        let recorded = table.recorded_segment().await?;
        let recovered = wal::recover(&wal_dir, recorded)?;
        let contents = Arc::new(Contents::new(table.files().clone(), recovered.segments));
        let sealed = Arc::new(Notify::new());
        let writer_config = WriterConfig {
            dir: wal_dir.clone(),
            segment_bytes: config.segment_bytes,
            rows_max: config.tail_rows_max,
            disk_free_bytes_min: config.disk_free_bytes_min,
        };
        let writer = Writer::start(writer_config, recovered.next, recovered.marks, Arc::clone(&contents), Arc::clone(&sealed))?;
        sealed.notify_one();
        let engine = Engine::new(&table_dir, &spill_dir, config.query)?;
        Ok(Self {
            config,
            table_dir,
            wal_dir,
            contents,
            writer,
            table: tokio::sync::Mutex::new(table),
            engine,
            sealed,
            closing: CancellationToken::new(),
            progress: Progress::default(),
            lost_events: recovered.lost,
            lock: Mutex::new(Some(lock)),
        })
    }
}

/// Makes a folder that only its owner can enter, and gives its absolute path.
fn make_dir(dir: &Path) -> Result<PathBuf, LakeError> {
    use std::os::unix::fs::DirBuilderExt;
    let make = || {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        dir.canonicalize()
    };
    make().map_err(LakeError::io("making the folder", dir))
}

fn lock(dir: &Path) -> Result<File, LakeError> {
    let path = dir.join("lock");
    let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(LakeError::io("opening", &path))?;
    match take(&file) {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(LakeError::Closed(format!("another process uses {}", dir.display()))),
        Err(std::fs::TryLockError::Error(error)) => Err(LakeError::io("locking", path)(error)),
    }
}

/// A child between fork and exec holds its parent's descriptors for an instant, and so a lock that the parent gave up: asked for half a
/// second before it counts as taken.
fn take(file: &File) -> Result<(), std::fs::TryLockError> {
    for _ in 0..20 {
        match file.try_lock() {
            Err(std::fs::TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(25)),
            taken => return taken,
        }
    }
    file.try_lock()
}

/// Last sequence of a range, where it is one that a spool can have.
fn range_end(first_seq: u64, count: u64) -> Result<u64, LakeError> {
    let last = count.checked_sub(1).and_then(|more| first_seq.checked_add(more));
    last.filter(|last| first_seq >= 1 && i64::try_from(*last).is_ok()).ok_or(LakeError::Misuse("the sequence range is empty or out of bounds"))
}

pub(crate) fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}

/// Segments of the log and their bytes. The files come and go while we look; what cannot be read counts as gone.
fn log_size(dir: &Path) -> (u64, u64) {
    let Ok(entries) = std::fs::read_dir(dir) else { return (0, 0) };
    entries
        .filter_map(Result::ok)
        .filter(|entry| entry.path().extension().is_some_and(|extension| extension == "wal"))
        .filter_map(|entry| Some(entry.metadata().ok()?.len()))
        .fold((0, 0), |(segments, bytes), length| (segments + 1, bytes + length))
}
