//! A cursor over a source of any size.

use crate::{BoundedError, Source};
use std::io::{self, BufRead, Read};

/// One buffer is one `pread`: large enough that metadata of a usual checkpoint is one call, small enough to hold per nesting level.
const BUFFER_BYTES: usize = 64 * 1024;

/// Reads forward through one buffer and seeks without cost inside it.
pub struct Cursor<'s> {
    source: &'s dyn Source,
    buffer: Vec<u8>,
    buffer_start: u64,
    at: usize,
    len: u64,
    buffer_bytes: usize,
}

macro_rules! integers {
    ($($name:ident $from:ident $type:ty),* $(,)?) => {$(
        #[doc = concat!("The next `", stringify!($type), "`.")]
        ///
        /// # Errors
        /// `Truncated` at the end, `Io`.
        pub fn $name(&mut self) -> Result<$type, BoundedError> {
            Ok(<$type>::$from(self.array()?))
        }
    )*};
}

impl<'s> Cursor<'s> {
    /// Starts at the first byte.
    #[must_use]
    pub fn new(source: &'s dyn Source) -> Self {
        Self::with_buffer(source, BUFFER_BYTES)
    }

    /// Reads `buffer_bytes` at a time: small for a look at one header, where a full buffer would read data that is skipped.
    #[must_use]
    pub fn with_buffer(source: &'s dyn Source, buffer_bytes: usize) -> Self {
        Self { source, buffer: Vec::new(), buffer_start: 0, at: 0, len: source.len(), buffer_bytes: buffer_bytes.max(1) }
    }

    /// The source it reads.
    #[must_use]
    pub fn source(&self) -> &'s dyn Source {
        self.source
    }

    /// Offset of the next byte.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.buffer_start + self.at as u64
    }

    /// Bytes left.
    #[must_use]
    pub fn remaining(&self) -> u64 {
        self.len.saturating_sub(self.position())
    }

    /// Moves to `position`; beyond the end is allowed and reads there are `Truncated`.
    pub fn seek(&mut self, position: u64) {
        let inside = position.checked_sub(self.buffer_start).and_then(|at| usize::try_from(at).ok()).filter(|at| *at <= self.buffer.len());
        if let Some(at) = inside {
            self.at = at;
        } else {
            self.buffer.clear();
            self.buffer_start = position;
            self.at = 0;
        }
    }

    /// Moves over `len` bytes without reading them.
    ///
    /// # Errors
    /// `Truncated` when fewer are left.
    pub fn skip(&mut self, len: u64) -> Result<(), BoundedError> {
        if len > self.remaining() {
            return Err(BoundedError::Truncated { offset: self.position(), wanted: len });
        }
        self.seek(self.position() + len);
        Ok(())
    }

    /// The next byte.
    ///
    /// # Errors
    /// `Truncated` at the end, `Io`.
    #[inline]
    pub fn u8(&mut self) -> Result<u8, BoundedError> {
        if let Some(byte) = self.buffer.get(self.at) {
            self.at += 1;
            return Ok(*byte);
        }
        let [byte] = self.array()?;
        Ok(byte)
    }

    /// The next `N` bytes as an array.
    ///
    /// # Errors
    /// `Truncated` when fewer are left, `Io`.
    #[inline]
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], BoundedError> {
        if let Some(array) = self.buffer.get(self.at..).and_then(|rest| rest.first_chunk::<N>()) {
            self.at += N;
            return Ok(*array);
        }
        let mut array = [0; N];
        self.read_exact_into(&mut array)?;
        Ok(array)
    }

    /// The next `N` bytes without moving.
    ///
    /// # Errors
    /// `Truncated` when fewer are left, `Io`.
    #[inline]
    pub fn peek<const N: usize>(&mut self) -> Result<[u8; N], BoundedError> {
        let position = self.position();
        let array = self.array()?;
        self.seek(position);
        Ok(array)
    }

    integers! {
        u16_le from_le_bytes u16, u32_le from_le_bytes u32, u64_le from_le_bytes u64, i32_le from_le_bytes i32,
        u16_be from_be_bytes u16, u32_be from_be_bytes u32, u64_be from_be_bytes u64, f64_be from_be_bytes f64,
    }

    /// The next `len` bytes, at most `cap`.
    ///
    /// # Errors
    /// `LimitExceeded` above `cap`, `Truncated` when fewer are left, `Io`.
    pub fn take(&mut self, len: u64, cap: u64) -> Result<Vec<u8>, BoundedError> {
        if len > cap {
            return Err(BoundedError::LimitExceeded { what: "bytes read at once", limit: cap });
        }
        if len > self.remaining() {
            return Err(BoundedError::Truncated { offset: self.position(), wanted: len });
        }
        let mut bytes = vec![0; usize::try_from(len).map_err(|_| BoundedError::LimitExceeded { what: "bytes read at once", limit: cap })?];
        self.read_exact_into(&mut bytes)?;
        Ok(bytes)
    }

    /// Bytes up to and without the next newline, at most `cap`; the newline is consumed.
    ///
    /// # Errors
    /// `Truncated` when the source ends first, `LimitExceeded` when the line is longer, `Io`.
    pub fn line(&mut self, cap: u64) -> Result<Vec<u8>, BoundedError> {
        let start = self.position();
        let mut line = Vec::new();
        loop {
            let chunk = self.fill()?;
            if chunk.is_empty() {
                return Err(BoundedError::Truncated { offset: start, wanted: line.len() as u64 + 1 });
            }
            let end = chunk.iter().position(|byte| *byte == b'\n');
            let part = chunk.get(..end.unwrap_or(chunk.len())).unwrap_or_default();
            if line.len() as u64 + part.len() as u64 > cap {
                return Err(BoundedError::LimitExceeded { what: "bytes of a line", limit: cap });
            }
            line.extend_from_slice(part);
            self.at += part.len() + usize::from(end.is_some());
            if end.is_some() {
                return Ok(line);
            }
        }
    }

    /// Moves behind the next newline and returns how many bytes stand before it.
    ///
    /// # Errors
    /// `Truncated` when the source ends first, `Io`.
    pub fn skip_line(&mut self) -> Result<u64, BoundedError> {
        let start = self.position();
        loop {
            let chunk = self.fill()?;
            if chunk.is_empty() {
                return Err(BoundedError::Truncated { offset: start, wanted: self.position() - start + 1 });
            }
            let end = chunk.iter().position(|byte| *byte == b'\n');
            let count = end.unwrap_or(chunk.len());
            self.at += count;
            if end.is_some() {
                let length = self.position() - start;
                self.at += 1;
                return Ok(length);
            }
        }
    }

    fn read_exact_into(&mut self, mut to: &mut [u8]) -> Result<(), BoundedError> {
        let (offset, wanted) = (self.position(), to.len() as u64);
        if wanted > self.remaining() {
            return Err(BoundedError::Truncated { offset, wanted });
        }
        while !to.is_empty() {
            let chunk = self.fill()?;
            let count = chunk.len().min(to.len());
            if count == 0 {
                return Err(BoundedError::Truncated { offset, wanted });
            }
            let (head, tail) = to.split_at_mut(count);
            head.copy_from_slice(chunk.get(..count).unwrap_or_default());
            self.at += count;
            to = tail;
        }
        Ok(())
    }

    /// Unread bytes of the buffer, refilled when there are none; empty only at the end.
    fn fill(&mut self) -> io::Result<&[u8]> {
        if self.at >= self.buffer.len() {
            let position = self.position();
            let wanted = usize::try_from(self.len.saturating_sub(position)).unwrap_or(usize::MAX).min(self.buffer_bytes);
            self.buffer.resize(wanted, 0);
            self.buffer_start = position;
            self.at = 0;
            let count = self.source.read_at(position, &mut self.buffer)?;
            self.buffer.truncate(count);
        }
        Ok(self.buffer.get(self.at..).unwrap_or_default())
    }
}

impl Read for Cursor<'_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let chunk = self.fill()?;
        let count = chunk.len().min(to.len());
        if let (Some(to), Some(from)) = (to.get_mut(..count), chunk.get(..count)) {
            to.copy_from_slice(from);
        }
        self.at += count;
        Ok(count)
    }
}

impl BufRead for Cursor<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.fill()
    }

    fn consume(&mut self, count: usize) {
        self.at = self.at.saturating_add(count).min(self.buffer.len());
    }
}
