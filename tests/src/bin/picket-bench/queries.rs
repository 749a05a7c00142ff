//! The hunting queries over many stored events, asked through the API, with DuckDB over the same Parquet files beside it.
//!
//! `PICKET_BENCH_EVENTS` says how many events are stored first; the default is what a coffee break allows.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use picket_event::Timestamp;
use picket_tests::{
    admin::Admin,
    agent_sim::{Identity, Uplink},
    fixture::Deployment,
    generator::Generator,
    host_load::now_ns,
    load::enrol_devices,
    wait,
};
use serde_json::{Value, json};

use crate::{
    figure::Figure,
    ingest::deployment,
    stats::{median, range},
};

const EVENTS: u64 = 10_000_000;
const DEVICES: u64 = 40;
const BATCH: u64 = 500;
/// Runs after the first; the figure is their median.
const WARM: usize = 7;

struct Query {
    name: &'static str,
    sql: String,
}

pub(crate) fn queries() -> Result<Vec<Figure>> {
    let wanted = std::env::var("PICKET_BENCH_EVENTS").ok().and_then(|text| text.parse().ok()).unwrap_or(EVENTS);
    let (mut deployment, admin) = deployment()?;
    let begin = Instant::now();
    let stored = fill(&deployment, &admin, wanted)?;
    eprintln!("    {stored} events stored in {:.0} s", begin.elapsed().as_secs_f64());
    let (files, bytes) = settle(&deployment, &admin)?;
    let queries = chosen(&deployment, &admin)?;
    // A fresh process: nothing is in the server's own caches; the kernel's page cache stays.
    deployment.server.stop()?;
    deployment.server.run()?;
    let code = deployment.server.sign_in_code()?;
    let admin = deployment.block_on(Admin::sign_in(deployment.server.api_address(), &code))?;
    let mut ours = Vec::new();
    for query in &queries {
        ours.push(times(&deployment, &admin, query)?);
    }
    let duckdb = duckdb(&deployment.server.state(), &queries).unwrap_or_else(|error| {
        eprintln!("SKIPPED duckdb: {error:#}");
        Vec::new()
    });
    let note = format!("{stored} events of {DEVICES} hosts, {files} files, through the API over TLS on loopback; warm is the median of {WARM}");
    let mut figures = vec![Figure::new("stored_bytes_an_event", bytes as f64 / stored.max(1) as f64, "bytes").compared("aim", 50.0).conditions(&note)];
    for (index, (query, (first, warm))) in queries.iter().zip(&ours).enumerate() {
        let (low, high) = range(warm);
        let mut figure = Figure::new(&format!("query.{}", query.name), median(warm), "ms").spread(low, high).conditions(&note);
        if let Some(theirs) = duckdb.get(index) {
            figure = figure.compared("DuckDB on the same files", *theirs);
        }
        figures.push(figure);
        figures.push(Figure::new(&format!("query.{}.first", query.name), *first, "ms").conditions("the first time in a fresh server process, page cache warm"));
    }
    Ok(figures)
}

/// Different events of every host, none sent twice.
fn fill(deployment: &Deployment, admin: &Admin, wanted: u64) -> Result<u64> {
    let address = deployment.server.agent_address();
    let devices = usize::try_from(DEVICES)?;
    let identities = deployment.block_on(enrol_devices(admin, address, devices))?;
    let batches = wanted.div_ceil(DEVICES * BATCH);
    let waiting = std::sync::Arc::new(tokio::sync::Semaphore::new(2));
    let tasks: Vec<_> = identities
        .into_iter()
        .zip(0_u32..)
        .map(|(identity, host)| {
            let waiting = std::sync::Arc::clone(&waiting);
            deployment.spawn(async move {
                let _turn = waiting.acquire_owned().await?;
                fill_one(address, identity, host, batches).await
            })
        })
        .collect();
    let mut stored = 0;
    for task in tasks {
        stored += deployment.block_on(task)??;
    }
    Ok(stored)
}

async fn fill_one(address: std::net::SocketAddr, identity: Identity, host: u32, batches: u64) -> Result<u64> {
    let mut generator = Generator::new(50, host).starting_at(Timestamp(now_ns()));
    let mut uplink = Uplink::new(address, identity, &generator.hostname());
    let mut left = batches;
    while left > 0 {
        // A few megabytes at a time.
        for _ in 0..left.min(100) {
            let events: Vec<_> = (0..BATCH).map(|_| generator.next_event()).collect();
            uplink.append(&events)?;
        }
        left -= left.min(100);
        uplink.drain(Duration::from_secs(120)).await?;
    }
    Ok(uplink.last_seq())
}

/// Waits until every event is in a file and the files stay as they are; gives files and bytes.
fn settle(deployment: &Deployment, admin: &Admin) -> Result<(u64, u64)> {
    let mut last = (0, 0);
    let mut same = 0;
    wait::until("the table is written and quiet", Duration::from_secs(600), || {
        let status = deployment.block_on(admin.status())?;
        let now = (status.lake_files, status.lake_bytes);
        same = if now == last && status.tail_events == 0 { same + 1 } else { 0 };
        last = now;
        std::thread::sleep(Duration::from_millis(500));
        Ok((same >= 20).then_some(now))
    })
}

fn chosen(deployment: &Deployment, admin: &Admin) -> Result<Vec<Query>> {
    let one = |sql: &str| -> Result<String> {
        let rows = deployment.block_on(admin.sql(sql))?;
        let value = rows.first().and_then(|row| row.first()).with_context(|| format!("{sql}: no row"))?;
        Ok(value.as_str().map_or_else(|| value.to_string(), str::to_owned))
    };
    let uid = one("SELECT process_uid FROM events WHERE activity_id = 1 AND class_uid = 1007 ORDER BY time LIMIT 1 OFFSET 1234")?;
    let address = one(
        "SELECT dst_endpoint_ip FROM events WHERE class_uid = 4001 GROUP BY dst_endpoint_ip HAVING count(*) BETWEEN 5 AND 50 ORDER BY dst_endpoint_ip LIMIT 1",
    )?;
    let device = one("SELECT device_uid FROM events ORDER BY time LIMIT 1")?;
    let tree = one(
        "SELECT picket_exec_tree_id FROM events WHERE class_uid = 1007 GROUP BY picket_exec_tree_id ORDER BY abs(count(*) - 500), picket_exec_tree_id LIMIT 1",
    )?;
    let day = one("SELECT CAST(CAST(max(received_time) AS DATE) AS VARCHAR) FROM events")?;
    let query = |name, sql| Query { name, sql };
    Ok(vec![
        query("needle_process", format!("SELECT * FROM events WHERE process_uid = '{uid}'")),
        query("needle_absent", "SELECT * FROM events WHERE process_uid = '00000000-0-1-1'".to_owned()),
        query("address", format!("SELECT time, device_uid, dst_endpoint_ip, dst_endpoint_port FROM events WHERE array_has(addresses, '{address}')")),
        query("last_100", "SELECT * FROM events ORDER BY time DESC LIMIT 100".to_owned()),
        query(
            "day_top_20",
            format!(
                "SELECT actor_process_name, count(*) AS n FROM events WHERE CAST(received_time AS DATE) = DATE '{day}' GROUP BY actor_process_name ORDER BY n DESC LIMIT 20"
            ),
        ),
        query("count_by_day_class", "SELECT CAST(received_time AS DATE) AS d, class_uid, count(*) FROM events GROUP BY 1, 2 ORDER BY 1, 2".to_owned()),
        query(
            "host_day",
            format!("SELECT time, class_uid, activity_id, actor_process_name FROM events WHERE device_uid = '{device}' ORDER BY time DESC LIMIT 1000"),
        ),
        query(
            "tree",
            format!(
                "SELECT process_uid, process_name, process_cmd_line FROM events WHERE picket_exec_tree_id = '{tree}' AND class_uid = 1007 AND activity_id = 1 LIMIT 500"
            ),
        ),
        query("substring", "SELECT count(*) FROM events WHERE actor_process_cmd_line LIKE '%run-4321%'".to_owned()),
    ])
}

/// Milliseconds of the first run and of the warm ones.
fn times(deployment: &Deployment, admin: &Admin, query: &Query) -> Result<(f64, Vec<f64>)> {
    let mut runs = Vec::new();
    for _ in 0..=WARM {
        let begin = Instant::now();
        deployment.block_on(admin.sql(&query.sql))?;
        runs.push(begin.elapsed().as_secs_f64() * 1_000.0);
    }
    let first = runs.remove(0);
    eprintln!("    {:<20} first {first:.1} ms, warm {:.1} ms", query.name, median(&runs));
    Ok((first, runs))
}

/// Reads the active files of the table by the Delta log, then times the same statements.
const SCRIPT: &str = r#"
import json, os, sys, time
import duckdb
from deltalake import DeltaTable
task = json.load(sys.stdin)
table = next(os.path.dirname(root) for root, names, _ in os.walk(task["state"]) if os.path.basename(root) == "_delta_log")
files = DeltaTable(table).file_uris()
con = duckdb.connect()
con.execute("SET TimeZone = 'UTC'")
con.execute("CREATE VIEW events AS SELECT * FROM read_parquet(" + repr(list(files)) + ", hive_partitioning = true)")
out = []
for sql in task["queries"]:
    runs = []
    for _ in range(task["runs"] + 1):
        begin = time.perf_counter()
        con.execute(sql).fetchall()
        runs.append((time.perf_counter() - begin) * 1000)
    out.append(sorted(runs[1:])[len(runs[1:]) // 2])
print(json.dumps({"rows": con.execute("SELECT count(*) FROM events").fetchone()[0], "version": duckdb.__version__, "ms": out}))
"#;

fn duckdb(state: &Path, queries: &[Query]) -> Result<Vec<f64>> {
    let python = virtual_environment()?;
    let statements: Vec<_> = queries.iter().map(|query| query.sql.clone()).collect();
    let task = json!({ "state": state, "queries": statements, "runs": WARM });
    let mut child = Command::new(python).arg("-c").arg(SCRIPT).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    serde_json::to_writer(child.stdin.take().context("its input")?, &task)?;
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!("the script ended with {}", output.status);
    }
    let answer: Value = serde_json::from_slice(&output.stdout)?;
    let field = |name: &str| answer.get(name).with_context(|| format!("{name} of the answer"));
    eprintln!("    DuckDB {} over {} rows", field("version")?, field("rows")?);
    let times = field("ms")?.as_array().context("times")?;
    Ok(times.iter().filter_map(Value::as_f64).collect())
}

/// A Python with DuckDB and deltalake, made once in the build folder.
fn virtual_environment() -> Result<PathBuf> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    let folder = target.join("bench-venv");
    let python = folder.join("bin/python");
    let ready =
        |python: &Path| Command::new(python).args(["-c", "import duckdb, deltalake, pytz"]).stderr(Stdio::null()).status().is_ok_and(|status| status.success());
    if ready(&python) {
        return Ok(python);
    }
    let made = Command::new("python3").args(["-m", "venv"]).arg(&folder).status().context("python3 -m venv")?;
    if !made.success() {
        bail!("python3 -m venv: {made}");
    }
    let installed = Command::new(&python).args(["-m", "pip", "install", "--quiet", "duckdb", "deltalake", "pytz"]).status().context("pip install")?;
    if !installed.success() || !ready(&python) {
        bail!("pip install duckdb deltalake pytz: {installed}");
    }
    Ok(python)
}
