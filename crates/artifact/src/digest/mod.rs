//! Digests of a file and of each of its tensors in one pass over its bytes.
//!
//! The caller's thread reads; every kind of digest has a thread of its own, so that a pass costs what the slowest of them costs
//! and not their sum. Memory is [`RUNS_QUEUED`] runs of [`RUN_BYTES`] whatever the file, and for tensors in chunks at most what
//! [`CHUNK_LIMITS`] allows.

mod hashes;
mod plan;
#[cfg(test)]
mod tests;

use crate::report::printable;
use crate::tensors::{ChunkLimits, Chunked, Data, Run, Tensor, TensorIndex};
use blake3::Hasher as Blake3;
use hashes::{Feed, Hash, Units, Whole};
use picket_bounded::{BoundedError, Ending, Source, Window, decode_into};
use plan::Plan;
use serde::ser::SerializeStruct as _;
use serde::{Deserialize, Serialize, Serializer};
use sha2::Sha256;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

/// Bytes read at once: large enough for any disk, small enough to hold several.
const RUN_BYTES: u64 = 1 << 20;
/// Runs that wait for the slowest digest.
const RUNS_QUEUED: usize = 4;
/// Below this threads cost more than they save.
const THREADS_FROM_BYTES: u64 = 4 << 20;

/// What a long pass tells others, and is told.
#[derive(Debug, Default)]
pub struct Watch {
    /// Bytes read so far, over all files.
    pub bytes: AtomicU64,
    /// Asks for an early end.
    pub stop: AtomicBool,
}

/// Both digests of the same bytes, in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digests {
    /// SHA-256, as model hubs and signatures name files.
    pub sha256: String,
    /// BLAKE3.
    pub blake3: String,
}

/// One tensor with its digests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TensorDigest {
    /// As the framework calls it.
    pub name: String,
    /// Element type in the format's own word.
    pub dtype: String,
    /// Elements along each dimension.
    pub shape: Vec<u64>,
    /// Elements between neighbours along each dimension, where they are not simply one behind another.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stride: Vec<u64>,
    /// Bytes the digests are over.
    pub bytes: u64,
    /// Of those bytes.
    #[serde(flatten)]
    pub digests: Digests,
    /// First byte in the file, where the tensor is not packed and not in another file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// The other file that holds the bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external: Option<String>,
}

/// Digests of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileDigests {
    /// Of all its bytes.
    pub file: Digests,
    /// Of each tensor, in the order of the file's table.
    pub tensors: Vec<TensorDigest>,
    /// Tensors that have no digest, and why.
    pub incomplete: Vec<String>,
}

/// As fields of a report, which has the SHA-256 of the file already.
impl Serialize for FileDigests {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("FileDigests", 3)?;
        fields.serialize_field("blake3", &self.file.blake3)?;
        fields.serialize_field("tensors", &self.tensors)?;
        fields.serialize_field("tensors_incomplete", &self.incomplete)?;
        fields.end()
    }
}

/// Opens another file that a tensor names relative to the folder of the scanned one.
pub type OpenBeside<'o> = dyn Fn(&str) -> io::Result<Box<dyn Source>> + 'o;

/// Digests a file and the tensors that `index` found in it.
///
/// # Errors
/// When the file itself cannot be read to its end, or `watch` asked to stop: then there is no digest of it at all.
pub fn digest(source: &dyn Source, index: &TensorIndex, beside: &OpenBeside<'_>, watch: &Watch) -> Result<FileDigests, BoundedError> {
    let plan = Plan::new(&index.tensors, source.len());
    let mut incomplete = index.incomplete.clone();
    incomplete.extend(plan.left_out.iter().cloned());
    let (file, units) = pass(source, &plan, watch)?;
    let mut others = Others { beside, watch, open: None };
    let mut tensors = Vec::with_capacity(index.tensors.len());
    let mut chunk_bytes = source.len().saturating_mul(plan::OVERLAP_MAX);
    for (position, tensor) in index.tensors.iter().enumerate() {
        let digested = match &tensor.data {
            Data::Runs(runs) => plan.unit_of(position).and_then(|unit| units.get(unit)).map(|digests| Ok((length(runs), digests.clone()))),
            Data::Packed { packed, codec, unpacked } => Some(packed_digests(source, *packed, *codec, *unpacked, watch)),
            Data::Chunked(chunked) => Some(chunked_digests(source, chunked, &mut chunk_bytes, watch)),
            Data::External { location, offset, len } => Some(others.digests(location, *offset, *len)),
        };
        match digested {
            Some(Ok((bytes, digests))) => tensors.push(entry(tensor, bytes, digests)),
            Some(Err(why)) => incomplete.push(printable(&format!("{}: {why}", tensor.name))),
            None => {}
        }
        if watch.stop.load(Ordering::Relaxed) {
            return Err(stopped());
        }
    }
    incomplete.truncate(REASONS_MAX);
    Ok(FileDigests { file, tensors, incomplete })
}

/// Reasons kept; they repeat soon.
const REASONS_MAX: usize = 20;

fn entry(tensor: &Tensor, bytes: u64, digests: Digests) -> TensorDigest {
    let (offset, external) = match &tensor.data {
        Data::Runs(runs) => (runs.first().map(|run| run.offset), None),
        Data::Packed { .. } | Data::Chunked(_) => (None, None),
        Data::External { location, .. } => (None, Some(printable(location))),
    };
    TensorDigest {
        name: tensor.name.clone(),
        dtype: tensor.dtype.clone(),
        shape: tensor.shape.clone(),
        stride: tensor.stride.clone(),
        bytes,
        digests,
        offset,
        external,
    }
}

fn length(runs: &[Run]) -> u64 {
    runs.iter().map(|run| run.len).sum()
}

fn stopped() -> BoundedError {
    BoundedError::Io(io::Error::new(io::ErrorKind::Interrupted, "stopped before the digests were complete"))
}

/// One pass: the digests of the whole, and of each unit of the plan.
fn pass(source: &dyn Source, plan: &Plan, watch: &Watch) -> Result<(Digests, Vec<Digests>), BoundedError> {
    let (mut sha, mut blake) = (Whole::<Sha256>::new(), Whole::<Blake3>::new());
    let (mut sha_units, mut blake_units) = (Units::<Sha256>::new(plan), Units::<Blake3>::new(plan));
    if source.len() < THREADS_FROM_BYTES {
        each_run(source, watch, |offset, bytes| {
            sha.feed(offset, &bytes);
            blake.feed(offset, &bytes);
            sha_units.feed(offset, &bytes);
            blake_units.feed(offset, &bytes);
            true
        })?;
    } else {
        thread::scope(|scope| {
            let mut lanes: Vec<SyncSender<(u64, Arc<Vec<u8>>)>> = Vec::new();
            let mut feeds: Vec<&mut (dyn Feed + Send)> = vec![&mut sha, &mut blake];
            if !plan.is_empty() {
                feeds.push(&mut sha_units);
                feeds.push(&mut blake_units);
            }
            for feed in feeds {
                let (lane, runs) = sync_channel::<(u64, Arc<Vec<u8>>)>(RUNS_QUEUED);
                lanes.push(lane);
                scope.spawn(move || {
                    for (offset, bytes) in runs {
                        feed.feed(offset, &bytes);
                    }
                });
            }
            each_run(source, watch, |offset, bytes| lanes.iter().all(|lane| lane.send((offset, Arc::clone(&bytes))).is_ok()))
        })?;
    }
    let units = sha_units.end().into_iter().zip(blake_units.end()).map(|(sha256, blake3)| Digests { sha256, blake3 }).collect();
    Ok((Digests { sha256: sha.end(), blake3: blake.end() }, units))
}

/// Reads the source once from front to end.
fn each_run(source: &dyn Source, watch: &Watch, mut take: impl FnMut(u64, Arc<Vec<u8>>) -> bool) -> Result<(), BoundedError> {
    let mut offset = 0;
    while offset < source.len() {
        if watch.stop.load(Ordering::Relaxed) {
            return Err(stopped());
        }
        let bytes = picket_bounded::read_range(source, offset, RUN_BYTES.min(source.len() - offset), RUN_BYTES)?;
        let len = bytes.len() as u64;
        if !take(offset, Arc::new(bytes)) {
            return Err(stopped());
        }
        offset += len;
        watch.bytes.fetch_add(len, Ordering::Relaxed);
    }
    Ok(())
}

/// Inflates a member again, because its packed bytes say nothing about the tensor's: two packers pack the same array differently.
fn packed_digests(source: &dyn Source, packed: Run, codec: picket_bounded::Codec, unpacked: Run, watch: &Watch) -> Result<(u64, Digests), String> {
    let window = Window::new(source, packed.offset, packed.len);
    let Some(end) = unpacked.offset.checked_add(unpacked.len) else { return Err("its size does not fit 64 bits".to_owned()) };
    let (mut sha, mut blake) = (Sha256::start(), Blake3::start());
    let mut at = 0_u64;
    // The cap is what the array's own header announces: a bomb behind it is not inflated.
    let (total, ending) = decode_into(codec, &window, end, &mut |bytes| {
        let skip = usize::try_from(unpacked.offset.saturating_sub(at)).unwrap_or(usize::MAX).min(bytes.len());
        let wanted = bytes.get(skip..).unwrap_or_default();
        Hash::add(&mut sha, wanted);
        Hash::add(&mut blake, wanted);
        at = at.saturating_add(bytes.len() as u64);
        !watch.stop.load(Ordering::Relaxed)
    });
    match ending {
        Ending::Complete if total == end => Ok((unpacked.len, Digests { sha256: sha.hex(), blake3: blake.hex() })),
        Ending::Complete => Err(format!("its member unpacks to {total} bytes, its header announces {end}")),
        Ending::Capped => Err(format!("its member unpacks to more than the {end} bytes that its header announces")),
        Ending::Broken(why) => Err(format!("its member cannot be unpacked: {why}")),
        Ending::OutOfTime => Err("stopped".to_owned()),
    }
}

/// What a pass over a tensor in chunks may hold: rows of chunks of the largest public weights have some ten megabytes.
const CHUNK_LIMITS: ChunkLimits = ChunkLimits { chunk_bytes: 64 << 20, band_bytes: 128 << 20 };

/// Over the elements in their order, whatever the chunks: the same tensor has the same digest in one run or in many boxes.
fn chunked_digests(source: &dyn Source, chunked: &Chunked, budget: &mut u64, watch: &Watch) -> Result<(u64, Digests), String> {
    let stored = chunked.chunks.iter().fold(0_u64, |sum, chunk| sum.saturating_add(chunk.run.len));
    *budget = budget.checked_sub(stored).ok_or_else(|| format!("the chunks together claim more than {} times the file", plan::OVERLAP_MAX))?;
    let (mut sha, mut blake, mut bytes) = (Sha256::start(), Blake3::start(), 0_u64);
    let go_on = || !watch.stop.load(Ordering::Relaxed);
    let outcome = chunked.rows(source, CHUNK_LIMITS, &mut |_| go_on(), &mut |band| {
        Hash::add(&mut sha, band);
        Hash::add(&mut blake, band);
        bytes += band.len() as u64;
        true
    });
    outcome.map_err(|error| error.why)?;
    Ok((bytes, Digests { sha256: sha.hex(), blake3: blake.hex() }))
}

type Opened = Result<Box<dyn Source>, String>;

/// Other files that hold tensors, opened one at a time.
struct Others<'o> {
    beside: &'o OpenBeside<'o>,
    watch: &'o Watch,
    /// The last one, or why it could not be opened.
    open: Option<(String, Opened)>,
}

impl Others<'_> {
    fn digests(&mut self, location: &str, offset: u64, len: Option<u64>) -> Result<(u64, Digests), String> {
        if self.open.as_ref().is_none_or(|(open, _)| open != location) {
            self.open = Some((location.to_owned(), (self.beside)(location).map_err(|error| error.to_string())));
        }
        let Some((_, opened)) = &self.open else { return Err("not opened".to_owned()) };
        let source = opened.as_ref().map_err(|error| format!("{location} cannot be read: {error}"))?;
        let len = len.unwrap_or_else(|| source.len().saturating_sub(offset));
        if offset.checked_add(len).is_none_or(|end| end > source.len()) {
            return Err(format!("it reaches past the end of {location}"));
        }
        let window = Window::new(source.as_ref(), offset, len);
        let (digests, _) = pass(&window, &Plan::default(), self.watch).map_err(|error| format!("{location}: {error}"))?;
        Ok((len, digests))
    }
}
