//! The thread between pipeline and spool: batches of events become frames, a group of frames becomes one fsync, losses become events.

use std::{
    sync::{
        Arc,
        atomic::Ordering,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use picket_event::{Activity, Event, EventClass, LossCause, SensorState, SensorStateKind, Timestamp};
use picket_proto::frame::FrameEncoder;
use picket_spool::{NewFrame, Priority, Spool, SpoolError};
use tokio::sync::watch;

use crate::{
    boot::wall_now,
    checkpoint::{Checkpoint, FRAME_CLASSES, frame_slot},
    loss::{LossLedger, Pending, RECORD_CLASSES},
    pipeline::{Chunk, Numbered},
    stdout::own_event,
    supervisor::Beats,
};

/// A frame is closed at this many events, or after this long.
const FRAME_EVENTS_MAX: usize = 500;
const FRAME_EVERY: Duration = Duration::from_millis(100);
/// Frames that share one fsync at most.
const GROUP_FRAMES_MAX: usize = 16;
const LOSS_EVERY: Duration = Duration::from_secs(1);

/// What the bytes of an event do not tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    priority: Priority,
    produced: Option<usize>,
}

/// What a frame holds besides its bytes.
#[derive(Clone, Debug, Default)]
struct Content {
    counts: [u32; picket_spool::CLASSES],
    produced: [u64; 3],
    dropped: [u64; 3],
    first: Option<Timestamp>,
    last: Option<Timestamp>,
    /// Losses that it tells.
    losses: Vec<Pending>,
    /// An event each, in their order.
    marks: Vec<Mark>,
}

impl Content {
    fn add(&mut self, class: EventClass, time: Timestamp, mark: Mark) {
        if let Some(count) = self.counts.get_mut(frame_slot(class)) {
            *count += 1;
        }
        if let Some(count) = mark.produced.and_then(|class| self.produced.get_mut(class)) {
            *count += 1;
        }
        self.first = Some(self.first.map_or(time, |first| first.min(time)));
        self.last = Some(self.last.map_or(time, |last| last.max(time)));
        self.marks.push(mark);
    }

    /// Of the event that is worth least.
    fn priority(&self) -> Priority {
        self.marks.iter().map(|mark| mark.priority).min().unwrap_or_default()
    }

    /// A stored loss event accounts for the records it tells of.
    fn tell(&mut self, pending: Pending) {
        let class = RECORD_CLASSES.iter().position(|class| Some(*class) == pending.class);
        if let Some(class) = class {
            if let Some(count) = self.produced.get_mut(class) {
                *count += pending.produced;
            }
            if pending.cause == LossCause::RingFull
                && let Some(count) = self.dropped.get_mut(class)
            {
                *count += pending.count;
            }
        }
        self.losses.push(pending);
    }
}

#[derive(Clone)]
struct Frame {
    payload: Vec<u8>,
    count: u32,
    content: Content,
}

/// See the module.
pub(crate) struct Spooler {
    spool: Spool,
    ledger: Arc<LossLedger>,
    encoder: FrameEncoder,
    open: Content,
    opened: Option<Instant>,
    /// The spool has no room for events that are worth less.
    floor: Priority,
    unsynced: Vec<Frame>,
    checkpoint: Checkpoint,
    synced_checkpoint: Checkpoint,
    synced: watch::Sender<u64>,
    beats: Arc<Beats>,
}

impl Spooler {
    pub(crate) fn new(
        spool: Spool,
        ledger: Arc<LossLedger>,
        boot: [u8; 16],
        synced: watch::Sender<u64>,
        beats: Arc<Beats>,
    ) -> Result<Self, picket_proto::frame::FrameError> {
        let checkpoint = Checkpoint { boot, ..Checkpoint::default() };
        let encoder = FrameEncoder::new()?;
        Ok(Self {
            spool,
            ledger,
            encoder,
            open: Content::default(),
            opened: None,
            floor: Priority::Low,
            unsynced: Vec::new(),
            checkpoint,
            synced_checkpoint: checkpoint,
            synced,
            beats,
        })
    }

    /// Stores events of the agent itself, durably, into the reserved room. False where the disk refused them.
    pub(crate) fn store_own(&mut self, events: Vec<Event>) -> bool {
        self.close_frame();
        for event in events {
            self.push(event, Mark { priority: Priority::Report, produced: None });
        }
        self.close_frame();
        self.sync()
    }

    /// Until the pipeline is gone; then everything is flushed and the end told. True where nothing is left untold.
    pub(crate) fn run(mut self, events: &Receiver<Chunk>, reason: &str) -> bool {
        let mut next_loss = Instant::now() + LOSS_EVERY;
        loop {
            self.beats.spooler.fetch_add(1, Ordering::Relaxed);
            let deadline = self.opened.map_or(next_loss, |opened| (opened + FRAME_EVERY).min(next_loss));
            let received = events.recv_timeout(deadline.saturating_duration_since(Instant::now()));
            let idle = match received {
                Ok(chunk) => {
                    self.take(chunk);
                    false
                }
                Err(RecvTimeoutError::Timeout) => true,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            if self.opened.is_some_and(|opened| idle || opened.elapsed() >= FRAME_EVERY) {
                self.close_frame();
            }
            if self.unsynced.len() >= GROUP_FRAMES_MAX || (!self.unsynced.is_empty() && self.opened.is_none()) {
                self.sync();
            }
            if Instant::now() >= next_loss {
                next_loss = Instant::now() + LOSS_EVERY;
                self.tell_losses();
            }
        }
        self.close_frame();
        self.sync();
        self.tell_losses();
        let report = serde_json::json!({ "reason": reason });
        let stopped = own_event(Activity::Sensor(SensorState { kind: SensorStateKind::Stopped, report }), wall_now());
        self.store_own(vec![stopped]) && self.ledger.is_empty()
    }

    fn take(&mut self, chunk: Chunk) {
        // Room that came back is used again.
        self.floor =
            Priority::ALL.into_iter().find(|priority| self.spool.room_bytes(*priority) >= self.spare_bytes()).unwrap_or(Priority::Report).min(self.floor);
        for Numbered { event, produced, priority } in chunk {
            let mark = Mark { priority, produced };
            if priority < self.floor {
                self.refused(event.activity.class(), event.time, mark, LossCause::SpoolFull);
                continue;
            }
            self.push(event, mark);
            if self.encoder.count() >= FRAME_EVENTS_MAX || !self.encoder.has_room() {
                self.close_frame();
            }
        }
    }

    /// Some to spare, so that the floor does not rise and fall with every frame.
    fn spare_bytes(&self) -> u64 {
        let bytes_max = self.spool.state().bytes_max;
        (bytes_max / 64).max(64 << 10).min(bytes_max / 16)
    }

    fn push(&mut self, event: Event, mark: Mark) {
        self.opened.get_or_insert_with(Instant::now);
        let (time, class) = (event.time, event.activity.class());
        match self.encoder.push(event) {
            Ok(()) => self.open.add(class, time, mark),
            Err(error) => {
                // Only an event over every limit: `has_room` was asked before.
                tracing::error!(%error, "an event cannot be encoded");
                self.refused(class, time, mark, LossCause::Refused);
            }
        }
    }

    fn refused(&self, class: EventClass, time: Timestamp, mark: Mark, cause: LossCause) {
        let produced = u64::from(mark.produced.is_some());
        self.ledger.add(Pending { cause, class: Some(class), cpu: None, count: 1, produced, since: time, until: time });
    }

    fn close_frame(&mut self) {
        let content = std::mem::take(&mut self.open);
        self.opened = None;
        let count = u32::try_from(self.encoder.count()).unwrap_or(u32::MAX);
        if count == 0 {
            return;
        }
        match self.encoder.finish() {
            Ok(payload) => self.store(Frame { payload, count, content }),
            Err(error) => {
                // No memory for zstd: what was pushed is still in the encoder.
                tracing::error!(%error, "a frame cannot be compressed");
                self.open = content;
                self.opened = Some(Instant::now());
            }
        }
    }

    fn store(&mut self, frame: Frame) {
        match self.append(&frame) {
            Ok(()) => self.unsynced.push(frame),
            Err(SpoolError::Full { .. }) if frame.content.losses.is_empty() && frame.content.priority() < Priority::Report => self.store_valuable(frame),
            Err(error) => self.lose(frame, &error),
        }
    }

    /// The spool has no room for the least valuable events of the frame: those go, the others get a frame of their own. The encoder is empty.
    fn store_valuable(&mut self, frame: Frame) {
        let least = frame.content.priority();
        self.floor = Priority::ALL.into_iter().find(|priority| *priority > least).unwrap_or(Priority::Report).max(self.floor);
        let events = match picket_proto::frame::decode(&frame.payload, frame.count) {
            Ok(events) => events,
            Err(error) => {
                tracing::error!(%error, "a frame cannot be taken apart");
                return self.lose(frame, &SpoolError::Full { used_bytes: 0, limit_bytes: 0 });
            }
        };
        for (event, mark) in events.into_iter().zip(frame.content.marks) {
            if mark.priority > least {
                self.push(event, mark);
            } else {
                self.refused(event.activity.class(), event.time, mark, LossCause::SpoolFull);
            }
        }
        self.close_frame();
    }

    fn append(&mut self, frame: &Frame) -> Result<(), SpoolError> {
        let mut checkpoint = self.checkpoint;
        for (sum, one) in checkpoint.accounted.iter_mut().zip(frame.content.produced) {
            *sum += one;
        }
        for (sum, one) in checkpoint.dropped.iter_mut().zip(frame.content.dropped) {
            *sum += one;
        }
        let time = |time: Option<Timestamp>| time.unwrap_or_default().0;
        self.spool.append(&NewFrame {
            count: frame.count,
            time_first_ns: time(frame.content.first),
            time_last_ns: time(frame.content.last),
            class_counts: frame.content.counts,
            priority: frame.content.priority(),
            checkpoint: &checkpoint.encode(),
            payload: &frame.payload,
        })?;
        self.checkpoint = checkpoint;
        Ok(())
    }

    /// True where everything that was appended is durable.
    fn sync(&mut self) -> bool {
        let mut frames = std::mem::take(&mut self.unsynced);
        // After a failed fsync the frames are gone from the spool; they are still here for one more try.
        for last_try in [false, true] {
            let Err(error) = self.spool.sync() else {
                self.synced_checkpoint = self.checkpoint;
                let seq = self.spool.state().synced_seq;
                self.synced.send_if_modified(|now| std::mem::replace(now, seq) != seq);
                return true;
            };
            self.checkpoint = self.synced_checkpoint;
            if last_try {
                frames.drain(..).for_each(|frame| self.lose(frame, &error));
            } else {
                tracing::warn!(error = crate::dial::with_sources(&error), "the spool could not be synced; trying once more");
                for frame in std::mem::take(&mut frames) {
                    match self.append(&frame) {
                        Ok(()) => frames.push(frame),
                        Err(error) => self.lose(frame, &error),
                    }
                }
            }
        }
        false
    }

    fn lose(&self, frame: Frame, error: &SpoolError) {
        let cause = if matches!(error, SpoolError::Full { .. }) { LossCause::SpoolFull } else { LossCause::DiskError };
        tracing::debug!(error = crate::dial::with_sources(error), events = frame.count, "a frame was not stored");
        let Content { counts, produced, first, last, losses, .. } = frame.content;
        let (since, until) = (first.unwrap_or_default(), last.unwrap_or_default());
        if !losses.is_empty() {
            // The losses are still untold, which is less than losing what tells them.
            self.ledger.put_back(losses);
            return;
        }
        for (index, (class, count)) in FRAME_CLASSES.into_iter().zip(counts).enumerate() {
            let produced = produced.get(index).copied().unwrap_or(0);
            self.ledger.add(Pending { cause, class, cpu: None, count: u64::from(count), produced, since, until });
        }
    }

    fn tell_losses(&mut self) {
        let losses = self.ledger.take();
        if losses.is_empty() {
            return;
        }
        self.close_frame();
        let now = wall_now();
        for pending in losses {
            self.push(own_event(Activity::Loss(pending.event()), now), Mark { priority: Priority::Report, produced: None });
            self.open.tell(pending);
        }
        self.close_frame();
        self.sync();
    }
}

#[cfg(test)]
mod tests;
