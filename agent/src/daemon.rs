//! `picket-agent run`: opens the spool, loads the sensor, drops privileges, starts the threads, and ends them in order.

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex,
        mpsc::{self, SyncSender},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::Context;
use arc_swap::ArcSwap;
use picket_event::{Activity, Event, SensorState, SensorStateKind};
use picket_spool::{Recovery, Spool};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};
use tokio_util::sync::CancellationToken;

use crate::{
    boot::{Boot, wall_now},
    budget::{Budget, Meter, Usage},
    capabilities,
    checkpoint::losses_of_the_last_run,
    config::{Config, ConfigWatch},
    dial::with_sources,
    gpu::{GpuWatch, SharedGpus},
    loss::LossLedger,
    pipeline::Chunk,
    posture::PostureWatch,
    privileges,
    reload::{Reload, file_hash},
    scan::{self, Launcher, ScanStatus, ScanThread},
    self_watch::{SelfWatch, SelfWatchGuard},
    side::side,
    spooler::Spooler,
    start::{self, Loaded, Running},
    state::{AgentState, ConfigState, cpus},
    status::StatusSocket,
    stdout::own_event,
    supervisor::{Beats, Supervisor},
    uplink::{LinkStatus, Uplink},
};

/// Chunks between pipeline and spooler.
const CHUNKS_MAX: usize = 8;
const LOCK_WAIT_MAX: Duration = Duration::from_secs(15);
/// At the end: for the server to take what is left. The spool keeps what it does not take.
const SEND_REST_MAX: Duration = Duration::from_secs(5);

/// What looks at the host once in a while.
struct SideWatches {
    _self: SelfWatchGuard,
    _gpu: Option<GpuWatch>,
    _posture: Option<PostureWatch>,
}

/// Everything that runs.
struct Agent {
    state: Arc<AgentState>,
    running: Running,
    spooler: JoinHandle<bool>,
    beats: Arc<Beats>,
    scans: Option<ScanThread>,
    /// The agent's own events; dropped before the spooler can end.
    events: SyncSender<Chunk>,
    reload: Option<ConfigWatch>,
    side: SideWatches,
    /// A sender of its own: the last session goes on after the spooler has ended.
    synced: watch::Sender<u64>,
}

pub(crate) fn run(config: Config, file: Option<PathBuf>) -> anyhow::Result<()> {
    let boot = Boot::current().context("read the boot id")?;
    let (spool, recovery) = open_spool(&config)?;
    tracing::info!(?recovery, "the spool is open");
    let begin = Instant::now();
    let loaded = Loaded::new(&config, true)?;
    tracing::info!(took_ms = begin.elapsed().as_millis(), "the sensor is loaded");
    let first = first_events(&loaded, &config, &recovery, &boot);
    let launcher = scan::launch(&config);
    privileges::drop_unneeded()?;
    let agent = start(config, file, boot, spool, &recovery, (loaded, launcher), first)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).thread_name("agent").enable_all().build()?;
    let result = runtime.block_on(serve(agent));
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

/// A killed agent holds its files until the kernel has taken its probes down, which takes seconds; whoever restarts it is faster.
fn open_spool(config: &Config) -> anyhow::Result<(Spool, Recovery)> {
    let until = Instant::now() + LOCK_WAIT_MAX;
    loop {
        match Spool::open(config.spool()) {
            Err(picket_spool::SpoolError::Locked { .. }) if Instant::now() < until => std::thread::sleep(Duration::from_millis(100)),
            result => return result.context("open the spool"),
        }
    }
}

fn first_events(loaded: &Loaded, config: &Config, recovery: &Recovery, boot: &Boot) -> Vec<Event> {
    let report =
        serde_json::json!({ "agent_version": env!("CARGO_PKG_VERSION"), "boot_id": boot.id, "unclean": recovery.unclean, "torn_frames": recovery.torn_frames });
    let mut events = losses_of_the_last_run(recovery, loaded.source.sensor().and_then(picket_ebpf::Sensor::previous).as_ref(), boot.bytes());
    events.push(own_event(Activity::Sensor(SensorState { kind: SensorStateKind::Started, report }), wall_now()));
    events.push(capabilities::event(&loaded.snapshot.load(), config));
    events
}

fn start(
    config: Config,
    file: Option<PathBuf>,
    boot: Boot,
    spool: Spool,
    recovery: &Recovery,
    (loaded, launcher): (Loaded, Option<Launcher>),
    first: Vec<Event>,
) -> anyhow::Result<Agent> {
    let (ledger, beats) = (Arc::<LossLedger>::default(), Arc::<Beats>::default());
    let (synced, _) = watch::channel(spool.state().synced_seq);
    let mut spooler = Spooler::new(spool.clone(), Arc::clone(&ledger), boot.bytes(), synced.clone(), Arc::clone(&beats)).context("start the encoder")?;
    if spooler.store_own(first)
        && let Err(error) = spool.lost_reported(&recovery.lost)
    {
        tracing::warn!(error = with_sources(&error), "lost ranges may be told twice");
    }
    let canary = loaded.source.sensor().and_then(|sensor| sensor.canary(&config.run_dir));
    let (snapshot, rules, watch_ids) = (Arc::clone(&loaded.snapshot), Arc::clone(&loaded.rules), loaded.watch_ids.clone());
    let (events, chunks) = mpsc::sync_channel(CHUNKS_MAX);
    let (shared, scan_status) = (Arc::new(ArcSwap::from_pointee(config)), Arc::<ScanStatus>::default());
    let config = shared.load_full();
    let scans = match launcher {
        Some(launcher) => Some(scan::start(launcher, Arc::clone(&shared), &ledger, events.clone(), Arc::clone(&scan_status)).context("start the scan thread")?),
        None => None,
    };
    let intake = scans.as_ref().map(|scans| scans.intake.clone());
    let self_watch = Arc::<SelfWatch>::default();
    let eyes = (Arc::clone(&beats), Arc::clone(&self_watch));
    let running = start::start(loaded, &config, boot.clone(), &ledger, events.clone(), eyes, intake)?;
    // After the first look at what exists, which may take its time: until then nothing is read.
    let watching = self_watch.start(Arc::clone(&beats), file.clone(), canary, side(events.clone())).context("start the self-watch thread")?;
    let spooler = std::thread::Builder::new().name("spooler".to_owned()).spawn(move || spooler.run(&chunks, "asked to stop"))?;
    let config_state = file.as_ref().map(|file| ConfigState { file: file.display().to_string(), hash: file_hash(file), ..ConfigState::default() });
    let state = Arc::new(AgentState {
        boot,
        started: Instant::now(),
        config: shared,
        config_state: ArcSwap::from_pointee(config_state.unwrap_or_default()),
        snapshot,
        spool,
        ledger,
        counters: Arc::clone(&running.counters),
        shedding: Arc::clone(&running.shedding),
        usage: ArcSwap::from_pointee(Usage::default()),
        link: LinkStatus::default(),
        gpus: SharedGpus::default(),
        self_watch,
        scan: scan_status,
        scans: scans.as_ref().map(|scans| scans.intake.clone()),
    });
    let side = SideWatches {
        _self: watching,
        _gpu: GpuWatch::start(&state.config.load().gpu, Arc::clone(&state.gpus), events.clone()).context("start the GPU thread")?,
        _posture: PostureWatch::start(Arc::clone(&state.config), events.clone()).context("load the posture checks")?,
    };
    let reload = file.map(|file| {
        Reload { file, state: Arc::clone(&state), rules, sensor: running.source.watches(), watch_ids: Mutex::new(watch_ids), events: events.clone() }.start()
    });
    let reload = match reload {
        Some(Ok(guard)) => Some(guard),
        Some(Err(error)) => {
            tracing::warn!(%error, "the configuration file is not watched: changes need a restart");
            None
        }
        None => None,
    };
    Ok(Agent { state, running, spooler, beats, scans, events, reload, side, synced })
}

async fn serve(agent: Agent) -> anyhow::Result<()> {
    let stop = CancellationToken::new();
    let state = &agent.state;
    let path = state.config.load().status_socket();
    let socket = StatusSocket::bind(&path).with_context(|| format!("open {}", path.display()))?;
    let status = tokio::spawn(socket.serve(Arc::clone(state)));
    let uplink = Uplink {
        config: Arc::clone(&state.config),
        spool: state.spool.clone(),
        synced: agent.synced.subscribe(),
        ledger: Arc::clone(&state.ledger),
        reports: Arc::clone(state),
        status: state.link.clone(),
        heartbeat_every: Duration::from_secs(state.config.load().server.heartbeat_seconds),
        stop: stop.clone(),
    };
    let uplink = tokio::spawn(uplink.run());
    let (mut term, mut int, mut hangup) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?, signal(SignalKind::hangup())?);
    let mut supervisor = Supervisor::new();
    supervisor.ready();
    let mut watch = Watch::new(state);
    let every = Duration::from_secs(1);
    let mut second = tokio::time::interval_at(tokio::time::Instant::now() + every, every);
    let broken = loop {
        tokio::select! {
            _ = term.recv() => break None,
            _ = int.recv() => break None,
            // A terminal that closes is no reason to stop watching.
            _ = hangup.recv() => {}
            _ = second.tick() => {
                watch.second(state);
                supervisor.tick(&agent.beats);
                supervisor.status(&watch.line(state));
                if agent.spooler.is_finished() || agent.running.worker.is_finished() {
                    break Some(anyhow::anyhow!("a thread of the agent ended: see the log"));
                }
            }
        }
    };
    supervisor.stopping();
    let (state, synced) = (Arc::clone(&agent.state), agent.synced.clone());
    let clean = finish(agent).await;
    send_rest(&state).await;
    stop.cancel();
    let _ = uplink.await;
    drop(synced);
    status.abort();
    let _ = status.await;
    if clean? && broken.is_none() {
        state.spool.close().context("close the spool")?;
    }
    broken.map_or(Ok(()), Err)
}

/// Ends the threads in the order of the events. True where everything is stored and told.
async fn finish(agent: Agent) -> anyhow::Result<bool> {
    tokio::task::spawn_blocking(move || {
        let Agent { running, spooler, scans, events, reload, side, .. } = agent;
        // These threads hold a sender too and end with their guards.
        drop(reload);
        drop(side);
        drop(events);
        let source = running.source.stop();
        let worker = running.worker.join();
        let scans = scans.map_or(Ok(()), ScanThread::stop);
        let clean = spooler.join();
        match (source, worker, scans, clean) {
            (Ok(()), Ok(()), Ok(()), Ok(clean)) => Ok(clean),
            _ => anyhow::bail!("a thread of the agent panicked: see the log"),
        }
    })
    .await?
}

async fn send_rest(state: &AgentState) {
    let until = Instant::now() + SEND_REST_MAX;
    while state.spool.state().events() > 0 && state.link.load().state == "connected" && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Measures the agent once a second.
struct Watch {
    meter: Meter,
    budget: Budget,
    /// Percent of one CPU; none at the start and after a change of what is shed: what was used before says nothing of what is used from then on.
    smoothed: Option<f64>,
    over_memory: bool,
}

impl Watch {
    fn new(state: &AgentState) -> Self {
        Self { meter: Meter::new(state.snapshot.load().run_time_ns), budget: Budget::default(), smoothed: None, over_memory: false }
    }

    fn second(&mut self, state: &AgentState) {
        let now = self.meter.measure(state.snapshot.load().run_time_ns);
        // Smoothed over about ten seconds: a heartbeat tells the last interval, not the last moment.
        let cpu_percent = self.smoothed.map_or(now.cpu_percent, |before| before.mul_add(0.9, now.cpu_percent * 0.1));
        self.smoothed = Some(cpu_percent);
        let usage = Usage { cpu_percent, rss_bytes: now.rss_bytes };
        state.usage.store(Arc::new(usage));
        let limits = &state.config.load().budget;
        let level = state.shedding.level();
        let over = usage.rss_bytes > limits.memory_bytes_max;
        #[expect(clippy::cast_precision_loss, reason = "at most a day")]
        let new = self.budget.note(level, usage.cpu_percent / cpus(), limits.cpu_percent, over, 1.0, limits.over_seconds as f64);
        if new != level {
            tracing::warn!(cpu_percent = usage.cpu_percent, rss_bytes = usage.rss_bytes, from = level, to = new, "the budget changes what is shed");
            state.shedding.set(new);
            self.smoothed = None;
        }
        if over && !self.over_memory {
            tracing::warn!(rss_bytes = usage.rss_bytes, memory_bytes_max = limits.memory_bytes_max, "the agent uses more memory than its budget");
        }
        self.over_memory = over;
    }

    #[expect(clippy::unused_self, reason = "what the watch saw last stands in the state")]
    fn line(&self, state: &AgentState) -> String {
        let (spool, usage) = (state.spool.state(), **state.usage.load());
        format!("{}, {} events waiting, {:.1} % CPU, {} MiB", state.link.load().state, spool.events(), usage.cpu_percent, usage.rss_bytes >> 20)
    }
}
