//! What the index of one TensorFlow checkpoint may make its reader hold.

/// One block of the table; writers cut them at 256 KiB.
pub(super) const BLOCK_BYTES_MAX: u64 = 16 << 20;
/// Blocks of one table.
pub(super) const BLOCKS_MAX: usize = 100_000;
/// A key; names of variables have some hundred bytes.
pub(super) const KEY_BYTES_MAX: usize = 64 << 10;
