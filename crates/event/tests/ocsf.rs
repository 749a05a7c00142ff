//! Every event is valid OCSF 1.8.0 by the published schema, says the same as its row, and the validator refuses what is broken.
#![expect(clippy::indexing_slicing, reason = "a test: reading JSON by index gives null where it has no such place")]

#[path = "../../../tests/src/ocsf_schema.rs"]
#[expect(unreachable_pub, reason = "a library module of the tests across processes, used here too")]
mod ocsf_schema;
mod samples;
mod strategies;

use ocsf_schema::Schema;
use picket_event::{
    Activity, NetworkActivityKind, StoredEvent,
    columns::{COLUMNS, ColumnType},
    ocsf,
    row::Row,
};
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use serde_json::{Value, json};

/// The schema, or the skip by name that a test without it is.
fn schema(test: &str) -> Option<Schema> {
    let found = Schema::load();
    if found.is_none() {
        eprintln!("SKIPPED {test}: the published OCSF schema is not beside the project (PICKET_SHARED names its folder)");
    }
    found
}

#[test]
fn every_kind_is_valid() {
    let Some(schema) = schema("every_kind_is_valid") else { return };
    for sample in samples::full().into_iter().chain(samples::minimal()) {
        let json = ocsf::to_json(&sample.stored);
        assert_eq!(schema.validate(&json), Vec::<String>::new(), "{}: {json:#}", sample.name);
        for hostname in ["gpu-07", ""] {
            let json = ocsf::local_json(&sample.stored.event, hostname, "0.1.0");
            assert_eq!(schema.validate(&json), Vec::<String>::new(), "{}: {json:#}", sample.name);
        }
    }
}

#[test]
fn any_event_is_valid() {
    let Some(schema) = schema("any_event_is_valid") else { return };
    let check = |stored: StoredEvent| {
        prop_assert_eq!(schema.validate(&ocsf::to_json(&stored)), Vec::<String>::new());
        prop_assert_eq!(schema.validate(&ocsf::local_json(&stored.event, &stored.device.hostname, "0.1.0")), Vec::<String>::new());
        Ok(())
    };
    TestRunner::new(Config { failure_persistence: None, ..Config::default() }).run(&strategies::stored(), check).expect("valid");
}

/// How to break a valid event, and what the validator says then.
type Breakage = (&'static str, fn(&mut Value));

const BREAKAGES: &[Breakage] = &[
    ("class_uid: missing", |event| event["class_uid"] = Value::Null),
    ("class_uid: 1234 is no class", |event| event["class_uid"] = json!(1234)),
    ("surprise: unknown attribute", |event| event["surprise"] = json!(1)),
    ("actor.process.surprise: unknown attribute", |event| event["actor"]["process"]["surprise"] = json!(1)),
    ("picket: unknown attribute", |event| event["picket"] = json!("text")),
    ("metadata.picket: unknown attribute", |event| event["metadata"]["picket"] = json!({})),
    (".metadata: required attribute is missing", |event| remove(event, "metadata")),
    (".actor: required attribute is missing", |event| remove(event, "actor")),
    ("file.name: required attribute is missing", |event| remove(&mut event["file"], "name")),
    ("time: \"noon\" is no timestamp_t", |event| event["time"] = json!("noon")),
    ("time: 1.5 is no timestamp_t", |event| event["time"] = json!(1.5)),
    ("message: 7 is no string_t", |event| event["message"] = json!(7)),
    ("metadata.is_truncated: \"yes\" is no boolean_t", |event| event["metadata"]["is_truncated"] = json!("yes")),
    ("severity_id: 17 is not in the enumeration", |event| event["severity_id"] = json!(17)),
    ("activity_id: 77 is not in the enumeration", |event| event["activity_id"] = json!(77)),
    ("observables[0].type_id: 12345 is not in the enumeration", |event| event["observables"][0]["type_id"] = json!(12345)),
    ("severity_id: \"Low\" stands beside 1", |event| event["severity"] = json!("Low")),
    ("file.type_id: \"Folder\" stands beside 1", |event| event["file"]["type"] = json!("Folder")),
    ("category_uid: 4 instead of 1", |event| event["category_uid"] = json!(4)),
    ("category_name: \"Network Activity\" instead of", |event| event["category_name"] = json!("Network Activity")),
    ("class_name: \"File Activity\" instead of", |event| event["class_name"] = json!("File Activity")),
    ("type_uid: 100100 instead of 100114", |event| event["type_uid"] = json!(100_100)),
    ("type_name: \"File System Activity: Read\" instead of", |event| event["type_name"] = json!("File System Activity: Read")),
    ("metadata.version: \"1.7.0\" instead of", |event| event["metadata"]["version"] = json!("1.7.0")),
    ("metadata.profiles: nonsense is no profile", |event| event["metadata"]["profiles"][0] = json!("nonsense")),
    ("actor.process.container: belongs to the profile container", |event| event["metadata"]["profiles"] = json!(["linux/linux_users"])),
    ("actor.process.auid: belongs to the profile linux/linux_users", |event| event["metadata"]["profiles"] = json!(["container"])),
    ("actor.process.container.pod_uuid: \"5b1f\" is no uuid_t", |event| event["actor"]["process"]["container"]["pod_uuid"] = json!("5b1f")),
    ("actor.process.tid: deprecated attribute", |event| event["actor"]["process"]["tid"] = json!(1)),
    ("actor: constraint at_least_one", |event| event["actor"] = json!({})),
    ("observables: not an array", |event| event["observables"] = json!({})),
    ("actor.process: not an object", |event| event["actor"]["process"] = json!([])),
    ("unmapped: not an object", |event| event["unmapped"] = json!("x")),
    ("observables: file.path does not hold", |event| event["file"]["path"] = json!("/elsewhere")),
    ("device.ip: \"10.0.0.256\" is no ip_t", |event| event["device"]["ip"] = json!("10.0.0.256")),
    ("device.mac: \"zz\" is no mac_t", |event| event["device"]["mac"] = json!("zz")),
    ("device.subnet: longer than a subnet_t", |event| event["device"]["subnet"] = json!("1".repeat(43))),
    ("src_endpoint: unknown attribute", |event| event["src_endpoint"] = json!({ "ip": "::1" })),
];

fn remove(object: &mut Value, key: &str) {
    assert!(object.as_object_mut().and_then(|fields| fields.remove(key)).is_some(), "{key} was not there");
}

fn sample(name: &str) -> StoredEvent {
    samples::full().into_iter().find(|sample| sample.name == name).expect("a sample").stored
}

#[test]
fn the_validator_refuses_each_breakage() {
    let Some(schema) = schema("the_validator_refuses_each_breakage") else { return };
    for (expected, breakage) in BREAKAGES {
        let mut event = ocsf::to_json(&sample("File System Activity: Open"));
        breakage(&mut event);
        let violations = schema.validate(&event);
        assert!(violations.iter().any(|violation| violation.contains(expected)), "expected {expected:?} in {violations:?}");
    }
    let mut event = ocsf::to_json(&sample("Network Activity: Open"));
    event["dst_endpoint"]["port"] = json!(70_000);
    assert_eq!(schema.validate(&event), ["dst_endpoint.port: 70000 is out of the range of port_t"]);
}

/// What SQL shows in a column is what the JSON shows at the column's path.
fn row_agrees(stored: &StoredEvent) {
    let json = ocsf::to_json(stored);
    let row = serde_json::to_value(Row::from(stored)).expect("plain data");
    let running_total = matches!(&stored.event.activity, Activity::Network(activity) if activity.kind == NetworkActivityKind::Traffic);
    for column in COLUMNS {
        let path = match column.name {
            // Only the event's own sentence has a place in the row; a list and the remainder have no one path.
            "message" | "addresses" | "rest" | "file_hash_sha256" => continue,
            // A scan has a start and an end too; the columns are those of a loss.
            "loss_start_time" | "loss_end_time" if !matches!(stored.event.activity, Activity::Loss(_)) => continue,
            "traffic_bytes_in" | "traffic_bytes_out" if running_total => format!("cumulative_{}", column.ocsf),
            _ => column.ocsf.to_owned(),
        };
        // A class whose file or process is no top-level attribute shows it elsewhere.
        let shown = ["", "module.", "driver.", "evidences.0.", "picket.kernel."]
            .into_iter()
            .find_map(|place| json.pointer(&format!("/{place}{path}").replace('.', "/")));
        let shown = shown.unwrap_or(&Value::Null);
        let stored = &row[column.name];
        match (column.kind, stored.as_i64(), shown.as_i64()) {
            (ColumnType::Time, Some(micros), Some(millis)) => assert_eq!(micros.div_euclid(1_000), millis, "{}", column.name),
            // The schema writes ids as text.
            (ColumnType::Long, Some(number), None) => assert_eq!(Value::from(number.to_string()), *shown, "{}", column.name),
            _ => assert_eq!(stored, shown, "{}", column.name),
        }
    }
}

#[test]
fn rows_and_json_agree() {
    for sample in samples::full() {
        row_agrees(&sample.stored);
    }
}
