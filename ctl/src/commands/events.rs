//! Hunting: search what is stored, follow what comes.

use jiff::Timestamp;
use picket_proto::v1;
use picket_proto::values::from_struct;
use serde_json::Value;

use crate::cli::Events;
use crate::connect::Session;
use crate::error::CtlError;
use crate::json;
use crate::output::{EventTable, Format, Grid, Output};
use crate::when;

/// Events a call: about 2 MiB of JSON, answered in well under a second.
const PAGE: u32 = 1000;

/// Runs the command.
pub(super) async fn run(command: Events, context: Option<&str>, output: &Output) -> Result<(), CtlError> {
    match command {
        Events::Search { query, since, until, limit, all } => {
            let now = Timestamp::now();
            let instant = |text: &str| when::parse(text, now).map_err(CtlError::Usage);
            let (since, until) = (instant(&since)?, until.as_deref().map(instant).transpose()?);
            if until.is_some_and(|until| until <= since) {
                return Err(CtlError::Usage("--until is not after --since".to_owned()));
            }
            let request = v1::SearchRequest { query, since: Some(when::to_wire(since)), until: until.map(when::to_wire), limit: 0, cursor: String::new() };
            let session = Session::open(context).await?;
            search(&session, request, if all { u64::MAX } else { limit }, output).await
        }
        Events::Tail { query, last } => tail(&Session::open(context).await?, v1::TailRequest { query, last }, output).await,
        Events::Columns => columns(&Session::open(context).await?, output).await,
    }
}

/// Follows cursors until there is enough or no more.
async fn search(session: &Session, mut request: v1::SearchRequest, limit: u64, output: &Output) -> Result<(), CtlError> {
    let mut printer = Printer::new(output, true);
    let mut client = session.events();
    let mut left = limit;
    while left > 0 {
        request.limit = u32::try_from(left).unwrap_or(PAGE).min(PAGE);
        let page = client.search(request.clone()).await.map_err(|status| session.failed(status))?.into_inner();
        let events = page.events.into_iter().map(from_struct).collect::<Vec<_>>();
        left = left.saturating_sub(events.len() as u64);
        printer.print(&events)?;
        if page.cursor.is_empty() {
            if page.stats.is_some_and(|stats| stats.truncated) {
                return Err(CtlError::Partial("the server stopped before the end of the time range; narrow --since and --until".to_owned()));
            }
            return Ok(());
        }
        if page.cursor == request.cursor {
            return Err(CtlError::Malformed("a cursor that leads to itself".to_owned()));
        }
        request.cursor = page.cursor;
    }
    output.note(&format!("there are more than {limit}: --limit N, --all"));
    Ok(())
}

/// Prints until the server or the user ends it.
async fn tail(session: &Session, request: v1::TailRequest, output: &Output) -> Result<(), CtlError> {
    let mut printer = Printer::new(output, false);
    let mut stream = session.events().tail(request).await.map_err(|status| session.failed(status))?.into_inner();
    while let Some(part) = stream.message().await.map_err(|status| session.failed(status))? {
        printer.print(&part.events.into_iter().map(from_struct).collect::<Vec<_>>())?;
        if part.missed > 0 {
            output.note(&format!("note: {} events were not shown, this end was too slow; narrow the query", part.missed));
        }
    }
    Err(CtlError::Partial("the server ended the stream".to_owned()))
}

struct Printer<'a> {
    output: &'a Output,
    table: EventTable,
}

impl<'a> Printer<'a> {
    fn new(output: &'a Output, dated: bool) -> Self {
        Self { output, table: EventTable::new(output, dated) }
    }

    fn print(&mut self, events: &[Value]) -> Result<(), CtlError> {
        match self.output.format {
            Format::Table => self.table.print(self.output, events),
            Format::Json | Format::Jsonl | Format::Sarif => events.iter().try_for_each(|event| self.output.json_line(event)),
        }
    }
}

async fn columns(session: &Session, output: &Output) -> Result<(), CtlError> {
    let columns = session.events().columns(v1::ColumnsRequest {}).await.map_err(|status| session.failed(status))?.into_inner().columns;
    if output.format != Format::Table {
        return output.json_list(columns.iter().map(|column| json::message("ColumnView", column)).collect::<Result<_, _>>()?);
    }
    let mut grid = Grid::new(&["COLUMN", "TYPE", "OCSF"]);
    for column in columns {
        grid.row([column.name, column.r#type, column.ocsf_path]);
    }
    output.block(&grid.render(output))
}
