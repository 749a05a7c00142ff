//! From the syscall to the analyst's tail: the API's Tail stream, at idle and with 10,000 other events a second.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use picket_tests::{
    admin::Admin,
    host_load::{NumberedFiles, now_ns},
};
use prost_types::{Struct, value::Kind};

use crate::{
    figure::Figure,
    rate::{Scene, open_at},
    stats::percentile,
};

const PROBES: u64 = 500;
const PAUSE: Duration = Duration::from_millis(20);
const LOAD_RATE: u32 = 10_000;

pub(crate) fn syscall_to_tail() -> Result<Vec<Figure>> {
    let mut scene = Scene::start(0)?;
    let mut files = NumberedFiles::new(&scene.folder, &scene.suffix);
    let idle = probe(&scene, &mut files)?;
    let stop = Arc::new(AtomicBool::new(false));
    let (busy, offered) = thread::scope(|scope| -> Result<_> {
        let ended = Arc::clone(&stop);
        let file = scene.folder.join(format!("open{}", scene.suffix));
        let load = scope.spawn(move || {
            let (mut made, mut seconds) = (0, 0.0);
            while !ended.load(Ordering::SeqCst) {
                let (more, longer) = open_at(&file, LOAD_RATE, Duration::from_millis(500))?;
                made += more;
                seconds += longer;
            }
            anyhow::Ok(made as f64 / seconds)
        });
        thread::sleep(Duration::from_secs(2));
        let busy = probe(&scene, &mut files);
        stop.store(true, Ordering::SeqCst);
        let offered = load.join().map_err(|_| anyhow::anyhow!("the load panicked"))??;
        Ok((busy?, offered))
    })?;
    scene.agent.stop()?;
    let mut figures = Vec::new();
    for (when, delays, load) in [("idle", idle, 0.0), ("load", busy, offered)] {
        let note = format!(
            "{} of {PROBES} numbered files seen, {load:.0} other artifact events/s, from before the create to the row at the API's client",
            delays.len()
        );
        for (name, percent) in [("p50", 50.0), ("p99", 99.0)] {
            figures.push(Figure::new(&format!("syscall_to_tail.{when}.{name}"), percentile(&delays, percent), "ms").compared("aim", 1_000.0).conditions(&note));
        }
    }
    Ok(figures)
}

/// Makes numbered files and gives the delay of each in milliseconds.
fn probe(scene: &Scene, files: &mut NumberedFiles) -> Result<Vec<f64>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let api = scene.deployment.server.api_address();
    let code = scene.deployment.server.sign_in_code()?;
    let first = files.made();
    let suffix = scene.suffix.clone();
    let (ready, subscribed) = std::sync::mpsc::channel();
    let follower = runtime.spawn(async move {
        let admin = Admin::sign_in(api, &code).await?;
        let mut tail = admin.tail(&format!("file_path:*/n-*{suffix} activity_id:1"), 0).await.context("follow the events")?;
        ready.send(()).context("the probe waits")?;
        let mut seen = HashMap::new();
        let end = Instant::now() + Duration::from_secs(60);
        while (seen.len() as u64) < PROBES && Instant::now() < end {
            let Ok(answer) = tokio::time::timeout(Duration::from_secs(10), tail.message()).await else { break };
            let now = now_ns();
            for event in answer?.context("the tail ended")?.events {
                if let Some(number) = number_of(&event, &suffix) {
                    seen.entry(number).or_insert(now);
                }
            }
        }
        anyhow::Ok(seen)
    });
    if subscribed.recv_timeout(Duration::from_secs(20)).is_err() {
        runtime.block_on(follower)??;
        bail!("the tail was not subscribed in 20 s");
    }
    thread::sleep(Duration::from_millis(300));
    for _ in 0..PROBES {
        files.make(1)?;
        thread::sleep(PAUSE);
    }
    let seen = runtime.block_on(follower)??;
    let delays: Vec<f64> =
        seen.iter().filter(|(number, _)| **number >= first).filter_map(|(number, at)| Some((at - files.made_at(*number)?) as f64 / 1e6)).collect();
    if delays.is_empty() {
        bail!("the tail showed none of the files");
    }
    Ok(delays)
}

fn number_of(event: &Struct, suffix: &str) -> Option<u64> {
    let Kind::StructValue(file) = event.fields.get("file")?.kind.as_ref()? else { return None };
    let Kind::StringValue(name) = file.fields.get("name")?.kind.as_ref()? else { return None };
    name.strip_prefix("n-")?.strip_suffix(suffix)?.parse().ok()
}
