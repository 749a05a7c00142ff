//! The only place of Picket that slices or inflates bytes written by an adversary.
//!
//! Three ways to look at bytes, from cheap to large: [`Reader`] over a slice in memory, [`Cursor`] over a random-access
//! [`Source`] of any size through one 64 KiB buffer, and [`decode`] which inflates a compressed run under a cap. None of
//! them panics, indexes, trusts a length field for an allocation, or recurses.
//!
//! Constraints: a [`Cursor`] holds 64 KiB; a decoder holds its output (at most the cap given) plus its dictionary, at most
//! [`DICTIONARY_BYTES_MAX`]. A [`Budget`] is shared by everything that is read on behalf of one file, so nesting does not
//! multiply what a file may cost.
//!
//! ```
//! use picket_bounded::{Reader, BoundedError};
//! let mut reader = Reader::new(b"\x02\x00hi");
//! let length = reader.u16_le()?;
//! assert_eq!(reader.take(u64::from(length))?, b"hi");
//! assert!(matches!(reader.u8(), Err(BoundedError::Truncated { .. })));
//! # Ok::<(), BoundedError>(())
//! ```

mod cursor;
mod decode;
mod error;
mod limits;
mod lzf;
mod reader;
mod source;

pub use cursor::Cursor;
pub use decode::{Codec, DICTIONARY_BYTES_MAX, Decoded, Ending, Filter, Step, decode, decode_into, decode_steps};
pub use error::BoundedError;
pub use limits::{Budget, Limits};
pub use reader::Reader;
pub use source::{FileSource, MemorySource, Source, Window, read_range, read_to_cap};

/// CRC-32 (IEEE), as zip, gzip and PNG use it.
#[must_use]
pub fn crc32(bytes: &[u8]) -> u32 {
    crc32fast::hash(bytes)
}
