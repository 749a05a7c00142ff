//! A host that falls silent, is stopped, or does not see what it saw: shown, told once, and remembered.

use std::time::Duration;

use crate::support::{Admin, Device, Session, TestServer};
use picket_proto::v1::{CapabilityReport, Goodbye, Heartbeat, HostView, Probe, SensorProblem, agent_message::Message as Up, host_view::State};
use prost_types::{Struct, value::Kind};
use tonic::Code;

async fn server(silent_after_s: u64, restart_grace_s: u64) -> TestServer {
    TestServer::start_with(|config| {
        config.agents.silent_after_s = silent_after_s;
        config.agents.restart_grace_s = restart_grace_s;
    })
    .await
}

fn report(probes: &[&str]) -> CapabilityReport {
    let probe = |name: &&str| Probe { name: (*name).to_owned(), hook: "tp_btf".to_owned(), attached: true, reason: String::new() };
    CapabilityReport { probes: probes.iter().map(probe).collect(), ..CapabilityReport::default() }
}

async fn beat(session: &Session, probes: &[&str], problems: Vec<SensorProblem>) {
    let time_ns = picket_server::clock::now().0;
    session.send(Up::Heartbeat(Heartbeat { time_ns, capabilities: Some(report(probes)), problems, ..Heartbeat::default() })).await;
}

/// Waits until the host is in that state.
async fn becomes(admin: &Admin, device: &Device, state: State) -> HostView {
    let mut last = HostView::default();
    for _ in 0..400 {
        last = admin.host(&device.uid).await;
        // Connected at once, and judged within a second.
        if last.state() == state && (last.state_since.is_some() || state == State::Disconnected) {
            return last;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the host does not become {state:?}: {last:?}");
}

/// Activity and rule of every finding about a host's sensor, oldest first, once there are `count`.
async fn told(admin: &Admin, count: usize) -> Vec<(i64, String)> {
    for _ in 0..200 {
        let mut events = admin.search("class:finding").await;
        if events.len() >= count {
            events.reverse();
            return events.iter().map(|event| (number(event, "activity_id"), text(event, &["finding_info", "analytic", "uid"]))).collect();
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("not {count} findings: {:?}", admin.search("class:finding").await);
}

fn field<'a>(event: &'a Struct, path: &[&str]) -> Option<&'a Kind> {
    let (first, rest) = path.split_first()?;
    match (event.fields.get(*first)?.kind.as_ref()?, rest) {
        (kind, []) => Some(kind),
        (Kind::StructValue(inner), rest) => field(inner, rest),
        _ => None,
    }
}

fn number(event: &Struct, name: &str) -> i64 {
    match field(event, &[name]) {
        #[expect(clippy::cast_possible_truncation, reason = "ids of OCSF are small")]
        Some(Kind::NumberValue(number)) => *number as i64,
        other => panic!("{name}: {other:?}"),
    }
}

fn text(event: &Struct, path: &[&str]) -> String {
    match field(event, path) {
        Some(Kind::StringValue(text)) => text.clone(),
        other => panic!("{path:?}: {other:?} in {event:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_says_nothing_is_silent_and_told_once() {
    let server = server(2, 60).await;
    let admin = server.admin().await;
    let device = server.enrol().await;
    assert_eq!(admin.host(&device.uid).await.state(), State::Enrolled);
    let session = server.session(&device).await;
    beat(&session, &["process_exec"], Vec::new()).await;
    becomes(&admin, &device, State::Connected).await;
    // Its connection stays up, as that of a stopped process does.
    let silent = becomes(&admin, &device, State::Silent).await;
    assert!(silent.state_reason.contains("carries nothing"), "{}", silent.state_reason);
    assert!(silent.state_since.is_some());
    assert_eq!(told(&admin, 1).await, [(1, "picket.sensor.silent".to_owned())]);
    beat(&session, &["process_exec"], Vec::new()).await;
    becomes(&admin, &device, State::Connected).await;
    // Dropped without a goodbye.
    drop(session);
    becomes(&admin, &device, State::Disconnected).await;
    becomes(&admin, &device, State::Silent).await;
    let silent = || "picket.sensor.silent".to_owned();
    assert_eq!(told(&admin, 3).await, [(1, silent()), (3, silent()), (1, silent())]);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(told(&admin, 3).await.len(), 3, "once a change");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_goodbye_is_no_silence() {
    let server = server(1, 1).await;
    let admin = server.admin().await;
    let device = server.enrol().await;
    let session = server.session(&device).await;
    beat(&session, &[], Vec::new()).await;
    becomes(&admin, &device, State::Connected).await;
    session.send(Up::Goodbye(Goodbye { reason: "asked to stop".to_owned() })).await;
    // As an agent does: nothing more is sent, and the server's end is waited for.
    let Session { up, mut down, .. } = session;
    drop(up);
    while let Ok(Some(_)) = down.message().await {}
    let stopped = becomes(&admin, &device, State::Stopped).await;
    assert_eq!(stopped.state_reason, "the agent ended in order");
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(admin.host(&device.uid).await.state(), State::Stopped);
    assert_eq!(told(&admin, 1).await, [(1, "picket.sensor.stopped".to_owned())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sensor_that_lost_a_probe_is_blinded_and_says_which() {
    let server = server(30, 60).await;
    let admin = server.admin().await;
    let device = server.enrol().await;
    let session = server.session(&device).await;
    beat(&session, &["process_exec", "file_open"], Vec::new()).await;
    becomes(&admin, &device, State::Connected).await;
    beat(&session, &["process_exec"], Vec::new()).await;
    let blinded = becomes(&admin, &device, State::Blinded).await;
    let problems: Vec<_> = blinded.problems.iter().map(|problem| (problem.cause.as_str(), problem.subject.as_str())).collect();
    assert_eq!(problems, [("probe_missing", "file_open")]);
    assert!(blinded.state_reason.starts_with("file_open is missing"), "{}", blinded.state_reason);
    let own = SensorProblem { cause: "map_changed".to_owned(), subject: "picket_roots".to_owned(), detail: "emptied".to_owned(), ..SensorProblem::default() };
    beat(&session, &["process_exec"], vec![own]).await;
    let rule = || "picket.sensor.blinded".to_owned();
    assert_eq!(told(&admin, 2).await, [(1, rule()), (2, rule())], "a further problem is told too");
    beat(&session, &["process_exec", "file_open"], Vec::new()).await;
    becomes(&admin, &device, State::Connected).await;
    assert_eq!(told(&admin, 3).await.last(), Some(&(3, rule())));
    let finding = admin.search("class:finding").await;
    let uids: std::collections::BTreeSet<_> = finding.iter().map(|event| text(event, &["finding_info", "uid"])).collect();
    assert_eq!(uids.len(), 1, "one finding from the first problem to the end");
    assert_eq!(text(finding.first().unwrap(), &["device", "uid"]), device.uid);
    let metrics = server.metrics().await;
    for line in [r#"picket_hosts{condition="reporting"} 1"#, r#"picket_host_conditions_total{condition="blinded"} 2"#] {
        assert!(metrics.contains(line), "{line} in\n{metrics}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_problem_that_blinds_nobody_is_only_shown() {
    let server = server(30, 60).await;
    let admin = server.admin().await;
    let device = server.enrol().await;
    let session = server.session(&device).await;
    let gone = SensorProblem { cause: "config_missing".to_owned(), subject: "configuration".to_owned(), ..SensorProblem::default() };
    beat(&session, &[], vec![gone]).await;
    for _ in 0..200 {
        let host = admin.host(&device.uid).await;
        if !host.problems.is_empty() {
            assert_eq!(host.state(), State::Connected);
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the problem is not shown");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_server_remembers_and_does_not_cry_wolf() {
    let mut server = server(3, 7).await;
    let (blinded, alive) = (server.enrol().await, server.enrol().await);
    let admin = server.admin().await;
    let first = server.session(&blinded).await;
    beat(&first, &["process_exec"], Vec::new()).await;
    becomes(&admin, &blinded, State::Connected).await;
    beat(&first, &[], Vec::new()).await;
    becomes(&admin, &blinded, State::Blinded).await;
    let second = server.session(&alive).await;
    beat(&second, &["process_exec"], Vec::new()).await;
    becomes(&admin, &alive, State::Connected).await;
    assert_eq!(told(&admin, 1).await.len(), 1);
    server.restart().await;
    drop((first, second));
    let admin = server.admin().await;
    assert_eq!(admin.host(&blinded.uid).await.state(), State::Blinded, "remembered");
    // Longer than the silence, shorter than the grace.
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(admin.host(&alive.uid).await.state(), State::Disconnected);
    let session = server.session(&alive).await;
    let beating = tokio::spawn(async move {
        for _ in 0..40 {
            beat(&session, &["process_exec"], Vec::new()).await;
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    });
    becomes(&admin, &blinded, State::Silent).await;
    assert_eq!(admin.host(&alive.uid).await.state(), State::Connected);
    assert_eq!(told(&admin, 2).await, [(1, "picket.sensor.blinded".to_owned()), (2, "picket.sensor.silent".to_owned())]);
    beating.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_agent_may_number_the_servers_own_events() {
    let server = server(30, 60).await;
    let admin = server.admin().await;
    let device = server.enrol().await;
    let mut session = Session::silent(server.gateway(Some(&device)).await.unwrap()).await.unwrap();
    // The deployment's name stands in every certificate.
    let deployment = picket_server::serve::Deployment::open(&server.config).await.unwrap();
    session.spool = deployment.instance.deployment;
    deployment.state.close().await;
    let hello = session.hello(&device);
    session.send(Up::Hello(hello)).await;
    assert_eq!(session.end().await.code(), Code::PermissionDenied);
    assert_eq!(admin.refusals_of("identity_mismatch").await.len(), 1);
}
