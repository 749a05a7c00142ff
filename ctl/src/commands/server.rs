//! The server itself, and its audit log.

use jiff::Timestamp;
use picket_proto::v1;

use super::sign_in::skew;
use crate::cli::Server;
use crate::connect::Session;
use crate::error::CtlError;
use crate::json;
use crate::output::{Format, Grid, Output, bytes, clean};
use crate::when;

/// Runs the command.
pub(super) async fn run(command: &Server, context: Option<&str>, output: &Output) -> Result<(), CtlError> {
    match command {
        Server::Status => status(context, output).await,
    }
}

async fn status(context: Option<&str>, output: &Output) -> Result<(), CtlError> {
    let session = Session::open(context).await?;
    let status = session.server().status(v1::StatusRequest {}).await.map_err(|status| session.failed(status))?.into_inner();
    skew(&status.version, output);
    if output.format != Format::Table {
        return output.json(&json::message("StatusResponse", &status)?);
    }
    let started = when::from_wire(status.started_at.as_ref());
    let per_event = status.lake_bytes.checked_div(status.events_stored.saturating_sub(status.tail_events));
    let mut text = String::new();
    for (name, value) in [
        ("server", format!("{} version {}", session.url, clean(&status.version))),
        ("up", format!("{}, since {}", when::ago(started, Timestamp::now()), when::date(started))),
        ("agents", format!("{} connected", status.agents_connected)),
        ("events", format!("{} stored, {} of them in memory and the log only", status.events_stored, status.tail_events)),
        (
            "table",
            format!("{} in {} files{}", bytes(status.lake_bytes), status.lake_files, per_event.map(|size| format!(", {size} B an event")).unwrap_or_default()),
        ),
        ("log", bytes(status.log_bytes)),
    ] {
        text.push_str(&format!("{name:<8}{value}\n"));
    }
    output.block(&text)
}

/// Newest entries of the audit log.
pub(super) async fn audit(limit: u32, context: Option<&str>, output: &Output) -> Result<(), CtlError> {
    let session = Session::open(context).await?;
    let entries = session.server().audit(v1::AuditRequest { limit }).await.map_err(|status| session.failed(status))?.into_inner().entries;
    if output.format != Format::Table {
        return output.json_list(entries.iter().map(|entry| json::message("AuditEntry", entry)).collect::<Result<_, _>>()?);
    }
    let mut grid = Grid::new(&["AT", "USER", "METHOD", "TARGET", "OUTCOME", "FROM"]);
    for entry in entries {
        grid.row([when::date(when::from_wire(entry.at.as_ref())), entry.user, entry.method, entry.target, entry.outcome, entry.peer_address]);
    }
    output.block(&grid.render(output))
}
