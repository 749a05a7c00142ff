//! Decompression under a cap.

use crate::lzf::LzfReader;
use crate::{Budget, Cursor, Source};
use lzma_rust2::filter::{bcj::BcjReader, delta::DeltaReader};
use std::io::{self, Read};

/// Memory a decoder may take for its dictionary. `xz -9` needs 64 MiB; a header can ask for 4 GiB.
pub const DICTIONARY_BYTES_MAX: u64 = 128 << 20;

/// The inflated bytes are handed out in runs of this size so that the clock is looked at between them.
const RUN_BYTES: u64 = 1 << 20;

/// A compressed form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// Raw deflate, as in zip.
    Deflate,
    /// Deflate with the two-byte zlib header.
    Zlib,
    /// One gzip member; more may follow.
    Gzip,
    /// One bzip2 stream; more may follow.
    Bzip2,
    /// One xz stream.
    Xz,
    /// The older `.lzma` form: 13 bytes of header, then LZMA1.
    LzmaAlone,
    /// Zip method 14: four bytes, then LZMA properties, then LZMA1 of known or marked end.
    LzmaZip {
        /// Inflated size from the directory.
        size: u64,
    },
    /// LZMA1 without any header, as in 7z.
    LzmaRaw {
        /// Inflated size from the archive's header.
        size: u64,
        /// Literal and position bits, then the dictionary's size.
        properties: [u8; 5],
    },
    /// LZMA2 without any header, as in 7z.
    Lzma2 {
        /// The dictionary's size as its one byte of properties.
        dictionary: u8,
    },
    /// One zstd frame.
    Zstd,
    /// One lz4 frame.
    Lz4,
    /// LZF without any header, which ends with its input.
    Lzf,
}

/// A reversible change that archivers make before they compress, so that similar bytes look alike. It keeps the length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// Differences to the byte so many before.
    Delta(u8),
    /// Targets of branches of x86 programs.
    X86,
    /// Of PowerPC programs, big-endian.
    PowerPc,
    /// Of IA-64 programs.
    Ia64,
    /// Of 32-bit ARM programs.
    Arm,
    /// Of ARM Thumb programs.
    ArmThumb,
    /// Of 64-bit ARM programs.
    Arm64,
    /// Of SPARC programs.
    Sparc,
    /// Of RISC-V programs.
    RiscV,
}

/// How a decoder stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// At the end that the stream itself marks.
    Complete,
    /// At the cap: more would have come.
    Capped,
    /// The bytes contradict the format, or end early; what came before is kept.
    Broken(String),
    /// The scan's time is up.
    OutOfTime,
}

/// What a decoder produced.
#[derive(Clone, Debug)]
pub struct Decoded {
    /// The inflated bytes, at most the cap.
    pub bytes: Vec<u8>,
    /// How many compressed bytes were consumed. The LZMA1 decoder reads ahead: for [`Codec::LzmaAlone`] and [`Codec::LzmaZip`]
    /// this may include bytes that follow the stream.
    pub consumed: u64,
    /// Why it stopped.
    pub ending: Ending,
}

/// Inflates one stream that begins at the first byte of `input`.
///
/// The output is at most [`Budget::inflate_cap`] and is paid from the budget; who drops it gives its room back with
/// [`Budget::release`]. Never fails: what was decoded before an error is
/// what a loader may have acted on, so it is returned beside the reason.
pub fn decode(codec: Codec, input: &dyn Source, budget: &mut Budget) -> Decoded {
    decode_steps(&[Step::Packed(codec, input)], budget)
}

/// One of the coders that bytes went through.
///
/// Steps stand in the order in which a stack takes them: each puts its stream on top, after it took from there what it reads.
/// So a chain is a list, a tree of coders as 7z has them is one as well, and reading either needs no recursion.
#[derive(Clone, Copy)]
pub enum Step<'s> {
    /// Bytes as they stand.
    Stored(&'s dyn Source),
    /// What a packed stream unpacks to.
    Packed(Codec, &'s dyn Source),
    /// The stream on top, with this change taken back.
    Filtered(Filter),
    /// x86 programs of which the targets of branches were split off: takes four streams, which were put there in the order of the
    /// rest, targets of calls, targets of jumps, and which of them were split off, range-coded.
    Bcj2 {
        /// Bytes of the program.
        size: u64,
    },
}

/// Decodes what one or several streams were made of by a chain or a tree of coders.
///
/// Cap and budget are as in [`decode`]; the dictionaries of all streams together are at most [`DICTIONARY_BYTES_MAX`].
/// `consumed` is the sum over all streams.
pub fn decode_steps(steps: &[Step<'_>], budget: &mut Budget) -> Decoded {
    let mut cursors: Vec<Cursor<'_>> = steps
        .iter()
        .filter_map(|step| match step {
            Step::Stored(source) | Step::Packed(_, source) => Some(Cursor::new(*source)),
            Step::Filtered(_) | Step::Bcj2 { .. } => None,
        })
        .collect();
    let cap = budget.inflate_cap();
    let mut bytes = Vec::new();
    let ending = match open_steps(steps, &mut cursors) {
        Ok(mut stream) => drain(stream.as_mut(), cap, &mut bytes, budget),
        Err(error) => Ending::Broken(error.to_string()),
    };
    budget.spent_inflating(bytes.len() as u64);
    Decoded { bytes, consumed: cursors.iter().map(Cursor::position).sum(), ending }
}

fn open_steps<'c>(steps: &[Step<'_>], cursors: &'c mut [Cursor<'_>]) -> io::Result<Box<dyn Read + 'c>> {
    let missing = || io::Error::other("a coder without what it reads");
    let window_max = share(steps)?;
    let mut cursors = cursors.iter_mut();
    let mut stack: Vec<Box<dyn Read + 'c>> = Vec::new();
    for step in steps {
        let stream: Box<dyn Read + 'c> = match step {
            Step::Stored(_) => Box::new(cursors.next().ok_or_else(missing)?),
            Step::Packed(codec, _) => open(*codec, cursors.next().ok_or_else(missing)?, window_max)?,
            Step::Filtered(filter) => unfiltered(stack.pop().ok_or_else(missing)?, *filter),
            Step::Bcj2 { size } => {
                let first = stack.len().checked_sub(4).ok_or_else(missing)?;
                Box::new(lzma_rust2::filter::bcj2::Bcj2Reader::try_new(stack.split_off(first), *size)?)
            }
        };
        stack.push(stream);
    }
    let whole = stack.pop().ok_or_else(missing)?;
    if stack.is_empty() { Ok(whole) } else { Err(io::Error::other("a stream that no coder reads")) }
}

/// What a stream whose header asks for a window may have of [`DICTIONARY_BYTES_MAX`]. Several streams share it: four of a folder
/// that each held one of the largest would be half a gibibyte.
fn share(steps: &[Step<'_>]) -> io::Result<u64> {
    let packed = || steps.iter().filter_map(|step| if let Step::Packed(codec, _) = step { Some(*codec) } else { None });
    let window_max = if packed().count() > 1 { DICTIONARY_BYTES_MAX / 2 } else { DICTIONARY_BYTES_MAX };
    let mut together = 0_u64;
    for codec in packed() {
        together = together.saturating_add(match codec {
            Codec::LzmaRaw { properties: [_, a, b, c, d], .. } => u32::from_le_bytes([a, b, c, d]).into(),
            Codec::Lzma2 { dictionary } => lzma2_dictionary(dictionary)?.into(),
            Codec::Deflate | Codec::Zlib | Codec::Gzip | Codec::Bzip2 | Codec::Lz4 | Codec::Lzf => 0,
            Codec::Xz | Codec::LzmaAlone | Codec::LzmaZip { .. } | Codec::Zstd => window_max,
        });
    }
    // A stream alone is refused by its own decoder, with the reason.
    if packed().count() > 1 && together > DICTIONARY_BYTES_MAX {
        return Err(io::Error::other("the dictionaries of all streams are together above the limit"));
    }
    Ok(window_max)
}

fn lzma2_dictionary(step: u8) -> io::Result<u32> {
    // Sizes step by a factor of 3/2 and 4/3: 4 KiB, 6 KiB, 8 KiB, …
    let size = (2 | u64::from(step & 1)).checked_shl(u32::from(step / 2) + 11).filter(|_| step <= 40);
    size.and_then(|size| u32::try_from(size).ok()).ok_or_else(|| io::Error::other("lzma2 dictionary of an impossible size"))
}

/// Inflates one stream and hands it out run by run: memory stays at one run whatever the size, so the cap is only about work.
///
/// Returns how many bytes were handed out and why it stopped; `sink` returns false to stop, which reads as [`Ending::OutOfTime`].
pub fn decode_into(codec: Codec, input: &dyn Source, cap: u64, sink: &mut dyn FnMut(&[u8]) -> bool) -> (u64, Ending) {
    let mut cursor = Cursor::new(input);
    let mut stream = match open(codec, &mut cursor, DICTIONARY_BYTES_MAX) {
        Ok(stream) => stream,
        Err(error) => return (0, Ending::Broken(error.to_string())),
    };
    let (mut total, mut run) = (0_u64, Vec::new());
    loop {
        run.clear();
        // One byte above the cap tells a stream that ends there from one that goes on.
        let wanted = RUN_BYTES.min(cap.saturating_sub(total).saturating_add(1));
        let outcome = stream.as_mut().take(wanted).read_to_end(&mut run);
        if total.saturating_add(run.len() as u64) > cap {
            return (total, Ending::Capped);
        }
        total += run.len() as u64;
        if !sink(&run) {
            return (total, Ending::OutOfTime);
        }
        match outcome {
            Ok(read) if (read as u64) < wanted => return (total, Ending::Complete),
            Ok(_) => {}
            Err(error) => return (total, Ending::Broken(error.to_string())),
        }
    }
}

fn open<'c>(codec: Codec, cursor: &'c mut Cursor<'_>, window_max: u64) -> io::Result<Box<dyn Read + 'c>> {
    let dictionary_kib = u32::try_from(window_max >> 10).unwrap_or(u32::MAX);
    Ok(match codec {
        Codec::Deflate => Box::new(flate2::bufread::DeflateDecoder::new(cursor)),
        Codec::Zlib => Box::new(flate2::bufread::ZlibDecoder::new(cursor)),
        Codec::Gzip => Box::new(flate2::bufread::GzDecoder::new(cursor)),
        Codec::Bzip2 => Box::new(bzip2::bufread::BzDecoder::new(cursor)),
        Codec::Xz => Box::new(lzma_rust2::XzReader::new_mem_limit(cursor, false, dictionary_kib)),
        Codec::LzmaAlone => Box::new(lzma_rust2::LzmaReader::new_mem_limit(cursor, dictionary_kib, None)?),
        Codec::LzmaZip { size } => {
            // Two bytes of encoder version, two of property length (5), then the properties: APPNOTE 5.8.8.
            let mut header = [0; 9];
            cursor.read_exact(&mut header)?;
            let [_, _, length, 0, properties, a, b, c, d] = header else { return Err(io::Error::other("lzma properties longer than five bytes")) };
            if length != 5 {
                return Err(io::Error::other("lzma properties are not five bytes"));
            }
            lzma(cursor, size, [properties, a, b, c, d])?
        }
        Codec::LzmaRaw { size, properties } => lzma(cursor, size, properties)?,
        Codec::Lzma2 { dictionary } => {
            let size = lzma2_dictionary(dictionary)?;
            Box::new(lzma_rust2::Lzma2Reader::new_mem_limit(cursor, size, dictionary_kib.saturating_add(1024), None)?)
        }
        Codec::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(cursor)?.single_frame();
            decoder.window_log_max(window_max.ilog2())?;
            Box::new(decoder)
        }
        Codec::Lz4 => Box::new(lz4_flex::frame::FrameDecoder::new(cursor)),
        Codec::Lzf => Box::new(LzfReader::new(cursor)),
    })
}

fn unfiltered<'c>(stream: Box<dyn Read + 'c>, filter: Filter) -> Box<dyn Read + 'c> {
    match filter {
        Filter::Delta(distance) => Box::new(DeltaReader::new(stream, distance.into())),
        Filter::X86 => Box::new(BcjReader::new_x86(stream, 0)),
        Filter::PowerPc => Box::new(BcjReader::new_ppc(stream, 0)),
        Filter::Ia64 => Box::new(BcjReader::new_ia64(stream, 0)),
        Filter::Arm => Box::new(BcjReader::new_arm(stream, 0)),
        Filter::ArmThumb => Box::new(BcjReader::new_arm_thumb(stream, 0)),
        Filter::Arm64 => Box::new(BcjReader::new_arm64(stream, 0)),
        Filter::Sparc => Box::new(BcjReader::new_sparc(stream, 0)),
        Filter::RiscV => Box::new(BcjReader::new_riscv(stream, 0)),
    }
}

fn lzma<'c>(cursor: &'c mut Cursor<'_>, size: u64, [properties, a, b, c, d]: [u8; 5]) -> io::Result<Box<dyn Read + 'c>> {
    let dictionary = u32::from_le_bytes([a, b, c, d]);
    if u64::from(dictionary) > DICTIONARY_BYTES_MAX {
        return Err(io::Error::other("lzma dictionary above the limit"));
    }
    Ok(Box::new(lzma_rust2::LzmaReader::new_with_props(cursor, size, properties, dictionary, None)?))
}

fn drain(stream: &mut dyn Read, cap: u64, bytes: &mut Vec<u8>, budget: &Budget) -> Ending {
    loop {
        if budget.check_time().is_err() {
            return Ending::OutOfTime;
        }
        let left = cap.saturating_sub(bytes.len() as u64);
        if left == 0 {
            // One byte more tells a stream that ends exactly at the cap from one that goes on.
            let mut probe = [0];
            return match stream.read(&mut probe) {
                Ok(0) => Ending::Complete,
                Ok(_) => Ending::Capped,
                Err(error) => Ending::Broken(error.to_string()),
            };
        }
        let run = left.min(RUN_BYTES);
        // Doubling would overshoot the cap: room grows by half, and never beyond what may be kept.
        if bytes.capacity() - bytes.len() < usize::try_from(run).unwrap_or(usize::MAX) {
            let more = left.min(run.max(bytes.len() as u64 / 2));
            bytes.reserve_exact(usize::try_from(more).unwrap_or(usize::MAX));
        }
        match stream.take(run).read_to_end(bytes) {
            // Not asked again after its end: an lz4 decoder would take what follows for another frame.
            Ok(read) if (read as u64) < run => return Ending::Complete,
            Ok(_) => {}
            Err(error) => return Ending::Broken(error.to_string()),
        }
    }
}
