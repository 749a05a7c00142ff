//! What one model of a gradient boosting library may make its reader do.

/// Containers inside one another; a model has seven.
pub(super) const DEPTH_MAX: u32 = 64;
/// Text looked at to tell a format.
pub(super) const HEAD_BYTES: u64 = 64;
