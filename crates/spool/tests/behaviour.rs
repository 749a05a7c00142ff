//! One promise a test: limits, damage, locks, modes and the layout on disk.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs::OpenOptions,
    io::{Read, Seek, SeekFrom, Write},
    os::unix::fs::{FileExt, PermissionsExt},
    path::{Path, PathBuf},
};

use picket_spool::{NewFrame, Priority, Recovery, Spool, SpoolConfig, SpoolError, Stored};

fn config(dir: &Path) -> SpoolConfig {
    SpoolConfig { dir: dir.join("spool"), bytes_max: 1 << 20, segment_bytes: 64 << 10, reserve_bytes: 64 << 10 }
}

fn frame(payload: &[u8]) -> NewFrame<'_> {
    NewFrame { count: 10, payload, time_first_ns: 1_000, time_last_ns: 2_000, class_counts: [4, 6, 0, 0, 0, 0, 0, 0], ..NewFrame::default() }
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(dir.join("spool")).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.retain(|path| path.extension().is_some_and(|extension| extension == "seg"));
    found.sort();
    found
}

fn flip(path: &Path, offset: u64) {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ 0x40], offset).unwrap();
}

fn filled(dir: &Path, frames: u32) -> Spool {
    let (spool, _) = Spool::open(config(dir)).unwrap();
    for number in 0..frames {
        spool.append(&frame(&vec![u8::try_from(number % 250).unwrap(); 1_000])).unwrap();
    }
    spool.sync().unwrap();
    spool
}

fn reopened(dir: &Path) -> (Spool, Recovery) {
    Spool::open(config(dir)).unwrap()
}

/// Every sequence number from 1 on, told once: by a frame or by a loss.
fn walk(spool: &Spool) -> (u64, Vec<(u64, u64)>) {
    let mut reader = spool.reader();
    let (mut seq, mut lost) = (0, Vec::new());
    loop {
        let batch = reader.frames_after(seq, 1).unwrap();
        let Some(stored) = batch.first() else { return (seq, lost) };
        match stored {
            Stored::Frame(frame) => assert_eq!(frame.first_seq, seq + 1),
            Stored::Lost(range) => {
                assert_eq!(range.first_seq, seq + 1);
                lost.push((range.first_seq, range.last_seq));
            }
        }
        seq = stored.last_seq();
    }
}

#[test]
fn full_refuses_the_new_frame_and_keeps_room_for_priority() {
    let folder = tempfile::tempdir().unwrap();
    let (spool, _) = Spool::open(config(folder.path())).unwrap();
    let payload = vec![7; 10_000];
    let mut stored = 0;
    let refused = loop {
        match spool.append(&frame(&payload)) {
            Ok(_) => stored += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, SpoolError::Full { .. }), "{refused}");
    assert!(stored >= 90, "{stored} frames of 10 kB in 1 MiB");
    let first = spool.append(&NewFrame { priority: Priority::Report, ..frame(b"the spool is full") }).unwrap();
    assert_eq!(first, stored * 10 + 1, "the refused frame used no number");
    spool.sync().unwrap();
    assert!(spool.state().bytes <= 1 << 20);
    // Room comes back with acknowledgements.
    spool.ack(stored * 10).unwrap();
    spool.append(&frame(&payload)).unwrap();
}

#[test]
fn each_priority_is_refused_before_the_one_above_it() {
    let folder = tempfile::tempdir().unwrap();
    let config = SpoolConfig { reserve_bytes: 128 << 10, ..config(folder.path()) };
    let (spool, _) = Spool::open(config).unwrap();
    let payload = vec![7; 1_000];
    let mut fill = |priority| {
        assert!(spool.room_bytes(priority) > 0, "{priority:?} has room of its own");
        while spool.append(&NewFrame { priority, ..frame(&payload) }).is_ok() {}
        assert!(spool.room_bytes(priority) < 1_200, "{priority:?} used its room");
        spool.state().bytes
    };
    let filled = [Priority::Low, Priority::Normal, Priority::High, Priority::Report].map(&mut fill);
    let limits = [768 << 10, 896 << 10, 1_008 << 10, 1 << 20];
    for (filled, limit) in filled.into_iter().zip(limits) {
        assert!((limit - 1_200..=limit).contains(&filled), "{filled} of {limit}");
    }
    // Everything acknowledged: the open segment goes with the next frame.
    spool.sync().unwrap();
    spool.ack(spool.state().last_seq).unwrap();
    assert_eq!(spool.room_bytes(Priority::Low), 768 << 10);
    spool.append(&NewFrame { priority: Priority::Low, ..frame(&payload) }).unwrap();
}

#[test]
fn an_open_segment_that_is_acknowledged_makes_room() {
    let folder = tempfile::tempdir().unwrap();
    let small = SpoolConfig { bytes_max: 64 << 10, segment_bytes: 64 << 10, reserve_bytes: 1 << 10, ..config(folder.path()) };
    let (spool, _) = Spool::open(small).unwrap();
    for round in 1..200_u64 {
        spool.append(&frame(&[1; 5_000])).unwrap();
        spool.sync().unwrap();
        spool.ack(round * 10).unwrap();
    }
    assert!(spool.state().bytes <= 64 << 10);
}

#[test]
fn a_damaged_payload_is_a_lost_range_with_its_classes_reported_once() {
    let folder = tempfile::tempdir().unwrap();
    let spool = filled(folder.path(), 5);
    let path = segments(folder.path()).remove(0);
    // Segment header 20, frame 88 + 1,000: the third payload.
    flip(&path, 20 + 2 * 1_088 + 88 + 500);
    assert_eq!(walk(&spool), (50, vec![(21, 30)]), "found while running");
    drop(spool);
    let (spool, recovery) = reopened(folder.path());
    let lost = recovery.lost.first().unwrap();
    assert_eq!((recovery.lost.len(), lost.first_seq, lost.last_seq, lost.reported), (1, 21, 30, false));
    assert_eq!(lost.class_counts, Some([4, 6, 0, 0, 0, 0, 0, 0]));
    assert_eq!((lost.since_ns, lost.until_ns), (Some(1_000), Some(2_000)));
    assert_eq!(walk(&spool), (50, vec![(21, 30)]));
    spool.lost_reported(&recovery.lost).unwrap();
    drop(spool);
    let (spool, recovery) = reopened(folder.path());
    assert_eq!(recovery.lost, vec![], "reported before");
    let again = spool.reader().frames_after(20, 1).unwrap();
    assert!(matches!(again.as_slice(), [Stored::Lost(range)] if range.reported));
}

#[test]
fn a_damaged_header_loses_its_frame_only() {
    let folder = tempfile::tempdir().unwrap();
    drop(filled(folder.path(), 5));
    flip(&segments(folder.path()).remove(0), 20 + 1_088 + 17);
    let (spool, recovery) = reopened(folder.path());
    assert_eq!(recovery.lost.iter().map(|range| (range.first_seq, range.last_seq)).collect::<Vec<_>>(), vec![(11, 20)]);
    assert_eq!(walk(&spool), (50, vec![(11, 20)]));
}

#[test]
fn a_segment_taken_away_is_a_lost_range() {
    let folder = tempfile::tempdir().unwrap();
    drop(filled(folder.path(), 200));
    let files = segments(folder.path());
    assert!(files.len() > 2);
    std::fs::remove_file(&files[1]).unwrap();
    let (spool, recovery) = reopened(folder.path());
    assert_eq!(recovery.lost.len(), 1);
    let (last, lost) = walk(&spool);
    assert_eq!((last, lost.len()), (2_000, 1));
    drop(spool);
    // The last one: only an orderly end knows that it existed.
    let folder = tempfile::tempdir().unwrap();
    let spool = filled(folder.path(), 200);
    spool.close().unwrap();
    drop(spool);
    std::fs::remove_file(segments(folder.path()).pop().unwrap()).unwrap();
    let (spool, recovery) = reopened(folder.path());
    assert_eq!((recovery.last_seq, recovery.lost.len()), (2_000, 1));
    assert_eq!(spool.append(&frame(b"next")).unwrap(), 2_001);
    spool.sync().unwrap();
    assert_eq!(walk(&spool).0, 2_010);
}

#[test]
fn a_torn_tail_is_cut_at_every_byte() {
    let folder = tempfile::tempdir().unwrap();
    let (spool, _) = Spool::open(config(folder.path())).unwrap();
    for _ in 0..3 {
        spool.append(&frame(&[9; 40])).unwrap();
    }
    spool.sync().unwrap();
    drop(spool);
    let path = segments(folder.path()).remove(0);
    let mut whole = Vec::new();
    OpenOptions::new().read(true).open(&path).unwrap().read_to_end(&mut whole).unwrap();
    for cut in 0..whole.len() {
        let folder = tempfile::tempdir().unwrap();
        drop(Spool::open(config(folder.path())).unwrap());
        let path = folder.path().join("spool").join(path.file_name().unwrap());
        std::fs::write(&path, &whole[..cut]).unwrap();
        let (spool, recovery) = reopened(folder.path());
        let frames = cut.saturating_sub(20) / 128;
        assert_eq!(recovery.last_seq, frames as u64 * 10, "cut at {cut}");
        assert_eq!(recovery.lost, vec![], "cut at {cut}");
        assert_eq!(recovery.torn_frames, u64::from(cut > 20 && (cut - 20) % 128 != 0), "cut at {cut}");
        assert_eq!(spool.append(&frame(b"on it goes")).unwrap(), frames as u64 * 10 + 1);
        spool.sync().unwrap();
        assert_eq!(walk(&spool), (frames as u64 * 10 + 10, vec![]));
    }
}

#[test]
fn the_checkpoint_and_the_last_time_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let (spool, recovery) = Spool::open(config(folder.path())).unwrap();
    assert!(!recovery.unclean, "a new spool misses nothing");
    spool.append(&NewFrame { checkpoint: b"1 2 3", ..frame(b"a") }).unwrap();
    spool.append(&NewFrame { checkpoint: b"4 5 6", time_last_ns: 9_999, ..frame(b"b") }).unwrap();
    spool.sync().unwrap();
    drop(spool);
    let (spool, recovery) = reopened(folder.path());
    assert!(recovery.unclean);
    assert_eq!(recovery.checkpoint.as_deref(), Some(b"4 5 6".as_slice()));
    assert_eq!(recovery.last_write_time_ns, Some(9_999));
    spool.close().unwrap();
    drop(spool);
    let (_, recovery) = reopened(folder.path());
    assert!(!recovery.unclean);
}

#[test]
fn numbers_go_on_when_everything_was_acknowledged_and_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let spool = filled(folder.path(), 200);
    spool.ack(2_000).unwrap();
    spool.close().unwrap();
    drop(spool);
    let (spool, recovery) = reopened(folder.path());
    assert_eq!((recovery.first_seq, recovery.last_seq), (0, 2_000));
    assert_eq!(spool.append(&frame(b"next")).unwrap(), 2_001);
}

#[test]
fn an_acknowledgement_of_what_was_never_synced_is_ignored() {
    let folder = tempfile::tempdir().unwrap();
    let spool = filled(folder.path(), 2);
    spool.append(&frame(b"unsynced")).unwrap();
    spool.ack(30).unwrap();
    spool.ack(u64::MAX).unwrap();
    assert_eq!(spool.state().acked_seq, 0);
    assert_eq!(walk(&spool), (20, vec![]));
}

#[test]
fn a_second_agent_is_kept_out() {
    let folder = tempfile::tempdir().unwrap();
    let spool = filled(folder.path(), 1);
    assert!(matches!(Spool::open(config(folder.path())), Err(SpoolError::Locked { .. })));
    drop(spool);
    Spool::open(config(folder.path())).unwrap();
}

#[test]
fn only_the_owner_can_read_it() {
    let folder = tempfile::tempdir().unwrap();
    let spool = filled(folder.path(), 1);
    spool.close().unwrap();
    let dir = folder.path().join("spool");
    assert_eq!(std::fs::metadata(&dir).unwrap().permissions().mode() & 0o777, 0o700);
    for entry in std::fs::read_dir(&dir).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", entry.path());
    }
}

#[test]
fn oversized_frames_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (spool, _) = Spool::open(config(folder.path())).unwrap();
    let large = vec![0; picket_spool::FRAME_BYTES_MAX + 1];
    assert!(matches!(spool.append(&frame(&large)), Err(SpoolError::Oversized { .. })));
    assert!(matches!(spool.append(&NewFrame { count: 0, ..frame(b"") }), Err(SpoolError::Oversized { .. })));
    assert!(matches!(spool.append(&NewFrame { count: 2_001, ..frame(b"") }), Err(SpoolError::Oversized { .. })));
    assert!(matches!(spool.append(&NewFrame { checkpoint: &[0; 257], ..frame(b"") }), Err(SpoolError::Oversized { .. })));
}

#[test]
fn another_layout_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    drop(filled(folder.path(), 1));
    let path = segments(folder.path()).remove(0);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[6] = 9;
    let crc = crc32fast::hash(&bytes[..16]);
    bytes[16..20].copy_from_slice(&crc.to_le_bytes());
    std::fs::write(&path, &bytes).unwrap();
    let error = Spool::open(config(folder.path())).unwrap_err();
    assert!(matches!(error, SpoolError::Layout { found: 9, .. }), "{error}");
}

#[test]
fn layout_one_is_read_for_ever() {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/layout-1");
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("spool")).unwrap();
    for entry in std::fs::read_dir(&fixture).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), folder.path().join("spool").join(entry.file_name())).unwrap();
    }
    let (spool, recovery) = reopened(folder.path());
    assert_eq!(recovery.spool_uid.to_string(), "5f0c4c3e-8f3c-4d0e-9a63-0d5f3b1c2a77");
    assert_eq!((recovery.first_seq, recovery.last_seq, recovery.unclean), (11, 30, false));
    let frames = spool.reader().frames_after(10, 1 << 20).unwrap();
    let payloads: Vec<&[u8]> =
        frames.iter().map(|stored| if let Stored::Frame(frame) = stored { frame.payload.as_slice() } else { panic!("{stored:?}") }).collect();
    assert_eq!(payloads, [b"second frame".as_slice(), b"third frame"]);
    assert_eq!(recovery.checkpoint.as_deref(), Some(b"checkpoint 3".as_slice()));
}

/// A file system of 512 KiB: the kernel says no before the spool's own limit does.
#[test]
fn a_full_disk_is_told_apart_and_loses_nothing_that_was_synced() {
    let folder = tempfile::tempdir().unwrap();
    let point = folder.path().join("disk");
    std::fs::create_dir(&point).unwrap();
    let mounted = std::process::Command::new("mount").args(["-t", "tmpfs", "-o", "size=512k", "none"]).arg(&point).status();
    if !mounted.is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED a_full_disk_is_told_apart_and_loses_nothing_that_was_synced: cannot mount a tmpfs (needs root)");
        return;
    }
    let result = std::panic::catch_unwind(|| fill_disk(&point));
    let unmounted = std::process::Command::new("umount").arg(&point).status().unwrap();
    if let Err(panic) = result {
        std::panic::resume_unwind(panic);
    }
    assert!(unmounted.success());
}

fn fill_disk(point: &Path) {
    let (spool, _) = Spool::open(config(point)).unwrap();
    let payload = vec![3; 7_001];
    let mut stored = 0;
    let error = loop {
        match spool.append(&frame(&payload)) {
            Ok(_) => stored += 10,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, SpoolError::NoSpace { .. }), "{error}");
    spool.sync().unwrap();
    assert_eq!(spool.state().last_seq, stored);
    // A smaller frame may still fit where the large one did not; either way the numbering stays whole.
    let _ = spool.append(&frame(b"small"));
    let _ = spool.sync();
    let last = spool.state().last_seq;
    assert_eq!(walk(&spool), (last, vec![]));
    spool.ack(stored).unwrap();
    spool.append(&frame(&payload)).unwrap();
    spool.sync().unwrap();
    drop(spool);
    let (spool, recovery) = reopened(point);
    assert_eq!((recovery.last_seq, recovery.lost.len()), (last + 10, 0));
    drop(spool);
}

#[test]
fn garbage_in_the_folder_never_panics() {
    let folder = tempfile::tempdir().unwrap();
    let spool = filled(folder.path(), 100);
    drop(spool);
    let path = segments(folder.path()).remove(0);
    let len = std::fs::metadata(&path).unwrap().len();
    for round in 0..50_u64 {
        let mut file = OpenOptions::new().write(true).open(&path).unwrap();
        file.seek(SeekFrom::Start(round * 7_919 % len)).unwrap();
        file.write_all(&round.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes()).unwrap();
        drop(file);
        std::fs::write(folder.path().join("spool/meta"), round.to_le_bytes()).unwrap();
        let (spool, _) = reopened(folder.path());
        walk(&spool);
    }
}
