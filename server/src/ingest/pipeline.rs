//! The batches of one session between receipt and answer.

use std::{net::IpAddr, sync::Arc, time::Instant};

use bytes::Bytes;
use futures::{FutureExt as _, StreamExt as _, future::BoxFuture, stream::FuturesOrdered};
use picket_event::{Device, Event, SpoolUid, Timestamp};
use picket_lake::{Appended, Batch, Lake, LakeError};
use picket_proto::v1::{Ack, EventBatch, Nack, nack::Reason};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::{error, warn};

use super::{
    BATCHES_IN_FLIGHT_MAX,
    check::{Checked, Rejected, check_bounds, decode},
};
use crate::{
    clock,
    metrics::Metrics,
    refusal::{RefusalReason, Refusals},
};

/// How long an agent waits when the server cannot store now.
const STORAGE_RETRY_MS: u32 = 2_000;

/// What all sessions share.
pub struct Ingest {
    lake: Lake,
    metrics: Arc<Metrics>,
    refusals: Arc<Refusals>,
    in_flight: Arc<Semaphore>,
    decoding: Arc<Semaphore>,
}

/// Where a session's batches come from, by its certificate and its Hello.
#[derive(Clone, Debug)]
pub struct Source {
    /// Identity and label.
    pub device: Arc<Device>,
    /// The spool named in Hello.
    pub spool: SpoolUid,
    /// For refusals.
    pub peer: IpAddr,
}

/// What the agent is told about a batch.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// Stored and fsynced.
    Ack(Ack),
    /// Not stored.
    Nack(Nack),
}

/// One session's batches, in the order of receipt.
pub struct Pipeline {
    ingest: Arc<Ingest>,
    source: Source,
    checking: FuturesOrdered<BoxFuture<'static, InFlight>>,
    storing: FuturesOrdered<BoxFuture<'static, Answer>>,
}

/// A batch that has been checked and not been stored.
struct InFlight {
    first_seq: u64,
    count: u32,
    frame: Bytes,
    received: Timestamp,
    received_at: Instant,
    next: Next,
    permit: Option<OwnedSemaphorePermit>,
}

enum Next {
    Store(Vec<Event>),
    Skip(Rejected),
    Defer { retry_after_ms: u32 },
}

impl Ingest {
    /// Over an open lake.
    #[must_use]
    pub fn new(lake: Lake, metrics: Arc<Metrics>, refusals: Arc<Refusals>) -> Self {
        // More at once than there are cores only evict each other's caches.
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self { lake, metrics, refusals, in_flight: Arc::new(Semaphore::new(BATCHES_IN_FLIGHT_MAX)), decoding: Arc::new(Semaphore::new(cores)) }
    }

    /// The lake.
    #[must_use]
    pub fn lake(&self) -> &Lake {
        &self.lake
    }
}

impl Pipeline {
    /// Empty.
    #[must_use]
    pub fn new(ingest: Arc<Ingest>, source: Source) -> Self {
        Self { ingest, source, checking: FuturesOrdered::new(), storing: FuturesOrdered::new() }
    }

    /// Batches not answered yet.
    #[must_use]
    pub fn len(&self) -> usize {
        self.checking.len() + self.storing.len()
    }

    /// True when every batch is answered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.checking.is_empty() && self.storing.is_empty()
    }

    /// Takes a batch whose spool and sequence numbers the session has checked.
    pub fn push(&mut self, batch: EventBatch) {
        let ingest = Arc::clone(&self.ingest);
        let (received, received_at) = (clock::now(), Instant::now());
        self.checking.push_back(
            async move {
                let (first_seq, count, frame) = (batch.first_seq, batch.count, batch.frame_zstd);
                let (next, permit) = match check_bounds(count, &frame) {
                    Err(rejected) => (Next::Skip(rejected), None),
                    Ok(()) => ingest.check(count, &frame).await,
                };
                InFlight { first_seq, count, frame, received, received_at, next, permit }
            }
            .boxed(),
        );
    }

    /// Answers a batch with "come back later", in its turn.
    pub fn defer(&mut self, batch: EventBatch, retry_after_ms: u32) {
        let in_flight = InFlight {
            first_seq: batch.first_seq,
            count: batch.count,
            frame: Bytes::new(),
            received: clock::now(),
            received_at: Instant::now(),
            next: Next::Defer { retry_after_ms },
            permit: None,
        };
        self.checking.push_back(async move { in_flight }.boxed());
    }

    /// The next answer, in the order of receipt. Pending for ever while nothing is on its way; may be dropped and called again.
    pub async fn answer(&mut self) -> Answer {
        loop {
            tokio::select! {
                biased;
                Some(in_flight) = self.checking.next(), if !self.checking.is_empty() => self.store(in_flight),
                Some(answer) = self.storing.next(), if !self.storing.is_empty() => return answer,
                else => std::future::pending().await,
            }
        }
    }

    /// Queues a checked batch for the log, which stores in the order in which its futures are first polled. `FuturesOrdered` polls new members in
    /// the order they were added; without the runtime's budget none of them is put off before it has taken its place in the log's queue. If the
    /// order ever broke, the log would answer with a gap and the agent would send again.
    fn store(&mut self, in_flight: InFlight) {
        let (ingest, source) = (Arc::clone(&self.ingest), self.source.clone());
        self.storing.push_back(tokio::task::unconstrained(async move { ingest.store(&source, in_flight).await }).boxed());
    }
}

impl Ingest {
    async fn check(&self, count: u32, frame: &Bytes) -> (Next, Option<OwnedSemaphorePermit>) {
        // Never closed.
        let permit = Arc::clone(&self.in_flight).acquire_owned().await.ok();
        let turn = self.decoding.acquire().await;
        let started = Instant::now();
        let bytes = frame.clone();
        let checked: Checked = match tokio::task::spawn_blocking(move || decode(count, &bytes)).await {
            Ok(checked) => checked,
            Err(failed) => {
                error!(error = %failed, "decoding a batch failed");
                return (Next::Defer { retry_after_ms: STORAGE_RETRY_MS }, permit);
            }
        };
        drop(turn);
        self.metrics.decode_seconds.observe(started.elapsed().as_secs_f64());
        match checked {
            Ok(events) => (Next::Store(events), permit),
            Err(rejected) => (Next::Skip(rejected), None),
        }
    }

    async fn store(&self, source: &Source, in_flight: InFlight) -> Answer {
        let InFlight { first_seq, count, frame, received, received_at, next, permit } = in_flight;
        let range = Range { spool: source.spool, first_seq, count };
        let bytes = u64::try_from(frame.len()).unwrap_or(0);
        let answer = match next {
            Next::Defer { retry_after_ms } => self.busy(source, &range, "over this device's rate", retry_after_ms),
            Next::Skip(rejected) => self.skip(source, &range, &rejected).await,
            Next::Store(events) => {
                let batch = Batch { device: Arc::clone(&source.device), spool: source.spool, first_seq, received, frame, events };
                match self.lake.append(batch).await {
                    Ok(appended) => {
                        self.stored(&appended, count, bytes);
                        range.ack(appended.watermark)
                    }
                    Err(error) => self.not_stored(source, &range, error),
                }
            }
        };
        drop(permit);
        self.metrics.ack_seconds.observe(received_at.elapsed().as_secs_f64());
        answer
    }

    fn stored(&self, appended: &Appended, count: u32, bytes: u64) {
        if appended.replayed {
            self.metrics.batch("replayed");
            return;
        }
        self.metrics.batch("stored");
        self.metrics.events.inc_by(u64::from(count));
        self.metrics.bytes.inc_by(bytes);
    }

    async fn skip(&self, source: &Source, range: &Range, rejected: &Rejected) -> Answer {
        match self.lake.skip(source.device.uid, source.spool, range.first_seq, u64::from(range.count)).await {
            Ok(appended) if appended.replayed => range.ack(appended.watermark),
            Ok(appended) => {
                let detail = format!("{} events from {} of spool {}: {rejected}", range.count, range.first_seq, range.spool);
                self.refusals.record(source.peer, RefusalReason::Malformed, Some(source.device.uid), &detail);
                self.metrics.batch("malformed");
                range.nack(Reason::Malformed, rejected.to_string(), appended.watermark, 0)
            }
            Err(error) => self.not_stored(source, range, error),
        }
    }

    fn not_stored(&self, source: &Source, range: &Range, error: LakeError) -> Answer {
        match error {
            LakeError::Gap { watermark } => {
                self.metrics.batch("gap");
                range.nack(Reason::Gap, format!("expected {}", watermark.saturating_add(1)), watermark, 0)
            }
            LakeError::DiskFull { .. } => {
                warn!(device = %source.device.uid, "the disk is nearly full: a batch was put off");
                self.busy(source, range, "the server's disk is nearly full", STORAGE_RETRY_MS)
            }
            error => {
                error!(device = %source.device.uid, error = &error as &dyn std::error::Error, "a batch could not be stored");
                self.busy(source, range, "the server cannot store now", STORAGE_RETRY_MS)
            }
        }
    }

    fn busy(&self, source: &Source, range: &Range, detail: &str, retry_after_ms: u32) -> Answer {
        self.metrics.batch("busy");
        range.nack(Reason::Busy, detail.to_owned(), self.lake.watermark(source.device.uid, source.spool), retry_after_ms)
    }
}

/// The sequence numbers of a batch.
struct Range {
    spool: SpoolUid,
    first_seq: u64,
    count: u32,
}

impl Range {
    fn ack(&self, watermark: u64) -> Answer {
        Answer::Ack(Ack { spool_uid: self.spool.to_string(), seq: watermark })
    }

    fn nack(&self, reason: Reason, detail: String, watermark: u64, retry_after_ms: u32) -> Answer {
        Answer::Nack(Nack {
            spool_uid: self.spool.to_string(),
            first_seq: self.first_seq,
            count: self.count,
            reason: reason.into(),
            detail,
            watermark,
            retry_after_ms,
        })
    }
}
