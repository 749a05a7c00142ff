//! What Prometheus sees. Counters of the server's own work; figures of the lake are read when asked.

use std::sync::atomic::AtomicU64;

use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

use crate::refusal::RefusalReason;

/// Every metric. All names begin with `picket_`.
pub struct Metrics {
    registry: Registry,
    /// Events acknowledged, replays not counted.
    pub events: Counter,
    /// Compressed bytes of acknowledged batches.
    pub bytes: Counter,
    /// Batches by how they ended.
    pub batches: Family<BatchLabels, Counter>,
    /// From the receipt of a batch to its acknowledgement.
    pub ack_seconds: Histogram,
    /// Inflating and decoding one batch.
    pub decode_seconds: Histogram,
    /// Connected agents.
    pub agents: Gauge,
    /// Hosts by the condition of their sensor.
    pub hosts: Family<ConditionLabels, Gauge>,
    /// Changes of a host's condition, by what it became.
    pub host_conditions: Family<ConditionLabels, Counter>,
    /// Open connections by port.
    pub connections: Family<PortLabels, Gauge>,
    /// Connections turned away at a limit, by port.
    pub connections_rejected: Family<PortLabels, Counter>,
    /// API calls by method and code.
    pub calls: Family<CallLabels, Counter>,
    /// Time of API calls.
    pub call_seconds: Histogram,
    refusals: Family<RefusalLabels, Counter>,
    lake: LakeGauges,
}

/// Figures of the lake, set before each answer.
#[derive(Default)]
struct LakeGauges {
    events_stored: Gauge<u64, AtomicU64>,
    bytes: Gauge<u64, AtomicU64>,
    files: Gauge<u64, AtomicU64>,
    tail_events: Gauge<u64, AtomicU64>,
    log_bytes: Gauge<u64, AtomicU64>,
    flush_failures: Gauge<u64, AtomicU64>,
    lost_events: Gauge<u64, AtomicU64>,
    queries_running: Gauge<u64, AtomicU64>,
    disk_full: Gauge<u64, AtomicU64>,
}

/// Label of [`Metrics::batches`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct BatchLabels {
    /// stored, replayed, gap, malformed, busy
    pub outcome: &'static str,
}

/// Label of the conditions of hosts.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ConditionLabels {
    /// reporting, stopped, silent, blinded
    pub condition: &'static str,
}

/// Label of connection metrics.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct PortLabels {
    /// agents, api
    pub port: &'static str,
}

/// Labels of [`Metrics::calls`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct CallLabels {
    /// As in the permission table; unknown methods share `unknown`.
    pub method: &'static str,
    /// gRPC code name.
    pub code: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RefusalLabels {
    reason: &'static str,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All at zero.
    #[must_use]
    pub fn new() -> Self {
        let seconds = || Histogram::new([0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0]);
        let mut metrics = Self {
            registry: Registry::with_prefix("picket"),
            events: Counter::default(),
            bytes: Counter::default(),
            batches: Family::default(),
            ack_seconds: seconds(),
            decode_seconds: seconds(),
            agents: Gauge::default(),
            hosts: Family::default(),
            host_conditions: Family::default(),
            connections: Family::default(),
            connections_rejected: Family::default(),
            calls: Family::default(),
            call_seconds: seconds(),
            refusals: Family::default(),
            lake: LakeGauges::default(),
        };
        metrics.register();
        metrics
    }

    fn register(&mut self) {
        let r = &mut self.registry;
        r.register("ingest_events", "Events acknowledged, replays not counted", self.events.clone());
        r.register_with_unit("ingest", "Compressed bytes of acknowledged batches", Unit::Bytes, self.bytes.clone());
        r.register("ingest_batches", "Batches by how they ended", self.batches.clone());
        r.register_with_unit("ingest_ack", "From the receipt of a batch to its acknowledgement", Unit::Seconds, self.ack_seconds.clone());
        r.register_with_unit("ingest_decode", "Inflating and decoding one batch", Unit::Seconds, self.decode_seconds.clone());
        r.register("agents_connected", "Agents with a session", self.agents.clone());
        r.register("hosts", "Hosts that were heard, by the condition of their sensor", self.hosts.clone());
        r.register("host_conditions", "Changes of a host's condition, by what it became", self.host_conditions.clone());
        r.register("connections", "Open connections by port", self.connections.clone());
        r.register("connections_rejected", "Connections turned away at a limit, by port", self.connections_rejected.clone());
        r.register("api_calls", "API calls by method and code", self.calls.clone());
        r.register_with_unit("api_call", "Time of API calls", Unit::Seconds, self.call_seconds.clone());
        r.register("refusals", "Refused attempts by reason", self.refusals.clone());
        let lake = &self.lake;
        r.register("lake_events", "Events that can be queried", lake.events_stored.clone());
        r.register_with_unit("lake", "Size of the table's files", Unit::Bytes, lake.bytes.clone());
        r.register("lake_files", "Files of the table", lake.files.clone());
        r.register("lake_tail_events", "Events not yet in the table", lake.tail_events.clone());
        r.register_with_unit("lake_log", "Size of the write-ahead log", Unit::Bytes, lake.log_bytes.clone());
        r.register("lake_flush_failures", "Flushes that failed and were tried again", lake.flush_failures.clone());
        r.register("lake_lost_events", "Acknowledged events that the disk did not give back", lake.lost_events.clone());
        r.register("lake_queries_running", "Queries running now", lake.queries_running.clone());
        r.register("lake_disk_full", "1 while events are refused because the disk is nearly full", lake.disk_full.clone());
        // Every reason is there from the start, so that the first refusal is a step and not a new series.
        for reason in RefusalReason::ALL {
            let _counter = self.refusals.get_or_create(&RefusalLabels { reason: reason.name() });
        }
    }

    /// Counts a refusal.
    pub fn refused(&self, reason: RefusalReason) {
        self.refusals.get_or_create(&RefusalLabels { reason: reason.name() }).inc();
    }

    /// Counts a batch.
    pub fn batch(&self, outcome: &'static str) {
        self.batches.get_or_create(&BatchLabels { outcome }).inc();
    }

    /// OpenMetrics text.
    #[must_use]
    pub fn encode(&self, stats: &picket_lake::LakeStats) -> String {
        let lake = &self.lake;
        lake.events_stored.set(stats.events_stored);
        lake.bytes.set(stats.bytes);
        lake.files.set(stats.files);
        lake.tail_events.set(stats.tail_events);
        lake.log_bytes.set(stats.wal_bytes);
        lake.flush_failures.set(stats.flush_failures);
        lake.lost_events.set(stats.lost_events);
        lake.queries_running.set(stats.queries_running);
        lake.disk_full.set(u64::from(stats.disk_full));
        let mut text = String::new();
        match text::encode(&mut text, &self.registry) {
            Ok(()) => text,
            // Writing to a string fails only when a metric's own encoder does.
            Err(std::fmt::Error) => String::new(),
        }
    }
}
