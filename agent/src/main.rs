//! `picket-agent`: what the kernel saw on this host, to the investigation server.

mod boot;
mod budget;
mod capabilities;
mod checkpoint;
mod cli;
mod config;
mod daemon;
mod dial;
mod enrich;
mod enrol;
mod fs_watch;
mod gpu;
mod healing;
mod identity;
mod inventory;
mod loss;
mod memory;
mod pipeline;
mod posture;
mod privileges;
mod process_table;
mod queue;
mod reload;
mod run_stdout;
mod scan;
mod self_watch;
mod sensor;
mod side;
mod source;
mod spooler;
mod start;
mod state;
mod status;
mod stdout;
mod supervisor;
mod uplink;
mod watches;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
