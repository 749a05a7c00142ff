//! A process that is killed at any moment loses nothing that it acknowledged and stores nothing twice.
#![expect(clippy::unwrap_used, clippy::cast_sign_loss, reason = "a test ends where it fails, and its numbers are small")]

mod common;

use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use common::{batch, config, device, mix, spool, table};
use picket_lake::{Lake, LakeConfig, LakeError};

const DIR: &str = "PICKET_LAKE_CRASH_DIR";
const DEVICES: u64 = 6;
const ROUNDS: u64 = 6;

fn busy(dir: &Path) -> LakeConfig {
    LakeConfig { tail_rows_max: 3_000, flush_interval: Duration::from_millis(40), compaction: true, ..config(dir) }
}

/// The process that is killed. Says what was acknowledged, one line each, after it was.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "run by killed_under_load in a process of its own"]
async fn child() {
    let dir = std::env::var_os(DIR).unwrap();
    let lake = Lake::open(busy(Path::new(&dir))).unwrap();
    let mut agents = Vec::new();
    for number in 0..DEVICES {
        let lake = lake.clone();
        agents.push(tokio::spawn(async move {
            let mut next = lake.watermark(device(number).uid, spool(number)) + 1;
            // An agent that was not answered before the crash sends again what may be stored.
            next = next.saturating_sub(50).max(1);
            for step in 0.. {
                let count = 1 + mix(next ^ step) % 400;
                match lake.append(batch(number, next, count)).await {
                    Ok(appended) => {
                        writeln!(std::io::stdout(), "ack {number} {}", appended.watermark).unwrap();
                        next = appended.watermark + 1;
                    }
                    Err(LakeError::Gap { watermark }) => panic!("gap at {next}, stored {watermark}"),
                    Err(error) => panic!("{error}"),
                }
            }
        }));
    }
    let merges = {
        let lake = lake.clone();
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_millis(60)).await;
                lake.compact("2026-11-21").await.unwrap();
            }
        })
    };
    for agent in agents {
        agent.await.unwrap();
    }
    merges.await.unwrap();
}

/// Starts the child, kills it after a while and gives the highest watermark that it acknowledged of each device.
fn run_and_kill(dir: &Path, after: Duration) -> HashMap<u64, u64> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--ignored", "--nocapture"])
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = child.stdout.take().unwrap();
    let reader = std::thread::spawn(move || {
        let mut acknowledged = HashMap::new();
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            let mut words = line.split(' ');
            if words.next() == Some("ack")
                && let (Some(Ok(device)), Some(Ok(watermark))) = (words.next().map(str::parse), words.next().map(str::parse))
            {
                acknowledged.insert(device, watermark);
            }
        }
        acknowledged
    });
    std::thread::sleep(after);
    child.kill().unwrap();
    child.wait().unwrap();
    reader.join().unwrap()
}

#[tokio::test]
async fn killed_under_load() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged: HashMap<u64, u64> = HashMap::new();
    for round in 0..ROUNDS {
        acknowledged.extend(run_and_kill(dir.path(), Duration::from_millis(500 + mix(round) % 900)));
        let lake = Lake::open(config(dir.path())).unwrap();
        let stored = table(
            &lake,
            "SELECT device_uid, count(*), count(DISTINCT metadata_sequence), min(metadata_sequence), max(metadata_sequence) FROM events GROUP BY 1",
        )
        .await
        .unwrap();
        assert_eq!(lake.stats().lost_events, 0);
        for (number, watermark) in &acknowledged {
            let uid = device(*number).uid;
            let row = stored.iter().find(|row| row[0] == uid.to_string()).unwrap();
            let end = lake.watermark(uid, spool(*number));
            assert!(end >= *watermark, "round {round}: device {number} acknowledged {watermark}, stored {end}");
            assert_eq!(row[1..], [end, end, 1, end], "round {round}, device {number}: rows, distinct, first, last");
            assert_eq!(lake.events_stored(uid), end);
        }
        assert!(!acknowledged.is_empty());
        if round % 2 == 0 {
            lake.shutdown().await;
        }
    }
    let total: u64 = acknowledged.values().sum();
    assert!(total > 10_000, "the rounds were too short to show anything: {total}");
}

#[tokio::test]
async fn damage_behind_what_was_acknowledged_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    {
        let lake = Lake::open(LakeConfig { tail_rows_max: 100, ..config(dir.path()) }).unwrap();
        for step in 0..10 {
            lake.append(batch(1, step * 10 + 1, 10)).await.unwrap();
        }
    }
    // Two segments; the first is whole on disk and damaged afterwards. A third process would have to explain where its events went.
    let mut segments: Vec<_> = std::fs::read_dir(dir.path().join("wal"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "wal"))
        .collect();
    segments.sort();
    let first = &segments[0];
    let mut bytes = std::fs::read(first).unwrap();
    if segments.len() > 1 {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0xff;
        std::fs::write(first, &bytes).unwrap();
        let lake = Lake::open(config(dir.path())).unwrap();
        let lost = lake.stats().lost_events;
        assert!(lost > 0 && lost < 100, "{lost}");
        assert_eq!(lake.watermark(device(1).uid, spool(1)), 100, "what was acknowledged is not asked for again");
        assert_eq!(common::number(&lake, "SELECT count(*) FROM events").await as u64, 100 - lost);
        lake.shutdown().await;
    } else {
        // Flushed before we could look: then the table has it.
        let lake = Lake::open(config(dir.path())).unwrap();
        assert_eq!(common::number(&lake, "SELECT count(*) FROM events").await, 100);
        lake.shutdown().await;
    }
}

#[tokio::test]
async fn a_torn_end_was_never_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    {
        let lake = Lake::open(config(dir.path())).unwrap();
        lake.append(batch(1, 1, 10)).await.unwrap();
    }
    let segment = dir.path().join("wal/00000000000000000001.wal");
    let mut bytes = std::fs::read(&segment).unwrap();
    let whole = bytes.clone();
    bytes.extend_from_slice(&whole[8..whole.len() - 1]);
    std::fs::write(&segment, &bytes).unwrap();
    for _ in 0..2 {
        let lake = Lake::open(config(dir.path())).unwrap();
        assert_eq!(lake.watermark(device(1).uid, spool(1)), 10);
        assert_eq!(common::number(&lake, "SELECT count(*) FROM events").await, 10);
        assert_eq!(lake.stats().lost_events, 0);
    }
    let lake = Lake::open(config(dir.path())).unwrap();
    lake.append(batch(1, 11, 10)).await.unwrap();
    lake.flush().await.unwrap();
    assert_eq!(common::number(&lake, "SELECT count(*) FROM events").await, 20);
    lake.shutdown().await;
}

#[tokio::test]
async fn a_cut_off_table_entry_is_written_again() {
    let dir = tempfile::tempdir().unwrap();
    let lake = Lake::open(config(dir.path())).unwrap();
    lake.append(batch(1, 1, 10)).await.unwrap();
    // What a power cut leaves when it comes between the commit and its fsync: the segment is still there, the entry is not whole.
    let copy = |name: &str| std::fs::read(dir.path().join("wal").join(name)).unwrap();
    let (segment, marks) = (copy("00000000000000000001.wal"), copy("00000000000000000001.marks"));
    lake.flush().await.unwrap();
    lake.shutdown().await;
    std::fs::write(dir.path().join("wal/00000000000000000001.wal"), segment).unwrap();
    std::fs::write(dir.path().join("wal/00000000000000000001.marks"), marks).unwrap();
    let entry = dir.path().join("events/_delta_log/00000000000000000001.json");
    let content = std::fs::read(&entry).unwrap();
    std::fs::write(&entry, &content[..content.len() - 20]).unwrap();
    let lake = Lake::open(config(dir.path())).unwrap();
    assert_eq!(common::number(&lake, "SELECT count(*) FROM events").await, 10);
    lake.flush().await.unwrap();
    assert_eq!((lake.stats().files, common::number(&lake, "SELECT count(*) FROM events").await), (1, 10));
    lake.shutdown().await;
}
