//! The small file beside the segments: which life of the spool this is and what was acknowledged. How the last run ended is the presence
//! of the file `clean`: taking it away at start works on a full disk too, rewriting a flag does not.

use std::path::Path;

use uuid::Uuid;

use crate::{
    SpoolError, folder,
    layout::{Cursor, LAYOUT_VERSION},
};

const MAGIC: &[u8; 6] = b"PKMETA";
const NAME: &str = "meta";
const CLEAN: &str = "clean";
/// Ranges that were reported and still have to be skipped. Neighbours are merged; a disk that breaks in more places than this reports
/// some of them twice, never too few.
const LOST_MAX: usize = 1_024;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Meta {
    pub(crate) spool_uid: Uuid,
    /// Sequence numbers on disk never start again; what callers see is the number on disk minus this.
    pub(crate) base: u64,
    /// Numbers on disk.
    pub(crate) acked: u64,
    /// Last number at a clean close, else a lower bound.
    pub(crate) last_seq: u64,
    /// Lost ranges that the caller has reported, first to last, numbers on disk.
    pub(crate) lost: Vec<(u64, u64)>,
}

impl Meta {
    pub(crate) fn new() -> Self {
        Self { spool_uid: Uuid::new_v4(), base: 0, acked: 0, last_seq: 0, lost: Vec::new() }
    }

    pub(crate) fn write(&mut self, dir: &Path) -> Result<(), SpoolError> {
        let acked = self.acked;
        self.lost.retain(|(_, last)| *last > acked);
        self.lost.sort_unstable();
        let mut bytes = Vec::new();
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&[LAYOUT_VERSION, 0]);
        bytes.extend_from_slice(self.spool_uid.as_bytes());
        bytes.extend_from_slice(&self.base.to_le_bytes());
        bytes.extend_from_slice(&self.acked.to_le_bytes());
        bytes.extend_from_slice(&self.last_seq.to_le_bytes());
        let kept = self.lost.iter().take(LOST_MAX);
        bytes.extend_from_slice(&u32::try_from(kept.len()).unwrap_or(0).to_le_bytes());
        for (first, last) in kept {
            bytes.extend_from_slice(&first.to_le_bytes());
            bytes.extend_from_slice(&last.to_le_bytes());
        }
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
        folder::replace(dir, NAME, &bytes)
    }

    /// `Ok(None)` where there is none, or none that can be trusted: the caller starts a new life of the spool then.
    pub(crate) fn read(dir: &Path) -> Result<Option<Self>, SpoolError> {
        let path = dir.join(NAME);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(SpoolError::io("read", path, source)),
        };
        match bytes.get(6) {
            Some(version) if bytes.starts_with(MAGIC) && *version != LAYOUT_VERSION => Err(SpoolError::Layout { path, found: *version }),
            _ => Ok(Self::decode(&bytes)),
        }
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (body, crc) = bytes.split_at_checked(bytes.len().checked_sub(4)?)?;
        if crc32fast::hash(body).to_le_bytes() != crc || !body.starts_with(MAGIC) {
            return None;
        }
        let mut at = Cursor(body.get(8..)?);
        let mut meta = Self { spool_uid: Uuid::from_bytes(at.array()?), base: at.u64()?, acked: at.u64()?, last_seq: at.u64()?, lost: Vec::new() };
        for _ in 0..at.u32()?.min(1_024) {
            meta.lost.push((at.u64()?, at.u64()?));
        }
        Some(meta)
    }
}

/// Marks the end as orderly.
pub(crate) fn set_clean(dir: &Path) -> Result<(), SpoolError> {
    folder::replace(dir, CLEAN, b"")
}

/// True where the last run ended in order; from now on it did not. `folder::sync` makes it durable.
pub(crate) fn take_clean(dir: &Path) -> Result<bool, SpoolError> {
    let path = dir.join(CLEAN);
    match std::fs::remove_file(&path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(SpoolError::io("delete", path, source)),
    }
}
