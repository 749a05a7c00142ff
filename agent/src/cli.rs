//! The command line.

use std::{io::IsTerminal, path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand, ValueEnum};

use crate::{config::Config, daemon, enrol, identity, memory, posture, run_stdout, status};

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
        /// Configuration file. Without it, and without /etc/picket-agent/picket-agent.toml, the built-in defaults hold.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Print OCSF 1.8.0 events as NDJSON instead of sending them; needs no server and keeps nothing.
        #[arg(long)]
        stdout: bool,
    },
    /// Enrol this host with a single-use token.
    #[command(alias = "enrol")]
    Enroll {
        /// Address of the server's agent port.
        #[arg(long, value_name = "https://HOST:PORT")]
        server: String,
        /// File that holds the token; a token on the command line would stand in every process list.
        #[arg(long, value_name = "FILE")]
        token_file: PathBuf,
        /// Configuration file; it names the state folder.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Enrol as a new device although this host is enrolled.
        #[arg(long)]
        again: bool,
    },
    /// Ask the running agent how it is.
    Status {
        /// Configuration file of that agent.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// For people or for programs.
        #[arg(long, value_enum, default_value_t = Format::Table)]
        format: Format,
    },
    /// Judge how this host is set up: open model servers, writable weights, readable tokens. Contacts nobody, changes nothing.
    ///
    /// Exit status: 0 nothing failed, 1 something failed, 2 nothing failed and something could not be looked at.
    Posture {
        /// Configuration file; it names the watched models and datasets.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Judge the copy of a host that lies below this folder.
        #[arg(long, value_name = "DIR", default_value = "/")]
        root: PathBuf,
        /// Folder with checks of your own.
        #[arg(long, value_name = "DIR")]
        checks: Option<PathBuf>,
        /// Only this check.
        #[arg(long, value_name = "ID")]
        check: Option<String>,
        /// For people, or one JSON object a check.
        #[arg(long, value_enum, default_value_t = Format::Table)]
        format: Format,
    },
    /// Work with the configuration.
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Table,
    Json,
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
    match run(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("picket-agent: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Run { config, stdout } => {
            memory::settle();
            log_to_stderr();
            let (config, file) = load(config)?;
            if stdout { run_stdout::run(&config) } else { daemon::run(config, file) }?;
        }
        Command::Enroll { server, token_file, config, again } => {
            let (config, _) = load(config)?;
            let server = identity::server_url(&server).map_err(|reason| anyhow::anyhow!("--server {server}: {reason}"))?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let identity = runtime.block_on(enrol::enrol(&config, &server, &token_file, again))?;
            println!("enrolled as device {}", identity.device_uid);
        }
        Command::Status { config, format } => {
            let (config, _) = load(config)?;
            let status = status::ask(&config.status_socket())?;
            match format {
                Format::Table => print!("{}", status::table(&status)),
                Format::Json => println!("{status:#}"),
            }
        }
        Command::Config { command: ConfigCommand::Check { file } } => {
            let config = Config::read(&file)?;
            crate::enrich::Roles::load(config.roles_file.as_deref())?;
            posture::load(config.posture.checks_dir.as_deref())?;
            println!("{}: good", file.display());
        }
        Command::Posture { config, root, checks, check, format } => {
            let (config, _) = load(config)?;
            return posture::run(&config, &root, checks.as_deref(), check.as_deref(), matches!(format, Format::Json));
        }
    }
    Ok(ExitCode::SUCCESS)
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
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal()).init();
}
