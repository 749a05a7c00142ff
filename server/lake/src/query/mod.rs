//! Asking: SQL and search over one view of the lake, bounded and cancellable.

mod bounds;
mod driver;
mod engine;
mod needles;
mod provider;
mod search;
mod sql;
mod tables;
mod tail;
mod values;

pub(crate) use engine::Engine;

pub(crate) use search::run as search;
pub(crate) use sql::run as sql;
pub(crate) use tail::{Predicate, stream as tail};
