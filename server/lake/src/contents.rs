//! What can be queried at this moment: the files of one table version and the rows that are in none of them yet.
//!
//! Both change together under one lock, so that a query never sees a row twice or misses one while a segment moves to Parquet.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use datafusion::arrow::{array::RecordBatch, compute::BatchCoalescer};
use parking_lot::{Condvar, Mutex, RwLock};
use tokio::sync::broadcast;

use crate::{
    schema::{Day, FILE_SCHEMA},
    table::FileSet,
};

/// Rows at which small batches of the tail are joined: DataFusion's own batch size.
const JOINED_ROWS: usize = 8192;
/// Small batches of the tail that wait to be joined.
const SMALL_BATCHES_MAX: usize = 64;
/// Appended groups that a live subscriber may lag behind before it is told that it missed some.
const LIVE_GROUPS_MAX: usize = 1024;

/// Rows of one day.
#[derive(Clone, Debug)]
pub(crate) struct DayRows {
    pub(crate) day: Day,
    pub(crate) batch: Arc<RecordBatch>,
}

/// Rows of one segment of the log.
#[derive(Clone, Debug, Default)]
pub(crate) struct TailSegment {
    pub(crate) number: u64,
    pub(crate) batches: Vec<DayRows>,
    pub(crate) rows: usize,
    /// Batches at the front that are joined already.
    pub(crate) joined: usize,
}

/// What a query sees from its beginning to its end.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub(crate) files: Arc<FileSet>,
    pub(crate) tail: Vec<DayRows>,
}

/// Rows as they were acknowledged, for live subscribers.
#[derive(Debug)]
pub(crate) struct Published {
    pub(crate) batch: Arc<RecordBatch>,
    pub(crate) day: Day,
    /// Rows published since the start, these included: what a subscriber missed is the difference.
    pub(crate) total: u64,
}

#[derive(Debug)]
struct Inner {
    files: Arc<FileSet>,
    /// Ascending; the last one is written to.
    segments: Vec<TailSegment>,
    published: u64,
}

#[derive(Debug)]
pub(crate) struct Contents {
    inner: RwLock<Inner>,
    live: broadcast::Sender<Arc<Published>>,
    flushed: Condvar,
    flushed_lock: Mutex<()>,
}

impl Contents {
    pub(crate) fn new(files: FileSet, segments: Vec<TailSegment>) -> Self {
        let (live, _) = broadcast::channel(LIVE_GROUPS_MAX);
        Self { inner: RwLock::new(Inner { files: Arc::new(files), segments, published: 0 }), live, flushed: Condvar::new(), flushed_lock: Mutex::new(()) }
    }

    pub(crate) fn view(&self) -> View {
        Self::view_of(&self.inner.read())
    }

    fn view_of(inner: &Inner) -> View {
        View { files: Arc::clone(&inner.files), tail: inner.segments.iter().flat_map(|segment| segment.batches.iter().cloned()).collect() }
    }

    /// A view and everything that is appended after it.
    pub(crate) fn subscribe(&self) -> (View, u64, broadcast::Receiver<Arc<Published>>) {
        let inner = self.inner.read();
        (Self::view_of(&inner), inner.published, self.live.subscribe())
    }

    pub(crate) fn files(&self) -> Arc<FileSet> {
        Arc::clone(&self.inner.read().files)
    }

    /// Rows that are in no file, and the segments that hold them.
    pub(crate) fn unflushed(&self) -> (usize, usize) {
        let inner = self.inner.read();
        (inner.segments.iter().map(|segment| segment.rows).sum(), inner.segments.len())
    }

    /// Adds acknowledged rows to the active segment.
    pub(crate) fn publish(&self, rows: Vec<(Day, RecordBatch)>) {
        let mut inner = self.inner.write();
        for (day, batch) in rows {
            let batch = Arc::new(batch);
            inner.published += batch.num_rows() as u64;
            let total = inner.published;
            if let Some(active) = inner.segments.last_mut() {
                active.rows += batch.num_rows();
                active.batches.push(DayRows { day, batch: Arc::clone(&batch) });
            }
            // No receiver is no error: nobody tails.
            let _ = self.live.send(Arc::new(Published { batch, day, total }));
        }
    }

    /// Ends the active segment and begins the next.
    pub(crate) fn begin_segment(&self, number: u64) {
        self.inner.write().segments.push(TailSegment { number, ..TailSegment::default() });
    }

    /// The oldest segment that is not written to any more.
    pub(crate) fn oldest_sealed(&self) -> Option<TailSegment> {
        let inner = self.inner.read();
        if inner.segments.len() < 2 { None } else { inner.segments.first().cloned() }
    }

    /// Puts a new table version in place; the flushed segment's rows leave the tail in the same moment.
    pub(crate) fn replace(&self, files: FileSet, flushed: Option<u64>) {
        {
            let mut inner = self.inner.write();
            inner.files = Arc::new(files);
            inner.segments.retain(|segment| Some(segment.number) != flushed);
        }
        let _guard = self.flushed_lock.lock();
        self.flushed.notify_all();
    }

    /// Waits until fewer than `segments` are unflushed, at most `timeout`.
    pub(crate) fn wait_for_room(&self, segments: usize, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        let mut guard = self.flushed_lock.lock();
        while self.inner.read().segments.len() >= segments {
            if self.flushed.wait_until(&mut guard, deadline).timed_out() {
                return self.inner.read().segments.len() < segments;
            }
        }
        true
    }

    /// Joins the small batches of the active segment, so that a scan of the tail does not pay for each append. Called by the log's writer alone, between groups.
    pub(crate) fn join_small(&self) {
        let small: Vec<DayRows> = {
            let inner = self.inner.read();
            let Some(active) = inner.segments.last() else { return };
            active.batches.get(active.joined..).unwrap_or_default().to_vec()
        };
        let rows: usize = small.iter().map(|rows| rows.batch.num_rows()).sum();
        if small.len() < 2 || (rows < JOINED_ROWS && small.len() < SMALL_BATCHES_MAX) {
            return;
        }
        let Some(joined) = join(&small) else { return };
        let mut inner = self.inner.write();
        if let Some(active) = inner.segments.last_mut() {
            active.batches.truncate(active.joined);
            active.batches.extend(joined);
            active.joined = active.batches.len();
        }
    }
}

/// `None` keeps the batches as they are: joining is only an optimisation.
fn join(small: &[DayRows]) -> Option<Vec<DayRows>> {
    let mut joined = Vec::new();
    for rows in small.chunk_by(|a, b| a.day == b.day) {
        let day = rows.first()?.day;
        let mut coalescer = BatchCoalescer::new(Arc::clone(&FILE_SCHEMA), JOINED_ROWS);
        for rows in rows {
            coalescer.push_batch(rows.batch.as_ref().clone()).ok()?;
        }
        coalescer.finish_buffered_batch().ok()?;
        while let Some(batch) = coalescer.next_completed_batch() {
            joined.push(DayRows { day, batch: Arc::new(batch) });
        }
    }
    Some(joined)
}
