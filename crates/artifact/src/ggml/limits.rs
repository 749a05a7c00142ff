//! What one file of the formats before GGUF may make its reader do.

/// Words of a vocabulary; the largest of the time had 250,000.
pub(super) const WORDS_MAX: u32 = 4_000_000;
/// Dimensions of a tensor.
pub(super) const DIMENSIONS_MAX: u32 = 4;
/// A tensor's name.
pub(super) const NAME_BYTES_MAX: u32 = 1024;
