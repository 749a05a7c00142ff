//! `picketctl`: the command line of admins and analysts.
//!
//! Data goes to stdout, everything else to stderr. Exit codes: 0 done, 1 error, 2 usage, 3 not found, 4 denied, 5 partial answer.

mod cli;
mod commands;
mod connect;
mod context;
mod error;
mod json;
mod output;
mod pin;
mod when;

use std::process::ExitCode;

use clap::Parser as _;

use crate::cli::{Cli, Command};
use crate::error::{CtlError, report};
use crate::output::Output;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let output = Output::new(cli.format, cli.wide);
    if let Command::Scan(arguments) = &cli.command {
        return commands::scan::run(arguments, &output);
    }
    if let Command::Assets(command) = &cli.command {
        return commands::assets::run(command, &output);
    }
    match start(cli, &output) {
        Ok(()) => ExitCode::SUCCESS,
        // The reader of our pipe has what it wanted, as `| head` does.
        Err(CtlError::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => report(&error),
    }
}

fn start(cli: Cli, output: &Output) -> Result<(), CtlError> {
    if cli.format == output::Format::Sarif {
        return Err(CtlError::Usage("--format sarif is for `picketctl scan`".to_owned()));
    }
    rustls::crypto::aws_lc_rs::default_provider().install_default().map_err(|_| CtlError::Crypto)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(CtlError::Runtime)?;
    runtime.block_on(commands::run(cli, output))
}
