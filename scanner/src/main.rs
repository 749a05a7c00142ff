//! The process that reads artifacts for the agent, so that the agent, which has the rights, never parses what an adversary wrote.
//!
//! `launch` is started by the agent before it gives up its rights. It makes a network namespace with nothing in it, keeps only the rights
//! to start and to kill one worker as another user, and does nothing else: it never sees a file.
//!
//! `worker` locks itself in before the first byte of an artifact: no capability, no network, no file system (Landlock), no new process, and
//! only the system calls that reading and computing need (seccomp: any other ends it). Files come to it as open, read-only descriptors.
//!
//! Standard input is the socket between agent and worker, standard output the one between agent and launcher; `message` is what they carry.

mod launch;
mod limits;
mod message;
mod sandbox;
mod self_test;
mod source;
mod worker;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result = match arguments.split_first() {
        Some((command, rest)) if command == "launch" => launch::run(rest),
        Some((command, rest)) if command == "worker" => worker::Settings::of(rest).and_then(worker::run),
        _ => Err(anyhow::anyhow!("picket-agent starts this program; there is nothing to run by hand")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("picket-scanner: {error:#}");
            ExitCode::FAILURE
        }
    }
}
