//! Records in, events out.

use picket_ebpf::record::{Action, ActionOp, Dns, Exec, Exit, File, FileChange, Flow, FlowOp, FlowProtocol, Fork, Socket, SocketOp};
use picket_event::{
    AppProtocol, Direction, FileActivityKind, FileMethods, LaunchType, MemoryActivityKind, NetworkActivityKind, ProcessActivityKind, ProcessMethod,
    ProcessRole, Timestamp, Transport,
};

use super::*;

/// Pids beyond `pid_max`: no look-up finds a process of this host.
const BASE: u32 = 0x4000_0000;

fn pipeline(text: &str) -> Pipeline {
    let config = Config::parse(text, std::path::Path::new("agent.toml")).unwrap();
    let mut ids = WatchIds::default();
    ids.specs(&config.watch);
    let rules = Rules::new(&config, Roles::load(None).unwrap(), &ids);
    let mut pipeline = Pipeline::new(Boot::new("0a1b2c3d-0000-4000-8000-000000000000"), &config, Arc::new(ArcSwap::from_pointee(rules)));
    pipeline.clock = WallClock::fixed(1_000_000);
    pipeline
}

fn task(pid: u32, parent: u32) -> Task {
    let start = |pid: u32| u64::from(pid) * 10;
    Task {
        pid: BASE + pid,
        tid: BASE + pid,
        start_boot_ns: start(pid),
        parent_pid: BASE + parent,
        parent_start_boot_ns: start(parent),
        auid: u32::MAX,
        comm: format!("p{pid}"),
        ..Task::default()
    }
}

fn record(time_boot_ns: u64, task: Task, body: Body) -> Record {
    Record { time_boot_ns, cpu: 0, flags: RecordFlags::default(), task, body }
}

fn exec(pid: u32, parent: u32, args: &[u8], session: u32) -> Record {
    let body = Exec {
        args: args.to_vec(),
        exe_path: b"/usr/bin/bash".to_vec(),
        session_pid: BASE + session,
        session_start_boot_ns: u64::from(session) * 10,
        ns_pid: BASE + pid,
        ..Exec::default()
    };
    record(50, task(pid, parent), Body::Exec(Box::new(body)))
}

fn fork(parent: u32, child: u32) -> Record {
    record(60, task(parent, 1), Body::Fork(Fork { child_pid: BASE + child, child_start_boot_ns: u64::from(child) * 10 }))
}

fn process(event: &Event) -> (&picket_event::ProcessActivity, &picket_event::Process) {
    let Activity::Process(activity) = &event.activity else { panic!("{event:?}") };
    (activity, &activity.process)
}

fn file_record(pid: u32, watch_id: u32, path: &str, op: FileOp) -> Record {
    let file = File {
        op,
        created: false,
        open_flags: O_TRUNC,
        mode_bits: 2,
        path: path.as_bytes().to_vec(),
        new_path: b"/srv/new.gguf".to_vec(),
        inode: 7,
        device: 8,
        i_mode: 0o100_644,
        owner_uid: 9,
        size: 10,
        watch_id,
        bytes_read: 3,
        bytes_written: 4,
        methods: picket_ebpf::record::FileMethods::MMAP,
        until_end: true,
    };
    record(70, task(pid, 1), Body::File(Box::new(file)))
}

const O_TRUNC: u32 = 0o1000;

#[test]
fn a_fork_that_is_followed_by_an_exec_is_two_events_with_one_identity() {
    let mut pipeline = pipeline("");
    pipeline.event(exec(2, 1, b"bash\0-l\0", 2));
    let forked = pipeline.event(fork(2, 3));
    let (activity, child) = process(&forked);
    assert_eq!(activity.kind, ProcessActivityKind::Launch(LaunchType::Fork));
    assert_eq!((child.pid, child.cmd_line.as_str()), (BASE + 3, "bash -l"), "a copy of its parent");
    assert_eq!(forked.actor.as_ref().unwrap().process.pid, BASE + 2);
    assert_eq!(child.parent.as_ref().unwrap().cmd_line, "bash -l");
    let executed = pipeline.event(exec(3, 2, b"cat\0x\0", 2));
    let (activity, now) = process(&executed);
    assert_eq!(activity.kind, ProcessActivityKind::Launch(LaunchType::Exec));
    assert_eq!((now.uid.clone(), now.cmd_line.as_str()), (child.uid.clone(), "cat x"));
    assert_eq!(executed.flags, EventFlags::default());
    assert_eq!(executed.time, Timestamp(1_000_050));
    assert_eq!(now.exec_tree, pipeline.table.uid(ProcessKey { pid: BASE + 2, start_boot_ns: 20 }), "its session leader");
}

#[test]
fn the_end_tells_status_or_signal_and_the_process_is_still_known_for_a_while() {
    let mut pipeline = pipeline("");
    pipeline.event(exec(2, 1, b"bash\0", 2));
    let exit = |code| record(100, task(2, 1), Body::Exit(Exit { code }));
    let ended = pipeline.event(exit(3 << 8));
    assert_eq!(process(&ended).0.kind, ProcessActivityKind::Terminate { exit_code: 3, signal: 0 });
    assert_eq!(process(&ended).1.cmd_line, "bash");
    assert_eq!(process(&pipeline.event(exit(9))).0.kind, ProcessActivityKind::Terminate { exit_code: 0, signal: 9 });
    let late = pipeline.event(file_record(2, 0, "/x.pt", FileOp::CloseWrite));
    assert_eq!(late.actor.unwrap().process.cmd_line, "bash");
    pipeline.tick(100 + 10_000_000_000);
    assert_eq!(pipeline.processes().0, 0);
}

#[test]
fn an_actor_that_nobody_saw_begin_is_marked() {
    let mut pipeline = pipeline("");
    let event = pipeline.event(file_record(5, 0, "/x.pt", FileOp::Open));
    assert!(event.flags.contains(EventFlags::ACTOR_PARTIAL));
    let actor = event.actor.unwrap().process;
    assert_eq!((actor.pid, actor.name.as_str(), actor.cmd_line.as_str()), (BASE + 5, "p5", ""));
    assert_eq!(actor.uid.as_str(), format!("0a1b2c3d-effffffc-{}-32", BASE + 5));
    // Its next exec heals it.
    pipeline.event(exec(5, 1, b"bash\0", 5));
    assert_eq!(pipeline.event(file_record(5, 0, "/x.pt", FileOp::Open)).flags, EventFlags::default());
}

#[test]
fn files_carry_the_class_of_their_watch_or_their_extension() {
    let mut pipeline = pipeline("[[watch]]\npath = \"/srv\"\nasset_class = \"credential\"\n");
    let mut class = |watch, path: &str| {
        let Activity::File(file) = pipeline.event(file_record(5, watch, path, FileOp::Open)).activity else { panic!("no file") };
        file.file.asset_class
    };
    assert_eq!([class(1, "/srv/x"), class(0, "/a/B.SafeTensors"), class(0, "/a/b.parquet"), class(0, "/a/b.txt")].join(" "), "credential model dataset ");
    let Activity::File(renamed) = pipeline.event(file_record(5, 0, "/srv/old.gguf.part", FileOp::Rename)).activity else { panic!("no file") };
    assert_eq!((renamed.kind, renamed.file.asset_class.as_str()), (FileActivityKind::Rename, ""));
    let result = renamed.file_result.unwrap();
    assert_eq!((result.path.as_str(), result.asset_class.as_str()), ("/srv/new.gguf", "model"));
    assert_eq!(renamed.access, picket_event::Access(2 | 4));
}

#[test]
fn flows_put_the_end_that_spoke_first_at_src() {
    let mut pipeline = pipeline("");
    let flow = |op, inbound, error| Flow {
        op,
        local: "[::ffff:10.0.0.1]:80".parse().unwrap(),
        remote: "10.0.0.2:5000".parse().unwrap(),
        bytes_sent: 1,
        bytes_received: 2,
        cookie: 3,
        established_boot_ns: 40,
        inbound,
        error,
        protocol: FlowProtocol::Tcp,
        quic: false,
        merged: false,
    };
    let mut event = |op, inbound, error, pid| {
        let event = pipeline.event(record(100, if pid == 0 { Task::default() } else { task(pid, 1) }, Body::Flow(flow(op, inbound, error))));
        let Activity::Network(network) = event.activity else { panic!("no flow") };
        (network, event.actor.is_some())
    };
    let (accepted, _) = event(FlowOp::Accept, true, 0, 5);
    assert_eq!((accepted.direction, accepted.src.port, accepted.dst.ip.to_string()), (Direction::Inbound, 5_000, "10.0.0.1".to_owned()));
    let (closed, _) = event(FlowOp::Close, false, 0, 5);
    assert_eq!((closed.src.port, closed.duration_ns, closed.bytes_out, closed.bytes_in), (80, 60, 1, 2));
    assert_eq!(event(FlowOp::Fail, false, 111, 5).0.kind, NetworkActivityKind::Refuse);
    assert_eq!(event(FlowOp::Fail, false, 110, 5).0.kind, NetworkActivityKind::Fail);
    assert!(!event(FlowOp::Existing, false, 0, 0).1, "an owner that nobody knows is not invented");
    let (traffic, _) = event(FlowOp::Traffic, false, 0, 5);
    assert_eq!(
        (traffic.kind, traffic.duration_ns, traffic.bytes_out, traffic.transport, traffic.app),
        (NetworkActivityKind::Traffic, 60, 1, Transport::Tcp, None)
    );
    let (listens, _) = event(FlowOp::Listen, false, 0, 5);
    assert_eq!((listens.kind, listens.direction, listens.dst.port), (NetworkActivityKind::Listen, Direction::Inbound, 80));
    let quic = Flow { protocol: FlowProtocol::Udp, quic: true, ..flow(FlowOp::Connect, false, 0) };
    let Activity::Network(quic) = pipeline.event(record(100, task(5, 1), Body::Flow(quic))).activity else { panic!("no flow") };
    assert_eq!((quic.transport, quic.app), (Transport::Udp, Some(AppProtocol::Quic)));
}

#[test]
fn names_that_are_asked_for_and_sockets_of_runtimes_have_their_process() {
    let mut pipeline = pipeline("");
    let dns = Dns {
        response: false,
        cookie: 3,
        local: "10.0.0.1:4000".parse().unwrap(),
        remote: "10.0.0.2:53".parse().unwrap(),
        protocol: FlowProtocol::Udp,
        message_bytes: 3,
        message: b"\0\x01\x02".to_vec(),
    };
    let asked = pipeline.event(record(100, task(5, 1), Body::Dns(Box::new(dns.clone()))));
    assert_eq!(asked.actor.unwrap().process.pid, BASE + 5);
    assert!(matches!(asked.activity, Activity::Dns(activity) if activity.hostname.is_empty() && activity.flow_uid == 3));
    assert_eq!(pipeline.dns_malformed(), 1);
    assert!(pipeline.event(record(100, Task::default(), Body::Dns(Box::new(dns)))).actor.is_none());
    let op = SocketOp::Local(b"/run/docker.sock".to_vec());
    let socket = Socket { op, family: 1, kind: 1, protocol: 0, cookie: 0, inode: 1, device: 2, i_mode: 0o140_000, owner_uid: 0 };
    let connected = pipeline.event(record(100, task(5, 1), Body::Socket(Box::new(socket))));
    assert_eq!(connected.actor.unwrap().process.pid, BASE + 5);
    assert!(matches!(connected.activity, Activity::File(activity) if activity.file.path == "/run/docker.sock"));
}

#[test]
fn a_job_step_begins_a_tree_of_its_own_and_roles_are_told() {
    let mut pipeline = pipeline("");
    pipeline.event(exec(2, 1, b"bash\0", 2));
    let mut step = exec(3, 2, b"python\0train.py\0", 2);
    if let Body::Exec(exec) = &mut step.body {
        exec.exe_path = b"/usr/bin/python3".to_vec();
        exec.environment = b"SLURM_JOB_ID=7\0SLURM_STEP_ID=0\0SLURM_PROCID=1\0".to_vec();
    }
    let trainer = pipeline.event(step);
    let trainer = process(&trainer).1;
    assert_eq!((trainer.role, trainer.exec_tree.clone()), (ProcessRole::Trainer, trainer.uid.clone()));
    let job = trainer.job.as_ref().unwrap();
    assert_eq!((job.scheduler.as_str(), job.uid.as_str(), job.step.as_str(), job.rank), ("slurm", "7", "0", Some(1)));
    let child = pipeline.event(fork(3, 4));
    assert_eq!(process(&child).1.exec_tree, trainer.uid, "what the step starts belongs to it");
    assert_eq!(process(&child).1.job.as_ref().unwrap().uid, "7");
}

#[test]
fn a_flood_of_processes_leaves_the_table_bounded() {
    let mut pipeline = pipeline("[processes]\nentries_max = 256\n");
    for pid in 2..5_000 {
        pipeline.event(fork(pid, pid + 10_000));
    }
    assert!(pipeline.processes().0 <= 256);
}

#[test]
fn who_clears_the_environment_does_not_leave_the_job() {
    let mut pipeline = pipeline("");
    let run = |pid, parent, environment: &[u8], args: &[u8]| {
        let mut record = exec(pid, parent, args, 1);
        if let Body::Exec(exec) = &mut record.body {
            exec.environment = environment.to_vec();
        }
        record
    };
    let job = |event: &Event| process(event).1.job.as_ref().map(|job| (job.scheduler.clone(), job.uid.clone(), job.rank));
    let is = |uid: &str, rank| Some(("ray".to_owned(), uid.to_owned(), rank));
    assert_eq!(job(&pipeline.event(run(10, 1, b"RAY_JOB_ID=7\0RANK=2\0", b"python3\0train.py\0"))), is("7", Some(2)));
    assert_eq!(job(&pipeline.event(fork(10, 11))), is("7", Some(2)));
    assert_eq!(job(&pipeline.event(run(11, 10, b"", b"env\0-i\0sh\0"))), is("7", Some(2)), "its own before the exec");
    assert_eq!(job(&pipeline.event(run(12, 11, b"", b"sh\0"))), is("7", Some(2)), "its parent's, where the fork was not seen");
    assert_eq!(job(&pipeline.event(run(13, 11, b"RAY_JOB_ID=8\0", b"sh\0"))), is("8", None), "a job of its own");
    assert_eq!(job(&pipeline.event(run(14, 1, b"", b"sh\0"))), None);
}

#[test]
fn a_worker_has_the_role_of_its_parent() {
    let mut pipeline = pipeline("");
    let mut run = |pid, parent, args: &[u8]| {
        let mut record = exec(pid, parent, args, 1);
        if let Body::Exec(exec) = &mut record.body {
            exec.exe_path = b"/usr/bin/python3.11".to_vec();
        }
        process(&pipeline.event(record)).1.role
    };
    assert_eq!(run(10, 1, b"python3\0-m\0vllm.entrypoints.openai.api_server\0"), ProcessRole::Server);
    assert_eq!(run(11, 10, b"python3\0-c\0from multiprocessing.spawn import spawn_main; spawn_main()\0--multiprocessing-fork\0"), ProcessRole::Server);
    assert_eq!(run(12, 1, b"python3\0-c\0print(1)\0"), ProcessRole::Other);
}

fn action(op: ActionOp, values: [u64; 8], target: Option<Task>, text: &str) -> Record {
    let action = Action { op, call: 117, result: 0, count: 3, target, values, texts: [text.as_bytes().to_vec(), Vec::new(), Vec::new()] };
    record(70, task(4, 3), Body::Action(Box::new(action)))
}

#[test]
fn reaching_for_another_process_names_both() {
    let mut pipeline = pipeline("");
    pipeline.event(exec(4, 3, b"gdb\0", 4));
    pipeline.event(exec(5, 3, b"python3\0serve.py\0", 5));
    let traced = pipeline.event(action(ActionOp::Ptrace, [16, 0, 0, 0, 0, 0, 0, 0], Some(task(5, 3)), ""));
    let (activity, target) = process(&traced);
    assert_eq!((activity.kind, activity.method), (ProcessActivityKind::Open, ProcessMethod::Ptrace));
    assert_eq!((target.pid, target.cmd_line.as_str()), (BASE + 5, "python3 serve.py"));
    assert_eq!(traced.actor.unwrap().process.cmd_line, "gdb");
    let poked = pipeline.event(action(ActionOp::Ptrace, [5, 0, 0, 0, 0, 0, 0, 0], Some(task(5, 3)), ""));
    assert_eq!(process(&poked).0.kind, ProcessActivityKind::Inject);
    let asked = pipeline.event(action(ActionOp::Ptrace, [0; 8], Some(task(5, 3)), ""));
    assert_eq!((process(&asked).1.pid, asked.actor.as_ref().unwrap().process.pid), (BASE + 4, BASE + 5), "the parent reaches for who asks");
    let opened = pipeline.event(action(ActionOp::ProcOpen, [1, 0, 0, 0, 0, 0, 0, 0], Some(task(5, 3)), "environ"));
    assert_eq!(process(&opened).0.method, ProcessMethod::ProcEnviron);
    let read = pipeline.event(action(ActionOp::ReadMemory, [0x1000, 64, 0, 0, 0, 0, 0, 0], Some(task(5, 3)), ""));
    let Activity::Memory(memory) = &read.activity else { panic!("{read:?}") };
    assert_eq!((memory.kind, memory.base_address, memory.size_bytes), (MemoryActivityKind::Read, 0x1000, 64));
    assert_eq!(memory.process.as_ref().unwrap().pid, BASE + 5);
}

#[test]
fn ids_that_change_show_who_it_was_and_who_it_is() {
    let mut pipeline = pipeline("");
    pipeline.event(exec(4, 3, b"sshd\0", 4));
    let told = pipeline.event(action(ActionOp::SetIds, [1000 << 32 | 1000, 7 << 32 | 7, 0, 0, 0, 0x3f, 1, 0], None, ""));
    let (activity, after) = process(&told);
    assert_eq!((activity.kind, activity.method, after.capabilities), (ProcessActivityKind::SetUserId, ProcessMethod::Setuid, 0x3f));
    let before = &told.actor.as_ref().unwrap().process;
    assert_eq!((before.user.uid, before.user.euid, before.user.gid, before.capabilities), (1000, 1000, 7, 0));
    // Where the kernel does not know who it was, the table does.
    let mut record = action(ActionOp::SetIds, [0; 8], None, "");
    record.task.uid = 33;
    let told = pipeline.event(record);
    assert_eq!((told.actor.as_ref().unwrap().process.user.uid, process(&told).1.user.uid), (0, 33));
    assert_eq!(told.actor.as_ref().unwrap().process.capabilities, 0x3f);
}

#[test]
fn code_and_kernel_actions_have_their_classes() {
    let mut pipeline = pipeline("");
    let mapped = pipeline.event(action(ActionOp::Map, [0x7000, 8192, 7, 0x22, 0, 0, 0, 1], None, ""));
    let Activity::Memory(memory) = &mapped.activity else { panic!("{mapped:?}") };
    assert_eq!((memory.kind, memory.permissions.0, memory.process.is_none()), (MemoryActivityKind::Map, 7, true));
    let library = pipeline.event(action(ActionOp::Map, [0x7000, 8192, 5, 2, 99, 8, 0o100_755 << 32 | 1000, 4], None, "/tmp/x.so"));
    let Activity::Module(module) = &library.activity else { panic!("{library:?}") };
    assert_eq!(
        (module.file.path.as_str(), module.file.inode, module.file.device, module.file.mode, module.file.owner_uid),
        ("/tmp/x.so", 99, 8, 0o100_755, 1000)
    );
    let bpf = pipeline.event(action(ActionOp::BpfLoad, [7, 26, u64::from_ne_bytes([1, 2, 3, 4, 5, 6, 7, 8]), 0, 0, 0, 0, 0], None, "hook"));
    let Activity::KernelExtension(extension) = &bpf.activity else { panic!("{bpf:?}") };
    assert_eq!(
        (extension.name.as_str(), extension.bpf_type.as_str(), extension.bpf_tag.as_str(), extension.bpf_id),
        ("hook", "tracing", "0102030405060708", 7)
    );
    let ring = pipeline.event(action(ActionOp::RingSubmit, [28, 0, 0, 0, 0, 0, 0, 0], None, ""));
    let Activity::Kernel(kernel) = &ring.activity else { panic!("{ring:?}") };
    assert_eq!((kernel.operation.as_str(), kernel.detail.as_str(), kernel.count), ("io_uring", "OPENAT2", 3));
    let stopped = pipeline.event(action(ActionOp::Signal, [19, 0, 0, 0, 0, 0, 0, 0], Some(task(9, 1)), ""));
    let Activity::Kernel(kernel) = &stopped.activity else { panic!("{stopped:?}") };
    assert_eq!((kernel.operation.as_str(), kernel.detail.as_str(), kernel.process.as_ref().map(|process| process.pid)), ("kill", "SIGSTOP", Some(BASE + 9)));
}

#[test]
fn sums_ways_and_changes_of_a_file_become_its_event() {
    let mut pipeline = pipeline("");
    let mut event = |op| {
        let Activity::File(file) = pipeline.event(file_record(5, 0, "/srv/x.pt", op)).activity else { panic!("no file") };
        (file.kind, file.bytes_read, file.bytes_written, file.methods, file.file_result.is_some())
    };
    let mapped = FileMethods::MMAP;
    assert_eq!(event(FileOp::Use), (FileActivityKind::Update, Some(3), Some(4), mapped, false));
    assert_eq!(event(FileOp::CloseWrite), (FileActivityKind::Update, Some(3), Some(4), mapped, false));
    assert_eq!(event(FileOp::Open), (FileActivityKind::Open, None, None, mapped, false));
    assert_eq!(event(FileOp::Link), (FileActivityKind::Link, None, None, mapped.union(FileMethods::HARD_LINK), true));
    let changes = [
        (FileChange::Mode, FileActivityKind::SetSecurity, mapped),
        (FileChange::Owner, FileActivityKind::SetSecurity, mapped),
        (FileChange::Times, FileActivityKind::SetAttributes, mapped),
        (FileChange::ExtendedAttribute, FileActivityKind::SetAttributes, mapped.union(FileMethods::XATTR)),
        (FileChange::Size, FileActivityKind::Update, mapped.union(FileMethods::TRUNCATE)),
        (FileChange::Space, FileActivityKind::Update, mapped.union(FileMethods::TRUNCATE)),
    ];
    for (change, kind, methods) in changes {
        assert_eq!(event(FileOp::Change(change)), (kind, None, None, methods, false));
    }
}

fn listed(pid: u32, parent: u32, args: &[u8]) -> Record {
    let mut record = exec(pid, parent, args, pid);
    record.flags = RecordFlags::PREEXISTING;
    record.time_boot_ns = 1_000_000_000;
    if let Body::Exec(exec) = &mut record.body {
        exec.exe_inode = 77;
    }
    record
}

fn gap(processes: bool, flows: bool) -> crate::healing::Gap {
    let cause = picket_event::LossCause::RingFull;
    crate::healing::Gap { cause, since: Timestamp(1), until: Timestamp(2), since_boot_ns: 100, processes, flows }
}

#[test]
fn a_list_after_a_loss_fills_in_what_was_lost_and_nothing_else() {
    let mut pipeline = pipeline("");
    let known = listed(10, 1, b"bash\0known.sh\0");
    pipeline.event(Record { flags: RecordFlags::default(), ..known.clone() });
    pipeline.event(fork(10, 11));
    pipeline.event(fork(10, 14));
    // 11 ran another script, 12 and its child 13 were never seen, 14 ended; the children come first in the list.
    let list = vec![listed(13, 12, b"python\0read.py\0"), listed(12, 10, b"sh\0-c\0all\0"), listed(11, 10, b"bash\0other.sh\0"), known];
    let events = pipeline.heal(list.clone(), &gap(true, false));
    let launched: Vec<&str> =
        events.iter().filter(|event| matches!(event.activity, Activity::Process(_))).map(|event| process(event).1.cmd_line.as_str()).collect();
    assert_eq!(launched, ["bash other.sh", "sh -c all", "python read.py"]);
    assert!(events.iter().take(3).all(|event| event.flags.contains(EventFlags::PREEXISTING)));
    let Some(Activity::Loss(loss)) = events.last().map(|event| &event.activity) else { panic!("{events:?}") };
    assert_eq!((loss.count, loss.since, loss.until), (Some(0), Timestamp(1), Timestamp(2)));
    assert!(loss.healed.is_some() && loss.message.ends_with("3 processes were unknown"), "{loss:?}");
    let read = pipeline.event(Record { task: task(13, 12), ..file_record(13, 0, "/x.gguf", FileOp::Open) });
    let reader = &read.actor.as_ref().unwrap().process;
    assert_eq!(reader.cmd_line, "python read.py");
    assert_eq!(reader.parent.as_ref().unwrap().cmd_line, "sh -c all");
    assert!(!read.flags.contains(EventFlags::ACTOR_PARTIAL));
    assert_eq!(pipeline.heal(list, &gap(true, false)).len(), 1, "nothing is unknown the second time");
    // Gone with its grace period, without an exit.
    pipeline.table.expire(u64::MAX / 2);
    assert!(pipeline.table.get(key_of(&task(14, 10))).is_none() && pipeline.table.get(key_of(&task(13, 12))).is_some());
}

#[test]
fn what_began_as_the_list_was_made_is_told_by_its_own_records() {
    let mut pipeline = pipeline("");
    let fresh = Record { time_boot_ns: 200, ..listed(15, 1, b"new\0") };
    let kernel_thread = Record { body: Body::Exec(Box::default()), ..listed(16, 1, b"") };
    let zombie = Record { task: Task { parent_pid: 99, ..task(17, 1) }, ..kernel_thread.clone() };
    let kernel_thread = Record { task: Task { parent_pid: 2, ..task(16, 1) }, ..kernel_thread };
    let events = pipeline.heal(vec![fresh, kernel_thread, zombie], &gap(true, true));
    assert_eq!(events.iter().filter(|event| matches!(event.activity, Activity::Process(_))).count(), 1, "the kernel thread alone: {events:?}");
    assert_eq!(events.iter().filter(|event| matches!(&event.activity, Activity::Loss(loss) if loss.healed.is_some())).count(), 2, "one a class");
}
