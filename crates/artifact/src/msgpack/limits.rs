//! What one MessagePack document may make its reader do.

/// Containers inside one another; nested parameters of large models have some ten.
pub(super) const DEPTH_MAX: u32 = 128;
/// A binary value this long is looked at for a pickle; longer ones are tensors.
pub(super) const NESTED_BYTES_MAX: u64 = 1 << 20;
/// Values looked at for a pickle.
pub(super) const NESTED_MAX: usize = 1000;
/// Values walked to tell whether bytes without a magic number are MessagePack.
pub(super) const SHAPE_VALUES_MAX: u64 = 64;
