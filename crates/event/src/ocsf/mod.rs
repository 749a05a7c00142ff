//! OCSF 1.8.0 JSON of every event: what the API, exports and `picket-agent run --stdout` show.
//!
//! Profiles used: `host` on network and DNS activity, scans and findings, `container` where the process has one, `linux/linux_users` where an actor is known.
//! What OCSF lacks stands under one object, `picket`, described in `docs/events.md`; no other key is outside the schema.

mod dns;
mod extension;
mod file;
mod finding;
mod gpu;
mod memory;
mod message;
mod network;
mod object;
mod observables;
mod process;
mod scan;
mod sensor;

use serde_json::{Value, json};

use crate::{Activity, DeviceUid, Event, EventClass, EventFlags, NetworkActivityKind, ProcessActivityKind, SpoolUid, StoredEvent, Timestamp};

pub use extension::EXTENSION;
pub use finding::{ATLAS_VERSION, ATTACK_VERSION};

use object::Object;

/// The schema's version.
pub const VERSION: &str = "1.8.0";

/// The event that a server shows.
///
/// ```
/// # use std::sync::Arc;
/// # use picket_event::*;
/// # let device = Arc::new(Device { uid: DeviceUid(uuid::Uuid::nil()), hostname: String::from("gpu-7") });
/// # let activity = Activity::Sensor(SensorState { kind: SensorStateKind::Started, report: serde_json::Value::Null });
/// # let event = Event { time: Timestamp(0), severity: Severity::Informational, flags: EventFlags::default(), actor: None, activity };
/// # let stored = StoredEvent { device, spool: SpoolUid(uuid::Uuid::nil()), seq: 7, received: Timestamp(0), event };
/// let json = ocsf::to_json(&stored);
/// assert_eq!((&json["class_uid"], &json["metadata"]["sequence"]), (&1008.into(), &7.into()));
/// ```
#[must_use]
pub fn to_json(stored: &StoredEvent) -> Value {
    render(
        &stored.event,
        &Context {
            device: Some(stored.device.uid),
            hostname: &stored.device.hostname,
            product_version: env!("CARGO_PKG_VERSION"),
            identity: Some((stored.spool, stored.seq)),
            received: Some(stored.received),
        },
    )
}

/// The event that a stand-alone agent shows: no server has given the device an identity or the event a number.
#[must_use]
pub fn local_json(event: &Event, hostname: &str, agent_version: &str) -> Value {
    render(event, &Context { device: None, hostname, product_version: agent_version, identity: None, received: None })
}

/// What the event itself does not know.
struct Context<'a> {
    device: Option<DeviceUid>,
    hostname: &'a str,
    product_version: &'a str,
    identity: Option<(SpoolUid, u64)>,
    received: Option<Timestamp>,
}

fn render(event: &Event, context: &Context<'_>) -> Value {
    let mut json = Object::default();
    classification(event, &mut json);
    json.put("time", event.time.as_millis());
    json.put("message", message::sentence(event));
    json.put("metadata", metadata(event, context));
    json.put("device", device(event, context));
    if let Some(actor) = &event.actor {
        let mut who = Object::default();
        who.put("process", process::with_parent(&actor.process));
        json.put("actor", who);
    } else if event.activity.class().category_uid() == 1 && !matches!(event.activity, Activity::Loss(_) | Activity::Sensor(_)) {
        // The schema asks for an actor where the sensor never saw one.
        json.put("actor", json!({ "app_name": "unknown" }));
    }
    match &event.activity {
        Activity::Process(activity) => process::put_activity(activity, &mut json),
        Activity::File(activity) => file::put_activity(activity, &mut json),
        Activity::Network(activity) => network::put_activity(activity, &mut json),
        Activity::Loss(loss) => sensor::put_loss(loss, &mut json),
        Activity::Sensor(state) => sensor::put_state(state, &mut json),
        Activity::Memory(activity) => memory::put_memory(activity, event.actor.as_ref(), &mut json),
        Activity::Module(activity) => memory::put_module(activity, &mut json),
        Activity::KernelExtension(activity) => memory::put_kernel_extension(activity, &mut json),
        Activity::Kernel(activity) => memory::put_kernel(activity, &mut json),
        Activity::Dns(activity) => dns::put_activity(activity, event.time, &mut json),
        Activity::Scan(activity) => scan::put_activity(activity, &mut json),
        Activity::Finding(finding) => finding::put_detection(finding, &mut json),
        Activity::Compliance(finding) => finding::put_compliance(finding, &mut json),
        // All in `device` and `picket.gpu`.
        Activity::Gpu(_) => {}
    }
    json.put_list("observables", observables::of(event));
    json.put("picket", extension::of(event, context.identity.map(|(spool, _)| spool)));
    json.into()
}

fn classification(event: &Event, json: &mut Object) {
    let class = event.activity.class();
    let activity_id = event.activity.activity_id();
    let activity_name = activity_name(&event.activity);
    json.put("class_uid", class.uid());
    json.put("class_name", class.caption());
    json.put("category_uid", class.category_uid());
    json.put("category_name", category_name(class));
    json.put("activity_id", activity_id);
    json.put("activity_name", activity_name);
    json.put("type_uid", i64::from(class.uid()) * 100 + i64::from(activity_id));
    json.put("type_name", format!("{}: {}", class.caption(), if activity_id == 99 { "Other" } else { activity_name }));
    json.put("severity_id", event.severity as i32);
    json.put("severity", event.severity.caption());
}

const fn category_name(class: EventClass) -> &'static str {
    match class.category_uid() {
        1 => "System Activity",
        2 => "Findings",
        4 => "Network Activity",
        5 => "Discovery",
        _ => "Application Activity",
    }
}

const fn activity_name(activity: &Activity) -> &'static str {
    match activity {
        Activity::Process(activity) => match activity.kind {
            ProcessActivityKind::Launch(_) => "Launch",
            ProcessActivityKind::Terminate { .. } => "Terminate",
            ProcessActivityKind::Open => "Open",
            ProcessActivityKind::Inject => "Inject",
            ProcessActivityKind::SetUserId => "Set User ID",
        },
        Activity::File(activity) => activity.kind.name(),
        Activity::Network(activity) => match activity.kind {
            NetworkActivityKind::Open => "Open",
            NetworkActivityKind::Close => "Close",
            NetworkActivityKind::Fail => "Fail",
            NetworkActivityKind::Refuse => "Refuse",
            NetworkActivityKind::Traffic => "Traffic",
            NetworkActivityKind::Listen => "Listen",
        },
        Activity::Loss(_) => "Loss",
        Activity::Sensor(state) => sensor::activity_name(state.kind),
        Activity::Memory(activity) => activity.kind.name(),
        Activity::Module(_) => "Load",
        Activity::KernelExtension(activity) => activity.kind.name(),
        Activity::Kernel(_) => "Invoke",
        Activity::Dns(activity) => activity.kind.name(),
        Activity::Scan(activity) => activity.kind.name(),
        Activity::Finding(finding) => finding.kind.name(),
        Activity::Compliance(finding) => finding.kind.name(),
        Activity::Gpu(_) => "Collect",
    }
}

fn metadata(event: &Event, context: &Context<'_>) -> Object {
    let mut json = Object::default();
    json.put("version", VERSION);
    json.put("product", json!({ "name": "Picket", "vendor_name": "Picket", "version": context.product_version }));
    json.put("extensions", json!([{ "name": "linux", "uid": "1", "version": VERSION }, { "name": "picket", "uid": "picket", "version": "1" }]));
    json.put_list("profiles", profiles(event));
    if let Some((spool, seq)) = context.identity {
        let device = context.device.map(|device| format!("{device}:")).unwrap_or_default();
        json.put("uid", format!("{device}{spool}:{seq}"));
        json.put("sequence", object::long(seq));
    }
    if let Some(received) = context.received {
        json.put("logged_time", received.as_millis());
    }
    let cut = [EventFlags::CMD_LINE_CUT, EventFlags::PATH_CUT, EventFlags::TEXT_CUT];
    if cut.into_iter().any(|flag| event.flags.contains(flag)) {
        json.put("is_truncated", true);
    }
    json
}

fn profiles(event: &Event) -> Vec<Value> {
    let second = match &event.activity {
        Activity::Process(activity) => Some(&activity.process),
        Activity::Memory(activity) => activity.process.as_ref(),
        Activity::Finding(finding) => finding.process.as_ref(),
        _ => None,
    };
    let processes = || event.actor.iter().map(|actor| &actor.process).chain(second);
    let mut profiles = Vec::new();
    if matches!(event.activity, Activity::Network(_) | Activity::Dns(_) | Activity::Scan(_) | Activity::Finding(_) | Activity::Compliance(_)) {
        profiles.push(Value::from("host"));
    }
    if processes().any(|process| process.container.is_some()) {
        profiles.push(Value::from("container"));
    }
    // A process that nothing is known of is shown all the same: the schema asks for one.
    if processes().next().is_some() || matches!(event.activity, Activity::Memory(_)) {
        profiles.push(Value::from("linux/linux_users"));
    }
    profiles
}

fn device(event: &Event, context: &Context<'_>) -> Object {
    let mut json = Object::default();
    json.put("type_id", 0);
    json.put("type", "Unknown");
    json.put("os", json!({ "name": "Linux", "type_id": 200, "type": "Linux" }));
    json.put_text("hostname", context.hostname);
    match context.device {
        Some(uid) => json.put("uid", uid.to_string()),
        // The schema asks for a name of some kind.
        None if context.hostname.is_empty() => json.put("hostname", "localhost"),
        None => {}
    }
    if let Activity::Gpu(gpu) = &event.activity {
        json.put("hw_info", gpu::hardware(gpu));
    }
    json
}
