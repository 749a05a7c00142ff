//! Events of every kind for property tests, here and in `proto`.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use picket_event::{
    Access, Activity, Actor, AppProtocol, Container, Device, DeviceUid, Direction, Endpoint, Event, EventClass, EventFlags, ExeFlags, File, FileActivityKind,
    FileMethods, FileSystemActivity, Job, LaunchType, LossCause, Namespaces, NetworkActivity, NetworkActivityKind, ParentProcess, Process, ProcessActivity,
    ProcessActivityKind, ProcessMethod, ProcessRole, ProcessUid, SensorLoss, SensorState, SensorStateKind, Severity, Sha256, SpoolUid, StoredEvent, Timestamp,
    Transport, User,
};
use proptest::{collection::vec, option, prelude::*, sample::select};

mod rare;

fn text() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), "[ -~]{1,24}", "\\PC{1,12}"]
}

/// Whole microseconds, as the lake keeps them.
fn time() -> impl Strategy<Value = Timestamp> {
    (0_i64..4_000_000_000_000_000).prop_map(|micros| Timestamp(micros * 1_000))
}

fn uid() -> impl Strategy<Value = ProcessUid> {
    text().prop_map(ProcessUid)
}

fn user() -> impl Strategy<Value = User> {
    (any::<u32>(), any::<u32>(), any::<u32>(), any::<u32>(), text()).prop_map(|(uid, euid, gid, auid, name)| User { uid, euid, gid, auid, name })
}

fn container() -> impl Strategy<Value = Container> {
    (text(), text(), text(), text(), text(), text(), text()).prop_map(|(uid, name, image, runtime, pod_uid, pod_name, pod_namespace)| Container {
        uid,
        name,
        image,
        runtime,
        pod_uid,
        pod_name,
        pod_namespace,
    })
}

fn job() -> impl Strategy<Value = Job> {
    (text(), text(), text(), option::of(any::<u32>())).prop_map(|(scheduler, uid, step, rank)| Job { scheduler, uid, step, rank })
}

fn parent() -> impl Strategy<Value = ParentProcess> {
    (uid(), any::<u32>(), text(), text(), text()).prop_map(|(uid, pid, name, path, cmd_line)| ParentProcess { uid, pid, name, path, cmd_line })
}

/// Any process.
pub(crate) fn process() -> impl Strategy<Value = Process> {
    let identity = (uid(), any::<u32>(), any::<u32>(), text(), text(), any::<u64>(), any::<u32>(), text(), text());
    let rights = (user(), any::<i64>(), any::<u64>(), any::<[u32; 4]>());
    let place = (text(), text(), vec((text(), text()), 0..3), uid(), select(ProcessRole::ALL.as_slice()));
    let kin = (option::of(container()), option::of(job()), option::of(parent()));
    (identity, rights, place, kin, any::<u8>()).prop_map(|(identity, rights, place, kin, exe_flags)| Process {
        exe_flags: ExeFlags(exe_flags),
        uid: identity.0,
        pid: identity.1,
        tid: identity.2,
        name: identity.3,
        path: identity.4,
        exe_inode: identity.5,
        exe_device: identity.6,
        cmd_line: identity.7,
        working_directory: identity.8,
        user: rights.0,
        created_time: Timestamp(rights.1),
        capabilities: rights.2,
        namespaces: Namespaces::from(rights.3),
        cgroup: place.0,
        tty: place.1,
        environment: place.2,
        exec_tree: place.3,
        role: place.4,
        container: kin.0,
        job: kin.1,
        parent: kin.2,
    })
}

pub(crate) fn file() -> impl Strategy<Value = File> {
    let digest = option::of(any::<[u8; 32]>().prop_map(Sha256));
    (text(), any::<u64>(), any::<u32>(), option::of(any::<u64>()), any::<u16>(), any::<u32>(), text(), digest).prop_map(
        |(path, inode, device, size_bytes, mode, owner_uid, asset_class, sha256)| File {
            path,
            inode,
            device,
            size_bytes,
            mode,
            owner_uid,
            asset_class,
            sha256,
        },
    )
}

fn endpoint() -> impl Strategy<Value = Endpoint> {
    let ip = prop_oneof![
        any::<[u8; 4]>().prop_map(|octets| IpAddr::V4(Ipv4Addr::from(octets))),
        any::<[u8; 16]>().prop_map(|octets| IpAddr::V6(Ipv6Addr::from(octets)))
    ]
    .prop_map(|ip| ip.to_canonical());
    (ip, any::<u16>()).prop_map(|(ip, port)| Endpoint { ip, port })
}

fn process_activity() -> impl Strategy<Value = Activity> {
    let kind = prop_oneof![
        Just(ProcessActivityKind::Launch(LaunchType::Fork)),
        Just(ProcessActivityKind::Launch(LaunchType::Exec)),
        (any::<i32>(), any::<i32>()).prop_map(|(exit_code, signal)| ProcessActivityKind::Terminate { exit_code, signal }),
        Just(ProcessActivityKind::Open),
        Just(ProcessActivityKind::Inject),
        Just(ProcessActivityKind::SetUserId),
    ];
    (kind, process(), select(ProcessMethod::ALL)).prop_map(|(kind, process, method)| Activity::Process(ProcessActivity { kind, process, method }))
}

fn file_activity() -> impl Strategy<Value = Activity> {
    let counts = (option::of(any::<u64>()), option::of(any::<u64>()), any::<u32>(), any::<bool>(), text());
    (select(FileActivityKind::ALL), any::<u8>(), file(), option::of(file()), counts).prop_map(|(kind, access, file, file_result, counts)| {
        let (bytes_read, bytes_written, methods, until_end, detail) = counts;
        let (access, methods) = (Access(access), FileMethods(methods));
        Activity::File(FileSystemActivity { kind, access, file, file_result, bytes_read, bytes_written, methods, until_end, detail })
    })
}

fn network_activity() -> impl Strategy<Value = Activity> {
    let kinds = [
        NetworkActivityKind::Open,
        NetworkActivityKind::Close,
        NetworkActivityKind::Fail,
        NetworkActivityKind::Refuse,
        NetworkActivityKind::Traffic,
        NetworkActivityKind::Listen,
    ];
    let directions = [Direction::Unknown, Direction::Inbound, Direction::Outbound];
    let what = (select(kinds.to_vec()), select(directions.to_vec()), select(vec![Transport::Tcp, Transport::Udp]));
    let app = option::of(Just(AppProtocol::Quic));
    (what, endpoint(), endpoint(), any::<[u64; 4]>(), app).prop_map(|((kind, direction, transport), src, dst, numbers, app)| {
        let [bytes_out, bytes_in, flow_uid, duration_ns] = numbers;
        Activity::Network(NetworkActivity { kind, direction, transport, src, dst, bytes_out, bytes_in, flow_uid, duration_ns, app })
    })
}

fn loss() -> impl Strategy<Value = Activity> {
    (
        select(LossCause::ALL.as_slice()),
        option::of(select(EventClass::ALL.as_slice())),
        option::of(any::<u64>()),
        option::of(any::<u32>()),
        time(),
        time(),
        text(),
    )
        .prop_map(|(cause, class, count, cpu, since, until, message)| {
            Activity::Loss(SensorLoss { cause, class, count, cpu, since, until, healed: cpu.map(|_| until), message })
        })
}

fn sensor() -> impl Strategy<Value = Activity> {
    let kinds = [SensorStateKind::Started, SensorStateKind::Stopped, SensorStateKind::Capabilities];
    let report = prop_oneof![
        Just(serde_json::Value::Null),
        (text(), any::<i64>()).prop_map(|(name, value)| serde_json::json!({ "probes": [{ "name": name, "attached": true }], "ring_bytes": value })),
    ];
    (select(kinds.to_vec()), report).prop_map(|(kind, report)| Activity::Sensor(SensorState { kind, report }))
}

/// Any event; an exec or exit often has the process itself as its actor, a fork the parent.
pub(crate) fn event() -> impl Strategy<Value = Event> {
    let severities = [Severity::Informational, Severity::Low, Severity::Medium, Severity::High, Severity::Critical, Severity::Fatal];
    let activity = prop_oneof![
        process_activity().boxed(),
        file_activity().boxed(),
        network_activity().boxed(),
        loss().boxed(),
        sensor().boxed(),
        rare::activity().boxed()
    ];
    (time(), select(severities.to_vec()), any::<u32>(), option::of(process()), activity, 0_u8..3).prop_map(|(time, severity, flags, actor, activity, kin)| {
        let mut event = Event { time, severity, flags: EventFlags(flags), actor: actor.map(|process| Actor { process }), activity };
        if let (Activity::Process(activity), Some(actor)) = (&mut event.activity, &event.actor) {
            match kin {
                0 => activity.process = actor.process.clone(),
                1 => activity.process.parent = Some(ParentProcess::from(&actor.process)),
                _ => {}
            }
        }
        event
    })
}

/// Any event as the server keeps it.
#[allow(dead_code, reason = "only one of the users needs it")]
pub(crate) fn stored() -> impl Strategy<Value = StoredEvent> {
    (any::<u128>(), text(), any::<u128>(), any::<u64>(), time(), event()).prop_map(|(device, hostname, spool, seq, received, event)| StoredEvent {
        device: Arc::new(Device { uid: DeviceUid(uuid::Uuid::from_u128(device)), hostname }),
        spool: SpoolUid(uuid::Uuid::from_u128(spool)),
        seq,
        received,
        event,
    })
}
