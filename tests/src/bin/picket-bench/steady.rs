//! Whether the agent and the server stay as they are under an hour of mixed work: files, processes, connections, datagrams, and models that land and are scanned.
//! Flat means: the last quarter of the time is like the first.

use std::{
    net::{TcpListener, TcpStream, UdpSocket},
    path::Path,
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use picket_tests::{
    fixture::{AgentOptions, Deployment, ServerOptions, memory},
    host_load::NumberedFiles,
};

use crate::{
    figure::Figure,
    rate::{cpu_seconds, open_at},
    stats::{median, range},
};

/// All together about a thousand events a second.
const OPENS: u32 = 500;
const FILES_EVERY: Duration = Duration::from_millis(20);
const PROCESSES_EVERY: Duration = Duration::from_millis(200);
const CONNECTIONS_EVERY: Duration = Duration::from_millis(50);
const DATAGRAMS_EVERY: Duration = Duration::from_millis(50);
const MODELS_EVERY: Duration = Duration::from_secs(20);
const MODEL_BYTES: u64 = 1 << 20;
const SAMPLE_EVERY: Duration = Duration::from_secs(10);

/// One look at both.
struct Sample {
    agent_mib: f64,
    server_mib: f64,
    agent_cpu: f64,
}

pub(crate) fn steady(minutes: u64) -> Result<Vec<Figure>> {
    let time = Duration::from_secs(minutes * 60);
    let deployment = Deployment::start(&ServerOptions::default())?;
    let (suffix, models) = (NumberedFiles::own_suffix(), deployment.folder().join("models"));
    std::fs::create_dir(&models)?;
    let options = AgentOptions { extensions: vec![suffix.clone()], watches: vec![(models.clone(), "model".to_owned())], ..AgentOptions::default() };
    let mut agent = deployment.agent(deployment.server.agent_address(), &options)?;
    agent.run()?;
    let (agent_pid, server_pid) = (agent.pid()?, deployment.server.pid()?);
    thread::sleep(Duration::from_secs(5));
    let (stop, made) = (AtomicBool::new(false), AtomicU64::new(0));
    let samples = thread::scope(|scope| -> Result<Vec<Sample>> {
        let (stop, made, models) = (&stop, &made, &models);
        let file = deployment.folder().join(format!("open{suffix}"));
        std::fs::write(&file, "x")?;
        let mut numbered = NumberedFiles::new(deployment.folder(), &suffix);
        let listener = TcpListener::bind("127.0.0.1:0")?;
        scope.spawn(move || repeat(stop, made, Duration::ZERO, || open_at(&file, OPENS, Duration::from_secs(1)).map(drop)));
        scope.spawn(move || repeat(stop, made, FILES_EVERY, || numbered.make(1)));
        scope.spawn(move || repeat(stop, made, PROCESSES_EVERY, spawn));
        scope.spawn(move || repeat(stop, made, CONNECTIONS_EVERY, || connect(&listener)));
        scope.spawn(move || repeat(stop, made, DATAGRAMS_EVERY, datagram));
        scope.spawn(move || repeat(stop, made, MODELS_EVERY, || land(models)));
        let samples = watch(agent_pid, server_pid, time);
        stop.store(true, Ordering::Relaxed);
        samples
    })?;
    let stored = deployment.ctl.number("SELECT count(*) FROM events")?;
    let lost = deployment.ctl.number("SELECT coalesce(sum(loss_count), 0) FROM events")?;
    agent.stop()?;
    anyhow::ensure!(made.into_inner() > 0, "nothing was made");
    let note = format!(
        "{minutes} minutes of {OPENS} opens of artifacts a second, files, processes, connections, datagrams, scanned models; {stored} events stored, {lost} counted lost; last quarter against the first"
    );
    Ok(vec![
        flat("steady.agent_memory", "MiB", &samples, |sample| sample.agent_mib).conditions(&format!("resident; {note}")),
        flat("steady.agent_cpu", "% of a CPU", &samples, |sample| sample.agent_cpu).conditions(&note),
        flat("steady.server_memory", "MiB", &samples, |sample| sample.server_mib).conditions(&format!("resident; {note}")),
        Figure::new("steady.lost", lost as f64, "events").conditions(&note),
    ])
}

fn flat(name: &str, unit: &str, samples: &[Sample], of: fn(&Sample) -> f64) -> Figure {
    let all: Vec<f64> = samples.iter().map(of).collect();
    let quarter = (all.len() / 4).max(1);
    let (first, last) = (median(all.get(..quarter).unwrap_or(&all)), median(all.get(all.len() - quarter..).unwrap_or(&all)));
    let (low, high) = range(&all);
    Figure::new(name, last, unit).compared("the first quarter", first).spread(low, high)
}

fn watch(agent: u32, server: u32, time: Duration) -> Result<Vec<Sample>> {
    let (begin, mut cpu, mut at) = (Instant::now(), cpu_seconds(agent)?, Instant::now());
    let mebibytes = |pid| -> Result<f64> { Ok(memory(pid)?.0 as f64 / f64::from(1 << 20)) };
    let mut samples = Vec::new();
    while begin.elapsed() < time {
        thread::sleep(SAMPLE_EVERY);
        let used = cpu_seconds(agent)?;
        let agent_cpu = (used - cpu) / at.elapsed().as_secs_f64() * 100.0;
        (cpu, at) = (used, Instant::now());
        let sample = Sample { agent_mib: mebibytes(agent)?, server_mib: mebibytes(server)?, agent_cpu };
        if samples.len() % 30 == 0 {
            eprintln!(
                "    {:>4} s: agent {:.1} MiB, {:.1} % CPU; server {:.0} MiB",
                begin.elapsed().as_secs(),
                sample.agent_mib,
                sample.agent_cpu,
                sample.server_mib
            );
        }
        samples.push(sample);
    }
    Ok(samples)
}

fn repeat(stop: &AtomicBool, made: &AtomicU64, pause: Duration, mut act: impl FnMut() -> Result<()>) -> Result<()> {
    while !stop.load(Ordering::Relaxed) {
        act()?;
        made.fetch_add(1, Ordering::Relaxed);
        thread::sleep(pause);
    }
    Ok(())
}

fn spawn() -> Result<()> {
    Command::new("/bin/true").arg("steady").stdin(Stdio::null()).status().context("run /bin/true").map(drop)
}

fn connect(listener: &TcpListener) -> Result<()> {
    let client = TcpStream::connect(listener.local_addr()?)?;
    drop((listener.accept()?, client));
    Ok(())
}

fn datagram() -> Result<()> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.send_to(&[7; 200], socket.local_addr()?)?;
    socket.recv(&mut [0; 256])?;
    Ok(())
}

/// As a download does: under another name first. The one before goes.
fn land(models: &Path) -> Result<()> {
    let (partial, whole) = (models.join("model.safetensors.incomplete"), models.join("model.safetensors"));
    picket_tests::host_load::write_safetensors(&partial, MODEL_BYTES)?;
    std::fs::rename(&partial, &whole).context("move the model into place")
}
