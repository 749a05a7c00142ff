//! Read-only SQL.

use picket_proto::v1::{self, sql_response::Part};
use picket_proto::values::from_list;
use serde_json::{Map, Value};

use super::stdin_text;
use crate::cli::Sql;
use crate::connect::Session;
use crate::error::CtlError;
use crate::output::{Format, Grid, Output};

/// A statement longer than that is a mistake.
const STATEMENT_BYTES_MAX: u64 = 256 << 10;

/// Rows that a table is laid out with at once; later ones follow in blocks with the same headings.
const BLOCK: usize = 500;

/// Runs the statement and prints its rows as they come.
pub(super) async fn run(sql: Sql, context: Option<&str>, output: &Output) -> Result<(), CtlError> {
    let statement = if sql.statement == "-" { stdin_text(STATEMENT_BYTES_MAX)? } else { sql.statement };
    let session = Session::open(context).await?;
    let request = v1::SqlRequest { sql: statement, row_limit: sql.limit, timeout_s: sql.timeout };
    let mut stream = session.events().sql(request).await.map_err(|status| session.failed(status))?.into_inner();
    let mut rows = Rows { output, columns: Vec::new(), waiting: Vec::new(), shown: false };
    let mut stats = None;
    while let Some(message) = stream.message().await.map_err(|status| session.failed(status))? {
        match message.part {
            Some(Part::Columns(columns)) => rows.columns = columns.columns.into_iter().map(|column| column.name).collect(),
            Some(Part::Rows(part)) => part.rows.into_iter().try_for_each(|row| rows.add(from_list(row)))?,
            Some(Part::Stats(found)) => stats = Some(found),
            None => {}
        }
    }
    rows.flush()?;
    let stats = stats.ok_or_else(|| CtlError::Partial("the answer broke off: the server ended it without its statistics".to_owned()))?;
    if stats.truncated {
        return Err(CtlError::Partial(format!("there are more than these {} rows: --limit N (at most 100,000), or aggregate", stats.rows)));
    }
    if output.terminal && output.format == Format::Table {
        output.note(&format!("{} rows in {:.0} ms", stats.rows, stats.elapsed_ms));
    }
    Ok(())
}

struct Rows<'a> {
    output: &'a Output,
    columns: Vec<String>,
    waiting: Vec<Vec<Value>>,
    shown: bool,
}

impl Rows<'_> {
    fn add(&mut self, row: Vec<Value>) -> Result<(), CtlError> {
        if row.len() != self.columns.len() {
            return Err(CtlError::Malformed(format!("a row of {} values under {} columns", row.len(), self.columns.len())));
        }
        if self.output.format != Format::Table {
            return self.output.json_line(&object(&self.columns, row));
        }
        self.waiting.push(row);
        if self.waiting.len() >= BLOCK { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), CtlError> {
        let nothing_new = self.waiting.is_empty() && self.shown;
        if self.output.format != Format::Table || self.columns.is_empty() || nothing_new {
            return Ok(());
        }
        self.shown = true;
        let mut grid = Grid::new(&self.columns.iter().map(String::as_str).collect::<Vec<_>>());
        for row in self.waiting.drain(..) {
            grid.row(row.into_iter().map(cell));
        }
        self.output.block(&grid.render(self.output))
    }
}

/// One object a row. Two columns of one name keep both: the second is `name_2`.
fn object(columns: &[String], row: Vec<Value>) -> Value {
    let mut object = Map::new();
    for (column, value) in columns.iter().zip(row) {
        let mut name = column.clone();
        for number in 2.. {
            if !object.contains_key(&name) {
                break;
            }
            name = format!("{column}_{number}");
        }
        object.insert(name, value);
    }
    Value::Object(object)
}

fn cell(value: Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text,
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn equal_names_do_not_swallow_each_other() {
        let columns = ["n", "n", "n"].map(str::to_owned);
        assert_eq!(object(&columns, vec![json!(1), json!(2), json!(3)]), json!({"n": 1, "n_2": 2, "n_3": 3}));
    }
}
