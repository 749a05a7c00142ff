//! OCSF `observables`: addresses and paths again, in one list whatever the class.

use serde_json::{Value, json};

use crate::{Activity, Event};

const HOSTNAME: (i32, &str) = (1, "Hostname");
const IP_ADDRESS: (i32, &str) = (2, "IP Address");
const FILE_PATH: (i32, &str) = (45, "File Path");

pub(super) fn of(event: &Event) -> Vec<Value> {
    let mut list = List::default();
    if let Some(actor) = &event.actor {
        list.add("actor.process.file.path", FILE_PATH, &actor.process.path);
    }
    match &event.activity {
        Activity::Process(activity) => list.add("process.file.path", FILE_PATH, &activity.process.path),
        Activity::File(activity) => {
            list.add("file.path", FILE_PATH, &activity.file.path);
            if let Some(result) = &activity.file_result {
                list.add("file_result.path", FILE_PATH, &result.path);
            }
        }
        Activity::Network(activity) => {
            list.add("src_endpoint.ip", IP_ADDRESS, &activity.src.ip.to_string());
            list.add("dst_endpoint.ip", IP_ADDRESS, &activity.dst.ip.to_string());
        }
        Activity::Memory(activity) => {
            if let Some(process) = &activity.process {
                list.add("process.file.path", FILE_PATH, &process.path);
            }
        }
        Activity::Module(activity) => list.add("module.file.path", FILE_PATH, &activity.file.path),
        Activity::KernelExtension(activity) => list.add("driver.file.path", FILE_PATH, &activity.path),
        Activity::Dns(activity) => {
            list.add("query.hostname", HOSTNAME, &activity.hostname);
            list.add("src_endpoint.ip", IP_ADDRESS, &activity.src.ip.to_string());
            list.add("dst_endpoint.ip", IP_ADDRESS, &activity.dst.ip.to_string());
        }
        Activity::Loss(_)
        | Activity::Sensor(_)
        | Activity::Kernel(_)
        | Activity::Scan(_)
        | Activity::Finding(_)
        | Activity::Compliance(_)
        | Activity::Gpu(_) => {}
    }
    list.0
}

#[derive(Default)]
struct List(Vec<Value>);

impl List {
    fn add(&mut self, name: &str, (type_id, caption): (i32, &str), value: &str) {
        if !value.is_empty() {
            self.0.push(json!({ "name": name, "type_id": type_id, "type": caption, "value": value }));
        }
    }
}
