//! The tensor table of each format, and digests over a file that changes while it is read.
//!
//! `tests/data/tensors` holds pickles written by CPython's pickler in the form of `torch.save`: `a.weight` (2×3) with the view
//! `a.row`, `b`, and beside a dictionary of 100 numbers the view `late` of `b`; `legacy_head` has the five pickles of the old form; `generate.py` there makes them.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that fails here is a test that fails")]

#[path = "corpus/build.rs"]
#[expect(dead_code, reason = "the corpus uses what the tests here do not")]
mod build;

use picket_artifact::{Data, Run, ScanOptions, TensorIndex, Verdict, WalkOptions, Watch, digest, scan_paths, tensor_index};
use proptest::prelude::*;
use std::fs;
use std::io::Write as _;

const STATE: &[u8] = include_bytes!("data/tensors/state.pkl");
const LEGACY: &[u8] = include_bytes!("data/tensors/legacy_head.bin");

fn index(bytes: &[u8]) -> TensorIndex {
    tensor_index(&bytes, "model", &ScanOptions::default())
}

/// A stored zip, as `torch.save` makes it.
fn zip(members: &[(&str, &[u8])]) -> Vec<u8> {
    build::zip(&members.iter().map(|(name, body)| build::item(name, body)).collect::<Vec<_>>())
}

fn named(index: &TensorIndex) -> Vec<(&str, &str, Vec<u64>)> {
    index.tensors.iter().map(|tensor| (tensor.name.as_str(), tensor.dtype.as_str(), tensor.shape.clone())).collect()
}

fn bytes<'b>(file: &'b [u8], index: &TensorIndex, name: &str) -> &'b [u8] {
    let tensor = index.tensors.iter().find(|tensor| tensor.name == name).unwrap();
    let Data::Runs(runs) = &tensor.data else { panic!("{name} is elsewhere") };
    let Run { offset, len } = runs[0];
    &file[usize::try_from(offset).unwrap()..usize::try_from(offset + len).unwrap()]
}

#[test]
fn names_and_places_of_a_torch_zip() {
    let (zero, one): (Vec<u8>, Vec<u8>) = ((0..24).collect(), (100..108).collect());
    let file = zip(&[("m/data.pkl", STATE), ("m/data/0", &zero), ("m/data/1", &one), ("m/data/9", b"no tensor")]);
    let found = index(&file);
    assert_eq!(
        named(&found),
        [
            ("state.a.weight", "Float", vec![2, 3]),
            ("state.a.row", "Float", vec![3]),
            ("state.b", "Float", vec![2]),
            ("late", "Float", vec![1, 2]),
            ("storage:9", "bytes", vec![9]),
        ]
    );
    assert!(found.incomplete.is_empty(), "{:?}", found.incomplete);
    assert_eq!((bytes(&file, &found, "state.a.weight"), bytes(&file, &found, "state.a.row")), (&zero[..], &zero[12..]));
    assert_eq!((bytes(&file, &found, "late"), bytes(&file, &found, "storage:9")), (&one[..], &b"no tensor"[..]));
}

#[test]
fn a_storage_that_is_short_or_missing_is_said() {
    let file = zip(&[("m/data.pkl", STATE), ("m/data/0", &[0; 20])]);
    let found = index(&file);
    assert!(found.tensors.is_empty(), "{:?}", named(&found));
    assert_eq!(found.incomplete.len(), 4, "{:?}", found.incomplete);
}

#[test]
fn the_old_torch_form_by_the_order_of_its_keys() {
    let mut file = LEGACY.to_vec();
    let (one, zero): (Vec<u8>, Vec<u8>) = ((100..108).collect(), (0..24).collect());
    file.extend([&2_u64.to_le_bytes()[..], &one, &6_u64.to_le_bytes(), &zero].concat());
    let found = index(&file);
    assert_eq!((bytes(&file, &found, "state.b"), bytes(&file, &found, "state.a.weight")), (&one[..], &zero[..]));
    // The third key belongs to no storage that the pickle names, so its size is not known.
    assert_eq!(found.incomplete.len(), 1, "{:?}", found.incomplete);
}

#[test]
fn a_file_that_grows_while_it_is_read_is_not_clean() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("growing.npy");
    let header = format!("{:<117}\n", "{'descr': '|u1', 'fortran_order': False, 'shape': (268435456,), }");
    let mut file = fs::File::create(&path).unwrap();
    file.write_all(&[b"\x93NUMPY\x01\0", &118_u16.to_le_bytes()[..], header.as_bytes()].concat()).unwrap();
    file.set_len(128 + (256 << 20)).unwrap();
    let options = WalkOptions { digest: true, threads: 1, ..WalkOptions::default() };
    let watch = std::sync::Arc::clone(&options.watch);
    let report = std::thread::scope(|scope| {
        scope.spawn(|| {
            // The pass has begun and is far from its end.
            while watch.bytes.load(std::sync::atomic::Ordering::Relaxed) == 0 {
                std::thread::yield_now();
            }
            file.write_all(b"another weight").unwrap();
        });
        let mut found = None;
        scan_paths(std::slice::from_ref(&path), &options, |report, _| {
            found = Some(report);
            true
        });
        found.unwrap()
    });
    assert_eq!((report.verdict, report.digests.is_some(), report.sha256), (Verdict::Unscannable, false, None));
    assert_eq!(report.incomplete, ["the file changed while it was read"]);
}

#[test]
fn chunks_of_a_file_in_an_archive_are_found_where_they_stand() {
    let digests = |bytes: &[u8], prefix: &str| {
        let index = index(bytes);
        let found = digest(&bytes, &index, &|_| Err(std::io::ErrorKind::NotFound.into()), &Watch::default()).unwrap();
        assert!(found.incomplete.is_empty(), "{:?}", found.incomplete);
        let named = found.tensors.into_iter().map(|tensor| (tensor.name.trim_start_matches(prefix).to_owned(), tensor.digests.blake3));
        named.collect::<std::collections::BTreeMap<_, _>>()
    };
    let alone = include_bytes!("data/hdf5/chunked_v110.h5");
    let found = digests(alone, "");
    assert_eq!(found.len(), 26);
    assert_eq!(digests(&zip(&[("readme.txt", b"text"), ("model.h5", alone)]), "model.h5!"), found);
}

proptest! {
    /// Whatever stands in the file, the table ends and names only places that arithmetic allows.
    #[test]
    fn damaged_tables_end(at in 0_usize..600, value in any::<u8>(), cut in 0_usize..900) {
        let mut file = zip(&[("m/data.pkl", STATE), ("m/data/0", &[1; 24]), ("m/data/1", &[2; 8])]);
        if let Some(byte) = file.get_mut(at) {
            *byte = value;
        }
        file.truncate(file.len().saturating_sub(cut % 64));
        let found = index(&file);
        for tensor in found.tensors {
            if let Data::Runs(runs) = tensor.data {
                prop_assert!(runs.iter().all(|run| run.offset.checked_add(run.len).is_some()));
            }
        }
        let mut old = LEGACY.to_vec();
        if let Some(byte) = old.get_mut(at) {
            *byte = value;
        }
        index(&old);
    }
}
