//! The hunting queries over many stored events, cold and warm, with DuckDB over the same Parquet files beside it: the lake's own
//! benchmark, whose lines become figures here.
//!
//! `PICKET_BENCH_EVENTS` says how many events are stored; `PICKET_LAKE_BENCH` is the program that stores and asks.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::figure::Figure;

const EVENTS: u64 = 50_000_000;
const DAYS: u64 = 10;
const DEVICES: u64 = 2_000;

/// What is promised of a query, in milliseconds.
const AIMS: &[(&str, f64)] = &[("needle_digest", 100.0), ("needle_process", 100.0), ("process_tree", 100.0), ("count_by_day_and_class", 500.0)];

/// A line of the lake's benchmark.
#[derive(Deserialize)]
struct Line {
    name: String,
    value: f64,
    unit: String,
    cold_ms: Option<f64>,
    low_ms: Option<f64>,
    high_ms: Option<f64>,
    rows: Option<u64>,
}

pub(crate) fn queries() -> Result<Vec<Figure>> {
    let events = std::env::var("PICKET_BENCH_EVENTS").ok().and_then(|text| text.parse().ok()).unwrap_or(EVENTS);
    let lines = run(events)?;
    let by_name: BTreeMap<&str, &Line> = lines.iter().map(|line| (line.name.as_str(), line)).collect();
    let one = |name: &str| by_name.get(name).copied().with_context(|| format!("the benchmark printed no {name}"));
    let stored = one("lake.rows")?.value;
    let note = format!("{stored} events of {DEVICES} hosts over {DAYS} days, each day merged; in process");
    let mut figures = vec![
        Figure::new("stored_bytes_an_event", one("lake.bytes_an_event.sorted")?.value, "bytes").compared("aim", 50.0).conditions(&note),
        Figure::new("stored_bytes_an_event.fresh", one("lake.bytes_an_event.fresh")?.value, "bytes").conditions("the same before merging"),
        Figure::new("merge_time", one("lake.compaction")?.value, "us/event").conditions("sorting a day by device and time, one thread"),
    ];
    for line in &lines {
        let Some(name) = line.name.strip_prefix("query.sorted.") else { continue };
        let rows = line.rows.unwrap_or_default();
        let mut figure = Figure::new(&format!("query.{name}"), line.value, &line.unit).conditions(&format!("{rows} rows; {note}"));
        if let (Some(low), Some(high)) = (line.low_ms, line.high_ms) {
            figure = figure.spread(low, high);
        }
        let theirs = by_name.get(format!("duckdb.{name}").as_str());
        let aim = AIMS.iter().find(|(aimed, _)| *aimed == name);
        figures.push(match (theirs, aim) {
            (Some(theirs), _) => figure.compared("DuckDB on the same files", theirs.value),
            (None, Some((_, aim))) => figure.compared("aim", *aim),
            (None, None) => figure,
        });
        if let Some(cold) = line.cold_ms {
            let figure = Figure::new(&format!("query.{name}.cold"), cold, "ms").conditions("the first in a lake just opened, page cache dropped");
            figures.push(match theirs.and_then(|theirs| theirs.cold_ms) {
                Some(theirs) => figure.compared("DuckDB, page cache dropped", theirs),
                None => figure,
            });
        }
        if let Some(fresh) = by_name.get(format!("query.fresh.{name}").as_str()) {
            figures.push(Figure::new(&format!("query.{name}.fresh"), fresh.value, "ms").conditions("warm, before merging"));
        }
    }
    Ok(figures)
}

fn run(events: u64) -> Result<Vec<Line>> {
    let program = std::env::var_os("PICKET_LAKE_BENCH").map(PathBuf::from).context("PICKET_LAKE_BENCH is not set; `make bench ONLY=queries_50m` sets it")?;
    let mut command = Command::new(program);
    command.args(["--rows", &events.to_string(), "--days", &DAYS.to_string(), "--devices", &DEVICES.to_string()]);
    match virtual_environment() {
        Ok(python) => drop(command.arg("--python").arg(python)),
        Err(error) => eprintln!("SKIPPED duckdb: {error:#}"),
    }
    if let Some(folder) = std::env::var_os("PICKET_BENCH_DIR") {
        command.arg("--dir").arg(folder);
    }
    let output = command.stdout(Stdio::piped()).spawn()?.wait_with_output()?;
    if !output.status.success() {
        bail!("the lake's benchmark ended with {}", output.status);
    }
    let text = String::from_utf8(output.stdout)?;
    text.lines().map(|line| serde_json::from_str(line).with_context(|| format!("not a figure: {line}"))).collect()
}

/// A Python with DuckDB, made once in the build folder.
fn virtual_environment() -> Result<PathBuf> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    let folder = target.join("bench-venv");
    let python = folder.join("bin/python");
    let ready = |python: &Path| {
        Command::new(python)
            .args(["-c", "import duckdb, pyarrow; assert duckdb.__version__ == '2.0.0'"])
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    };
    if ready(&python) {
        return Ok(python);
    }
    let made = Command::new("python3").args(["-m", "venv"]).arg(&folder).status().context("python3 -m venv")?;
    if !made.success() {
        bail!("python3 -m venv: {made}");
    }
    let installed = Command::new(&python).args(["-m", "pip", "install", "--quiet", "duckdb==2.0.0", "pyarrow"]).status().context("pip install")?;
    if !installed.success() || !ready(&python) {
        bail!("pip install duckdb pyarrow: {installed}");
    }
    Ok(python)
}
