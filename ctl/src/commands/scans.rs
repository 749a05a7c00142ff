//! `picketctl scans`: scans on hosts, through the server.

use picket_proto::v1;
use serde_json::json;

use crate::cli::Scans;
use crate::connect::Session;
use crate::error::CtlError;
use crate::output::{Format, Output};

/// Runs the command.
pub(super) async fn run(command: Scans, context: Option<&str>, output: &Output) -> Result<(), CtlError> {
    let Scans::Start { host, paths } = command;
    let session = Session::open(context).await?;
    let request = v1::ScanHostRequest { host: host.clone(), paths };
    let started = session.hosts().scan(request).await.map_err(|status| session.failed(status))?.into_inner();
    if output.format != Format::Table {
        return output.json_line(&json!({ "command_uid": started.command_uid }));
    }
    output.line(&started.command_uid)?;
    output.note(&format!("{host} has taken the scan up; what it finds: picketctl events search class:finding"));
    Ok(())
}
