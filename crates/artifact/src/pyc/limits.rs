//! What one file of compiled Python may make its reader hold.

/// Objects inside one another; CPython's own reader ends at 2000, compilers nest a function in a class some ten deep.
pub(super) const DEPTH_MAX: u32 = 200;
/// Names and texts kept of one code object.
pub(super) const TEXTS_MAX: usize = 20_000;
/// Objects that later ones refer to.
pub(super) const REFERENCES_MAX: usize = 500_000;
/// A text longer than this is cut: what it is used for stands at its start.
pub(super) const TEXT_BYTES_MAX: usize = 4096;
/// All texts kept of one file.
pub(super) const TEXTS_BYTES_MAX: usize = 32 << 20;
