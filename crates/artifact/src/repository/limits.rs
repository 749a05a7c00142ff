//! What one file of a model repository may make the report hold.

/// Findings of one rule in one file.
pub(super) const SHOWN_MAX: usize = 20;
