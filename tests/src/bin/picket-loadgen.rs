//! Simulated agents against a running server: `picket-loadgen --agents 100 --seconds 30 --server 127.0.0.1:9443 --api 127.0.0.1:8443
//! --code-file F`, where F holds what `picket-server sign-in` printed. Prints one JSON object.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::{Context, Result};
use clap::Parser;
use picket_tests::{
    admin::Admin,
    load::{FramePool, LoadPlan, enrol_devices, run},
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Load on a server from simulated agents over mutual TLS.
#[derive(Debug, Parser)]
struct Arguments {
    /// Agent port.
    #[arg(long)]
    server: SocketAddr,
    /// API port, to make the enrolment tokens.
    #[arg(long)]
    api: SocketAddr,
    /// File with a one-time sign-in code.
    #[arg(long)]
    code_file: PathBuf,
    /// Connected agents.
    #[arg(long, default_value_t = 16)]
    agents: usize,
    /// Events a second of each agent; absent is as fast as the server acknowledges, 0 is heartbeats alone.
    #[arg(long)]
    rate: Option<u32>,
    /// How long.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Events in a batch.
    #[arg(long, default_value_t = 500)]
    batch: u32,
    /// Batches of an agent on their way at once.
    #[arg(long, default_value_t = 8)]
    in_flight: usize,
    /// Of the generated events.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let code = std::fs::read_to_string(&arguments.code_file).with_context(|| format!("read {}", arguments.code_file.display()))?;
    let pool = FramePool::new(arguments.seed, 64, arguments.batch)?;
    let admin = Admin::sign_in(arguments.api, &code).await?;
    let identities = enrol_devices(&admin, arguments.server, arguments.agents).await?;
    let plan = LoadPlan { duration: Duration::from_secs(arguments.seconds), rate: arguments.rate, batch: arguments.batch, in_flight: arguments.in_flight };
    let report = run(arguments.server, &identities, &pool, &plan).await;
    println!("{}", serde_json::to_string(&report)?);
    Ok(())
}
