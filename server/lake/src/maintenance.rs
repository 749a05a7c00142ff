//! What goes on beside ingest and queries: flushing the log, merging files, expiring days, deleting what nothing reads any more.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use picket_event::Timestamp;

use crate::{
    LakeError, LakeStats, compact,
    contents::TailSegment,
    lake::{Inner, now},
    schema::Day,
    table::{Change, FileMeta, FileWriter, Finish, Plan, compaction_plan, expiry_plan, vacuum, whole_day},
    wal,
};

/// Between two looks at what to merge.
const MERGE_INTERVAL: Duration = Duration::from_secs(30);
/// Between two looks at what to expire and delete.
const EXPIRE_INTERVAL: Duration = Duration::from_secs(300);
/// A day is merged when it is over for this long: rows received before midnight may still be on their way to Parquet.
const DAY_GRACE: Duration = Duration::from_secs(15 * 60);
/// A file that no version names is deleted after the longest query, and never sooner than this: other programs read the table too.
const VACUUM_GRACE_MIN: Duration = Duration::from_secs(15 * 60);
/// After a failed flush.
const RETRY_FIRST: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(30);

/// Figures and gates of the background work.
#[derive(Default)]
pub(crate) struct Progress {
    last_flush: AtomicU64,
    last_commit_ms: AtomicU64,
    flush_failures: AtomicU64,
    compactions: AtomicU64,
    expired_events: AtomicU64,
    /// One flush at a time.
    flushing: tokio::sync::Mutex<()>,
    /// One merge or expiry at a time.
    merging: tokio::sync::Mutex<()>,
    orphans: parking_lot::Mutex<HashMap<String, Instant>>,
}

impl Progress {
    pub(crate) fn fill(&self, stats: &mut LakeStats) {
        let flushed = self.last_flush.load(Ordering::Relaxed);
        stats.last_flush = (flushed > 0).then(|| Timestamp(i64::try_from(flushed).unwrap_or(i64::MAX)));
        stats.last_commit_ms = self.last_commit_ms.load(Ordering::Relaxed);
        stats.flush_failures = self.flush_failures.load(Ordering::Relaxed);
        stats.compactions = self.compactions.load(Ordering::Relaxed);
        stats.expired_events = self.expired_events.load(Ordering::Relaxed);
    }
}

/// Starts the background work; it ends with the lake.
pub(crate) fn start(runtime: &tokio::runtime::Handle, inner: &Arc<Inner>) {
    runtime.spawn(until_closed(Arc::clone(inner), flush_loop(Arc::clone(inner))));
    runtime.spawn(until_closed(Arc::clone(inner), expire_loop(Arc::clone(inner))));
    if inner.config.compaction {
        runtime.spawn(until_closed(Arc::clone(inner), merge_loop(Arc::clone(inner))));
    }
}

async fn until_closed(inner: Arc<Inner>, work: impl Future<Output = ()>) {
    let closing = inner.closing.clone();
    drop(inner);
    tokio::select! {
        () = closing.cancelled() => {}
        () = work => {}
    }
}

async fn flush_loop(inner: Arc<Inner>) {
    let mut retry = RETRY_FIRST;
    let mut interval = tokio::time::interval(inner.config.flush_interval.max(Duration::from_millis(10)));
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    interval.tick().await;
    loop {
        let due = tokio::select! {
            () = inner.sealed.notified() => false,
            _ = interval.tick() => true,
        };
        // While older segments wait, sealing another one would only make more and smaller files.
        if due
            && inner.contents.oldest_sealed().is_none()
            && let Err(error) = inner.writer.roll().await
        {
            tracing::error!(error = &error as &dyn std::error::Error, "cannot seal the log's segment");
        }
        match flush_sealed(&inner).await {
            Ok(()) => retry = RETRY_FIRST,
            Err(error) => {
                inner.progress.flush_failures.fetch_add(1, Ordering::Relaxed);
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    retry_ms = retry.as_millis(),
                    "flushing to the table failed; the log keeps the events"
                );
                tokio::time::sleep(retry).await;
                retry = (retry * 2).min(RETRY_MAX);
                inner.sealed.notify_one();
            }
        }
    }
}

/// Moves every sealed segment to Parquet, oldest first.
pub(crate) async fn flush_sealed(inner: &Arc<Inner>) -> Result<(), LakeError> {
    let _gate = inner.progress.flushing.lock().await;
    while let Some(segment) = inner.contents.oldest_sealed() {
        flush_one(inner, segment).await?;
    }
    Ok(())
}

async fn flush_one(inner: &Arc<Inner>, segment: TailSegment) -> Result<(), LakeError> {
    let number = segment.number;
    let rows = segment.rows;
    let table_dir = inner.table_dir.clone();
    let files = blocking("writing a segment to Parquet", move || write_segment(&table_dir, &segment)).await?;
    let started = Instant::now();
    {
        let mut table = inner.table.lock().await;
        let files = table.commit(&Change::flush(number, files)).await?;
        inner.contents.replace(files, Some(number));
        inner.progress.last_commit_ms.store(millis(started.elapsed()), Ordering::Relaxed);
        if let Err(error) = table.checkpoint().await {
            // The table is right without it, only slower to open.
            tracing::warn!(error = &error as &dyn std::error::Error, "cannot write a checkpoint of the table's log");
        }
    }
    let wal_dir = inner.wal_dir.clone();
    blocking("deleting a flushed segment", move || wal::remove(&wal_dir, number)).await?;
    inner.progress.last_flush.store(u64::try_from(now().0).unwrap_or(0), Ordering::Relaxed);
    tracing::debug!(segment = number, rows, commit_ms = millis(started.elapsed()), "flushed a segment of the log");
    Ok(())
}

/// One file for each day of the segment; mostly that is one.
fn write_segment(table_dir: &std::path::Path, segment: &TailSegment) -> Result<Vec<FileMeta>, LakeError> {
    let mut days: Vec<Day> = segment.batches.iter().map(|rows| rows.day).collect();
    days.sort_unstable();
    days.dedup();
    let mut files = Vec::with_capacity(days.len());
    for day in days {
        let mut writer = FileWriter::create(table_dir, day, Finish::Fresh)?;
        for rows in segment.batches.iter().filter(|rows| rows.day == day) {
            writer.write(&rows.batch)?;
        }
        if writer.rows() > 0 {
            files.push(writer.finish()?);
        }
    }
    Ok(files)
}

async fn merge_loop(inner: Arc<Inner>) {
    let mut interval = tokio::time::interval(MERGE_INTERVAL);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        loop {
            let open = Day::of(Timestamp(now().0.saturating_sub(nanos(DAY_GRACE))));
            let Some(plan) = compaction_plan(&inner.contents.files(), open) else { break };
            if let Err(error) = merge(&inner, open).await {
                tracing::error!(error = &error as &dyn std::error::Error, day = %plan.day, "merging files failed; the old ones stay");
                break;
            }
        }
    }
}

/// Carries out the most useful merge.
async fn merge(inner: &Arc<Inner>, open: Day) -> Result<(), LakeError> {
    let _gate = inner.progress.merging.lock().await;
    // Chosen again inside the gate: what we saw before may be merged or expired by now.
    match compaction_plan(&inner.contents.files(), open) {
        Some(plan) => carry_out(inner, plan).await,
        None => Ok(()),
    }
}

/// Merges all files of one day.
pub(crate) async fn compact_day(inner: &Arc<Inner>, day: Day) -> Result<(), LakeError> {
    let _gate = inner.progress.merging.lock().await;
    let files = inner.contents.files();
    let Some(list) = files.days.get(&day) else { return Ok(()) };
    let over = day < Day::of(now());
    let plan = if over {
        whole_day(day, list)
    } else {
        (list.len() > 1 || list.iter().any(|file| !file.is_sorted())).then(|| Plan { day, files: list.clone(), whole_day: false })
    };
    match plan {
        Some(plan) => carry_out(inner, plan).await,
        None => Ok(()),
    }
}

async fn carry_out(inner: &Arc<Inner>, plan: Plan) -> Result<(), LakeError> {
    let started = Instant::now();
    let files = compact::rewrite(&inner.engine, &inner.table_dir, &plan).await?;
    let (before, after) = (plan.files.len(), files.len());
    let (bytes_before, bytes_after) = (plan.files.iter().map(|file| file.bytes).sum::<u64>(), files.iter().map(|file| file.bytes).sum::<u64>());
    let rows: u64 = files.iter().map(|file| file.rows).sum();
    let day = plan.day;
    let mut table = inner.table.lock().await;
    let files = table.commit(&Change::rewrite(files, plan.files)).await?;
    inner.contents.replace(files, None);
    inner.progress.compactions.fetch_add(1, Ordering::Relaxed);
    tracing::info!(%day, rows, before, after, bytes_before, bytes_after, took_ms = millis(started.elapsed()), "merged files");
    Ok(())
}

async fn expire_loop(inner: Arc<Inner>) {
    let mut interval = tokio::time::interval(EXPIRE_INTERVAL);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        if let Err(error) = expire(&inner).await {
            tracing::error!(error = &error as &dyn std::error::Error, "expiring days failed");
        }
        if let Err(error) = sweep(&inner).await {
            tracing::error!(error = &error as &dyn std::error::Error, "deleting unused files failed");
        }
    }
}

/// Drops the days that are over the retention.
pub(crate) async fn expire(inner: &Arc<Inner>) -> Result<(), LakeError> {
    let _gate = inner.progress.merging.lock().await;
    for (day, reason) in expiry_plan(&inner.contents.files(), inner.config.retention, Day::of(now())) {
        let mut table = inner.table.lock().await;
        let Some(files) = table.files().days.get(&day).cloned() else { continue };
        let (count, bytes, events) = (files.len(), files.iter().map(|file| file.bytes).sum::<u64>(), files.iter().map(|file| file.rows).sum::<u64>());
        let version = table.commit(&Change::expire(files)).await?;
        inner.contents.replace(version, None);
        inner.progress.expired_events.fetch_add(events, Ordering::Relaxed);
        tracing::info!(%day, reason, events, files = count, bytes, "expired a day");
    }
    Ok(())
}

/// Deletes files that no version names any more.
async fn sweep(inner: &Arc<Inner>) -> Result<(), LakeError> {
    let grace = inner.config.query.timeout.max(VACUUM_GRACE_MIN);
    let inner = Arc::clone(inner);
    let deleted =
        blocking("deleting unused files", move || vacuum(&inner.table_dir, &inner.contents.files(), grace, &mut inner.progress.orphans.lock())).await?;
    if deleted > 0 {
        tracing::info!(deleted, "deleted files that no version of the table names");
    }
    Ok(())
}

async fn blocking<T: Send + 'static>(action: &'static str, work: impl FnOnce() -> Result<T, LakeError> + Send + 'static) -> Result<T, LakeError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| LakeError::Engine { action, source: Box::new(error) })?
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}
