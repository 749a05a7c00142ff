//! What one XML document may make its reader do.

/// Entities that a document declares before expanding them is called a bomb.
pub(super) const ENTITIES_MAX: usize = 5;
/// Elements looked at; forests in PMML have some million nodes.
pub(super) const ELEMENTS_MAX: u64 = 20_000_000;
/// Findings of one rule in one document.
pub(super) const SHOWN_MAX: usize = 20;
