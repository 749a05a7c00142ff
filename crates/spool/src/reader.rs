use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    sync::Arc,
};

use crate::{
    FrameHeader, LostRange, SpoolError, folder,
    layout::{FRAME_HEADER_BYTES, SEGMENT_HEADER_BYTES},
    recovery::{Found, Payload, next_frame},
    spool::{Inner, Segment},
};

/// A frame as it was appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredFrame {
    /// Sequence of the first event in this life of the spool.
    pub first_seq: u64,
    /// Events.
    pub count: u32,
    /// Events by class.
    pub class_counts: [u32; crate::CLASSES],
    /// Time of the earliest event.
    pub time_first_ns: i64,
    /// Time of the latest event.
    pub time_last_ns: i64,
    /// The bytes that were appended.
    pub payload: Vec<u8>,
}

impl StoredFrame {
    /// Sequence of the last event.
    #[must_use]
    pub fn last_seq(&self) -> u64 {
        (self.first_seq + u64::from(self.count)).saturating_sub(1)
    }
}

/// What the reader finds next in the queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stored {
    /// A whole frame.
    Frame(StoredFrame),
    /// Events that were here and cannot be read any more.
    Lost(LostRange),
}

impl Stored {
    /// Sequence of its last event.
    #[must_use]
    pub fn last_seq(&self) -> u64 {
        match self {
            Self::Frame(frame) => frame.last_seq(),
            Self::Lost(range) => range.last_seq,
        }
    }
}

struct Position {
    segment_first: u64,
    file: File,
    offset: u64,
    /// Number on disk of the event at `offset`.
    next: u64,
}

/// Reads what is synced, in order.
pub struct Reader {
    inner: Arc<Inner>,
    position: Option<Position>,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("next", &self.position.as_ref().map(|position| position.next)).finish()
    }
}

impl Reader {
    pub(crate) fn new(inner: Arc<Inner>) -> Self {
        Self { inner, position: None }
    }

    /// The frames after sequence `seq`, in order, at most about `bytes_max` of payload but at least one where there is one. Empty at the
    /// end of what is synced.
    pub fn frames_after(&mut self, seq: u64, bytes_max: usize) -> Result<Vec<Stored>, SpoolError> {
        let base = self.inner.index().meta.base;
        let mut next = seq.saturating_add(base).saturating_add(1);
        let mut found = Vec::new();
        let mut bytes = 0;
        while bytes < bytes_max {
            let Some(mut stored) = self.at(next)? else { break };
            next = stored.last_seq() + 1;
            match &mut stored {
                Stored::Frame(frame) => {
                    bytes += frame.payload.len();
                    frame.first_seq -= base.min(frame.first_seq);
                }
                Stored::Lost(range) => {
                    range.first_seq -= base.min(range.first_seq);
                    range.last_seq -= base.min(range.last_seq);
                    bytes += FRAME_HEADER_BYTES;
                }
            }
            found.push(stored);
        }
        Ok(found)
    }

    /// What holds the event with number `next` on disk.
    fn at(&mut self, next: u64) -> Result<Option<Stored>, SpoolError> {
        let (segment, synced, reported) = {
            let index = self.inner.index();
            let segment = index.segments.iter().rev().find(|segment| segment.first_seq <= next).copied();
            let reported = index.meta.lost.iter().find(|(first, last)| *first <= next && next <= *last).copied();
            (segment, index.synced, reported)
        };
        if next > synced {
            return Ok(None);
        }
        let Some(segment) = segment.filter(|segment| segment.last_seq >= next) else {
            // No segment holds it although it was synced: the file was taken away.
            self.position = None;
            return Ok(Some(self.missing(next, synced, reported)));
        };
        match self.seek(&segment, next) {
            Err(SpoolError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                self.position = None;
                return Ok(Some(lost(next, segment.last_seq.min(synced), None, reported)));
            }
            done => done?,
        }
        loop {
            let Some(frame) = self.read_frame()? else { return self.resynchronise(&segment, next, synced, reported) };
            if frame.last_seq() >= next {
                return Ok(Some(Stored::Frame(frame)));
            }
        }
    }

    fn missing(&self, next: u64, synced: u64, reported: Option<(u64, u64)>) -> Stored {
        let index = self.inner.index();
        let until = index.segments.iter().map(|segment| segment.first_seq).find(|first| *first > next).map_or(synced, |first| first - 1);
        lost(next, until, None, reported)
    }

    fn seek(&mut self, segment: &Segment, next: u64) -> Result<(), SpoolError> {
        if self.position.as_ref().is_some_and(|position| position.segment_first == segment.first_seq && position.next <= next) {
            return Ok(());
        }
        let path = folder::segment_path(&self.inner.config.dir, segment.first_seq);
        let mut file = File::open(&path).map_err(|source| SpoolError::io("open", &path, source))?;
        let offset = SEGMENT_HEADER_BYTES as u64;
        file.seek(SeekFrom::Start(offset)).map_err(|source| SpoolError::io("seek", &path, source))?;
        self.position = Some(Position { segment_first: segment.first_seq, file, offset, next: segment.first_seq });
        Ok(())
    }

    /// The frame at the position, which moves behind it. `None` where the bytes there are no whole frame with the expected number.
    fn read_frame(&mut self) -> Result<Option<StoredFrame>, SpoolError> {
        let Some(position) = self.position.as_mut() else { return Ok(None) };
        let mut read = |bytes: &mut [u8]| position.file.read_exact(bytes);
        let mut bytes = vec![0; FRAME_HEADER_BYTES];
        if read(&mut bytes).is_err() {
            return Ok(None);
        }
        let checkpoint = bytes.get(FRAME_HEADER_BYTES - 2..).and_then(|tail| tail.try_into().ok()).map_or(0, u16::from_le_bytes);
        bytes.resize(FRAME_HEADER_BYTES + usize::from(checkpoint).min(crate::CHECKPOINT_BYTES_MAX), 0);
        let Some(tail) = bytes.get_mut(FRAME_HEADER_BYTES..) else { return Ok(None) };
        if read(tail).is_err() {
            return Ok(None);
        }
        let Some(header) = FrameHeader::decode(&bytes).filter(|header| header.first_seq == position.next) else { return Ok(None) };
        // `decode` bounds the length.
        let mut payload = vec![0; header.payload_len as usize];
        if read(&mut payload).is_err() || crc32fast::hash(&payload) != header.payload_crc {
            return Ok(None);
        }
        position.offset += (header.len() + payload.len()) as u64;
        position.next = header.last_seq() + 1;
        Ok(Some(frame_of(header, payload)))
    }

    /// Finds the next whole frame of a segment that is damaged at the position, and says what lies between.
    fn resynchronise(&mut self, segment: &Segment, next: u64, synced: u64, reported: Option<(u64, u64)>) -> Result<Option<Stored>, SpoolError> {
        let path = folder::segment_path(&self.inner.config.dir, segment.first_seq);
        let start = self.position.take().map_or(SEGMENT_HEADER_BYTES as u64, |position| position.offset);
        let mut bytes = Vec::new();
        let mut file = File::open(&path).map_err(|source| SpoolError::io("open", &path, source))?;
        let read = file.seek(SeekFrom::Start(start)).and_then(|_| file.read_to_end(&mut bytes));
        if let Err(error) = read {
            tracing::error!(%error, path = %path.display(), "the disk cannot read a part of the spool");
        }
        let mut offset = 0;
        while let Some(found) = next_frame(&bytes, offset) {
            let Found { header, payload, .. } = &found;
            offset = if *payload == Payload::Cut { found.offset + 1 } else { found.end() };
            if header.last_seq() < next || header.first_seq > segment.last_seq {
                continue;
            }
            if *payload != Payload::Good {
                if header.first_seq == next {
                    return Ok(Some(lost(next, header.last_seq().min(segment.last_seq), Some(header), reported)));
                }
                return Ok(Some(lost(next, header.first_seq - 1, None, reported)));
            }
            let begins = start + found.offset as u64;
            file.seek(SeekFrom::Start(begins)).map_err(|source| SpoolError::io("seek", &path, source))?;
            self.position = Some(Position { segment_first: segment.first_seq, file, offset: begins, next: header.first_seq });
            if header.first_seq > next {
                return Ok(Some(lost(next, header.first_seq - 1, None, reported)));
            }
            return Ok(self.read_frame()?.map(Stored::Frame));
        }
        Ok(Some(lost(next, segment.last_seq.min(synced), None, reported)))
    }
}

fn lost(first_seq: u64, last_seq: u64, header: Option<&FrameHeader>, reported: Option<(u64, u64)>) -> Stored {
    // A range that was reported in part ends where the report ends, so that the rest is reported too.
    let last_seq = reported.map_or(last_seq, |(_, last)| last.min(last_seq));
    Stored::Lost(LostRange {
        first_seq,
        last_seq,
        class_counts: header.map(|header| header.class_counts),
        since_ns: header.map(|header| header.time_first_ns),
        until_ns: header.map(|header| header.time_last_ns),
        reported: reported.is_some(),
    })
}

fn frame_of(header: FrameHeader, payload: Vec<u8>) -> StoredFrame {
    StoredFrame {
        first_seq: header.first_seq,
        count: header.count,
        class_counts: header.class_counts,
        time_first_ns: header.time_first_ns,
        time_last_ns: header.time_last_ns,
        payload,
    }
}
