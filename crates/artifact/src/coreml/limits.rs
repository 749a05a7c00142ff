//! What one Core ML model may make its reader do.

/// Models inside models; converters nest a pipeline in a pipeline at most.
pub(super) const DEPTH_MAX: u32 = 8;
/// A name or path.
pub(super) const NAME_BYTES_MAX: u64 = 1024;
