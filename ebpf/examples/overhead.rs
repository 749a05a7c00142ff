//! What the probes add to a call: paired runs, probes loaded against not, medians of the differences.
//! `overhead [ROUNDS] [CASE…]` prints one JSON object a figure. Run it on an idle machine as root.

use std::os::fd::IntoRawFd as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use picket_ebpf::{Sensor, SensorConfig, SensorError, WatchSpec};

struct Case {
    name: &'static str,
    /// What is repeated, and how often in one batch.
    act: Box<dyn Fn()>,
    batch: u32,
}

fn main() -> Result<(), SensorError> {
    let mut arguments = std::env::args().skip(1);
    let rounds: usize = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(15);
    let only: Vec<String> = arguments.collect();
    let folder = std::env::temp_dir().join(format!("picket-overhead-{}", std::process::id()));
    let memory = Path::new("/dev/shm").join(format!("picket-overhead-{}", std::process::id()));
    let cases: Vec<Case> = cases(&folder, &memory).into_iter().filter(|case| only.is_empty() || only.iter().any(|name| name == case.name)).collect();
    let mut differences: Vec<Vec<f64>> = vec![Vec::new(); cases.len()];
    let mut bare: Vec<Vec<f64>> = vec![Vec::new(); cases.len()];
    for _ in 0..rounds {
        let without: Vec<f64> = cases.iter().map(nanoseconds).collect();
        // Not excluded: these calls are to be judged like anybody's.
        let mut sensor = Sensor::load(&SensorConfig { own_pids: Vec::new(), ..SensorConfig::default() })?;
        sensor.set_watches(&[WatchSpec { id: 1, path: folder.join("watched") }]);
        let with: Vec<f64> = cases
            .iter()
            .map(|case| {
                let took = nanoseconds(case);
                while sensor.drain(&mut |_| (), 1 << 20).records > 0 {}
                took
            })
            .collect();
        sensor.detach();
        drop(sensor);
        for ((slot, difference), (before, after)) in bare.iter_mut().zip(&mut differences).zip(without.iter().zip(&with)) {
            slot.push(*before);
            difference.push(after - before);
        }
    }
    for ((case, bare), differences) in cases.iter().zip(&mut bare).zip(&mut differences) {
        let (low, middle, high) = quartiles(differences);
        println!(
            r#"{{"name":"added_ns_{}","value":{middle:.0},"unit":"ns","low":{low:.0},"high":{high:.0},"bare":{:.0},"rounds":{rounds}}}"#,
            case.name,
            quartiles(bare).1
        );
    }
    let _ = std::fs::remove_dir_all(&folder);
    let _ = std::fs::remove_dir_all(&memory);
    Ok(())
}

fn cases(folder: &Path, memory: &Path) -> Vec<Case> {
    let mut deep = folder.to_path_buf();
    deep.extend(["a", "b", "c", "d", "e", "f"]);
    let paths = [deep.join("plain.txt"), memory.join("plain.txt"), folder.join("watched/plain.txt")];
    for path in &paths {
        let _ = path.parent().map(std::fs::create_dir_all);
        let _ = std::fs::write(path, b"");
    }
    let [same, other, watched] = paths;
    let open = |path: PathBuf| Box::new(move || open_close(&path)) as Box<dyn Fn()>;
    vec![
        Case {
            name: "getppid",
            act: Box::new(|| {
                std::hint::black_box(std::os::unix::process::parent_id());
            }),
            batch: 500_000,
        },
        Case { name: "open_close_unwatched_same_file_system", act: open(same), batch: 100_000 },
        Case { name: "open_close_unwatched_other_file_system", act: open(other), batch: 100_000 },
        Case { name: "open_close_watched", act: open(watched), batch: 50_000 },
        Case { name: "udp_send_receive_loopback", act: datagrams(), batch: 50_000 },
        Case { name: "tcp_send_receive_loopback", act: streams(), batch: 50_000 },
        Case { name: "fork_exec", act: Box::new(|| drop(Command::new("/bin/true").status())), batch: 500 },
    ]
}

/// One datagram of a flow that is known: two system calls, one packet out and in.
fn datagrams() -> Box<dyn Fn()> {
    let socket = || std::net::UdpSocket::bind("127.0.0.1:0").ok();
    let (Some(here), Some(there)) = (socket(), socket()) else { return Box::new(|| ()) };
    if there.local_addr().and_then(|to| here.connect(to)).is_err() {
        return Box::new(|| ());
    }
    Box::new(move || {
        let mut bytes = [0; 1200];
        let _ = here.send(&bytes).and_then(|_| there.recv(&mut bytes));
    })
}

/// One segment of a connection: two system calls, one packet out and in, and sometimes an acknowledgement.
fn streams() -> Box<dyn Fn()> {
    use std::io::{Read as _, Write as _};
    let pair = || {
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        let here = std::net::TcpStream::connect(listener.local_addr()?)?;
        here.set_nodelay(true)?;
        Ok::<_, std::io::Error>((here, listener.accept()?.0))
    };
    let Ok((here, there)) = pair() else { return Box::new(|| ()) };
    Box::new(move || {
        let mut bytes = [0; 1200];
        let _ = (&here).write_all(&bytes).and_then(|()| (&there).read_exact(&mut bytes));
    })
}

/// Two system calls and no more: the standard library's own close adds an fcntl where assertions are on.
fn open_close(path: &Path) {
    if let Ok(fd) = nix::fcntl::open(path, nix::fcntl::OFlag::O_RDONLY, nix::sys::stat::Mode::empty()) {
        let _ = nix::unistd::close(fd.into_raw_fd());
    }
}

/// The fastest of many parts of a batch, for each call: what disturbs only ever adds, and a part is shorter than a scheduler's turn.
fn nanoseconds(case: &Case) -> f64 {
    const PARTS: u32 = 250;
    let part = case.batch / PARTS;
    let fastest = (0..PARTS).map(|_| timed(|| (0..part).for_each(|_| (case.act)()))).min().unwrap_or_default();
    fastest.as_secs_f64() * 1e9 / f64::from(part)
}

fn timed(act: impl Fn()) -> Duration {
    let start = Instant::now();
    act();
    start.elapsed()
}

/// Lower quartile, median, upper quartile.
fn quartiles(values: &mut [f64]) -> (f64, f64, f64) {
    values.sort_by(f64::total_cmp);
    let at = |part: usize| values.get(values.len() * part / 4).or(values.last()).copied().unwrap_or(f64::NAN);
    (at(1), at(2), at(3))
}
