//! `picket-server`: the investigation server.

mod cli;

use std::process::ExitCode;

use clap::Parser as _;

/// A third more events a second than the system's allocator on the ingest path.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Threads for decoding and files beside the runtime's own.
const BLOCKING_THREADS_MAX: usize = 64;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        eprintln!("picket-server: a crypto provider was installed twice");
        return ExitCode::FAILURE;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().max_blocking_threads(BLOCKING_THREADS_MAX).build();
    let outcome = runtime.map_err(anyhow::Error::from).and_then(|runtime| runtime.block_on(cli.run()));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("picket-server: {error:#}");
            ExitCode::FAILURE
        }
    }
}
