//! What one Paddle model may make its reader hold.

/// A name or path.
pub(super) const NAME_BYTES_MAX: u64 = 1024;
/// The description of one tensor: a type and some lengths.
pub(super) const DESCRIPTION_BYTES_MAX: u64 = 4096;
