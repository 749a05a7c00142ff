//! What the sensor adds to calls that are none of its business: paired rounds, attached and not, on one CPU, in CPU time of the thread.
//! `cargo run --example cost [rounds]` as root; the figure that is published is taken by `make bench ONLY=open_close_added`.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use nix::sched::{CpuSet, sched_setaffinity};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;
use picket_ebpf::{Sensor, SensorConfig, WatchSpec};

const BATCHES: usize = 60;
const CALLS: usize = 500;

type Work<'a> = (&'static str, Box<dyn Fn() + 'a>);

fn main() {
    let rounds = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(15);
    let folder = tempfile::tempdir().expect("temporary folder");
    let watched = folder.path().join("watched");
    std::fs::create_dir(&watched).expect("folder");
    let plain = folder.path().join("notes.txt");
    std::fs::write(&plain, vec![7; 1 << 16]).expect("file");
    std::fs::hard_link(&plain, folder.path().join("again.txt")).expect("link");
    let single = folder.path().join("single.txt");
    std::fs::write(&single, b"7").expect("file");
    let held = File::open(&plain).expect("opens");
    let works: [Work<'_>; 6] = [
        ("open+close", Box::new(|| keep(File::open(&single)))),
        ("open+close of a file of two names", Box::new(|| keep(File::open(&plain)))),
        ("open+close on /proc", Box::new(|| keep(File::open("/proc/self/stat")))),
        ("getppid", Box::new(|| keep(nix::unistd::getppid()))),
        ("pread of one byte", Box::new(|| keep(held.read_at(&mut [0], 0)))),
        ("read at the end of a file", Box::new(|| keep((&held).read(&mut [0; 64])))),
    ];
    pin();
    let mut added: Vec<Vec<f64>> = vec![Vec::new(); works.len()];
    let mut bare: Vec<Vec<f64>> = vec![Vec::new(); works.len()];
    for _ in 0..rounds {
        let before: Vec<f64> = works.iter().map(|(_, work)| quartile(work)).collect();
        let sensor = attached(&watched);
        for ((added, bare), ((_, work), before)) in added.iter_mut().zip(&mut bare).zip(works.iter().zip(before)) {
            added.push(quartile(work) - before);
            bare.push(before);
        }
        drop(sensor);
    }
    for ((name, _), (added, bare)) in works.iter().zip(added.iter_mut().zip(&mut bare)) {
        println!("{name}: +{:.0} ns of {:.0} ({:.0} … {:.0})", at(added, 2), at(bare, 2), at(added, 1), at(added, 3));
    }
}

/// The result of a measured call is of no interest, but has to be made.
fn keep<T>(result: T) {
    std::hint::black_box(result);
}

fn attached(watched: &Path) -> Sensor {
    let mut sensor = Sensor::load(&SensorConfig { own_pids: Vec::new(), ..SensorConfig::default() }).expect("sensor");
    let states = sensor.set_watches(&[WatchSpec { id: 1, path: watched.to_path_buf() }]);
    assert!(states.iter().all(|state| state.active), "{states:?}");
    sensor
}

fn quartile(work: &dyn Fn()) -> f64 {
    let mut batches: Vec<f64> = (0..BATCHES)
        .map(|_| {
            let begin = thread_ns();
            for _ in 0..CALLS {
                work();
            }
            (thread_ns() - begin) / CALLS as f64
        })
        .collect();
    at(&mut batches, 1)
}

/// The value below which this many quarters of all lie.
fn at(values: &mut [f64], quarters: usize) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() * quarters / 4).copied().unwrap_or_default()
}

fn thread_ns() -> f64 {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("clock");
    time.tv_sec() as f64 * 1e9 + time.tv_nsec() as f64
}

fn pin() {
    let mut one = CpuSet::new();
    one.set(0).expect("a CPU");
    sched_setaffinity(Pid::from_raw(0), &one).expect("pins");
}
