//! What reading one archive's headers may cost.

/// Longest member name kept; the format allows 65,535 bytes and no unpacker's file system more than 4096.
pub(super) const NAME_BYTES_MAX: u64 = 4096;
/// The end record and the longest comment behind it: where every reader looks for it.
pub(crate) const TAIL_BYTES: u64 = 22 + 65_535;
/// Bytes between members that may be a data descriptor (24) or alignment; more is looked at.
pub(super) const GAP_BYTES_MIN: u64 = 64;
/// Bytes of a gap that are searched for a hidden member's signature.
pub(super) const GAP_SEARCH_BYTES: u64 = 1 << 20;
/// A member that unpacks to more than this multiple of its size, and beyond the cap, is called a bomb. Sparse weights reach 1000:1, but not beyond the cap.
pub(super) const BOMB_RATIO: u64 = 100;
