//! How long judging takes beside other scanners on the same files in the same run: many large archives, one huge file of two kinds,
//! many small pickles.
//!
//! The scanners take turns round by round, a quick one with several runs; a ratio is the median over the rounds of ours to the fastest other
//! one of that round. CPU time is the figure to trust on a machine with other work; seconds are what a user waits.

mod corpora;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;
use picket_tests::binaries::program;

use self::corpora::Corpus;
use crate::figure::Figure;
use crate::stats;

/// A round of four scanners takes a minute.
const ROUNDS_MAX: usize = 3;
/// Of one scanner in one round.
const RUNS_MAX: usize = 15;
/// A scanner that needs longer is named and left out of the other rounds of that corpus; the ratio is to the fastest, which it is not.
const PEER_LIMIT: Duration = Duration::from_secs(60);
/// Between looks at the high-water mark of memory, which only grows: what is missed is what a process takes in its last moment.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// A scanner of others.
struct Peer {
    name: &'static str,
    program: PathBuf,
    arguments: Vec<String>,
}

/// What one run cost.
#[derive(Clone, Copy)]
struct Cost {
    cpu_s: f64,
    wall_s: f64,
    peak_mib: f64,
}

/// One round: ours, and those of the peers that ended in time, by their place in the list of peers.
struct Round {
    ours: Cost,
    peers: Vec<(usize, Cost)>,
}

pub(crate) fn scan_speed(rounds: usize) -> Result<Vec<Figure>> {
    let folder = tempfile::Builder::new().prefix("picket-scan-speed").tempdir()?;
    let picketctl = program("picketctl")?;
    let peers = peers();
    let mut figures = Vec::new();
    for corpus in corpora::write(folder.path())? {
        let taken = take(&corpus, &picketctl, &peers, rounds.min(ROUNDS_MAX))?;
        figures.extend(report(&corpus, &peers, &taken));
    }
    Ok(figures)
}

fn take(corpus: &Corpus, picketctl: &Path, peers: &[Peer], rounds: usize) -> Result<Vec<Round>> {
    let mut slow = vec![false; peers.len()];
    let mut taken = Vec::new();
    for _ in 0..rounds {
        let mut command = Command::new(picketctl);
        command.args(["scan", "--format", "json"]).arg(&corpus.path);
        let ours = typical(&mut command, None)?.context("picketctl did not end")?;
        let mut round = Round { ours, peers: Vec::new() };
        for (at, (peer, slow)) in peers.iter().zip(&mut slow).enumerate() {
            if *slow || !corpus.judged_by.contains(&peer.name) {
                continue;
            }
            let mut command = Command::new(&peer.program);
            // ModelAudit would report its use to a server.
            command.args(&peer.arguments).arg(&corpus.path).env("PROMPTFOO_DISABLE_TELEMETRY", "1");
            match typical(&mut command, Some(PEER_LIMIT))? {
                Some(cost) => round.peers.push((at, cost)),
                None => {
                    *slow = true;
                    eprintln!("SKIPPED {} on {}: not done within {} s", peer.name, corpus.name, PEER_LIMIT.as_secs());
                }
            }
        }
        taken.push(round);
    }
    Ok(taken)
}

fn report(corpus: &Corpus, peers: &[Peer], rounds: &[Round]) -> Vec<Figure> {
    let figure = |what: &str, unit: &str, of: fn(&Cost) -> f64| {
        let ours: Vec<f64> = rounds.iter().map(|round| of(&round.ours)).collect();
        let (low, high) = stats::range(&ours);
        let mut figure = Figure::new(&format!("scan_speed.{}.{what}", corpus.name), stats::median(&ours), unit).spread(low, high).conditions(corpus.what);
        let medians = peers.iter().enumerate().filter_map(|(at, peer)| {
            let theirs: Vec<f64> = rounds.iter().flat_map(|round| &round.peers).filter(|(of, _)| *of == at).map(|(_, cost)| of(cost)).collect();
            (!theirs.is_empty()).then(|| (peer.name, stats::median(&theirs)))
        });
        let mut medians: Vec<(&str, f64)> = medians.collect();
        medians.sort_by(|one, other| one.1.total_cmp(&other.1));
        let ratios: Vec<f64> =
            rounds.iter().filter_map(|round| Some(of(&round.ours) / round.peers.iter().map(|(_, cost)| of(cost)).min_by(f64::total_cmp)?)).collect();
        if !ratios.is_empty() {
            let list: Vec<String> = medians.iter().map(|(name, value)| format!("{name} {}", short(*value))).collect();
            figure = figure.ratio(&format!("the best of {}", list.join(", ")), stats::median(&ratios));
        }
        figure
    };
    let wall: Vec<f64> = rounds.iter().map(|round| round.ours.wall_s).collect();
    let (files, bytes) = (corpus.files as f64 / stats::median(&wall), corpus.bytes as f64 / stats::median(&wall) / 1e9);
    let rate = |what: &str, value, unit| Figure::new(&format!("scan_speed.{}.{what}", corpus.name), value, unit).conditions(corpus.what);
    vec![
        figure("cpu", "CPU-s", |cost| cost.cpu_s),
        figure("wall", "s", |cost| cost.wall_s),
        figure("peak", "MiB", |cost| cost.peak_mib),
        rate("files", files, "files/s"),
        rate("bytes", bytes, "GB/s"),
    ]
}

/// Three digits, for a list.
fn short(value: f64) -> String {
    let digits = if value >= 100.0 {
        0
    } else if value >= 1.0 {
        1
    } else {
        3
    };
    format!("{value:.digits$}")
}

/// The median of as many runs as a second holds, at least one and at most `RUNS_MAX`: one run of a few milliseconds says little.
fn typical(command: &mut Command, limit: Option<Duration>) -> Result<Option<Cost>> {
    let started = Instant::now();
    let mut runs = Vec::new();
    while runs.is_empty() || (runs.len() < RUNS_MAX && started.elapsed() < Duration::from_secs(1)) {
        let Some(cost) = run(command, limit)? else { return Ok(None) };
        runs.push(cost);
    }
    let median = |of: fn(&Cost) -> f64| stats::median(&runs.iter().map(of).collect::<Vec<_>>());
    Ok(Some(Cost { cpu_s: median(|cost| cost.cpu_s), wall_s: median(|cost| cost.wall_s), peak_mib: median(|cost| cost.peak_mib) }))
}

/// Runs to the end or to the limit; nobody reads the output.
fn run(command: &mut Command, limit: Option<Duration>) -> Result<Option<Cost>> {
    let before = children_cpu()?;
    let started = Instant::now();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().with_context(|| format!("cannot run {command:?}"))?;
    let status = PathBuf::from(format!("/proc/{}/status", child.id()));
    let mut peak_kib = 0_u64;
    loop {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let mark = text.lines().find_map(|line| line.strip_prefix("VmHWM:")?.split_whitespace().next()?.parse().ok());
        peak_kib = peak_kib.max(mark.unwrap_or(0));
        if child.try_wait()?.is_some() {
            break;
        }
        if limit.is_some_and(|limit| started.elapsed() > limit) {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(LOOK_EVERY);
    }
    let wall_s = started.elapsed().as_secs_f64();
    Ok(Some(Cost { cpu_s: children_cpu()? - before, wall_s, peak_mib: peak_kib as f64 / 1024.0 }))
}

/// Processor time of all children that have ended.
fn children_cpu() -> Result<f64> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    Ok((usage.user_time().num_microseconds() + usage.system_time().num_microseconds()) as f64 / 1e6)
}

/// Scanners of the Python index in an environment of their own, which `tests/bench/scan_recall` uses as well; one that cannot be had is named.
fn peers() -> Vec<Peer> {
    let build = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    let venv = build.join("scan_recall/peers-venv");
    if !venv.join("bin/pip").exists() && !Command::new("python3").args(["-m", "venv"]).arg(&venv).output().is_ok_and(|ran| ran.status.success()) {
        eprintln!("SKIPPED other scanners: python3 -m venv does not work here (install python3-venv)");
        return Vec::new();
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("bench/scan_recall/peer.py").display().to_string();
    let text = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    // fickling's own command takes one file; the script asks it as its command does.
    let wanted = [
        ("picklescan", "picklescan", text(&["-p"])),
        ("modelscan", "modelscan", text(&["-p"])),
        ("fickling", "python", vec![script, "fickling".to_owned()]),
        ("modelaudit", "modelaudit", text(&["scan", "--no-cache", "-f", "json"])),
    ];
    let mut found = Vec::new();
    for (name, program, arguments) in wanted {
        let installed = || venv.join("bin").join(name).exists();
        if !installed() {
            // What pip says is of no use to the figure; the scanner is there afterwards or it is not.
            let _ = Command::new(venv.join("bin/pip")).args(["-q", "install", name, "typing_extensions"]).output();
        }
        if installed() {
            found.push(Peer { name, program: venv.join("bin").join(program), arguments });
        } else {
            eprintln!("SKIPPED {name}: not installed and could not be");
        }
    }
    found
}
