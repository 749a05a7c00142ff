//! The table is a Delta Lake table: strangers' readers find the rows that we find.

mod common;

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use common::{batch, batch_of, config, events, table};
use picket_event::Timestamp;
use picket_lake::Lake;

/// Prints what each reader finds, one JSON object.
const READ: &str = r#"
import json, sys
import deltalake, duckdb
path = sys.argv[1]
table = deltalake.DeltaTable(path)
query = "SELECT count(*) AS n, count(DISTINCT device_uid || metadata_sequence) AS keys, sum(metadata_sequence) AS seqs, sum(epoch_us(time) % 1000003) AS times, count(process_uid) AS processes, sum(len(addresses)) AS addresses, sum(length(file_path)) AS paths, count(DISTINCT day) AS days FROM "
arrow = table.to_pyarrow_table()
files = table.file_uris()
print(json.dumps({
    "delta": [int(v or 0) for v in duckdb.sql(query + "arrow").fetchone()],
    "duckdb": [int(v or 0) for v in duckdb.sql(query + f"read_parquet({files!r}, hive_partitioning = true)").fetchone()],
    "columns": arrow.column_names,
    "version": table.version(),
    "files": len(files),
}))
"#;

/// Python with the readers, made once a target folder. `Err` says why not.
fn python() -> Result<PathBuf, String> {
    let venv = Path::new(env!("CARGO_TARGET_TMPDIR")).join("stranger-venv");
    let python = venv.join("bin/python");
    let run = |command: &mut Command| match command.output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or("failed").to_owned()),
        Err(error) => Err(error.to_string()),
    };
    if run(Command::new(&python).args(["-c", "import deltalake, duckdb, pyarrow"])).is_err() {
        run(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
        run(Command::new(&python).args(["-m", "pip", "install", "--quiet", "deltalake==1.*", "duckdb==1.*", "pyarrow"]))?;
    }
    Ok(python)
}

#[tokio::test]
async fn other_readers_find_the_same_rows() {
    let python = match python() {
        Ok(python) => python,
        Err(reason) => {
            eprintln!("SKIPPED other_readers_find_the_same_rows: deltalake and duckdb for Python cannot be installed: {reason}");
            return;
        }
    };
    let dir = tempfile::tempdir().unwrap();
    let lake = Lake::open(config(dir.path())).unwrap();
    for device in 0..3 {
        lake.append(batch(device, 1, 1_000)).await.unwrap();
        lake.flush().await.unwrap();
    }
    lake.compact("2026-11-21").await.unwrap();
    lake.append(batch(4, 1, 700)).await.unwrap();
    lake.append(batch_of(5, 1, Timestamp(common::EPOCH + common::DAY_NANOS), events(5, 1, 300))).await.unwrap();
    lake.flush().await.unwrap();
    let ours = table(
        &lake,
        "SELECT count(*), count(DISTINCT device_uid || metadata_sequence), sum(metadata_sequence), sum((extract(epoch FROM date_trunc('second', time))::BIGINT * 1000000 + extract(microsecond FROM time)::BIGINT % 1000000) % 1000003), \
         count(process_uid), sum(coalesce(array_length(addresses), 0)::BIGINT), sum(length(file_path)), count(DISTINCT day) FROM events",
    )
    .await
    .unwrap();
    let ours: Vec<i64> = ours[0].iter().map(|value| value.as_i64().unwrap_or_default()).collect();
    let version = lake.stats().table_version;
    let files = lake.stats().files;
    lake.shutdown().await;
    let output = Command::new(python).args(["-c", READ]).arg(dir.path().join("events")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let numbers = |reader: &str| found[reader].as_array().unwrap().iter().map(|value| value.as_i64().unwrap()).collect::<Vec<_>>();
    assert_eq!(numbers("delta"), ours);
    assert_eq!(numbers("duckdb"), ours);
    assert_eq!((found["version"].as_u64(), found["files"].as_u64()), (Some(version), Some(files)));
    let columns: Vec<_> = picket_event::columns::COLUMNS.iter().map(|column| column.name).chain(["day"]).collect();
    assert_eq!(found["columns"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect::<Vec<_>>(), columns);
}
