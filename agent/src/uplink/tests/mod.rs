//! The uplink against a real server of the contract over mutual TLS, which misbehaves as told.

mod server;

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use picket_event::{Activity, Event, EventClass, LossCause, SensorState, SensorStateKind, Timestamp};
use picket_proto::v1;
use picket_spool::{NewFrame, Spool, SpoolConfig};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::server::{Fault, Pki, TestServer};
use super::{LinkStatus, Reports, Uplink};
use crate::{
    config::Config,
    enrol,
    identity::{IdentityStore, NewKey},
    loss::LossLedger,
    stdout::own_event,
};

const PATIENCE: Duration = Duration::from_secs(60);

struct NoReports;

impl Reports for NoReports {
    fn host(&self) -> v1::Host {
        v1::Host { hostname: "test".to_owned(), ..v1::Host::default() }
    }

    fn capabilities(&self) -> v1::CapabilityReport {
        v1::CapabilityReport::default()
    }

    fn heartbeat(&self) -> v1::Heartbeat {
        v1::Heartbeat { uptime_s: 1, ..v1::Heartbeat::default() }
    }

    fn connected(&self) {}

    fn news(&self) -> Arc<tokio::sync::Notify> {
        Arc::default()
    }

    fn scan(&self, _command: &str, _paths: &[String]) -> Result<(), String> {
        Err("nothing is scanned here".to_owned())
    }
}

struct Agent {
    config: Config,
    spool: Spool,
    ledger: Arc<LossLedger>,
    status: LinkStatus,
    synced: watch::Sender<u64>,
    stop: CancellationToken,
    number: u64,
    _folder: tempfile::TempDir,
}

impl Agent {
    fn new(server: &TestServer) -> Self {
        let agent = Self::stranger();
        let identity = server.pki.device(server.url(), Duration::from_secs(3_600));
        IdentityStore::new(&agent.config.state_dir).store(&identity).unwrap();
        agent
    }

    /// Not enrolled.
    fn stranger() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = Config { state_dir: folder.path().join("state"), ..Config::default() };
        let (spool, _) = Spool::open(SpoolConfig { segment_bytes: 4 << 10, ..SpoolConfig::new(config.state_dir.join("spool")) }).unwrap();
        let (synced, _) = watch::channel(0);
        let (ledger, status) = (Arc::default(), LinkStatus::default());
        Self { config, spool, ledger, status, synced, stop: CancellationToken::new(), number: 0, _folder: folder }
    }

    fn start(&self) -> tokio::task::JoinHandle<()> {
        let uplink = Uplink {
            config: Arc::new(ArcSwap::from_pointee(self.config.clone())),
            spool: self.spool.clone(),
            synced: self.synced.subscribe(),
            ledger: Arc::clone(&self.ledger),
            reports: Arc::new(NoReports),
            status: self.status.clone(),
            heartbeat_every: Duration::from_millis(50),
            stop: self.stop.clone(),
        };
        tokio::spawn(uplink.run())
    }

    /// Appends `frames` frames of `events` numbered events each.
    fn append(&mut self, frames: usize, events: usize) {
        for _ in 0..frames {
            let events: Vec<Event> = (0..events).map(|_| self.numbered()).collect();
            let payload = picket_proto::frame::encode(&events).unwrap();
            let count = u32::try_from(events.len()).unwrap();
            let class_counts = [0, 0, 0, count, 0, 0, 0, 0];
            self.spool.append(&NewFrame { count, class_counts, payload: &payload, time_first_ns: 1, time_last_ns: 2, ..NewFrame::default() }).unwrap();
        }
        self.spool.sync().unwrap();
        self.synced.send_replace(self.spool.state().synced_seq);
    }

    fn numbered(&mut self) -> Event {
        self.number += 1;
        let report = serde_json::json!({ "number": self.number });
        own_event(Activity::Sensor(SensorState { kind: SensorStateKind::Started, report }), Timestamp(1))
    }

    async fn drained(&self) {
        until("the server has everything", || self.spool.state().events() == 0).await;
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let end = tokio::time::Instant::now() + PATIENCE;
    while !done() {
        assert!(tokio::time::Instant::now() < end, "not in {} s: {what}", PATIENCE.as_secs());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_arrives_once_and_in_order_whatever_the_server_does() {
    use Fault::{Busy, CloseAfterStoring, CloseBeforeStoring, Gap, ResetConnection};
    let server = TestServer::start(Pki::new()).await;
    // A fault at each point of the stream, then each pair of them.
    for (position, faults) in [[Busy, Gap], [CloseBeforeStoring, CloseAfterStoring], [ResetConnection, Busy], [Gap, CloseAfterStoring]].into_iter().enumerate()
    {
        server.faults_after(position * 3, faults);
        let mut agent = Agent::new(&server);
        let task = agent.start();
        agent.append(10, 7);
        agent.append(30, 3);
        agent.drained().await;
        assert_eq!(server.numbers(&agent.spool), (1..=160).collect::<Vec<u64>>(), "{faults:?}");
        assert!(agent.ledger.is_empty());
        assert_eq!(server.faults_left(), 0, "{faults:?} did not happen");
        agent.stop.cancel();
        task.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_sent_before_it_is_synced() {
    let server = TestServer::start(Pki::new()).await;
    let mut agent = Agent::new(&server);
    agent.append(1, 5);
    let payload = picket_proto::frame::encode(&[agent.numbered()]).unwrap();
    agent.spool.append(&NewFrame { count: 1, payload: &payload, ..NewFrame::default() }).unwrap();
    let task = agent.start();
    until("the synced part arrived", || server.numbers(&agent.spool).len() == 5).await;
    until("heartbeats flow", || server.heartbeats() > 3).await;
    assert_eq!(server.numbers(&agent.spool).len(), 5, "the sixth is not durable yet");
    agent.spool.sync().unwrap();
    agent.synced.send_replace(6);
    agent.drained().await;
    agent.stop.cancel();
    task.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_is_asked_to_stop_says_goodbye() {
    let server = TestServer::start(Pki::new()).await;
    let agent = Agent::new(&server);
    let task = agent.start();
    until("heartbeats flow", || server.heartbeats() > 1).await;
    agent.stop.cancel();
    task.await.unwrap();
    assert_eq!((server.goodbyes(), server.sessions()), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_batch_is_counted_as_lost_and_the_rest_goes_on() {
    let server = TestServer::start(Pki::new()).await;
    server.faults_after(1, [Fault::Malformed, Fault::None]);
    let mut agent = Agent::new(&server);
    agent.append(4, 10);
    let task = agent.start();
    agent.drained().await;
    let expected: Vec<u64> = (1..=10).chain(21..=40).collect();
    assert_eq!(server.numbers(&agent.spool), expected);
    let lost: Vec<_> = agent.ledger.take().into_iter().map(|one| (one.cause, one.class, one.count, one.since, one.until)).collect();
    assert_eq!(lost, vec![(LossCause::Refused, Some(EventClass::EventLogActivity), 10, Timestamp(1), Timestamp(2))]);
    agent.stop.cancel();
    task.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_frame_is_told_once_and_does_not_stop_the_queue() {
    use std::os::unix::fs::FileExt;
    let server = TestServer::start(Pki::new()).await;
    let mut agent = Agent::new(&server);
    agent.append(3, 10);
    let segment = agent.config.state_dir.join("spool/00000000000000000001.seg");
    let bytes = std::fs::read(&segment).unwrap();
    let second = bytes.windows(4).enumerate().filter(|(_, window)| window == b"PKFR").nth(1).unwrap().0;
    std::fs::File::options().write(true).open(&segment).unwrap().write_all_at(b"damage", (second + 100) as u64).unwrap();
    let task = agent.start();
    agent.drained().await;
    assert_eq!(server.numbers(&agent.spool), (1..=10).chain(21..=30).collect::<Vec<u64>>());
    let lost: Vec<_> = agent.ledger.take().into_iter().map(|one| (one.cause, one.class, one.count)).collect();
    assert_eq!(lost, vec![(LossCause::SpoolCorrupt, Some(EventClass::EventLogActivity), 10)]);
    agent.stop.cancel();
    task.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spool_that_was_rolled_back_begins_a_new_life() {
    let server = TestServer::start(Pki::new()).await;
    let mut agent = Agent::new(&server);
    let before = agent.spool.state().spool_uid;
    server.pretend_watermark(before, 1_000);
    agent.append(3, 10);
    let task = agent.start();
    agent.drained().await;
    assert_ne!(agent.spool.state().spool_uid, before);
    assert_eq!(server.numbers(&agent.spool), (1..=30).collect::<Vec<u64>>());
    agent.stop.cancel();
    task.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_was_set_back_gets_what_is_left_under_a_new_life() {
    let server = TestServer::start(Pki::new()).await;
    let mut agent = Agent::new(&server);
    agent.append(2, 10);
    agent.spool.ack(20).unwrap();
    let before = agent.spool.state().spool_uid;
    agent.append(2, 10);
    let task = agent.start();
    agent.drained().await;
    assert_ne!(agent.spool.state().spool_uid, before);
    assert_eq!(server.numbers(&agent.spool), (21..=40).collect::<Vec<u64>>());
    agent.stop.cancel();
    task.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_are_answered_and_delivered_again_answered_again() {
    let server = TestServer::start(Pki::new()).await;
    server.command("one");
    server.command("one");
    let agent = Agent::new(&server);
    let task = agent.start();
    until("two answers", || server.results().len() == 2).await;
    assert!(server.results().iter().all(|result| result.id == "one" && result.state() == v1::command_result::State::Done && result.host.is_some()));
    agent.stop.cancel();
    task.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_of_another_deployment_is_not_spoken_to() {
    let (ours, other) = (Pki::new(), TestServer::start(Pki::new()).await);
    let mut agent = Agent::stranger();
    let identity = ours.device(other.url(), Duration::from_secs(3_600));
    IdentityStore::new(&agent.config.state_dir).store(&identity).unwrap();
    agent.append(1, 1);
    let task = agent.start();
    until("it failed", || !agent.status.load().last_error.is_empty()).await;
    assert!(agent.status.load().last_error.contains("UnknownIssuer"), "{}", agent.status.load().last_error);
    assert_eq!(other.sessions(), 0);
    agent.stop.cancel();
    task.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_is_enrolled_by_a_token_and_by_nothing_less() {
    let server = TestServer::start(Pki::new()).await;
    let mut agent = Agent::stranger();
    agent.append(1, 5);
    let task = agent.start();
    until("it says that it waits", || agent.status.load().state == "not_enrolled").await;
    let file = agent.config.state_dir.join("token");
    let url = server.url();
    let enrol = async |token: String, again| {
        std::fs::write(&file, token).unwrap();
        enrol::enrol(&agent.config, &url, &file, again).await.map(|identity| identity.device_uid).map_err(|error| format!("{error:#}"))
    };
    let pin = server.pki.pin();
    let wrong_pin = Pki::new().pin();
    assert!(enrol(format!("pe1.id.secret.{wrong_pin}"), false).await.unwrap_err().contains("pinned key"));
    assert_eq!(server.enrolments(), 0, "the token went to nobody who has not the pinned key");
    let refused = enrol(format!("pe1.id.wrong.{pin}"), false).await.unwrap_err();
    assert!(refused.contains("PermissionDenied") && !refused.contains("wrong"), "{refused}");
    let device = enrol(format!("pe1.id.secret.{pin}\n"), false).await.unwrap();
    assert!(enrol(format!("pe1.id.secret.{pin}"), false).await.unwrap_err().contains(&device.to_string()));
    // The running agent finds its identity.
    agent.drained().await;
    assert_eq!(server.numbers(&agent.spool), [1, 2, 3, 4, 5]);
    agent.stop.cancel();
    task.await.unwrap();
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(agent.config.state_dir.join("identity.json")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_are_renewed_with_a_new_key_while_events_flow() {
    let server = TestServer::start(Pki::new()).await;
    let mut agent = Agent::stranger();
    let store = IdentityStore::new(&agent.config.state_dir);
    store.store(&server.pki.device(server.url(), Duration::from_secs(4))).unwrap();
    let task = agent.start();
    let file = agent.config.state_dir.join("identity.json");
    let key = || {
        let parsed: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
        parsed["key"].as_str().unwrap().to_owned()
    };
    let mut keys = std::collections::BTreeSet::from([key()]);
    for renewals in 1..=3 {
        agent.append(1, 1);
        // Answered, stored beside the old one, and in its place once it has worked.
        until("a new key in the old one's place", || !keys.contains(&key())).await;
        assert!(server.renewals() >= renewals);
        keys.insert(key());
    }
    agent.drained().await;
    assert_eq!(server.numbers(&agent.spool), [1, 2, 3]);
    agent.stop.cancel();
    task.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renewed_certificate_that_does_not_work_never_replaces_one_that_does() {
    let server = TestServer::start(Pki::new()).await;
    let mut agent = Agent::new(&server);
    let store = IdentityStore::new(&agent.config.state_dir);
    store.store_next(&Pki::new().device(server.url(), Duration::from_secs(3_600))).unwrap();
    agent.append(1, 5);
    let task = agent.start();
    agent.drained().await;
    assert_eq!(server.numbers(&agent.spool), [1, 2, 3, 4, 5]);
    assert!(store.current().unwrap().is_some());
    agent.stop.cancel();
    task.await.unwrap();
    drop(NewKey::generate().unwrap());
}
