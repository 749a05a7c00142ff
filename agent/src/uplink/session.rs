//! One session: Hello, Welcome, then batches up and answers down until something ends it.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use picket_event::{LossCause, Timestamp};
use picket_proto::v1::{
    AgentMessage, EventBatch, Goodbye, Hello, Nack, ServerMessage, Welcome, agent_gateway_client::AgentGatewayClient, agent_message::Message as Up,
    server_message::Message as Down,
};
use picket_spool::{LostRange, Reader, Stored, StoredFrame};
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Streaming, transport::Channel};

use super::{
    Reports, Uplink,
    commands::Commands,
    renewal,
    window::{Outcome, Sent, Window},
};
use crate::{
    boot::wall_now,
    checkpoint::{FRAME_CLASSES, corrupt},
    dial::with_sources,
    identity::{Identity, IdentityStore},
    loss::Pending,
};

/// The protocol of `Hello.protocol`.
const PROTOCOL: u32 = 1;
const WELCOME_MAX: Duration = Duration::from_secs(30);
/// Whatever the server allows, not more than this is on its way: a bound of this agent's memory.
const IN_FLIGHT_BATCHES_MAX: u32 = 64;
const IN_FLIGHT_BYTES_MAX: usize = 4 << 20;
/// Read from the spool at once.
const READ_BYTES_MAX: usize = 1 << 20;
/// A server that answers nothing for so long, with batches on their way, is stuck.
const ANSWER_MAX: Duration = Duration::from_secs(120);
/// One empty batch stands for at most this many lost events, as for any batch.
const LOST_EVENTS_MAX: u64 = 2_000;

/// How a session ended.
#[derive(Debug)]
pub(super) enum End {
    /// A new certificate waits: connect with it.
    Renewed,
    /// The spool has a new life: say Hello again.
    NewLife,
    /// The agent ends, and has said so.
    Stopped,
    Failed {
        progress: bool,
        welcomed: bool,
        reason: String,
    },
}

/// A status with what lies under it.
fn said(status: &tonic::Status) -> String {
    let cause = std::error::Error::source(status).map(|source| format!(": {}", with_sources(source))).unwrap_or_default();
    format!("{} ({:?}){cause}", status.message(), status.code())
}

struct Session<'a, R> {
    uplink: &'a Uplink<R>,
    up: mpsc::Sender<AgentMessage>,
    window: Window,
    reader: Reader,
    ahead: VecDeque<Stored>,
    paused_until: Option<Instant>,
    answered_at: Instant,
    progress: bool,
}

impl<R: Reports> Uplink<R> {
    /// `unproved`: the store, where the identity is a renewed one that takes the old one's place once it is welcomed.
    pub(super) async fn session(
        &self,
        channel: Channel,
        identity: &Identity,
        unproved: Option<&IdentityStore>,
        store: &IdentityStore,
        commands: &mut Commands,
    ) -> End {
        let failed = |welcomed, reason| End::Failed { progress: false, welcomed, reason };
        let (up, queue) = mpsc::channel(usize::try_from(IN_FLIGHT_BATCHES_MAX).unwrap_or(64) + 16);
        let (mut down, welcome) = match self.welcome(channel.clone(), identity, &up, queue).await {
            Ok(welcomed) => welcomed,
            Err(reason) => return failed(false, reason),
        };
        if let Some(store) = unproved
            && let Err(error) = store.promote()
        {
            tracing::error!(error = with_sources(&error), "the renewed certificate works but could not take the old one's place");
        }
        let state = self.spool.state();
        if welcome.watermark > state.last_seq || welcome.watermark < state.acked_seq {
            return self.new_life(welcome.watermark);
        }
        if let Err(error) = self.spool.ack(welcome.watermark) {
            tracing::warn!(error = with_sources(&error), "acknowledged events could not be deleted");
        }
        self.status.connected();
        self.reports.connected();
        tracing::info!(device = %identity.device_uid, watermark = welcome.watermark, waiting = self.spool.state().events(), "connected to the server");
        let batches = usize::try_from(welcome.batches_in_flight_max.clamp(1, IN_FLIGHT_BATCHES_MAX)).unwrap_or(1);
        let session = Session {
            uplink: self,
            up,
            window: Window::new(welcome.watermark, batches, IN_FLIGHT_BYTES_MAX),
            reader: self.spool.reader(),
            ahead: VecDeque::new(),
            paused_until: None,
            answered_at: Instant::now(),
            progress: false,
        };
        session.serve(&mut down, channel, identity, store, commands).await
    }

    async fn welcome(
        &self,
        channel: Channel,
        identity: &Identity,
        up: &mpsc::Sender<AgentMessage>,
        queue: mpsc::Receiver<AgentMessage>,
    ) -> Result<(Streaming<ServerMessage>, Welcome), String> {
        let state = self.spool.state();
        let hello = Hello {
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            protocol: PROTOCOL,
            device_uid: identity.device_uid.to_string(),
            spool_uid: state.spool_uid.to_string(),
            first_seq: state.first_seq,
            last_seq: state.synced_seq,
            host: Some(self.reports.host()),
            capabilities: Some(self.reports.capabilities()),
        };
        // The queue is new.
        let _ = up.try_send(AgentMessage { message: Some(Up::Hello(hello)) });
        let refused = |status: tonic::Status| format!("the server ended the session: {}", said(&status));
        let greet = async {
            let mut client = AgentGatewayClient::new(channel).max_encoding_message_size(4 << 20);
            let mut down = client.session(ReceiverStream::new(queue)).await.map_err(refused)?.into_inner();
            match down.message().await.map_err(refused)?.and_then(|message| message.message) {
                Some(Down::Welcome(welcome)) => Ok((down, welcome)),
                Some(_) => Err("the server did not begin with Welcome".to_owned()),
                None => Err("the server ended the session before Welcome".to_owned()),
            }
        };
        tokio::time::timeout(WELCOME_MAX, greet).await.unwrap_or_else(|_| Err(format!("no Welcome in {} s", WELCOME_MAX.as_secs())))
    }

    fn new_life(&self, watermark: u64) -> End {
        let state = self.spool.state();
        match self.spool.reset() {
            Ok(uid) => {
                let (last, acked) = (state.last_seq, state.acked_seq);
                tracing::error!(watermark, last, acked, old = %state.spool_uid, new = %uid, "server and spool disagree on what was sent (one of them was set back): the spool begins a new life");
                End::NewLife
            }
            Err(error) => End::Failed { progress: false, welcomed: true, reason: with_sources(&error) },
        }
    }
}

impl<R: Reports> Session<'_, R> {
    async fn serve(
        mut self,
        down: &mut Streaming<ServerMessage>,
        channel: Channel,
        identity: &Identity,
        store: &IdentityStore,
        commands: &mut Commands,
    ) -> End {
        let mut heartbeat = tokio::time::interval(self.uplink.heartbeat_every);
        heartbeat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut synced = self.uplink.synced.clone();
        let news = self.uplink.reports.news();
        let validity = identity.lifetime().ok();
        let mut renewal: Option<JoinHandle<Result<(), String>>> = None;
        let mut renew_at = validity.map(|validity| tokio::time::Instant::now() + renewal::due_in(validity, renewal::now_s()));
        loop {
            if let Err(end) = self.send() {
                return end;
            }
            let pause = self.paused_until.map(tokio::time::Instant::from_std);
            let far = tokio::time::Instant::now() + Duration::from_secs(3_600);
            let stuck_at = if self.window.is_empty() { far } else { tokio::time::Instant::from_std(self.answered_at + ANSWER_MAX) };
            let end = tokio::select! {
                message = down.message() => match message {
                    Ok(Some(message)) => self.handle(message, commands).await,
                    Ok(None) => Err(self.failed("the server closed the session".to_owned())),
                    Err(status) => Err(self.failed(format!("the session ended: {}", said(&status)))),
                },
                () = self.uplink.stop.cancelled() => return self.goodbye(down).await,
                _ = heartbeat.tick() => self.heartbeat(),
                () = news.notified() => {
                    heartbeat.reset();
                    self.heartbeat()
                }
                changed = synced.changed() => if changed.is_ok() { Ok(()) } else { Err(self.failed("the agent is stopping".to_owned())) },
                () = tokio::time::sleep_until(pause.unwrap_or(far)), if pause.is_some() => {
                    self.paused_until = None;
                    Ok(())
                }
                () = tokio::time::sleep_until(renew_at.unwrap_or(far)), if renew_at.is_some() && renewal.is_none() => {
                    renewal = Some(tokio::spawn(renewal::renew(channel.clone(), identity.clone(), store.clone())));
                    Ok(())
                }
                result = async { match renewal.as_mut() { Some(task) => task.await, None => std::future::pending().await } } => {
                    renewal = None;
                    match result.unwrap_or_else(|panic| Err(panic.to_string())) {
                        Ok(()) => return End::Renewed,
                        Err(reason) => {
                            tracing::warn!(reason, "the certificate could not be renewed");
                            renew_at = validity.map(|validity| tokio::time::Instant::now() + renewal::retry_in(validity));
                            Ok(())
                        }
                    }
                }
                () = tokio::time::sleep_until(stuck_at) => Err(self.failed("the server answers no batch".to_owned())),
            };
            if let Err(end) = end {
                return end;
            }
        }
    }

    #[expect(clippy::unnecessary_wraps, reason = "an arm of the session's loop, whose others can end it")]
    fn heartbeat(&self) -> Result<(), End> {
        // A full queue means that the server does not read: the next one will tell.
        let _ = self.up.try_send(AgentMessage { message: Some(Up::Heartbeat(self.uplink.reports.heartbeat())) });
        Ok(())
    }

    /// Without it the host would be silent for the server. Waits until the server has closed the stream, and so has read it.
    async fn goodbye(self, down: &mut Streaming<ServerMessage>) -> End {
        let goodbye = Goodbye { reason: "asked to stop".to_owned() };
        let _ = self.up.try_send(AgentMessage { message: Some(Up::Goodbye(goodbye)) });
        drop(self);
        while let Ok(Some(_)) = down.message().await {}
        End::Stopped
    }

    fn failed(&self, reason: String) -> End {
        End::Failed { progress: self.progress, welcomed: true, reason }
    }

    /// Sends what there is and fits.
    fn send(&mut self) -> Result<(), End> {
        let mut batches = 0;
        while self.paused_until.is_none() && self.window.has_room() {
            if self.ahead.is_empty() {
                let read = self.reader.frames_after(self.window.cursor, READ_BYTES_MAX);
                self.ahead = read.map_err(|error| self.failed(with_sources(&error)))?.into();
            }
            let Some(stored) = self.ahead.pop_front() else { break };
            if self.window.is_empty() {
                self.answered_at = Instant::now();
            }
            match stored {
                Stored::Frame(frame) => self.send_frame(frame)?,
                Stored::Lost(range) => self.send_lost(range)?,
            }
            batches += 1;
        }
        if batches > 0 {
            self.uplink.status.sent(batches);
        }
        Ok(())
    }

    fn send_frame(&mut self, frame: StoredFrame) -> Result<(), End> {
        let sent = Sent {
            first_seq: frame.first_seq,
            last_seq: frame.last_seq(),
            bytes: frame.payload.len(),
            counts: Some(frame.class_counts),
            since: Timestamp(frame.time_first_ns),
            until: Timestamp(frame.time_last_ns),
        };
        self.send_batch(frame.count, frame.payload, sent)
    }

    /// A range that cannot be read any more is counted as lost, once, and its numbers are used up by batches without content: the server
    /// refuses those as malformed and goes on behind them, as the contract says.
    fn send_lost(&mut self, mut range: LostRange) -> Result<(), End> {
        if !range.reported {
            for loss in corrupt(&range, wall_now()) {
                let count = loss.count.unwrap_or(0);
                self.uplink.ledger.add(Pending {
                    cause: loss.cause,
                    class: loss.class,
                    cpu: loss.cpu,
                    count,
                    produced: 0,
                    since: loss.since,
                    until: loss.until,
                });
            }
            if let Err(error) = self.uplink.spool.lost_reported(std::slice::from_ref(&range)) {
                tracing::warn!(error = with_sources(&error), "a lost range may be told twice");
            }
            range.reported = true;
        }
        let last_seq = range.last_seq.min(range.first_seq + (LOST_EVENTS_MAX - 1));
        let sent = Sent { first_seq: range.first_seq, last_seq, bytes: 0, counts: None, since: wall_now(), until: wall_now() };
        let count = u32::try_from(last_seq - range.first_seq + 1).unwrap_or(0);
        if range.last_seq > last_seq {
            range.first_seq = last_seq + 1;
            self.ahead.push_front(Stored::Lost(range));
        }
        self.send_batch(count, Vec::new(), sent)
    }

    fn send_batch(&mut self, count: u32, payload: Vec<u8>, sent: Sent) -> Result<(), End> {
        let batch = EventBatch { spool_uid: self.uplink.spool.state().spool_uid.to_string(), first_seq: sent.first_seq, count, frame_zstd: payload.into() };
        self.window.sent(sent);
        // The queue has room for every batch that the window allows.
        self.up.try_send(AgentMessage { message: Some(Up::Batch(batch)) }).map_err(|_| self.failed("the server does not read".to_owned()))
    }

    async fn handle(&mut self, message: ServerMessage, commands: &mut Commands) -> Result<(), End> {
        match message.message {
            Some(Down::Ack(ack)) => {
                self.of_this_spool(&ack.spool_uid)?;
                let outcome = self.window.ack(ack.seq);
                self.settle(outcome, None).await
            }
            Some(Down::Nack(nack)) => {
                self.of_this_spool(&nack.spool_uid)?;
                let outcome = self.window.nack(&nack);
                self.settle(outcome, Some(&nack)).await
            }
            Some(Down::Command(command)) => {
                let reports = &self.uplink.reports;
                let result = commands.run(command, wall_now(), || (reports.host(), reports.capabilities()), |id, paths| reports.scan(id, paths));
                self.up.try_send(AgentMessage { message: Some(Up::Result(result)) }).map_err(|_| self.failed("the server does not read".to_owned()))
            }
            Some(Down::Welcome(_)) => Err(self.failed("the server sent a second Welcome".to_owned())),
            // A newer server may say what this agent does not know.
            None => Ok(()),
        }
    }

    fn of_this_spool(&self, uid: &str) -> Result<(), End> {
        let own = self.uplink.spool.state().spool_uid.to_string();
        if uid == own { Ok(()) } else { Err(self.failed("the server answered for another spool".to_owned())) }
    }

    async fn settle(&mut self, outcome: Outcome, nack: Option<&Nack>) -> Result<(), End> {
        self.answered_at = Instant::now();
        match outcome {
            Outcome::Nothing => Ok(()),
            Outcome::Acked => self.acknowledge().await,
            Outcome::Rewind(pause) => {
                let (reason, detail) = nack.map(|nack| (nack.reason(), nack.detail.as_str())).unwrap_or_default();
                tracing::warn!(?reason, detail, again_from = self.window.cursor + 1, "the server asks to send again");
                self.ahead.clear();
                self.paused_until = (!pause.is_zero()).then(|| Instant::now() + pause);
                self.acknowledge().await
            }
            Outcome::Refused(sent) => {
                self.refused(&sent, nack);
                self.acknowledge().await
            }
            Outcome::ServerRolledBack => Err(self.uplink.new_life(nack.map_or(0, |nack| nack.watermark))),
            Outcome::Broken(why) => Err(self.failed(why.to_owned())),
        }
    }

    fn refused(&self, sent: &Sent, nack: Option<&Nack>) {
        // The batch of a lost range is refused by design, and its events are counted already.
        let Some(counts) = sent.counts else { return };
        let detail = nack.map_or("", |nack| nack.detail.as_str());
        tracing::error!(first_seq = sent.first_seq, last_seq = sent.last_seq, detail, "the server refused events for good");
        self.uplink.status.refused();
        for (class, count) in FRAME_CLASSES.into_iter().zip(counts) {
            let count = u64::from(count);
            self.uplink.ledger.add(Pending { cause: LossCause::Refused, class, cpu: None, count, produced: 0, since: sent.since, until: sent.until });
        }
    }

    /// Lets the spool delete what the server has.
    async fn acknowledge(&mut self) -> Result<(), End> {
        self.progress = true;
        let (spool, acked) = (self.uplink.spool.clone(), self.window.acked);
        match tokio::task::spawn_blocking(move || spool.ack(acked)).await {
            Ok(Ok(())) => Ok(()),
            // They stay and are deleted with the next acknowledgement.
            Ok(Err(error)) => {
                tracing::warn!(error = with_sources(&error), "acknowledged events could not be deleted");
                Ok(())
            }
            Err(panic) => Err(self.failed(panic.to_string())),
        }
    }
}
