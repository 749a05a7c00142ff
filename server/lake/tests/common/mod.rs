//! A fleet that never was: events made from numbers alone, the same in every run.
#![allow(dead_code, unused_imports, reason = "each test uses its part")]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "support of tests"
)]

use std::{net::IpAddr, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use picket_event::{
    Access, Activity, Actor, Container, Device, DeviceUid, Direction, Endpoint, Event, EventFlags, File, FileActivityKind, FileSystemActivity, Job, LaunchType,
    NetworkActivity, NetworkActivityKind, ParentProcess, Process, ProcessActivity, ProcessActivityKind, ProcessMethod, ProcessRole, ProcessUid, Severity,
    Sha256, SpoolUid, StoredEvent, Timestamp, Transport, User,
};
use picket_lake::{Appended, Batch, Lake, LakeConfig, LakeError, QueryLimits, Retention};
use uuid::Uuid;

/// 2026-11-21T00:00:00Z in nanoseconds.
pub(crate) const EPOCH: i64 = 20_778 * 86_400 * 1_000_000_000;
pub(crate) const DAY_NANOS: i64 = 86_400 * 1_000_000_000;

/// SplitMix64: a number from a number.
pub(crate) fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Small numbers are much more likely than large ones.
fn heavy_tail(seed: u64, below: u64) -> u64 {
    let unit = (mix(seed) >> 11) as f64 / (1_u64 << 53) as f64;
    ((below as f64).powf(unit) as u64).saturating_sub(1).min(below - 1)
}

const PROGRAMS: [(&str, &str, ProcessRole); 12] = [
    ("python3", "/usr/bin/python3.11", ProcessRole::Trainer),
    ("torchrun", "/opt/conda/bin/torchrun", ProcessRole::Trainer),
    ("bash", "/usr/bin/bash", ProcessRole::Shell),
    ("vllm", "/opt/conda/bin/vllm", ProcessRole::Server),
    ("jupyter-lab", "/opt/conda/bin/jupyter-lab", ProcessRole::Notebook),
    ("slurmstepd", "/usr/sbin/slurmstepd", ProcessRole::Orchestrator),
    ("pip", "/usr/bin/pip", ProcessRole::Installer),
    ("rsync", "/usr/bin/rsync", ProcessRole::Deployer),
    ("curl", "/usr/bin/curl", ProcessRole::Other),
    ("sshd", "/usr/sbin/sshd", ProcessRole::Other),
    ("nvidia-smi", "/usr/bin/nvidia-smi", ProcessRole::Other),
    ("gzip", "/usr/bin/gzip", ProcessRole::Other),
];

pub(crate) fn device(number: u64) -> Arc<Device> {
    Arc::new(Device { uid: DeviceUid(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 + u128::from(number))), hostname: format!("gpu-{number:04}") })
}

pub(crate) fn spool(number: u64) -> SpoolUid {
    SpoolUid(Uuid::from_u128(0x0190_0000_0000_7000_9000_0000_0000_0000 + u128::from(number)))
}

fn process(device: u64, slot: u64, now: i64) -> Process {
    let (name, path, role) = PROGRAMS[(heavy_tail(device * 31 + slot, PROGRAMS.len() as u64)) as usize];
    let pid = 1_000 + (slot * 7) as u32;
    let parent_pid = 900 + (slot % 20) as u32;
    let in_container = slot.is_multiple_of(3);
    Process {
        uid: ProcessUid::new(&format!("{:08x}", mix(device) as u32), 0xefff_fffc, pid, 10_000_000_000 + slot * 1_000_003),
        pid,
        tid: pid,
        name: name.into(),
        path: path.into(),
        exe_inode: 1_000 + mix(slot) % 10_000,
        exe_device: 8 << 20,
        cmd_line: format!("{path} --config /etc/job-{}.yaml --rank {} --seed {}", slot % 17, slot % 8, mix(device ^ slot) % 1_000),
        working_directory: format!("/home/user{}/work", slot % 9),
        user: User {
            uid: 1_000 + (slot % 9) as u32,
            euid: 1_000 + (slot % 9) as u32,
            gid: 1_000,
            auid: 1_000 + (slot % 9) as u32,
            name: format!("user{}", slot % 9),
        },
        created_time: Timestamp(now - now % 3_600_000_000_000),
        exec_tree: ProcessUid::new(&format!("{:08x}", mix(device) as u32), 0xefff_fffc, parent_pid, 5_000_000_000),
        role,
        container: in_container.then(|| Container {
            uid: format!("{:016x}{:016x}{:016x}{:016x}", mix(slot), mix(slot + 1), mix(slot + 2), mix(device)),
            name: format!("trainer-{}", slot % 5),
            image: "registry.example/train:2026.11".into(),
            runtime: "containerd".into(),
            pod_uid: String::new(),
            pod_name: String::new(),
            pod_namespace: String::new(),
        }),
        job: in_container.then(|| Job { scheduler: "slurm".into(), uid: format!("{}", 40_000 + slot % 50), step: "0".into(), rank: Some((slot % 8) as u32) }),
        parent: Some(ParentProcess {
            uid: ProcessUid::new(&format!("{:08x}", mix(device) as u32), 0xefff_fffc, parent_pid, 5_000_000_000),
            pid: parent_pid,
            name: "bash".into(),
            path: "/usr/bin/bash".into(),
            cmd_line: "bash /opt/run.sh".into(),
        }),
        ..Process::default()
    }
}

fn digest(content: u64) -> Sha256 {
    let mut bytes = [0; 32];
    for (word, part) in (0..).zip(bytes.as_chunks_mut::<8>().0) {
        *part = mix(content ^ mix(word)).to_be_bytes();
    }
    Sha256(bytes)
}

/// Event `seq` of device `number` at a time.
pub(crate) fn event(number: u64, seq: u64, time: i64) -> Event {
    let roll = mix(number.wrapping_mul(1_000_003).wrapping_add(seq));
    let actor = process(number, heavy_tail(roll, 400), time);
    let activity = match roll % 20 {
        0..=11 => {
            let kind = [
                FileActivityKind::Open,
                FileActivityKind::Open,
                FileActivityKind::Open,
                FileActivityKind::Update,
                FileActivityKind::Create,
                FileActivityKind::Delete,
            ][(roll >> 8) as usize % 6];
            let (set, shard) = (heavy_tail(roll >> 5, 40), heavy_tail(roll >> 3, 20_000));
            Activity::File(FileSystemActivity::new(
                kind,
                Access::READ,
                File {
                    path: format!("/data/set-{set}/shard-{shard:05}.safetensors"),
                    inode: mix(roll >> 9) % 5_000_000,
                    device: 259 << 20,
                    size_bytes: Some(mix(roll >> 7) % 5_000_000_000),
                    mode: 0o100_644,
                    owner_uid: 1_000,
                    asset_class: "dataset".into(),
                    // Scanned when it was written.
                    sha256: (kind == FileActivityKind::Update).then(|| digest(set << 32 | shard)),
                },
            ))
        }
        12..=15 => {
            let child = Process {
                parent: Some(ParentProcess {
                    uid: actor.uid.clone(),
                    pid: actor.pid,
                    name: actor.name.clone(),
                    path: actor.path.clone(),
                    cmd_line: actor.cmd_line.clone(),
                }),
                ..process(number, 400 + roll % 4_000, time)
            };
            let kind = if roll & 256 == 0 {
                ProcessActivityKind::Launch(LaunchType::Exec)
            } else {
                ProcessActivityKind::Terminate { exit_code: (roll >> 10) as i32 & 1, signal: 0 }
            };
            Activity::Process(ProcessActivity { kind, process: child, method: ProcessMethod::None })
        }
        _ => Activity::Network(NetworkActivity {
            kind: if roll & 512 == 0 { NetworkActivityKind::Open } else { NetworkActivityKind::Close },
            direction: Direction::Outbound,
            transport: Transport::Tcp,
            src: Endpoint { ip: IpAddr::from([10, 1, (number >> 8) as u8, number as u8]), port: 32_768 + (roll >> 12) as u16 % 28_000 },
            dst: Endpoint {
                ip: IpAddr::from([10, 2, (heavy_tail(roll >> 4, 4_000) >> 8) as u8, heavy_tail(roll >> 4, 4_000) as u8]),
                port: [443, 22, 6_000, 8_080][(roll >> 20) as usize % 4],
            },
            bytes_out: mix(roll) % 1_000_000_000,
            bytes_in: mix(roll + 1) % 1_000_000,
            flow_uid: mix(roll + 2),
            duration_ns: mix(roll + 3) % 60_000_000_000,
            app: None,
        }),
    };
    Event { time: Timestamp(time), severity: Severity::Informational, flags: EventFlags::default(), actor: Some(Actor { process: actor }), activity }
}

/// `count` events of a device from `first_seq` on, one a millisecond.
pub(crate) fn events(number: u64, first_seq: u64, count: u64) -> Vec<Event> {
    (first_seq..first_seq + count).map(|seq| event(number, seq, EPOCH + seq as i64 * 1_000_000)).collect()
}

pub(crate) fn batch_of(number: u64, first_seq: u64, received: Timestamp, events: Vec<Event>) -> Batch {
    let frame = Bytes::from(picket_proto::frame::encode(&events).unwrap());
    Batch { device: device(number), spool: spool(number), first_seq, received, frame, events }
}

pub(crate) fn batch(number: u64, first_seq: u64, count: u64) -> Batch {
    batch_of(number, first_seq, Timestamp(EPOCH + 1_000_000_000), events(number, first_seq, count))
}

/// A lake that flushes only when asked.
pub(crate) fn config(dir: &Path) -> LakeConfig {
    LakeConfig { flush_interval: Duration::from_secs(3_600), compaction: false, disk_free_bytes_min: 0, ..LakeConfig::new(dir, "server-1") }
}

/// One number of a SQL answer.
pub(crate) async fn number(lake: &Lake, sql: &str) -> i64 {
    let rows = table(lake, sql).await.unwrap();
    rows[0][0].as_i64().unwrap()
}

/// All rows of a SQL answer.
pub(crate) async fn table(lake: &Lake, sql: &str) -> Result<Vec<Vec<serde_json::Value>>, LakeError> {
    use futures::StreamExt;
    let mut result = lake.sql(picket_lake::SqlQuery { sql: sql.into(), row_limit: 100_000, timeout: Duration::from_secs(60) }).await?;
    let mut rows = Vec::new();
    while let Some(chunk) = result.rows.next().await {
        rows.extend(chunk?);
    }
    Ok(rows)
}
