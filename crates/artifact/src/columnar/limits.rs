//! What one footer may make its reader hold.

/// A Parquet footer; tables of ten thousand columns have some ten megabytes.
pub(super) const FOOTER_BYTES_MAX: u64 = 64 << 20;
/// Structures inside one another; the schema of the format uses six.
pub(super) const DEPTH_MAX: u32 = 24;
/// An Arrow schema is looked at in the first and last part of a file.
pub(super) const ARROW_LOOK_BYTES: u64 = 4 << 20;
/// Findings of one kind.
pub(super) const SHOWN_MAX: usize = 20;
