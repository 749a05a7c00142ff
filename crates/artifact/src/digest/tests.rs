use super::*;
use crate::{ScanOptions, tensor_index};
use picket_bounded::MemorySource;
use proptest::prelude::*;
use sha2::Digest as _;

fn plain(bytes: &[u8]) -> Digests {
    Digests { sha256: hex::encode(Sha256::digest(bytes)), blake3: blake3::hash(bytes).to_hex().to_string() }
}

fn nothing_beside(_: &str) -> io::Result<Box<dyn Source>> {
    Err(io::Error::from(io::ErrorKind::NotFound))
}

fn index(runs: &[Vec<Run>]) -> TensorIndex {
    let tensors = runs.iter().enumerate().map(|(number, runs)| Tensor {
        name: format!("t{number}"),
        dtype: "U8".to_owned(),
        shape: vec![length(runs)],
        stride: Vec::new(),
        data: Data::Runs(runs.clone()),
    });
    TensorIndex { format: crate::Format::Safetensors, tensors: tensors.collect(), incomplete: Vec::new() }
}

fn safetensors(tensors: &[(&str, &[u8])]) -> Vec<u8> {
    let mut at = 0;
    let entries: Vec<String> = tensors
        .iter()
        .map(|(name, bytes)| {
            let from = at;
            at += bytes.len();
            format!(r#""{name}":{{"dtype":"U8","shape":[{}],"data_offsets":[{from},{at}]}}"#, bytes.len())
        })
        .collect();
    let header = format!("{{{}}}", entries.join(","));
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.into_bytes());
    for (_, bytes) in tensors {
        file.extend(*bytes);
    }
    file
}

#[test]
fn every_tensor_of_a_safetensors_file() {
    let file = safetensors(&[("a", b"first"), ("b", b""), ("c", b"third tensor")]);
    let source = MemorySource::new(file.clone());
    let found = digest(&source, &tensor_index(&source, "m.safetensors", &ScanOptions::default()), &nothing_beside, &Watch::default()).unwrap();
    assert_eq!(found.file, plain(&file));
    let by_name: Vec<_> = found.tensors.iter().map(|tensor| (tensor.name.as_str(), tensor.bytes, tensor.digests.clone())).collect();
    assert_eq!(by_name, [("a", 5, plain(b"first")), ("b", 0, plain(b"")), ("c", 12, plain(b"third tensor"))]);
    assert!(found.incomplete.is_empty());
}

#[test]
fn a_table_that_makes_bytes_count_often_is_refused_not_followed() {
    let bytes = vec![1_u8; 1000];
    let many: Vec<Vec<Run>> = (0..20).map(|shift| vec![Run { offset: shift, len: 900 }]).collect();
    let found = digest(&MemorySource::new(bytes), &index(&many), &nothing_beside, &Watch::default()).unwrap();
    assert_eq!(found.tensors.len(), 8);
    assert!(found.incomplete.iter().any(|why| why.contains("more than 8 times")), "{:?}", found.incomplete);
}

/// Ends before the length it announced, as a file does that is cut while it is read.
struct Cut(Vec<u8>, u64);

impl Source for Cut {
    fn len(&self) -> u64 {
        self.1
    }
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        (&self.0[..]).read_at(offset, buffer)
    }
}

#[test]
fn a_file_that_is_cut_meanwhile_has_no_digest() {
    for len in [5000, 9 << 20] {
        let cut = Cut(vec![7; 4000], len);
        assert!(digest(&cut, &index(&[vec![Run { offset: 0, len: 4500 }]]), &nothing_beside, &Watch::default()).is_err());
    }
}

#[test]
fn a_stop_ends_the_pass() {
    let watch = Watch { stop: AtomicBool::new(true), ..Watch::default() };
    assert!(digest(&MemorySource::new(vec![0; 100]), &index(&[]), &nothing_beside, &watch).is_err());
}

#[test]
fn another_file_is_read_by_its_range_and_a_missing_one_is_named() {
    let tensors = |location: &str, offset, len| TensorIndex {
        format: crate::Format::Onnx,
        tensors: vec![Tensor {
            name: "w".to_owned(),
            dtype: "FLOAT".to_owned(),
            shape: vec![2],
            stride: Vec::new(),
            data: Data::External { location: location.to_owned(), offset, len },
        }],
        incomplete: Vec::new(),
    };
    let beside = |name: &str| -> io::Result<Box<dyn Source>> {
        if name == "model.data" { Ok(Box::new(MemorySource::new(b"0123456789".to_vec()))) } else { Err(io::Error::from(io::ErrorKind::NotFound)) }
    };
    let source = MemorySource::new(b"x".to_vec());
    let found = digest(&source, &tensors("model.data", 2, Some(8)), &beside, &Watch::default()).unwrap();
    assert_eq!((found.tensors[0].digests.clone(), found.tensors[0].external.as_deref()), (plain(b"23456789"), Some("model.data")));
    for index in [tensors("gone", 0, None), tensors("model.data", 4, Some(8))] {
        let found = digest(&source, &index, &beside, &Watch::default()).unwrap();
        assert_eq!((found.tensors.len(), found.incomplete.len()), (0, 1));
    }
}

proptest! {
    /// Whatever the runs and the size, each digest is that of the bytes it names, with and without threads.
    #[test]
    fn digests_are_of_the_bytes_they_name(
        seed in any::<u64>(),
        large in any::<bool>(),
        cuts in proptest::collection::vec((0_u64..3000, 0_u64..1500), 0..6),
    ) {
        let len = if large { usize::try_from(THREADS_FROM_BYTES).unwrap() + 4321 } else { 5000 };
        let mut state = seed | 1;
        let bytes: Vec<u8> = (0..len).map(|_| { state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1); (state >> 56) as u8 }).collect();
        let scale = if large { 1000 } else { 1 };
        let runs: Vec<Vec<Run>> = cuts.iter().map(|(offset, size)| vec![Run { offset: offset * scale, len: size * scale }]).collect();
        let found = digest(&MemorySource::new(bytes.clone()), &index(&runs), &nothing_beside, &Watch::default()).unwrap();
        prop_assert_eq!(&found.file, &plain(&bytes));
        for tensor in &found.tensors {
            let start = usize::try_from(tensor.offset.unwrap()).unwrap();
            let end = start + usize::try_from(tensor.bytes).unwrap();
            prop_assert_eq!(&tensor.digests, &plain(&bytes[start..end]));
        }
        let inside = runs.iter().filter(|run| run[0].offset + run[0].len <= len as u64).count();
        prop_assert_eq!(found.tensors.len(), inside);
    }
}
