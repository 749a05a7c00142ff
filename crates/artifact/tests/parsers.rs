//! One property test a format, by its name: whatever bytes its parser is given, it ends, says the same of the same bytes, keeps to the ceilings, and what
//! it gave up on is never clean. Bytes are any at all, and damaged files of the corpus that are of that format or go by its name.

#![expect(clippy::unwrap_used, reason = "a test that fails here is a test that fails")]

#[path = "corpus/mod.rs"]
#[expect(dead_code, reason = "labels are for the tests of judgement")]
mod corpus;

use picket_artifact::{Format, ScanOptions, Verdict, scan, scan_as};
use picket_bounded::Limits;
use proptest::prelude::*;
use proptest::sample::Index;
use std::collections::HashMap;
use std::sync::LazyLock;

/// Larger files tell nothing more and cost time.
const BYTES_MAX: usize = 32 << 10;
const FINDINGS_MAX: usize = 50;

fn options() -> ScanOptions {
    let limits = Limits { steps: 1_000_000, inflated_bytes: 8 << 20, member_bytes: 2 << 20, held_bytes: 4 << 20, findings: FINDINGS_MAX, ..Limits::default() };
    ScanOptions { limits, ..ScanOptions::default() }
}

/// Files of the corpus by what they are.
static SEEDS: LazyLock<HashMap<&'static str, Vec<Vec<u8>>>> = LazyLock::new(|| {
    let mut seeds: HashMap<&'static str, Vec<Vec<u8>>> = HashMap::new();
    for case in corpus::all().into_iter().filter(|case| case.bytes.len() <= BYTES_MAX) {
        let format = scan(&case.bytes.as_slice(), &case.file, &options()).format;
        seeds.entry(format.name()).or_default().push(case.bytes);
    }
    seeds
});

/// One act of damage.
#[derive(Clone, Debug)]
enum Damage {
    Cut(Index),
    Byte(Index, u8),
    Number(Index, u64, usize),
    Remove(Index, usize),
    Repeat(Index, usize),
}

fn damage() -> impl Strategy<Value = Damage> {
    // Values at which sizes and counts break.
    let edges = prop::sample::select(vec![0, 1, 0x7f, 0xff, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, i64::MAX.unsigned_abs(), u64::MAX]);
    prop_oneof![
        any::<Index>().prop_map(Damage::Cut),
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Damage::Byte(at, byte)),
        (any::<Index>(), edges, prop::sample::select(vec![1, 2, 4, 8])).prop_map(|(at, value, width)| Damage::Number(at, value, width)),
        (any::<Index>(), 1..64_usize).prop_map(|(at, length)| Damage::Remove(at, length)),
        (any::<Index>(), 1..256_usize).prop_map(|(at, length)| Damage::Repeat(at, length)),
    ]
}

fn damaged(mut bytes: Vec<u8>, acts: &[Damage]) -> Vec<u8> {
    for act in acts {
        if bytes.is_empty() {
            break;
        }
        let length = bytes.len();
        match act {
            Damage::Cut(at) => bytes.truncate(at.index(length)),
            Damage::Byte(at, byte) => bytes.iter_mut().skip(at.index(length)).take(1).for_each(|slot| *slot = *byte),
            Damage::Number(at, value, width) => {
                bytes.iter_mut().skip(at.index(length)).zip(value.to_le_bytes().iter().take(*width)).for_each(|(slot, byte)| *slot = *byte);
            }
            Damage::Remove(at, count) => drop(bytes.drain(at.index(length)..(at.index(length) + count).min(length))),
            Damage::Repeat(at, count) => {
                let piece: Vec<u8> = bytes.iter().skip(at.index(length)).take(*count).copied().collect();
                bytes.splice(at.index(length)..at.index(length), piece);
            }
        }
    }
    bytes
}

/// Any bytes, or a damaged file of the format; of another where the corpus has none of it.
fn input(format: Format) -> impl Strategy<Value = Vec<u8>> {
    let of_it = SEEDS.get(format.name()).cloned().unwrap_or_default();
    let seeds = if of_it.is_empty() { SEEDS.values().flatten().cloned().collect() } else { of_it };
    let file = (prop::sample::select(seeds), prop::collection::vec(damage(), 0..4)).prop_map(|(bytes, acts)| damaged(bytes, &acts));
    prop_oneof![1 => prop::collection::vec(any::<u8>(), 0..2048), 3 => file]
}

fn holds(format: Format, bytes: &[u8]) -> Result<(), TestCaseError> {
    let [report, again] = [(); 2].map(|()| scan_as(&bytes, "m.bin", format, &options()));
    prop_assert!(report.verdict != Verdict::Clean || report.incomplete.is_empty(), "clean, and not read: {:?}", report.incomplete);
    prop_assert!(report.findings.len() <= FINDINGS_MAX, "{} findings", report.findings.len());
    prop_assert_eq!(report.size, bytes.len() as u64);
    let [report, again] = [report, again].map(|report| serde_json::to_value(report).unwrap());
    prop_assert_eq!(report, again, "another judgement of the same bytes");
    Ok(())
}

macro_rules! parsers {
    ($($name:ident: $format:ident,)*) => {
        proptest! {
            #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]
            $(#[test]
            fn $name(bytes in input(Format::$format)) {
                holds(Format::$format, &bytes)?;
            })*
        }

        #[test]
        fn every_format_is_here() {
            let mut here = vec![$(Format::$format.name()),*];
            let mut all: Vec<_> = Format::ALL.iter().map(|format| format.name()).collect();
            here.sort_unstable();
            all.sort_unstable();
            assert_eq!(here, all);
        }
    };
}

parsers! {
    arrow: Arrow, bzip2: Bzip2, catboost: Catboost, core_ml: CoreMl, elf: Elf, empty: Empty, ggml: Ggml, gguf: Gguf, gzip: Gzip, hdf5: Hdf5, image: Image, jinja: Jinja,
    joblib: Joblib, json: Json, keras_h5: KerasH5, keras_metadata: KerasMetadata, keras_v3: KerasV3, light_gbm: LightGbm, llamafile: Llamafile, lz4: Lz4,
    lzma_alone: LzmaAlone, mach_o: MachO, mlflow_model: MlModel, msgpack: Msgpack, nemo: Nemo, npy: Npy, npz: Npz, notebook: Notebook, oci_image: OciImage,
    oci_layer: OciLayer, onnx: Onnx, open_vino: OpenVino, paddle_parameters: PaddleParameters, paddle_program: PaddleProgram, parquet: Parquet, pdf: Pdf, pe: Pe,
    pickle: Pickle, pmml: Pmml, pth_startup: Pth, python: Python, python_bytecode: PythonBytecode, pytorch_legacy: PytorchLegacy, pytorch_tar: PytorchTar,
    pytorch_zip: PytorchZip, r_data: RData, requirements: Requirements, safetensors: Safetensors, script: Script, sentence_piece: SentencePiece, seven_zip: SevenZip,
    skops: Skops, split_tensors: SplitTensors, tar: Tar, tensorflow_checkpoint: TensorflowCheckpoint, tensorflow_graph: TensorflowGraph,
    tensorflow_meta_graph: TensorflowMetaGraph, tensorflow_saved_model: TensorflowSavedModel, tensorrt_engine: TensorrtEngine, text: Text, tflite: Tflite,
    torch_mar: TorchMar, torchscript: TorchScript, unknown: Unknown, wheel: Wheel, xgboost: Xgboost, xgboost_binary: XgboostBinary, xml: Xml, xz: Xz, yaml: Yaml,
    zip: Zip, joblib_zfile: ZFile, zlib: Zlib, zstd: Zstd,
}
