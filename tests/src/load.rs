//! Load on a server: many simulated agents at once over real mutual TLS, with the latency of every acknowledgement.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use futures::stream::{FuturesUnordered, StreamExt};
use picket_event::Timestamp;
use picket_proto::v1::{EventBatch, Heartbeat, agent_message, server_message};
use serde::Serialize;

use crate::{
    admin::Admin,
    agent_sim::{Identity, Link, enrol, hello},
    generator::Generator,
    host_load::now_ns,
};

/// What the agents do.
#[derive(Clone, Debug)]
pub struct LoadPlan {
    /// How long they send.
    pub duration: Duration,
    /// Events a second of each agent; `None` is as fast as the server acknowledges, 0 is heartbeats alone.
    pub rate: Option<u32>,
    /// Events in a batch.
    pub batch: u32,
    /// Batches of an agent on their way at once; the server's own bound holds besides.
    pub in_flight: usize,
}

/// What came of it.
#[derive(Clone, Debug, Serialize)]
pub struct LoadReport {
    /// Agents that were asked to connect.
    pub agents: usize,
    /// Agents whose session reached Welcome.
    pub connected: usize,
    /// Events acknowledged.
    pub events: u64,
    /// Bytes of batches acknowledged, compressed.
    pub bytes: u64,
    /// From the first batch to the last acknowledgement.
    pub seconds: f64,
    /// Events acknowledged a second.
    pub events_per_s: f64,
    /// From sending a batch to its acknowledgement.
    pub ack_ms_p50: f64,
    /// The same, 99th percentile.
    pub ack_ms_p99: f64,
    /// The same, longest.
    pub ack_ms_max: f64,
    /// Sessions that ended early or batches refused, by reason.
    pub errors: BTreeMap<String, u64>,
}

#[derive(Default)]
struct AgentResult {
    connected: bool,
    events: u64,
    bytes: u64,
    latencies_us: Vec<u32>,
    finished: Option<Instant>,
    errors: BTreeMap<String, u64>,
}

/// Batches that are ready to be sent. Agents compress on their own hosts, so that here it is done before the clock starts.
#[derive(Clone, Debug)]
pub struct FramePool {
    frames: Arc<Vec<Bytes>>,
    batch: u32,
}

impl FramePool {
    /// `frames` different batches of `batch` events.
    pub fn new(seed: u64, frames: u32, batch: u32) -> Result<Self> {
        let mut pool = Vec::new();
        for host in 0..frames {
            let mut generator = Generator::new(seed, host).starting_at(Timestamp(now_ns()));
            let events: Vec<_> = (0..batch).map(|_| generator.next_event()).collect();
            pool.push(Bytes::from(picket_proto::frame::encode(&events)?));
        }
        if pool.is_empty() || batch == 0 {
            bail!("a pool needs at least one batch of one event");
        }
        Ok(Self { frames: Arc::new(pool), batch })
    }

    fn frame(&self, index: u64) -> Bytes {
        let index = usize::try_from(index % self.frames.len() as u64).unwrap_or_default();
        self.frames.get(index).cloned().unwrap_or_default()
    }

    /// Compressed bytes an event on the wire, on average.
    #[must_use]
    pub fn bytes_an_event(&self) -> f64 {
        let bytes: usize = self.frames.iter().map(Bytes::len).sum();
        bytes as f64 / (self.frames.len() as f64 * f64::from(self.batch))
    }
}

/// Enrols `count` new devices.
pub async fn enrol_devices(admin: &Admin, address: SocketAddr, count: usize) -> Result<Vec<Identity>> {
    let mut identities = Vec::with_capacity(count);
    for first in (0..count).step_by(16) {
        let mut calls: FuturesUnordered<_> = (first..count.min(first + 16))
            .map(|index| async move {
                let token = admin.enrol_token().await?;
                enrol(address, &token, &format!("load-{index:04}")).await
            })
            .collect();
        while let Some(identity) = calls.next().await {
            identities.push(identity.context("enrol a simulated agent")?);
        }
    }
    Ok(identities)
}

/// Runs the plan with one session a device.
pub async fn run(address: SocketAddr, identities: &[Identity], pool: &FramePool, plan: &LoadPlan) -> LoadReport {
    let begin = Instant::now();
    let tasks: Vec<_> = identities
        .iter()
        .enumerate()
        .map(|(index, identity)| {
            let (identity, pool, plan) = (identity.clone(), pool.clone(), plan.clone());
            tokio::spawn(async move { agent(address, identity, pool, plan, index as u64).await })
        })
        .collect();
    let mut results = Vec::new();
    for task in tasks {
        results.push(task.await.unwrap_or_else(|error| failed(&format!("a task ended: {error}"))));
    }
    report(begin, &results)
}

fn failed(reason: &str) -> AgentResult {
    AgentResult { errors: BTreeMap::from([(reason.to_owned(), 1)]), ..AgentResult::default() }
}

fn report(begin: Instant, results: &[AgentResult]) -> LoadReport {
    let mut latencies: Vec<u32> = results.iter().flat_map(|result| result.latencies_us.iter().copied()).collect();
    latencies.sort_unstable();
    let percentile = |percent: usize| {
        let index = (latencies.len().saturating_sub(1)) * percent / 100;
        latencies.get(index).map_or(0.0, |us| f64::from(*us) / 1_000.0)
    };
    let end = results.iter().filter_map(|result| result.finished).max().unwrap_or(begin);
    let seconds = end.duration_since(begin).as_secs_f64();
    let events = results.iter().map(|result| result.events).sum();
    let mut errors = BTreeMap::new();
    for (reason, count) in results.iter().flat_map(|result| &result.errors) {
        *errors.entry(reason.clone()).or_default() += count;
    }
    LoadReport {
        agents: results.len(),
        connected: results.iter().filter(|result| result.connected).count(),
        events,
        bytes: results.iter().map(|result| result.bytes).sum(),
        seconds,
        events_per_s: if seconds > 0.0 { events as f64 / seconds } else { 0.0 },
        ack_ms_p50: percentile(50),
        ack_ms_p99: percentile(99),
        ack_ms_max: percentile(100),
        errors,
    }
}

async fn agent(address: SocketAddr, identity: Identity, pool: FramePool, plan: LoadPlan, index: u64) -> AgentResult {
    let mut result = AgentResult::default();
    if let Err(error) = session(address, &identity, &pool, &plan, index, &mut result).await {
        *result.errors.entry(format!("{error:#}")).or_default() += 1;
    }
    result
}

struct InFlight {
    last_seq: u64,
    events: u32,
    bytes: usize,
    sent: Instant,
}

async fn session(address: SocketAddr, identity: &Identity, pool: &FramePool, plan: &LoadPlan, index: u64, result: &mut AgentResult) -> Result<()> {
    let spool_uid = uuid::Uuid::now_v7().to_string();
    let hostname = format!("load-{index:04}");
    let (link, welcome) = Link::welcomed(address, identity.tls()?, hello(&identity.device_uid, &spool_uid, &hostname)).await?;
    result.connected = true;
    let (up, mut down) = link.split();
    let window = plan.in_flight.min(usize::try_from(welcome.batches_in_flight_max).unwrap_or(1)).max(1);
    let begin = Instant::now();
    let mut next_seq = 1_u64;
    let mut turn = index;
    let mut waiting: VecDeque<InFlight> = VecDeque::new();
    let mut heartbeat = tokio::time::interval(Duration::from_secs(10));
    loop {
        let sending = begin.elapsed() < plan.duration;
        if !sending && waiting.is_empty() {
            return Ok(());
        }
        let due = sending && waiting.len() < window && is_due(plan, begin, next_seq);
        if due {
            let bytes = pool.frame(turn);
            turn += 1;
            let batch = EventBatch { spool_uid: spool_uid.clone(), first_seq: next_seq, count: pool.batch, frame_zstd: bytes.clone() };
            next_seq += u64::from(pool.batch);
            waiting.push_back(InFlight { last_seq: next_seq - 1, events: pool.batch, bytes: bytes.len(), sent: Instant::now() });
            let message = picket_proto::v1::AgentMessage { message: Some(agent_message::Message::Batch(batch)) };
            up.send(message).await.context("the session ended")?;
            continue;
        }
        let pause = if waiting.len() >= window { Duration::from_secs(30) } else { Duration::from_millis(5) };
        tokio::select! {
            answer = down.message() => match answer?.and_then(|message| message.message).context("the server closed the stream")? {
                server_message::Message::Ack(ack) => acknowledged(ack.seq, &mut waiting, result),
                server_message::Message::Nack(nack) => bail!("{:?}: {}", nack.reason(), nack.detail),
                server_message::Message::Welcome(_) | server_message::Message::Command(_) => {}
            },
            _ = heartbeat.tick() => {
                let beat = Heartbeat { time_ns: now_ns(), uptime_s: begin.elapsed().as_secs(), events_total: next_seq - 1, ..Heartbeat::default() };
                let message = picket_proto::v1::AgentMessage { message: Some(agent_message::Message::Heartbeat(beat)) };
                up.send(message).await.context("the session ended")?;
            }
            () = tokio::time::sleep(pause) => if waiting.len() >= window { bail!("no acknowledgement in 30 s") },
        }
    }
}

fn is_due(plan: &LoadPlan, begin: Instant, next_seq: u64) -> bool {
    match plan.rate {
        None => true,
        Some(rate) => begin.elapsed().as_secs_f64() * f64::from(rate) >= (next_seq - 1 + u64::from(plan.batch)) as f64,
    }
}

fn acknowledged(seq: u64, waiting: &mut VecDeque<InFlight>, result: &mut AgentResult) {
    let now = Instant::now();
    while let Some(batch) = waiting.front() {
        if batch.last_seq > seq {
            break;
        }
        result.events += u64::from(batch.events);
        result.bytes += batch.bytes as u64;
        result.latencies_us.push(u32::try_from(now.duration_since(batch.sent).as_micros()).unwrap_or(u32::MAX));
        result.finished = Some(now);
        waiting.pop_front();
    }
}
