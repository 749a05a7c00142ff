//! The server alone: simulated agents over mutual TLS, every batch fsynced before its acknowledgement.

use std::time::Duration;

use anyhow::{Result, bail};
use picket_tests::{
    admin::Admin,
    fixture::{Deployment, ServerOptions, memory},
    load::{FramePool, LoadPlan, LoadReport, enrol_devices, run},
};

use crate::{
    figure::Figure,
    rate::cpu_seconds,
    stats::{median, range},
};

const AGENTS: usize = 16;
const BATCH: u32 = 500;
const RUN: Duration = Duration::from_secs(10);

/// A server and an admin who speaks to it without a command line between.
pub(crate) fn deployment() -> Result<(Deployment, Admin)> {
    let deployment = Deployment::start(&ServerOptions::default())?;
    let code = deployment.server.sign_in_code()?;
    let admin = deployment.block_on(Admin::sign_in(deployment.server.api_address(), &code))?;
    Ok((deployment, admin))
}

pub(crate) fn rate(rounds: usize) -> Result<Vec<Figure>> {
    let (deployment, admin) = deployment()?;
    let address = deployment.server.agent_address();
    let identities = deployment.block_on(enrol_devices(&admin, address, AGENTS))?;
    let pool = FramePool::new(1, 64, BATCH)?;
    let plan = LoadPlan { duration: RUN, rate: None, batch: BATCH, in_flight: 8 };
    let pid = deployment.server.pid()?;
    let mut reports: Vec<LoadReport> = Vec::new();
    let (mut server_cpu, mut sent) = (0.0, 0_u64);
    for round in 0..rounds.clamp(1, 5) {
        let before = cpu_seconds(pid)?;
        let report = deployment.block_on(run(address, &identities, &pool, &plan));
        eprintln!("    round {round}: {}", serde_json::to_string(&report)?);
        if !report.errors.is_empty() {
            bail!("the load met errors: {:?}", report.errors);
        }
        server_cpu += cpu_seconds(pid)? - before;
        sent += report.events;
        reports.push(report);
    }
    let stored = deployment.block_on(admin.status())?.events_stored;
    if stored != sent {
        bail!("{sent} events were acknowledged and {stored} are stored");
    }
    let of = |field: fn(&LoadReport) -> f64| reports.iter().map(field).collect::<Vec<_>>();
    let rates = of(|report| report.events_per_s);
    let (low, high) = range(&rates);
    let note = format!(
        "{AGENTS} simulated agents over TLS 1.3, batches of {BATCH}, 8 in flight each, {:.0} bytes an event on the wire, rounds of {} s; the load generator shares the CPUs; frames are compressed before the clock starts",
        pool.bytes_an_event(),
        RUN.as_secs()
    );
    Ok(vec![
        Figure::new("ingest_rate", median(&rates), "events/s").compared("aim", 200_000.0).spread(low, high).conditions(&note),
        Figure::new("ingest_ack.p50", median(&of(|report| report.ack_ms_p50)), "ms").conditions("batch sent to acknowledged, at the full rate above"),
        Figure::new("ingest_ack.p99", median(&of(|report| report.ack_ms_p99)), "ms").conditions("batch sent to acknowledged, at the full rate above"),
        Figure::new("ingest_cpu", server_cpu / sent.max(1) as f64 * 1e6, "us/event")
            .conditions("user and system time of the server, flushing to the table included"),
    ])
}

/// Memory of the server with that many connected agents that send heartbeats alone.
pub(crate) fn memory_of_agents(agents: usize) -> Result<Vec<Figure>> {
    let (deployment, admin) = deployment()?;
    let address = deployment.server.agent_address();
    let pid = deployment.server.pid()?;
    let identities = deployment.block_on(enrol_devices(&admin, address, agents))?;
    // What enrolment itself took stays in the allocator; the difference below is what the connections cost.
    std::thread::sleep(Duration::from_secs(3));
    let (before, _) = memory(pid)?;
    let pool = FramePool::new(1, 1, 1)?;
    let plan = LoadPlan { duration: Duration::from_secs(40), rate: Some(0), batch: 1, in_flight: 1 };
    let (report, during) = deployment.block_on(async {
        let load = run(address, &identities, &pool, &plan);
        let sample = async {
            tokio::time::sleep(Duration::from_secs(30)).await;
            memory(pid)
        };
        tokio::join!(load, sample)
    });
    let (during, _) = during?;
    if report.connected != agents {
        bail!("{} of {agents} agents connected: {:?}", report.connected, report.errors);
    }
    let kib = during.saturating_sub(before) as f64 / 1024.0 / agents as f64;
    let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let note = format!(
        "resident {:.0} MiB before, {:.0} MiB with {agents} agents connected for 30 s, each with a heartbeat every 10 s",
        mebibytes(before),
        mebibytes(during)
    );
    Ok(vec![
        Figure::new("agents_1000_memory", mebibytes(during), "MiB").conditions(&note),
        Figure::new("agents_1000_memory.each", kib, "KiB").conditions(&note),
    ])
}
