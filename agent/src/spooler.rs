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
mod tests {
    use std::sync::mpsc;

    use picket_event::{
        Completeness, Confidence, DetectionFinding, FileActivityKind, FileSystemActivity, FindingActivityKind, FindingRule, LaunchType, ProcessActivity,
        ProcessActivityKind, RuleKind, Verdict,
    };
    use picket_spool::{SpoolConfig, Stored};

    use super::*;

    fn event(number: u32, time: i64) -> Event {
        let kind = ProcessActivityKind::Launch(LaunchType::Fork);
        let process = picket_event::Process { pid: number, cmd_line: format!("{number} ").repeat(60), ..picket_event::Process::default() };
        let activity = if number.is_multiple_of(2) {
            Activity::Process(ProcessActivity { kind, process, method: picket_event::ProcessMethod::None })
        } else {
            let file = picket_event::File { path: format!("/{number}/").repeat(60), ..picket_event::File::default() };
            Activity::File(FileSystemActivity::new(FileActivityKind::Open, picket_event::Access::READ, file))
        };
        own_event(activity, Timestamp(time))
    }

    fn chunk(numbers: std::ops::Range<u32>) -> Chunk {
        let numbered = |number| Numbered { produced: Some((number % 2) as usize), ..Numbered::own(event(number, i64::from(number))) };
        numbers.map(numbered).collect()
    }

    /// Everything that is in the spool after `seq`.
    fn stored(spool: &Spool, seq: u64) -> Vec<Event> {
        let mut found = Vec::new();
        let mut reader = spool.reader();
        let mut seq = seq;
        loop {
            let batch = reader.frames_after(seq, 1 << 20).unwrap();
            let Some(last) = batch.last() else { return found };
            seq = last.last_seq();
            for stored in batch {
                let Stored::Frame(frame) = stored else { panic!("{stored:?}") };
                found.extend(picket_proto::frame::decode(&frame.payload, frame.count).unwrap());
            }
        }
    }

    fn kept_and_lost(events: &[Event]) -> (u64, Vec<(LossCause, Option<EventClass>, u64)>) {
        let mut kept = 0;
        let mut lost = Vec::new();
        for event in events {
            match &event.activity {
                Activity::Loss(loss) => lost.push((loss.cause, loss.class, loss.count.unwrap())),
                Activity::Sensor(_) => {}
                _ => kept += 1,
            }
        }
        (kept, lost)
    }

    struct Setup {
        spool: Spool,
        ledger: Arc<LossLedger>,
        chunks: mpsc::SyncSender<Chunk>,
        thread: std::thread::JoinHandle<bool>,
        dir: std::path::PathBuf,
        _folder: Option<tempfile::TempDir>,
    }

    fn setup(dir: std::path::PathBuf, bytes_max: u64, folder: Option<tempfile::TempDir>) -> Setup {
        let (spool, _) = Spool::open(SpoolConfig { bytes_max, segment_bytes: 8 << 10, reserve_bytes: bytes_max / 8, ..SpoolConfig::new(dir.clone()) }).unwrap();
        let ledger = Arc::<LossLedger>::default();
        let (synced, _) = watch::channel(0);
        let spooler = Spooler::new(spool.clone(), Arc::clone(&ledger), [9; 16], synced, Arc::default()).unwrap();
        let (chunks, events) = mpsc::sync_channel(4);
        let thread = std::thread::spawn(move || spooler.run(&events, "the test is over"));
        Setup { spool, ledger, chunks, thread, dir, _folder: folder }
    }

    fn in_folder(bytes_max: u64) -> Setup {
        let folder = tempfile::tempdir().unwrap();
        setup(folder.path().join("spool"), bytes_max, Some(folder))
    }

    #[test]
    fn what_is_fed_is_stored_in_order_and_the_checkpoint_accounts_for_it() {
        let setup = in_folder(16 << 20);
        for part in 0..40 {
            setup.chunks.send(chunk(part * 100..part * 100 + 100)).unwrap();
        }
        drop(setup.chunks);
        assert!(setup.thread.join().unwrap());
        let events = stored(&setup.spool, 0);
        let times: Vec<i64> = events.iter().filter(|event| !matches!(event.activity, Activity::Sensor(_))).map(|event| event.time.0).collect();
        assert_eq!(times, (0..4_000).collect::<Vec<i64>>());
        assert!(matches!(&events.last().unwrap().activity, Activity::Sensor(state) if state.kind == SensorStateKind::Stopped));
        let Setup { spool, dir, _folder, .. } = setup;
        drop(spool);
        let (_, recovery) = Spool::open(SpoolConfig::new(dir)).unwrap();
        let checkpoint = Checkpoint::decode(&recovery.checkpoint.unwrap()).unwrap();
        assert_eq!(checkpoint, Checkpoint { boot: [9; 16], accounted: [2_000, 2_000, 0], dropped: [0; 3] });
    }

    #[test]
    fn a_full_spool_loses_nothing_that_is_not_told() {
        let setup = in_folder(64 << 10);
        for part in 0..200 {
            setup.chunks.send(chunk(part * 100..part * 100 + 100)).unwrap();
        }
        setup.ledger.add(Pending {
            cause: LossCause::RingFull,
            class: Some(EventClass::ProcessActivity),
            cpu: Some(1),
            count: 5,
            produced: 0,
            since: Timestamp(1),
            until: Timestamp(2),
        });
        drop(setup.chunks);
        assert!(setup.thread.join().unwrap(), "the reserved room holds what was lost");
        let (kept, lost) = kept_and_lost(&stored(&setup.spool, 0));
        let told: u64 = lost.iter().filter(|(cause, ..)| *cause == LossCause::SpoolFull).map(|(.., count)| count).sum();
        assert!(kept > 0 && told > 0, "{kept} kept, {told} told");
        assert_eq!(kept + told, 20_000, "{lost:?}");
        assert!(lost.contains(&(LossCause::RingFull, Some(EventClass::ProcessActivity), 5)));
        let Setup { spool, dir, _folder, .. } = setup;
        drop(spool);
        let (_, recovery) = Spool::open(SpoolConfig::new(dir)).unwrap();
        let checkpoint = Checkpoint::decode(&recovery.checkpoint.unwrap()).unwrap();
        assert_eq!(checkpoint, Checkpoint { boot: [9; 16], accounted: [10_000, 10_000, 0], dropped: [5, 0, 0] }, "told is accounted for");
    }

    fn finding() -> DetectionFinding {
        let rule = FindingRule { uid: "one".to_owned(), version: "1".to_owned(), title: "One".to_owned(), kind: RuleKind::Scanner };
        DetectionFinding {
            kind: FindingActivityKind::Create,
            uid: "a finding".to_owned(),
            rule,
            title: "a pickle that runs a shell".to_owned(),
            explanation: String::new(),
            verdict: Verdict::Malicious,
            confidence: Confidence::High,
            completeness: Completeness::Full,
            file: None,
            process: None,
            evidence: Vec::new(),
            techniques: Vec::new(),
            related_events: Vec::new(),
            scan_uid: String::new(),
        }
    }

    #[test]
    fn an_allowance_that_files_filled_takes_processes_and_findings() {
        let setup = in_folder(256 << 10);
        let finding = |at| own_event(Activity::Finding(Box::new(finding())), Timestamp(at));
        // A process in 500 events, a finding in a thousand; every third read is of a file that no watch names.
        for part in 0..800 {
            let mut chunk: Chunk = (part * 100..part * 100 + 100)
                .map(|number| {
                    let numbered = Numbered::own(event(if number % 500 == 0 { number } else { number | 1 }, i64::from(number)));
                    let process = matches!(numbered.event.activity, Activity::Process(_));
                    let priority = if !process && number % 3 == 0 { Priority::Low } else { numbered.priority };
                    Numbered { produced: Some(usize::from(!process)), priority, ..numbered }
                })
                .collect();
            if part % 10 == 0 {
                chunk.push(Numbered::own(finding(i64::from(part))));
            }
            setup.chunks.send(chunk).unwrap();
        }
        drop(setup.chunks);
        assert!(setup.thread.join().unwrap());
        let events = stored(&setup.spool, 0);
        let count = |of: fn(&Activity) -> bool| events.iter().filter(|event| of(&event.activity)).count();
        assert_eq!(count(|activity| matches!(activity, Activity::Process(_))), 160, "no process is lost");
        assert_eq!(count(|activity| matches!(activity, Activity::Finding(_))), 80, "no finding is lost");
        let files = count(|activity| matches!(activity, Activity::File(_)));
        let (_, lost) = kept_and_lost(&events);
        assert!(files > 0 && !lost.is_empty(), "the allowance was filled: {files} files kept, {lost:?}");
        assert!(lost.iter().all(|(cause, class, _)| (*cause, *class) == (LossCause::SpoolFull, Some(EventClass::FileSystemActivity))), "{lost:?}");
        let told: u64 = lost.iter().map(|(.., count)| count).sum();
        assert_eq!(files as u64 + told, 79_840, "what is missing is what was counted");
        let low = |event: &&Event| matches!(event.activity, Activity::File(_)) && event.time.0 % 3 == 0;
        let last = |events: Vec<&Event>| events.iter().map(|event| event.time.0).max().unwrap();
        let (lows, files): (Vec<_>, Vec<_>) = events.iter().filter(|event| matches!(event.activity, Activity::File(_))).partition(low);
        assert!(last(lows) < last(files), "reads that nothing watches stop first");
        let Setup { spool, dir, _folder, .. } = setup;
        drop(spool);
        let (_, recovery) = Spool::open(SpoolConfig::new(dir)).unwrap();
        let checkpoint = Checkpoint::decode(&recovery.checkpoint.unwrap()).unwrap();
        assert_eq!(checkpoint, Checkpoint { boot: [9; 16], accounted: [160, 79_840, 0], dropped: [0; 3] });
    }

    #[test]
    fn a_full_disk_loses_nothing_that_is_not_told() {
        let folder = tempfile::tempdir().unwrap();
        let mounted = std::process::Command::new("mount").args(["-t", "tmpfs", "-o", "size=256k", "none"]).arg(folder.path()).status();
        if !mounted.is_ok_and(|status| status.success()) {
            eprintln!("SKIPPED a_full_disk_loses_nothing_that_is_not_told: cannot mount a tmpfs (needs root)");
            return;
        }
        let result = std::panic::catch_unwind(|| fill_the_disk(folder.path()));
        std::process::Command::new("umount").arg("-l").arg(folder.path()).status().unwrap();
        if let Err(panic) = result {
            std::panic::resume_unwind(panic);
        }
    }

    fn fill_the_disk(point: &std::path::Path) {
        // What fills it is somebody else's; it goes away later.
        std::fs::write(point.join("other"), vec![1; 100 << 10]).unwrap();
        let setup = setup(point.join("spool"), 16 << 20, None);
        for part in 0..200 {
            setup.chunks.send(chunk(part * 100..part * 100 + 100)).unwrap();
        }
        let end = Instant::now() + Duration::from_secs(60);
        while !setup.ledger.totals().iter().any(|(cause, ..)| *cause == LossCause::DiskError) {
            assert!(Instant::now() < end, "the disk does not get full");
            std::thread::sleep(Duration::from_millis(10));
        }
        std::fs::remove_file(point.join("other")).unwrap();
        drop(setup.chunks);
        assert!(setup.thread.join().unwrap());
        let (kept, lost) = kept_and_lost(&stored(&setup.spool, 0));
        let told: u64 = lost.iter().filter(|(cause, ..)| *cause == LossCause::DiskError).map(|(.., count)| count).sum();
        assert!(kept > 0 && told > 0, "{kept} kept, {told} told");
        assert_eq!(kept + told, 20_000, "{lost:?}");
    }
}
