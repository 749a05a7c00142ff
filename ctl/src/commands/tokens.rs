//! Enrolment tokens.

use jiff::Timestamp;
use picket_proto::v1::{self, token_view::State};

use crate::cli::Tokens;
use crate::connect::Session;
use crate::error::CtlError;
use crate::json;
use crate::output::{Format, Grid, Output};
use crate::when;

/// The server's own bound, said before the call.
const TTL_MAX_S: i64 = 24 * 3600;

/// Runs the command.
pub(super) async fn run(command: Tokens, context: Option<&str>, output: &Output) -> Result<(), CtlError> {
    match command {
        Tokens::Create { ttl, label } => create(&ttl, label, context, output).await,
        Tokens::List => list(&Session::open(context).await?, output).await,
        Tokens::Revoke { id } => {
            let session = Session::open(context).await?;
            session.tokens().revoke(v1::RevokeTokenRequest { id: id.clone() }).await.map_err(|status| session.failed(status))?;
            output.note(&format!("token {id} is revoked"));
            Ok(())
        }
    }
}

async fn create(ttl: &str, label: String, context: Option<&str>, output: &Output) -> Result<(), CtlError> {
    let seconds = when::span(ttl).map(|span| span.as_secs()).filter(|seconds| (1..=TTL_MAX_S).contains(seconds));
    let ttl_s = seconds.and_then(|seconds| u32::try_from(seconds).ok()).ok_or_else(|| CtlError::Usage(format!("--ttl {ttl}: say 10m or 1h, at most 24h")))?;
    let session = Session::open(context).await?;
    let created = session.tokens().create(v1::CreateTokenRequest { ttl_s, label }).await.map_err(|status| session.failed(status))?.into_inner();
    if output.format != Format::Table {
        return output.json(&json::message("CreateTokenResponse", &created)?);
    }
    let until = when::date(when::from_wire(created.expires_at.as_ref()));
    output
        .note(&format!("token {} works once, until {until}, and is not shown again; on the host: picket-agent enroll --server URL --token-file F", created.id));
    output.line(&created.token)
}

async fn list(session: &Session, output: &Output) -> Result<(), CtlError> {
    let tokens = session.tokens().list(v1::ListTokensRequest {}).await.map_err(|status| session.failed(status))?.into_inner().tokens;
    if output.format != Format::Table {
        return output.json_list(tokens.iter().map(|token| json::message("TokenView", token)).collect::<Result<_, _>>()?);
    }
    let now = Timestamp::now();
    let mut grid = Grid::new(&["ID", "STATE", "CREATED", "EXPIRES", "LABEL", "DEVICE"]);
    for token in tokens {
        let state = match token.state() {
            State::Unspecified => "?",
            State::Open => "open",
            State::Used => "used",
            State::Expired => "expired",
            State::Revoked => "revoked",
        };
        let (created, expires) = (when::from_wire(token.created_at.as_ref()), when::date(when::from_wire(token.expires_at.as_ref())));
        grid.row([token.id, state.to_owned(), format!("{} ago", when::ago(created, now)), expires, token.label, token.device_uid]);
    }
    output.block(&grid.render(output))
}
