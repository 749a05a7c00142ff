//! The sessions that are up, and what they told.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use picket_event::{DeviceUid, Timestamp};
use picket_proto::v1::{
    CapabilityReport, Command, CommandResult, Heartbeat, Host, ReportState, ServerMessage, command::Action, command_result, server_message::Message,
};
use prost::Message as _;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tracing::error;
use uuid::Uuid;

use crate::{
    clock,
    metrics::Metrics,
    state::{DeviceSnapshot, State, StateError},
};

/// What sessions learned is written that often, in one transaction.
const SNAPSHOT_INTERVAL: Duration = Duration::from_secs(5);
/// What a device said to a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Done, failed or refused.
    pub state: command_result::State,
    /// Id of the command.
    pub command: String,
    /// Why, in the agent's words.
    pub detail: String,
}

/// Commands waiting for an answer of one session.
const WAITING_MAX: usize = 16;

/// Why the server ends a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// A newer session of the same device.
    Superseded,
    /// An admin revoked the device.
    Revoked,
}

/// Every live session, one a device.
pub struct Fleet {
    state: State,
    metrics: Arc<Metrics>,
    live: Mutex<HashMap<DeviceUid, Arc<LiveSession>>>,
    ended: Mutex<HashMap<DeviceUid, DeviceSnapshot>>,
    gone: Mutex<HashMap<DeviceUid, Gone>>,
    flushing: tokio::sync::Mutex<()>,
    next_id: AtomicU64,
}

/// One session.
pub(super) struct LiveSession {
    id: u64,
    pub(super) device: DeviceUid,
    pub(super) address: SocketAddr,
    end: watch::Sender<Option<EndReason>>,
    outbound: mpsc::Sender<Result<ServerMessage, tonic::Status>>,
    joined: Instant,
    view: Mutex<View>,
    waiting: Mutex<HashMap<String, oneshot::Sender<Answer>>>,
}

/// What a session told.
#[derive(Clone, Debug, Default)]
pub(super) struct View {
    pub(super) hostname: String,
    pub(super) agent_version: String,
    pub(super) host: Host,
    pub(super) capabilities: Option<CapabilityReport>,
    pub(super) heartbeat: Option<Heartbeat>,
    pub(super) last_message_at: Timestamp,
    pub(super) clock_skew_ms: i64,
    pub(super) dirty: bool,
    pub(super) heard: Option<Instant>,
    pub(super) beat: Option<Instant>,
}

/// A session that ended, until the device has another one.
#[derive(Clone, Debug)]
pub(crate) struct Gone {
    /// When, by a clock that nobody steps.
    pub(crate) at: Instant,
    /// True where the agent said goodbye.
    pub(crate) goodbye: bool,
    /// Last reported name.
    pub(crate) hostname: String,
}

/// A session that is up, as its sensor's health is judged by. Times are of a clock that nobody steps.
pub(crate) struct Seen<'a> {
    pub(crate) device: DeviceUid,
    pub(crate) hostname: &'a str,
    pub(crate) agent_version: &'a str,
    pub(crate) kernel: &'a str,
    /// Begin of the session.
    pub(crate) joined: Instant,
    /// Its last message.
    pub(crate) heard: Instant,
    /// Its last heartbeat.
    pub(crate) beat: Option<Instant>,
    pub(crate) capabilities: Option<&'a CapabilityReport>,
    pub(crate) heartbeat: Option<&'a Heartbeat>,
}

/// Whether and since when a device is heard.
#[derive(Clone, Copy, Debug)]
pub struct LiveView {
    /// Last message of the session that is up.
    pub last_message_at: Timestamp,
}

/// Why a command was not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandError {
    /// The device has no session.
    NotConnected,
    /// It did not answer in time.
    NoAnswer,
    /// Too many commands wait for that device.
    Busy,
}

impl Fleet {
    /// Nobody connected.
    #[must_use]
    pub fn new(state: State, metrics: Arc<Metrics>) -> Self {
        let (live, ended, gone, flushing) = (Mutex::default(), Mutex::default(), Mutex::default(), tokio::sync::Mutex::default());
        Self { state, metrics, live, ended, gone, flushing, next_id: AtomicU64::new(1) }
    }

    /// Adds a session; one that the device already had ends. Answers the older one, for clone suspicion.
    pub(super) fn join(
        &self,
        device: DeviceUid,
        address: SocketAddr,
        outbound: mpsc::Sender<Result<ServerMessage, tonic::Status>>,
        view: View,
    ) -> (Arc<LiveSession>, watch::Receiver<Option<EndReason>>, Option<Arc<LiveSession>>) {
        let (end, ended) = watch::channel(None);
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let session = Arc::new(LiveSession { id, device, address, end, outbound, joined: Instant::now(), view: Mutex::new(view), waiting: Mutex::default() });
        let older = self.live.lock().insert(device, Arc::clone(&session));
        self.gone.lock().remove(&device);
        match &older {
            Some(older) => older.end(EndReason::Superseded),
            None => {
                self.metrics.agents.inc();
            }
        }
        (session, ended, older)
    }

    /// Removes a session that has ended, unless a newer one has taken its place.
    pub(super) fn leave(&self, session: &LiveSession, goodbye: bool) {
        let mut live = self.live.lock();
        if live.get(&session.device).is_some_and(|current| current.id == session.id) {
            live.remove(&session.device);
            self.metrics.agents.dec();
            let gone = Gone { at: Instant::now(), goodbye, hostname: session.view.lock().hostname.clone() };
            self.gone.lock().insert(session.device, gone);
            self.ended.lock().insert(session.device, session.snapshot());
        }
    }

    /// Ends the device's session, if it has one.
    pub fn end(&self, device: DeviceUid, reason: EndReason) {
        if let Some(session) = self.live.lock().get(&device) {
            session.end(reason);
        }
    }

    /// Sessions that are up.
    #[must_use]
    pub fn connected(&self) -> usize {
        self.live.lock().len()
    }

    /// The device's session.
    #[must_use]
    pub fn view(&self, device: DeviceUid) -> Option<LiveView> {
        self.live.lock().get(&device).map(|session| LiveView { last_message_at: session.view.lock().last_message_at })
    }

    /// Shows every session that is up, one after the other.
    pub(crate) fn look(&self, mut show: impl FnMut(&Seen<'_>)) {
        let live: Vec<_> = self.live.lock().values().map(Arc::clone).collect();
        for session in live {
            let view = session.view.lock();
            // The newer of two reports.
            let capabilities = view.heartbeat.as_ref().and_then(|beat| beat.capabilities.as_ref()).or(view.capabilities.as_ref());
            let seen = Seen {
                device: session.device,
                hostname: &view.hostname,
                agent_version: &view.agent_version,
                kernel: &view.host.kernel,
                joined: session.joined,
                heard: view.heard.unwrap_or(session.joined),
                beat: view.beat,
                capabilities,
                heartbeat: view.heartbeat.as_ref(),
            };
            show(&seen);
        }
    }

    /// Sessions that ended since the start and were not followed by another one.
    pub(crate) fn gone(&self) -> HashMap<DeviceUid, Gone> {
        self.gone.lock().clone()
    }

    /// Asks the device for a fresh state report and waits for it.
    pub async fn refresh(&self, device: DeviceUid, wait: Duration) -> Result<(), CommandError> {
        self.ask(device, Action::ReportState(ReportState {}), wait).await.map(drop)
    }

    /// Asks the device for one thing and waits for its result.
    pub async fn ask(&self, device: DeviceUid, action: Action, wait: Duration) -> Result<Answer, CommandError> {
        let session = self.live.lock().get(&device).map(Arc::clone).ok_or(CommandError::NotConnected)?;
        let id = Uuid::now_v7().to_string();
        let answered = session.expect_answer(&id)?;
        let not_after = clock::after(clock::now(), wait.as_secs());
        let command = Command { id: id.clone(), not_after_ns: not_after.0, action: Some(action) };
        let message = ServerMessage { message: Some(Message::Command(command)) };
        let outcome = tokio::time::timeout(wait, async {
            session.outbound.send(Ok(message)).await.map_err(|_| CommandError::NotConnected)?;
            answered.await.map_err(|_| CommandError::NotConnected)
        });
        let outcome = outcome.await.unwrap_or(Err(CommandError::NoAnswer));
        session.waiting.lock().remove(&id);
        outcome
    }

    /// Writes what sessions told since the last time; after it the state store knows everything told before the call.
    pub async fn flush(&self) -> Result<(), StateError> {
        let _one_at_a_time = self.flushing.lock().await;
        let ended = std::mem::take(&mut *self.ended.lock());
        let live: Vec<_> = self.live.lock().values().map(Arc::clone).collect();
        // A device that came back is in both: what its new session told is written last.
        let mut snapshots: Vec<_> = ended.values().cloned().collect();
        snapshots.extend(live.iter().filter(|session| std::mem::take(&mut session.view.lock().dirty)).map(|session| session.snapshot()));
        if snapshots.is_empty() {
            return Ok(());
        }
        let saved = self.state.save_snapshots(&snapshots).await;
        if saved.is_err() {
            live.iter().for_each(|session| session.view.lock().dirty = true);
            let mut kept = self.ended.lock();
            for (device, snapshot) in ended {
                kept.entry(device).or_insert(snapshot);
            }
        }
        saved
    }

    /// Writes in the background until told to stop.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(SNAPSHOT_INTERVAL) => {}
            }
            if let Err(error) = self.flush().await {
                error!(error = &error as &dyn std::error::Error, "cannot write device state; it stays in memory");
            }
        }
    }
}

impl LiveSession {
    fn end(&self, reason: EndReason) {
        // The first reason stays.
        self.end.send_if_modified(|current| {
            let first = current.is_none();
            current.get_or_insert(reason);
            first
        });
    }

    /// Changes what is known, and notes that it changed.
    pub(super) fn update(&self, change: impl FnOnce(&mut View)) {
        let mut view = self.view.lock();
        view.last_message_at = clock::now();
        view.heard = Some(Instant::now());
        change(&mut view);
    }

    pub(super) fn last_message_at(&self) -> Timestamp {
        self.view.lock().last_message_at
    }

    pub(super) fn boot_id(&self) -> String {
        self.view.lock().host.boot_id.clone()
    }

    fn expect_answer(&self, id: &str) -> Result<oneshot::Receiver<Answer>, CommandError> {
        let mut waiting = self.waiting.lock();
        if waiting.len() >= WAITING_MAX {
            return Err(CommandError::Busy);
        }
        let (answer, answered) = oneshot::channel();
        waiting.insert(id.to_owned(), answer);
        Ok(answered)
    }

    /// A command's result has come.
    pub(super) fn answered(&self, result: CommandResult) {
        let Some(waiting) = self.waiting.lock().remove(&result.id) else { return };
        let answer = Answer { state: result.state(), command: result.id.clone(), detail: result.detail.clone() };
        self.update(|view| {
            if let Some(host) = result.host {
                view.host = host;
            }
            if result.capabilities.is_some() {
                view.capabilities = result.capabilities;
            }
            view.dirty = true;
        });
        // The one who asked may have gone.
        let _gone = waiting.send(answer);
    }

    fn snapshot(&self) -> DeviceSnapshot {
        let view = self.view.lock();
        DeviceSnapshot {
            uid: self.device.to_string(),
            hostname: view.hostname.clone(),
            agent_version: view.agent_version.clone(),
            last_seen_at: view.last_message_at,
            clock_skew_ms: view.clock_skew_ms,
            host: Some(view.host.encode_to_vec()),
            capabilities: view.capabilities.as_ref().map(prost::Message::encode_to_vec),
            heartbeat: view.heartbeat.as_ref().map(prost::Message::encode_to_vec),
        }
    }
}
