//! How fast one core writes and reads frames: `cargo run --release -p picket-proto --example frame_speed`.
//! Prints one JSON object a figure.

use std::{hint::black_box, time::Instant};

use picket_event::{
    Access, Activity, Actor, Event, EventFlags, File, FileActivityKind, FileSystemActivity, Namespaces, ParentProcess, Process, ProcessRole, ProcessUid,
    Severity, Timestamp, User,
};
use picket_proto::frame::{FrameDecoder, FrameEncoder, FrameError};

const BATCH: u32 = 500;
const ROUNDS: u32 = 400;

fn main() -> Result<(), FrameError> {
    let events: Vec<Event> = (0..BATCH).map(event).collect();
    let mut encoder = FrameEncoder::new()?;
    let mut decoder = FrameDecoder::new()?;
    let (mut writing, mut reading, mut plain, mut wire) = (Vec::new(), Vec::new(), 0, 0);
    for _ in 0..ROUNDS {
        let batch = events.clone();
        let start = Instant::now();
        for event in batch {
            encoder.push(event)?;
        }
        plain = encoder.plain_bytes();
        let frame = encoder.finish()?;
        writing.push(start.elapsed().as_secs_f64());
        wire = frame.len();
        let start = Instant::now();
        let read = black_box(decoder.decode(&frame, BATCH)?);
        reading.push(start.elapsed().as_secs_f64());
        drop(read);
    }
    for (name, mut seconds) in [("frame_encode", writing), ("frame_decode", reading)] {
        seconds.sort_by(f64::total_cmp);
        let median = seconds.get(seconds.len() / 2).copied().unwrap_or(f64::NAN);
        println!("{{\"name\":\"{name}\",\"value\":{:.0},\"unit\":\"events/s/core\"}}", f64::from(BATCH) / median);
    }
    println!("{{\"name\":\"frame_bytes\",\"value\":{:.1},\"unit\":\"bytes/event\",\"plain\":{:.1}}}", per_event(wire), per_event(plain));
    Ok(())
}

fn per_event(bytes: usize) -> f64 {
    f64::from(u32::try_from(bytes).unwrap_or(u32::MAX)) / f64::from(BATCH)
}

/// A loader that opens shard after shard, beside some other processes.
fn event(number: u32) -> Event {
    let pid = 4_000 + number % 7;
    let process = Process {
        uid: ProcessUid::new("4f1c2a9b", 0xeffffffc, pid, 812_345_678_901 + u64::from(pid)),
        pid,
        tid: pid + number % 3,
        name: String::from("python3"),
        path: String::from("/usr/bin/python3.11"),
        exe_inode: 1_234_567,
        exe_device: 8 << 20 | 1,
        cmd_line: format!("python3 train.py --rank {} --data /data/shards --epochs 3", number % 7),
        working_directory: String::from("/home/ml/run"),
        user: User { uid: 1000, euid: 1000, gid: 1000, auid: 1000, name: String::from("ml") },
        created_time: Timestamp(1_760_000_000_000_000_000),
        namespaces: Namespaces { mnt: 4_026_531_841, pid: 4_026_531_836, net: 4_026_531_840, user: 4_026_531_837 },
        cgroup: String::from("/system.slice/slurmstepd.scope/job_77/step_0/user/task_0"),
        exec_tree: ProcessUid::new("4f1c2a9b", 0xeffffffc, 3_999, 812_345_000_000),
        role: ProcessRole::Trainer,
        parent: Some(ParentProcess {
            uid: ProcessUid::new("4f1c2a9b", 0xeffffffc, 3_999, 812_345_000_000),
            pid: 3_999,
            name: String::from("torchrun"),
            path: String::from("/usr/bin/python3.11"),
            cmd_line: String::from("torchrun --nproc-per-node 7 train.py"),
        }),
        ..Process::default()
    };
    let file = File {
        path: format!("/data/shards/train-{number:05}.safetensors"),
        inode: 9_000_000 + u64::from(number),
        device: 8 << 20 | 17,
        size_bytes: Some(1 << 30),
        mode: 0o100_644,
        owner_uid: 1000,
        asset_class: String::from("dataset"),
        sha256: None,
    };
    Event {
        time: Timestamp(1_760_000_100_000_000_000 + i64::from(number) * 1_234_567),
        severity: Severity::Informational,
        flags: EventFlags::default(),
        actor: Some(Actor { process }),
        activity: Activity::File(FileSystemActivity::new(FileActivityKind::Open, Access::READ, file)),
    }
}
