//! OCSF DNS Activity.

use serde_json::{Value, json};

use crate::{
    DnsActivity, DnsAnswer, Timestamp,
    dns::{class_name, record_type_name},
};

use super::{
    network::{endpoint, protocol_name},
    object::Object,
};

pub(super) fn put_activity(activity: &DnsActivity, time: Timestamp, json: &mut Object) {
    json.put(
        "query",
        json!({
            "hostname": activity.hostname,
            "type": record_type_name(activity.query_type),
            "class": class_name(activity.query_class),
            "packet_uid": activity.packet_id,
            "opcode_id": 0,
            "opcode": "Query",
        }),
    );
    json.put_list("answers", activity.answers.iter().map(answer).collect());
    if let Some(code) = activity.rcode {
        let (id, caption) = response_code(code);
        json.put("rcode_id", id);
        json.put("rcode", caption);
        json.put("status_id", if code == 0 { 1 } else { 2 });
        json.put("status", if code == 0 { "Success" } else { "Failure" });
    }
    if let Some(asked) = activity.asked {
        json.put("query_time", asked.as_millis());
        json.put("response_time", time.as_millis());
    }
    json.put("src_endpoint", endpoint(activity.src));
    json.put("dst_endpoint", endpoint(activity.dst));
    json.put(
        "connection_info",
        json!({
            "uid": activity.flow_uid.to_string(),
            "direction_id": 0,
            "direction": "Unknown",
            "protocol_num": activity.transport as i32,
            "protocol_name": protocol_name(activity.transport),
        }),
    );
}

fn answer(answer: &DnsAnswer) -> Value {
    json!({ "rdata": answer.rdata, "type": record_type_name(answer.record_type), "ttl": answer.ttl_s })
}

/// OCSF `rcode_id` and its caption.
pub(super) const fn response_code(code: u16) -> (u16, &'static str) {
    let caption = match code {
        0 => "NoError",
        1 => "FormError",
        2 => "ServError",
        3 => "NXDomain",
        4 => "NotImp",
        5 => "Refused",
        6 => "YXDomain",
        7 => "YXRRSet",
        8 => "NXRRSet",
        9 => "NotAuth",
        10 => "NotZone",
        11 => "DSOTYPENI",
        16 => "BADSIG_VERS",
        17 => "BADKEY",
        18 => "BADTIME",
        19 => "BADMODE",
        20 => "BADNAME",
        21 => "BADALG",
        22 => "BADTRUNC",
        23 => "BADCOOKIE",
        _ => return (99, "Other"),
    };
    (code, caption)
}
