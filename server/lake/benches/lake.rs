//! The lake's figures over a generated fleet: ingest with fsync before the answer, bytes an event, and the queries that analysts ask, cold and warm.
//!
//! `cargo bench -p picket-lake -- [--rows 10000000] [--days 10] [--devices 2000] [--dir DIR] [--python PYTHON]`; with a Python that has `duckdb` the same questions are put to DuckDB over
//! the same files. One JSON object a figure on stdout, progress on stderr. A plain program: no figure is asserted.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a measuring program ends where it fails"
)]

#[path = "../tests/common/mod.rs"]
mod common;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use common::{DAY_NANOS, EPOCH, batch_of, config, device, event, table};
use picket_event::Timestamp;
use picket_lake::{Batch, Lake, LakeConfig, SearchQuery};

const BATCH: u64 = 500;
const WARM_RUNS: usize = 5;

struct Options {
    rows: u64,
    days: u64,
    devices: u64,
    dir: Option<PathBuf>,
    python: Option<PathBuf>,
}

fn options() -> Options {
    let mut options = Options { rows: 10_000_000, days: 10, devices: 2_000, dir: None, python: None };
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        // `cargo bench` adds this one.
        if name == "--bench" {
            continue;
        }
        let value = arguments.next().unwrap_or_else(|| panic!("{name} needs a value"));
        match name.as_str() {
            "--rows" => options.rows = value.parse().unwrap(),
            "--days" => options.days = value.parse().unwrap(),
            "--devices" => options.devices = value.parse().unwrap(),
            "--dir" => options.dir = Some(value.into()),
            "--python" => options.python = Some(value.into()),
            _ => panic!("unknown option {name}"),
        }
    }
    options
}

fn figure(name: &str, value: f64, unit: &str, extra: serde_json::Value) {
    let mut line = serde_json::json!({ "name": name, "value": (value * 1000.0).round() / 1000.0, "unit": unit });
    if let (Some(line), serde_json::Value::Object(extra)) = (line.as_object_mut(), extra) {
        line.extend(extra);
    }
    println!("{line}");
}

/// A batch of one device, its events spread over a day.
fn made(number: u64, first_seq: u64, day: u64, per_day: u64) -> Batch {
    let start = EPOCH + day as i64 * DAY_NANOS;
    let step = DAY_NANOS / (per_day as i64 + 1);
    let events: Vec<_> = (first_seq..first_seq + BATCH).map(|seq| event(number, seq, start + ((seq - 1) % per_day) as i64 * step)).collect();
    batch_of(number, first_seq, Timestamp(events.last().map_or(start, |last| last.time.0)), events)
}

/// Appends that are answered, batches made beforehand: what the server does behind its network.
async fn ingest() {
    let dir = tempfile::tempdir().unwrap();
    let lake =
        Lake::open(LakeConfig { flush_interval: Duration::from_secs(10), ..LakeConfig { disk_free_bytes_min: 0, ..LakeConfig::new(dir.path(), "bench") } })
            .unwrap();
    let producers = 16_u64;
    let each = 50_u64;
    let prepared: Vec<Vec<Batch>> = (0..producers).map(|number| (0..each).map(|step| made(number, step * BATCH + 1, 0, each * BATCH)).collect()).collect();
    let total = (producers * each * BATCH) as f64;
    let started = Instant::now();
    let tasks: Vec<_> = prepared
        .into_iter()
        .map(|batches| {
            let lake = lake.clone();
            tokio::spawn(async move {
                let mut waits = Vec::with_capacity(batches.len());
                for batch in batches {
                    let began = Instant::now();
                    lake.append(batch).await.unwrap();
                    waits.push(began.elapsed());
                }
                waits
            })
        })
        .collect();
    let mut waits = Vec::new();
    for task in tasks {
        waits.extend(task.await.unwrap());
    }
    let acknowledged = started.elapsed();
    lake.flush().await.unwrap();
    let flushed = started.elapsed();
    waits.sort_unstable();
    figure(
        "ingest.acknowledged",
        total / acknowledged.as_secs_f64(),
        "events/s",
        serde_json::json!({ "producers": producers, "batch": BATCH, "p99_ms": waits[waits.len() * 99 / 100].as_secs_f64() * 1e3 }),
    );
    figure("ingest.flushed", total / flushed.as_secs_f64(), "events/s", serde_json::json!({ "files": lake.stats().files }));
    lake.shutdown().await;
}

/// Fills the lake; not measured as ingest, since making the events takes most of the time.
async fn fill(lake: &Lake, options: &Options) {
    let have = lake.stats().events_stored;
    if have > 0 {
        eprintln!("{have} events are there already");
        return;
    }
    // Every device is there every day with whole batches: few rows need few devices or days.
    let per_device_day = (options.rows / options.days / options.devices / BATCH).max(1) * BATCH;
    let started = Instant::now();
    for day in 0..options.days {
        let workers = std::thread::available_parallelism().map_or(2, std::num::NonZero::get) as u64;
        let tasks: Vec<_> = (0..workers)
            .map(|worker| {
                let (lake, devices) = (lake.clone(), options.devices);
                tokio::spawn(async move {
                    for number in (worker..devices).step_by(workers as usize) {
                        for step in 0..per_device_day / BATCH {
                            lake.append(made(number, day * per_device_day + step * BATCH + 1, day, per_device_day)).await.unwrap();
                        }
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        eprintln!("day {day}: {} events after {:.0} s", lake.stats().events_stored, started.elapsed().as_secs_f64());
    }
    lake.flush().await.unwrap();
}

fn bytes_an_event(lake: &Lake) -> f64 {
    let stats = lake.stats();
    stats.bytes as f64 / stats.events_stored as f64
}

/// The questions, in SQL that DuckDB understands too.
fn questions(process: &str, tree: &str, digest: &str) -> Vec<(&'static str, String)> {
    let uid = device(7).uid;
    vec![
        ("count_by_day_and_class", "SELECT day, class_uid, count(*) FROM events GROUP BY 1, 2 ORDER BY 1, 2".into()),
        (
            "top_20_processes_of_a_day",
            "SELECT actor_process_name, count(*) AS n FROM events WHERE day = '2026-11-23' GROUP BY 1 ORDER BY n DESC LIMIT 20".into(),
        ),
        ("needle_digest", format!("SELECT time, device_hostname, actor_process_cmd_line, file_path FROM events WHERE file_hash_sha256 = '{digest}'")),
        ("needle_process", format!("SELECT count(*) FROM events WHERE process_uid = '{process}'")),
        ("needle_absent", "SELECT count(*) FROM events WHERE file_hash_sha256 = '0000000000000000000000000000000000000000000000000000000000000000'".into()),
        ("address_either_end", "SELECT count(*) FROM events WHERE src_endpoint_ip = '10.1.0.7' OR dst_endpoint_ip = '10.1.0.7'".into()),
        (
            "process_tree",
            format!(
                "SELECT time, process_uid, actor_process_uid, process_cmd_line FROM events WHERE picket_exec_tree_id = '{tree}' AND class_uid = 1007 LIMIT 500"
            ),
        ),
        (
            "one_hosts_day",
            format!(
                "SELECT time, class_uid, activity_id, actor_process_name, file_path FROM events WHERE device_uid = '{uid}' AND day = '2026-11-23' ORDER BY time"
            ),
        ),
        ("substring", "SELECT count(*) FROM events WHERE actor_process_cmd_line LIKE '%--seed 77%'".into()),
        ("last_100", "SELECT * FROM events ORDER BY time DESC LIMIT 100".into()),
    ]
}

/// Milliseconds of one run, and its rows.
async fn once(run: impl Future<Output = u64>) -> (u64, f64) {
    let started = Instant::now();
    let rows = run.await;
    (rows, started.elapsed().as_secs_f64() * 1e3)
}

/// Drops what the system remembers of the files, where it lets us.
fn forget() {
    let _ = std::fs::write("/proc/sys/vm/drop_caches", "1");
}

enum Question<'a> {
    Sql(&'a str),
    Search(&'a str),
}

impl Question<'_> {
    async fn ask(&self, lake: &Lake) -> u64 {
        match self {
            Self::Sql(sql) => table(lake, sql).await.unwrap().len() as u64,
            Self::Search(query) => {
                let query = SearchQuery { query: (*query).to_owned(), limit: 100, ..SearchQuery::default() };
                lake.search(query).await.unwrap().events.len() as u64
            }
        }
    }
}

/// Each question once in a lake just opened over files that the system has forgotten, then warm.
async fn ask(dir: &Path, stage: &str, questions: &[(&'static str, String)]) {
    let searches =
        [("search_last_100", ""), ("search_address", "ip:10.1.0.7"), ("search_word_absent", "nothing-has-this-word"), ("search_word", "safetensors")];
    let sql = questions.iter().map(|(name, sql)| (*name, Question::Sql(sql)));
    for (name, question) in sql.chain(searches.into_iter().map(|(name, query)| (name, Question::Search(query)))) {
        let lake = Lake::open(config(dir)).unwrap();
        forget();
        let (rows, cold) = once(question.ask(&lake)).await;
        let mut warm = Vec::new();
        for _ in 0..WARM_RUNS {
            warm.push(once(question.ask(&lake)).await.1);
        }
        warm.sort_by(f64::total_cmp);
        figure(
            &format!("query.{stage}.{name}"),
            warm[WARM_RUNS / 2],
            "ms",
            serde_json::json!({ "cold_ms": cold, "low_ms": warm[0], "high_ms": warm[WARM_RUNS - 1], "rows": rows }),
        );
        lake.shutdown().await;
    }
}

const DUCKDB: &str = r#"
import json, sys, time
import duckdb
for name, sql in json.load(sys.stdin):
    connection = duckdb.connect()
    connection.execute("SET threads = 2")
    connection.execute("SET parquet_metadata_cache = true")
    connection.execute(f"CREATE VIEW events AS SELECT * FROM read_parquet('{sys.argv[1]}/day=*/*.parquet', hive_partitioning = true, hive_types = {{'day': VARCHAR}})")
    try:
        open("/proc/sys/vm/drop_caches", "w").write("1")
    except OSError:
        pass
    times = []
    for _ in range(6):
        start = time.perf_counter()
        rows = connection.sql(sql).to_arrow_table().num_rows
        times.append((time.perf_counter() - start) * 1e3)
    warm = sorted(times[1:])
    print(json.dumps({"name": f"duckdb.{name}", "value": round(warm[len(warm) // 2], 3), "unit": "ms", "cold_ms": times[0], "rows": rows}), flush=True)
"#;

/// The same questions over the same files. A peer that cannot answer costs no figure of ours.
fn ask_duckdb(python: &Path, files: &Path, questions: &[(&'static str, String)]) {
    use std::{io::Write, process::Stdio};
    let mut child = std::process::Command::new(python).args(["-c", DUCKDB]).arg(files).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(serde_json::to_string(questions).unwrap().as_bytes()).unwrap();
    let status = child.wait().unwrap();
    if !status.success() {
        eprintln!("SKIPPED duckdb: it ended with {status}");
    }
}

#[tokio::main]
async fn main() {
    let options = options();
    ingest().await;
    let temporary = tempfile::tempdir().unwrap();
    let dir = options.dir.clone().unwrap_or_else(|| temporary.path().to_owned());
    let lake = Lake::open(config(&dir)).unwrap();
    fill(&lake, &options).await;
    let stats = lake.stats();
    figure("lake.rows", stats.events_stored as f64, "events", serde_json::json!({ "files": stats.files }));
    figure("lake.bytes_an_event.fresh", bytes_an_event(&lake), "bytes", serde_json::json!({ "files": stats.files, "commit_ms": stats.last_commit_ms }));
    let one = table(
        &lake,
        "SELECT process_uid, picket_exec_tree_id FROM events WHERE class_uid = 1007 AND device_uid > '01900000-0000-7000-8000-000000000010' LIMIT 1",
    )
    .await
    .unwrap();
    let rare = table(
        &lake,
        "SELECT file_hash_sha256 FROM events WHERE file_hash_sha256 IS NOT NULL AND device_uid > '01900000-0000-7000-8000-000000000010' GROUP BY 1 HAVING count(*) < 20 ORDER BY 1 LIMIT 1",
    )
    .await
    .unwrap();
    let questions = questions(one[0][0].as_str().unwrap(), one[0][1].as_str().unwrap(), rare[0][0].as_str().unwrap());
    lake.shutdown().await;
    ask(&dir, "fresh", &questions).await;
    let lake = Lake::open(config(&dir)).unwrap();
    let started = Instant::now();
    for day in 0..options.days {
        lake.compact(&jiff::civil::date(2026, 11, 21).checked_add(jiff::Span::new().days(day as i64)).unwrap().to_string()).await.unwrap();
    }
    figure("lake.compaction", started.elapsed().as_secs_f64() * 1e6 / stats.events_stored as f64, "us/event", serde_json::json!({}));
    figure("lake.bytes_an_event.sorted", bytes_an_event(&lake), "bytes", serde_json::json!({ "files": lake.stats().files }));
    lake.shutdown().await;
    ask(&dir, "sorted", &questions).await;
    let files = Arc::new(dir.join("events"));
    if let Some(python) = &options.python {
        // Files that the merge replaced are deleted later: DuckDB must not see them.
        for folder in std::fs::read_dir(files.as_ref())
            .unwrap()
            .filter_map(Result::ok)
            .filter(|folder| folder.file_name().to_str().is_some_and(|name| name.starts_with("day=")))
        {
            for file in std::fs::read_dir(folder.path())
                .unwrap()
                .filter_map(Result::ok)
                .filter(|file| file.file_name().to_str().is_some_and(|name| name.starts_with("fresh-")))
            {
                std::fs::remove_file(file.path()).unwrap();
            }
        }
        ask_duckdb(python, &files, &questions);
    }
}
