//! What an earlier run left in the folder.

use std::{
    collections::VecDeque,
    fs::{File, OpenOptions},
    io::Read,
    path::Path,
};

use uuid::Uuid;

use crate::{
    FrameHeader, SpoolError, folder,
    layout::{CLASSES, FRAME_MAGIC, SEGMENT_HEADER_BYTES, SegmentHeader, decode_segment_header},
    meta::{self, Meta},
    spool::{Index, Segment},
};

/// No segment of ours is larger: one that is was not written by us, and its rest is not read.
const SEGMENT_READ_BYTES_MAX: u64 = 256 << 20;

/// What [`crate::Spool::open`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// This life of the spool.
    pub spool_uid: Uuid,
    /// Oldest event that is not known to be acknowledged, 0 where there is none.
    pub first_seq: u64,
    /// Last event stored, 0 where there is none.
    pub last_seq: u64,
    /// Frames at the end that were cut off because they were not whole.
    pub torn_frames: u64,
    /// Events in those of them whose header could be read.
    pub torn_events: u64,
    /// Ranges inside the spool that cannot be read any more and were not reported before.
    pub lost: Vec<LostRange>,
    /// The last run did not end with [`crate::Spool::close`].
    pub unclean: bool,
    /// Time of the latest event stored, ns since the Unix epoch.
    pub last_write_time_ns: Option<i64>,
    /// Checkpoint of the last whole frame.
    pub checkpoint: Option<Vec<u8>>,
}

/// Events that were stored and cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostRange {
    /// First one.
    pub first_seq: u64,
    /// Last one.
    pub last_seq: u64,
    /// By class, where the frame's header is whole.
    pub class_counts: Option<[u32; CLASSES]>,
    /// Earliest and latest time that can be told from the frames around it, ns since the Unix epoch.
    pub since_ns: Option<i64>,
    /// See `since_ns`.
    pub until_ns: Option<i64>,
    /// Reported by an earlier run or reader.
    pub reported: bool,
}

/// A frame found in a segment's bytes.
pub(crate) struct Found {
    pub(crate) header: FrameHeader,
    /// Where the frame begins in the bytes.
    pub(crate) offset: usize,
    pub(crate) payload: Payload,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Payload {
    Good,
    BadChecksum,
    /// Runs past the end of the bytes.
    Cut,
}

impl Found {
    pub(crate) fn end(&self) -> usize {
        self.offset.saturating_add(self.header.len()).saturating_add(self.header.payload_len as usize)
    }
}

/// The frame at `offset`, or the next place after it that holds a header whose checksum is right.
pub(crate) fn next_frame(bytes: &[u8], mut offset: usize) -> Option<Found> {
    loop {
        let rest = bytes.get(offset..)?;
        if let Some(header) = FrameHeader::decode(rest) {
            let start = header.len();
            let payload = match rest.get(start..start + header.payload_len as usize) {
                None => Payload::Cut,
                Some(payload) if crc32fast::hash(payload) == header.payload_crc => Payload::Good,
                Some(_) => Payload::BadChecksum,
            };
            return Some(Found { header, offset, payload });
        }
        let skip = rest.get(1..)?.windows(FRAME_MAGIC.len()).position(|window| window == FRAME_MAGIC)?;
        offset += 1 + skip;
    }
}

pub(crate) fn recover(dir: &Path) -> Result<(Index, Recovery), SpoolError> {
    let numbers = folder::segments(dir)?;
    let stored = Meta::read(dir)?;
    let trusted = stored.is_some();
    let clean = meta::take_clean(dir)? || (!trusted && numbers.is_empty());
    let mut meta = stored.unwrap_or_else(Meta::new);
    if !trusted && let Some(first) = numbers.first() {
        // Without the file nobody knows what was acknowledged: a new life, and everything in it is sent again.
        meta = Meta { base: first.saturating_sub(1), acked: first.saturating_sub(1), last_seq: 0, ..meta };
    }
    let mut scan = Scan::new(&meta);
    for (position, number) in numbers.iter().enumerate() {
        scan.segment(dir, *number, numbers.get(position + 1).copied())?;
    }
    folder::sync(dir)?;
    let last = scan.last_seq();
    if meta.last_seq > last {
        scan.gap(meta.last_seq + 1, None);
    }
    let mut recovery = scan.finish(&mut meta);
    recovery.unclean = !clean;
    if !trusted {
        meta.write(dir)?;
    }
    let last = recovery.last_seq.saturating_add(meta.base);
    Ok((Index { segments: scan.segments, synced: last, next_seq: last + 1, meta }, recovery))
}

struct Scan {
    expected: u64,
    acked: u64,
    segments: VecDeque<Segment>,
    lost: Vec<LostRange>,
    torn_frames: u64,
    torn_events: u64,
    last_time_ns: Option<i64>,
    checkpoint: Option<Vec<u8>>,
}

impl Scan {
    fn new(meta: &Meta) -> Self {
        Self {
            expected: meta.acked + 1,
            acked: meta.acked,
            segments: VecDeque::new(),
            lost: Vec::new(),
            torn_frames: 0,
            torn_events: 0,
            last_time_ns: None,
            checkpoint: None,
        }
    }

    fn last_seq(&self) -> u64 {
        self.expected - 1
    }

    /// `next` is the number of the segment after this one: it overrides what this one says beyond it.
    fn segment(&mut self, dir: &Path, number: u64, next: Option<u64>) -> Result<(), SpoolError> {
        let path = folder::segment_path(dir, number);
        let mut file = OpenOptions::new().read(true).write(true).open(&path).map_err(|source| SpoolError::io("open", &path, source))?;
        let mut bytes = Vec::new();
        // A part that the disk cannot read is a part that is lost, not a reason to stop: the rest of the queue still has to be sent.
        if let Err(error) = Read::by_ref(&mut file).take(SEGMENT_READ_BYTES_MAX).read_to_end(&mut bytes) {
            tracing::error!(%error, path = %path.display(), "the disk cannot read a part of the spool");
        }
        match decode_segment_header(&bytes) {
            SegmentHeader::OtherLayout(found) => return Err(SpoolError::Layout { path, found }),
            SegmentHeader::Good { first_seq } if first_seq != number => {
                tracing::error!(path = %path.display(), first_seq, "a segment of the spool has the wrong name");
            }
            SegmentHeader::Good { .. } | SegmentHeader::Broken => {}
        }
        let limit = next.map_or(u64::MAX, |next| next.saturating_sub(1));
        let mut end = SEGMENT_HEADER_BYTES;
        let mut offset = SEGMENT_HEADER_BYTES;
        let mut torn: Option<FrameHeader> = None;
        let mut any = false;
        while let Some(found) = next_frame(&bytes, offset) {
            let after = found.end();
            offset = if found.payload == Payload::Cut { found.offset + 1 } else { after };
            if found.header.last_seq() < self.expected.max(number) || found.header.last_seq() > limit {
                continue;
            }
            match found.payload {
                Payload::Good => {
                    if let Some(damaged) = torn.take() {
                        self.damaged(&damaged);
                    }
                    self.gap(found.header.first_seq, Some(found.header.time_first_ns));
                    self.good(&found.header);
                    end = after;
                    any = true;
                }
                // Whether it is torn or damaged depends on what follows.
                Payload::BadChecksum | Payload::Cut => {
                    if let Some(damaged) = torn.replace(found.header) {
                        self.damaged(&damaged);
                    }
                }
            }
        }
        self.seal(dir, file, next, Sealed { number, any, end, torn, bytes: bytes.len() })
    }

    fn seal(&mut self, dir: &Path, file: File, next: Option<u64>, sealed: Sealed) -> Result<(), SpoolError> {
        let Sealed { number, any, end, torn, bytes } = sealed;
        let path = folder::segment_path(dir, number);
        if let Some(next) = next {
            // Its tail is not the queue's tail: what is missing up to the next segment is lost.
            if let Some(damaged) = torn {
                self.damaged(&damaged);
            }
            if next > self.expected {
                self.gap(next, None);
            }
            file.sync_all().map_err(|source| SpoolError::io("fsync", &path, source))?;
            self.segments.push_back(Segment { first_seq: number, last_seq: next - 1, bytes: bytes as u64 });
            return Ok(());
        }
        if bytes > end {
            self.torn_frames += 1;
            self.torn_events += torn.map_or(0, |header| u64::from(header.count));
        }
        if !any {
            return std::fs::remove_file(&path).map_err(|source| SpoolError::io("delete", path, source));
        }
        file.set_len(end as u64).map_err(|source| SpoolError::io("truncate", &path, source))?;
        file.sync_all().map_err(|source| SpoolError::io("fsync", &path, source))?;
        self.segments.push_back(Segment { first_seq: number, last_seq: self.last_seq(), bytes: end as u64 });
        Ok(())
    }

    fn good(&mut self, header: &FrameHeader) {
        self.expected = header.last_seq() + 1;
        self.acked = self.acked.max(header.acked.min(self.last_seq()));
        self.last_time_ns = Some(self.last_time_ns.map_or(header.time_last_ns, |time| time.max(header.time_last_ns)));
        self.checkpoint = Some(header.checkpoint.clone());
    }

    fn damaged(&mut self, header: &FrameHeader) {
        self.gap(header.first_seq, Some(header.time_first_ns));
        self.lost.push(LostRange {
            first_seq: header.first_seq,
            last_seq: header.last_seq(),
            class_counts: Some(header.class_counts),
            since_ns: Some(header.time_first_ns),
            until_ns: Some(header.time_last_ns),
            reported: false,
        });
        self.expected = header.last_seq() + 1;
    }

    /// Everything from `expected` up to before `until` is missing.
    fn gap(&mut self, until: u64, until_ns: Option<i64>) {
        if until > self.expected {
            let range = LostRange { first_seq: self.expected, last_seq: until - 1, class_counts: None, since_ns: self.last_time_ns, until_ns, reported: false };
            self.lost.push(range);
            self.expected = until;
        }
    }

    /// `unclean` is the caller's to say.
    fn finish(&mut self, meta: &mut Meta) -> Recovery {
        meta.acked = meta.acked.max(self.acked);
        let (acked, base, last) = (meta.acked, meta.base, self.last_seq());
        let reported = |range: &LostRange| meta.lost.iter().any(|(first, last)| *first <= range.first_seq && range.last_seq <= *last);
        let mut lost: Vec<LostRange> = self.lost.drain(..).filter(|range| range.last_seq > acked && !reported(range)).collect();
        for range in &mut lost {
            range.first_seq = range.first_seq.max(acked + 1).saturating_sub(base);
            range.last_seq = range.last_seq.saturating_sub(base);
        }
        Recovery {
            spool_uid: meta.spool_uid,
            first_seq: if last > acked { acked + 1 - base } else { 0 },
            last_seq: last.saturating_sub(base),
            torn_frames: self.torn_frames,
            torn_events: self.torn_events,
            lost,
            unclean: false,
            last_write_time_ns: self.last_time_ns,
            checkpoint: self.checkpoint.take(),
        }
    }
}

struct Sealed {
    number: u64,
    any: bool,
    end: usize,
    torn: Option<FrameHeader>,
    bytes: usize,
}
