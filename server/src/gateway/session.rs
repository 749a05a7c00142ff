//! One agent's stream: Hello, Welcome, then batches, heartbeats and results up, acks and commands down. The states are those of
//! `agent.proto`; whatever else comes ends the call and is recorded.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use parking_lot::Mutex;
use picket_event::{Device, SpoolUid, Timestamp};
use picket_proto::v1::{AgentMessage, EventBatch, Heartbeat, Hello, ServerMessage, Welcome, agent_message::Message as Up, server_message::Message as Down};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep, sleep_until, timeout},
};
use tonic::{Code, Status, Streaming};
use tracing::{info, warn};

use super::{
    EndReason, Gateway,
    fleet::{LiveSession, View},
    hello,
};
use crate::{
    clock,
    ingest::{Answer, Pipeline, Source, TokenBucket},
    pki::DeviceIdentity,
    refusal::RefusalReason,
};

/// The one that this server speaks.
const PROTOCOL: u32 = 1;
const GOODBYE_CHARS_MAX: usize = 128;
/// An agent that has connected says Hello at once.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// How long batches on their way may take to be stored once the server stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// A device over its rate is slowed down for so long, then told to come back.
const SLOW_DOWN_MAX: Duration = Duration::from_secs(1);

/// A stream that has been admitted and has not said Hello.
pub(super) struct Session {
    pub(super) gateway: Arc<Gateway>,
    pub(super) identity: DeviceIdentity,
    pub(super) rate: Arc<Mutex<TokenBucket>>,
    pub(super) address: SocketAddr,
    pub(super) inbound: Streaming<AgentMessage>,
    pub(super) outbound: mpsc::Sender<Result<ServerMessage, Status>>,
}

/// A session that has been welcomed.
struct Welcomed {
    live: Arc<LiveSession>,
    ended: watch::Receiver<Option<EndReason>>,
    spool: SpoolUid,
    pipeline: Pipeline,
    /// A batch that waits for the device's rate, and until when.
    held: Option<(EventBatch, Instant)>,
    /// The agent ends in order.
    goodbye: bool,
}

impl Session {
    /// Runs to the end of the stream.
    pub(super) async fn run(mut self) {
        let end = match self.begin().await {
            Ok(mut welcomed) => {
                let end = self.until_ended(&mut welcomed).await;
                self.gateway.fleet.leave(&welcomed.live, welcomed.goodbye);
                end
            }
            Err(refused) => refused,
        };
        if end.code() == Code::Ok {
            return;
        }
        // An agent that does not read cannot be told.
        let _told = timeout(Duration::from_secs(1), self.outbound.send(Err(end))).await;
    }

    async fn begin(&mut self) -> Result<Welcomed, Status> {
        let first = match timeout(HELLO_TIMEOUT, self.inbound.message()).await {
            Ok(Ok(Some(message))) => message,
            Ok(Ok(None)) => return Err(Status::ok("")),
            Ok(Err(status)) => return Err(self.broken(&status)),
            Err(_) => return Err(Status::deadline_exceeded("no Hello in time")),
        };
        let Some(Up::Hello(hello)) = first.message else { return Err(self.violation("the first message is not Hello")) };
        if hello.protocol != PROTOCOL {
            return Err(Status::unimplemented(format!("this server speaks protocol {PROTOCOL}")));
        }
        if hello.device_uid != self.identity.device.to_string() {
            let detail = format!("Hello claims to be {}", hello.device_uid);
            self.record(RefusalReason::IdentityMismatch, &detail);
            return Err(Status::permission_denied("Hello names another device than the certificate"));
        }
        hello::check_hello(&hello).map_err(|problem| self.malformed(&problem.to_string()))?;
        let spool: SpoolUid = hello.spool_uid.parse().map_err(|_| self.malformed("Hello's spool uid is not a UUID"))?;
        if spool == self.gateway.own_spool {
            self.record(RefusalReason::IdentityMismatch, "Hello claims the spool of the server's own events");
            return Err(Status::permission_denied("that spool is the server's own"));
        }
        self.welcome(hello, spool).await
    }

    async fn welcome(&mut self, hello: Hello, spool: SpoolUid) -> Result<Welcomed, Status> {
        let device = self.identity.device;
        let hostname = hello::hostname(hello.host.as_ref().map_or("", |host| host.hostname.as_str()));
        let view = View {
            hostname: hostname.clone(),
            agent_version: hello::version(&hello.agent_version),
            host: hello.host.unwrap_or_default(),
            capabilities: hello.capabilities,
            last_message_at: clock::now(),
            dirty: true,
            ..View::default()
        };
        let (boot_id, boot_time) = (view.host.boot_id.clone(), Timestamp(view.host.boot_time_ns));
        let (live, ended, older) = self.gateway.fleet.join(device, self.address, self.outbound.clone(), view);
        if let Some(older) = older {
            self.suspect_clone(&older, &boot_id, boot_time);
        }
        let source = Source { device: Arc::new(Device { uid: device, hostname: hostname.clone() }), spool, peer: self.address.ip() };
        let pipeline = Pipeline::new(Arc::clone(&self.gateway.ingest), source);
        let watermark = self.gateway.ingest.lake().watermark(device, spool);
        let welcome = Welcome { watermark, batches_in_flight_max: self.gateway.batches_in_flight_max, server_time_ns: clock::now().0 };
        info!(%device, hostname, address = %self.address, %spool, watermark, "agent connected");
        let welcomed = Welcomed { live, ended, spool, pipeline, held: None, goodbye: false };
        if self.outbound.send(Ok(ServerMessage { message: Some(Down::Welcome(welcome)) })).await.is_err() {
            self.gateway.fleet.leave(&welcomed.live, false);
            return Err(Status::ok(""));
        }
        Ok(welcomed)
    }

    /// Two hosts with one identity: an older session that still spoke after the newer one's host had booted, from another boot.
    fn suspect_clone(&self, older: &LiveSession, boot_id: &str, boot_time: Timestamp) {
        let older_boot = older.boot_id();
        if older_boot == boot_id || boot_id.is_empty() || older_boot.is_empty() || boot_time >= older.last_message_at() {
            return;
        }
        let detail = format!("two sessions at once from different boots: {older_boot} at {} and {boot_id} at {}", older.address.ip(), self.address.ip());
        self.record(RefusalReason::PossibleClone, &detail);
    }

    async fn until_ended(&mut self, welcomed: &mut Welcomed) -> Status {
        let mut ended = welcomed.ended.clone();
        let reason = async move {
            match ended.wait_for(Option::is_some).await.map(|reason| *reason) {
                Ok(Some(reason)) => reason,
                // The sender lives as long as the session.
                _ => std::future::pending().await,
            }
        };
        let until_expiry = Duration::from_nanos(u64::try_from(self.identity.not_after.0.saturating_sub(clock::now().0)).unwrap_or(0));
        tokio::select! {
            biased;
            reason = reason => match reason {
                EndReason::Superseded => Status::aborted("a newer session of this device took over"),
                EndReason::Revoked => {
                    self.gateway.refusals.record(self.address.ip(), RefusalReason::Revoked, Some(self.identity.device), "the session was ended by the revocation");
                    Status::permission_denied("this device was revoked")
                }
            },
            () = sleep(until_expiry) => Status::unauthenticated("the certificate has expired"),
            end = self.serve(welcomed) => end,
        }
    }

    async fn serve(&mut self, welcomed: &mut Welcomed) -> Status {
        let gateway = Arc::clone(&self.gateway);
        let in_flight_max = usize::try_from(gateway.batches_in_flight_max).unwrap_or(usize::MAX);
        let silence_max = Duration::from_secs(gateway.silence_max_s);
        let mut heard_at = Instant::now();
        loop {
            let held_until = welcomed.held.as_ref().map(|(_, until)| *until);
            // Not reading is the back-pressure: HTTP/2's window fills and the agent keeps its events in its spool.
            let may_read = welcomed.held.is_none() && welcomed.pipeline.len() < in_flight_max;
            tokio::select! {
                () = gateway.stop.cancelled() => return self.drain(&mut welcomed.pipeline).await,
                answer = welcomed.pipeline.answer() => {
                    if self.send(answer).await.is_err() {
                        return Status::ok("");
                    }
                }
                () = sleep_until(held_until.unwrap_or(heard_at)), if held_until.is_some() => {
                    if let Some((batch, _)) = welcomed.held.take() {
                        self.push(welcomed, batch);
                    }
                }
                message = self.inbound.message(), if may_read => {
                    heard_at = Instant::now();
                    let outcome = match message {
                        Ok(Some(message)) => self.handle(welcomed, message),
                        Ok(None) => return self.drain(&mut welcomed.pipeline).await,
                        Err(status) => Err(self.broken(&status)),
                    };
                    if let Err(end) = outcome {
                        return end;
                    }
                }
                () = sleep_until(heard_at + silence_max), if may_read => return Status::deadline_exceeded("nothing was heard for too long"),
            }
        }
    }

    fn handle(&self, welcomed: &mut Welcomed, message: AgentMessage) -> Result<(), Status> {
        match message.message {
            Some(Up::Batch(batch)) => self.batch(welcomed, batch),
            Some(Up::Heartbeat(heartbeat)) => self.heartbeat(&welcomed.live, heartbeat),
            Some(Up::Result(result)) => {
                hello::check_result(&result).map_err(|problem| self.malformed(&problem.to_string()))?;
                welcomed.live.answered(result);
                Ok(())
            }
            Some(Up::Goodbye(goodbye)) => {
                let reason = crate::refusal::sanitise(&goodbye.reason, GOODBYE_CHARS_MAX);
                info!(device = %self.identity.device, reason, "the agent says goodbye");
                welcomed.live.update(|_| {});
                welcomed.goodbye = true;
                Ok(())
            }
            Some(Up::Hello(_)) => Err(self.violation("a second Hello")),
            // A kind that this server does not know yet, or nothing at all.
            None => Err(self.violation("a message of no known kind")),
        }
    }

    fn batch(&self, welcomed: &mut Welcomed, batch: EventBatch) -> Result<(), Status> {
        welcomed.live.update(|_| {});
        if batch.spool_uid != welcomed.spool.to_string() {
            return Err(self.violation("a batch of another spool than Hello's"));
        }
        if batch.count == 0 || batch.first_seq == 0 || batch.first_seq.checked_add(u64::from(batch.count)).is_none() {
            return Err(self.violation("a batch with impossible sequence numbers"));
        }
        self.push(welcomed, batch);
        Ok(())
    }

    fn push(&self, welcomed: &mut Welcomed, batch: EventBatch) {
        let taken = self.rate.lock().take(batch.count, std::time::Instant::now());
        match taken {
            Ok(()) => welcomed.pipeline.push(batch),
            Err(wait) if wait <= SLOW_DOWN_MAX => welcomed.held = Some((batch, Instant::now() + wait)),
            Err(wait) => welcomed.pipeline.defer(batch, u32::try_from(wait.as_millis()).unwrap_or(u32::MAX)),
        }
    }

    fn heartbeat(&self, live: &LiveSession, heartbeat: Heartbeat) -> Result<(), Status> {
        hello::check_heartbeat(&heartbeat).map_err(|problem| self.malformed(&problem.to_string()))?;
        let skew_ns = heartbeat.time_ns.saturating_sub(clock::now().0);
        live.update(|view| {
            view.clock_skew_ms = skew_ns / 1_000_000;
            if heartbeat.capabilities.is_some() {
                view.capabilities.clone_from(&heartbeat.capabilities);
            }
            view.heartbeat = Some(heartbeat);
            view.beat = view.heard;
            view.dirty = true;
        });
        Ok(())
    }

    /// Answers what is on its way and takes nothing new.
    async fn drain(&self, pipeline: &mut Pipeline) -> Status {
        let answered = timeout(DRAIN_TIMEOUT, async {
            while !pipeline.is_empty() {
                let answer = pipeline.answer().await;
                if self.send(answer).await.is_err() {
                    return;
                }
            }
        });
        if answered.await.is_err() {
            warn!(device = %self.identity.device, batches = pipeline.len(), "batches were not stored in time; the agent keeps them");
        }
        if self.gateway.stop.is_cancelled() { Status::unavailable("the server is stopping") } else { Status::ok("") }
    }

    async fn send(&self, answer: Answer) -> Result<(), mpsc::error::SendError<Result<ServerMessage, Status>>> {
        let message = match answer {
            Answer::Ack(ack) => Down::Ack(ack),
            Answer::Nack(nack) => Down::Nack(nack),
        };
        self.outbound.send(Ok(ServerMessage { message: Some(message) })).await
    }

    fn record(&self, reason: RefusalReason, detail: &str) {
        self.gateway.refusals.record(self.address.ip(), reason, Some(self.identity.device), detail);
    }

    fn violation(&self, detail: &'static str) -> Status {
        self.record(RefusalReason::ProtocolViolation, detail);
        Status::failed_precondition(detail)
    }

    fn malformed(&self, detail: &str) -> Status {
        self.record(RefusalReason::Malformed, detail);
        Status::invalid_argument(detail)
    }

    /// A stream that ended with an error: the peer's connection broke, or it sent what is not a message.
    fn broken(&self, status: &Status) -> Status {
        match status.code() {
            Code::OutOfRange | Code::Internal | Code::InvalidArgument | Code::ResourceExhausted if std::error::Error::source(status).is_none() => {
                self.malformed(&format!("unreadable message: {}", status.message()))
            }
            _ => Status::ok(""),
        }
    }
}
