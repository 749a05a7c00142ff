//! The reader of the ring buffer: a thread on a timer that does no I/O and waits for nobody.

use std::{
    sync::{Arc, atomic::Ordering, mpsc},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use picket_ebpf::{Counters, KernelSupport, ProbeState, Sensor, Tampering, TamperingKind, WatchSpec, WatchState};
use picket_event::{LossCause, Timestamp};

use crate::{
    boot::{boot_now_ns, wall_now},
    healing::{Gap, Healing},
    loss::{LossLedger, Pending, RECORD_CLASSES, by_cpu},
    pipeline::Shedding,
    queue::{Batch, QueueSender, record_class},
    self_watch::SelfWatch,
    supervisor::Beats,
};

/// One read of the ring at most: a burst must not become one huge batch.
const DRAIN_BYTES_MAX: usize = 256 << 10;
/// Resolving some hundred paths takes milliseconds; the caller has looked at each before, so that none hangs here.
pub(crate) const SET_WATCHES_MAX: Duration = Duration::from_secs(30);
/// What a listed process takes in the queue, about.
const HEALED_RECORD_BYTES: usize = 512;
/// How often the kernel's counters are read.
const COUNT_EVERY: Duration = Duration::from_secs(1);
/// How often links and maps are looked at: what was detached is away for so long at most.
const INSPECT_EVERY: Duration = Duration::from_secs(2);
/// Between two steps of the reader, each of which takes milliseconds: more means that nobody let it run. The clock stands still while the host sleeps.
const PAUSE_MIN: Duration = Duration::from_secs(5);

/// What the sensor says of itself, replaced as a whole.
#[derive(Clone, Debug, Default)]
pub(crate) struct SensorSnapshot {
    /// `ebpf` or `fs_watch`, and why the latter.
    pub(crate) backend: &'static str,
    pub(crate) backend_reason: String,
    pub(crate) probes: Vec<ProbeState>,
    pub(crate) kernel: KernelSupport,
    pub(crate) watches: Vec<WatchState>,
    pub(crate) counters: Counters,
    pub(crate) decode_errors: u64,
    pub(crate) run_time_ns: Option<u64>,
}

pub(crate) type SharedSnapshot = Arc<ArcSwap<SensorSnapshot>>;

enum Request {
    Watches(Vec<WatchSpec>, mpsc::SyncSender<()>),
    Stop,
}

/// The running thread.
pub(crate) struct SensorThread {
    requests: mpsc::Sender<Request>,
    thread: JoinHandle<Sensor>,
}

impl SensorThread {
    /// Starts reading. `watches` are already set in `sensor`.
    pub(crate) fn start(
        sensor: Sensor,
        queue: QueueSender,
        ledger: Arc<LossLedger>,
        snapshot: SharedSnapshot,
        interval: Duration,
        shedding: Arc<Shedding>,
        (beats, self_watch): (Arc<Beats>, Arc<SelfWatch>),
    ) -> std::io::Result<Self> {
        let (requests, inbox) = mpsc::channel();
        let drain = Drain {
            sensor,
            queue,
            ledger,
            snapshot,
            self_watch,
            inspected_at: wall_now(),
            inbox,
            interval,
            counted: Counters::default(),
            counted_at: wall_now(),
            dropping_since: None,
            beats,
            stepped: (Instant::now(), wall_now()),
            counted_boot_ns: boot_now_ns(),
            healing: Healing::default(),
            shedding,
            sheds: false,
        };
        let thread = std::thread::Builder::new().name("sensor".to_owned()).spawn(move || drain.run())?;
        Ok(Self { requests, thread })
    }

    /// A handle for other threads.
    pub(crate) fn watches(&self) -> WatchSetter {
        WatchSetter { requests: self.requests.clone() }
    }

    /// Detaches the probes, hands over what is still in the ring, and ends.
    pub(crate) fn stop(self) -> std::thread::Result<Sensor> {
        let _ = self.requests.send(Request::Stop);
        self.thread.join()
    }
}

/// Sets the watches of the running sensor.
pub(crate) struct WatchSetter {
    requests: mpsc::Sender<Request>,
}

impl WatchSetter {
    /// The snapshot shows what became of them. False where the sensor did not answer.
    pub(crate) fn set(&self, watches: Vec<WatchSpec>) -> bool {
        let (done, answer) = mpsc::sync_channel(1);
        self.requests.send(Request::Watches(watches, done)).is_ok() && answer.recv_timeout(SET_WATCHES_MAX).is_ok()
    }
}

struct Drain {
    sensor: Sensor,
    queue: QueueSender,
    ledger: Arc<LossLedger>,
    snapshot: SharedSnapshot,
    self_watch: Arc<SelfWatch>,
    inspected_at: Timestamp,
    inbox: mpsc::Receiver<Request>,
    interval: Duration,
    counted: Counters,
    counted_at: Timestamp,
    dropping_since: Option<Timestamp>,
    beats: Arc<Beats>,
    stepped: (Instant, Timestamp),
    counted_boot_ns: u64,
    healing: Healing,
    shedding: Arc<Shedding>,
    sheds: bool,
}

impl Drain {
    fn run(mut self) -> Sensor {
        let mut next_count = Instant::now();
        let mut next_inspection = next_count + INSPECT_EVERY;
        loop {
            let begin = Instant::now();
            // A flood must not keep the counters from being read.
            while self.drain() && begin.elapsed() < COUNT_EVERY {
                self.step();
            }
            self.step();
            if begin >= next_count {
                next_count = begin + COUNT_EVERY;
                self.count();
                self.heal();
                self.shed();
                self.step();
            }
            if begin >= next_inspection {
                next_inspection = begin + INSPECT_EVERY;
                self.inspect();
                self.step();
            }
            let left = self.interval.saturating_sub(begin.elapsed());
            match self.inbox.recv_timeout(left) {
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Ok(Request::Watches(watches, done)) => {
                    let states = self.sensor.set_watches(&watches);
                    self.publish(|snapshot| snapshot.watches = states);
                    let _ = done.try_send(());
                    // Resolving paths may take its time.
                    self.stepped = (Instant::now(), wall_now());
                }
                Ok(Request::Stop) | Err(mpsc::RecvTimeoutError::Disconnected) => {
                    self.sensor.detach();
                    while self.drain() {}
                    self.count();
                    return self.sensor;
                }
            }
        }
    }

    /// Says that the reader runs, and where it did not for a while.
    fn step(&mut self) {
        let (before, before_at) = std::mem::replace(&mut self.stepped, (Instant::now(), wall_now()));
        if self.stepped.0.duration_since(before) >= PAUSE_MIN {
            self.self_watch.paused(before_at, self.stepped.1);
        }
        self.beats.sensor.fetch_add(1, Ordering::Relaxed);
    }

    fn inspect(&mut self) {
        let since = std::mem::replace(&mut self.inspected_at, wall_now());
        let found = self.sensor.inspect();
        if found.is_empty() {
            return;
        }
        if found.iter().any(|one| !one.healed) {
            let probes = self.sensor.probes().to_vec();
            self.publish(|snapshot| snapshot.probes = probes);
        }
        self.self_watch.tampered(found, since);
    }

    /// True where there is more.
    fn drain(&mut self) -> bool {
        let mut records = Vec::new();
        let began = wall_now();
        let drained = self.sensor.drain(&mut |record| records.push(record), DRAIN_BYTES_MAX);
        if drained.decode_errors > 0 {
            // The loader and the probes of one build disagree: a bug, but not a silent one.
            let at = wall_now();
            self.ledger.add(Pending {
                cause: LossCause::Refused,
                class: None,
                cpu: None,
                count: drained.decode_errors,
                produced: drained.decode_errors,
                since: at,
                until: at,
            });
            self.publish(|snapshot| snapshot.decode_errors += drained.decode_errors);
        }
        if records.is_empty() {
            return drained.more;
        }
        match self.queue.offer(Batch { records, bytes: drained.bytes, produced: true, heals: None }) {
            Ok(()) => self.dropping_since = None,
            Err(batch) => {
                let since = *self.dropping_since.get_or_insert(began);
                let mut counts = [0_u64; 3];
                for record in &batch.records {
                    if let Some(count) = counts.get_mut(record_class(record)) {
                        *count += 1;
                    }
                }
                self.wants_healing(LossCause::QueueFull, counts, since);
                for (class, count) in RECORD_CLASSES.into_iter().zip(counts) {
                    self.ledger.add(Pending { cause: LossCause::QueueFull, class: Some(class), cpu: None, count, produced: count, since, until: wall_now() });
                }
            }
        }
        drained.more
    }

    /// Enters what the kernel dropped since the last time.
    fn count(&mut self) {
        let counters = match self.sensor.counters() {
            Ok(counters) => counters,
            Err(error) => {
                tracing::warn!(%error, "the kernel's counters cannot be read");
                return;
            }
        };
        let (since, until) = (self.counted_at, wall_now());
        let enter = |cause, now: [u64; 3], before: [u64; 3]| {
            for ((class, now), before) in RECORD_CLASSES.into_iter().zip(now).zip(before) {
                self.ledger.add(Pending { cause, class: Some(class), cpu: None, count: now.saturating_sub(before), produced: 0, since, until });
            }
        };
        let back = |now: [u64; 3], before: [u64; 3]| now.iter().zip(before).any(|(now, before)| *now < before);
        if back(counters.produced, self.counted.produced) || back(counters.dropped, self.counted.dropped) {
            let detail = "the counters of records and losses were set back: losses since then may not be counted".to_owned();
            let changed = Tampering { kind: TamperingKind::MapChanged, subject: "picket_counters".to_owned(), detail, healed: true };
            self.self_watch.tampered(vec![changed], since);
        }
        for (index, class) in RECORD_CLASSES.into_iter().enumerate() {
            // The ring is one for all CPUs; what is counted by CPU is who found it full.
            for (cpu, count) in by_cpu(&dropped_since(&counters, &self.counted, index)) {
                self.ledger.add(Pending { cause: LossCause::RingFull, class: Some(class), cpu, count, produced: 0, since, until });
            }
        }
        enter(LossCause::MapFull, counters.map_full, self.counted.map_full);
        enter(LossCause::RateLimited, counters.limited, self.counted.limited);
        enter(LossCause::Budget, counters.shed, self.counted.shed);
        let classes = RECORD_CLASSES.into_iter().map(Some).chain([None]);
        for ((class, now), before) in classes.zip(counters.missed).zip(self.counted.missed) {
            self.ledger.add(Pending { cause: LossCause::ProbeMissed, class, cpu: None, count: now.saturating_sub(before), produced: 0, since, until });
        }
        let lost = |now: [u64; 3], before: [u64; 3]| {
            std::array::from_fn(|class| now.get(class).zip(before.get(class)).map_or(0, |(now, before)| now.saturating_sub(*before)))
        };
        self.wants_healing(LossCause::RingFull, lost(counters.dropped, self.counted.dropped), since);
        self.wants_healing(LossCause::MapFull, lost(counters.map_full, self.counted.map_full), since);
        self.counted = counters.clone();
        self.counted_boot_ns = boot_now_ns();
        self.counted_at = until;
        let run_time_ns = self.sensor.run_time_ns();
        self.publish(|snapshot| {
            snapshot.counters = counters;
            snapshot.run_time_ns = run_time_ns;
        });
    }

    fn wants_healing(&mut self, cause: LossCause, lost: [u64; 3], since: Timestamp) {
        let [processes, _, flows] = lost.map(|count| count > 0);
        self.healing.lost(Gap { cause, since, until: wall_now(), since_boot_ns: self.counted_boot_ns, processes, flows }, Instant::now());
    }

    /// What the budget sheds first is left out in the kernel: there it costs least.
    fn shed(&mut self) {
        let sheds = self.shedding.level() >= 1;
        if sheds == self.sheds {
            return;
        }
        match self.sensor.shed_reads(sheds) {
            Ok(()) => self.sheds = sheds,
            // The pipeline sheds the same records all the while, only later on their way.
            Err(error) => tracing::warn!(%error, "the kernel side does not shed"),
        }
    }

    /// Hands over what exists now, where losses have left that unknown. The kernel's own lists: nothing is read from a file here.
    fn heal(&mut self) {
        let began = Instant::now();
        let Some(gap) = self.healing.due(began) else { return };
        let found = self.sensor.running().and_then(|mut records| {
            // Processes in any case: a socket is told with its owner.
            if gap.flows {
                records.extend(self.sensor.flows()?.into_iter().filter(|record| gap.may_hide(record)));
            }
            Ok(records)
        });
        self.healing.done(Instant::now(), began.elapsed());
        let records = match found {
            Ok(records) => records,
            Err(error) => {
                tracing::warn!(%error, "what losses left unknown cannot be listed");
                return self.healing.lost(gap, Instant::now());
            }
        };
        let bytes = records.len() * HEALED_RECORD_BYTES;
        if self.queue.offer_whole(Batch { records, bytes, produced: false, heals: Some(gap.clone()) }).is_err() {
            // The queue is still full: the gap stays open.
            self.healing.lost(gap, Instant::now());
        }
    }

    fn publish(&self, change: impl FnOnce(&mut SensorSnapshot)) {
        let mut snapshot = SensorSnapshot::clone(&self.snapshot.load());
        change(&mut snapshot);
        self.snapshot.store(Arc::new(snapshot));
    }
}

/// By CPU, records of one class.
fn dropped_since(now: &Counters, before: &Counters, class: usize) -> Vec<u64> {
    let of = |cpu: Option<&[u64; 3]>| cpu.and_then(|counts| counts.get(class)).copied().unwrap_or(0);
    (0..now.dropped_per_cpu.len()).map(|cpu| of(now.dropped_per_cpu.get(cpu)).saturating_sub(of(before.dropped_per_cpu.get(cpu)))).collect()
}
