//! One full and one minimal event of every kind, with fixed values; `docs/events.md` shows the full ones.

use std::{net::IpAddr, sync::Arc};

use picket_event::{
    Access, Activity, Actor, AppProtocol, Container, Device, DeviceUid, Direction, Endpoint, Event, EventClass, EventFlags, ExeFlags, File, FileActivityKind,
    FileMethods, FileSystemActivity, Job, LaunchType, LossCause, Namespaces, NetworkActivity, NetworkActivityKind, ParentProcess, Process, ProcessActivity,
    ProcessActivityKind, ProcessMethod, ProcessRole, ProcessUid, SensorLoss, SensorState, SensorStateKind, Severity, Sha256, SpoolUid, StoredEvent, Timestamp,
    Transport, User,
};
use uuid::Uuid;

mod rare;

const START: Timestamp = Timestamp(1_790_000_000_123_456_000);

/// What the docs call a kind, and its event.
pub(crate) struct Sample {
    pub(crate) name: &'static str,
    pub(crate) stored: StoredEvent,
}

/// Every kind with everything that it can carry.
pub(crate) fn full() -> Vec<Sample> {
    activities(true).into_iter().map(|(name, actor, activity)| sample(name, actor, activity, EventFlags::CMD_LINE_CUT.union(EventFlags::PREEXISTING))).collect()
}

/// Every kind with no more than it must carry.
pub(crate) fn minimal() -> Vec<Sample> {
    activities(false).into_iter().map(|(name, actor, activity)| sample(name, actor, activity, EventFlags::default())).collect()
}

fn sample(name: &'static str, actor: Option<Actor>, activity: Activity, flags: EventFlags) -> Sample {
    let stored = StoredEvent {
        device: Arc::new(Device { uid: DeviceUid(Uuid::from_u128(0x0199_6a2e_7c4b_7d3e_8f10_2233_4455_6677)), hostname: String::from("gpu-07") }),
        spool: SpoolUid(Uuid::from_u128(0x7d0f_3c52_11aa_4b6e_9c0d_8e1f_2a3b_4c5d)),
        seq: 4711,
        received: Timestamp(START.0 + 250_000_000),
        event: Event { time: START, severity: Severity::Informational, flags, actor, activity },
    };
    Sample { name, stored }
}

fn activities(full: bool) -> Vec<(&'static str, Option<Actor>, Activity)> {
    let process = |pid| if full { process(pid) } else { Process { pid, ..Process::default() } };
    let actor = || Some(Actor { process: process(4021) });
    let mut all = vec![
        (
            "Process Activity: Launch (fork)",
            actor(),
            of_process(ProcessActivityKind::Launch(LaunchType::Fork), Process { parent: Some(ParentProcess::from(&process(4021))), ..process(4022) }),
        ),
        ("Process Activity: Launch (exec)", actor(), of_process(ProcessActivityKind::Launch(LaunchType::Exec), process(4021))),
        ("Process Activity: Terminate", actor(), of_process(ProcessActivityKind::Terminate { exit_code: 0, signal: 9 }, process(4021))),
        ("Process Activity: Open", actor(), reached(ProcessActivityKind::Open, ProcessMethod::Ptrace, process(4100))),
        ("Process Activity: Inject", actor(), reached(ProcessActivityKind::Inject, ProcessMethod::ProcMem, process(4100))),
        (
            "Process Activity: Set User ID",
            actor(),
            reached(ProcessActivityKind::SetUserId, ProcessMethod::Setuid, Process { user: User::default(), ..process(4021) }),
        ),
    ];
    for (name, kind) in [
        ("File System Activity: Create", FileActivityKind::Create),
        ("File System Activity: Open", FileActivityKind::Open),
        ("File System Activity: Update", FileActivityKind::Update),
        ("File System Activity: Rename", FileActivityKind::Rename),
        ("File System Activity: Delete", FileActivityKind::Delete),
        ("File System Activity: Read", FileActivityKind::Read),
        ("File System Activity: Set Attributes", FileActivityKind::SetAttributes),
        ("File System Activity: Set Security", FileActivityKind::SetSecurity),
        ("File System Activity: Mount", FileActivityKind::Mount),
        ("File System Activity: Unmount", FileActivityKind::Unmount),
        ("File System Activity: Link", FileActivityKind::Link),
    ] {
        all.push((name, actor(), of_file(kind, full)));
    }
    for (name, kind, direction) in [
        ("Network Activity: Open", NetworkActivityKind::Open, Direction::Outbound),
        ("Network Activity: Traffic", NetworkActivityKind::Traffic, Direction::Outbound),
        ("Network Activity: Close", NetworkActivityKind::Close, Direction::Inbound),
        ("Network Activity: Fail", NetworkActivityKind::Fail, Direction::Outbound),
        ("Network Activity: Refuse", NetworkActivityKind::Refuse, Direction::Outbound),
        ("Network Activity: Listen", NetworkActivityKind::Listen, Direction::Inbound),
    ] {
        all.push((name, if full { actor() } else { None }, of_network(kind, direction, full)));
    }
    all.push(("File System Activity: Open (local socket)", actor(), of_socket(full)));
    rare::push(&mut all, full);
    all.push(("Event Log Activity: Loss", None, of_loss(full)));
    let report = serde_json::json!({ "probes": [{ "name": "process_exec", "hook": "tp_btf/sched_process_exec", "attached": true }], "ring_bytes": 8_388_608 });
    for (name, kind) in [
        ("Event Log Activity: Start", SensorStateKind::Started),
        ("Event Log Activity: Stop", SensorStateKind::Stopped),
        ("Device Config State: Log (capability report)", SensorStateKind::Capabilities),
    ] {
        all.push((name, None, Activity::Sensor(SensorState { kind, report: if full { report.clone() } else { serde_json::Value::Null } })));
    }
    all
}

fn process(pid: u32) -> Process {
    Process {
        uid: ProcessUid::new("4f1c2a9b", 0xf000_0000, pid, 812_345_678_901 + u64::from(pid)),
        pid,
        tid: pid,
        name: String::from("python3"),
        path: String::from("/usr/bin/python3.11"),
        exe_inode: 1_234_567,
        exe_device: (8 << 20) | 1,
        exe_flags: ExeFlags::DELETED,
        cmd_line: String::from("python3 train.py --data /data/shards"),
        working_directory: String::from("/home/ml/run"),
        user: User { uid: 1000, euid: 1000, gid: 1000, auid: 1000, name: String::from("ml") },
        created_time: Timestamp(START.0 - 60_000_000_000),
        capabilities: 1 << 21,
        namespaces: Namespaces { mnt: 4_026_531_841, pid: 4_026_531_836, net: 4_026_531_840, user: 4_026_531_837 },
        cgroup: String::from("/system.slice/slurmstepd.scope/job_77/step_0/user/task_0"),
        tty: String::from("pts/3"),
        environment: vec![(String::from("LD_PRELOAD"), String::from("/opt/trace.so")), (String::from("SLURM_JOB_ID"), String::from("77"))],
        exec_tree: ProcessUid::new("4f1c2a9b", 0xf000_0000, 3_999, 812_345_000_000),
        role: ProcessRole::Trainer,
        container: Some(Container {
            uid: "9f".repeat(32),
            name: String::from("trainer"),
            image: String::from("registry.example/ml/trainer:2.1"),
            runtime: String::from("containerd"),
            pod_uid: String::from("5b1f7a52-8f4e-4c39-9a56-0d9f6c2f3a11"),
            pod_name: String::from("llama-0"),
            pod_namespace: String::from("training"),
        }),
        job: Some(Job { scheduler: String::from("slurm"), uid: String::from("77"), step: String::from("0"), rank: Some(3) }),
        parent: Some(ParentProcess {
            uid: ProcessUid::new("4f1c2a9b", 0xf000_0000, 3_999, 812_345_000_000),
            pid: 3_999,
            name: String::from("torchrun"),
            path: String::from("/usr/bin/python3.11"),
            cmd_line: String::from("torchrun --nproc-per-node 8 train.py"),
        }),
    }
}

fn of_process(kind: ProcessActivityKind, process: Process) -> Activity {
    Activity::Process(ProcessActivity { kind, process, method: ProcessMethod::None })
}

fn reached(kind: ProcessActivityKind, method: ProcessMethod, process: Process) -> Activity {
    Activity::Process(ProcessActivity { kind, process, method })
}

fn of_socket(full: bool) -> Activity {
    let file = File { path: String::from("/run/containerd/containerd.sock"), mode: if full { 0o140_660 } else { 0 }, ..File::default() };
    Activity::File(FileSystemActivity { methods: FileMethods::CONNECT, ..FileSystemActivity::new(FileActivityKind::Open, Access::default(), file) })
}

fn of_file(kind: FileActivityKind, full: bool) -> Activity {
    let file = |path: &str| {
        if full {
            File {
                path: String::from(path),
                inode: 9_000_001,
                device: (8 << 20) | 17,
                size_bytes: Some(13_400_000_000),
                mode: 0o100_640,
                owner_uid: 1000,
                asset_class: String::from("model"),
                sha256: Some(Sha256([0xa7; 32])),
            }
        } else {
            File { path: String::from(path), ..File::default() }
        }
    };
    let counted = full && matches!(kind, FileActivityKind::Read | FileActivityKind::Update);
    let detail = match kind {
        FileActivityKind::SetAttributes => "user.sha256",
        FileActivityKind::Mount => "overlay",
        _ => "",
    };
    Activity::File(FileSystemActivity {
        kind,
        access: Access::READ,
        file: file("/models/llama/model-00001.safetensors"),
        file_result: matches!(kind, FileActivityKind::Rename | FileActivityKind::Link).then(|| file("/models/llama/old.safetensors")),
        bytes_read: counted.then_some(13_400_000_000),
        bytes_written: counted.then_some(0),
        methods: if counted { FileMethods::MMAP.union(FileMethods::SENDFILE) } else { FileMethods::default() },
        until_end: kind == FileActivityKind::Update,
        detail: String::from(if full { detail } else { "" }),
    })
}

fn of_network(kind: NetworkActivityKind, direction: Direction, full: bool) -> Activity {
    let here = Endpoint { ip: IpAddr::from([10, 20, 0, 7]), port: 51_234 };
    let there = Endpoint { ip: IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 9]), port: 443 };
    let (src, dst) = if direction == Direction::Inbound { (there, here) } else { (here, there) };
    Activity::Network(NetworkActivity {
        kind,
        direction,
        transport: Transport::Tcp,
        src,
        dst,
        bytes_out: if full { 13_100_000_000 } else { 0 },
        bytes_in: if full { 52_000 } else { 0 },
        flow_uid: 88_001,
        duration_ns: if full { 42_123_456_789 } else { 0 },
        app: full.then_some(AppProtocol::Quic),
    })
}

fn of_loss(full: bool) -> Activity {
    Activity::Loss(SensorLoss {
        cause: if full { LossCause::RingFull } else { LossCause::AgentDown },
        class: full.then_some(EventClass::FileSystemActivity),
        count: full.then_some(1_234),
        cpu: full.then_some(3),
        since: Timestamp(START.0 - 5_000_000_000),
        until: START,
        healed: full.then_some(START),
        message: if full { String::from("1234 file events were lost: the kernel's ring buffer was full.") } else { String::new() },
    })
}
