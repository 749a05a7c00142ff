//! The one object that OCSF does not know: `picket`.

use crate::{Access, Activity, Event, EventFlags, File, FileSystemActivity, Job, Process, ProcessActivityKind, SensorLoss, SpoolUid};

use super::{
    object::{Object, long},
    process::pod_uuid,
};

/// Every path under `picket`, and what stands there: the documentation of the extension.
pub const EXTENSION: &[(&str, &str)] = &[
    ("time_us", "`time` in whole microseconds; OCSF keeps milliseconds."),
    ("flags", "What is not whole about the event, as bits."),
    (
        "flag_names",
        "The same bits by name: `cmd_line_cut`, `path_cut`, `text_cut` (longer than its limit), `actor_partial` (the actor was not in the process table and is known from the kernel record alone), `path_detached` (the file has no name any more, or never had one), `preexisting` (found at start, not when it happened).",
    ),
    ("spool_uid", "The life of the agent's spool that `metadata.sequence` counts in."),
    ("exec_tree_id", "Process uid of the actor's nearest session leader, job step or container init."),
    ("process_role", "What kind of work the actor does: trainer, server, notebook, orchestrator, installer, deployer, scanner, shell, other."),
    ("job.scheduler", "The actor's training or batch job: slurm, kubernetes, ray, torchrun, mlflow, wandb."),
    ("job.uid", "The scheduler's id of the job."),
    ("job.step", "Step within the job."),
    ("job.rank", "Rank in the distributed world."),
    ("actor.capabilities", "Effective capabilities of the actor as `/proc/PID/status` writes them; absent where it has none."),
    ("actor.cgroup", "Control group (v2) of the actor."),
    ("actor.namespaces.mnt", "Inode number of the actor's mount namespace."),
    ("actor.namespaces.pid", "Inode number of its pid namespace."),
    ("actor.namespaces.net", "Inode number of its network namespace."),
    ("actor.namespaces.user", "Inode number of its user namespace."),
    ("actor.pod_uid", "The pod's id where it is no UUID (a static pod's hash)."),
    (
        "process",
        "All of the above (`exec_tree_id`, `process_role`, `job`, `capabilities`, `cgroup`, `namespaces`, `pod_uid`) of the process that was launched or ended.",
    ),
    ("signal", "Signal that ended the process, 0 where it exited."),
    ("access", "How the file was opened: read, write, truncate, direct. The bits stand in `access_mask`."),
    ("asset_class", "Class of the file that was acted on: model, dataset, code, credential, registry."),
    ("file.inode", "Inode number."),
    ("file.device", "Kernel device number (`major << 20 | minor`)."),
    ("file.mode", "Type and permission bits, octal."),
    ("file.asset_class", "Its asset class."),
    ("file_result", "The same (`inode`, `device`, `mode`, `asset_class`) of the file under its new name."),
    ("loss.cause", "Why events were lost: ring_full, queue_full, spool_full, disk_error, agent_down, spool_corrupt, budget, refused, map_full."),
    ("loss.class_uid", "Class of the lost events, where one class was lost."),
    ("loss.class_name", "Its caption."),
    ("loss.count", "How many were lost; absent where nobody could count."),
    ("report", "The sensor's own words: its capability report, or why it stopped."),
];

const FLAGS: [(EventFlags, &str); 6] = [
    (EventFlags::CMD_LINE_CUT, "cmd_line_cut"),
    (EventFlags::PATH_CUT, "path_cut"),
    (EventFlags::ACTOR_PARTIAL, "actor_partial"),
    (EventFlags::PATH_DETACHED, "path_detached"),
    (EventFlags::PREEXISTING, "preexisting"),
    (EventFlags::TEXT_CUT, "text_cut"),
];

const ACCESS: [(Access, &str); 4] = [(Access::READ, "read"), (Access::WRITE, "write"), (Access::TRUNCATE, "truncate"), (Access::DIRECT, "direct")];

pub(super) fn of(event: &Event, spool: Option<SpoolUid>) -> Object {
    let mut json = Object::default();
    json.put("time_us", event.time.as_micros());
    json.put("flags", event.flags.0);
    json.put_list("flag_names", FLAGS.into_iter().filter(|(flag, _)| event.flags.contains(*flag)).map(|(_, name)| name.into()).collect());
    json.put_some("spool_uid", spool.map(|spool| spool.to_string()));
    if let Some(actor) = &event.actor {
        put_work(&actor.process, &mut json);
        json.put_object("actor", process(&actor.process));
    }
    match &event.activity {
        Activity::Process(activity) => {
            let mut second = process(&activity.process);
            put_work(&activity.process, &mut second);
            json.put("process", second);
            if let ProcessActivityKind::Terminate { signal, .. } = activity.kind {
                json.put("signal", signal);
            }
        }
        Activity::File(activity) => put_file_activity(activity, &mut json),
        Activity::Network(_) => {}
        Activity::Loss(lost) => json.put("loss", loss(lost)),
        Activity::Sensor(state) => {
            if !state.report.is_null() {
                json.put("report", state.report.clone());
            }
        }
    }
    json
}

/// What work a process belongs to.
fn put_work(process: &Process, json: &mut Object) {
    json.put_text("exec_tree_id", process.exec_tree.as_str());
    json.put("process_role", process.role.name());
    json.put_some("job", process.job.as_ref().map(job));
}

fn job(job: &Job) -> Object {
    let mut json = Object::default();
    json.put_text("scheduler", &job.scheduler);
    json.put("uid", &*job.uid);
    json.put_text("step", &job.step);
    json.put_some("rank", job.rank);
    json
}

/// What the kernel knows of a process and OCSF has no word for.
fn process(process: &Process) -> Object {
    let mut json = Object::default();
    // As /proc/PID/status writes it.
    json.put_some("capabilities", (process.capabilities != 0).then(|| format!("{:016x}", process.capabilities)));
    json.put_text("cgroup", &process.cgroup);
    let mut namespaces = Object::default();
    for (name, inode) in ["mnt", "pid", "net", "user"].into_iter().zip(process.namespaces.as_array()) {
        json_nonzero(&mut namespaces, name, inode);
    }
    json.put_object("namespaces", namespaces);
    json.put_some(
        "pod_uid",
        process.container.as_ref().filter(|container| !container.pod_uid.is_empty() && pod_uuid(container).is_none()).map(|container| &*container.pod_uid),
    );
    json
}

fn json_nonzero(json: &mut Object, key: &str, value: u32) {
    if value != 0 {
        json.put(key, value);
    }
}

fn put_file_activity(activity: &FileSystemActivity, json: &mut Object) {
    json.put_text("asset_class", &activity.file.asset_class);
    json.put_list("access", ACCESS.into_iter().filter(|(bit, _)| activity.access.contains(*bit)).map(|(_, name)| name.into()).collect());
    json.put("file", file(&activity.file));
    json.put_some("file_result", activity.file_result.as_ref().map(file));
}

fn file(file: &File) -> Object {
    let mut json = Object::default();
    json.put_some("inode", (file.inode != 0).then_some(file.inode));
    json_nonzero(&mut json, "device", file.device);
    json.put_some("mode", (file.mode != 0).then(|| format!("{:06o}", file.mode)));
    json.put_text("asset_class", &file.asset_class);
    json
}

fn loss(loss: &SensorLoss) -> Object {
    let mut json = Object::default();
    json.put("cause", loss.cause.name());
    json.put_some("class_uid", loss.class.map(crate::EventClass::uid));
    json.put_some("class_name", loss.class.map(crate::EventClass::caption));
    json.put_some("count", loss.count.map(long));
    json
}
