//! `make bench [ONLY=name]`: takes the figures of Picket beside those of its peers, A/B in one run, prints one JSON object a figure on
//! standard output and a table for people on standard error, and keeps them in `docs/figures.json`.

mod agent_memory;
mod figure;
mod ingest;
mod kernel_cost;
mod latency;
mod overhead_loads;
mod overload;
mod peers;
mod queries;
mod rate;
mod scan_speed;
mod sizes;
mod stats;
mod steady;

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Parser;

use crate::figure::{Book, Figure};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Takes the figures of Picket.
#[derive(Debug, Parser)]
struct Arguments {
    /// Only this benchmark.
    #[arg(long)]
    only: Option<String>,
    /// Where the figures are kept; those of other benchmarks stay.
    #[arg(long, default_value = "docs/figures.json")]
    out: PathBuf,
    /// Rounds of each A/B comparison.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How long `steady` runs.
    #[arg(long, default_value_t = 60)]
    minutes: u64,
    /// Name the benchmarks and end.
    #[arg(long)]
    list: bool,
}

type Bench = fn(&Arguments) -> Result<Vec<Figure>>;

/// Every benchmark by name.
const BENCHES: &[(&str, Bench)] = &[
    ("open_close_added", |arguments| kernel_cost::open_close(arguments.rounds)),
    ("fork_exec_added", |arguments| kernel_cost::fork_exec(arguments.rounds)),
    ("kernel_to_store_rate", |_| rate::kernel_to_store()),
    ("overload_recall", |_| overload::recall()),
    ("overhead_loads", |arguments| overhead_loads::measure(arguments.rounds, &arguments.out.with_file_name("overhead_loads.jsonl"))),
    ("syscall_to_tail", |_| latency::syscall_to_tail()),
    ("ingest_rate", |arguments| ingest::rate(arguments.rounds)),
    ("agents_1000_memory", |_| ingest::memory_of_agents(1_000)),
    ("queries_50m", |_| queries::queries()),
    ("agent_memory", |_| agent_memory::memory()),
    ("steady", |arguments| steady::steady(arguments.minutes)),
    ("scan_speed", |arguments| scan_speed::scan_speed(arguments.rounds)),
    ("binary_sizes", |_| sizes::sizes()),
];

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if arguments.list {
        for (name, _) in BENCHES {
            println!("{name}");
        }
        return Ok(());
    }
    let chosen: Vec<_> = BENCHES.iter().filter(|(name, _)| arguments.only.as_deref().is_none_or(|only| only == *name)).collect();
    if chosen.is_empty() {
        let names: Vec<_> = BENCHES.iter().map(|(name, _)| *name).collect();
        bail!("no benchmark of that name; there are: {}", names.join(", "));
    }
    let mut book = Book::open(&arguments.out)?;
    let mut failed = Vec::new();
    for (name, bench) in chosen {
        eprintln!("==> {name}");
        match bench(&arguments).with_context(|| format!("benchmark {name}")) {
            Ok(figures) => {
                for figure in &figures {
                    println!("{}", serde_json::to_string(figure)?);
                }
                book.replace(name, figures);
                // After each, so that an interrupted run keeps what it has.
                book.save()?;
            }
            Err(error) => {
                eprintln!("{error:#}");
                failed.push(*name);
            }
        }
    }
    eprintln!("{}", book.table());
    if failed.is_empty() { Ok(()) } else { bail!("not taken: {}", failed.join(", ")) }
}
