//! OCSF Memory Activity, Module Activity, Kernel Extension Activity and Kernel Activity.

use serde_json::{Value, json};

use crate::{Actor, KernelActivity, KernelExtensionActivity, MemoryActivity, ModuleActivity, Process};

use super::{
    file,
    object::{Object, long},
    process::with_parent,
};

pub(super) fn put_memory(activity: &MemoryActivity, actor: Option<&Actor>, json: &mut Object) {
    let nobody = Process::default();
    let own = || actor.map_or(&nobody, |actor| &actor.process);
    json.put("process", with_parent(activity.process.as_ref().unwrap_or_else(own)));
    json.put_some("base_address", address(activity.base_address));
    json.put_some("size", (activity.size_bytes != 0).then(|| long(activity.size_bytes)));
    json.put_some("requested_permissions", (activity.permissions.0 != 0).then_some(activity.permissions.0));
}

pub(super) fn put_module(activity: &ModuleActivity, json: &mut Object) {
    let mut module = Object::default();
    module.put("file", file::file(&activity.file));
    module.put_some("base_address", address(activity.base_address));
    // Not the loader of the system, but a file mapped from where libraries do not live.
    module.put("load_type_id", 4);
    module.put("load_type", "Mapped");
    json.put("module", module);
}

pub(super) fn put_kernel_extension(activity: &KernelExtensionActivity, json: &mut Object) {
    let mut file = Object::default();
    if activity.path.is_empty() {
        file.put("name", &*activity.name);
    } else {
        file::put_path(&activity.path, &mut file);
    }
    file.put("type_id", 0);
    file.put("type", "Unknown");
    json.put("driver", json!({ "file": Value::from(file) }));
}

pub(super) fn put_kernel(activity: &KernelActivity, json: &mut Object) {
    json.put("kernel", json!({ "name": activity.operation, "type_id": 2, "type": "System Call", "system_call": activity.operation }));
    json.put_some("count", (activity.count != 1).then(|| long(activity.count)));
}

fn address(address: u64) -> Option<String> {
    (address != 0).then(|| format!("{address:#x}"))
}
