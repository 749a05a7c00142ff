//! The command line.

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

use crate::{config::Config, run_stdout};

const CONFIG: &str = "/etc/picket-agent/picket-agent.toml";

/// Watches processes, files and the network around model artifacts on this host.
#[derive(Parser)]
#[command(name = "picket-agent", version, max_term_width = 120)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run in the foreground until SIGTERM or SIGINT.
    Run {
        /// Configuration file. Without it, and without the default file, the built-in defaults hold.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Print OCSF 1.8.0 events as NDJSON instead of sending them; needs no server and keeps nothing.
        #[arg(long)]
        stdout: bool,
    },
    /// Work with the configuration.
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
}

#[derive(Subcommand)]
enum ConfigCommand {
    /// Check a file; errors name line and column.
    Check {
        /// The file.
        file: PathBuf,
    },
}

pub(crate) fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("picket-agent: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Run { config, stdout } => {
            log_to_stderr();
            let config = load(config)?.0;
            if stdout { run_stdout::run(&config) } else { anyhow::bail!("x") }
        }
        Command::Config { command: ConfigCommand::Check { file } } => {
            Config::read(&file)?;
            println!("{}: good", file.display());
            Ok(())
        }
    }
}

/// The configuration and the file it came from. A file that was named must exist; the default one need not.
fn load(file: Option<PathBuf>) -> anyhow::Result<(Config, Option<PathBuf>)> {
    let file = file.or_else(|| Some(PathBuf::from(CONFIG)).filter(|path| path.exists()));
    let config = file.as_deref().map_or_else(|| Ok(Config::default()), Config::read)?;
    Ok((config, file))
}

/// Logs go to standard error, where systemd takes them; `PICKET_LOG` filters as `RUST_LOG` does elsewhere.
fn log_to_stderr() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("PICKET_LOG").unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
}
