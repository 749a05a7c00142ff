use std::{
    collections::VecDeque,
    fs::{File, OpenOptions},
    io::{Seek, SeekFrom, Write},
    os::unix::fs::OpenOptionsExt,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use uuid::Uuid;

use crate::{
    CHECKPOINT_BYTES_MAX, FRAME_BYTES_MAX, FRAME_EVENTS_MAX, FrameHeader, LostRange, Priority, Reader, Recovery, SpoolError, folder,
    layout::{CLASSES, SEGMENT_HEADER_BYTES, encode_segment_header},
    meta::{self, Meta},
    recovery,
};

/// Where the spool is and what it may use.
#[derive(Clone, Debug)]
pub struct SpoolConfig {
    /// Its folder; made 0700 where it does not exist.
    pub dir: PathBuf,
    /// Most bytes on disk.
    pub bytes_max: u64,
    /// A segment is closed at this size; at most an eighth of `bytes_max` is used.
    pub segment_bytes: u64,
    /// The part of `bytes_max` that only [`Priority::High`] and [`Priority::Report`] may use, its last eighth only the latter; frames of
    /// [`Priority::Low`] leave as much again free. At most a quarter of `bytes_max` is used.
    pub reserve_bytes: u64,
}

impl SpoolConfig {
    /// 512 MiB in segments of 8 MiB, an eighth of it reserved: at 100 bytes an event about five million events.
    #[must_use]
    pub fn new(dir: PathBuf) -> Self {
        Self { dir, bytes_max: 512 << 20, segment_bytes: 8 << 20, reserve_bytes: 64 << 20 }
    }
}

impl SpoolConfig {
    /// What frames of this priority may fill.
    fn limit_bytes(&self, priority: Priority) -> u64 {
        let free = match priority {
            Priority::Low => self.reserve_bytes * 2,
            Priority::Normal => self.reserve_bytes,
            Priority::High => self.reserve_bytes / 8,
            Priority::Report => 0,
        };
        self.bytes_max.saturating_sub(free)
    }
}

/// A frame to store.
#[derive(Clone, Copy, Debug, Default)]
pub struct NewFrame<'a> {
    /// Events in it, at least one.
    pub count: u32,
    /// Time of the earliest event, ns since the Unix epoch.
    pub time_first_ns: i64,
    /// Time of the latest one.
    pub time_last_ns: i64,
    /// Events by class.
    pub class_counts: [u32; CLASSES],
    /// How much of the allowance it may use.
    pub priority: Priority,
    /// The caller's own bytes; those of the last whole frame come back after a crash.
    pub checkpoint: &'a [u8],
    /// What is sent.
    pub payload: &'a [u8],
}

/// What the spool holds now. Sequence numbers are 0 where there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpoolState {
    /// This life of the spool.
    pub spool_uid: Uuid,
    /// Oldest event that is not acknowledged, 0 where there is none.
    pub first_seq: u64,
    /// Last event appended.
    pub last_seq: u64,
    /// Last event that is durable.
    pub synced_seq: u64,
    /// Last event that the server has.
    pub acked_seq: u64,
    /// Bytes on disk.
    pub bytes: u64,
    /// Bytes it may use.
    pub bytes_max: u64,
}

impl SpoolState {
    /// Events that wait for the server.
    #[must_use]
    pub const fn events(&self) -> u64 {
        self.last_seq.saturating_sub(self.acked_seq)
    }
}

/// One segment, by numbers on disk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment {
    pub(crate) first_seq: u64,
    /// `first_seq - 1` while it is empty.
    pub(crate) last_seq: u64,
    pub(crate) bytes: u64,
}

pub(crate) struct Index {
    pub(crate) meta: Meta,
    pub(crate) segments: VecDeque<Segment>,
    pub(crate) synced: u64,
    pub(crate) next_seq: u64,
}

impl Index {
    fn used_bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }
}

#[derive(Default)]
struct Writer {
    /// The open segment; `None` until the next append makes one.
    file: Option<File>,
    offset: u64,
    synced_offset: u64,
    /// The segment's name is not durable yet.
    new_file: bool,
    buffer: Vec<u8>,
}

pub(crate) struct Inner {
    pub(crate) config: SpoolConfig,
    writer: Mutex<Writer>,
    index: Mutex<Index>,
    _lock: File,
}

impl Inner {
    // A poisoned lock still guards consistent data: every update is made after the fallible part.
    pub(crate) fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The queue. Clones share it; one writer and one reader thread may use it at once.
#[derive(Clone)]
pub struct Spool {
    pub(crate) inner: Arc<Inner>,
}

impl std::fmt::Debug for Spool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Spool").field("dir", &self.inner.config.dir).field("state", &self.state()).finish()
    }
}

impl Spool {
    /// Opens or creates the spool, takes its lock, and makes what it finds durable. [`Recovery`] says what was found and what was lost.
    pub fn open(mut config: SpoolConfig) -> Result<(Self, Recovery), SpoolError> {
        config.segment_bytes = config.segment_bytes.min(config.bytes_max / 8).max(4 * 1024);
        config.reserve_bytes = config.reserve_bytes.min(config.bytes_max / 4);
        folder::create(&config.dir)?;
        let lock = folder::lock(&config.dir)?;
        let (index, recovery) = recovery::recover(&config.dir)?;
        let inner = Inner { config, writer: Mutex::new(Writer::default()), index: Mutex::new(index), _lock: lock };
        Ok((Self { inner: Arc::new(inner) }, recovery))
    }

    /// Appends a frame and gives the sequence of its first event. Readers see it after the next [`Spool::sync`].
    ///
    /// An error means that nothing was stored and no number was used.
    pub fn append(&self, frame: &NewFrame<'_>) -> Result<u64, SpoolError> {
        let oversized = frame.payload.len() > FRAME_BYTES_MAX || frame.checkpoint.len() > CHECKPOINT_BYTES_MAX;
        if oversized || frame.count == 0 || frame.count > FRAME_EVENTS_MAX {
            return Err(SpoolError::Oversized { bytes: frame.payload.len(), events: frame.count });
        }
        let writer = &mut *self.inner.writer();
        let (first_seq, acked) = {
            let index = self.inner.index();
            (index.next_seq, index.meta.acked)
        };
        let header = FrameHeader {
            first_seq,
            count: frame.count,
            time_first_ns: frame.time_first_ns,
            time_last_ns: frame.time_last_ns,
            acked,
            class_counts: frame.class_counts,
            priority: frame.priority,
            checkpoint: frame.checkpoint.to_vec(),
            payload_len: u32::try_from(frame.payload.len()).unwrap_or(u32::MAX),
            payload_crc: crc32fast::hash(frame.payload),
        };
        let bytes = (header.len() + frame.payload.len()) as u64;
        self.make_room(writer, bytes, frame.priority)?;
        if writer.offset >= self.inner.config.segment_bytes {
            self.sync_writer(writer)?;
            writer.file = None;
        }
        self.ensure_segment(writer, first_seq)?;
        writer.buffer.clear();
        header.encode(&mut writer.buffer);
        writer.buffer.extend_from_slice(frame.payload);
        self.write_buffer(writer, first_seq)?;
        let index = &mut *self.inner.index();
        index.next_seq = first_seq + u64::from(frame.count);
        if let Some(segment) = index.segments.back_mut() {
            segment.bytes += bytes;
            segment.last_seq = index.next_seq - 1;
        }
        Ok(first_seq - index.meta.base)
    }

    fn make_room(&self, writer: &mut Writer, bytes: u64, priority: Priority) -> Result<(), SpoolError> {
        let limit_bytes = self.inner.config.limit_bytes(priority);
        // A new segment's header comes on top.
        let bytes = bytes + SEGMENT_HEADER_BYTES as u64;
        let mut used_bytes = self.inner.index().used_bytes();
        if used_bytes + bytes > limit_bytes {
            let retire = {
                let index = self.inner.index();
                index.meta.acked + 1 == index.next_seq && !index.segments.is_empty()
            };
            if retire {
                // Everything is acknowledged: the open segment goes too.
                writer.file = None;
                writer.offset = 0;
                self.delete_acked(true)?;
                used_bytes = self.inner.index().used_bytes();
            }
        }
        if used_bytes + bytes > limit_bytes { Err(SpoolError::Full { used_bytes, limit_bytes }) } else { Ok(()) }
    }

    fn ensure_segment(&self, writer: &mut Writer, first_seq: u64) -> Result<(), SpoolError> {
        if writer.file.is_some() {
            return Ok(());
        }
        let path = folder::segment_path(&self.inner.config.dir, first_seq);
        let mut file =
            OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&path).map_err(|source| SpoolError::io("create", &path, source))?;
        if let Err(source) = file.write_all(&encode_segment_header(first_seq)) {
            let _ = std::fs::remove_file(&path);
            return Err(SpoolError::io("write", path, source));
        }
        let bytes = SEGMENT_HEADER_BYTES as u64;
        *writer = Writer { file: Some(file), offset: bytes, synced_offset: bytes, new_file: true, buffer: std::mem::take(&mut writer.buffer) };
        let index = &mut *self.inner.index();
        // A segment that a failed fsync emptied has the same name.
        index.segments.retain(|segment| segment.first_seq < first_seq);
        index.segments.push_back(Segment { first_seq, last_seq: first_seq - 1, bytes });
        Ok(())
    }

    fn write_buffer(&self, writer: &mut Writer, first_seq: u64) -> Result<(), SpoolError> {
        let Some(file) = writer.file.as_mut() else { return Ok(()) };
        match file.write_all(&writer.buffer) {
            Ok(()) => {
                writer.offset += writer.buffer.len() as u64;
                Ok(())
            }
            Err(source) => {
                // Cut the part that was written; where even that fails, leave the segment, whose rest the next one overrides.
                let cut = file.set_len(writer.offset).and_then(|()| file.seek(SeekFrom::Start(writer.offset)));
                if cut.is_err() && self.sync_writer(writer).is_ok() {
                    writer.file = None;
                }
                Err(SpoolError::io("write", folder::segment_path(&self.inner.config.dir, first_seq), source))
            }
        }
    }

    /// Makes everything appended so far durable and readable.
    ///
    /// An error means that every frame appended since the last successful call is gone and its numbers are free again: after a failed
    /// fsync the kernel may have dropped the pages, so nothing short of writing them again can be trusted. The caller still has them.
    pub fn sync(&self) -> Result<(), SpoolError> {
        self.sync_writer(&mut self.inner.writer())
    }

    fn sync_writer(&self, writer: &mut Writer) -> Result<(), SpoolError> {
        let dir = &self.inner.config.dir;
        let Some(file) = writer.file.as_ref() else { return Ok(()) };
        if writer.offset == writer.synced_offset && !writer.new_file {
            return Ok(());
        }
        let mut done = file.sync_data().map_err(|source| SpoolError::io("fsync", dir, source));
        if done.is_ok() && writer.new_file {
            done = folder::sync(dir);
        }
        let index = &mut *self.inner.index();
        if let Err(error) = done {
            let _ = file.set_len(writer.synced_offset);
            writer.file = None;
            index.next_seq = index.synced + 1;
            if let Some(segment) = index.segments.back_mut() {
                segment.bytes = writer.synced_offset;
                segment.last_seq = index.synced.max(segment.first_seq - 1);
            }
            return Err(error);
        }
        writer.new_file = false;
        writer.synced_offset = writer.offset;
        index.synced = index.next_seq - 1;
        Ok(())
    }

    /// The server has every event up to and including `seq`: segments that hold nothing newer are deleted. A number beyond what was
    /// synced is ignored: nobody can have that.
    pub fn ack(&self, seq: u64) -> Result<(), SpoolError> {
        {
            let index = &mut *self.inner.index();
            let absolute = seq.saturating_add(index.meta.base);
            if absolute <= index.meta.acked || absolute > index.synced {
                return Ok(());
            }
            index.meta.acked = absolute;
        }
        self.delete_acked(false)
    }

    fn delete_acked(&self, with_last: bool) -> Result<(), SpoolError> {
        let index = &mut *self.inner.index();
        let acked = index.meta.acked;
        let keep = usize::from(!with_last);
        let done = index.segments.iter().take_while(|segment| segment.last_seq <= acked).count().min(index.segments.len().saturating_sub(keep));
        if done == 0 {
            return Ok(());
        }
        index.meta.last_seq = index.meta.last_seq.max(acked);
        // Before the files go: else their numbers would look lost after a crash. On a full disk only deleting makes room, and a loss
        // reported too much is the smaller harm.
        let written = match index.meta.write(&self.inner.config.dir) {
            Err(SpoolError::NoSpace { .. }) => false,
            result => result.map(|()| true)?,
        };
        for _ in 0..done {
            let Some(segment) = index.segments.front().copied() else { break };
            let path = folder::segment_path(&self.inner.config.dir, segment.first_seq);
            match std::fs::remove_file(&path) {
                Err(source) if source.kind() != std::io::ErrorKind::NotFound => return Err(SpoolError::io("delete", path, source)),
                _ => index.segments.pop_front(),
            };
        }
        if written { Ok(()) } else { index.meta.write(&self.inner.config.dir) }
    }

    /// Starts a new life of the spool: the server has numbers that this spool has not given yet, so the folder was rolled back (a restored
    /// snapshot) and going on would reuse them. What is not known to be acknowledged keeps its order and is numbered from 1 again.
    pub fn reset(&self) -> Result<Uuid, SpoolError> {
        let _writer = self.inner.writer();
        let index = &mut *self.inner.index();
        let mut meta = index.meta.clone();
        meta.spool_uid = Uuid::new_v4();
        meta.base = meta.acked;
        meta.write(&self.inner.config.dir)?;
        index.meta = meta;
        Ok(index.meta.spool_uid)
    }

    /// The ranges were reported to the server, durably: later runs skip them without reporting them again.
    pub fn lost_reported(&self, ranges: &[LostRange]) -> Result<(), SpoolError> {
        if ranges.is_empty() {
            return Ok(());
        }
        let index = &mut *self.inner.index();
        let base = index.meta.base;
        index.meta.lost.extend(ranges.iter().map(|range| (range.first_seq + base, range.last_seq + base)));
        index.meta.write(&self.inner.config.dir)
    }

    /// Syncs and marks the end as orderly: the next [`Spool::open`] finds nothing missing.
    pub fn close(&self) -> Result<(), SpoolError> {
        self.sync()?;
        let _writer = self.inner.writer();
        let index = &mut *self.inner.index();
        index.meta.last_seq = index.synced;
        index.meta.write(&self.inner.config.dir)?;
        meta::set_clean(&self.inner.config.dir)
    }

    /// A reader of what is synced.
    #[must_use]
    pub fn reader(&self) -> Reader {
        Reader::new(Arc::clone(&self.inner))
    }

    /// Bytes that frames of this priority may still fill; all of it where everything is acknowledged.
    #[must_use]
    pub fn room_bytes(&self, priority: Priority) -> u64 {
        let index = self.inner.index();
        let used_bytes = if index.meta.acked + 1 == index.next_seq { 0 } else { index.used_bytes() };
        self.inner.config.limit_bytes(priority).saturating_sub(used_bytes)
    }

    /// What it holds.
    #[must_use]
    pub fn state(&self) -> SpoolState {
        let index = self.inner.index();
        let base = index.meta.base;
        let (last, acked) = (index.next_seq - 1, index.meta.acked);
        SpoolState {
            spool_uid: index.meta.spool_uid,
            first_seq: if last > acked { acked + 1 - base } else { 0 },
            last_seq: last.saturating_sub(base),
            synced_seq: index.synced.saturating_sub(base),
            acked_seq: acked.saturating_sub(base),
            bytes: index.used_bytes(),
            bytes_max: self.inner.config.bytes_max,
        }
    }
}
