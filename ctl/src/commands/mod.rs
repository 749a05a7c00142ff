//! One module a noun; each command asks one service and prints its answer.

pub(crate) mod assets;
mod bom;
mod card;
mod events;
mod hosts;
mod interrupt;
mod manifest;
mod reference;
pub(crate) mod scan;
mod scans;
mod server;
mod sign_in;
mod sql;
mod tokens;

use std::io::{IsTerminal as _, Read as _};

use crate::cli::{Cli, Command};
use crate::error::CtlError;
use crate::output::Output;

/// Runs the command.
pub(crate) async fn run(cli: Cli, output: &Output) -> Result<(), CtlError> {
    let context = cli.context.as_deref();
    match cli.command {
        Command::Login(login) => sign_in::login(login, output).await,
        Command::Logout => sign_in::logout(context, output).await,
        Command::Whoami => sign_in::whoami(context, output).await,
        Command::Contexts { command } => sign_in::contexts(command, output),
        Command::Hosts { command, list } => hosts::run(command, &list, context, output).await,
        Command::Events(command) => events::run(command, context, output).await,
        Command::Sql(sql) => sql::run(sql, context, output).await,
        Command::Tokens(command) => tokens::run(command, context, output).await,
        // Answered before anything for a server is set up.
        Command::Scan(_) | Command::Assets(_) => Ok(()),
        Command::Scans(command) => scans::run(command, context, output).await,
        Command::Server(command) => server::run(&command, context, output).await,
        Command::Audit { limit } => server::audit(limit, context, output).await,
        Command::Completion { shell } => reference::completion(shell),
        Command::Man { folder } => reference::man(folder.as_deref()),
    }
}

/// Everything on stdin, bounded: a code or a statement, never a stream.
fn stdin_text(bytes_max: u64) -> Result<String, CtlError> {
    let mut text = String::new();
    std::io::stdin().lock().take(bytes_max + 1).read_to_string(&mut text)?;
    if text.len() as u64 > bytes_max { Err(CtlError::Usage(format!("stdin has more than {bytes_max} bytes"))) } else { Ok(text) }
}

/// Asks at a terminal; anywhere else `--yes` is the only yes.
fn confirmed(question: &str, yes: bool) -> Result<(), CtlError> {
    if yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        return Err(CtlError::Usage(format!("{question} Say --yes: there is no terminal to ask at")));
    }
    eprint!("{} [y/N] ", crate::output::clean(question));
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    if matches!(answer.trim(), "y" | "Y" | "yes") { Ok(()) } else { Err(CtlError::Usage("not done".to_owned())) }
}
