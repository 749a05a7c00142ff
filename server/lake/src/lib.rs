//! The lake: every event an agent sent, durable before it is acknowledged, searchable as soon as it is, kept as a Delta Lake table.
#![forbid(unsafe_code)]

mod api;
mod config;
mod error;
mod lake;

pub use api::{Appended, Batch, LakeStats, QueryStats, SearchPage, SearchQuery, SqlQuery, SqlResult, StatsHandle, Tailed};
pub use config::{LakeConfig, QueryLimits, Retention};
pub use error::{ErrorKind, LakeError};
pub use lake::Lake;
