//! Search pages, newest first.
//!
//! Rows are ordered by the event's own time, but lie in files by the day received, and a late spool may bring old events today. So files are read in
//! groups, those with the latest times first, until the page is full and no unread file can hold a newer row than its last.

use std::sync::Arc;

use datafusion::{
    arrow::{
        array::{AsArray, RecordBatch, UInt64Array},
        compute::{concat_batches, take_record_batch},
        datatypes::{Int64Type, TimestampMicrosecondType},
    },
    common::ScalarValue,
    datasource::provider_as_source,
    logical_expr::{Expr, LogicalPlanBuilder, SortExpr, lit},
    prelude::col,
};
use picket_event::{Timestamp, columns::COLUMNS};

use super::{
    driver,
    engine::{Engine, Turn, classify},
};
use crate::{
    LakeError, SearchPage, SearchQuery,
    contents::View,
    rows,
    schema::{FILE_SCHEMA, utc},
    search,
    table::{FileMeta, FileSet},
};

const LIMIT_DEFAULT: usize = 100;
/// Rows of one page in memory; a caller that wants more follows the cursor.
const LIMIT_MAX: usize = 10_000;
/// Files of the first group; each further one is twice as large.
const FIRST_GROUP_FILES: usize = 4;

/// Place of a row in the order of a search.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Position {
    time: i64,
    device: String,
    spool: String,
    sequence: i64,
}

impl Position {
    fn parse(cursor: &str) -> Option<Self> {
        let mut parts = cursor.splitn(4, '.');
        let time = parts.next()?.parse().ok()?;
        let uid = |text: Option<&str>| Some(uuid::Uuid::try_parse(text?).ok()?.to_string());
        let (device, spool) = (uid(parts.next())?, uid(parts.next())?);
        Some(Self { time, device, spool, sequence: parts.next()?.parse().ok()? })
    }

    fn of(batch: &RecordBatch, row: usize) -> Option<Self> {
        let text = |name| Some(batch.column_by_name(name)?.as_string_view_opt()?.value(row).to_owned());
        Some(Self {
            time: batch.column_by_name("time")?.as_primitive_opt::<TimestampMicrosecondType>()?.value(row),
            device: text("device_uid")?,
            spool: text("metadata_spool")?,
            sequence: batch.column_by_name("metadata_sequence")?.as_primitive_opt::<Int64Type>()?.value(row),
        })
    }

    fn cursor(&self) -> String {
        format!("{}.{}.{}.{}", self.time, self.device, self.spool, self.sequence)
    }

    /// Rows that come after this one. The first condition alone lets statistics rule out files.
    fn after(&self) -> Expr {
        let time = micros(self.time);
        let (device, spool) = (text(&self.device), text(&self.spool));
        let sequence = col("metadata_sequence").lt(lit(self.sequence));
        let spool = col("metadata_spool").gt(spool.clone()).or(col("metadata_spool").eq(spool).and(sequence));
        let device = col("device_uid").gt(device.clone()).or(col("device_uid").eq(device).and(spool));
        col("time").lt_eq(time.clone()).and(col("time").lt(time).or(device))
    }
}

/// Newest first; within one microsecond by device, spool and, newest first, sequence.
fn order() -> Vec<SortExpr> {
    vec![
        col("time").sort(false, false),
        col("device_uid").sort(true, false),
        col("metadata_spool").sort(true, false),
        col("metadata_sequence").sort(false, false),
    ]
}

fn micros(value: i64) -> Expr {
    Expr::Literal(ScalarValue::TimestampMicrosecond(Some(value), Some(utc())), None)
}

fn text(value: &str) -> Expr {
    Expr::Literal(ScalarValue::Utf8View(Some(value.to_owned())), None)
}

/// Runs a search on the current runtime.
pub(crate) async fn run(engine: &Engine, view: View, query: SearchQuery, now: Timestamp) -> Result<SearchPage, LakeError> {
    let limit = if query.limit == 0 { LIMIT_DEFAULT } else { query.limit }.min(LIMIT_MAX).min(engine.limits.rows_max);
    let mut filters: Vec<Expr> = search::compile(&query.query, now.as_micros())?.into_iter().collect();
    if let Some(since) = query.since {
        filters.push(col("time").gt_eq(micros(since.as_micros())));
    }
    if let Some(until) = query.until {
        filters.push(col("time").lt(micros(until.as_micros())));
    }
    if let Some(cursor) = &query.cursor {
        let position = Position::parse(cursor).ok_or_else(|| LakeError::BadQuery { message: "this is no cursor of a search".into(), position: None })?;
        filters.push(position.after());
    }
    let turn = engine.turn(view.clone(), engine.limits.timeout).await?;
    let found = newest(engine, &turn, view, filters.into_iter().reduce(Expr::and), limit + 1).await?;
    let more = found.num_rows() > limit;
    let page = found.slice(0, found.num_rows().min(limit));
    let events = rows::decode(&page)?;
    let cursor = more.then(|| Position::of(&page, page.num_rows().saturating_sub(1)).map(|position| position.cursor())).flatten();
    let stats = driver::statistics(&turn, events.len() as u64, more);
    Ok(SearchPage { events, cursor, stats })
}

/// The first `limit` rows in order.
async fn newest(engine: &Engine, turn: &Turn, view: View, filter: Option<Expr>, limit: usize) -> Result<RecordBatch, LakeError> {
    let mut groups = Groups::new(&view);
    let mut found = RecordBatch::new_empty(Arc::clone(&FILE_SCHEMA));
    // The tail goes with the newest files.
    let mut tail = Some(view.tail);
    while let Some(files) = groups.next(tail.is_some()) {
        let part = View { files: Arc::new(files), tail: tail.take().unwrap_or_default() };
        let batches =
            tokio::time::timeout(driver::remaining(turn), top(engine, turn, part, filter.clone(), limit)).await.map_err(|_| driver::timed_out(turn))??;
        found = merge(found, batches, limit)?;
        if found.num_rows() >= limit && groups.newest_left().is_none_or(|newest| last_time(&found).is_some_and(|last| last > newest)) {
            break;
        }
    }
    Ok(found)
}

fn last_time(batch: &RecordBatch) -> Option<i64> {
    let times = batch.column_by_name("time")?.as_primitive_opt::<TimestampMicrosecondType>()?;
    (!times.is_empty()).then(|| times.value(times.len() - 1))
}

/// Files by their latest time, in groups that double.
struct Groups {
    files: std::iter::Peekable<std::vec::IntoIter<Arc<FileMeta>>>,
    size: usize,
}

/// A file without statistics may hold anything.
fn latest(file: &FileMeta) -> i64 {
    file.stats.time.map_or(i64::MAX, |(_, high)| high)
}

impl Groups {
    fn new(view: &View) -> Self {
        let mut files: Vec<_> = view.files.iter().cloned().collect();
        files.sort_by_key(|file| std::cmp::Reverse(latest(file)));
        Self { files: files.into_iter().peekable(), size: FIRST_GROUP_FILES }
    }

    /// The next group; an empty one only where `even_empty`.
    fn next(&mut self, even_empty: bool) -> Option<FileSet> {
        let mut set = FileSet::default();
        for file in self.files.by_ref().take(self.size) {
            set.days.entry(file.day).or_default().push(file);
        }
        self.size *= 2;
        (even_empty || !set.days.is_empty()).then_some(set)
    }

    fn newest_left(&mut self) -> Option<i64> {
        self.files.peek().map(|file| latest(file))
    }
}

async fn top(engine: &Engine, turn: &Turn, view: View, filter: Option<Expr>, limit: usize) -> Result<Vec<RecordBatch>, LakeError> {
    let events = engine.events(view, Arc::clone(&turn.count));
    let plan = || {
        let mut plan = LogicalPlanBuilder::scan("events", provider_as_source(Arc::new(events)), None)?;
        if let Some(filter) = filter {
            plan = plan.filter(filter)?;
        }
        plan.project(COLUMNS.iter().map(|column| col(column.name)))?.sort_with_limit(order(), Some(limit))?.build()
    };
    let plan = plan().map_err(classify)?;
    turn.context.execute_logical_plan(plan).await.map_err(classify)?.collect().await.map_err(classify)
}

/// The first rows of both, in order.
fn merge(found: RecordBatch, batches: Vec<RecordBatch>, limit: usize) -> Result<RecordBatch, LakeError> {
    let failed = |error: datafusion::arrow::error::ArrowError| LakeError::Engine { action: "joining the parts of a search", source: Box::new(error) };
    let fresh = concat_batches(&FILE_SCHEMA, &batches).map_err(failed)?;
    if found.num_rows() == 0 {
        return Ok(fresh.slice(0, fresh.num_rows().min(limit)));
    }
    let both = concat_batches(&FILE_SCHEMA, [&found, &fresh]).map_err(failed)?;
    let mut order: Vec<(Position, usize)> = Vec::with_capacity(both.num_rows());
    for row in 0..both.num_rows() {
        let position = Position::of(&both, row).ok_or(LakeError::Misuse("a search lost its order"))?;
        order.push((position, row));
    }
    order.sort_by(|(a, _), (b, _)| {
        b.time.cmp(&a.time).then_with(|| a.device.cmp(&b.device)).then_with(|| a.spool.cmp(&b.spool)).then_with(|| b.sequence.cmp(&a.sequence))
    });
    let indices: UInt64Array = order.into_iter().take(limit).map(|(_, row)| row as u64).collect();
    take_record_batch(&both, &indices).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_are_read_strictly() {
        let position = Position { time: -5, device: uuid::Uuid::from_u128(1).to_string(), spool: uuid::Uuid::from_u128(2).to_string(), sequence: 7 };
        assert_eq!(Position::parse(&position.cursor()), Some(position));
        for bad in ["", "1", "1.2.3.4", "x.y.z.a", "1.00000000-0000-0000-0000-000000000001.00000000-0000-0000-0000-000000000001."] {
            assert_eq!(Position::parse(bad), None, "{bad}");
        }
    }
}
