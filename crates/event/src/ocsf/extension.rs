//! The one object that OCSF does not know: `picket`.

use crate::{
    Access, Activity, Completeness, DetectionFinding, Event, EventFlags, ExeFlags, File, FileSystemActivity, Job, KernelActivity, KernelExtensionActivity,
    Process, ProcessActivityKind, Protection, SensorLoss, SpoolUid, Timestamp,
};

use super::{
    gpu,
    object::{Object, long},
    process::pod_uuid,
};

/// Every path under `picket`, and what stands there: the documentation of the extension.
pub const EXTENSION: &[(&str, &str)] = &[
    ("time_us", "`time` in whole microseconds; OCSF keeps milliseconds."),
    ("flags", "What is not whole about the event, as bits."),
    (
        "flag_names",
        "The same bits by name: `cmd_line_cut`, `path_cut`, `text_cut` (longer than its limit), `actor_partial` (the actor was not in the process table and is known from the kernel record alone), `path_detached` (the file has no name any more, or never had one), `preexisting` (found at start, not when it happened), `no_process` (told by the file system, which knows no process).",
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
    ("actor.pod_name", "The Kubernetes pod's name, where the container runtime's files tell it."),
    ("actor.pod_namespace", "Its namespace."),
    (
        "process",
        "All of the above (`exec_tree_id`, `process_role`, `job`, `capabilities`, `cgroup`, `namespaces`, `pod_uid`, `pod_name`, `pod_namespace`, `exe_flags`) of the process that was launched, ended, reached for or changed.",
    ),
    (
        "actor.exe_flags",
        "What is unusual about the actor's executable: `memfd` (it lives in memory alone), `deleted` (it had no name any more), `writable_place` (it lies where anybody can write).",
    ),
    (
        "method",
        "By which way: of a process or its memory `ptrace`, `process_vm_readv`, `process_vm_writev`, `proc_mem`, `proc_environ`, `proc_fd`, `proc_maps`, `pidfd_getfd`, `process_madvise`, `kcmp`, `mmap`, `mprotect`; of rights `setuid`, `setgid`, `capset`, `exec_privileged`, `credentials`; of a file one or more of `mmap`, `mmap_shared_write`, `sendfile`, `splice`, `copy_file_range`, `direct`, `io_uring`, `handle`, `compat32`, `clone`, `connect` (of a local socket), `hard_link`, `symbolic_link`, `xattr`, `truncate`, `watch`, with commas between.",
    ),
    ("signal", "Signal that ended the process, 0 where it exited."),
    ("access", "How the file was opened: read, write, truncate, direct. The bits stand in `access_mask`."),
    ("asset_class", "Class of the file that was acted on: model, dataset, code, credential, registry."),
    ("file.inode", "Inode number."),
    ("file.device", "Kernel device number (`major << 20 | minor`)."),
    ("file.mode", "Type and permission bits, octal."),
    ("file.asset_class", "Its asset class."),
    ("file_result", "The same (`inode`, `device`, `mode`, `asset_class`) of the file under its new name."),
    (
        "loss.cause",
        "Why events were lost: ring_full, queue_full, spool_full, disk_error, agent_down, spool_corrupt, budget, refused, map_full, probe_detached, sensor_tampered, scan, rate_limited, probe_missed.",
    ),
    ("loss.class_uid", "Class of the lost events, where one class was lost."),
    ("loss.class_name", "Its caption."),
    ("bytes_read", "Bytes that the actor read of the file since it opened it, where they are counted: a total so far."),
    ("bytes_written", "Bytes that it wrote."),
    ("until_end", "True where such totals are the last ones: the file was closed or the process ended."),
    ("detail", "Name of an extended attribute, target of a symbolic link, type and options of a mount."),
    ("permissions", "Permissions that the mapping asked for: read, write, execute. The bits stand in `requested_permissions`."),
    ("kernel_extension.kind", "What extends the kernel: module, bpf_program."),
    ("kernel_extension.name", "Name of the module or program."),
    ("kernel_extension.bpf_type", "Type of the program, as `kprobe`."),
    ("kernel_extension.bpf_tag", "Its tag: a digest of its instructions."),
    ("kernel_extension.bpf_id", "Its id in the kernel."),
    ("kernel.operation", "The system call, or `io_uring`."),
    ("kernel.count", "How often, where calls are summed."),
    ("kernel.detail", "Flags, target, opcode, in a few words."),
    ("kernel.process", "The process it was done to: `uid`, `pid`, `name`, `cmd_line`, `file.path`."),
    ("rule.uid", "The rule or check that concluded the finding."),
    ("rule.version", "Its version."),
    ("rule.kind", "What kind of rule: scanner, yara, sigma, correlation, indicator, posture."),
    ("verdict", "The judgement: malicious, suspicious, clean, unscannable; of a posture check pass, warning, fail, unknown."),
    ("completeness", "`full`, or `partial` where something could not be read."),
    ("incomplete_reasons", "Why."),
    ("scan_uid", "The scan that made the finding."),
    ("scan.bytes", "Bytes of the files that the scan judged so far."),
    (
        "gpu",
        "A GPU: `uuid`, `name`, `index`, `driver_version`, `memory_used_bytes`, `memory_total_bytes`, `utilization_percent`, `mig_enabled`, `mig_devices`, and `processes` (`pid`, `uid`, `memory_bytes`).",
    ),
    ("loss.cpu", "The CPU that made the lost records, where losses are counted by CPU."),
    ("loss.healed_time", "When the sensor read again from the kernel which processes and flows these losses had left unknown to it (ms since the Unix epoch)."),
    ("loss.count", "How many were lost; absent where nobody could count."),
    ("report", "The sensor's own words: its capability report, or why it stopped."),
];

const FLAGS: [(EventFlags, &str); 7] = [
    (EventFlags::CMD_LINE_CUT, "cmd_line_cut"),
    (EventFlags::PATH_CUT, "path_cut"),
    (EventFlags::ACTOR_PARTIAL, "actor_partial"),
    (EventFlags::NO_PROCESS, "no_process"),
    (EventFlags::PATH_DETACHED, "path_detached"),
    (EventFlags::PREEXISTING, "preexisting"),
    (EventFlags::TEXT_CUT, "text_cut"),
];

const EXE_FLAGS: [(ExeFlags, &str); 3] = [(ExeFlags::MEMFD, "memfd"), (ExeFlags::DELETED, "deleted"), (ExeFlags::WRITABLE_PLACE, "writable_place")];

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
            json.put_text("method", activity.method.name());
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
        rare => put_rare(rare, &mut json),
    }
    json
}

fn put_rare(activity: &Activity, json: &mut Object) {
    match activity {
        Activity::Process(_) | Activity::File(_) | Activity::Network(_) | Activity::Loss(_) | Activity::Sensor(_) | Activity::Dns(_) => {}
        Activity::Memory(activity) => {
            json.put_text("method", activity.method.name());
            put_permissions(activity.permissions, json);
            if let Some(target) = &activity.process {
                let mut second = process(target);
                put_work(target, &mut second);
                json.put("process", second);
            }
        }
        Activity::Module(activity) => {
            put_permissions(activity.permissions, json);
            json.put_text("asset_class", &activity.file.asset_class);
            json.put("file", file(&activity.file));
        }
        Activity::KernelExtension(activity) => json.put("kernel_extension", kernel_extension(activity)),
        Activity::Kernel(activity) => json.put("kernel", kernel(activity)),
        Activity::Scan(activity) => {
            let mut scan = Object::default();
            scan.put("bytes", long(activity.counts.bytes));
            json.put("scan", scan);
        }
        Activity::Finding(finding) => put_finding(finding, json),
        Activity::Compliance(finding) => {
            json.put("rule", rule(&finding.check_uid, &finding.check_version, "posture"));
            json.put("verdict", finding.status.name());
        }
        Activity::Gpu(state) => json.put("gpu", gpu::extension(state)),
    }
}

fn put_permissions(permissions: Protection, json: &mut Object) {
    const NAMES: [(Protection, &str); 3] = [(Protection::READ, "read"), (Protection::WRITE, "write"), (Protection::EXEC, "execute")];
    json.put_list("permissions", NAMES.into_iter().filter(|(bit, _)| permissions.contains(*bit)).map(|(_, name)| name.into()).collect());
}

fn kernel_extension(activity: &KernelExtensionActivity) -> Object {
    let mut json = Object::default();
    json.put("kind", activity.extension.name());
    json.put_text("name", &activity.name);
    json.put_text("bpf_type", &activity.bpf_type);
    json.put_text("bpf_tag", &activity.bpf_tag);
    json_nonzero(&mut json, "bpf_id", activity.bpf_id);
    json
}

fn kernel(activity: &KernelActivity) -> Object {
    let mut json = Object::default();
    json.put_text("operation", &activity.operation);
    json.put("count", long(activity.count));
    json.put_text("detail", &activity.detail);
    if let Some(target) = &activity.process {
        let mut process = Object::default();
        process.put_text("uid", target.uid.as_str());
        process.put("pid", target.pid);
        process.put_text("name", &target.name);
        let mut file = Object::default();
        file.put_text("path", &target.path);
        process.put_object("file", file);
        process.put_text("cmd_line", &target.cmd_line);
        json.put("process", process);
    }
    json
}

fn rule(uid: &str, version: &str, kind: &str) -> Object {
    let mut json = Object::default();
    json.put_text("uid", uid);
    json.put_text("version", version);
    json.put("kind", kind);
    json
}

fn put_finding(finding: &DetectionFinding, json: &mut Object) {
    json.put("rule", rule(&finding.rule.uid, &finding.rule.version, finding.rule.kind.name()));
    json.put("verdict", finding.verdict.name());
    match &finding.completeness {
        Completeness::Full => json.put("completeness", "full"),
        Completeness::Partial(reasons) => {
            json.put("completeness", "partial");
            json.put_list("incomplete_reasons", reasons.iter().map(|reason| reason.as_str().into()).collect());
        }
    }
    json.put_text("scan_uid", &finding.scan_uid);
    if let Some(about) = &finding.file {
        json.put_text("asset_class", &about.asset_class);
        json.put("file", file(about));
    }
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
    json.put_list("exe_flags", EXE_FLAGS.into_iter().filter(|(flag, _)| process.exe_flags.contains(*flag)).map(|(_, name)| name.into()).collect());
    let mut namespaces = Object::default();
    for (name, inode) in ["mnt", "pid", "net", "user"].into_iter().zip(process.namespaces.as_array()) {
        json_nonzero(&mut namespaces, name, inode);
    }
    json.put_object("namespaces", namespaces);
    if let Some(container) = &process.container {
        json.put_text("pod_name", &container.pod_name);
        json.put_text("pod_namespace", &container.pod_namespace);
    }
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
    json.put_text("method", &activity.methods.names());
    json.put_some("bytes_read", activity.bytes_read.map(long));
    json.put_some("bytes_written", activity.bytes_written.map(long));
    if activity.bytes_read.is_some() || activity.bytes_written.is_some() {
        json.put("until_end", activity.until_end);
    }
    json.put_text("detail", &activity.detail);
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
    json.put_some("cpu", loss.cpu);
    json.put_some("healed_time", loss.healed.map(Timestamp::as_millis));
    json
}
