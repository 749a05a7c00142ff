//! What the lake may use and how long it keeps things.

use std::{path::PathBuf, time::Duration};

/// Everything that [`crate::Lake::open`] needs to know.
#[derive(Clone, Debug)]
pub struct LakeConfig {
    /// Folder of the lake: `wal/` and `events/` (the Delta table) live below it. Made when missing, mode 0700.
    pub dir: PathBuf,
    /// Names this server in the table's application transactions (`ingest/<server_uid>`); must stay the same over the life of `dir`.
    pub server_uid: String,
    /// The write-ahead log starts a new segment, and the old one is flushed to Parquet, at this size.
    pub segment_bytes: u64,
    /// … or after this time with at least one event in it.
    pub flush_interval: Duration,
    /// … or at this many rows. Appends wait when four times as many are unflushed, so memory stays bounded when the disk is slow.
    pub tail_rows_max: usize,
    /// What is dropped when.
    pub retention: Retention,
    /// What a user's query may cost.
    pub query: QueryLimits,
    /// Whether this server merges small files and closed days. One owner at a time for one table.
    pub compaction: bool,
    /// Appends are refused with [`crate::LakeError::DiskFull`] while the file system has less free than this, so that a flush always has room.
    pub disk_free_bytes_min: u64,
}

impl LakeConfig {
    /// The defaults over a folder.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>, server_uid: impl Into<String>) -> Self {
        Self {
            dir: dir.into(),
            server_uid: server_uid.into(),
            segment_bytes: 128 * 1024 * 1024,
            flush_interval: Duration::from_secs(30),
            tail_rows_max: 500_000,
            retention: Retention::default(),
            query: QueryLimits::default(),
            compaction: true,
            disk_free_bytes_min: 1024 * 1024 * 1024,
        }
    }
}

/// Expiry drops whole days, oldest first. Without limits nothing is dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// Days kept, by the day received; today counts as one.
    pub days: Option<u32>,
    /// Bytes of Parquet kept. The current day is never dropped.
    pub bytes: Option<u64>,
}

/// Bounds of every user query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueryLimits {
    /// Memory of one query's operators. Beyond it the query ends with [`crate::LakeError::LimitExceeded`].
    pub memory_bytes: usize,
    /// Longest run of one query; a caller may ask for less.
    pub timeout: Duration,
    /// Most rows one query may return; a caller may ask for less.
    pub rows_max: usize,
    /// Queries that run at the same time; further ones wait for their turn inside their own time limit.
    pub concurrent_max: usize,
}

impl Default for QueryLimits {
    fn default() -> Self {
        Self { memory_bytes: 512 * 1024 * 1024, timeout: Duration::from_secs(300), rows_max: 100_000, concurrent_max: 8 }
    }
}
