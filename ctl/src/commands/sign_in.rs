//! Signing in and out, and the servers signed in to.

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Read as _};
use std::path::Path;
use std::sync::Arc;

use picket_pin::PinnedVerifier;
use picket_proto::v1::{self, auth_client::AuthClient};
use serde_json::json;

use super::stdin_text;
use crate::cli::{self, Login};
use crate::connect::{self, Session};
use crate::context::{Context, Contexts};
use crate::error::CtlError;
use crate::json;
use crate::output::{Grid, Output};
use crate::pin::{SignInCode, certificate_text};
use crate::when;

/// A code is about 120 characters.
const CODE_BYTES_MAX: u64 = 4096;

/// Exchanges the one-time code for a token and keeps it.
pub(super) async fn login(login: Login, output: &Output) -> Result<(), CtlError> {
    let url = connect::parse_url(&login.url)?;
    let code = SignInCode::parse(&code_text(&login)?)?;
    // Before the code is burned: a file that cannot be used would lose the sign-in.
    let mut contexts = Contexts::load()?;
    contexts.save()?;

    let verifier = Arc::new(PinnedVerifier::new(code.pin));
    let tls = verifier.tls(b"h2").map_err(|error| CtlError::Malformed(error.to_string()))?;
    let channel = connect::channel(&url, tls).await?;
    let shown = url.as_str().trim_end_matches('/').to_owned();
    let certificate = verifier.found().ok_or_else(|| CtlError::Malformed("no certificate in the handshake".to_owned()))?;
    let request = v1::SignInRequest { code: code.secret, label: login.label.unwrap_or_else(default_label) };
    let answer = AuthClient::new(channel).sign_in(request).await.map_err(|status| refused(&shown, status))?.into_inner();

    let name = login.name.unwrap_or_else(|| url.authority().to_owned());
    let context = Context {
        url: shown.clone(),
        ca_certificate: certificate_text(&certificate),
        ca_pin: code.pin.to_string(),
        user: answer.user.clone(),
        token: Some(answer.token),
        token_expires_at: when::from_wire(answer.expires_at.as_ref()).map(|at| at.to_string()),
    };
    let until = when::from_wire(answer.expires_at.as_ref()).map(|at| format!(" until {}", when::date(Some(at)))).unwrap_or_default();
    let session = Session::of(&context).await;
    contexts.contexts.insert(name.clone(), context);
    contexts.current = Some(name.clone());
    contexts.save()?;
    output.note(&format!("signed in to {shown} as {}{}; context `{name}`", answer.user, until));
    warn_of_skew(&session?, output).await
}

fn refused(url: &str, status: tonic::Status) -> CtlError {
    if matches!(status.code(), tonic::Code::Unauthenticated | tonic::Code::PermissionDenied) {
        let text = format!("{}; a code works once and not for long: get a new one with `picket-server sign-in`", status.message());
        return connect::answer(url, tonic::Status::permission_denied(text));
    }
    connect::answer(url, status)
}

fn code_text(login: &Login) -> Result<String, CtlError> {
    match (login.code_file.as_deref(), login.code.as_deref()) {
        (Some(file), _) if file == Path::new("-") => stdin_text(CODE_BYTES_MAX),
        (Some(file), _) => read_code(file).map_err(|error| CtlError::Usage(format!("cannot read the code from {}: {error}", file.display()))),
        (None, Some("-")) => stdin_text(CODE_BYTES_MAX),
        (None, Some(_)) => {
            Err(CtlError::Usage("a code on a command line is seen by every user of this host: pipe it in with --code -, or use --code-file".to_owned()))
        }
        (None, None) if std::io::stdin().is_terminal() => {
            eprint!("code: ");
            let mut line = String::new();
            std::io::stdin().read_line(&mut line)?;
            Ok(line)
        }
        (None, None) => stdin_text(CODE_BYTES_MAX),
    }
}

fn read_code(file: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    std::fs::File::open(file)?.take(CODE_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

/// `user@host`, as the list of sign-ins shows it.
fn default_label() -> String {
    let user = std::env::var("USER").unwrap_or_else(|_| "someone".to_owned());
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{user}@{}", host.trim())
}

/// Ends the token on the server, and forgets it in any case.
pub(super) async fn logout(name: Option<&str>, output: &Output) -> Result<(), CtlError> {
    let mut contexts = Contexts::load()?;
    let (name, context) = contexts.pick(name).map(|(name, context)| (name.to_owned(), context.clone()))?;
    let ended = match Session::of(&context).await {
        Ok(session) => session.auth().sign_out(v1::SignOutRequest {}).await.map(drop).map_err(|status| session.failed(status)),
        Err(error) => Err(error),
    };
    if let Some(kept) = contexts.contexts.get_mut(&name) {
        kept.token = None;
        kept.token_expires_at = None;
    }
    contexts.save()?;
    match ended {
        Ok(()) | Err(CtlError::SignedOut { .. }) => output.note(&format!("signed out of {}", context.url)),
        Err(error) => {
            output.note("the token is forgotten here, but the server could not be told: it stays valid there until it expires");
            return Err(error);
        }
    }
    Ok(())
}

/// Who the server takes us for.
pub(super) async fn whoami(name: Option<&str>, output: &Output) -> Result<(), CtlError> {
    let session = Session::open(name).await?;
    let who = session.auth().who_am_i(v1::WhoAmIRequest {}).await.map_err(|status| session.failed(status))?.into_inner();
    skew(&who.server_version, output);
    if output.format != crate::output::Format::Table {
        return output.json(&json::message("WhoAmIResponse", &who)?);
    }
    output.line(&format!(
        "{} ({}) at {}, server {}",
        crate::output::clean(&who.user),
        crate::output::clean(&who.role),
        session.url,
        crate::output::clean(&who.server_version)
    ))
}

/// One call more at sign-in, none at any other command.
async fn warn_of_skew(session: &Session, output: &Output) -> Result<(), CtlError> {
    let who = session.auth().who_am_i(v1::WhoAmIRequest {}).await.map_err(|status| session.failed(status))?.into_inner();
    skew(&who.server_version, output);
    Ok(())
}

/// Says so when client and server are of different minor versions: fields may be missing on either side.
pub(super) fn skew(server: &str, output: &Output) {
    let own = env!("CARGO_PKG_VERSION");
    let minor = |version: &str| version.split('.').take(2).map(str::to_owned).collect::<Vec<_>>();
    if minor(server) != minor(own) {
        output.note(&format!("note: this picketctl is {own}, the server is {server}; some fields may be missing"));
    }
}

/// The servers signed in to.
pub(super) fn contexts(command: Option<cli::Contexts>, output: &Output) -> Result<(), CtlError> {
    let mut contexts = Contexts::load()?;
    match command.unwrap_or(cli::Contexts::List) {
        cli::Contexts::List => list(&contexts.contexts, contexts.current.as_deref(), output),
        cli::Contexts::Use { name } => {
            contexts.pick(Some(&name))?;
            contexts.current = Some(name);
            contexts.save()
        }
        cli::Contexts::Remove { name } => {
            contexts.pick(Some(&name))?;
            contexts.contexts.remove(&name);
            if contexts.current.as_deref() == Some(name.as_str()) {
                contexts.current = None;
            }
            contexts.save()
        }
    }
}

fn list(contexts: &BTreeMap<String, Context>, current: Option<&str>, output: &Output) -> Result<(), CtlError> {
    if output.format != crate::output::Format::Table {
        let values = contexts.iter().map(|(name, context)| {
            json!({ "name": name, "url": context.url, "user": context.user, "caPin": context.ca_pin, "current": current == Some(name.as_str()), "signedIn": context.token.is_some(), "tokenExpiresAt": context.token_expires_at })
        });
        return output.json_list(values.collect());
    }
    let mut grid = Grid::new(&["", "NAME", "URL", "USER", "SIGNED IN UNTIL"]);
    for (name, context) in contexts {
        let mark = if current == Some(name.as_str()) { "*" } else { "" };
        let until = match (&context.token, &context.token_expires_at) {
            (None, _) => "signed out".to_owned(),
            (Some(_), until) => until.clone().unwrap_or_else(|| "-".to_owned()),
        };
        grid.row([mark.to_owned(), name.clone(), context.url.clone(), context.user.clone(), until]);
    }
    output.block(&grid.render(output))
}
