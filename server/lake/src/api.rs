//! What goes in and what comes out.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::stream::BoxStream;
use parking_lot::Mutex;
use picket_event::{Device, Event, SpoolUid, StoredEvent, Timestamp};

use crate::LakeError;

/// One frame of one agent's spool, validated.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Who sent it, from the certificate.
    pub device: Arc<Device>,
    /// The life of the spool that numbered it.
    pub spool: SpoolUid,
    /// Sequence of the first event; the others follow without gaps.
    pub first_seq: u64,
    /// When the server received it.
    pub received: Timestamp,
    /// The bytes as received (`picket_proto::frame`); they go into the write-ahead log as they are.
    pub frame: Bytes,
    /// What the frame decodes to.
    pub events: Vec<Event>,
}

/// What became of a batch. Returned after the fsync: what it tells is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Highest sequence of that spool stored without a gap.
    pub watermark: u64,
    /// True when all of the batch was stored before; nothing was written.
    pub replayed: bool,
}

/// A search in the language of `docs/search.md`, newest first.
#[derive(Clone, Debug, Default)]
pub struct SearchQuery {
    /// Empty matches everything.
    pub query: String,
    /// By the event's own time, inclusive.
    pub since: Option<Timestamp>,
    /// By the event's own time, exclusive.
    pub until: Option<Timestamp>,
    /// Events in the page; 0 is 100, at most [`crate::QueryLimits::rows_max`].
    pub limit: usize,
    /// From the previous page, to go on behind it.
    pub cursor: Option<String>,
}

/// One page, newest first.
#[derive(Clone, Debug)]
pub struct SearchPage {
    /// The events.
    pub events: Vec<StoredEvent>,
    /// Absent where there is no more.
    pub cursor: Option<String>,
    /// What it cost.
    pub stats: QueryStats,
}

/// What a query cost.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct QueryStats {
    /// Rows returned.
    pub rows: u64,
    /// True when there were more than the limit.
    pub truncated: bool,
    /// Wall time.
    pub elapsed: Duration,
    /// Parquet files read.
    pub files_scanned: u64,
    /// Parquet files ruled out by day or statistics.
    pub files_pruned: u64,
}

/// Events of a live tail.
#[derive(Clone, Debug, Default)]
pub struct Tailed {
    /// What matched, oldest first.
    pub events: Vec<StoredEvent>,
    /// Events stored since the last item that this subscriber was too slow to be shown, whether or not they would have matched.
    pub missed: u64,
}

/// Read-only SQL over `events` and its views.
#[derive(Clone, Debug, Default)]
pub struct SqlQuery {
    /// One query.
    pub sql: String,
    /// 0 is 1,000; at most [`crate::QueryLimits::rows_max`].
    pub row_limit: usize,
    /// Zero is 30 s; at most [`crate::QueryLimits::timeout`].
    pub timeout: Duration,
}

/// A running SQL query: dropping it cancels it.
pub struct SqlResult {
    /// Name and type of each column.
    pub columns: Vec<(String, String)>,
    /// Rows in chunks; the last item may be an error.
    pub rows: BoxStream<'static, Result<Vec<Vec<serde_json::Value>>, LakeError>>,
    /// Complete once `rows` has ended.
    pub stats: StatsHandle,
}

/// Statistics of a query that may still run.
#[derive(Clone, Debug, Default)]
pub struct StatsHandle(pub(crate) Arc<Mutex<QueryStats>>);

impl StatsHandle {
    /// As of now.
    #[must_use]
    pub fn snapshot(&self) -> QueryStats {
        *self.0.lock()
    }
}

/// The lake in figures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LakeStats {
    /// Events that can be queried: in Parquet and not expired, or in the tail.
    pub events_stored: u64,
    /// Parquet files of the current table version.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Events not yet in Parquet.
    pub tail_events: u64,
    /// Bytes of the write-ahead log.
    pub wal_bytes: u64,
    /// Segments of the write-ahead log.
    pub segments: u64,
    /// Version of the Delta table.
    pub table_version: u64,
    /// When the last flush ended.
    pub last_flush: Option<Timestamp>,
    /// What its commit to the table took.
    pub last_commit_ms: u64,
    /// Flushes that failed since the start and were tried again.
    pub flush_failures: u64,
    /// Events appended since the start, replays not counted.
    pub appended: u64,
    /// Events that were replays since the start.
    pub replayed: u64,
    /// Days merged since the start.
    pub compactions: u64,
    /// Events expired since the start.
    pub expired_events: u64,
    /// Events that were acknowledged and could not be read back from the log at start: damage on the disk.
    pub lost_events: u64,
    /// Queries running now.
    pub queries_running: u64,
    /// True while appends are refused because the disk is nearly full.
    pub disk_full: bool,
}
