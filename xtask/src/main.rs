//! Checks of the repository that no compiler does: dependency direction, sizes, documents in step with the code, figures.
//!
//! `cargo xtask ci` runs them all in the order that `make test` uses. Each check prints every violation it finds, one a line with file
//! and line, and what to do about it; the exit status is 1 when there was any.

mod deps;
mod docs;
mod figures;
mod lexer;
mod ratchet;
mod repo;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::repo::Repo;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Checks of the repository that no compiler does")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Every check, in the order of `make test`
    Ci,
    /// Who may depend on whom; where unsafe, SQL, aya and the crypto provider may live
    CheckDeps,
    /// Files over 500 lines and functions over 70: old excess may only shrink
    Ratchet {
        /// Lower the baseline to what is there now; refuses to raise it
        #[arg(long)]
        write: bool,
    },
    /// Links, make targets, API methods, metrics and probes: documents and code name the same things
    CheckDocs,
    /// Write the tables of SPECIFICATION.md from docs/figures.json
    Figures {
        /// Only say whether they are in step
        #[arg(long)]
        check: bool,
    },
}

/// One check: a word for it, and what it found wrong.
type Check = (&'static str, fn(&Repo) -> Result<Vec<String>>);

fn main() -> ExitCode {
    match run(&Arguments::parse().command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: &Command) -> Result<bool> {
    let repo = Repo::find()?;
    let checks: Vec<Check> = match command {
        Command::Ci => vec![("check-deps", deps::check), ("ratchet", ratchet::check), ("check-docs", docs::check), ("figures", figures::check)],
        Command::CheckDeps => vec![("check-deps", deps::check)],
        Command::Ratchet { write: false } => vec![("ratchet", ratchet::check)],
        Command::Ratchet { write: true } => vec![("ratchet", ratchet::write)],
        Command::CheckDocs => vec![("check-docs", docs::check)],
        Command::Figures { check: true } => vec![("figures", figures::check)],
        Command::Figures { check: false } => vec![("figures", figures::write)],
    };
    let mut clean = true;
    for (name, check) in checks {
        let violations = check(&repo)?;
        for violation in &violations {
            eprintln!("{name}: {violation}");
        }
        println!("{name}: {}", if violations.is_empty() { "ok".to_owned() } else { format!("{} violation(s)", violations.len()) });
        clean &= violations.is_empty();
    }
    Ok(clean)
}
