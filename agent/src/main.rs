//! `picket-agent`: what the kernel saw on this host, to the investigation server.

mod boot;
mod capabilities;
mod cli;
mod config;
mod enrich;
mod identity;
mod loss;
mod pipeline;
mod process_table;
mod queue;
mod run_stdout;
mod sensor;
mod start;
mod stdout;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
