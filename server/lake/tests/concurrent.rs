//! A query sees one version: no row twice and none missing while rows move from the tail to files, files are merged and days expire.
#![expect(clippy::cast_possible_truncation, reason = "a test ends where it fails, and its numbers are small")]

mod common;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use common::{DAY_NANOS, batch, batch_of, config, device, events, spool, table};
use picket_event::Timestamp;
use picket_lake::{Lake, LakeConfig, Retention, SearchQuery};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_query_sees_each_acknowledged_row_once() {
    let dir = tempfile::tempdir().unwrap();
    let lake = Lake::open(LakeConfig { tail_rows_max: 1_000, flush_interval: Duration::from_millis(30), ..config(dir.path()) }).unwrap();
    let acknowledged = Arc::new(AtomicU64::new(0));
    let done = Arc::new(AtomicBool::new(false));
    let merges = {
        let (lake, done) = (lake.clone(), Arc::clone(&done));
        tokio::spawn(async move {
            while !done.load(Ordering::Relaxed) {
                lake.compact("2026-11-21").await.unwrap();
            }
        })
    };
    let mut readers = Vec::new();
    for _ in 0..3 {
        let (lake, done, acknowledged) = (lake.clone(), Arc::clone(&done), Arc::clone(&acknowledged));
        readers.push(tokio::spawn(async move {
            let mut queries = 0;
            while !done.load(Ordering::Relaxed) {
                let before = acknowledged.load(Ordering::SeqCst);
                let rows = table(&lake, "SELECT count(*), count(DISTINCT metadata_sequence), coalesce(max(metadata_sequence), 0) FROM events").await.unwrap();
                let [count, distinct, last] = [&rows[0][0], &rows[0][1], &rows[0][2]].map(|value| value.as_u64().unwrap());
                assert!(count >= before, "{count} rows, {before} acknowledged");
                assert_eq!((count, distinct), (last, last));
                let before = acknowledged.load(Ordering::SeqCst);
                let page = lake.search(SearchQuery { limit: 50, ..SearchQuery::default() }).await.unwrap();
                let newest = page.events.first().map_or(0, |event| event.seq);
                assert!(newest >= before);
                assert!(page.events.windows(2).all(|pair| pair[0].seq == pair[1].seq + 1), "a hole among the newest rows");
                queries += 1;
            }
            queries
        }));
    }
    for step in 0..300 {
        lake.append(batch(1, step * 100 + 1, 100)).await.unwrap();
        acknowledged.store(step * 100 + 100, Ordering::SeqCst);
    }
    done.store(true, Ordering::Relaxed);
    merges.await.unwrap();
    for reader in readers {
        assert!(reader.await.unwrap() > 3);
    }
    let stats = lake.stats();
    assert!(stats.compactions > 0 && stats.table_version > 10, "{stats:?}");
    lake.shutdown().await;
}

#[tokio::test]
async fn a_day_expires_as_a_whole_and_watermarks_stay() {
    let dir = tempfile::tempdir().unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as i64;
    let keep_two = Retention { days: Some(2), bytes: None };
    let lake = Lake::open(LakeConfig { retention: keep_two, ..config(dir.path()) }).unwrap();
    for age in (0..5).rev() {
        let number = u64::try_from(age).unwrap();
        lake.append(batch_of(number, 1, Timestamp(now - age * DAY_NANOS), events(number, 1, 100))).await.unwrap();
        lake.flush().await.unwrap();
    }
    lake.expire().await.unwrap();
    let rows = table(&lake, "SELECT device_hostname, count(*) FROM events GROUP BY 1 ORDER BY 1").await.unwrap();
    assert_eq!(rows, [[serde_json::json!("gpu-0000"), 100.into()], [serde_json::json!("gpu-0001"), 100.into()]]);
    assert_eq!(lake.stats().expired_events, 300);
    for number in 0..5 {
        assert_eq!(lake.watermark(device(number).uid, spool(number)), 100);
        assert!(lake.append(batch(number, 1, 100)).await.unwrap().replayed, "an expired event does not come back");
    }
    lake.shutdown().await;
    // By bytes the oldest go first, and today always stays.
    let lake = Lake::open(LakeConfig { retention: Retention { days: None, bytes: Some(1) }, ..config(dir.path()) }).unwrap();
    lake.expire().await.unwrap();
    let rows = table(&lake, "SELECT DISTINCT device_hostname FROM events").await.unwrap();
    assert_eq!(rows, [[serde_json::json!("gpu-0000")]]);
    lake.shutdown().await;
}

#[tokio::test]
async fn the_log_of_the_table_is_checkpointed_and_opens_again() {
    let dir = tempfile::tempdir().unwrap();
    let lake = Lake::open(config(dir.path())).unwrap();
    for step in 0..110 {
        lake.append(batch(1, step + 1, 1)).await.unwrap();
        lake.flush().await.unwrap();
    }
    assert!(dir.path().join("events/_delta_log/_last_checkpoint").exists());
    lake.shutdown().await;
    let lake = Lake::open(config(dir.path())).unwrap();
    assert_eq!((lake.stats().files, lake.stats().events_stored), (110, 110));
    assert_eq!(lake.watermark(device(1).uid, spool(1)), 110);
    lake.compact("2026-11-21").await.unwrap();
    assert_eq!((lake.stats().files, lake.stats().events_stored), (1, 110));
    lake.shutdown().await;
    // A checkpoint that was not finished when the power went is dropped; the entries it came from are still there.
    let log = dir.path().join("events/_delta_log");
    std::fs::write(log.join("checkpoint.unfinished"), "100").unwrap();
    for entry in std::fs::read_dir(&log).unwrap() {
        let path = entry.unwrap().path();
        if path.to_str().unwrap().contains("checkpoint.parquet") {
            std::fs::write(path, "cut off").unwrap();
        }
    }
    let lake = Lake::open(config(dir.path())).unwrap();
    assert_eq!((lake.stats().files, lake.stats().events_stored), (1, 110));
    lake.shutdown().await;
}
