//! OCSF Network Activity.

use serde_json::{Value, json};

use crate::{AppProtocol, Direction, Endpoint, NetworkActivity, NetworkActivityKind, Transport};

use super::object::{Object, long};

impl NetworkActivity {
    /// Bytes from the source (the end that spoke first) to the destination and back: OCSF `bytes_out` and `bytes_in`. Where this host
    /// is the destination, what it sent is `bytes_in`.
    #[must_use]
    pub const fn bytes_out_in(&self) -> (u64, u64) {
        match self.direction {
            Direction::Inbound => (self.bytes_in, self.bytes_out),
            Direction::Outbound | Direction::Unknown => (self.bytes_out, self.bytes_in),
        }
    }
}

pub(super) fn put_activity(activity: &NetworkActivity, json: &mut Object) {
    json.put("src_endpoint", endpoint(activity.src));
    json.put("dst_endpoint", endpoint(activity.dst));
    json.put("is_src_dst_assignment_known", activity.direction != Direction::Unknown);
    json.put("connection_info", connection_info(activity));
    let (bytes_out, bytes_in) = activity.bytes_out_in();
    let traffic = json!({ "bytes_out": long(bytes_out), "bytes_in": long(bytes_in), "bytes": long(bytes_out.saturating_add(bytes_in)) });
    // A running total is not what the schema calls `traffic`.
    json.put(if activity.kind == NetworkActivityKind::Traffic { "cumulative_traffic" } else { "traffic" }, traffic);
    json.put_some("app_protocol_name", activity.app.map(AppProtocol::name));
    json.put("duration", long(activity.duration_ns / 1_000_000));
    let (observation_point_id, observation_point) = match activity.direction {
        Direction::Unknown => (0, "Unknown"),
        Direction::Outbound => (1, "Source"),
        Direction::Inbound => (2, "Destination"),
    };
    json.put("observation_point_id", observation_point_id);
    json.put("observation_point", observation_point);
    let failed = matches!(activity.kind, NetworkActivityKind::Fail | NetworkActivityKind::Refuse);
    json.put("status_id", if failed { 2 } else { 1 });
    json.put("status", if failed { "Failure" } else { "Success" });
}

pub(super) fn endpoint(endpoint: Endpoint) -> Value {
    json!({ "ip": endpoint.ip.to_string(), "port": endpoint.port })
}

fn connection_info(activity: &NetworkActivity) -> Value {
    let direction = match activity.direction {
        Direction::Unknown => "Unknown",
        Direction::Inbound => "Inbound",
        Direction::Outbound => "Outbound",
    };
    let version = if activity.dst.ip.is_ipv4() { 4 } else { 6 };
    json!({
        "uid": activity.flow_uid.to_string(),
        "direction_id": activity.direction as i32,
        "direction": direction,
        "protocol_num": activity.transport as i32,
        "protocol_name": protocol_name(activity.transport),
        "protocol_ver_id": version,
        "protocol_ver": if version == 4 { "Internet Protocol version 4 (IPv4)" } else { "Internet Protocol version 6 (IPv6)" },
    })
}

pub(super) const fn protocol_name(transport: Transport) -> &'static str {
    match transport {
        Transport::Tcp => "tcp",
        Transport::Udp => "udp",
    }
}
