//! The GPUs of the host and who uses them, asked of the vendor's management library (NVML) where it is installed. Without it there is nothing
//! to ask and nothing to complain of: the status says that it is absent.
//!
//! A thread of its own asks: a driver in trouble answers late or never, and nobody waits for it.

mod changes;
mod nvml;

use std::{
    sync::{
        Arc,
        mpsc::{self, RecvTimeoutError, SyncSender},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use picket_event::{Activity, GpuState};
use serde_json::json;

use self::{changes::differs, nvml::Nvml};
use crate::{
    boot::wall_now,
    config::GpuConfig,
    pipeline::{Chunk, Numbered},
    side::{SideGuard, SideSink, side},
    stdout::own_event,
};

/// What the last look saw.
#[derive(Clone, Debug, Default)]
pub(crate) struct GpuReport {
    /// `absent`, `present`, `off` or `failed`.
    pub(crate) nvml: &'static str,
    pub(crate) reason: String,
    pub(crate) devices: Vec<GpuState>,
}

pub(crate) type SharedGpus = Arc<ArcSwap<GpuReport>>;

impl GpuReport {
    /// As status and capability report show it.
    pub(crate) fn json(&self) -> serde_json::Value {
        let device = |gpu: &GpuState| {
            json!({
                "uuid": gpu.uuid, "name": gpu.name, "index": gpu.index, "driver_version": gpu.driver_version, "memory_used_bytes": gpu.memory_used_bytes,
                "memory_total_bytes": gpu.memory_total_bytes, "utilization_percent": gpu.utilization_percent, "mig_enabled": gpu.mig_enabled,
                "mig_devices": gpu.mig_devices, "processes": gpu.processes.iter().map(|process| process.pid).collect::<Vec<_>>(),
            })
        };
        json!({ "nvml": self.nvml, "reason": self.reason, "devices": self.devices.iter().map(device).collect::<Vec<_>>() })
    }
}

/// The running thread; it ends when this is dropped, at the next answer of the driver.
pub(crate) struct GpuWatch {
    _stop: mpsc::Sender<()>,
    _sink: SideGuard,
}

impl GpuWatch {
    /// Looks at once and then every `sample_seconds`.
    pub(crate) fn start(config: &GpuConfig, shared: SharedGpus, sink: SyncSender<Chunk>) -> std::io::Result<Option<Self>> {
        if config.sample_seconds == 0 {
            shared.store(Arc::new(GpuReport { nvml: "off", reason: "[gpu] sample_seconds is 0".to_owned(), devices: Vec::new() }));
            return Ok(None);
        }
        let (stop, stopped) = mpsc::channel();
        let (sink, guard) = side(sink);
        let mut look =
            Look { every: Duration::from_secs(config.sample_seconds), tell_every: Duration::from_secs(config.tell_seconds), shared, sink, told: Vec::new() };
        std::thread::Builder::new().name("gpu".to_owned()).spawn(move || look.run(&stopped))?;
        Ok(Some(Self { _stop: stop, _sink: guard }))
    }
}

/// A driver that is installed or comes up later is found so late.
const LOOK_FOR_DRIVER_EVERY: Duration = Duration::from_secs(300);

struct Look {
    every: Duration,
    tell_every: Duration,
    shared: SharedGpus,
    sink: SideSink,
    /// What each device's last event said, and when.
    told: Vec<(GpuState, Instant)>,
}

impl Look {
    fn run(&mut self, stopped: &mpsc::Receiver<()>) {
        loop {
            match Nvml::open() {
                Err(reason) => self.shared.store(Arc::new(GpuReport { nvml: "absent", reason, devices: Vec::new() })),
                Ok(nvml) => {
                    if !self.ask(&nvml, stopped) {
                        return;
                    }
                }
            }
            if stopped.recv_timeout(LOOK_FOR_DRIVER_EVERY) != Err(RecvTimeoutError::Timeout) {
                return;
            }
        }
    }

    /// Until the driver fails (true) or the agent ends.
    fn ask(&mut self, nvml: &Nvml, stopped: &mpsc::Receiver<()>) -> bool {
        loop {
            match nvml.devices() {
                Ok(devices) => {
                    if !self.tell(&devices) {
                        return false;
                    }
                    self.shared.store(Arc::new(GpuReport { nvml: "present", reason: String::new(), devices }));
                }
                Err(reason) => {
                    tracing::warn!(reason, "the GPU driver does not answer");
                    self.shared.store(Arc::new(GpuReport { nvml: "failed", reason, devices: Vec::new() }));
                    return true;
                }
            }
            if stopped.recv_timeout(self.every) != Err(RecvTimeoutError::Timeout) {
                return false;
            }
        }
    }

    fn tell(&mut self, devices: &[GpuState]) -> bool {
        let mut chunk = Vec::new();
        for device in devices {
            let told = self.told.iter().position(|(told, _)| told.uuid == device.uuid);
            let due = told.and_then(|at| self.told.get(at)).is_none_or(|(told, at)| at.elapsed() >= self.tell_every || differs(told, device));
            if !due {
                continue;
            }
            if let Some(at) = told {
                self.told.remove(at);
            }
            self.told.push((device.clone(), Instant::now()));
            chunk.push(Numbered::own(own_event(Activity::Gpu(Box::new(device.clone())), wall_now())));
        }
        self.told.retain(|(told, _)| devices.iter().any(|device| device.uuid == told.uuid));
        self.sink.send(chunk)
    }
}
