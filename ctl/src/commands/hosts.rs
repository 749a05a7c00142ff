//! The enrolled hosts: a line each, one in full, in and out.

use std::time::Duration;

use jiff::Timestamp;
use picket_proto::v1::{self, HostView, host_view::State};

use super::confirmed;
use crate::cli::{HostList, Hosts};
use crate::connect::Session;
use crate::error::CtlError;
use crate::json;
use crate::output::{Format, Grid, Output, bytes, clean};
use crate::when;

/// Between two looks of `--watch`: heartbeats come every 10 s, sessions at once.
const WATCH_EVERY: Duration = Duration::from_secs(2);

/// Runs the command; `hosts` alone lists.
pub(super) async fn run(command: Option<Hosts>, list: &HostList, context: Option<&str>, output: &Output) -> Result<(), CtlError> {
    match command {
        None => listing(list.watch, context, output).await,
        Some(Hosts::List(list)) => listing(list.watch, context, output).await,
        Some(Hosts::Show { host }) => {
            let session = Session::open(context).await?;
            let view = session.hosts().show(v1::ShowHostRequest { host }).await.map_err(|status| session.failed(status))?.into_inner();
            print_one(&view, output)
        }
        Some(Hosts::Refresh { host }) => {
            let session = Session::open(context).await?;
            let view = session.hosts().refresh(v1::RefreshHostRequest { host }).await.map_err(|status| session.failed(status))?.into_inner();
            print_one(&view, output)
        }
        Some(Hosts::Revoke { host, reason, yes }) => {
            confirmed(&format!("Shut {host} out? Its certificate is refused from now on, and it must be enrolled anew."), yes)?;
            let session = Session::open(context).await?;
            session.hosts().revoke(v1::RevokeHostRequest { host: host.clone(), reason }).await.map_err(|status| session.failed(status))?;
            output.note(&format!("{host} is revoked"));
            Ok(())
        }
        Some(Hosts::Refusals { limit }) => refusals(limit, context, output).await,
    }
}

async fn listing(watch: bool, context: Option<&str>, output: &Output) -> Result<(), CtlError> {
    let session = Session::open(context).await?;
    loop {
        let hosts = session.hosts().list(v1::ListHostsRequest {}).await.map_err(|status| session.failed(status))?.into_inner().hosts;
        if watch && output.terminal && output.format == Format::Table {
            // Home and clear: the table stays where it is.
            output.line("\u{1b}[H\u{1b}[2J")?;
        }
        print_list(&hosts, output)?;
        if !watch {
            return Ok(());
        }
        tokio::time::sleep(WATCH_EVERY).await;
    }
}

fn print_list(hosts: &[HostView], output: &Output) -> Result<(), CtlError> {
    if output.format != Format::Table {
        return output.json_list(hosts.iter().map(|host| json::message("HostView", host)).collect::<Result<_, _>>()?);
    }
    if hosts.is_empty() {
        output.note("no host is enrolled; make a token with: picketctl tokens create");
    }
    let now = Timestamp::now();
    let mut grid = Grid::new(&["HOST", "STATE", "SEEN", "KERNEL", "PROBES", "LOST", "SPOOL", "CPU", "MEMORY", "EVENTS", "AGENT", "WHY"]);
    for host in hosts {
        let beat = host.heartbeat.as_ref();
        grid.row([
            host.hostname.clone(),
            state(host.state()).to_owned(),
            when::ago(when::from_wire(host.last_seen_at.as_ref()), now),
            host.host.as_ref().map(|system| system.kernel.clone()).unwrap_or_default(),
            probes(host),
            beat.map(|beat| beat.losses.iter().map(|loss| loss.count).sum::<u64>().to_string()).unwrap_or_default(),
            beat.map(|beat| bytes(beat.spool_bytes)).unwrap_or_default(),
            beat.map(|beat| format!("{:.1}%", beat.cpu_percent)).unwrap_or_default(),
            beat.map(|beat| bytes(beat.rss_bytes)).unwrap_or_default(),
            host.events_stored.to_string(),
            host.agent_version.clone(),
            host.state_reason.clone(),
        ]);
    }
    output.block(&grid.render(output))
}

fn state(state: State) -> &'static str {
    match state {
        State::Unspecified => "?",
        State::Enrolled => "enrolled",
        State::Connected => "connected",
        State::Silent => "SILENT",
        State::Revoked => "revoked",
        State::Stopped => "stopped",
        State::Blinded => "BLINDED",
        State::Disconnected => "disconnected",
    }
}

/// The newer of the two reports.
fn capabilities(host: &HostView) -> Option<&v1::CapabilityReport> {
    host.heartbeat.as_ref().and_then(|beat| beat.capabilities.as_ref()).or(host.capabilities.as_ref())
}

/// `attached/all`.
fn probes(host: &HostView) -> String {
    let Some(report) = capabilities(host) else { return String::new() };
    format!("{}/{}", report.probes.iter().filter(|probe| probe.attached).count(), report.probes.len())
}

fn print_one(host: &HostView, output: &Output) -> Result<(), CtlError> {
    if output.format != Format::Table {
        return output.json(&json::message("HostView", host)?);
    }
    output.block(&facts(host))?;
    if !host.problems.is_empty() {
        output.line("")?;
        output.block(&problems(host).render(output))?;
    }
    if let Some(report) = capabilities(host) {
        output.line("")?;
        output.block(&sensor(report).render(output))?;
        if !report.watches.is_empty() {
            output.line("")?;
            output.block(&watches(report).render(output))?;
        }
    }
    let gpus = host.heartbeat.as_ref().map(|beat| beat.gpus.as_slice()).unwrap_or_default();
    if !gpus.is_empty() {
        output.line("")?;
        output.block(&gpu_grid(gpus).render(output))?;
    }
    let losses = host.heartbeat.as_ref().map(|beat| beat.losses.as_slice()).unwrap_or_default();
    if !losses.is_empty() {
        let mut grid = Grid::new(&["LOST BECAUSE OF", "CLASS", "EVENTS"]);
        for loss in losses {
            grid.row([loss.cause.clone(), class(loss.class_uid), loss.count.to_string()]);
        }
        output.line("")?;
        output.block(&grid.render(output))?;
    }
    Ok(())
}

fn gpu_grid(gpus: &[v1::GpuState]) -> Grid {
    let mut grid = Grid::new(&["GPU", "NAME", "UUID", "MEMORY", "BUSY", "MIG", "PROCESSES"]);
    for gpu in gpus {
        let mig = match (gpu.mig_enabled, gpu.mig_devices.len()) {
            (Some(true), instances) => format!("{instances} instances"),
            (Some(false), _) => "off".to_owned(),
            (None, _) => String::new(),
        };
        grid.row([
            gpu.index.to_string(),
            gpu.name.clone(),
            gpu.uuid.clone(),
            format!("{} of {}", bytes(gpu.memory_used_bytes), bytes(gpu.memory_total_bytes)),
            gpu.utilization_percent.map(|percent| format!("{percent}%")).unwrap_or_default(),
            mig,
            gpu.processes.iter().map(|process| process.pid.to_string()).collect::<Vec<_>>().join(" "),
        ]);
    }
    grid
}

fn class(uid: u32) -> String {
    if uid == 0 { "any".to_owned() } else { uid.to_string() }
}

/// `name  value` lines.
fn facts(host: &HostView) -> String {
    let date = |at: Option<&prost_types::Timestamp>| when::date(when::from_wire(at));
    let mut facts = vec![
        ("host", host.hostname.clone()),
        ("device", host.device_uid.clone()),
        ("state", format!("{}, seen {} ago", state(host.state()), when::ago(when::from_wire(host.last_seen_at.as_ref()), Timestamp::now()))),
        ("since", date(host.state_since.as_ref())),
        ("enrolled", format!("{}, certificate until {}", date(host.enrolled_at.as_ref()), date(host.certificate_expires_at.as_ref()))),
        ("agent", host.agent_version.clone()),
        ("clock", format!("{} ms {} the server's", host.clock_skew_ms.unsigned_abs(), if host.clock_skew_ms < 0 { "behind" } else { "ahead of" })),
        ("events", format!("{} stored", host.events_stored)),
    ];
    if !host.state_reason.is_empty() {
        facts.insert(4, ("why", host.state_reason.clone()));
    }
    if let Some(system) = &host.host {
        facts.push(("system", format!("{} {}, kernel {}, {}", system.os_name, system.os_version, system.kernel, system.arch)));
        facts.push(("size", format!("{} CPUs, {} memory", system.cpus, bytes(system.memory_bytes))));
        facts.push(("addresses", system.ip_addresses.join(" ")));
    }
    if let Some(beat) = &host.heartbeat {
        facts.push(("load", format!("{:.1}% of a CPU, {} memory, up {} s", beat.cpu_percent, bytes(beat.rss_bytes), beat.uptime_s)));
        if beat.shedding_level > 0 {
            let shed = if beat.shedding_level == 1 { "reads of files that no watch names" } else { "reads of files that no watch names, flows and DNS" };
            facts.push(("shedding", format!("{shed}, to stay inside the budget")));
        }
        facts.push(("spool", format!("{} events in {} of {}", beat.spool_events, bytes(beat.spool_bytes), bytes(beat.spool_bytes_max))));
    }
    if let Some(report) = capabilities(host) {
        facts.push(("ring", bytes(report.ring_bytes)));
        facts.push(("left out", report.exclusions.join("; ")));
    }
    facts.into_iter().map(|(name, value)| format!("{name:<11}{}\n", clean(&value))).collect()
}

fn problems(host: &HostView) -> Grid {
    let mut grid = Grid::new(&["PROBLEM", "OF", "NOW", "DETAIL"]);
    for problem in &host.problems {
        let now = if problem.healed { "healed" } else { "lasts" };
        grid.row([problem.cause.clone(), problem.subject.clone(), now.to_owned(), problem.detail.clone()]);
    }
    grid
}

fn sensor(report: &v1::CapabilityReport) -> Grid {
    let mut grid = Grid::new(&["PROBE", "ATTACHED", "HOOK", "WHY NOT"]);
    for probe in &report.probes {
        grid.row([probe.name.clone(), if probe.attached { "yes" } else { "NO" }.to_owned(), probe.hook.clone(), probe.reason.clone()]);
    }
    grid
}

fn watches(report: &v1::CapabilityReport) -> Grid {
    let mut grid = Grid::new(&["WATCHED", "CLASS", "ACTIVE", "WHY NOT"]);
    for watch in &report.watches {
        grid.row([watch.path.clone(), watch.asset_class.clone(), if watch.active { "yes" } else { "NO" }.to_owned(), watch.reason.clone()]);
    }
    grid
}

async fn refusals(limit: u32, context: Option<&str>, output: &Output) -> Result<(), CtlError> {
    let session = Session::open(context).await?;
    let refusals = session.hosts().refusals(v1::RefusalsRequest { limit }).await.map_err(|status| session.failed(status))?.into_inner().refusals;
    if output.format != Format::Table {
        return output.json_list(refusals.iter().map(|refusal| json::message("Refusal", refusal)).collect::<Result<_, _>>()?);
    }
    let mut grid = Grid::new(&["AT", "FROM", "REASON", "TIMES", "DEVICE", "DETAIL"]);
    for refusal in refusals {
        grid.row([
            when::date(when::from_wire(refusal.at.as_ref())),
            refusal.peer_address,
            refusal.reason,
            refusal.count.to_string(),
            refusal.device_uid,
            refusal.detail,
        ]);
    }
    output.block(&grid.render(output))
}
