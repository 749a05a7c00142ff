//! Why bytes could not be read, by whose fault it is.

use std::io;

/// A read that did not give what was asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BoundedError {
    /// The bytes end before the value does.
    #[error("the data ends at offset {offset}, {wanted} more bytes were announced")]
    Truncated {
        /// Where the read began.
        offset: u64,
        /// How many bytes it asked for.
        wanted: u64,
    },
    /// Their size is above what we spend on one file.
    #[error("{what} is above the limit of {limit}")]
    LimitExceeded {
        /// The limit's name, as in [`crate::Limits`].
        what: &'static str,
        /// Its value.
        limit: u64,
    },
    /// The bytes contradict their own format.
    #[error("malformed: {0}")]
    Malformed(&'static str),
    /// A valid variant that is not read here.
    #[error("unsupported: {0}")]
    Unsupported(&'static str),
    /// The file system failed.
    #[error("cannot read")]
    Io(#[from] io::Error),
}
