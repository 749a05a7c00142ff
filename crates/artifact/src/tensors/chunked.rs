//! Tensors in chunks: equal boxes of a grid, each packed on its own, put together again in the order of their elements.

use super::Run;
use picket_bounded::{Codec, Ending, Source, Window, decode_into, read_range};

/// A tensor that is cut in boxes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunked {
    /// Elements along each dimension.
    pub shape: Vec<u64>,
    /// Bytes of an element.
    pub element: u64,
    /// Elements of a chunk along each dimension; those beyond the tensor's edge are filling.
    pub chunk: Vec<u64>,
    /// What each chunk went through, in the order of the writer.
    pub filters: Vec<ChunkFilter>,
    /// Bytes of an element whose chunk was never written; zeros where there are none.
    pub fill: Vec<u8>,
    /// Those that were written, by their numbers.
    pub chunks: Vec<Chunk>,
}

/// One box.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Its number, counted along the last dimension first.
    pub index: u64,
    /// Where it stands in the file, packed.
    pub run: Run,
    /// Filters that were left out of this one, a bit each.
    pub mask: u32,
}

/// A change that a chunk's bytes went through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChunkFilter {
    /// A stream of this form.
    Packed(Codec),
    /// The first bytes of all elements, of so many bytes, then the second ones, and so on.
    Shuffle(u64),
    /// A checksum of four bytes at the end.
    Fletcher32,
    /// One that is not read, by its registered number.
    Unread(u16),
}

/// Why chunks do not give a tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ChunkError {
    pub(crate) why: String,
    /// The bytes contradict what the file says of them.
    pub(crate) broken: bool,
}

/// What may be held while a tensor is put together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ChunkLimits {
    /// One chunk, packed or not.
    pub(crate) chunk_bytes: u64,
    /// All chunks along the first dimension's next step.
    pub(crate) band_bytes: u64,
}

/// The best that deflate does is 1032 bytes of one; nobody packs weights so.
const RATIO_MAX: u64 = 1100;
/// Tensors that were made and not yet filled.
const UNWRITTEN_BYTES_MAX: u64 = 1 << 20;

fn broken<T>(why: impl Into<String>) -> Result<T, ChunkError> {
    Err(ChunkError { why: why.into(), broken: true })
}

fn unread<T>(why: impl Into<String>) -> Result<T, ChunkError> {
    Err(ChunkError { why: why.into(), broken: false })
}

impl Chunked {
    /// Bytes of all elements, where 64 bits can tell.
    #[must_use]
    pub fn bytes(&self) -> Option<u64> {
        self.shape.iter().try_fold(self.element, |product, length| product.checked_mul(*length))
    }

    /// Hands over all elements in their order, a band of chunks at a time. `spend` is told of bytes before they are made, `sink` gets
    /// them; either returns false to stop.
    pub(crate) fn rows(
        &self,
        source: &dyn Source,
        limits: ChunkLimits,
        spend: &mut dyn FnMut(u64) -> bool,
        sink: &mut dyn FnMut(&[u8]) -> bool,
    ) -> Result<(), ChunkError> {
        let Some(bytes) = self.bytes().filter(|_| self.sound()) else { return broken("its chunks do not fit its extents") };
        let stored = self.chunks.iter().fold(0_u64, |sum, chunk| sum.saturating_add(chunk.run.len));
        if bytes > stored.saturating_mul(RATIO_MAX).saturating_add(UNWRITTEN_BYTES_MAX) {
            return unread(format!("it has {bytes} bytes of elements and {stored} in the file: most were never written"));
        }
        if bytes == 0 {
            return Ok(());
        }
        let (Some(first), Some(chunk)) = (self.shape.first().copied(), self.chunk.first().copied()) else { return Ok(()) };
        let row = bytes / first;
        // Chunks along all dimensions but the first.
        let across: u64 = self.shape.iter().zip(&self.chunk).skip(1).map(|(length, chunk)| length.div_ceil(*chunk)).product();
        let mut chunks = self.chunks.iter().peekable();
        let (mut start, mut number) = (0_u64, 0_u64);
        while start < first {
            let count = chunk.min(first - start);
            let Some(length) = count.checked_mul(row).filter(|length| *length <= limits.band_bytes) else {
                return unread("a row of its chunks is larger than the limit");
            };
            if !spend(length) {
                return unread("the time or the steps for this file are used up");
            }
            let mut band = self.filling(length);
            number = number.saturating_add(across);
            while let Some(chunk) = chunks.next_if(|chunk| chunk.index < number) {
                let bytes = self.unpack(source, chunk, limits, spend)?;
                self.place(&bytes, chunk.index % across, count, &mut band);
            }
            if !sink(&band) {
                return Ok(());
            }
            start += count;
        }
        Ok(())
    }

    /// Dimensions agree, and the grid can be counted.
    fn sound(&self) -> bool {
        let counts =
            self.shape.iter().zip(&self.chunk).try_fold(1_u64, |product, (length, chunk)| product.checked_mul(length.checked_div(*chunk)?.checked_add(1)?));
        !self.shape.is_empty() && self.shape.len() == self.chunk.len() && !self.chunk.contains(&0) && self.element > 0 && counts.is_some()
    }

    fn filling(&self, length: u64) -> Vec<u8> {
        let length = usize::try_from(length).unwrap_or(0);
        if self.fill.is_empty() || self.fill.len() as u64 != self.element {
            return vec![0; length];
        }
        self.fill.iter().copied().cycle().take(length).collect()
    }

    /// The bytes of one chunk, with its filters taken back.
    fn unpack(&self, source: &dyn Source, chunk: &Chunk, limits: ChunkLimits, spend: &mut dyn FnMut(u64) -> bool) -> Result<Vec<u8>, ChunkError> {
        let nominal = self.chunk.iter().try_fold(self.element, |product, length| product.checked_mul(*length)).unwrap_or(u64::MAX);
        if nominal > limits.chunk_bytes || chunk.run.len > limits.chunk_bytes.saturating_add(limits.chunk_bytes / 8) {
            return unread("one of its chunks is larger than the limit");
        }
        let window = Window::new(source, chunk.run.offset, chunk.run.len);
        if window.len() < chunk.run.len {
            return broken("one of its chunks reaches past the end of the file");
        }
        let mut bytes = match read_range(&window, 0, chunk.run.len, chunk.run.len) {
            Ok(bytes) => bytes,
            Err(error) => return unread(error.to_string()),
        };
        // Checksums add four bytes each to what is packed.
        let cap = nominal + 4 * self.filters.len() as u64;
        for (bit, filter) in self.filters.iter().enumerate().rev() {
            if chunk.mask.checked_shr(u32::try_from(bit).unwrap_or(u32::MAX)).unwrap_or(0) & 1 == 1 {
                continue;
            }
            bytes = match filter {
                ChunkFilter::Unread(id) => return unread(format!("its chunks are packed by the filter {id}, which is not read")),
                ChunkFilter::Shuffle(element) => unshuffled(&bytes, *element),
                ChunkFilter::Fletcher32 => checked(bytes)?,
                ChunkFilter::Packed(codec) => inflated(*codec, &bytes, cap, spend)?,
            };
        }
        if bytes.len() as u64 != nominal {
            return broken(format!("one of its chunks has {} bytes instead of {nominal}", bytes.len()));
        }
        Ok(bytes)
    }

    /// Copies the part of a chunk that lies inside the tensor. `number` counts along all dimensions but the first, `rows` are those of the band.
    fn place(&self, bytes: &[u8], number: u64, rows: u64, band: &mut [u8]) {
        let rank = self.shape.len();
        let (mut starts, mut spans, mut left) = (vec![0; rank], vec![rows; rank], number);
        for (dimension, (length, chunk)) in self.shape.iter().zip(&self.chunk).enumerate().skip(1).rev() {
            let count = length.div_ceil(*chunk).max(1);
            let start = left % count * chunk;
            left /= count;
            if let (Some(slot), Some(span)) = (starts.get_mut(dimension), spans.get_mut(dimension)) {
                (*slot, *span) = (start, (*chunk).min(length.saturating_sub(start)));
            }
        }
        let Some(run) = spans.last().map(|span| span.saturating_mul(self.element)) else { return };
        let mut at = vec![0_u64; rank];
        loop {
            let offset = |lengths: &[u64], starts: Option<&[u64]>| {
                let places = at.iter().zip(lengths).enumerate();
                places.fold(0_u64, |sum, (dimension, (at, length))| {
                    let start = starts.and_then(|starts| starts.get(dimension)).copied().unwrap_or(0);
                    // The first dimension's length plays no part.
                    if dimension == 0 { start + at } else { sum.saturating_mul(*length).saturating_add(start + at) }
                })
            };
            copy(bytes, offset(&self.chunk, None).saturating_mul(self.element), run, band, offset(&self.shape, Some(&starts)).saturating_mul(self.element));
            // The last dimension was copied in one run: the step is along the one before it.
            let mut dimension = rank.saturating_sub(1);
            loop {
                let Some(next) = dimension.checked_sub(1) else { return };
                dimension = next;
                let (Some(at), Some(span)) = (at.get_mut(dimension), spans.get(dimension)) else { return };
                *at += 1;
                if *at < *span {
                    break;
                }
                *at = 0;
            }
        }
    }
}

fn copy(from: &[u8], at: u64, length: u64, to: &mut [u8], place: u64) {
    let (Ok(at), Ok(length), Ok(place)) = (usize::try_from(at), usize::try_from(length), usize::try_from(place)) else { return };
    let from = from.get(at..).and_then(|rest| rest.get(..length));
    if let (Some(from), Some(to)) = (from, to.get_mut(place..).and_then(|rest| rest.get_mut(..length))) {
        to.copy_from_slice(from);
    }
}

fn inflated(codec: Codec, bytes: &[u8], cap: u64, spend: &mut dyn FnMut(u64) -> bool) -> Result<Vec<u8>, ChunkError> {
    let mut out = Vec::new();
    let (_, ending) = decode_into(codec, &bytes, cap, &mut |run| {
        out.extend_from_slice(run);
        spend(run.len() as u64)
    });
    match ending {
        Ending::Complete => Ok(out),
        Ending::Capped => broken("one of its chunks unpacks to more than its size"),
        Ending::Broken(why) => broken(format!("one of its chunks cannot be unpacked: {why}")),
        Ending::OutOfTime => unread("the time or the steps for this file are used up"),
    }
}

fn unshuffled(bytes: &[u8], element: u64) -> Vec<u8> {
    let element = usize::try_from(element).unwrap_or(usize::MAX);
    let Some(count) = bytes.len().checked_div(element).filter(|count| *count > 1 && element > 1) else { return bytes.to_vec() };
    let (whole, rest) = bytes.split_at(count * element);
    let mut out = vec![0; whole.len()];
    for (place, plane) in whole.chunks_exact(count).enumerate() {
        for (slot, byte) in out.iter_mut().skip(place).step_by(element).zip(plane) {
            *slot = *byte;
        }
    }
    out.extend_from_slice(rest);
    out
}

/// Without the checksum at the end, if it is right.
fn checked(mut bytes: Vec<u8>) -> Result<Vec<u8>, ChunkError> {
    let Some((data, stored)) = bytes.split_last_chunk::<4>() else { return broken("one of its chunks has no room for its checksum") };
    let (sum, stored) = (fletcher32(data), u32::from_le_bytes(*stored));
    // Releases before 1.6.3 wrote the bytes of each half the other way round on some machines.
    let swapped = (sum & 0x00ff_00ff) << 8 | (sum >> 8) & 0x00ff_00ff;
    if stored != sum && stored != swapped {
        return broken("the checksum of one of its chunks is wrong");
    }
    bytes.truncate(data.len());
    Ok(bytes)
}

/// As `H5_checksum_fletcher32` counts: halves of big-endian words, folded every 360 of them.
fn fletcher32(data: &[u8]) -> u32 {
    let fold = |sum: u32| (sum & 0xffff) + (sum >> 16);
    let (mut first, mut second) = (0_u32, 0_u32);
    let (words, odd) = data.as_chunks::<2>();
    for run in words.chunks(360) {
        for word in run {
            first += u32::from(u16::from_be_bytes(*word));
            second += first;
        }
        (first, second) = (fold(first), fold(second));
    }
    if let [last] = odd {
        first += u32::from(*last) << 8;
        second += first;
        (first, second) = (fold(first), fold(second));
    }
    (first, second) = (fold(first), fold(second));
    second << 16 | first
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: ChunkLimits = ChunkLimits { chunk_bytes: 1 << 20, band_bytes: 1 << 20 };

    fn joined(chunked: &Chunked, source: &[u8]) -> Result<Vec<u8>, ChunkError> {
        let mut out = Vec::new();
        chunked.rows(&source, LIMITS, &mut |_| true, &mut |band| {
            out.extend_from_slice(band);
            true
        })?;
        Ok(out)
    }

    fn number(bytes: usize) -> u64 {
        u64::try_from(bytes).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

        /// Element by element, each comes from the chunk and the place that arithmetic says.
        #[test]
        fn elements_come_from_their_chunks(sizes in prop::collection::vec((0_usize..7, 1_usize..4), 1..4), element in 1_usize..4, written in any::<u64>()) {
            let grid: Vec<usize> = sizes.iter().map(|(length, chunk)| length.div_ceil(*chunk)).collect();
            let nominal = sizes.iter().map(|(_, chunk)| chunk).product::<usize>() * element;
            let is_written = |index: usize| written >> (index % 64) & 1 == 1;
            let (mut file, mut chunks) = (Vec::new(), Vec::new());
            for index in (0..grid.iter().product()).filter(|index| is_written(*index)) {
                chunks.push(Chunk { index: number(index), run: Run { offset: number(file.len()), len: number(nominal) }, mask: 0 });
                file.extend((0..nominal).map(|at| u8::try_from((index * 31 + at) % 251).unwrap()));
            }
            let fill: Vec<u8> = (0..element).map(|at| 252 + u8::try_from(at).unwrap()).collect();
            let mut expected = Vec::new();
            for flat in 0..sizes.iter().map(|(length, _)| length).product::<usize>() {
                let (mut left, mut index, mut inside, mut chunk_step, mut grid_step) = (flat, 0, 0, 1, 1);
                for ((length, chunk), count) in sizes.iter().zip(&grid).rev() {
                    let at = left % length;
                    left /= length;
                    index += at / chunk * grid_step;
                    inside += at % chunk * chunk_step;
                    (grid_step, chunk_step) = (grid_step * count, chunk_step * chunk);
                }
                let bytes = (0..element).map(|at| if is_written(index) { u8::try_from((index * 31 + inside * element + at) % 251).unwrap() } else { fill[at] });
                expected.extend(bytes);
            }
            let (shape, chunk) = sizes.iter().map(|(length, chunk)| (number(*length), number(*chunk))).unzip();
            let chunked = Chunked { shape, element: number(element), chunk, filters: Vec::new(), fill, chunks };
            prop_assert_eq!(joined(&chunked, &file), Ok(expected));
        }

        #[test]
        fn any_chunks_end(shape in prop::collection::vec(prop_oneof![0_u64..20, any::<u64>()], 0..4), chunk in prop::collection::vec(prop_oneof![0_u64..6, any::<u64>()], 0..4), element in prop_oneof![0_u64..9, any::<u64>()], chunks in prop::collection::vec((0_u64..40, 0_u64..300, 0_u64..300, any::<u32>()), 0..12), filters in prop::collection::vec(0_u8..4, 0..4)) {
            let filters = filters.iter().map(|kind| match kind {
                0 => ChunkFilter::Packed(Codec::Zlib),
                1 => ChunkFilter::Shuffle(element),
                2 => ChunkFilter::Fletcher32,
                _ => ChunkFilter::Unread(32_000),
            });
            let mut chunks: Vec<Chunk> = chunks.into_iter().map(|(index, offset, len, mask)| Chunk { index, run: Run { offset, len }, mask }).collect();
            chunks.sort_unstable_by_key(|chunk| chunk.index);
            let chunked = Chunked { shape, element, chunk, filters: filters.collect(), fill: vec![1], chunks };
            if let Ok(bytes) = joined(&chunked, &[7; 256]) {
                prop_assert_eq!(Some(number(bytes.len())), chunked.bytes());
            }
        }
    }

    #[test]
    fn checksums_are_those_of_the_library() {
        // What HDF5 wrote behind "picket", and behind 1,001 sevens, which are folded twice and have an odd end.
        assert_eq!((fletcher32(b"picket"), fletcher32(&[7; 1001])), (0x7d87_3949, 0xfcf5_c0b9));
        assert_eq!(unshuffled(&[1, 3, 5, 2, 4, 6, 9], 2), [1, 2, 3, 4, 5, 6, 9]);
        assert!(checked(vec![1, 2, 3]).is_err() && checked(vec![1, 2, 3, 4, 5]).is_err());
    }
}
