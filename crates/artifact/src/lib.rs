//! Judges machine-learning artifacts by what they would do when loaded, without loading them.
//!
//! [`scan`] takes bytes and a name, decides the format by content, and parses: pickles by a symbolic machine, archives by both
//! of their descriptions, graphs and headers by structure. Tensor payloads are skipped, so that cost follows metadata and not
//! bytes. Whatever could not be read makes the result [`Completeness::Partial`], and such a result is never
//! [`Verdict::Clean`].
//!
//! Constraints: pure over [`picket_bounded::Source`], no process, no network, no clock but the deadline; memory at most some
//! hundred MiB for any input (`picket_bounded::Limits` and each format's `limits`); no recursion without a depth.
//!
//! ```
//! use picket_artifact::{ScanOptions, Verdict, scan};
//! let pickle: &[u8] = b"cos\nsystem\n(S'id'\ntR.";
//! let report = scan(&pickle, "model.bin", &ScanOptions::default());
//! assert_eq!(report.verdict, Verdict::Malicious);
//! assert_eq!(report.findings[0].evidence.value.as_deref(), Some("os.system('id')"));
//! ```

mod base64;
mod boosting;
#[cfg(test)]
#[path = "../tests/corpus/build.rs"]
#[expect(dead_code, reason = "the corpus uses what the tests here do not")]
mod build;
mod checkpoint;
mod columnar;
mod compressed;
mod config;
mod coreml;
mod detect;
mod digest;
mod elf;
mod format;
mod ggml;
mod gguf;
mod handlers;
mod hdf5;
mod jinja;
mod json;
mod keras;
mod literal;
mod manifest;
mod msgpack;
mod numpy;
mod onnx;
mod options;
mod paddle;
mod path;
mod pickle;
mod protobuf;
mod pyc;
mod python;
mod rdata;
mod region;
mod report;
mod repository;
pub mod rules;
mod safetensors;
mod sarif;
mod scan;
mod sevenz;
mod tar;
mod tensorflow;
mod tensors;
mod text;
mod tflite;
mod walk;
mod xml;
mod zip;

pub use digest::{Digests, FileDigests, OpenBeside, TensorDigest, Watch, digest};
pub use format::Format;
pub use manifest::{Comparison, MANIFEST_SCHEMA, Manifest, ManifestError, ManifestFile, Stamp, Status, TensorChange, compare};
pub use options::ScanOptions;
pub use region::{Region, RegionMatch, RegionOutcome, RegionRules, RulesApplied};
pub use report::{Completeness, Evidence, Finding, Member, Report, Severity, Verdict};
pub use sarif::sarif;
pub use scan::{scan, scan_as};
pub use tensors::{Chunk, ChunkFilter, Chunked, Data, Run, Tensor, TensorIndex, tensor_index};
pub use walk::{Baseline, Progress, Summary, WalkOptions, scan_paths};
