//! Resident memory and CPU of the real agent, at rest and under a steady load of artifact opens.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use picket_tests::fixture::memory as resident;

use crate::{
    figure::Figure,
    rate::{Scene, cpu_seconds},
    stats::{median, range},
};

const REST: Duration = Duration::from_secs(20);
const LOAD: Duration = Duration::from_secs(40);
const LOAD_RATE: u32 = 10_000;

pub(crate) fn memory() -> Result<Vec<Figure>> {
    let mut scene = Scene::start(0)?;
    let pid = scene.agent.pid()?;
    thread::sleep(Duration::from_secs(5));
    let (rest, rest_cpu) = watch(pid, REST)?;
    let load = thread::scope(|scope| -> Result<_> {
        let opener = scope.spawn(|| scene.open_at(LOAD_RATE, LOAD));
        let watched = watch(pid, LOAD)?;
        opener.join().map_err(|_| anyhow::anyhow!("the opener panicked"))??;
        Ok(watched)
    });
    let (load, load_cpu) = load?;
    scene.agent.stop()?;
    let mebibytes = |name: &str, samples: &[f64]| {
        let (low, high) = range(samples);
        Figure::new(name, median(samples), "MiB").spread(low, high)
    };
    let aim = |figure: Figure| figure.compared("aim", 64.0);
    Ok(vec![
        aim(mebibytes("agent_memory.rest", &rest)).conditions(&format!("resident, sampled each second for {} s, default ring of 8 MiB", REST.as_secs())),
        aim(mebibytes("agent_memory.load", &load)).conditions(&format!("resident, {LOAD_RATE} artifact opens a second for {} s", LOAD.as_secs())),
        Figure::new("agent_cpu.rest", rest_cpu, "% of a CPU").conditions("user and system time of the agent's process"),
        Figure::new("agent_cpu.load", load_cpu, "% of a CPU").conditions(&format!("the same under {LOAD_RATE} artifact opens a second")),
    ])
}

/// Memory in MiB, sampled each second, and CPU in percent of one.
fn watch(pid: u32, time: Duration) -> Result<(Vec<f64>, f64)> {
    let (begin, cpu) = (Instant::now(), cpu_seconds(pid)?);
    let mut samples = Vec::new();
    while begin.elapsed() < time {
        samples.push(resident(pid)?.0 as f64 / f64::from(1 << 20));
        thread::sleep(Duration::from_secs(1));
    }
    Ok((samples, (cpu_seconds(pid)? - cpu) / begin.elapsed().as_secs_f64() * 100.0))
}
