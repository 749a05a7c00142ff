use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering},
    mpsc::SyncSender,
};

use picket_event::{Activity, Event, LossCause};
use picket_spool::Priority;

use super::{Pipeline, Shedding, is_routine};
use crate::{
    boot::{boot_now_ns, wall_now},
    loss::{LossLedger, Pending, RECORD_CLASSES},
    queue::{QueueReceiver, record_class},
    scan::Intake,
};

/// Events handed on at once: enough to amortise the hand-over, few enough to bound what waits.
const CHUNK_EVENTS_MAX: usize = 256;

/// An event, and whether the kernel counted the record it came from.
pub(crate) struct Numbered {
    pub(crate) event: Event,
    /// Class of the record in the kernel's counters.
    pub(crate) produced: Option<usize>,
    /// What goes first when the spool fills.
    pub(crate) priority: Priority,
}

impl Numbered {
    /// An event of the agent itself.
    pub(crate) fn own(event: Event) -> Self {
        let priority = priority_of(&event.activity);
        Self { event, produced: None, priority }
    }
}

/// Processes name everything else, and findings are what the rest is kept for.
pub(crate) const fn priority_of(activity: &Activity) -> Priority {
    match activity {
        Activity::File(_) | Activity::Network(_) | Activity::Dns(_) | Activity::Gpu(_) => Priority::Normal,
        Activity::Process(_)
        | Activity::Memory(_)
        | Activity::Module(_)
        | Activity::KernelExtension(_)
        | Activity::Kernel(_)
        | Activity::Scan(_)
        | Activity::Finding(_)
        | Activity::Compliance(_) => Priority::High,
        Activity::Loss(_) | Activity::Sensor(_) => Priority::Report,
    }
}

pub(crate) type Chunk = Vec<Numbered>;

/// What the thread says of itself.
#[derive(Debug, Default)]
pub(crate) struct WorkerCounters {
    pub(crate) events: AtomicU64,
    pub(crate) processes: AtomicUsize,
    pub(crate) forgotten: AtomicU64,
    pub(crate) dns_malformed: AtomicU64,
    /// Moves on with every batch: the watchdog's proof of life.
    pub(crate) beats: AtomicU64,
}

/// The thread between the queue and the sink. It waits for the sink; the queue before it does not wait for it.
pub(crate) struct Worker {
    pub(crate) pipeline: Pipeline,
    pub(crate) queue: QueueReceiver,
    pub(crate) sink: SyncSender<Chunk>,
    pub(crate) ledger: Arc<LossLedger>,
    pub(crate) shedding: Arc<Shedding>,
    pub(crate) counters: Arc<WorkerCounters>,
    /// Where artifacts are scanned.
    pub(crate) scans: Option<Intake>,
}

impl Worker {
    /// Until the queue's writer is gone, or nobody takes the events any more.
    pub(crate) fn run(mut self) {
        while let Some(batch) = self.queue.recv() {
            self.pipeline.tick(boot_now_ns());
            if let Some(gap) = &batch.heals {
                let healed: Chunk = self.pipeline.heal(batch.records, gap).into_iter().map(Numbered::own).collect();
                if !self.hand_on(healed) {
                    return;
                }
                continue;
            }
            let mut chunk = Vec::new();
            let mut shed = [0_u64; 3];
            let began = wall_now();
            for record in batch.records {
                let class = record_class(&record);
                if batch.produced && self.shedding.sheds(&record) {
                    if let Some(count) = shed.get_mut(class) {
                        *count += 1;
                    }
                    continue;
                }
                let routine = is_routine(&record);
                let event = self.pipeline.event(record);
                if let Some(scans) = &self.scans {
                    scans.offer(&event);
                }
                let priority = if routine { Priority::Low } else { priority_of(&event.activity) };
                chunk.push(Numbered { event, produced: batch.produced.then_some(class), priority });
                if chunk.len() >= CHUNK_EVENTS_MAX && !self.hand_on(std::mem::take(&mut chunk)) {
                    return;
                }
            }
            for (class, count) in RECORD_CLASSES.into_iter().zip(shed) {
                self.ledger.add(Pending { cause: LossCause::Budget, class: Some(class), cpu: None, count, produced: count, since: began, until: wall_now() });
            }
            if !chunk.is_empty() && !self.hand_on(chunk) {
                return;
            }
            let (processes, forgotten) = self.pipeline.processes();
            self.counters.processes.store(processes, Ordering::Relaxed);
            self.counters.forgotten.store(forgotten, Ordering::Relaxed);
            self.counters.dns_malformed.store(self.pipeline.dns_malformed(), Ordering::Relaxed);
            self.counters.beats.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn hand_on(&self, chunk: Chunk) -> bool {
        let count = chunk.len() as u64;
        let taken = self.sink.send(chunk).is_ok();
        if taken {
            self.counters.events.fetch_add(count, Ordering::Relaxed);
        }
        taken
    }
}
