//! The scanner against a corpus of every technique: what it finds, what it holds, and what damage does to it.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failed test helper is a failed test")]

#[path = "../corpus/mod.rs"]
mod corpus;
mod memory;
mod mutation;
mod techniques;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// One test at a time: the allocator counts for the whole process.
fn alone() -> MutexGuard<'static, ()> {
    static LOCK: Mutex<()> = Mutex::new(());
    LOCK.lock().unwrap_or_else(PoisonError::into_inner)
}
