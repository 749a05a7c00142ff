//! What the agent says of itself: to the server in heartbeats, to people over the status socket.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use arc_swap::ArcSwap;
use picket_proto::v1;
use picket_spool::Spool;
use serde_json::json;
use tokio::sync::Notify;

use crate::{
    boot::{Boot, wall_now},
    budget::Usage,
    capabilities,
    config::Config,
    gpu::SharedGpus,
    inventory,
    loss::LossLedger,
    pipeline::{Shedding, WorkerCounters},
    scan::{Intake, ScanStatus},
    self_watch::SelfWatch,
    sensor::SharedSnapshot,
    uplink::{LinkStatus, Reports},
};

/// More are told by their events alone.
const GPUS_TOLD_MAX: usize = 64;

/// The configuration in force.
#[derive(Clone, Debug, Default)]
pub(crate) struct ConfigState {
    pub(crate) file: String,
    /// SHA-256 of the file, empty for the defaults.
    pub(crate) hash: String,
    /// Parts of a newer file that wait for a restart.
    pub(crate) restart_needed: Vec<&'static str>,
    /// Why a newer file is not used.
    pub(crate) error: String,
}

/// Shared by everything that reports.
pub(crate) struct AgentState {
    pub(crate) boot: Boot,
    pub(crate) started: Instant,
    pub(crate) config: Arc<ArcSwap<Config>>,
    pub(crate) config_state: ArcSwap<ConfigState>,
    pub(crate) snapshot: SharedSnapshot,
    pub(crate) spool: Spool,
    pub(crate) ledger: Arc<LossLedger>,
    pub(crate) counters: Arc<WorkerCounters>,
    pub(crate) shedding: Arc<Shedding>,
    pub(crate) usage: ArcSwap<Usage>,
    pub(crate) link: LinkStatus,
    pub(crate) gpus: SharedGpus,
    pub(crate) self_watch: Arc<SelfWatch>,
    pub(crate) scan: Arc<ScanStatus>,
    /// Absent where nothing is scanned.
    pub(crate) scans: Option<Intake>,
}

impl AgentState {
    /// As `picket-agent status` shows it.
    pub(crate) fn status(&self) -> serde_json::Value {
        let (config, snapshot, usage, link) = (self.config.load(), self.snapshot.load(), **self.usage.load(), self.link.load());
        let (spool, config_state) = (self.spool.state(), self.config_state.load());
        let capabilities = capabilities::json(&snapshot, &config);
        json!({
            "agent_version": env!("CARGO_PKG_VERSION"),
            "pid": std::process::id(),
            "uptime_s": self.started.elapsed().as_secs(),
            "boot_id": self.boot.id,
            "link": *link,
            "capabilities": capabilities,
            "events_total": self.counters.events.load(Ordering::Relaxed),
            "processes": self.counters.processes.load(Ordering::Relaxed),
            "processes_forgotten": self.counters.forgotten.load(Ordering::Relaxed),
            "dns_malformed": self.counters.dns_malformed.load(Ordering::Relaxed),
            "losses": self.losses().iter().map(|loss| json!({ "cause": loss.cause, "class_uid": loss.class_uid, "count": loss.count })).collect::<Vec<_>>(),
            "kernel_counters": {
                "produced": snapshot.counters.produced, "dropped": snapshot.counters.dropped, "consumed": snapshot.counters.consumed,
                "map_full": snapshot.counters.map_full, "errors": snapshot.counters.errors, "decode_errors": snapshot.decode_errors,
            },
            "spool": {
                "uid": spool.spool_uid, "first_seq": spool.first_seq, "last_seq": spool.last_seq, "acked_seq": spool.acked_seq,
                "events": spool.events(), "bytes": spool.bytes, "bytes_max": spool.bytes_max,
            },
            "budget": {
                "cpu_percent": usage.cpu_percent, "cpu_percent_max": config.budget.cpu_percent * cpus(), "rss_bytes": usage.rss_bytes,
                "memory_bytes_max": config.budget.memory_bytes_max, "shedding_level": self.shedding.level(),
            },
            "problems": self.self_watch.problems().iter().map(|problem| json!({
                "cause": problem.cause, "subject": problem.subject, "detail": problem.detail, "healed": problem.healed, "since_ns": problem.since_ns,
            })).collect::<Vec<_>>(),
            "gpu": self.gpus.load().json(),
            "scan": self.scan.json(),
            "config": { "file": config_state.file, "hash": config_state.hash, "restart_needed": config_state.restart_needed, "error": config_state.error },
        })
    }

    fn losses(&self) -> Vec<v1::LossCounter> {
        let totals = self.ledger.totals().into_iter();
        totals.map(|(cause, class, count)| v1::LossCounter { cause: cause.name().to_owned(), class_uid: class_uid(class), count }).collect()
    }
}

fn class_uid(class: Option<picket_event::EventClass>) -> u32 {
    class.and_then(|class| u32::try_from(class.uid()).ok()).unwrap_or(0)
}

/// CPUs that this host has.
pub(crate) fn cpus() -> f64 {
    std::thread::available_parallelism().map_or(1.0, |cpus| f64::from(u32::try_from(cpus.get()).unwrap_or(u32::MAX)))
}

impl Reports for AgentState {
    fn host(&self) -> v1::Host {
        inventory::host(&self.boot)
    }

    fn capabilities(&self) -> v1::CapabilityReport {
        capabilities::report(&self.snapshot.load(), &self.config.load())
    }

    fn heartbeat(&self) -> v1::Heartbeat {
        let (spool, usage) = (self.spool.state(), **self.usage.load());
        v1::Heartbeat {
            time_ns: wall_now().0,
            uptime_s: self.started.elapsed().as_secs(),
            cpu_percent: usage.cpu_percent,
            rss_bytes: usage.rss_bytes,
            spool_bytes: spool.bytes,
            spool_bytes_max: spool.bytes_max,
            spool_events: spool.events(),
            events_total: self.counters.events.load(Ordering::Relaxed),
            losses: self.losses(),
            capabilities: Some(self.capabilities()),
            config_hash: self.config_state.load().hash.clone(),
            gpus: self.gpus.load().devices.iter().take(GPUS_TOLD_MAX).cloned().map(Into::into).collect(),
            shedding_level: self.shedding.level().into(),
            problems: self.self_watch.tell(),
        }
    }

    fn connected(&self) {
        self.self_watch.connected();
    }

    fn news(&self) -> Arc<Notify> {
        self.self_watch.news()
    }

    fn scan(&self, command: &str, paths: &[String]) -> Result<(), String> {
        let scans = self.scans.as_ref().ok_or_else(|| "this agent scans nothing: picket-scanner is switched off or missing".to_owned())?;
        scans.command(command, paths)
    }
}
