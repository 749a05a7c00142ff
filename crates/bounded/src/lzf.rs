//! LZF, as h5py packs chunks by: runs of bytes as they are, and copies of what came up to eight KiB before. It has neither header nor
//! end; a stream ends with its input (liblzf, `lzf_d.c`).

use crate::Cursor;
use std::io::{self, Read};

/// The farthest that a copy reaches back.
const WINDOW_BYTES: usize = 1 << 13;

pub(crate) struct LzfReader<'c, 's> {
    cursor: &'c mut Cursor<'s>,
    /// The last bytes, at their place modulo the window.
    window: Vec<u8>,
    written: usize,
    /// Bytes left of the run or copy, and how far back a copy reaches.
    left: usize,
    distance: Option<usize>,
    /// What broke the stream behind bytes that were handed over.
    broken: Option<io::Error>,
}

impl<'c, 's> LzfReader<'c, 's> {
    pub(crate) fn new(cursor: &'c mut Cursor<'s>) -> Self {
        Self { cursor, window: vec![0; WINDOW_BYTES], written: 0, left: 0, distance: None, broken: None }
    }

    /// The next byte; nothing at the end.
    fn next(&mut self) -> io::Result<Option<u8>> {
        if self.left == 0 && !self.begin()? {
            return Ok(None);
        }
        let byte = match self.distance {
            None => self.byte()?,
            Some(distance) => self.window.get(self.written.wrapping_sub(distance) % WINDOW_BYTES).copied().unwrap_or(0),
        };
        if let Some(slot) = self.window.get_mut(self.written % WINDOW_BYTES) {
            *slot = byte;
        }
        self.left -= 1;
        self.written += 1;
        Ok(Some(byte))
    }

    /// The head of the next run or copy; false at the end.
    fn begin(&mut self) -> io::Result<bool> {
        if self.cursor.remaining() == 0 {
            return Ok(false);
        }
        let head = usize::from(self.byte()?);
        if head < 32 {
            (self.left, self.distance) = (head + 1, None);
            return Ok(true);
        }
        let length = head >> 5;
        let more = if length == 7 { usize::from(self.byte()?) } else { 0 };
        let distance = ((head & 31) << 8 | usize::from(self.byte()?)) + 1;
        if distance > self.written {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a copy from before the beginning"));
        }
        (self.left, self.distance) = (length + more + 2, Some(distance));
        Ok(true)
    }

    fn byte(&mut self) -> io::Result<u8> {
        self.cursor.u8().map_err(io::Error::other)
    }
}

impl Read for LzfReader<'_, '_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        if let Some(error) = self.broken.take() {
            return Err(error);
        }
        for (count, slot) in to.iter_mut().enumerate() {
            match self.next() {
                Ok(Some(byte)) => *slot = byte,
                Ok(None) => return Ok(count),
                // What came before is what a reader may have acted on.
                Err(error) if count > 0 => {
                    self.broken = Some(error);
                    return Ok(count);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(to.len())
    }
}
