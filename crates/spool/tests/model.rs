//! Random lives of a spool against a model: whatever was synced comes back exactly once and in order, whatever happens to the file after it.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::BTreeMap,
    fs::OpenOptions,
    io::Write,
    path::{Path, PathBuf},
};

use picket_spool::{NewFrame, Spool, SpoolConfig, SpoolError, Stored};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    Append {
        count: u32,
        bytes: usize,
    },
    Sync,
    Ack(u8),
    Read,
    /// Kill: the unsynced part is cut somewhere, and rubbish may follow.
    Crash {
        keep: u8,
        rubbish: usize,
    },
    Close,
    Reset,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (1..60_u32, 0..3_000_usize).prop_map(|(count, bytes)| Step::Append { count, bytes }),
        4 => Just(Step::Sync),
        3 => any::<u8>().prop_map(Step::Ack),
        2 => Just(Step::Read),
        2 => (any::<u8>(), 0..200_usize).prop_map(|(keep, rubbish)| Step::Crash { keep, rubbish }),
        1 => Just(Step::Close),
        1 => Just(Step::Reset),
    ];
    proptest::collection::vec(step, 1..60)
}

fn config(dir: &Path) -> SpoolConfig {
    SpoolConfig { dir: dir.to_path_buf(), bytes_max: 256 << 10, segment_bytes: 8 << 10, reserve_bytes: 16 << 10 }
}

/// First sequence → (count, payload), and how far the world knows it.
#[derive(Default)]
struct Model {
    frames: BTreeMap<u64, (u32, Vec<u8>)>,
    last: u64,
    synced: u64,
    acked: u64,
    serial: u32,
    sizes: BTreeMap<PathBuf, u64>,
}

impl Model {
    fn expected(&self) -> Vec<(u64, u32, Vec<u8>)> {
        let pending = self.frames.iter().filter(|(first, (count, _))| *first + u64::from(*count) - 1 > self.acked);
        pending.filter(|(first, _)| **first <= self.synced).map(|(first, (count, payload))| (*first, *count, payload.clone())).collect()
    }

    fn renumber(&mut self) {
        let base = self.acked;
        self.frames = std::mem::take(&mut self.frames).into_iter().filter(|(first, _)| *first > base).map(|(first, frame)| (first - base, frame)).collect();
        self.last -= base;
        self.synced -= base;
        self.acked = 0;
    }
}

fn segment_sizes(dir: &Path) -> BTreeMap<PathBuf, u64> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    entries.filter(|entry| entry.file_name().to_string_lossy().ends_with(".seg")).map(|entry| (entry.path(), entry.metadata().unwrap().len())).collect()
}

fn read_all(spool: &Spool, after: u64) -> Vec<(u64, u32, Vec<u8>)> {
    let mut reader = spool.reader();
    let mut found = Vec::new();
    let mut seq = after;
    loop {
        let batch = reader.frames_after(seq, 10_000).unwrap();
        let Some(last) = batch.last() else { return found };
        seq = last.last_seq();
        for stored in batch {
            match stored {
                Stored::Frame(frame) => found.push((frame.first_seq, frame.count, frame.payload)),
                Stored::Lost(range) => panic!("nothing was damaged, yet {range:?} is lost"),
            }
        }
    }
}

/// Cuts what was not synced and adds rubbish, as a power failure may.
fn damage(dir: &Path, model: &Model, keep: u8, rubbish: usize) {
    let sizes = segment_sizes(dir);
    let Some((path, size)) = sizes.last_key_value() else { return };
    let synced = model.sizes.get(path).copied().unwrap_or(0);
    let cut = synced + (size - synced) * u64::from(keep) / 255;
    let mut file = OpenOptions::new().append(true).open(path).unwrap();
    file.set_len(cut).unwrap();
    let bytes: Vec<u8> = (0..rubbish).map(|at| u8::try_from(at % 251).unwrap()).collect();
    file.write_all(&bytes).unwrap();
}

fn reopen(dir: &Path, model: &mut Model, clean: bool) -> Spool {
    let (spool, recovery) = Spool::open(config(dir)).unwrap();
    assert_eq!(recovery.unclean, !clean);
    assert_eq!(recovery.lost, vec![], "only what was not synced was damaged");
    assert!(recovery.last_seq >= model.synced, "synced up to {}, found up to {}", model.synced, recovery.last_seq);
    assert!(recovery.last_seq <= model.last);
    model.last = recovery.last_seq;
    model.synced = recovery.last_seq;
    let last = model.last;
    model.frames.retain(|first, _| *first <= last);
    // An acknowledgement that was in memory only is given again by the server; a lower one is never a mistake.
    let state = spool.state();
    assert!(state.acked_seq <= model.acked);
    spool.ack(model.acked).unwrap();
    model.sizes = segment_sizes(dir);
    spool
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn every_synced_frame_comes_back_exactly_once(steps in steps()) {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("spool");
        let mut model = Model::default();
        let mut spool = reopen(&dir, &mut model, true);
        for step in steps {
            match step {
                Step::Append { count, bytes } => {
                    model.serial += 1;
                    let payload: Vec<u8> = model.serial.to_le_bytes().into_iter().cycle().take(bytes).collect();
                    match spool.append(&NewFrame { count, payload: &payload, ..NewFrame::default() }) {
                        Ok(first) => {
                            prop_assert_eq!(first, model.last + 1);
                            model.frames.insert(first, (count, payload));
                            model.last += u64::from(count);
                            // A full segment is synced before the next one begins.
                            model.synced = spool.state().synced_seq;
                            model.sizes.retain(|path, _| path.exists());
                            let sizes = segment_sizes(&dir);
                            let older = sizes.len().saturating_sub(1);
                            model.sizes.extend(sizes.into_iter().take(older));
                        }
                        Err(SpoolError::Full { .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
                Step::Sync => {
                    spool.sync().unwrap();
                    model.synced = model.last;
                    model.sizes = segment_sizes(&dir);
                }
                Step::Ack(part) => {
                    let seq = model.acked + (model.synced - model.acked) * u64::from(part) / 255;
                    // Whole frames only, as the server does it.
                    let seq = model.frames.iter().map(|(first, (count, _))| first + u64::from(*count) - 1).filter(|last| *last <= seq).max().unwrap_or(0);
                    spool.ack(seq).unwrap();
                    model.acked = model.acked.max(seq);
                }
                Step::Read => prop_assert_eq!(read_all(&spool, model.acked), model.expected()),
                Step::Crash { keep, rubbish } => {
                    drop(spool);
                    damage(&dir, &model, keep, rubbish);
                    spool = reopen(&dir, &mut model, false);
                    prop_assert_eq!(read_all(&spool, model.acked), model.expected());
                }
                Step::Close => {
                    spool.close().unwrap();
                    drop(spool);
                    model.synced = model.last;
                    spool = reopen(&dir, &mut model, true);
                }
                Step::Reset => {
                    let before = spool.state().spool_uid;
                    prop_assert_ne!(spool.reset().unwrap(), before);
                    model.renumber();
                }
            }
            prop_assert_eq!(spool.state().last_seq, model.last);
        }
        spool.sync().unwrap();
        model.synced = model.last;
        prop_assert_eq!(read_all(&spool, model.acked), model.expected());
    }
}
