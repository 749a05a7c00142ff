//! What the sensor adds to an open and to a fork with exec, probes attached against not, beside auditd and bpftrace in the same rounds.

use std::{
    fs::File,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result};
use nix::{
    sched::{CpuSet, sched_setaffinity},
    sys::resource::{UsageWho, getrusage},
    time::{ClockId, clock_gettime},
    unistd::Pid,
};

use crate::{
    figure::Figure,
    peers::{Rules, Watcher, Watching, available},
    stats::{median, percentile, range},
};

/// Short batches, of which the lower quartile counts: what else runs on the machine disturbs single batches, never makes one cheaper.
const OPEN_BATCHES: usize = 200;
const OPENS: usize = 1_000;
const SPAWN_BATCHES: usize = 40;
const SPAWNS: usize = 10;

/// open+close of a file that nobody watches.
pub(crate) fn open_close(rounds: usize) -> Result<Vec<Figure>> {
    let folder = tempfile::tempdir()?;
    let watched = folder.path().join("watched");
    std::fs::create_dir(&watched)?;
    let plain = folder.path().join("notes.txt");
    std::fs::write(&plain, "nothing of interest")?;
    let rules = Rules {
        audit: vec![words(&format!("-a always,exit -F arch=b64 -S open,openat,openat2 -F dir={} -k picket", watched.display()))],
        bpftrace: format!(
            "tracepoint:syscalls:sys_enter_openat /strncmp(str(args->filename), \"{0}\", {1}) == 0/ {{ printf(\"%d %s\\n\", pid, str(args->filename)); }}",
            "/srv/models/", 12
        ),
    };
    let conditions = format!(
        "{rounds} alternating rounds of {OPEN_BATCHES} batches of {OPENS} open+close of one unwatched file, CPU time of the calling thread, pinned to one CPU, lower quartile of the batches"
    );
    compare("open_close", "ns", rounds, &rules, &conditions, || opens(&plain))
}

/// fork+exec+wait of `/bin/true`.
pub(crate) fn fork_exec(rounds: usize) -> Result<Vec<Figure>> {
    let rules = Rules {
        audit: vec![words("-a always,exit -F arch=b64 -S execve,execveat,clone,clone3,fork,vfork,exit_group -k picket")],
        bpftrace: "tracepoint:syscalls:sys_enter_execve { join(args->argv); } tracepoint:sched:sched_process_fork { printf(\"%d\\n\", args->child_pid); } \
                   tracepoint:sched:sched_process_exit { printf(\"%d\\n\", pid); }"
            .to_owned(),
    };
    let conditions = format!(
        "{rounds} alternating rounds of {SPAWN_BATCHES} batches of {SPAWNS} spawns of /bin/true with wait, events delivered, CPU time of parent and child, lower quartile of the batches"
    );
    compare("fork_exec", "us", rounds, &rules, &conditions, spawns)
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn compare(name: &str, unit: &str, rounds: usize, rules: &Rules, conditions: &str, measure: impl Fn() -> Result<f64>) -> Result<Vec<Figure>> {
    let watchers = available();
    let mut costs: Vec<Vec<f64>> = vec![Vec::new(); watchers.len()];
    // One round for the caches, not counted.
    pinned(&measure)?;
    for round in 0..rounds {
        for (watcher, costs) in watchers.iter().zip(&mut costs) {
            let watching = Watching::start(*watcher, rules).with_context(|| format!("start {}", watcher.name()))?;
            let cost = pinned(&measure)?;
            drop(watching);
            eprintln!("    round {round}: {} {cost:.1} {unit}", watcher.name());
            costs.push(cost);
        }
    }
    let bare = costs.first().context("bare rounds")?.clone();
    let base = median(&bare);
    let mut figures = vec![];
    for (watcher, costs) in watchers.iter().zip(&costs) {
        let (low, high) = range(costs);
        figures.push(match watcher {
            Watcher::Bare => Figure::new(&format!("{name}.bare"), base, unit).spread(low, high).conditions(conditions),
            _ => {
                let added: Vec<f64> = costs.iter().zip(&bare).map(|(with, without)| with - without).collect();
                let (low, high) = range(&added);
                let suffix = if *watcher == Watcher::Picket { String::new() } else { format!(".{}", watcher.name()) };
                Figure::new(&format!("{name}_added{suffix}"), median(&added), unit)
                    .compared(&format!("bare {name}"), base)
                    .spread(low, high)
                    .conditions(conditions)
            }
        });
    }
    Ok(figures)
}

/// Runs `work` on one CPU and gives the CPUs back. Watchers are started outside: children would inherit the one CPU.
fn pinned<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    let me = Pid::from_raw(0);
    let all = nix::sched::sched_getaffinity(me)?;
    let mut one = CpuSet::new();
    let last = (0..CpuSet::count()).rev().find(|cpu| all.is_set(*cpu).unwrap_or(false)).unwrap_or_default();
    one.set(last)?;
    sched_setaffinity(me, &one)?;
    let result = work();
    sched_setaffinity(me, &all)?;
    result
}

fn opens(path: &Path) -> Result<f64> {
    let mut batches = Vec::with_capacity(OPEN_BATCHES);
    for _ in 0..OPEN_BATCHES {
        let begin = thread_time_ns()?;
        for _ in 0..OPENS {
            drop(File::open(path)?);
        }
        batches.push((thread_time_ns()? - begin) / OPENS as f64);
    }
    Ok(percentile(&batches, 25.0))
}

fn spawns() -> Result<f64> {
    let mut batches = Vec::with_capacity(SPAWN_BATCHES);
    for _ in 0..SPAWN_BATCHES {
        let begin = spawning_time_us()?;
        for _ in 0..SPAWNS {
            Command::new("/bin/true").stdin(Stdio::null()).stdout(Stdio::null()).status().context("spawn /bin/true")?;
        }
        batches.push((spawning_time_us()? - begin) / SPAWNS as f64);
    }
    Ok(percentile(&batches, 25.0))
}

/// CPU time of this thread and of the children that it waited for.
fn spawning_time_us() -> Result<f64> {
    let mut sum = 0.0;
    for who in [UsageWho::RUSAGE_THREAD, UsageWho::RUSAGE_CHILDREN] {
        let usage = getrusage(who)?;
        for time in [usage.user_time(), usage.system_time()] {
            sum += time.tv_sec() as f64 * 1e6 + time.tv_usec() as f64;
        }
    }
    Ok(sum)
}

fn thread_time_ns() -> Result<f64> {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?;
    Ok(time.tv_sec() as f64 * 1e9 + time.tv_nsec() as f64)
}
