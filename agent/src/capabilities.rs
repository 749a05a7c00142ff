//! The capability report: what this sensor can and cannot see on this host.

use picket_event::{Activity, Event, SensorState, SensorStateKind};
use picket_proto::v1;
use serde_json::json;

use crate::{boot::wall_now, config::Config, sensor::SensorSnapshot, stdout::own_event};

/// What is left out on purpose.
fn exclusions(snapshot: &SensorSnapshot) -> Vec<String> {
    if snapshot.backend == "fs_watch" {
        let what =
            "processes, the network and files outside the watched trees are not seen, and no event knows its process: files are watched by inotify because";
        return vec![format!("{what} {}", snapshot.backend_reason)];
    }
    vec![format!("the agent's own activity (process {})", std::process::id())]
}

fn asset_class(config: &Config, path: &std::path::Path) -> &'static str {
    config.watch.iter().find(|watch| watch.path == path).map_or("", |watch| watch.asset_class.name())
}

/// As an event.
pub(crate) fn event(snapshot: &SensorSnapshot, config: &Config) -> Event {
    own_event(Activity::Sensor(SensorState { kind: SensorStateKind::Capabilities, report: json(snapshot, config) }), wall_now())
}

/// As JSON.
pub(crate) fn json(snapshot: &SensorSnapshot, config: &Config) -> serde_json::Value {
    let probes: Vec<_> =
        snapshot.probes.iter().map(|probe| json!({ "name": probe.name, "hook": probe.hook, "attached": probe.attached, "reason": probe.reason })).collect();
    let watches: Vec<_> = snapshot
        .watches
        .iter()
        .map(|watch| json!({ "path": watch.path, "asset_class": asset_class(config, &watch.path), "active": watch.active, "reason": watch.reason }))
        .collect();
    json!({
        "agent_version": env!("CARGO_PKG_VERSION"),
        "backend": snapshot.backend,
        "nvidia_driver": if std::path::Path::new("/proc/driver/nvidia/version").exists() { "present" } else { "absent" },
        "kernel": snapshot.kernel.release,
        "btf": snapshot.kernel.btf,
        "lsms": snapshot.kernel.lsms,
        "ring_bytes": config.sensor.ring_bytes,
        "probes": probes,
        "watches": watches,
        "exclusions": exclusions(snapshot),
    })
}

/// As the server is told.
pub(crate) fn report(snapshot: &SensorSnapshot, config: &Config) -> v1::CapabilityReport {
    let probe = |probe: &picket_ebpf::ProbeState| v1::Probe {
        name: probe.name.clone(),
        hook: probe.hook.clone(),
        attached: probe.attached,
        reason: probe.reason.clone(),
    };
    let watch = |watch: &picket_ebpf::WatchState| v1::Watch {
        path: watch.path.to_string_lossy().into_owned(),
        asset_class: asset_class(config, &watch.path).to_owned(),
        active: watch.active,
        reason: watch.reason.clone(),
    };
    v1::CapabilityReport {
        probes: snapshot.probes.iter().map(probe).collect(),
        btf: snapshot.kernel.btf,
        lsms: snapshot.kernel.lsms.clone(),
        ring_bytes: u64::from(config.sensor.ring_bytes),
        watches: snapshot.watches.iter().map(watch).collect(),
        exclusions: exclusions(snapshot),
    }
}
