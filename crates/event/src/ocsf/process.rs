//! OCSF `process` and Process Activity.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::{Container, LaunchType, ParentProcess, Process, ProcessActivity, ProcessActivityKind, User};

use super::{file::executable, object::Object};

pub(super) fn put_activity(activity: &ProcessActivity, json: &mut Object) {
    json.put("process", with_parent(&activity.process));
    match activity.kind {
        ProcessActivityKind::Launch(kind) => {
            json.put("launch_type_id", kind as i32);
            json.put(
                "launch_type",
                match kind {
                    LaunchType::Fork => "Fork",
                    LaunchType::Exec => "Exec",
                },
            );
        }
        ProcessActivityKind::Terminate { exit_code, .. } => json.put("exit_code", exit_code),
        ProcessActivityKind::Inject => {
            json.put("injection_type_id", 99);
            json.put("injection_type", activity.method.name());
        }
        ProcessActivityKind::Open | ProcessActivityKind::SetUserId => {}
    }
}

pub(super) fn with_parent(process: &Process) -> Object {
    let mut json = Object::default();
    json.put_text("uid", process.uid.as_str());
    json.put("pid", process.pid);
    json.put_some("ptid", (process.tid != 0).then_some(process.tid));
    json.put_text("name", &process.name);
    json.put_some("file", executable(&process.path, process.exe_device, process.exe_inode));
    json.put_text("cmd_line", &process.cmd_line);
    json.put_text("working_directory", &process.working_directory);
    json.put_some("created_time", (process.created_time.0 != 0).then(|| process.created_time.as_millis()));
    json.put("user", user(&process.user));
    json.put("euid", process.user.euid);
    json.put_some("auid", (process.user.auid != u32::MAX).then_some(process.user.auid));
    json.put("group", json!({ "uid": process.user.gid.to_string() }));
    json.put_some("session", (!process.tty.is_empty()).then(|| json!({ "terminal": process.tty })));
    json.put_list("environment_variables", process.environment.iter().map(|(name, value)| json!({ "name": name, "value": value })).collect());
    json.put_some("container", process.container.as_ref().map(container));
    json.put_some("parent_process", process.parent.as_ref().map(parent));
    json
}

fn user(user: &User) -> Object {
    let mut json = Object::default();
    json.put("uid", user.uid.to_string());
    json.put_text("name", &user.name);
    json
}

fn container(container: &Container) -> Object {
    let mut json = Object::default();
    json.put("uid", &*container.uid);
    json.put_text("name", &container.name);
    json.put_some("image", (!container.image.is_empty()).then(|| json!({ "uid": container.image, "name": container.image })));
    json.put_text("runtime", &container.runtime);
    json.put_some("pod_uuid", pod_uuid(container).map(|uuid| uuid.to_string()));
    json
}

/// The pod's id where it is a UUID; a static pod's is a hash, which the schema has no place for.
pub(super) fn pod_uuid(container: &Container) -> Option<Uuid> {
    // Exactly the hyphenated form.
    Uuid::parse_str(&container.pod_uid).ok().filter(|_| container.pod_uid.len() == 36)
}

fn parent(parent: &ParentProcess) -> Value {
    let mut json = Object::default();
    json.put_text("uid", parent.uid.as_str());
    json.put("pid", parent.pid);
    json.put_text("name", &parent.name);
    json.put_some("file", executable(&parent.path, 0, 0));
    json.put_text("cmd_line", &parent.cmd_line);
    json.into()
}
