//! The sensor's own events: Event Log Activity and Device Config State.

use crate::{SensorLoss, SensorState, SensorStateKind};

use super::object::{Object, long};

pub(super) const fn activity_name(kind: SensorStateKind) -> &'static str {
    match kind {
        SensorStateKind::Started => "Start",
        SensorStateKind::Stopped => "Stop",
        SensorStateKind::Capabilities => "Log",
    }
}

pub(super) fn put_loss(loss: &SensorLoss, json: &mut Object) {
    put_log(json);
    json.put_some("count", loss.count.map(long));
    json.put("start_time", loss.since.as_millis());
    json.put("end_time", loss.until.as_millis());
    json.put("status_id", 2);
    json.put("status", "Failure");
    json.put("status_code", loss.cause.name());
}

pub(super) fn put_state(state: &SensorState, json: &mut Object) {
    if state.kind != SensorStateKind::Capabilities {
        put_log(json);
    }
}

/// Which log: the sensor's stream of events itself.
fn put_log(json: &mut Object) {
    json.put("log_name", "picket");
    json.put("log_provider", "Picket");
}
