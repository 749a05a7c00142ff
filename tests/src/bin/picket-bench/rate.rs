//! Events a second from the kernel to the server's store: the highest steady rate at which nothing is dropped, and what happens above it.

use std::{
    fs::File,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use picket_tests::{
    fixture::{Agent, AgentOptions, Deployment, ServerOptions, memory},
    host_load::NumberedFiles,
    wait,
};

use crate::figure::Figure;

const STEP: Duration = Duration::from_secs(8);
const SMALL_RING: u32 = 64 << 10;
const RATES: [u32; 8] = [5_000, 10_000, 20_000, 40_000, 60_000, 80_000, 120_000, 200_000];

/// A server, a real agent, and files whose opens are the only artifact opens on the host.
pub(crate) struct Scene {
    pub(crate) deployment: Deployment,
    pub(crate) agent: Agent,
    pub(crate) folder: PathBuf,
    pub(crate) suffix: String,
    file: PathBuf,
}

impl Scene {
    pub(crate) fn start(ring_bytes: u64) -> Result<Self> {
        let deployment = Deployment::start(&ServerOptions::default())?;
        let suffix = NumberedFiles::own_suffix();
        let options = AgentOptions { extensions: vec![suffix.clone()], ring_bytes, ..AgentOptions::default() };
        let mut agent = deployment.agent(deployment.server.agent_address(), &options)?;
        agent.run()?;
        let folder = deployment.folder().join("files");
        std::fs::create_dir(&folder)?;
        let file = folder.join(format!("open{suffix}"));
        std::fs::write(&file, "x")?;
        Ok(Self { deployment, agent, folder, suffix, file })
    }

    /// Opens the file at an even pace; gives how many opens there were and the seconds they took.
    pub(crate) fn open_at(&self, rate: u32, time: Duration) -> Result<(u64, f64)> {
        open_at(&self.file, rate, time)
    }

    pub(crate) fn file(&self) -> &std::path::Path {
        &self.file
    }

    fn stored(&self) -> Result<u64> {
        self.deployment.ctl.number(&format!("SELECT count(*) FROM events WHERE class_uid = 1001 AND activity_id = 14 AND file_name = 'open{}'", self.suffix))
    }

    fn lost(&self) -> Result<u64> {
        self.deployment.ctl.number("SELECT coalesce(sum(loss_count), 0) FROM events WHERE loss_class_uid = 1001")
    }
}

/// In bursts of a millisecond, as steady as a sleeping thread can be.
pub(crate) fn open_at(file: &std::path::Path, rate: u32, time: Duration) -> Result<(u64, f64)> {
    let begin = Instant::now();
    let mut made = 0_u64;
    while begin.elapsed() < time {
        let due = begin.elapsed().as_secs_f64() * f64::from(rate);
        while (made as f64) < due && begin.elapsed() < time {
            drop(File::open(file)?);
            made += 1;
        }
        thread::sleep(Duration::from_millis(1));
    }
    Ok((made, begin.elapsed().as_secs_f64()))
}

/// User and system time of a process so far.
pub(crate) fn cpu_seconds(pid: u32) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).with_context(|| format!("stat of process {pid}"))?;
    let (_, rest) = stat.rsplit_once(')').context("a process has a name")?;
    let ticks = |index: usize| -> Result<f64> { Ok(rest.split_whitespace().nth(index).context("a field of stat")?.parse()?) };
    // Fields 14 and 15; USER_HZ is 100 on every Linux.
    Ok((ticks(11)? + ticks(12)?) / 100.0)
}

struct Step {
    offered: f64,
    stored: u64,
    made: u64,
    lost: u64,
    agent_cpu: f64,
    agent_rss: u64,
}

impl Step {
    const fn whole(&self) -> bool {
        self.stored == self.made && self.lost == 0
    }
}

pub(crate) fn kernel_to_store() -> Result<Vec<Figure>> {
    let mut scene = Scene::start(0)?;
    let mut steps: Vec<Step> = Vec::new();
    for rate in RATES {
        let step = step(&scene, rate)?;
        let Step { offered, stored, made, lost, agent_cpu, .. } = &step;
        eprintln!("    asked {rate}/s, made {offered:.0}/s: {made} made, {stored} stored, {lost} counted lost, agent {agent_cpu:.0} % CPU");
        let stalled = step.offered < f64::from(rate) * 0.7;
        let whole = step.whole();
        steps.push(step);
        // Two steps beyond the first loss say what overload looks like; a producer that cannot go faster ends it as well.
        let losing = steps.iter().filter(|step| !step.whole()).count();
        if losing >= 2 || (stalled && whole) {
            break;
        }
    }
    scene.agent.stop()?;
    let mut figures = figures(&steps)?;
    if steps.iter().all(Step::whole) {
        // The producer was the limit. The smallest ring that the agent takes shows what overload looks like.
        drop(scene);
        let mut scene = Scene::start(u64::from(SMALL_RING))?;
        let over = step(&scene, u32::MAX)?;
        scene.agent.stop()?;
        figures.push(above(&over, SMALL_RING));
    }
    Ok(figures)
}

fn step(scene: &Scene, rate: u32) -> Result<Step> {
    let (stored, lost, pid) = (scene.stored()?, scene.lost()?, scene.agent.pid()?);
    let cpu = cpu_seconds(pid)?;
    let (made, seconds) = scene.open_at(rate, STEP)?;
    let agent_cpu = (cpu_seconds(pid)? - cpu) / seconds * 100.0;
    // Everything is accounted for once stored and lost add up; the spool may need a while to drain after an overload.
    let settled = wait::until("everything is stored or counted", Duration::from_secs(60), || {
        let accounted = scene.stored()? - stored + scene.lost()? - lost;
        Ok((accounted >= made).then_some(()))
    });
    if let Err(error) = settled {
        eprintln!("    {error:#}");
    }
    Ok(Step { offered: made as f64 / seconds, stored: scene.stored()? - stored, made, lost: scene.lost()? - lost, agent_cpu, agent_rss: memory(pid)?.0 })
}

fn figures(steps: &[Step]) -> Result<Vec<Figure>> {
    // Only below the first loss: a luckier step above it is no promise.
    let best = steps.iter().take_while(|step| step.whole()).last().context("no rate was stored whole")?;
    let note = format!(
        "steps of {} s of opens of one artifact, producer, agent and server on the same CPUs, ring of 8 MiB; agent at {:.0} % of a CPU, {} MiB",
        STEP.as_secs(),
        best.agent_cpu,
        best.agent_rss >> 20
    );
    let mut figures = vec![Figure::new("kernel_to_store_rate", best.offered, "events/s").conditions(&note)];
    if let Some(over) = steps.iter().find(|step| !step.whole()) {
        figures.push(above(over, 8 << 20));
    }
    Ok(figures)
}

/// What became of an overload.
fn above(over: &Step, ring_bytes: u32) -> Figure {
    let share = over.stored as f64 / over.made.max(1) as f64 * 100.0;
    let neither = over.made.saturating_sub(over.stored + over.lost);
    let note = format!(
        "ring of {} KiB, {:.0} opens/s: {} made, {} stored, {} counted lost, {neither} in neither; agent {:.0} % of a CPU, {} MiB",
        ring_bytes >> 10,
        over.offered,
        over.made,
        over.stored,
        over.lost,
        over.agent_cpu,
        over.agent_rss >> 20
    );
    Figure::new("kernel_to_store_above.stored", share, "% of made").conditions(&note)
}
