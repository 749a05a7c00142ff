//! What the log holds beyond the table, after any crash.

use std::{fs, path::Path, sync::Arc};

use datafusion::arrow::array::RecordBatch;
use picket_event::{Device, StoredEvent};
use picket_proto::frame::FrameDecoder;

use super::{
    frame::{Body, Entry},
    marks::{Marks, Verdict},
    segment::{End, Reader, list, segment_path},
};
use crate::{
    LakeError,
    contents::{DayRows, TailSegment},
    rows,
    schema::Day,
};

/// What was found.
pub(crate) struct Recovered {
    /// Segments that are in no Parquet file yet.
    pub(crate) segments: Vec<TailSegment>,
    /// How far every spool is stored.
    pub(crate) marks: Marks,
    /// Number of the next segment.
    pub(crate) next: u64,
    /// Events that were acknowledged and cannot be read back: the disk lost them.
    pub(crate) lost: u64,
}

/// Reads the segments above `recorded`, the highest whose events the table holds, and deletes the others.
pub(crate) fn recover(dir: &Path, recorded: u64) -> Result<Recovered, LakeError> {
    let numbers = list(dir).map_err(LakeError::io("listing the log in", dir))?;
    let (flushed, pending): (Vec<u64>, Vec<u64>) = numbers.into_iter().partition(|number| *number <= recorded);
    let first = pending.first().copied().unwrap_or(recorded + 1);
    let marks = Marks::load(dir, first)?;
    if marks.is_none() && (recorded > 0 || !pending.is_empty()) {
        // Without them a batch that was stored before would be stored again.
        return Err(LakeError::Corrupt { path: Marks::path(dir, first), detail: "it is missing, so what each agent has sent is not known".into() });
    }
    let mut recovered = Recovered { segments: Vec::new(), marks: marks.unwrap_or_default(), next: first, lost: 0 };
    if first > recorded + 1 && recorded > 0 {
        tracing::error!(from = recorded + 1, to = first - 1, "segments of the log are missing; their events are lost");
    }
    for number in &pending {
        recovered.replay(dir, *number)?;
    }
    for number in flushed {
        remove(dir, number)?;
    }
    Ok(recovered)
}

/// Deletes a segment whose events are in the table, durably, and the marks at its start.
pub(crate) fn remove(dir: &Path, number: u64) -> Result<(), LakeError> {
    for path in [segment_path(dir, number), Marks::path(dir, number)] {
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(LakeError::io("deleting", path)(error)),
            _ => {}
        }
    }
    Ok(())
}

impl Recovered {
    fn replay(&mut self, dir: &Path, number: u64) -> Result<(), LakeError> {
        if let Some(at_start) = Marks::load(dir, number)? {
            // What was acknowledged in earlier segments and not found there.
            for (device, spool, count) in self.marks.raise_to(&at_start) {
                tracing::error!(%device, %spool, count, segment = number - 1, "acknowledged events cannot be read back from the log: the disk lost them");
                self.lost += count;
            }
        }
        let mut reader = Reader::open(dir, number)?;
        let mut decoder = FrameDecoder::new().map_err(engine)?;
        let mut segment = TailSegment { number, ..TailSegment::default() };
        let mut entries = 0_u64;
        loop {
            match reader.next()? {
                Ok(entry) => {
                    entries += 1;
                    self.apply(&entry, &mut decoder, &mut segment)?;
                }
                Err(End::Clean) => break,
                Err(End::Torn(bytes)) => {
                    tracing::warn!(segment = number, bytes, "the log ends in an entry that was not finished; it was never acknowledged");
                    break;
                }
            }
        }
        if entries > 0 {
            tracing::info!(segment = number, entries, rows = segment.rows, "replayed a segment of the log");
            self.segments.push(segment);
            self.next = number + 1;
        } else {
            // Begun and never used: it is begun again.
            self.next = number;
        }
        Ok(())
    }

    fn apply(&mut self, entry: &Entry, decoder: &mut FrameDecoder, segment: &mut TailSegment) -> Result<(), LakeError> {
        // As judged when it was written: the marks are those of that moment.
        let Verdict::Store { skip } = self.marks.judge(entry.device, entry.spool, entry.first_seq, entry.count) else { return Ok(()) };
        let last = entry.first_seq + (entry.count - 1);
        let mut stored = 0;
        if let Body::Batch(frame) = &entry.body {
            match decode(entry, frame, decoder) {
                Ok(batch) => {
                    let skip = usize::try_from(skip).unwrap_or(usize::MAX).min(batch.num_rows());
                    let batch = batch.slice(skip, batch.num_rows() - skip);
                    stored = batch.num_rows() as u64;
                    segment.rows += batch.num_rows();
                    segment.batches.push(DayRows { day: Day::of(entry.received), batch: Arc::new(batch) });
                }
                Err(error) => {
                    let lost = entry.count - skip;
                    tracing::error!(error = &error as &dyn std::error::Error, device = %entry.device, spool = %entry.spool, first = entry.first_seq, lost, "a logged frame cannot be decoded");
                    self.lost += lost;
                }
            }
        }
        self.marks.advance(entry.device, entry.spool, last, stored, entry.received);
        Ok(())
    }
}

fn decode(entry: &Entry, frame: &[u8], decoder: &mut FrameDecoder) -> Result<RecordBatch, LakeError> {
    let count = u32::try_from(entry.count).map_err(|error| LakeError::Engine { action: "decoding a logged frame", source: Box::new(error) })?;
    let events = decoder.decode(frame, count).map_err(engine)?;
    let device = Arc::new(Device { uid: entry.device, hostname: entry.hostname.clone() });
    let stored = stored_events(&device, entry, events);
    rows::encode(stored.iter())
}

fn stored_events(device: &Arc<Device>, entry: &Entry, events: Vec<picket_event::Event>) -> Vec<StoredEvent> {
    (entry.first_seq..)
        .zip(events)
        .map(|(seq, event)| StoredEvent { device: Arc::clone(device), spool: entry.spool, seq, received: entry.received, event })
        .collect()
}

fn engine(error: picket_proto::frame::FrameError) -> LakeError {
    LakeError::Engine { action: "decoding a logged frame", source: Box::new(error) }
}
