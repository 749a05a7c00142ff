//! The command line of `picket-server`.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context as _, bail};
use clap::{Parser, Subcommand};
use picket_server::{
    config::{LogConfig, LogFormat, ServerConfig},
    serve::{Deployment, Running},
};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// The table's libraries tell of every commit; the configured filter can ask for it.
const QUIET: &str = "buoyant_kernel=warn,buoyant_kernel_engine=warn,deltalake_core=warn";
const TTL_MAX_S: u64 = 24 * 3600;

/// The investigation server of Picket.
#[derive(Debug, Parser)]
#[command(name = "picket-server", version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server. Makes its state folder when there is none.
    Run {
        /// Configuration file.
        #[arg(long)]
        config: PathBuf,
    },
    /// Print a new enrolment token; works beside a running server.
    EnrolToken {
        /// Configuration file.
        #[arg(long)]
        config: PathBuf,
        /// How long it may be used, as 90s, 10m, 1h; at most 24h.
        #[arg(long, default_value = "1h", value_parser = duration)]
        ttl: Duration,
        /// For people.
        #[arg(long, default_value = "")]
        label: String,
    },
    /// Print a new one-time sign-in code for the admin; works beside a running server.
    SignIn {
        /// Configuration file.
        #[arg(long)]
        config: PathBuf,
    },
    /// Look at the configuration.
    #[command(subcommand)]
    Config(ConfigCommand),
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Check a file; says line and column of what is wrong.
    Check {
        /// Configuration file.
        file: PathBuf,
    },
}

impl Cli {
    /// Does what was asked.
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        match self.command {
            Command::Run { config } => run(&ServerConfig::load(&config)?).await,
            Command::EnrolToken { config, ttl, label } => {
                if ttl.is_zero() || ttl.as_secs() > TTL_MAX_S {
                    bail!("--ttl is between 1s and 24h");
                }
                let deployment = Deployment::open(&ServerConfig::load(&config)?).await?;
                println!("{}", deployment.enrolment_token(ttl.as_secs(), &label).await?);
                deployment.state.close().await;
                Ok(())
            }
            Command::SignIn { config } => {
                let config = ServerConfig::load(&config)?;
                let deployment = Deployment::open(&config).await?;
                println!("{}", deployment.sign_in_code(config.api.sign_in_code_lifetime_s).await?);
                deployment.state.close().await;
                Ok(())
            }
            Command::Config(ConfigCommand::Check { file }) => {
                ServerConfig::load(&file)?;
                println!("{}: ok", file.display());
                Ok(())
            }
        }
    }
}

async fn run(config: &ServerConfig) -> anyhow::Result<()> {
    log(&config.log)?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let running = Running::start(config).await?;
    // An error means that systemd went away; nobody waits then.
    let _nobody = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    let _nobody = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    running.stop().await;
    Ok(())
}

fn log(config: &LogConfig) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(format!("{QUIET},{}", config.filter))
        .with_context(|| format!("log.filter: {:?} is not a filter, as info or info,picket_server=debug", config.filter))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match config.format {
        LogFormat::Text => builder.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).init(),
        LogFormat::Json => builder.json().init(),
    }
    Ok(())
}

fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a time like 90s, 10m, 1h or 1d");
    let unit_at = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at_checked(unit_at).ok_or_else(wrong)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 24 * 3600,
        _ => return Err(wrong()),
    };
    number.parse::<u64>().ok().and_then(|number| number.checked_mul(seconds)).map(Duration::from_secs).ok_or_else(wrong)
}
