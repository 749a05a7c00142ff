//! The audit log: every call, denied ones included.
//!
//! A call that changes something is in the log, durably, before anything happens. Denied calls cost their caller nothing, so that after some of
//! a kind within a minute the rest are counted and written as one row.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use picket_proto::ServiceError;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::error;

use crate::state::{AuditRow, State};

/// Rows waiting for the disk; a call whose row has no place waits before it begins.
const QUEUE_MAX: usize = 1_024;
/// Rows in one transaction.
const BATCH_MAX: usize = 256;
/// Denied calls of one address, method and outcome within a minute that get a row of their own.
const DENIED_ROWS_MAX: u64 = 5;
const DENIED_WINDOW: Duration = Duration::from_secs(60);
/// Kinds of denied calls told apart within a minute; beyond it they share one a method. Bounds what somebody without a token can make the log grow.
const DENIED_KINDS_MAX: usize = 64;
const TARGET_CHARS_MAX: usize = 1_024;

/// Writes the audit log.
#[derive(Clone)]
pub struct Audit {
    queue: mpsc::Sender<Job>,
    denied: Arc<Mutex<HashMap<DeniedKind, Denied>>>,
}

/// A place in the queue for the row of one call.
pub struct Reserved {
    place: mpsc::OwnedPermit<Job>,
    begun: Option<i64>,
}

enum Job {
    Insert { row: AuditRow, written: Option<oneshot::Sender<i64>> },
    Finish { id: i64, row: AuditRow },
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct DeniedKind {
    peer: String,
    method: String,
    outcome: String,
}

struct Denied {
    since: Instant,
    count: u64,
    last: AuditRow,
}

impl Audit {
    /// The log, and the task that writes it.
    #[must_use]
    pub fn new(state: State) -> (Self, AuditWriter) {
        let (queue, jobs) = mpsc::channel(QUEUE_MAX);
        let denied = Arc::new(Mutex::default());
        (Self { queue, denied: Arc::clone(&denied) }, AuditWriter { state, jobs, denied })
    }

    /// A place for the row of a call that changes nothing.
    pub async fn reserve(&self) -> Result<Reserved, ServiceError> {
        let place = self.queue.clone().reserve_owned().await.map_err(|_| stopped())?;
        Ok(Reserved { place, begun: None })
    }

    /// Writes the row of a call before it happens, and waits until it is durable.
    pub async fn begin(&self, mut row: AuditRow) -> Result<Reserved, ServiceError> {
        "begun".clone_into(&mut row.outcome);
        let (written, id) = oneshot::channel();
        self.queue.send(Job::Insert { row: bounded(row), written: Some(written) }).await.map_err(|_| stopped())?;
        // Dropped when the row could not be written: then the call must not happen.
        let begun = id.await.map_err(|_| ServiceError::Unavailable("the audit log cannot be written now".to_owned()))?;
        let place = self.queue.clone().reserve_owned().await.map_err(|_| stopped())?;
        Ok(Reserved { place, begun: Some(begun) })
    }

    /// Records a call that was not allowed to begin.
    pub async fn denied(&self, row: AuditRow) {
        let kind = DeniedKind { peer: row.peer_address.clone(), method: row.method.clone(), outcome: row.outcome.clone() };
        {
            let mut denied = self.denied.lock();
            let kind = if denied.len() >= DENIED_KINDS_MAX && !denied.contains_key(&kind) { DeniedKind { peer: String::new(), ..kind } } else { kind };
            let seen = denied.entry(kind).or_insert_with(|| Denied { since: Instant::now(), count: 0, last: row.clone() });
            seen.count = seen.count.saturating_add(1);
            if seen.count > DENIED_ROWS_MAX {
                seen.last = row;
                return;
            }
        }
        // The writer ends only with the server.
        let _stopped = self.queue.send(Job::Insert { row: bounded(row), written: None }).await;
    }
}

impl Reserved {
    /// Says how the call ended. Never waits: the place was taken before the call began.
    pub fn finish(self, row: AuditRow) {
        let row = bounded(row);
        let job = match self.begun {
            Some(id) => Job::Finish { id, row },
            None => Job::Insert { row, written: None },
        };
        let _queue = self.place.send(job);
    }
}

/// The writing end.
pub struct AuditWriter {
    state: State,
    jobs: mpsc::Receiver<Job>,
    denied: Arc<Mutex<HashMap<DeniedKind, Denied>>>,
}

impl AuditWriter {
    /// Writes until told to stop and everything queued is written.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut jobs = Vec::with_capacity(BATCH_MAX);
        let mut minute = tokio::time::interval(DENIED_WINDOW / 6);
        loop {
            tokio::select! {
                biased;
                received = self.jobs.recv_many(&mut jobs, BATCH_MAX) => {
                    if received == 0 {
                        break;
                    }
                    self.write(&mut jobs).await;
                }
                _ = minute.tick() => self.write_counted(false, &mut jobs).await,
                () = stop.cancelled() => {
                    // Calls that still hold a place finish first; new ones are turned away.
                    self.jobs.close();
                    while self.jobs.recv_many(&mut jobs, BATCH_MAX).await > 0 {
                        self.write(&mut jobs).await;
                    }
                    break;
                }
            }
        }
        self.write_counted(true, &mut jobs).await;
    }

    /// One row for all denied calls of a kind that got none of their own.
    async fn write_counted(&self, all: bool, jobs: &mut Vec<Job>) {
        self.denied.lock().retain(|_, denied| {
            let over = all || denied.since.elapsed() >= DENIED_WINDOW;
            if over && denied.count > DENIED_ROWS_MAX {
                let mut row = denied.last.clone();
                row.target = format!("{} more such calls within a minute", denied.count - DENIED_ROWS_MAX);
                jobs.push(Job::Insert { row, written: None });
            }
            !over
        });
        self.write(jobs).await;
    }

    async fn write(&self, jobs: &mut Vec<Job>) {
        let (mut rows, mut waiting, mut finished) = (Vec::new(), Vec::new(), Vec::new());
        for job in jobs.drain(..) {
            match job {
                Job::Insert { row, written } => {
                    rows.push(row);
                    waiting.push(written);
                }
                Job::Finish { id, row } => finished.push((id, row)),
            }
        }
        if !rows.is_empty() {
            match self.state.insert_audit(&rows).await {
                Ok(ids) => waiting.into_iter().zip(ids).for_each(|(written, id)| {
                    if let Some(written) = written {
                        // The caller may have gone.
                        let _gone = written.send(id);
                    }
                }),
                Err(error) => error!(error = &error as &dyn std::error::Error, rows = rows.len(), "audit rows could not be written: {rows:?}"),
            }
        }
        if !finished.is_empty()
            && let Err(error) = self.state.finish_audit(&finished).await
        {
            error!(error = &error as &dyn std::error::Error, "outcomes could not be written to the audit log: {finished:?}");
        }
    }
}

fn bounded(mut row: AuditRow) -> AuditRow {
    row.target = crate::refusal::sanitise(&row.target, TARGET_CHARS_MAX);
    row
}

fn stopped() -> ServiceError {
    ServiceError::Unavailable("the server is stopping".to_owned())
}
