//! The Delta Lake table: one flat Parquet row an event, partitioned by the day received.

mod delta;
mod files;
mod maintain;
mod parquet;

pub(crate) use delta::{Change, Table};
pub(crate) use files::{FileMeta, FileSet};
pub(crate) use maintain::{Plan, compaction_plan, expiry_plan, vacuum, whole_day};
pub(crate) use parquet::{FileWriter, Finish};
