//! Read-only SQL.

use std::time::Duration;

use datafusion::{
    execution::context::SQLOptions,
    logical_expr::LogicalPlan,
    sql::sqlparser::{
        dialect::GenericDialect,
        tokenizer::{Token, Tokenizer},
    },
};
use futures::{StreamExt, future, stream};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::{
    driver,
    engine::{Engine, classify},
    values,
};
use crate::{LakeError, SqlQuery, SqlResult, StatsHandle, contents::View};

const ROWS_DEFAULT: usize = 1_000;
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);
/// A query's text. An analyst's longest is a list of some thousand digests.
const SQL_BYTES_MAX: usize = 256 * 1024;
/// Operators, names and keywords of a query; literals and commas are not counted, so that long IN lists are welcome. The planner recurses over
/// expressions, and `1+1+1+…` must not overflow its stack: the lake's threads have one that holds this many (see `lake::STACK_BYTES`).
const SQL_TOKENS_MAX: usize = 2_000;

/// Starts a query on the current runtime.
pub(crate) async fn run(engine: &Engine, view: View, query: SqlQuery) -> Result<SqlResult, LakeError> {
    let limit = if query.row_limit == 0 { ROWS_DEFAULT } else { query.row_limit }.min(engine.limits.rows_max);
    let timeout = if query.timeout.is_zero() { TIMEOUT_DEFAULT } else { query.timeout }.min(engine.limits.timeout);
    check_size(&query.sql)?;
    let turn = engine.turn(view, timeout).await?;
    let planned = tokio::time::timeout(driver::remaining(&turn), async {
        let options = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
        let mut frame = turn.context.sql_with_options(&query.sql, options).await?;
        // A limit that the planner knows turns a full sort into a heap. An explanation must stay the root of its plan.
        if !matches!(frame.logical_plan(), LogicalPlan::Explain(_) | LogicalPlan::Analyze(_) | LogicalPlan::DescribeTable(_)) {
            frame = frame.limit(0, Some(limit + 1))?;
        }
        frame.execute_stream().await
    });
    let stream = planned.await.map_err(|_| driver::timed_out(&turn))?.map_err(classify)?;
    let columns = stream.schema().fields().iter().map(|field| (field.name().clone(), type_name(field.data_type()))).collect();
    let stats = StatsHandle::default();
    let (sender, receiver) = mpsc::channel(driver::CHUNKS_MAX);
    let leaving = turn.cancelled.clone().drop_guard();
    let task = AbortOnDropHandle::new(tokio::spawn(driver::forward(stream, turn, limit, sender, stats.clone())));
    let rows = stream::unfold((receiver, task, leaving), |(mut receiver, task, leaving)| async {
        let next = receiver.recv().await?;
        Some((next.and_then(|batch| values::rows(&batch)), (receiver, task, leaving)))
    });
    Ok(SqlResult { columns, rows: rows.filter(|chunk| future::ready(!matches!(chunk, Ok(rows) if rows.is_empty()))).boxed(), stats })
}

/// A type's name as SQL people say it.
fn type_name(kind: &datafusion::arrow::datatypes::DataType) -> String {
    use datafusion::arrow::datatypes::DataType;
    match kind {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "text".into(),
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::UInt8 | DataType::UInt16 => "int".into(),
        DataType::Int64 | DataType::UInt32 | DataType::UInt64 => "bigint".into(),
        DataType::Float16 | DataType::Float32 | DataType::Float64 => "double".into(),
        DataType::Boolean => "boolean".into(),
        DataType::Timestamp(..) => "timestamp".into(),
        DataType::List(field) => format!("{}[]", type_name(field.data_type())),
        other => other.to_string().to_lowercase(),
    }
}

fn check_size(sql: &str) -> Result<(), LakeError> {
    if sql.len() > SQL_BYTES_MAX {
        return Err(LakeError::LimitExceeded(format!("the query has {} bytes, at most {SQL_BYTES_MAX} are read", sql.len())));
    }
    let tokens = Tokenizer::new(&GenericDialect {}, sql).tokenize().map_err(|error| LakeError::BadQuery { message: error.to_string(), position: None })?;
    let counted =
        tokens.iter().filter(|token| !matches!(token, Token::Whitespace(_) | Token::Comma | Token::Number(..) | Token::SingleQuotedString(_))).count();
    if counted > SQL_TOKENS_MAX {
        return Err(LakeError::LimitExceeded(format!("the query has {counted} names and operators, at most {SQL_TOKENS_MAX} are planned")));
    }
    Ok(())
}
