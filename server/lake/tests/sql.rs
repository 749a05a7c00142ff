//! SQL is read-only, bounded and cancelled with its caller.
#![expect(clippy::unwrap_used, reason = "a test ends where it fails, and its numbers are small")]

mod common;

use std::time::{Duration, Instant};

use common::{batch, config, number, table};
use futures::StreamExt;
use picket_lake::{ErrorKind, Lake, LakeConfig, LakeError, QueryLimits, SqlQuery};

async fn filled(dir: &std::path::Path, query: QueryLimits) -> Lake {
    let lake = Lake::open(LakeConfig { query, ..config(dir) }).unwrap();
    for device in 0..4 {
        lake.append(batch(device, 1, 1_500)).await.unwrap();
        lake.flush().await.unwrap();
    }
    lake.append(batch(5, 1, 1_500)).await.unwrap();
    lake
}

#[tokio::test]
async fn nothing_but_reading_is_allowed() {
    let dir = tempfile::tempdir().unwrap();
    let lake = filled(dir.path(), QueryLimits::default()).await;
    let secret = dir.path().join("secret.csv");
    std::fs::write(&secret, "a,b\n1,2\n").unwrap();
    let path = secret.display();
    for sql in [
        "CREATE TABLE t AS SELECT 1".to_owned(),
        "CREATE VIEW v AS SELECT * FROM events".to_owned(),
        format!("CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '{path}'"),
        format!("COPY events TO '{path}.out'"),
        format!("COPY (SELECT 1) TO '{path}.out' STORED AS CSV"),
        "INSERT INTO events VALUES (1)".to_owned(),
        "DELETE FROM events".to_owned(),
        "UPDATE events SET class_uid = 1".to_owned(),
        "DROP TABLE events".to_owned(),
        "SET datafusion.execution.batch_size = 1".to_owned(),
        "BEGIN".to_owned(),
        "PREPARE p AS SELECT 1".to_owned(),
        "EXECUTE p".to_owned(),
        "CREATE FUNCTION f(x INT) RETURNS INT RETURN x".to_owned(),
        "TRUNCATE TABLE events".to_owned(),
        format!("SELECT * FROM '{path}'"),
        format!("SELECT * FROM \"{path}\""),
        "SELECT 1; SELECT 2".to_owned(),
        "SELEC 1".to_owned(),
        String::new(),
        "SELECT nothing FROM events".to_owned(),
        "SELECT * FROM nothing".to_owned(),
        "SELECT abs('x') FROM events".to_owned(),
    ] {
        let error = table(&lake, &sql).await.expect_err(&sql);
        assert_eq!(error.kind(), ErrorKind::BadQuery, "{sql}: {error:?}");
    }
    assert!(!dir.path().join("secret.csv.out").exists());
    assert_eq!(number(&lake, "SELECT count(*) FROM events").await, 7_500);
    lake.shutdown().await;
}

#[tokio::test]
async fn a_value_in_either_of_two_columns_is_counted_once() {
    let dir = tempfile::tempdir().unwrap();
    let lake = filled(dir.path(), QueryLimits::default()).await;
    let pair =
        table(&lake, "SELECT src_endpoint_ip, dst_endpoint_ip FROM events WHERE class_uid = 4001 ORDER BY time, metadata_sequence LIMIT 1").await.unwrap();
    let (src, dst) = (pair[0][0].as_str().unwrap(), pair[0][1].as_str().unwrap());
    // The second way of asking is one that no filter answers.
    let needles = format!("SELECT count(*) FROM events WHERE (src_endpoint_ip = '{src}' OR dst_endpoint_ip = '{dst}') AND severity_id >= 0");
    let plain = format!("SELECT count(*) FROM events WHERE concat(src_endpoint_ip, '') = '{src}' OR concat(dst_endpoint_ip, '') = '{dst}'");
    let both = format!("SELECT count(*) FROM events WHERE src_endpoint_ip = '{src}' AND dst_endpoint_ip = '{dst}'");
    assert!(number(&lake, &both).await >= 1, "some rows match both");
    assert_eq!(number(&lake, &needles).await, number(&lake, &plain).await);
    let plan = format!("{:?}", table(&lake, &format!("EXPLAIN {needles}")).await.unwrap());
    assert_eq!(plan.matches("file_type=parquet").count(), 2, "one scan a column: {plan}");
    lake.shutdown().await;
}

#[tokio::test]
async fn answers_have_names_types_and_statistics() {
    let dir = tempfile::tempdir().unwrap();
    let lake = filled(dir.path(), QueryLimits::default()).await;
    let sql =
        "SELECT device_hostname AS host, metadata_sequence, time, addresses, class_uid = 4001 AS network FROM events WHERE class_uid = 4001 ORDER BY 1, 2";
    let mut result = lake.sql(SqlQuery { sql: sql.into(), row_limit: 10, ..SqlQuery::default() }).await.unwrap();
    let columns: Vec<_> = result.columns.iter().map(|(name, kind)| (name.as_str(), kind.as_str())).collect();
    assert_eq!(columns, [("host", "text"), ("metadata_sequence", "bigint"), ("time", "timestamp"), ("addresses", "text[]"), ("network", "boolean")]);
    let mut rows = Vec::new();
    while let Some(chunk) = result.rows.next().await {
        rows.extend(chunk.unwrap());
    }
    assert_eq!(rows.len(), 10);
    assert_eq!(rows[0][0], "gpu-0000");
    assert!(rows[0][2].as_str().unwrap().starts_with("2026-11-21T00:00:0"), "{}", rows[0][2]);
    assert_eq!(rows[0][3].as_array().unwrap().len(), 2);
    assert_eq!(rows[0][4], true);
    let stats = result.stats.snapshot();
    assert!(stats.truncated && stats.rows == 10 && stats.files_scanned == 4 && stats.elapsed > Duration::ZERO, "{stats:?}");
    // Statistics rule out three of the files.
    let one =
        lake.sql(SqlQuery { sql: format!("SELECT count(*) FROM events WHERE device_uid = '{}'", common::device(2).uid), ..SqlQuery::default() }).await.unwrap();
    let stats = one.stats.clone();
    let rows: Vec<_> = one.rows.collect().await;
    assert_eq!(rows[0].as_ref().unwrap()[0][0], 1_500);
    assert_eq!((stats.snapshot().files_scanned, stats.snapshot().files_pruned), (1, 3));
    lake.shutdown().await;
}

#[tokio::test]
async fn views_hold_one_class_each() {
    let dir = tempfile::tempdir().unwrap();
    let lake = filled(dir.path(), QueryLimits::default()).await;
    let mut total = 0;
    for (view, class) in [("processes", 1_007), ("files", 1_001), ("connections", 4_001), ("findings", 2_004)] {
        let count = number(&lake, &format!("SELECT count(*) FROM {view}")).await;
        assert_eq!(count, number(&lake, &format!("SELECT count(*) FROM events WHERE class_uid = {class}")).await, "{view}");
        total += count;
        let columns = number(&lake, &format!("SELECT count(*) FROM information_schema.columns WHERE table_name = '{view}'")).await;
        assert!(columns >= 15, "{view} has {columns} columns");
    }
    assert_eq!(total, 7_500);
    let activities = table(&lake, "SELECT DISTINCT activity FROM files ORDER BY 1").await.unwrap();
    assert_eq!(activities, [["create"], ["delete"], ["open"], ["update"]]);
    let rows = table(&lake, "SELECT path, actor_name, user_name, host FROM files WHERE path LIKE '%.safetensors' LIMIT 3").await.unwrap();
    assert!(rows.iter().flatten().all(serde_json::Value::is_string));
    assert!(!table(&lake, "SHOW TABLES").await.unwrap().is_empty());
    assert!(table(&lake, "EXPLAIN SELECT * FROM events").await.unwrap()[0][1].as_str().unwrap().contains("events"));
    lake.shutdown().await;
}

#[tokio::test]
async fn a_query_is_bounded_in_rows_time_and_memory() {
    let dir = tempfile::tempdir().unwrap();
    let limits = QueryLimits { memory_bytes: 16 * 1024 * 1024, timeout: Duration::from_secs(2), rows_max: 1_000, concurrent_max: 2 };
    let lake = filled(dir.path(), limits).await;
    assert_eq!(table(&lake, "SELECT * FROM events").await.unwrap().len(), 1_000);
    let too_much = [
        "SELECT count(*) FROM events a CROSS JOIN events b CROSS JOIN events c",
        "SELECT a.actor_process_cmd_line, count(*) FROM events a CROSS JOIN events b GROUP BY a.actor_process_cmd_line, b.metadata_sequence, a.metadata_sequence",
        "WITH RECURSIVE bomb AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM bomb) SELECT count(*) FROM bomb",
        "WITH RECURSIVE bomb AS (SELECT 1 AS n UNION ALL SELECT b.n + 1 FROM bomb b CROSS JOIN (VALUES (1), (2), (3), (4)) v) SELECT * FROM bomb ORDER BY n DESC",
        "SELECT count(*) FROM generate_series(1, 100000000000)",
        "SELECT string_agg(a.actor_process_cmd_line, '') FROM events a CROSS JOIN events b",
        "SELECT length(repeat('x', 2000000000))",
        "SELECT array_length(range(1, 1000000000))",
        "SELECT count(*) FROM events a, events b, events c WHERE a.metadata_sequence + b.metadata_sequence + c.metadata_sequence < 0",
        "SELECT count(*) FROM (SELECT a.metadata_sequence FROM events a CROSS JOIN events b) x JOIN events c ON x.metadata_sequence + 1 > c.metadata_sequence + 999999",
    ];
    for sql in too_much {
        let started = Instant::now();
        match table(&lake, sql).await {
            Err(error) => assert!(matches!(error.kind(), ErrorKind::LimitExceeded | ErrorKind::BadQuery), "{sql}: {error:?}"),
            Ok(rows) => assert!(rows.len() <= 1_000, "{sql}"),
        }
        assert!(started.elapsed() < Duration::from_secs(20), "{sql} ran {:?}", started.elapsed());
    }
    assert_eq!(number(&lake, "SELECT count(*) FROM events").await, 7_500);
    lake.shutdown().await;
}

#[tokio::test]
async fn deep_and_long_queries_are_refused_before_they_are_planned() {
    let dir = tempfile::tempdir().unwrap();
    let lake = filled(dir.path(), QueryLimits::default()).await;
    let sum = |terms: usize| format!("SELECT {}", vec!["1"; terms].join("+"));
    assert_eq!(table(&lake, &sum(1_500)).await.unwrap()[0][0], 1_500);
    let conditions = vec!["class_uid = 1001"; 450].join(" OR ");
    assert!(number(&lake, &format!("SELECT count(*) FROM events WHERE {conditions}")).await > 0);
    let digests: Vec<String> = (0..3_000).map(|number| format!("'{number:064x}'")).collect();
    assert_eq!(number(&lake, &format!("SELECT count(*) FROM events WHERE file_hash_sha256 IN ({})", digests.join(","))).await, 0);
    for sql in [
        sum(100_000),
        format!("SELECT {}1{}", "(".repeat(5_000), ")".repeat(5_000)),
        format!("SELECT {}1", " - ".repeat(5_000)),
        format!("SELECT '{}'", "x".repeat(300_000)),
    ] {
        let error = table(&lake, &sql).await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::LimitExceeded | ErrorKind::BadQuery), "{error:?}");
    }
    lake.shutdown().await;
}

#[tokio::test]
async fn a_query_ends_when_its_result_is_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let limits = QueryLimits { concurrent_max: 1, ..QueryLimits::default() };
    let lake = filled(dir.path(), limits).await;
    let endless = || SqlQuery {
        sql: "SELECT count(*) FROM events a CROSS JOIN events b CROSS JOIN events c".into(),
        timeout: Duration::from_secs(200),
        ..SqlQuery::default()
    };
    for _ in 0..5 {
        let result = lake.sql(endless()).await.unwrap();
        assert_eq!(lake.stats().queries_running, 1);
        drop(result);
        let freed = Instant::now();
        while lake.stats().queries_running > 0 {
            assert!(freed.elapsed() < Duration::from_secs(10), "the query still runs");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    // While one runs, another waits for its turn no longer than it may run itself.
    let running = lake.sql(endless()).await.unwrap();
    let refused = lake.sql(SqlQuery { sql: "SELECT 1".into(), timeout: Duration::from_millis(50), ..SqlQuery::default() }).await.err().unwrap();
    assert!(matches!(refused, LakeError::LimitExceeded(_)), "{refused:?}");
    drop(running);
    assert_eq!(number(&lake, "SELECT count(*) FROM events").await, 7_500);
    lake.shutdown().await;
}
