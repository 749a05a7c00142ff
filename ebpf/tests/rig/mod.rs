//! What every probe test stands on: one sensor a test binary, used by one test at a time, and waits that end.

// Each test binary uses a part of it.
#![allow(dead_code, reason = "shared between test binaries that each use a part")]

use std::path::Path;
use std::sync::{Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant};

use picket_ebpf::record::{Body, Exec, File, FileOp, Flow, FlowOp, Record};
use picket_ebpf::{Sensor, SensorConfig, WatchSpec};

/// Longer than any record takes on a loaded machine; reached only by a failing test.
const PATIENCE: Duration = Duration::from_secs(10);

/// [`PATIENCE`], or what an emulated machine needs.
fn patience() -> Duration {
    std::env::var("PICKET_TEST_PATIENCE_SECONDS").ok().and_then(|text| text.parse().ok()).map_or(PATIENCE, Duration::from_secs)
}

pub(crate) struct Rig {
    sensor: MutexGuard<'static, Sensor>,
}

/// The binary's sensor, or a line that says why `test` is skipped.
pub(crate) fn rig(test: &str) -> Option<Rig> {
    rig_with(test, |_| ())
}

/// [`rig`] with another configuration: the same one in every test of a binary.
pub(crate) fn rig_with(test: &str, change: fn(&mut SensorConfig)) -> Option<Rig> {
    static SENSOR: OnceLock<Result<Mutex<Sensor>, String>> = OnceLock::new();
    // Nothing is excluded: most tests act in their own process.
    let mut config = SensorConfig {
        own_pids: Vec::new(),
        environment: vec!["SLURM_JOB_ID".into(), "LD_PRELOAD".into(), "TWENTY_THREE_BYTES_NAME".into()],
        ..SensorConfig::default()
    };
    change(&mut config);
    match SENSOR.get_or_init(|| Sensor::load(&config).map(Mutex::new).map_err(|error| error.to_string())) {
        // A test that failed under the lock leaves a sensor that still works.
        Ok(sensor) => Some(Rig { sensor: sensor.lock().unwrap_or_else(std::sync::PoisonError::into_inner) }),
        Err(reason) => {
            skipped(test, reason);
            None
        }
    }
}

pub(crate) fn skipped(test: &str, reason: &str) {
    eprintln!("SKIPPED {test}: {reason}");
}

impl Rig {
    pub(crate) fn sensor(&mut self) -> &mut Sensor {
        &mut self.sensor
    }

    /// Throws away what is in the ring.
    pub(crate) fn clear(&mut self) {
        while self.sensor.drain(&mut |_| (), 1 << 20).records > 0 {}
    }

    pub(crate) fn watch(&mut self, paths: &[&Path]) {
        let specs: Vec<WatchSpec> = paths.iter().zip(1..).map(|(path, id)| WatchSpec { id, path: path.to_path_buf() }).collect();
        for state in self.sensor.set_watches(&specs) {
            assert!(state.active, "{state:?}");
        }
        self.clear();
    }

    /// Records as they come, until `enough` of them are there; all that came are returned.
    pub(crate) fn until(&mut self, enough: impl Fn(&[Record]) -> bool) -> Vec<Record> {
        let mut records = Vec::new();
        let end = Instant::now() + patience();
        while !enough(&records) {
            assert!(Instant::now() < end, "what was waited for did not come; there were {} records, the last: {:#?}", records.len(), records.last());
            if self.sensor.drain(&mut |record| records.push(record), 1 << 20).records == 0 {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        records
    }

    /// The first record that `pick` takes.
    pub(crate) fn first<T>(&mut self, pick: impl Fn(&Record) -> Option<T>) -> T {
        let records = self.until(|records| records.iter().any(|record| pick(record).is_some()));
        records.iter().find_map(pick).expect("until saw it")
    }

    /// All records up to and including the open of a file named `marker` by this thread, which this opens: what had to come has come.
    pub(crate) fn up_to_marker(&mut self, folder: &Path) -> Vec<Record> {
        let marker = folder.join("marker.safetensors");
        std::fs::write(&marker, b"").expect("marker");
        let is_marker = |record: &Record| file(record).is_some_and(|file| file.op == FileOp::CloseWrite && file.path == path_bytes(&marker));
        self.until(|records| records.iter().any(is_marker))
    }
}

pub(crate) fn path_bytes(path: &Path) -> Vec<u8> {
    path.to_str().expect("test paths are text").as_bytes().to_vec()
}

pub(crate) fn file(record: &Record) -> Option<&File> {
    match &record.body {
        Body::File(file) => Some(file),
        _ => None,
    }
}

pub(crate) fn exec(record: &Record) -> Option<&Exec> {
    match &record.body {
        Body::Exec(exec) => Some(exec),
        _ => None,
    }
}

pub(crate) fn flow(record: &Record) -> Option<&Flow> {
    match &record.body {
        Body::Flow(flow) => Some(flow),
        _ => None,
    }
}

pub(crate) fn is_flow(record: &Record, op: FlowOp) -> bool {
    flow(record).is_some_and(|flow| flow.op == op)
}

/// Files of one operation by this thread.
pub(crate) fn mine(records: &[Record], op: FileOp) -> Vec<(Record, File)> {
    let tid = nix::unistd::gettid().as_raw();
    let tid = u32::try_from(tid).expect("positive");
    records
        .iter()
        .filter(|record| record.task.tid == tid)
        .filter_map(|record| file(record).map(|file| (record.clone(), file.clone())))
        .filter(|(_, file)| file.op == op)
        .collect()
}

/// A field of /proc/PID/stat, counted as in proc(5).
pub(crate) fn stat_field(pid: u32, field: usize) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("process lives");
    let after = stat.rsplit_once(')').expect("name in brackets").1;
    after.split_ascii_whitespace().nth(field - 3).expect("field").parse::<i64>().expect("number").unsigned_abs()
}

/// Kernel time since boot, to bracket records.
pub(crate) fn boot_ns() -> u64 {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME).expect("clock");
    u64::try_from(now.tv_sec()).expect("positive") * 1_000_000_000 + u64::try_from(now.tv_nsec()).expect("positive")
}
