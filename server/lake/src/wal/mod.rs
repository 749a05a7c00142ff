//! The write-ahead log: what was acknowledged is in it or in the table.
//!
//! Segments are numbered from 1. Segment N is flushed to Parquet as one Delta commit that carries the application transaction
//! (`ingest/<server>`, N); only then is its file deleted. Beside each segment lie the watermarks as they were at its start, fsynced
//! before its first frame, so that replaying the segments above the table's transaction version finds every duplicate and every gap
//! exactly as the running server did.

mod frame;
mod marks;
mod recovery;
mod segment;
mod writer;

pub(crate) use frame::{Body, Entry};
pub(crate) use recovery::{recover, remove};
pub(crate) use segment::fsync_dir;
pub(crate) use writer::{Rows, Writer, WriterConfig};
