//! A GPU as part of OCSF `device`, and what OCSF has no word for.

use serde_json::{Value, json};

use crate::GpuState;

use super::object::{Object, long};

/// OCSF `device.hw_info`.
pub(super) fn hardware(gpu: &GpuState) -> Value {
    let mut info = Object::default();
    info.put_text("model", &gpu.name);
    // The schema has no unit; drivers and vendors speak of MiB.
    info.put("vram_size", long(gpu.memory_total_bytes >> 20));
    json!({ "gpu_info_list": [Value::from(info)] })
}

/// `picket.gpu`.
pub(super) fn extension(gpu: &GpuState) -> Object {
    let mut json = Object::default();
    json.put_text("uuid", &gpu.uuid);
    json.put_text("name", &gpu.name);
    json.put("index", gpu.index);
    json.put_text("driver_version", &gpu.driver_version);
    json.put("memory_used_bytes", long(gpu.memory_used_bytes));
    json.put("memory_total_bytes", long(gpu.memory_total_bytes));
    json.put_some("utilization_percent", gpu.utilization_percent);
    json.put_some("mig_enabled", gpu.mig_enabled);
    json.put_list("mig_devices", gpu.mig_devices.iter().map(|uuid| Value::from(&**uuid)).collect());
    json.put_list(
        "processes",
        gpu.processes.iter().map(|process| json!({ "pid": process.pid, "uid": process.uid, "memory_bytes": process.memory_bytes.map(long) })).collect(),
    );
    json
}
