//! `picket.v1.Events`: search, tail and SQL over the lake.

use std::{sync::Arc, time::Duration};

use futures::{Stream, StreamExt as _, stream, stream::BoxStream};
use picket_event::{StoredEvent, columns, ocsf};
use picket_lake::{QueryStats as LakeQueryStats, SearchQuery, SqlQuery, SqlResult, Tailed};
use picket_proto::{
    ServiceError,
    v1::{
        ColumnView, ColumnsRequest, ColumnsResponse, QueryStats, SearchRequest, SearchResponse, SqlColumn, SqlColumns, SqlRequest, SqlResponse, SqlRows,
        TailRequest, TailResponse, events_server::Events, sql_response::Part,
    },
    values,
};
use prost_types::Struct;
use tonic::{Request, Response, Status};

use super::{Api, call::Call, errors};
use crate::clock;

const SEARCH_MAX: u32 = 10_000;
const TAIL_LAST_MAX: u32 = 1_000;
const SQL_ROWS_MAX: u32 = 100_000;
const SQL_TIMEOUT_MAX_S: u32 = 300;
/// Rows a message; a chunk of the lake has several thousand.
const SQL_ROWS_A_MESSAGE: usize = 1_000;

pub(super) struct EventsService(pub(super) Arc<Api>);

#[tonic::async_trait]
impl Events for EventsService {
    async fn search(&self, request: Request<SearchRequest>) -> Result<Response<SearchResponse>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        call.about(request.query.clone());
        at_most("limit", request.limit, SEARCH_MAX)?;
        let query = SearchQuery {
            query: request.query,
            since: request.since.as_ref().map(clock::from_proto),
            until: request.until.as_ref().map(clock::from_proto),
            limit: usize::try_from(request.limit).unwrap_or(0),
            cursor: Some(request.cursor).filter(|cursor| !cursor.is_empty()),
        };
        let page = self.0.lake.search(query).await.map_err(errors::lake)?;
        Ok(Response::new(SearchResponse {
            events: page.events.iter().filter_map(event).collect(),
            cursor: page.cursor.unwrap_or_default(),
            stats: Some(query_stats(&page.stats)),
        }))
    }

    type TailStream = BoxStream<'static, Result<TailResponse, Status>>;

    async fn tail(&self, request: Request<TailRequest>) -> Result<Response<Self::TailStream>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        call.about(request.query.clone());
        at_most("last", request.last, TAIL_LAST_MAX)?;
        let last = usize::try_from(request.last).unwrap_or(0);
        let tail = self.0.lake.tail(&request.query, last).await.map_err(errors::lake)?;
        Ok(Response::new(tail.map(|item| item.map(tailed).map_err(|error| Status::from(errors::lake(error)))).boxed()))
    }

    type SqlStream = BoxStream<'static, Result<SqlResponse, Status>>;

    async fn sql(&self, request: Request<SqlRequest>) -> Result<Response<Self::SqlStream>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        call.about(request.sql.clone());
        at_most("row_limit", request.row_limit, SQL_ROWS_MAX)?;
        at_most("timeout_s", request.timeout_s, SQL_TIMEOUT_MAX_S)?;
        let query = SqlQuery {
            sql: request.sql,
            row_limit: usize::try_from(request.row_limit).unwrap_or(0),
            timeout: Duration::from_secs(u64::from(request.timeout_s)),
        };
        let result = self.0.lake.sql(query).await.map_err(errors::lake)?;
        Ok(Response::new(answer(result).boxed()))
    }

    async fn columns(&self, _request: Request<ColumnsRequest>) -> Result<Response<ColumnsResponse>, Status> {
        let view = |column: &columns::Column| ColumnView {
            name: column.name.to_owned(),
            r#type: type_name(column.kind).to_owned(),
            ocsf_path: column.ocsf.to_owned(),
        };
        Ok(Response::new(ColumnsResponse { columns: columns::COLUMNS.iter().map(view).collect() }))
    }
}

fn at_most(name: &'static str, value: u32, max: u32) -> Result<(), ServiceError> {
    if value > max { Err(ServiceError::InvalidArgument(format!("{name} is at most {max}"))) } else { Ok(()) }
}

fn event(stored: &StoredEvent) -> Option<Struct> {
    values::to_struct(ocsf::to_json(stored))
}

fn tailed(tailed: Tailed) -> TailResponse {
    TailResponse { events: tailed.events.iter().filter_map(event).collect(), missed: tailed.missed }
}

fn query_stats(stats: &LakeQueryStats) -> QueryStats {
    QueryStats {
        rows: stats.rows,
        truncated: stats.truncated,
        elapsed_ms: stats.elapsed.as_secs_f64() * 1000.0,
        files_scanned: stats.files_scanned,
        files_pruned: stats.files_pruned,
    }
}

/// Columns, then rows, then statistics; an error ends it.
fn answer(result: SqlResult) -> impl Stream<Item = Result<SqlResponse, Status>> + Send + use<> {
    let SqlResult { columns, rows, stats } = result;
    let part = |part| Ok(SqlResponse { part: Some(part) });
    let columns = SqlColumns { columns: columns.into_iter().map(|(name, r#type)| SqlColumn { name, r#type }).collect() };
    let rows = rows.flat_map(move |chunk| match chunk {
        Ok(chunk) => stream::iter(messages(chunk).into_iter().map(move |rows| part(Part::Rows(rows))).collect::<Vec<_>>()),
        Err(error) => stream::iter(vec![Err(Status::from(errors::lake(error)))]),
    });
    let end = stream::once(async move { part(Part::Stats(query_stats(&stats.snapshot()))) });
    stream::once(async move { part(Part::Columns(columns)) }).chain(until_error(rows.chain(end)))
}

fn messages(chunk: Vec<Vec<serde_json::Value>>) -> Vec<SqlRows> {
    let mut messages = Vec::new();
    let mut rows = chunk.into_iter().map(values::to_list).peekable();
    while rows.peek().is_some() {
        messages.push(SqlRows { rows: rows.by_ref().take(SQL_ROWS_A_MESSAGE).collect() });
    }
    messages
}

/// Ends after the first error, so that no statistics follow a query that failed.
fn until_error<T: Send + 'static>(items: impl Stream<Item = Result<T, Status>> + Send + 'static) -> impl Stream<Item = Result<T, Status>> + Send {
    items.scan(false, |failed, item| {
        let before = std::mem::replace(failed, item.is_err());
        futures::future::ready((!before).then_some(item))
    })
}

const fn type_name(kind: columns::ColumnType) -> &'static str {
    match kind {
        columns::ColumnType::Text => "text",
        columns::ColumnType::Int => "int",
        columns::ColumnType::Long => "long",
        columns::ColumnType::Time => "timestamp",
        columns::ColumnType::TextList => "text list",
    }
}
