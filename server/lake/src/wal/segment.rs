//! The files of the log.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufReader, Read, Write},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use bytes::Bytes;

use super::frame::{Entry, HEADER_BYTES, PAYLOAD_BYTES_MAX, checksum};
use crate::LakeError;

/// First bytes of a segment, with the version of its form.
const MAGIC: &[u8; 8] = b"PKTWAL\x00\x01";

pub(super) fn segment_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:020}.wal"))
}

/// Makes the names in a folder durable.
pub(crate) fn fsync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Numbers of the segments on disk, ascending.
pub(super) fn list(dir: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        let Some(number) = name.to_str().and_then(|name| name.strip_suffix(".wal")).and_then(|stem| stem.parse().ok()) else { continue };
        numbers.push(number);
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// The segment that is written to.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) number: u64,
    file: File,
    /// Length up to which the file is known to be durable; what lies behind it was never acknowledged.
    durable_bytes: u64,
    path: PathBuf,
}

impl Segment {
    /// Makes segment `number`, durable with its name. An empty leftover of the same number is replaced.
    pub(super) fn create(dir: &Path, number: u64) -> Result<Self, LakeError> {
        let path = segment_path(dir, number);
        let create = || {
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
            file.write_all(MAGIC)?;
            file.sync_all()?;
            fsync_dir(dir)?;
            Ok(file)
        };
        let file = create().map_err(LakeError::io("creating the log segment", &path))?;
        Ok(Self { number, file, durable_bytes: MAGIC.len() as u64, path })
    }

    pub(super) const fn bytes(&self) -> u64 {
        self.durable_bytes
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.durable_bytes <= MAGIC.len() as u64
    }

    /// Writes entries and waits until they are durable. After an error the file is cut back to what was durable before.
    pub(super) fn append(&mut self, entries: &[u8]) -> io::Result<()> {
        self.file.write_all_at(entries, self.durable_bytes)?;
        self.file.sync_data()?;
        self.durable_bytes += entries.len() as u64;
        Ok(())
    }

    /// Cuts off what a failed [`Segment::append`] may have left.
    pub(super) fn rewind(&mut self) -> Result<(), LakeError> {
        self.file.set_len(self.durable_bytes).and_then(|()| self.file.sync_all()).map_err(LakeError::io("cutting back the log segment", &self.path))
    }
}

/// How a segment ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// At the end of the file.
    Clean,
    /// An entry was cut off or does not match its checksum; this many bytes from its start on were not read.
    Torn(u64),
}

/// Reads the entries of a segment in order, up to its end or the first that is not whole.
pub(super) struct Reader {
    file: BufReader<File>,
    remaining: u64,
    path: PathBuf,
}

impl Reader {
    pub(super) fn open(dir: &Path, number: u64) -> Result<Self, LakeError> {
        let path = segment_path(dir, number);
        let open = || {
            let file = File::open(&path)?;
            let length = file.metadata()?.len();
            Ok((file, length))
        };
        let (file, length) = open().map_err(LakeError::io("opening the log segment", &path))?;
        let mut reader = Self { file: BufReader::with_capacity(1 << 20, file), remaining: length, path };
        let mut magic = [0_u8; MAGIC.len()];
        // A crash between creating and filling the file leaves it shorter than its magic: an empty segment.
        if reader.remaining >= magic.len() as u64 {
            reader.fill(&mut magic)?;
            if &magic != MAGIC {
                return Err(LakeError::Corrupt { path: reader.path, detail: "it is not a log segment of this version".into() });
            }
        } else {
            reader.remaining = 0;
        }
        Ok(reader)
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), LakeError> {
        self.file.read_exact(buffer).map_err(LakeError::io("reading the log segment", &self.path))?;
        self.remaining -= buffer.len() as u64;
        Ok(())
    }

    /// The next entry, or how the segment ended.
    pub(super) fn next(&mut self) -> Result<Result<Entry, End>, LakeError> {
        let before = self.remaining;
        if before == 0 {
            return Ok(Err(End::Clean));
        }
        if before < HEADER_BYTES as u64 {
            return Ok(Err(End::Torn(before)));
        }
        let mut header = [0_u8; HEADER_BYTES];
        self.fill(&mut header)?;
        let [l0, l1, l2, l3, c0, c1, c2, c3] = header;
        let (length, crc) = (u32::from_le_bytes([l0, l1, l2, l3]), u32::from_le_bytes([c0, c1, c2, c3]));
        let Ok(length_bytes) = usize::try_from(length) else { return Ok(Err(End::Torn(before))) };
        if length_bytes > PAYLOAD_BYTES_MAX || u64::from(length) > self.remaining {
            return Ok(Err(End::Torn(before)));
        }
        let mut payload = vec![0_u8; length_bytes];
        self.fill(&mut payload)?;
        if checksum(length, &payload) != crc {
            return Ok(Err(End::Torn(before)));
        }
        Ok(Entry::read(Bytes::from(payload)).ok_or(End::Torn(before)))
    }
}

#[cfg(test)]
mod tests {
    use picket_event::{DeviceUid, SpoolUid, Timestamp};

    use super::*;
    use crate::wal::Body;

    fn entry(first_seq: u64) -> Entry {
        Entry {
            device: DeviceUid(uuid::Uuid::from_u128(7)),
            hostname: "gpu-1".into(),
            spool: SpoolUid(uuid::Uuid::from_u128(9)),
            first_seq,
            count: 10,
            received: Timestamp(5),
            body: Body::Batch(Bytes::from(vec![42; 100])),
        }
    }

    fn read_all(dir: &Path) -> (Vec<Entry>, End) {
        let mut reader = Reader::open(dir, 1).unwrap();
        let mut entries = Vec::new();
        loop {
            match reader.next().unwrap() {
                Ok(entry) => entries.push(entry),
                Err(end) => return (entries, end),
            }
        }
    }

    #[test]
    fn reads_what_it_wrote_and_stops_at_every_possible_tear() {
        let dir = tempfile::tempdir().unwrap();
        let mut segment = Segment::create(dir.path(), 1).unwrap();
        let entries = [entry(1), Entry { body: Body::Skip, ..entry(11) }, entry(21)];
        let mut buffer = Vec::new();
        for entry in &entries {
            entry.write(&mut buffer);
        }
        segment.append(&buffer).unwrap();
        assert_eq!(read_all(dir.path()), (entries.to_vec(), End::Clean));
        let path = segment_path(dir.path(), 1);
        let whole = fs::read(&path).unwrap();
        for cut in 0..whole.len() {
            fs::write(&path, &whole[..cut]).unwrap();
            let (read, end) = read_all(dir.path());
            assert!(entries.starts_with(&read) && read.len() < 3, "cut at {cut}");
            let at_boundary = cut <= MAGIC.len()
                || (0..=2).any(|count| {
                    let mut b = MAGIC.to_vec();
                    entries[..count].iter().for_each(|e| e.write(&mut b));
                    b.len() == cut
                });
            assert_eq!(end == End::Clean, at_boundary, "cut at {cut}");
        }
        for position in MAGIC.len()..whole.len() {
            let mut flipped = whole.clone();
            flipped[position] ^= 0x10;
            fs::write(&path, &flipped).unwrap();
            let (read, end) = read_all(dir.path());
            assert!(entries.starts_with(&read) && read.len() < 3 && end != End::Clean, "flip at {position}");
        }
    }

    #[test]
    fn a_run_of_zeros_is_no_entry() {
        let dir = tempfile::tempdir().unwrap();
        let mut segment = Segment::create(dir.path(), 1).unwrap();
        segment.append(&[0; 64]).unwrap();
        assert_eq!(read_all(dir.path()), (Vec::new(), End::Torn(64)));
    }
}
