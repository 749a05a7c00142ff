//! Running a plan to its end, its limit, its deadline or its caller's departure, whichever comes first.

use std::{sync::atomic::Ordering, time::Instant};

use datafusion::{arrow::array::RecordBatch, execution::SendableRecordBatchStream};
use futures::StreamExt;
use tokio::sync::mpsc;

use super::engine::{Turn, classify};
use crate::{LakeError, QueryStats, StatsHandle};

/// Chunks that wait for a slow caller; the query pauses behind them.
pub(super) const CHUNKS_MAX: usize = 2;

/// Sends at most `limit` rows on, then the error if there was one. Ends early when the receiver is gone.
pub(super) async fn forward(
    mut stream: SendableRecordBatchStream,
    turn: Turn,
    limit: usize,
    sender: mpsc::Sender<Result<RecordBatch, LakeError>>,
    stats: StatsHandle,
) {
    let mut left = limit;
    let mut ended = Ok(());
    let mut truncated = false;
    loop {
        let next = tokio::select! {
            () = sender.closed() => return,
            next = tokio::time::timeout_at(turn.deadline.into(), stream.next()) => next,
        };
        let batch = match next {
            Err(_) => {
                ended = Err(timed_out(&turn));
                break;
            }
            Ok(None) => break,
            Ok(Some(Err(error))) => {
                ended = Err(classify(error));
                break;
            }
            Ok(Some(Ok(batch))) => batch,
        };
        if batch.num_rows() == 0 {
            continue;
        }
        truncated = batch.num_rows() > left;
        let batch = batch.slice(0, batch.num_rows().min(left));
        left -= batch.num_rows();
        record(&stats, &turn, (limit - left) as u64, truncated);
        if (batch.num_rows() > 0 && sender.send(Ok(batch)).await.is_err()) || truncated {
            break;
        }
    }
    drop(stream);
    record(&stats, &turn, (limit - left) as u64, truncated);
    if let Err(error) = ended {
        let _ = sender.send(Err(error)).await;
    }
}

fn record(stats: &StatsHandle, turn: &Turn, rows: u64, truncated: bool) {
    *stats.0.lock() = statistics(turn, rows, truncated);
}

/// Statistics of a query as of now.
pub(super) fn statistics(turn: &Turn, rows: u64, truncated: bool) -> QueryStats {
    QueryStats {
        rows,
        truncated,
        elapsed: turn.started.elapsed(),
        files_scanned: turn.count.scanned.load(Ordering::Relaxed),
        files_pruned: turn.count.pruned.load(Ordering::Relaxed),
    }
}

pub(super) fn timed_out(turn: &Turn) -> LakeError {
    let allowed = turn.deadline.saturating_duration_since(turn.started);
    LakeError::LimitExceeded(format!("the query ran longer than {} s; narrow its time range", allowed.as_secs_f64()))
}

/// Time that is left to a query.
pub(super) fn remaining(turn: &Turn) -> std::time::Duration {
    turn.deadline.saturating_duration_since(Instant::now())
}
