//! Where events come from: the kernel's probes, or the file system's notices where those cannot be loaded.

use std::{
    sync::{Arc, mpsc::SyncSender},
    time::Duration,
};

use anyhow::Context;
use arc_swap::ArcSwap;
use picket_ebpf::{KernelSupport, Sensor, WatchSpec};

use crate::{
    config::{Backend, Config},
    fs_watch::{FsWatch, FsWatchSetter, Shared},
    loss::LossLedger,
    pipeline::{Chunk, Rules, Shedding},
    queue::QueueSender,
    self_watch::SelfWatch,
    sensor::{SET_WATCHES_MAX, SensorSnapshot, SensorThread, SharedSnapshot, WatchSetter},
    supervisor::Beats,
};

/// Loaded and not read yet.
pub(crate) enum Source {
    Kernel(Box<Sensor>),
    Files(Vec<WatchSpec>),
}

/// Running.
pub(crate) enum SourceThread {
    Kernel(SensorThread),
    Files(FsWatch),
}

/// Sets the watches of what runs.
pub(crate) enum Watches {
    Kernel(WatchSetter),
    Files(FsWatchSetter),
}

impl Source {
    /// As the configuration asks, with what the capability report shall say.
    pub(crate) fn load(config: &Config, pinned: bool, watches: Vec<WatchSpec>) -> anyhow::Result<(Self, SensorSnapshot)> {
        let reason = match config.sensor.backend {
            Backend::FsWatch => "the configuration asks for it".to_owned(),
            Backend::Ebpf => return Self::kernel(Sensor::load(&config.kernel(pinned)).context("load the kernel side")?, &watches),
            Backend::Auto => match Sensor::load(&config.kernel(pinned)) {
                Ok(sensor) => return Self::kernel(sensor, &watches),
                Err(error) => format!("the kernel side cannot be loaded: {}", crate::dial::with_sources(&error)),
            },
        };
        tracing::warn!(reason, "files of watched trees are seen by inotify alone: no process, no network, no file elsewhere");
        let kernel = KernelSupport { release: sysinfo::System::kernel_version().unwrap_or_default(), ..KernelSupport::default() };
        Ok((Self::Files(watches), SensorSnapshot { backend: "fs_watch", backend_reason: reason, kernel, ..SensorSnapshot::default() }))
    }

    fn kernel(mut sensor: Sensor, watches: &[WatchSpec]) -> anyhow::Result<(Self, SensorSnapshot)> {
        let states = sensor.set_watches(watches);
        let (probes, kernel) = (sensor.probes().to_vec(), sensor.kernel());
        Ok((Self::Kernel(Box::new(sensor)), SensorSnapshot { backend: "ebpf", probes, kernel, watches: states, ..SensorSnapshot::default() }))
    }

    /// The kernel side, where it is the source.
    pub(crate) fn sensor(&self) -> Option<&Sensor> {
        match self {
            Self::Kernel(sensor) => Some(sensor),
            Self::Files(_) => None,
        }
    }

    /// Starts reading.
    pub(crate) fn start(self, parts: Parts) -> anyhow::Result<SourceThread> {
        let Parts { queue, ledger, snapshot, interval, beats, self_watch, rules, sink, shedding } = parts;
        Ok(match self {
            Self::Kernel(sensor) => SourceThread::Kernel(SensorThread::start(*sensor, queue, ledger, snapshot, interval, shedding, (beats, self_watch))?),
            Self::Files(watches) => SourceThread::Files(FsWatch::start(watches, Shared { rules, snapshot, ledger, sink, beats, _queue: queue })?),
        })
    }
}

/// What a source needs of the agent.
pub(crate) struct Parts {
    pub(crate) queue: QueueSender,
    pub(crate) ledger: Arc<LossLedger>,
    pub(crate) snapshot: SharedSnapshot,
    pub(crate) interval: Duration,
    pub(crate) beats: Arc<Beats>,
    pub(crate) self_watch: Arc<SelfWatch>,
    pub(crate) rules: Arc<ArcSwap<Rules>>,
    pub(crate) sink: SyncSender<Chunk>,
    pub(crate) shedding: Arc<Shedding>,
}

impl SourceThread {
    /// A handle for other threads.
    pub(crate) fn watches(&self) -> Watches {
        match self {
            Self::Kernel(thread) => Watches::Kernel(thread.watches()),
            Self::Files(thread) => Watches::Files(thread.watches()),
        }
    }

    /// Hands over what was seen, and ends.
    pub(crate) fn stop(self) -> std::thread::Result<()> {
        match self {
            Self::Kernel(thread) => thread.stop().map(drop),
            Self::Files(thread) => thread.stop(),
        }
    }
}

impl Watches {
    /// The snapshot shows what became of them. False where the source did not answer.
    pub(crate) fn set(&self, watches: Vec<WatchSpec>) -> bool {
        match self {
            Self::Kernel(setter) => setter.set(watches),
            Self::Files(setter) => setter.set(watches, SET_WATCHES_MAX),
        }
    }
}
