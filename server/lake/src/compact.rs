//! Rewriting files sorted by device and time.

use std::{path::Path, sync::Arc};

use datafusion::{datasource::provider_as_source, logical_expr::LogicalPlanBuilder, prelude::col};
use futures::StreamExt;
use picket_event::columns::COLUMNS;

use crate::{
    LakeError,
    query::Engine,
    table::{FileMeta, FileWriter, Finish, Plan},
};

/// Rows of one merged file: some hundred megabytes, small enough to be skipped by statistics, large enough that a day has few.
const FILE_ROWS: u64 = 8 * 1024 * 1024;

/// Reads the plan's files and writes their rows, sorted, to new ones. Nothing is committed yet.
pub(crate) async fn rewrite(engine: &Engine, table_dir: &Path, plan: &Plan) -> Result<Vec<FileMeta>, LakeError> {
    let action = LakeError::engine;
    let events = engine.events_of(plan.files.clone());
    let order = vec![col("device_uid").sort(true, true), col("time").sort(true, true), col("metadata_sequence").sort(true, true)];
    let sorted = LogicalPlanBuilder::scan("events", provider_as_source(Arc::new(events)), None)
        .and_then(|scan| scan.project(COLUMNS.iter().map(|column| col(column.name))))
        .and_then(|scan| scan.sort(order))
        .and_then(LogicalPlanBuilder::build)
        .map_err(action("planning a merge"))?;
    let context = engine.merge_context();
    let frame = context.execute_logical_plan(sorted).await.map_err(action("planning a merge"))?;
    let mut stream = frame.execute_stream().await.map_err(action("merging files"))?;
    let finish = if plan.whole_day { Finish::WholeDay } else { Finish::Sorted };
    let mut done = Vec::new();
    let mut writer: Option<FileWriter> = None;
    while let Some(batch) = stream.next().await {
        let batch = batch.map_err(action("merging files"))?;
        if batch.num_rows() == 0 {
            continue;
        }
        let mut open = match writer.take() {
            Some(open) => open,
            None => FileWriter::create(table_dir, plan.day, finish)?,
        };
        // Encoding is work for the processor; others on this thread must not wait for it.
        let (open, written) = tokio::task::spawn_blocking(move || {
            let written = open.write(&batch);
            (open, written)
        })
        .await
        .map_err(|error| LakeError::Engine { action: "merging files", source: Box::new(error) })?;
        written?;
        if open.rows() >= FILE_ROWS {
            done.push(open.finish()?);
        } else {
            writer = Some(open);
        }
    }
    if let Some(open) = writer {
        done.push(open.finish()?);
    }
    let (before, after) = (plan.files.iter().map(|file| file.rows).sum::<u64>(), done.iter().map(|file| file.rows).sum::<u64>());
    // A stranger's file may come without a count.
    if before != after && plan.files.iter().all(|file| file.rows > 0) {
        return Err(LakeError::Corrupt { path: table_dir.join(format!("day={}", plan.day)), detail: format!("a merge read {after} of {before} rows") });
    }
    Ok(done)
}
