//! What both ways of running have in common: the loaded sensor, its rules, and the thread that turns records into events.

use std::{
    sync::{Arc, mpsc::SyncSender},
    thread::JoinHandle,
    time::Duration,
};

use arc_swap::ArcSwap;
use picket_ebpf::record::Record;

use crate::{
    boot::Boot,
    config::Config,
    enrich::Roles,
    loss::LossLedger,
    pipeline::{Chunk, Pipeline, Rules, Shedding, Worker, WorkerCounters},
    queue::{Batch, queue},
    scan::Intake,
    self_watch::SelfWatch,
    sensor::SharedSnapshot,
    source::{Parts, Source, SourceThread},
    supervisor::Beats,
    watches::WatchIds,
};

/// The sensor with its probes attached and its watches set, not read yet.
pub(crate) struct Loaded {
    pub(crate) source: Source,
    pub(crate) snapshot: SharedSnapshot,
    pub(crate) rules: Arc<ArcSwap<Rules>>,
    pub(crate) watch_ids: WatchIds,
}

impl Loaded {
    pub(crate) fn new(config: &Config, pinned: bool) -> anyhow::Result<Self> {
        let roles = Roles::load(config.roles_file.as_deref())?;
        let mut watch_ids = WatchIds::default();
        let (source, snapshot) = Source::load(config, pinned, watch_ids.specs(&config.watch))?;
        for probe in snapshot.probes.iter().filter(|probe| !probe.attached) {
            tracing::warn!(probe = probe.name, hook = probe.hook, reason = probe.reason, "a probe is not attached");
        }
        for watch in snapshot.watches.iter().filter(|watch| !watch.active) {
            tracing::warn!(path = %watch.path.display(), reason = watch.reason, "a watch is not active");
        }
        Ok(Self {
            source,
            snapshot: Arc::new(ArcSwap::from_pointee(snapshot)),
            rules: Arc::new(ArcSwap::from_pointee(Rules::new(config, roles, &watch_ids))),
            watch_ids,
        })
    }
}

/// The running threads between the kernel and `sink`.
pub(crate) struct Running {
    pub(crate) source: SourceThread,
    pub(crate) worker: JoinHandle<()>,
    pub(crate) counters: Arc<WorkerCounters>,
    pub(crate) shedding: Arc<Shedding>,
}

/// Starts reading: first what existed before, then the ring.
pub(crate) fn start(
    loaded: Loaded,
    config: &Config,
    boot: Boot,
    ledger: &Arc<LossLedger>,
    sink: SyncSender<Chunk>,
    (beats, self_watch): (Arc<Beats>, Arc<SelfWatch>),
    scans: Option<Intake>,
) -> anyhow::Result<Running> {
    let Loaded { mut source, snapshot, rules, .. } = loaded;
    let (sender, receiver) = queue(config.sensor.queue_bytes_max);
    let existing = existing(&mut source);
    sender.send(Batch { records: existing, bytes: 0, produced: false, heals: None });
    let (counters, shedding) = (Arc::<WorkerCounters>::default(), Arc::<Shedding>::default());
    let worker = Worker {
        pipeline: Pipeline::new(boot, config, Arc::clone(&rules)),
        queue: receiver,
        sink: sink.clone(),
        ledger: Arc::clone(ledger),
        shedding: Arc::clone(&shedding),
        counters: Arc::clone(&counters),
        scans,
    };
    let worker = std::thread::Builder::new().name("pipeline".to_owned()).spawn(move || worker.run())?;
    let interval = Duration::from_millis(config.sensor.drain_interval_ms);
    let shed = Arc::clone(&shedding);
    let source = source.start(Parts { queue: sender, ledger: Arc::clone(ledger), snapshot, interval, beats, self_watch, rules, sink, shedding: shed })?;
    Ok(Running { source, worker, counters, shedding })
}

fn existing(source: &mut Source) -> Vec<Record> {
    let Source::Kernel(sensor) = source else { return Vec::new() };
    let mut existing = Vec::new();
    for (what, found) in [("processes", sensor.processes()), ("flows", sensor.flows())] {
        match found {
            Ok(records) => existing.extend(records),
            Err(error) => tracing::warn!(%error, what, "what existed before the agent cannot be listed"),
        }
    }
    existing
}
