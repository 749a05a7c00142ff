//! Judges every host once a second, keeps the outcome, and tells every change once.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use parking_lot::Mutex;
use picket_event::{Device, DeviceUid, SpoolUid, Timestamp};
use picket_lake::{Batch, Lake, LakeError};
use picket_proto::{frame, v1::SensorProblem};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};
use uuid::Uuid;

use super::{
    Condition,
    finding::{self, Change},
    judge::{Limits, Sight, Verdict, judge},
    problems::{Baseline, blinds, problems},
};
use crate::{
    clock,
    config::AgentsConfig,
    gateway::{DeviceProblem, Directory, Fleet, Seen},
    metrics::{ConditionLabels, Metrics},
    state::{SensorHealthRow, State, StateError},
};

/// A silent host is told so much later than it could be.
const JUDGE_EVERY: Duration = Duration::from_secs(1);
/// A judge that comes so late did not run (the server was suspended or starved): what it did not hear is no one's silence.
const JUDGE_LATE: Duration = Duration::from_secs(10);

/// One host, for the API.
#[derive(Clone, Debug)]
pub struct SensorHealthView {
    /// How it is.
    pub condition: Condition,
    /// Since when.
    pub since: Timestamp,
    /// Why.
    pub reason: String,
    /// What it does not see.
    pub problems: Vec<SensorProblem>,
}

/// See the module. One a server.
pub struct SensorHealth {
    rooms: Rooms,
    limits: Limits,
    hosts: Mutex<HashMap<DeviceUid, Host>>,
}

/// What the judge works with.
pub struct Rooms {
    /// Keeps conditions.
    pub state: State,
    /// Takes findings.
    pub lake: Lake,
    /// Numbers them.
    pub own_spool: SpoolUid,
    /// Whom it looks at.
    pub fleet: Arc<Fleet>,
    /// Who was revoked.
    pub directory: Arc<Directory>,
    /// Counts.
    pub metrics: Arc<Metrics>,
}

#[derive(Clone, Debug, Default)]
struct Host {
    hostname: String,
    condition: Condition,
    since: Timestamp,
    reason: String,
    problems: Vec<SensorProblem>,
    baseline: Baseline,
    finding_uid: String,
    pending: Option<(Bytes, u64)>,
    dirty: bool,
}

/// As stored: [`SensorProblem`] is the wire's.
#[derive(Serialize, Deserialize)]
struct StoredProblem {
    cause: String,
    subject: String,
    detail: String,
    healed: bool,
    since_ns: i64,
}

impl SensorHealth {
    /// Everything that was known when the server stopped.
    pub async fn load(rooms: Rooms, config: &AgentsConfig) -> Result<Self, StateError> {
        let limits = Limits { silent_after: Duration::from_secs(config.silent_after_s), grace: Duration::from_secs(config.restart_grace_s) };
        let mut hosts = HashMap::new();
        let known: HashMap<String, SensorHealthRow> = rooms.state.sensor_health().await?.into_iter().map(|row| (row.device_uid.clone(), row)).collect();
        for device in rooms.state.devices().await? {
            // One that has never been heard cannot fall silent.
            if device.revoked_at.is_some() || device.last_seen_at.is_none() {
                continue;
            }
            let uid: DeviceUid = device.uid.parse().map_err(|_| StateError::Corrupt("device uid"))?;
            let host = match known.get(&device.uid) {
                Some(row) => Host::stored(row, device.hostname)?,
                None => Host { hostname: device.hostname, since: device.last_seen_at.unwrap_or_default(), ..Host::default() },
            };
            hosts.insert(uid, host);
        }
        Ok(Self { rooms, limits, hosts: Mutex::new(hosts) })
    }

    /// The host, where it was ever heard.
    #[must_use]
    pub fn view(&self, device: DeviceUid) -> Option<SensorHealthView> {
        let hosts = self.hosts.lock();
        let host = hosts.get(&device)?;
        Some(SensorHealthView { condition: host.condition, since: host.since, reason: host.reason.clone(), problems: host.problems.clone() })
    }

    /// Until told to stop.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let mut began = Instant::now();
        let mut judged = began;
        let every = JUDGE_EVERY.min(self.limits.silent_after / 4);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(every) => {}
            }
            let now = Instant::now();
            if now.duration_since(judged) >= JUDGE_LATE {
                warn!(late_s = now.duration_since(judged).as_secs(), "this server did not run for a while: hosts have time to come back");
                began = now;
            }
            judged = now;
            self.judge(began, now);
            if let Err(error) = self.keep().await {
                error!(error = &error as &dyn std::error::Error, "the condition of hosts could not be stored; it stays in memory");
            }
        }
    }

    /// `began`: nothing that was not heard before counts.
    fn judge(&self, began: Instant, now: Instant) {
        let mut hosts = self.hosts.lock();
        let mut connected = BTreeSet::new();
        self.rooms.fleet.look(|seen| {
            connected.insert(seen.device);
            let host = hosts.entry(seen.device).or_insert_with(|| Host { since: clock::now(), dirty: true, ..Host::default() });
            let since = |at: Instant| now.saturating_duration_since(at.max(began));
            host.connected(seen, self.limits, since, self);
        });
        let gone = self.rooms.fleet.gone();
        for device in gone.keys() {
            // A first session may have come and gone since the last round.
            hosts.entry(*device).or_insert_with(|| Host { since: clock::now(), dirty: true, ..Host::default() });
        }
        hosts.retain(|device, _| connected.contains(device) || !matches!(self.rooms.directory.admit(*device), Err(DeviceProblem::Revoked)));
        for (device, host) in hosts.iter_mut().filter(|(device, _)| !connected.contains(*device)) {
            let sight = match gone.get(device) {
                Some(gone) => {
                    host.hostname.clone_from(&gone.hostname);
                    Sight::Gone { unheard: now.saturating_duration_since(gone.at.max(began)), goodbye: gone.goodbye }
                }
                None => Sight::Unseen { since_start: now.saturating_duration_since(began) },
            };
            if let Some(verdict) = judge(host.condition, sight, self.limits) {
                // What it does not see is not known any more.
                self.change(*device, host, verdict, Vec::new());
            }
        }
        for condition in Condition::ALL {
            let count = hosts.values().filter(|host| host.condition == condition).count();
            self.rooms.metrics.hosts.get_or_create(&ConditionLabels { condition: condition.name() }).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    /// Enters a verdict; a change of it becomes an event.
    fn change(&self, device: DeviceUid, host: &mut Host, verdict: Verdict, problems: Vec<SensorProblem>) {
        let Verdict { condition, reason } = verdict;
        let more = condition == Condition::Blinded && problems.iter().any(|new| blinds(new) && !host.problems.iter().any(|old| same(old, new)));
        if condition == host.condition && !more {
            if host.problems != problems {
                host.dirty = true;
                host.problems = problems;
                host.reason = reason;
            }
            return;
        }
        // The event before it is not in the lake yet: this one waits for the next round.
        if host.pending.is_some() {
            return;
        }
        let at = clock::now();
        if host.condition == Condition::Reporting || host.finding_uid.is_empty() {
            host.finding_uid = Uuid::now_v7().to_string();
        }
        let told = if condition == Condition::Reporting { &host.problems } else { &problems };
        let change =
            Change { from: host.condition, to: condition, reason: &reason, problems: told, finding_uid: &host.finding_uid, hostname: &host.hostname, at };
        match frame::encode(&[finding::event(&change)]) {
            Ok(frame) => host.pending = Some((frame.into(), self.rooms.lake.watermark(device, self.rooms.own_spool).saturating_add(1))),
            // Only a sentence over every limit; what is kept says it all the same.
            Err(error) => error!(%device, %error, "a finding about a host cannot be encoded"),
        }
        warn!(%device, hostname = host.hostname, from = host.condition.name(), to = condition.name(), reason, "a host's sensor changed its condition");
        self.rooms.metrics.host_conditions.get_or_create(&ConditionLabels { condition: condition.name() }).inc();
        *host = Host { condition, since: at, reason, problems, dirty: true, ..std::mem::take(host) };
    }

    /// Stores what changed, then gives events to the lake, then forgets them: killed in between, the lake is asked again and knows.
    async fn keep(&self) -> Result<(), StateError> {
        let rows: Vec<_> = self.hosts.lock().iter().filter(|(_, host)| host.dirty).map(|(device, host)| host.row(*device)).collect();
        if !rows.is_empty() {
            self.rooms.state.save_sensor_health(&rows).await?;
            let mut hosts = self.hosts.lock();
            for row in &rows {
                // Nobody else writes between the two.
                if let Some(host) = row.device_uid.parse().ok().and_then(|device: DeviceUid| hosts.get_mut(&device)) {
                    host.dirty = false;
                }
            }
        }
        let pending: Vec<_> = {
            let hosts = self.hosts.lock();
            hosts.iter().filter_map(|(device, host)| Some((*device, host.hostname.clone(), host.pending.clone()?))).collect()
        };
        for (device, hostname, (frame, seq)) in pending {
            let outcome = self.append(device, hostname, frame, seq).await;
            let mut hosts = self.hosts.lock();
            let Some(host) = hosts.get_mut(&device) else { continue };
            match outcome {
                Ok(()) => (host.pending, host.dirty) = (None, true),
                // The lake was set back, or is ahead of the state: the event takes the next free number.
                Err(LakeError::Gap { watermark }) => {
                    if let Some((_, seq)) = &mut host.pending {
                        *seq = watermark.saturating_add(1);
                    }
                    host.dirty = true;
                }
                Err(error) => warn!(%device, error = &error as &dyn std::error::Error, "a finding about a host waits for the lake"),
            }
        }
        Ok(())
    }

    async fn append(&self, device: DeviceUid, hostname: String, frame: Bytes, first_seq: u64) -> Result<(), LakeError> {
        let Ok(events) = frame::decode(&frame, 1) else {
            error!(%device, "a stored finding about a host cannot be read and is dropped");
            return Ok(());
        };
        let device = Arc::new(Device { uid: device, hostname });
        let batch = Batch { device, spool: self.rooms.own_spool, first_seq, received: clock::now(), frame, events };
        let appended = self.rooms.lake.append(batch).await?;
        info!(seq = first_seq, replayed = appended.replayed, "a finding about a host is stored");
        Ok(())
    }
}

/// Apart from the wording.
fn same(old: &SensorProblem, new: &SensorProblem) -> bool {
    (&old.cause, &old.subject, old.healed) == (&new.cause, &new.subject, new.healed)
}

impl Host {
    fn connected(&mut self, seen: &Seen<'_>, limits: Limits, since: impl Fn(Instant) -> Duration, health: &SensorHealth) {
        if self.hostname != seen.hostname {
            seen.hostname.clone_into(&mut self.hostname);
        }
        self.dirty |= self.baseline.learn(seen);
        let all = problems(&self.baseline, seen);
        let blinding: Vec<_> = all.iter().filter(|problem| blinds(problem)).cloned().collect();
        let sight =
            Sight::Connected { unheard: since(seen.heard), beatless: since(seen.beat.unwrap_or(seen.joined)), beat: seen.beat.is_some(), problems: &blinding };
        if let Some(verdict) = judge(self.condition, sight, limits) {
            health.change(seen.device, self, verdict, all);
        }
    }

    fn row(&self, device: DeviceUid) -> SensorHealthRow {
        let problems: Vec<_> = self
            .problems
            .iter()
            .map(|problem| StoredProblem {
                cause: problem.cause.clone(),
                subject: problem.subject.clone(),
                detail: problem.detail.clone(),
                healed: problem.healed,
                since_ns: problem.since_ns,
            })
            .collect();
        SensorHealthRow {
            device_uid: device.to_string(),
            condition: self.condition.name().to_owned(),
            since: self.since,
            reason: self.reason.clone(),
            // Plain strings and numbers: neither can fail.
            problems: serde_json::to_string(&problems).unwrap_or_default(),
            baseline: serde_json::to_string(&self.baseline).unwrap_or_default(),
            finding_uid: self.finding_uid.clone(),
            pending: self.pending.as_ref().map(|(frame, seq)| (frame.to_vec(), *seq)),
        }
    }

    fn stored(row: &SensorHealthRow, hostname: String) -> Result<Self, StateError> {
        let problems: Vec<StoredProblem> = serde_json::from_str(&row.problems).map_err(|_| StateError::Corrupt("problems of a sensor"))?;
        let wire = |problem: StoredProblem| SensorProblem {
            cause: problem.cause,
            subject: problem.subject,
            detail: problem.detail,
            healed: problem.healed,
            since_ns: problem.since_ns,
        };
        Ok(Self {
            hostname,
            condition: Condition::from_name(&row.condition).ok_or(StateError::Corrupt("condition of a sensor"))?,
            since: row.since,
            reason: row.reason.clone(),
            problems: problems.into_iter().map(wire).collect(),
            baseline: serde_json::from_str(&row.baseline).map_err(|_| StateError::Corrupt("baseline of a sensor"))?,
            finding_uid: row.finding_uid.clone(),
            pending: row.pending.clone().map(|(frame, seq)| (frame.into(), seq)),
            dirty: false,
        })
    }
}
