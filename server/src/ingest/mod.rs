//! From a batch as sent to its acknowledgement: check, inflate, store, answer.
//!
//! Several batches of one session are on their way at once, so that one fsync serves many batches of many devices; they are given to
//! the log in the order of their sequence. Constraints: at most [`BATCHES_IN_FLIGHT_MAX`] batches are inflated at a time over all sessions, so
//! that memory does not grow with the number of agents.

mod check;
mod pipeline;
mod rate;

pub use check::{Checked, Rejected};
pub use pipeline::{Answer, Ingest, Pipeline, Source};
pub use rate::TokenBucket;

/// Inflated batches at a time. With 500 events each that is far more than one fsync needs to be worth its cost.
pub const BATCHES_IN_FLIGHT_MAX: usize = 128;
