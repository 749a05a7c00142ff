//! How far each spool is stored, and its durable form beside each segment.

use std::{
    collections::HashMap,
    fs::{self, OpenOptions},
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use bytes::{Buf, BufMut};
use picket_event::{DeviceUid, SpoolUid, Timestamp};
use uuid::Uuid;

use super::segment::fsync_dir;
use crate::LakeError;

const MAGIC: &[u8; 8] = b"PKTMRK\x00\x01";
const MARK_BYTES: usize = 16 + 16 + 8 + 8 + 8;
/// Spools remembered of one device. A device that wipes its spool more often forgets the longest unused one: only its own old frames could then be stored twice.
const SPOOLS_PER_DEVICE_MAX: usize = 64;

/// How far one spool is stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Mark {
    watermark: u64,
    /// Events stored, skipped ranges not counted.
    stored: u64,
    last_received: Timestamp,
}

/// What to do with a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Store it without its first `skip` events, which were stored before.
    Store { skip: u64 },
    /// All of it was stored before.
    Replayed { watermark: u64 },
    /// Events are missing before it.
    Gap { watermark: u64 },
}

impl Verdict {
    /// Judges `count` events from `first_seq` on. Neither is 0 and the range does not pass `u64::MAX`.
    pub(crate) const fn of(watermark: u64, first_seq: u64, count: u64) -> Self {
        let last = first_seq.saturating_add(count - 1);
        if last <= watermark {
            Self::Replayed { watermark }
        } else if first_seq > watermark.saturating_add(1) {
            Self::Gap { watermark }
        } else {
            Self::Store { skip: (watermark + 1).saturating_sub(first_seq) }
        }
    }
}

/// How far every spool is stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Marks {
    devices: HashMap<DeviceUid, HashMap<SpoolUid, Mark>>,
}

impl Marks {
    pub(crate) fn watermark(&self, device: DeviceUid, spool: SpoolUid) -> u64 {
        self.devices.get(&device).and_then(|spools| spools.get(&spool)).map_or(0, |mark| mark.watermark)
    }

    pub(crate) fn events_stored(&self, device: DeviceUid) -> u64 {
        self.devices.get(&device).map_or(0, |spools| spools.values().map(|mark| mark.stored).sum())
    }

    /// Judges `count` events from `first_seq` on, against what is stored.
    pub(crate) fn judge(&self, device: DeviceUid, spool: SpoolUid, first_seq: u64, count: u64) -> Verdict {
        Verdict::of(self.watermark(device, spool), first_seq, count)
    }

    /// Moves the watermark to the end of a stored range; `stored` of its events are rows.
    pub(crate) fn advance(&mut self, device: DeviceUid, spool: SpoolUid, watermark: u64, stored: u64, received: Timestamp) {
        let spools = self.devices.entry(device).or_default();
        if spools.len() >= SPOOLS_PER_DEVICE_MAX && !spools.contains_key(&spool) {
            let oldest = spools.iter().min_by_key(|(_, mark)| mark.last_received).map(|(uid, _)| *uid);
            if let Some(forgotten) = oldest.and_then(|oldest| spools.remove(&oldest)) {
                // Its events stay counted.
                spools.entry(spool).or_default().stored = forgotten.stored;
            }
        }
        let mark = spools.entry(spool).or_default();
        mark.watermark = watermark;
        mark.stored += stored;
        mark.last_received = received;
    }

    /// Takes the higher watermark of each spool; returns by how much the own ones were behind.
    pub(crate) fn raise_to(&mut self, other: &Self) -> Vec<(DeviceUid, SpoolUid, u64)> {
        let mut behind = Vec::new();
        for (device, spools) in &other.devices {
            for (spool, theirs) in spools {
                let ours = self.devices.entry(*device).or_default().entry(*spool).or_default();
                if theirs.watermark > ours.watermark {
                    behind.push((*device, *spool, theirs.watermark - ours.watermark));
                    *ours = *theirs;
                }
            }
        }
        behind
    }

    pub(super) fn path(dir: &Path, number: u64) -> PathBuf {
        dir.join(format!("{number:020}.marks"))
    }

    /// Writes the marks at the start of segment `number`, durable with their name.
    pub(super) fn store(&self, dir: &Path, number: u64) -> Result<(), LakeError> {
        let mut buffer = Vec::with_capacity(MAGIC.len() + 12 + MARK_BYTES * self.devices.len());
        buffer.put_slice(MAGIC);
        buffer.put_u64_le(self.devices.values().map(HashMap::len).sum::<usize>() as u64);
        for (device, spools) in &self.devices {
            for (spool, mark) in spools {
                buffer.put_slice(device.0.as_bytes());
                buffer.put_slice(spool.0.as_bytes());
                buffer.put_u64_le(mark.watermark);
                buffer.put_u64_le(mark.stored);
                buffer.put_i64_le(mark.last_received.0);
            }
        }
        buffer.put_u32_le(crc32fast::hash(&buffer));
        let path = Self::path(dir, number);
        let staged = path.with_extension("marks.tmp");
        let write = || {
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&staged)?;
            file.write_all(&buffer)?;
            file.sync_all()?;
            fs::rename(&staged, &path)?;
            fsync_dir(dir)
        };
        write().map_err(LakeError::io("writing the watermarks", &path))
    }

    /// Reads the marks at the start of segment `number`; `None` where there are none.
    pub(super) fn load(dir: &Path, number: u64) -> Result<Option<Self>, LakeError> {
        let path = Self::path(dir, number);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(LakeError::io("reading the watermarks", path)(error)),
        };
        Self::parse(&bytes).map(Some).ok_or_else(|| LakeError::Corrupt { path, detail: "the watermarks do not match their checksum".into() })
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let (content, mut crc) = bytes.split_at_checked(bytes.len().checked_sub(4)?)?;
        if crc32fast::hash(content) != crc.get_u32_le() {
            return None;
        }
        let mut rest = content.strip_prefix(MAGIC)?;
        if rest.len() < 8 {
            return None;
        }
        let count = usize::try_from(rest.get_u64_le()).ok()?;
        if rest.len() != count.checked_mul(MARK_BYTES)? {
            return None;
        }
        let mut marks = Self::default();
        for _ in 0..count {
            let device = DeviceUid(Uuid::from_u128(rest.get_u128()));
            let spool = SpoolUid(Uuid::from_u128(rest.get_u128()));
            let mark = Mark { watermark: rest.get_u64_le(), stored: rest.get_u64_le(), last_received: Timestamp(rest.get_i64_le()) };
            marks.devices.entry(device).or_default().insert(spool, mark);
        }
        Some(marks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEVICE: DeviceUid = DeviceUid(Uuid::from_u128(1));
    const SPOOL: SpoolUid = SpoolUid(Uuid::from_u128(2));

    #[test]
    fn judges_every_position_of_a_range() {
        let mut marks = Marks::default();
        assert_eq!(marks.judge(DEVICE, SPOOL, 1, 5), Verdict::Store { skip: 0 });
        assert_eq!(marks.judge(DEVICE, SPOOL, 2, 5), Verdict::Gap { watermark: 0 });
        marks.advance(DEVICE, SPOOL, 10, 10, Timestamp(1));
        assert_eq!(marks.judge(DEVICE, SPOOL, 1, 10), Verdict::Replayed { watermark: 10 });
        assert_eq!(marks.judge(DEVICE, SPOOL, 8, 5), Verdict::Store { skip: 3 });
        assert_eq!(marks.judge(DEVICE, SPOOL, 11, 5), Verdict::Store { skip: 0 });
        assert_eq!(marks.judge(DEVICE, SPOOL, 12, 1), Verdict::Gap { watermark: 10 });
        assert_eq!(marks.judge(DEVICE, SPOOL, 0, 5), Verdict::Replayed { watermark: 10 });
    }

    #[test]
    fn stores_and_loads_and_refuses_damage() {
        let dir = tempfile::tempdir().unwrap();
        let mut marks = Marks::default();
        for number in 0..100 {
            marks.advance(DeviceUid(Uuid::from_u128(number)), SPOOL, 7, 5, Timestamp(3));
        }
        marks.store(dir.path(), 4).unwrap();
        assert_eq!(Marks::load(dir.path(), 4).unwrap(), Some(marks));
        assert_eq!(Marks::load(dir.path(), 5).unwrap(), None);
        let path = Marks::path(dir.path(), 4);
        let mut bytes = fs::read(&path).unwrap();
        bytes[100] ^= 1;
        fs::write(&path, bytes).unwrap();
        assert!(matches!(Marks::load(dir.path(), 4), Err(LakeError::Corrupt { .. })));
    }

    #[test]
    fn a_device_cannot_fill_memory_with_spools() {
        let mut marks = Marks::default();
        for number in 0..1_000_u32 {
            marks.advance(DEVICE, SpoolUid(Uuid::from_u128(number.into())), 1, 1, Timestamp(number.into()));
        }
        assert_eq!(marks.devices[&DEVICE].len(), SPOOLS_PER_DEVICE_MAX);
        assert_eq!(marks.events_stored(DEVICE), 1_000);
    }
}
