//! What the agent costs work like that of a training host: the same loads with nobody watching, with the agent and with auditd under comparable
//! rules, in turn within each round. The ratio to the bare run of the same round is the figure; every single time is kept as a line of JSON.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context, Result, ensure};
use nix::sys::resource::{UsageWho, getrusage};
use serde_json::json;

use crate::{
    figure::Figure,
    peers::{Rules, Watcher, Watching, available},
    stats::{median, range},
};

const SMALL_FILES: usize = 2_000;
const SMALL_EPOCHS: usize = 8;
const SHARDS: usize = 6;
const SHARD_BYTES: usize = 48 << 20;
const CHECKPOINT_BYTES: usize = 192 << 20;
const CHECKPOINTS: usize = 3;
const WHEEL_MODULES: usize = 400;
const SOURCES: usize = 40;
const ROUND_TRIPS: usize = 60_000;

/// A load and the program that is it: each runs as a process of its own, so that its CPU time is told apart.
struct Load {
    name: &'static str,
    /// What it does, for the note beside the figure.
    about: String,
    command: fn(&Path) -> Command,
}

fn python(script: &str, arguments: &[&Path]) -> Command {
    let mut command = Command::new("python3");
    command.args(["-c", script]).args(arguments);
    command
}

/// A data loader: every small file read once an epoch, in an order of its own.
const READ_SMALL: &str = "import os, random, sys
names = sorted(os.listdir(sys.argv[1]))
order = random.Random(7)
for _ in range(int(sys.argv[2])):
    order.shuffle(names)
    for name in names:
        with open(os.path.join(sys.argv[1], name), 'rb') as file:
            file.read()";

/// Loading weights: each shard is mapped and every page touched.
const MAP_SHARDS: &str = "import mmap, os, sys
for _ in range(6):
    for name in sorted(os.listdir(sys.argv[1])):
        with open(os.path.join(sys.argv[1], name), 'rb') as file:
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as map:
                sum(map[::4096])";

/// Checkpoints: written in megabytes under another name, moved into place, the older one removed.
const WRITE_CHECKPOINTS: &str = "import os, sys
block = os.urandom(1 << 20)
for step in range(int(sys.argv[3])):
    path = os.path.join(sys.argv[1], 'step-%d.pt' % step)
    with open(path + '.tmp', 'wb') as file:
        for _ in range(int(sys.argv[2]) >> 20):
            file.write(block)
    os.rename(path + '.tmp', path)
    if step:
        os.remove(os.path.join(sys.argv[1], 'step-%d.pt' % (step - 1)))
os.remove(path)";

/// Two processes that ask and answer over loopback, one short message after the other, as a client of a key-value store does.
const ASK_AND_ANSWER: &str = "import os, socket, sys
listener = socket.socket()
listener.bind(('127.0.0.1', 0))
listener.listen()
if os.fork() == 0:
    peer, _ = listener.accept()
    while True:
        message = peer.recv(64)
        if not message:
            os._exit(0)
        peer.send(message)
client = socket.create_connection(listener.getsockname())
client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
for _ in range(int(sys.argv[1])):
    client.send(b'*2 $3 GET $5 key:1')
    client.recv(64)
client.close()
os.wait()";

/// A wheel of many modules, made on the spot.
const MAKE_WHEEL: &str = "import sys, zipfile
with zipfile.ZipFile(sys.argv[1], 'w') as wheel:
    names = ['loadpkg/m%d.py' % n for n in range(int(sys.argv[2]))] + ['loadpkg/__init__.py']
    for name in names:
        wheel.writestr(name, 'def f():\\n    return 1\\n' * 40)
    info = 'loadpkg-1.0.dist-info/'
    wheel.writestr(info + 'METADATA', 'Metadata-Version: 2.1\\nName: loadpkg\\nVersion: 1.0\\n')
    wheel.writestr(info + 'WHEEL', 'Wheel-Version: 1.0\\nGenerator: bench\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n')
    record = ''.join(name + ',,\\n' for name in names + [info + 'METADATA', info + 'WHEEL', info + 'RECORD'])
    wheel.writestr(info + 'RECORD', record)";

fn loads() -> Vec<Load> {
    vec![
        Load {
            name: "small_files",
            about: format!("{SMALL_FILES} files of 8 KiB read {SMALL_EPOCHS} times"),
            command: |folder| python(READ_SMALL, &[&folder.join("small"), Path::new(&SMALL_EPOCHS.to_string())]),
        },
        Load {
            name: "safetensors_mmap",
            about: format!("{SHARDS} shards of {} MiB mapped and touched 6 times", SHARD_BYTES >> 20),
            command: |folder| python(MAP_SHARDS, &[&folder.join("shards")]),
        },
        Load {
            name: "checkpoint_write",
            about: format!("{CHECKPOINTS} checkpoints of {} MiB", CHECKPOINT_BYTES >> 20),
            command: |folder| {
                python(WRITE_CHECKPOINTS, &[&folder.join("checkpoints"), Path::new(&CHECKPOINT_BYTES.to_string()), Path::new(&CHECKPOINTS.to_string())])
            },
        },
        Load {
            name: "pip_install",
            about: format!("pip install of a local wheel of {WHEEL_MODULES} modules"),
            command: |folder| {
                let mut command = Command::new("python3");
                command.args([
                    "-m",
                    "pip",
                    "install",
                    "--quiet",
                    "--no-index",
                    "--no-deps",
                    "--upgrade",
                    "--disable-pip-version-check",
                    "--root-user-action=ignore",
                    "--target",
                ]);
                command.arg(folder.join("site")).arg(folder.join("loadpkg-1.0-py3-none-any.whl"));
                command
            },
        },
        Load {
            name: "compile",
            about: format!("{SOURCES} C files compiled one by one and linked"),
            command: |folder| {
                let mut command = Command::new("sh");
                command
                    .args(["-c", "for f in *.c; do cc -O1 -c \"$f\" -o \"${f%.c}.o\" || exit 1; done; cc -shared -o all.so *.o"])
                    .current_dir(folder.join("sources"));
                command
            },
        },
        Load {
            name: "request_answer",
            about: format!("{ROUND_TRIPS} round trips of a short message over loopback"),
            command: |_| python(ASK_AND_ANSWER, &[Path::new(&ROUND_TRIPS.to_string())]),
        },
    ]
}

fn prepare(folder: &Path) -> Result<()> {
    for name in ["small", "shards", "checkpoints", "sources", "site"] {
        std::fs::create_dir(folder.join(name))?;
    }
    for number in 0..SMALL_FILES {
        std::fs::write(folder.join(format!("small/{number:05}.jpg")), vec![7_u8; 8 << 10])?;
    }
    for number in 0..SHARDS {
        std::fs::write(folder.join(format!("shards/model-{number:05}.safetensors")), vec![7_u8; SHARD_BYTES])?;
    }
    for number in 0..SOURCES {
        let source = format!(
            "#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\nint f{number}(const char *s) {{ return printf(\"%s %zu\\n\", s, strlen(s)); }}\n"
        );
        std::fs::write(folder.join(format!("sources/f{number}.c")), source)?;
    }
    let wheel = folder.join("loadpkg-1.0-py3-none-any.whl");
    ensure!(python(MAKE_WHEEL, &[&wheel, Path::new(&WHEEL_MODULES.to_string())]).status()?.success(), "a wheel is made");
    Ok(())
}

/// What auditd would be told to watch on such a host: reads and writes of the model folders, programs, connections.
fn rules(folder: &Path) -> Rules {
    let words = |text: String| text.split_whitespace().map(str::to_owned).collect();
    let mut audit: Vec<Vec<String>> = ["shards", "checkpoints"]
        .iter()
        .map(|name| {
            words(format!(
                "-a always,exit -F arch=b64 -S open,openat,openat2,creat,rename,renameat2,unlink,unlinkat -F dir={} -k picket",
                folder.join(name).display()
            ))
        })
        .collect();
    audit.push(words("-a always,exit -F arch=b64 -S execve,execveat,connect,accept,accept4 -k picket".to_owned()));
    Rules { audit, bpftrace: String::new() }
}

/// Wall and CPU seconds of one run.
#[derive(Clone, Copy, Debug)]
struct Cost {
    wall_s: f64,
    cpu_s: f64,
}

fn children_cpu_s() -> Result<f64> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    Ok([usage.user_time(), usage.system_time()].iter().map(|time| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6).sum())
}

fn run(load: &Load, folder: &Path) -> Result<Cost> {
    let (before, begin) = (children_cpu_s()?, Instant::now());
    let status = (load.command)(folder).stdin(Stdio::null()).stdout(Stdio::null()).status().with_context(|| format!("run {}", load.name))?;
    ensure!(status.success(), "{} ended with {status}", load.name);
    Ok(Cost { wall_s: begin.elapsed().as_secs_f64(), cpu_s: children_cpu_s()? - before })
}

/// `raw` gets a line for every run.
pub(crate) fn measure(rounds: usize, raw: &Path) -> Result<Vec<Figure>> {
    let folder = tempfile::tempdir()?;
    prepare(folder.path())?;
    let rules = rules(folder.path());
    // The agent as it runs by default: its probes measured.
    let watchers: Vec<Watcher> = available().into_iter().filter(|watcher| !matches!(watcher, Watcher::Picket | Watcher::Bpftrace)).collect();
    let mut loads = loads();
    // Once each for the caches; what cannot run here is named and left out.
    loads.retain(|load| run(load, folder.path()).inspect_err(|error| eprintln!("SKIPPED {}: {error:#}", load.name)).is_ok());
    let mut lines = std::fs::File::create(raw).with_context(|| format!("write {}", raw.display()))?;
    let mut costs: Vec<Vec<Vec<Cost>>> = vec![vec![Vec::new(); watchers.len()]; loads.len()];
    for round in 0..rounds {
        // Who begins changes: what a round leaves behind is nobody's advantage.
        for turn in 0..watchers.len() {
            let at = (round + turn) % watchers.len();
            let watcher = *watchers.get(at).context("a watcher")?;
            let watching = Watching::start(watcher, &rules).with_context(|| format!("start {}", watcher.name()))?;
            for (load, costs) in loads.iter().zip(&mut costs) {
                let cost = run(load, folder.path())?;
                writeln!(lines, "{}", json!({ "round": round, "load": load.name, "watcher": watcher.name(), "wall_s": cost.wall_s, "cpu_s": cost.cpu_s }))?;
                costs.get_mut(at).context("a watcher's costs")?.push(cost);
            }
            drop(watching);
            eprintln!("    round {round}: {}", watcher.name());
        }
    }
    let figures = loads.iter().zip(&costs).flat_map(|(load, costs)| figures(load, &watchers, costs, rounds, raw));
    Ok(figures.collect())
}

fn figures(load: &Load, watchers: &[Watcher], costs: &[Vec<Cost>], rounds: usize, raw: &Path) -> Vec<Figure> {
    let Some(bare) = costs.first() else { return Vec::new() };
    let wall = |costs: &[Cost]| costs.iter().map(|cost| cost.wall_s).collect::<Vec<_>>();
    let mut figures = Vec::new();
    for (watcher, costs) in watchers.iter().zip(costs).skip(1) {
        let added = |of: fn(&Cost) -> f64| -> Vec<f64> { costs.iter().zip(bare).map(|(with, without)| (of(with) / of(without) - 1.0) * 100.0).collect() };
        let (time, cpu) = (added(|cost| cost.wall_s), added(|cost| cost.cpu_s));
        let (low, high) = range(&time);
        let note = format!(
            "{}; {:.2} s bare, median of {rounds} rounds against the bare run of the same round; CPU of the load itself {:+.1} %; every run in {}",
            load.about,
            median(&wall(bare)),
            median(&cpu),
            file_name(raw).display()
        );
        let suffix = if *watcher == Watcher::PicketMeasured { String::new() } else { format!(".{}", watcher.name()) };
        figures.push(Figure::new(&format!("overhead_loads.{}{suffix}", load.name), median(&time), "% of time").spread(low, high).conditions(&note));
    }
    figures
}

fn file_name(path: &Path) -> PathBuf {
    path.file_name().map(PathBuf::from).unwrap_or_default()
}
