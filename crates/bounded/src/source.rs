//! Random access to bytes that may be larger than memory.

use crate::BoundedError;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// Bytes of a known length, readable anywhere.
///
/// Never a memory map: a file truncated under a map kills the process that reads it.
pub trait Source: Send + Sync {
    /// Length in bytes, fixed for the life of the source.
    fn len(&self) -> u64;

    /// Reads up to `buffer.len()` bytes at `offset`; 0 only at or beyond the end.
    ///
    /// # Errors
    /// What the file system says.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;

    /// True when there is nothing to read.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A file, read with `pread`.
#[derive(Debug)]
pub struct FileSource {
    file: File,
    len: u64,
}

impl FileSource {
    /// Takes the length as it is now; what is appended later is not seen, what is cut off later reads as truncated.
    ///
    /// # Errors
    /// When the metadata cannot be read, or the file is not a regular file (a pipe or device has no length to trust).
    pub fn new(file: File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        Self::with_metadata(file, &metadata)
    }

    /// As [`FileSource::new`], with what was just asked of the same file.
    ///
    /// # Errors
    /// When it is not a regular file.
    pub fn with_metadata(file: File, metadata: &Metadata) -> io::Result<Self> {
        if !metadata.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        Ok(Self { file, len: metadata.len() })
    }

    /// The open file, to ask what the file system says of it.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }
}

impl Source for FileSource {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX);
        let wanted = buffer.len().min(left);
        let Some(buffer) = buffer.get_mut(..wanted) else { return Ok(0) };
        loop {
            match self.file.read_at(buffer, offset) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }
}

/// Bytes in memory, cheap to clone.
#[derive(Clone, Debug)]
pub struct MemorySource(Arc<Vec<u8>>);

impl MemorySource {
    /// Takes the bytes over, without a copy.
    #[must_use]
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(Arc::new(bytes.into()))
    }

    /// All of them.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Source for MemorySource {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(copy_from(&self.0, offset, buffer))
    }
}

impl Source for &[u8] {
    fn len(&self) -> u64 {
        <[u8]>::len(self) as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(copy_from(self, offset, buffer))
    }
}

fn copy_from(bytes: &[u8], offset: u64, buffer: &mut [u8]) -> usize {
    let tail = usize::try_from(offset).ok().and_then(|offset| bytes.get(offset..)).unwrap_or_default();
    let count = tail.len().min(buffer.len());
    if let (Some(to), Some(from)) = (buffer.get_mut(..count), tail.get(..count)) {
        to.copy_from_slice(from);
    }
    count
}

/// A part of a source, itself a source.
#[derive(Clone, Copy)]
pub struct Window<'s> {
    source: &'s dyn Source,
    start: u64,
    len: u64,
}

impl<'s> Window<'s> {
    /// `len` bytes from `start`, cut to what the source has.
    #[must_use]
    pub fn new(source: &'s dyn Source, start: u64, len: u64) -> Self {
        let start = start.min(source.len());
        Self { source, start, len: len.min(source.len() - start) }
    }
}

impl Source for Window<'_> {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX);
        let wanted = buffer.len().min(left);
        match buffer.get_mut(..wanted) {
            Some(buffer) if wanted > 0 => self.source.read_at(self.start.saturating_add(offset), buffer),
            _ => Ok(0),
        }
    }
}

/// Reads exactly `len` bytes at `offset`.
///
/// # Errors
/// `LimitExceeded` above `cap`; `Truncated` when the source ends first. The capacity follows what the source really has.
pub fn read_range(source: &dyn Source, offset: u64, len: u64, cap: u64) -> Result<Vec<u8>, BoundedError> {
    if len > cap {
        return Err(BoundedError::LimitExceeded { what: "bytes read at once", limit: cap });
    }
    let left = source.len().saturating_sub(offset);
    if len > left {
        return Err(BoundedError::Truncated { offset, wanted: len });
    }
    let mut bytes = vec![0; usize::try_from(len).map_err(|_| BoundedError::LimitExceeded { what: "bytes read at once", limit: cap })?];
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match source.read_at(offset.saturating_add(filled as u64), rest)? {
            0 => return Err(BoundedError::Truncated { offset, wanted: len }),
            count => filled += count,
        }
    }
    Ok(bytes)
}

/// Reads a stream that has no length (standard input) into memory.
///
/// # Errors
/// `LimitExceeded` when it is longer than `cap`.
pub fn read_to_cap(stream: impl Read, cap: u64) -> Result<Vec<u8>, BoundedError> {
    let mut bytes = Vec::new();
    stream.take(cap.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > cap {
        return Err(BoundedError::LimitExceeded { what: "bytes of a stream", limit: cap });
    }
    Ok(bytes)
}
