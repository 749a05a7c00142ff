//! The lake: every event an agent sent, durable before it is acknowledged, searchable as soon as it is, kept as a Delta Lake table
//! that any Delta or Parquet reader opens.
//!
//! ```text
//! Batch ── judge ── log frame ── fsync (group) ── ack ── Arrow tail ─┐
//!  (device, spool, first..last)                                      ├─ table `events` = tail ∪ files of one version
//!              tail full or 30 s ── Parquet ── Delta commit ─────────┘
//!                           merge / expire / vacuum (one owner)
//! ```
//!
//! In numbers: an append is answered after one `fdatasync` that it shares with all that wait beside it; an event is stored exactly once by
//! (device, spool, sequence) across any crash; a query sees one version, has its own memory, time and row limits, cannot write, and ends when
//! its result is dropped. One process owns the folder.
//!
//! ```no_run
//! use picket_lake::{Lake, LakeConfig, SearchQuery};
//!
//! # async fn example() -> Result<(), picket_lake::LakeError> {
//! let lake = Lake::open(LakeConfig::new("/var/lib/picket-server/lake", "6f2f1f5e"))?;
//! let page = lake.search(SearchQuery { query: "file:*.safetensors user:root".into(), ..SearchQuery::default() }).await?;
//! println!("{} events in {:?}", page.events.len(), page.stats.elapsed);
//! lake.shutdown().await;
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod api;
mod compact;
mod config;
mod contents;
mod error;
mod lake;
mod maintenance;
mod query;
mod rows;
mod schema;
mod search;
mod table;
mod wal;

pub use api::{Appended, Batch, LakeStats, QueryStats, SearchPage, SearchQuery, SqlQuery, SqlResult, StatsHandle, Tailed};
pub use config::{LakeConfig, QueryLimits, Retention};
pub use error::{ErrorKind, LakeError};
pub use lake::Lake;
