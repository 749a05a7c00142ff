//! What the lake promises its callers, in one process.
#![expect(clippy::unwrap_used, clippy::cast_sign_loss, reason = "a test ends where it fails, and its numbers are small")]

mod common;

use std::time::Duration;

use common::{EPOCH, batch, batch_of, config, device, events, number, spool, table};
use futures::StreamExt;
use picket_event::{StoredEvent, Timestamp};
use picket_lake::{Appended, Lake, LakeConfig, LakeError, SearchQuery};

async fn all(lake: &Lake, query: &str) -> Vec<StoredEvent> {
    lake.search(SearchQuery { query: query.into(), limit: 10_000, ..SearchQuery::default() }).await.unwrap().events
}

#[tokio::test]
async fn an_event_comes_back_as_it_went_in_from_tail_and_file() {
    let dir = tempfile::tempdir().unwrap();
    let lake = Lake::open(config(dir.path())).unwrap();
    assert_eq!(lake.append(batch(1, 1, 500)).await.unwrap(), Appended { watermark: 500, replayed: false });
    let from_tail = all(&lake, "").await;
    lake.flush().await.unwrap();
    assert_eq!((lake.stats().tail_events, lake.stats().files), (0, 1));
    let from_file = all(&lake, "").await;
    lake.compact("2026-11-21").await.unwrap();
    let merged = all(&lake, "").await;
    let mut sent: Vec<StoredEvent> = (1..)
        .zip(events(1, 1, 500))
        .map(|(seq, event)| StoredEvent { device: device(1), spool: spool(1), seq, received: Timestamp(EPOCH + 1_000_000_000), event })
        .collect();
    sent.reverse();
    assert_eq!(from_tail, sent);
    assert_eq!(from_file, sent);
    assert_eq!(merged, sent);
    lake.shutdown().await;
}

#[tokio::test]
async fn duplicates_gaps_and_overlaps_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let lake = Lake::open(config(dir.path())).unwrap();
    let stored = |watermark| Appended { watermark, replayed: false };
    assert!(matches!(lake.append(batch(1, 2, 5)).await, Err(LakeError::Gap { watermark: 0 })));
    assert_eq!(lake.append(batch(1, 1, 10)).await.unwrap(), stored(10));
    assert_eq!(lake.append(batch(1, 1, 10)).await.unwrap(), Appended { watermark: 10, replayed: true });
    assert_eq!(lake.append(batch(1, 8, 6)).await.unwrap(), stored(13));
    assert!(matches!(lake.append(batch(1, 15, 1)).await, Err(LakeError::Gap { watermark: 13 })));
    assert_eq!(lake.skip(device(1).uid, spool(1), 14, 6).await.unwrap(), stored(19));
    assert_eq!(lake.append(batch(1, 20, 1)).await.unwrap(), stored(20));
    assert_eq!(lake.append(batch(2, 1, 1)).await.unwrap(), stored(1));
    for (first_seq, count) in [(0, 1), (u64::MAX, 1), (1, 0)] {
        assert!(matches!(lake.skip(device(1).uid, spool(1), first_seq, count).await, Err(LakeError::Misuse(_))));
    }
    let sequences: Vec<u64> = all(&lake, "host:gpu-0001").await.iter().map(|event| event.seq).collect();
    assert_eq!(sequences, [20, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1]);
    assert_eq!((lake.watermark(device(1).uid, spool(1)), lake.events_stored(device(1).uid), lake.events_stored(device(3).uid)), (20, 14, 0));
    lake.shutdown().await;
}

#[tokio::test]
async fn concurrent_duplicates_are_stored_once() {
    let dir = tempfile::tempdir().unwrap();
    let lake = Lake::open(config(dir.path())).unwrap();
    let appends = (0..40).map(|_| lake.append(batch(1, 1, 100)));
    let answers = futures::future::join_all(appends).await;
    assert!(answers.iter().all(|answer| answer.as_ref().unwrap().watermark == 100));
    assert_eq!(answers.iter().filter(|answer| !answer.as_ref().unwrap().replayed).count(), 1);
    assert_eq!(number(&lake, "SELECT count(*) FROM events").await, 100);
    lake.shutdown().await;
}

#[tokio::test]
async fn everything_is_found_again_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..4_u64 {
        let lake = Lake::open(config(dir.path())).unwrap();
        assert_eq!(lake.watermark(device(1).uid, spool(1)), round * 30);
        assert_eq!(number(&lake, "SELECT count(*) FROM events").await as u64, round * 30);
        lake.append(batch(1, round * 30 + 1, 10)).await.unwrap();
        if round % 2 == 0 {
            lake.flush().await.unwrap();
        }
        lake.append(batch(1, round * 30 + 11, 20)).await.unwrap();
        assert_eq!(lake.events_stored(device(1).uid), round * 30 + 30);
        // Half of the rounds end without a word, as a crash does for the log.
        if round < 2 {
            lake.shutdown().await;
        }
    }
}

#[tokio::test]
async fn a_second_process_is_kept_out() {
    let dir = tempfile::tempdir().unwrap();
    let lake = Lake::open(config(dir.path())).unwrap();
    assert!(matches!(Lake::open(config(dir.path())), Err(LakeError::Closed(_))));
    lake.shutdown().await;
    drop(Lake::open(config(dir.path())).unwrap());
}

#[tokio::test]
async fn closing_refuses_appends_and_ends_tails() {
    let dir = tempfile::tempdir().unwrap();
    let lake = Lake::open(config(dir.path())).unwrap();
    let mut tail = Box::pin(lake.tail("", 0).await.unwrap());
    lake.append(batch(1, 1, 3)).await.unwrap();
    assert_eq!(tail.next().await.unwrap().unwrap().events.len(), 3);
    lake.shutdown().await;
    assert!(tail.next().await.is_none());
    assert!(matches!(lake.append(batch(1, 4, 3)).await, Err(LakeError::Closed(_))));
}

#[tokio::test]
async fn segments_roll_by_size_and_time_and_flush_by_themselves() {
    let dir = tempfile::tempdir().unwrap();
    let lake = Lake::open(LakeConfig { tail_rows_max: 100, flush_interval: Duration::from_millis(100), ..config(dir.path()) }).unwrap();
    for step in 0..20 {
        lake.append(batch(1, step * 60 + 1, 60)).await.unwrap();
    }
    for _ in 0..200 {
        if lake.stats().tail_events == 0 && lake.stats().segments == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let stats = lake.stats();
    assert_eq!((stats.tail_events, stats.segments, stats.events_stored, stats.flush_failures), (0, 1, 1_200, 0));
    assert!(stats.files >= 8 && stats.last_flush.is_some(), "{stats:?}");
    assert_eq!(number(&lake, "SELECT count(DISTINCT metadata_sequence) FROM events").await, 1_200);
    lake.shutdown().await;
}

#[tokio::test]
async fn pages_follow_each_other_without_overlap_or_hole() {
    let dir = tempfile::tempdir().unwrap();
    let lake = Lake::open(config(dir.path())).unwrap();
    // Several devices with the same times, some flushed, one day late.
    for device in 0..5 {
        lake.append(batch(device, 1, 200)).await.unwrap();
        if device % 2 == 0 {
            lake.flush().await.unwrap();
        }
    }
    lake.append(batch_of(9, 1, Timestamp(EPOCH + 3 * common::DAY_NANOS), events(9, 1, 200))).await.unwrap();
    let whole = all(&lake, "").await;
    assert_eq!(whole.len(), 1_200);
    assert!(whole.is_sorted_by_key(|event| std::cmp::Reverse(event.event.time.as_micros())));
    let mut paged = Vec::new();
    let mut cursor = None;
    loop {
        let page = lake.search(SearchQuery { limit: 77, cursor, ..SearchQuery::default() }).await.unwrap();
        assert_eq!(page.stats.truncated, page.cursor.is_some());
        paged.extend(page.events);
        cursor = page.cursor;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(paged, whole);
    lake.shutdown().await;
}

#[tokio::test]
async fn late_events_stand_at_their_own_time() {
    let dir = tempfile::tempdir().unwrap();
    let lake = Lake::open(config(dir.path())).unwrap();
    // Received in this order, on three days, each flushed to files of its own; the times run backwards.
    for (step, offset) in [(0_u64, 50_000_i64), (1, 40_000), (2, 30_000), (3, 20_000), (4, 10_000), (5, 0), (6, 60_000)] {
        let made = events(step, 1, 10).into_iter().map(|mut event| {
            event.time.0 += offset * 1_000_000;
            event
        });
        lake.append(batch_of(step, 1, Timestamp(EPOCH + step as i64 * common::DAY_NANOS / 2), made.collect())).await.unwrap();
        lake.flush().await.unwrap();
    }
    let page = lake.search(SearchQuery { limit: 15, ..SearchQuery::default() }).await.unwrap();
    let hosts: Vec<&str> = page.events.iter().map(|event| event.device.hostname.as_str()).collect();
    assert_eq!(hosts[..10], ["gpu-0006"; 10]);
    assert_eq!(hosts[10..], ["gpu-0000"; 5]);
    let since = Timestamp(EPOCH + 25_000 * 1_000_000);
    let until = Timestamp(EPOCH + 45_000 * 1_000_000);
    let page = lake.search(SearchQuery { since: Some(since), until: Some(until), ..SearchQuery::default() }).await.unwrap();
    assert_eq!(page.events.len(), 20);
    assert!(page.stats.files_pruned >= 4, "{:?}", page.stats);
    lake.shutdown().await;
}

#[tokio::test]
async fn a_tail_begins_where_its_history_ends() {
    let dir = tempfile::tempdir().unwrap();
    let lake = Lake::open(config(dir.path())).unwrap();
    let writer = {
        let lake = lake.clone();
        tokio::spawn(async move {
            for step in 0..200 {
                lake.append(batch(1, step * 10 + 1, 10)).await.unwrap();
            }
        })
    };
    let mut tails = Vec::new();
    for _ in 0..10 {
        let tail = lake.tail("", 10_000).await.unwrap();
        tails.push(tokio::spawn(async move {
            let mut tail = Box::pin(tail);
            let mut sequences: Vec<u64> = Vec::new();
            while sequences.last() != Some(&2_000) {
                let tailed = tail.next().await.unwrap().unwrap();
                assert_eq!(tailed.missed, 0);
                sequences.extend(tailed.events.iter().map(|event| event.seq));
            }
            sequences
        }));
    }
    writer.await.unwrap();
    for tail in tails {
        assert_eq!(tail.await.unwrap(), (1..=2_000).collect::<Vec<_>>());
    }
    lake.shutdown().await;
}

#[tokio::test]
async fn a_slow_tail_is_told_how_many_it_missed() {
    let dir = tempfile::tempdir().unwrap();
    let lake = Lake::open(config(dir.path())).unwrap();
    let mut tail = Box::pin(lake.tail("class:network", 0).await.unwrap());
    // More groups than a subscriber may lag behind, and nobody takes one.
    for step in 0..60 {
        let answers = futures::future::join_all((0..50).map(|device| lake.append(batch(device, step * 2 + 1, 2)))).await;
        assert!(answers.iter().all(Result::is_ok));
    }
    let mut shown = 0;
    let mut missed = 0;
    while missed == 0 {
        let tailed = tail.next().await.unwrap().unwrap();
        assert!(tailed.events.iter().all(|event| event.event.activity.class().uid() == 4_001));
        shown += tailed.events.len();
        missed += tailed.missed;
    }
    assert!((3_000..6_000).contains(&missed), "{missed}");
    assert!(shown < 2_000);
    lake.shutdown().await;
}

#[tokio::test]
async fn joined_batches_hold_the_same_rows() {
    let dir = tempfile::tempdir().unwrap();
    let lake = Lake::open(config(dir.path())).unwrap();
    for step in 0..300 {
        lake.append(batch(1, step * 50 + 1, 50)).await.unwrap();
    }
    let rows = table(&lake, "SELECT count(*), count(DISTINCT metadata_sequence), max(metadata_sequence) FROM events").await.unwrap();
    assert_eq!(rows[0], [15_000, 15_000, 15_000]);
    lake.shutdown().await;
}
