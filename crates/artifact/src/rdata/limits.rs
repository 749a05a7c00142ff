//! What one R object may make its reader hold.

/// Objects inside one another, counted where they do not follow each other in a list. R's own reader ends at its C stack.
pub(super) const DEPTH_MAX: u32 = 256;
/// Symbols and environments that later objects refer to.
pub(super) const REFERENCES_MAX: usize = 1_000_000;
/// A name; R's own limit is 10,000 bytes.
pub(super) const NAME_BYTES_MAX: u64 = 10_000;
/// Calls remembered, and promises. One decides; more are for the report.
pub(super) const CALLS_MAX: usize = 10_000;
/// Expressions that the constants of one compiled object share, by name of what they call; a large function has some thousand.
pub(super) const SHARED_MAX: usize = 100_000;
