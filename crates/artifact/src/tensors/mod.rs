//! Where the tensors of a file are: name, type, shape and the bytes that hold them, without reading those bytes.
//!
//! This is what digests are taken over, so that a later look can say which tensor changed. The table comes from the same
//! parsers that judge the file; what they cannot place is named in [`TensorIndex::incomplete`].

mod chunked;

use crate::detect;
use crate::report::printable;
use crate::scan::{Place, Scan};
use crate::{Format, ScanOptions, gguf, hdf5, numpy, onnx, pickle, safetensors, zip};
use picket_bounded::{BoundedError, Codec, Source};
use serde::{Deserialize, Serialize};

pub(crate) use chunked::ChunkLimits;
pub use chunked::{Chunk, ChunkFilter, Chunked};

/// Tensors of one file. The largest public checkpoints have some ten thousand; a header of 100 MB could name a million.
const TENSORS_MAX: usize = 200_000;

/// Reasons kept; they repeat soon.
const REASONS_MAX: usize = 20;

/// The tensors of one file.
#[derive(Clone, Debug)]
pub struct TensorIndex {
    /// What the content is.
    pub format: Format,
    /// In the order of the file's own table.
    pub tensors: Vec<Tensor>,
    /// What could not be placed, and why.
    pub incomplete: Vec<String>,
}

/// One tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tensor {
    /// As the framework calls it; the member's path where the format has no names.
    pub name: String,
    /// Element type in the format's own word.
    pub dtype: String,
    /// Elements along each dimension.
    pub shape: Vec<u64>,
    /// Elements between neighbours along each dimension, where they are not simply one behind another.
    pub stride: Vec<u64>,
    /// Where its bytes are.
    pub data: Data,
}

/// Where bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    /// Runs of the file itself, in order.
    Runs(Vec<Run>),
    /// A packed member of an archive.
    Packed {
        /// The packed bytes.
        packed: Run,
        /// How they are packed.
        codec: Codec,
        /// The tensor inside what they unpack to.
        unpacked: Run,
    },
    /// Boxes of a grid, each packed on its own.
    Chunked(Box<Chunked>),
    /// Another file, named relative to the folder of this one.
    External {
        /// Its name, which stays below the folder.
        location: String,
        /// First byte.
        offset: u64,
        /// Bytes; to the end of the file where nothing says.
        len: Option<u64>,
    },
}

/// Bytes one behind another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Run {
    /// First byte.
    pub offset: u64,
    /// Bytes.
    pub len: u64,
}

impl Data {
    pub(crate) fn run(offset: u64, len: u64) -> Self {
        Self::Runs(vec![Run { offset, len }])
    }
}

/// Collects the table.
#[derive(Debug, Default)]
pub(crate) struct Table {
    pub(crate) tensors: Vec<Tensor>,
    incomplete: Vec<String>,
    cut: bool,
}

impl Table {
    pub(crate) fn add(&mut self, tensor: Tensor) {
        if self.tensors.len() < TENSORS_MAX {
            self.tensors.push(Tensor { name: printable(&tensor.name), dtype: printable(&tensor.dtype), ..tensor });
        } else if !self.cut {
            self.cut = true;
            self.incomplete(&format!("more tensors than the limit of {TENSORS_MAX}"));
        }
    }

    pub(crate) fn incomplete(&mut self, reason: &str) {
        let reason = printable(reason);
        if self.incomplete.len() < REASONS_MAX && !self.incomplete.contains(&reason) {
            self.incomplete.push(reason);
        }
    }

    pub(crate) fn reasons(&self) -> &[String] {
        &self.incomplete
    }

    pub(crate) fn failed(&mut self, error: &BoundedError) {
        self.incomplete(&format!("the tensor table was not read to its end: {error}"));
    }
}

/// Finds the tensors of a file by the parser of its format. A format without tensors has none and is complete.
#[must_use]
pub fn tensor_index(source: &dyn Source, name_hint: &str, options: &ScanOptions) -> TensorIndex {
    let mut scan = Scan::new(options);
    let place = Place::of_file(name_hint);
    let mut table = Table::default();
    let format = match detect::sniff(&mut scan, source, &place) {
        Ok(sniffed) => sniffed.format,
        Err(error) => {
            table.failed(&error);
            Format::Unknown
        }
    };
    let format = of_format(&mut scan, source, format, &mut table);
    TensorIndex { format, tensors: table.tensors, incomplete: table.incomplete }
}

/// Fills the table; returns the format, told finer where the table shows it.
pub(crate) fn of_format(scan: &mut Scan<'_>, source: &dyn Source, format: Format, table: &mut Table) -> Format {
    match format {
        Format::Safetensors => safetensors::tensors(source, table),
        Format::Gguf => gguf::tensors(scan, source, table),
        Format::Npy => numpy::tensors(source, table),
        Format::Zip => return zip::tensors(scan, source, table),
        Format::Pickle => return pickle::legacy_tensors(scan, source, table),
        Format::Onnx => onnx::tensors(scan, source, table),
        Format::Hdf5 => hdf5::tensors(scan, source, table),
        _ => {}
    }
    format
}
