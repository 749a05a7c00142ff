//! Live tails: the predicate of a search, asked of each batch as it is acknowledged.

use std::{collections::VecDeque, sync::Arc};

use datafusion::{
    arrow::{
        array::{AsArray, RecordBatch},
        compute::filter_record_batch,
    },
    common::ToDFSchema,
    physical_plan::PhysicalExpr,
};
use futures::{Stream, stream};
use picket_event::{StoredEvent, Timestamp};
use tokio::sync::broadcast;

use super::engine::{Engine, classify};
use crate::{
    LakeError, Tailed,
    contents::{DayRows, Published},
    query::provider::with_day,
    rows,
    schema::TABLE_SCHEMA,
    search,
};

/// A compiled search over single batches.
#[derive(Clone)]
pub(crate) struct Predicate(Option<Arc<dyn PhysicalExpr>>);

impl Predicate {
    pub(crate) fn compile(engine: &Engine, query: &str, now: Timestamp) -> Result<Self, LakeError> {
        let Some(expression) = search::compile(query, now.as_micros())? else { return Ok(Self(None)) };
        let schema = TABLE_SCHEMA.as_ref().clone().to_dfschema().map_err(classify)?;
        engine.merge_context().create_physical_expr(expression, &schema).map(|expression| Self(Some(expression))).map_err(classify)
    }

    fn select(&self, published: &Published) -> Result<RecordBatch, LakeError> {
        let rows = DayRows { day: published.day, batch: Arc::clone(&published.batch) };
        let Some(expression) = &self.0 else { return Ok(rows.batch.as_ref().clone()) };
        let batch = with_day(&rows, &TABLE_SCHEMA).map_err(classify)?;
        let chosen = expression.evaluate(&batch).and_then(|value| value.into_array(batch.num_rows())).map_err(classify)?;
        let Some(chosen) = chosen.as_boolean_opt() else { return Err(LakeError::Misuse("a search is not a yes or no")) };
        filter_record_batch(&rows.batch, chosen).map_err(|error| LakeError::Engine { action: "selecting rows", source: Box::new(error) })
    }
}

struct Live {
    receiver: broadcast::Receiver<Arc<Published>>,
    predicate: Predicate,
    /// Rows published until now, shown or not.
    seen: u64,
    missed: u64,
    first: VecDeque<StoredEvent>,
}

/// First the given events, then what is published. Ends when the lake closes.
pub(crate) fn stream(
    first: Vec<StoredEvent>,
    seen: u64,
    receiver: broadcast::Receiver<Arc<Published>>,
    predicate: Predicate,
) -> impl Stream<Item = Result<Tailed, LakeError>> + Send {
    let live = Live { receiver, predicate, seen, missed: 0, first: first.into() };
    stream::unfold(live, |mut live| async {
        let item = live.next().await?;
        Some((item, live))
    })
}

impl Live {
    async fn next(&mut self) -> Option<Result<Tailed, LakeError>> {
        if !self.first.is_empty() {
            return Some(Ok(Tailed { events: self.first.drain(..).collect(), missed: 0 }));
        }
        loop {
            let published = match self.receiver.recv().await {
                Ok(published) => published,
                // How many is known by the next one's total.
                Err(broadcast::error::RecvError::Lagged(_)) => continue,
                Err(broadcast::error::RecvError::Closed) => return None,
            };
            let rows = published.batch.num_rows() as u64;
            self.missed += published.total.saturating_sub(rows).saturating_sub(self.seen);
            self.seen = published.total;
            let events = match self.predicate.select(&published).and_then(|batch| rows::decode(&batch)) {
                Ok(events) => events,
                Err(error) => return Some(Err(error)),
            };
            if !events.is_empty() || self.missed > 0 {
                return Some(Ok(Tailed { events, missed: std::mem::take(&mut self.missed) }));
            }
        }
    }
}
