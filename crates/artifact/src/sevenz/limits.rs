//! What one 7z archive may make its reader hold.

/// The header, packed or not: names of a hundred thousand members have some ten megabytes.
pub(super) const HEADER_BYTES_MAX: u64 = 32 << 20;
/// Headers packed inside packed headers. Writers pack once; a loop of headers that unpack to headers would not end.
pub(super) const HEADERS_MAX: u32 = 4;
/// Coders of one folder. The most that writers chain is five (BCJ2 with its four streams).
pub(super) const CODERS_MAX: u64 = 32;
/// A folder that unpacks beyond the cap from less than a hundredth of it is built to exhaust.
pub(super) const BOMB_RATIO: u64 = 100;
