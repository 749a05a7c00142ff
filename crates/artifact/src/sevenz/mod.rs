//! 7z archives: names, links, encryption and bombs by the header; members through the capped decoders where they are stored,
//! LZMA, LZMA2, deflate, bzip2 or zstd, with or without filters behind.

mod limits;
mod parser;

use crate::Format;
use crate::path;
use crate::report::Finding;
use crate::rules;
use crate::scan::{Claim, Place, Scan, examine};
use limits::{BOMB_RATIO, HEADER_BYTES_MAX, HEADERS_MAX};
use parser::{Coder, File, Folder, Header, Parsed, Streams};
use picket_bounded::{BoundedError, Codec, Ending, Filter, MemorySource, Reader, Source, Window, crc32, decode_filtered, read_range};
use std::collections::HashSet;

/// The signature header: everything else is counted from its end.
const START: u64 = 32;
/// Unix mode in the upper half of the attributes, where this bit is set.
const UNIX: u32 = 0x8000;
const COPY: u64 = 0;
const AES: u64 = 0x06f1_0701;

pub(crate) fn examine_sevenz(scan: &mut Scan<'_>, source: &dyn Source, place: &Place) -> Claim {
    let whole = Claim { format: Format::SevenZip, end: source.len() };
    let (header, end) = match header(scan, source) {
        Ok(Some(read)) => read,
        Ok(None) => {
            scan.incomplete(place, "the archive's directory is encrypted or packed by what is not read");
            scan.add(Finding::new(&rules::ENCRYPTED, &place.member, "The archive hides even the names of its members.").at(place.base));
            return whole;
        }
        Err(error) => {
            if !matches!(error, BoundedError::Io(_) | BoundedError::LimitExceeded { .. } | BoundedError::Unsupported(_)) {
                let explanation = format!("The 7z structure is broken: {error}.");
                scan.add(Finding::new(&rules::ARCHIVE_MALFORMED, &place.member, explanation).at(place.base));
            }
            scan.failed(place, &error);
            return whole;
        }
    };
    names(scan, place, &header.files);
    bodies(scan, source, place, &header);
    Claim { format: Format::SevenZip, end }
}

/// The directory and where the archive ends; nothing where it cannot be unpacked.
fn header(scan: &mut Scan<'_>, source: &dyn Source) -> Result<Option<(Header, u64)>, BoundedError> {
    let start = read_range(source, 0, START, START)?;
    let mut reader = Reader::new(&start);
    reader.skip(12)?;
    let (offset, size, crc) = (reader.u64_le()?, reader.u64_le()?, reader.u32_le()?);
    let at = START.checked_add(offset).ok_or(BoundedError::Malformed("the header lies beyond what 64 bits can address"))?;
    if size == 0 {
        return Ok(Some((Header::default(), at)));
    }
    let end = at.saturating_add(size);
    let mut bytes = read_range(source, at, size, HEADER_BYTES_MAX)?;
    if crc32(&bytes) != crc {
        return Err(BoundedError::Malformed("the header's checksum is wrong"));
    }
    for _ in 0..HEADERS_MAX {
        match parser::parse(&bytes, scan.options.limits.members)? {
            Parsed::Header(header) => return Ok(Some((header, end))),
            Parsed::Packed(streams) => match unpacked_header(scan, source, &streams) {
                Some(inner) => bytes = inner,
                None => return Ok(None),
            },
        }
    }
    Err(BoundedError::LimitExceeded { what: "headers packed inside one another", limit: HEADERS_MAX.into() })
}

fn unpacked_header(scan: &mut Scan<'_>, source: &dyn Source, streams: &Streams) -> Option<Vec<u8>> {
    let (folder, packed) = (streams.folders.first()?, *streams.packed_sizes.first()?);
    let window = Window::new(source, START.checked_add(streams.packed_start)?, packed);
    let Way::Decode(codec, filters) = way(folder) else { return None };
    let decoded = decode_filtered(codec, &filters, &window, &mut scan.budget);
    scan.budget.release(decoded.bytes.len() as u64);
    (decoded.bytes.len() as u64 >= folder.size() && folder.size() <= HEADER_BYTES_MAX).then_some(decoded.bytes)
}

fn names(scan: &mut Scan<'_>, place: &Place, files: &[File]) {
    let mut seen = HashSet::new();
    for file in files {
        let name = &file.name;
        let found = |rule, explanation: String| Finding::new(rule, &place.member, explanation).at(place.base).key(name);
        if path::escapes(name) {
            scan.add(found(&rules::TRAVERSAL, format!("Unpacking would write {name}, which lies outside the target folder.")));
        }
        if file.has_stream && !seen.insert(path::normal(name)) {
            scan.add(found(&rules::DUPLICATE_MEMBER, format!("{name} exists twice; which one is loaded depends on the reader.")));
        }
    }
}

/// How a folder is unpacked.
enum Way {
    Stored,
    Decode(Codec, Vec<Filter>),
    Encrypted,
    /// By a coder, or a chain of them, that is not read.
    Unread,
}

fn way(folder: &Folder) -> Way {
    if folder.coders.iter().any(|coder| coder.id == AES) {
        return Way::Encrypted;
    }
    let Some(chain) = folder.chain() else { return Way::Unread };
    let Some(((coder, size), rest)) = chain.split_first() else { return Way::Unread };
    let Some(filters) = rest.iter().map(|(coder, _)| filter(coder)).collect::<Option<Vec<_>>>() else { return Way::Unread };
    let codec = match (coder.id, coder.properties.as_slice()) {
        (COPY, _) if filters.is_empty() => return Way::Stored,
        (0x21, [dictionary]) => Codec::Lzma2 { dictionary: *dictionary },
        (0x03_01_01, [a, b, c, d, e]) => Codec::LzmaRaw { size: *size, properties: [*a, *b, *c, *d, *e] },
        (0x04_01_08, _) => Codec::Deflate,
        (0x04_02_02, _) => Codec::Bzip2,
        (0x04_f7_11_01, _) => Codec::Zstd,
        _ => return Way::Unread,
    };
    Way::Decode(codec, filters)
}

/// Filters by their numbers, old and new; one that starts elsewhere than at the beginning is not taken for another.
fn filter(coder: &Coder) -> Option<Filter> {
    Some(match (coder.id, coder.properties.as_slice()) {
        (0x03, [distance]) => Filter::Delta(distance.wrapping_add(1)),
        (0x04 | 0x03_03_01_03, []) => Filter::X86,
        (0x05 | 0x03_03_02_05, []) => Filter::PowerPc,
        (0x06 | 0x03_03_04_01, []) => Filter::Ia64,
        (0x07 | 0x03_03_05_01, []) => Filter::Arm,
        (0x08 | 0x03_03_07_01, []) => Filter::ArmThumb,
        (0x09 | 0x03_03_08_05, []) => Filter::Sparc,
        (0x0a, []) => Filter::Arm64,
        (0x0b, []) => Filter::RiscV,
        _ => return None,
    })
}

fn bodies(scan: &mut Scan<'_>, source: &dyn Source, place: &Place, header: &Header) {
    let mut packed = header.streams.packed_sizes.iter();
    let mut start = START.saturating_add(header.streams.packed_start);
    let mut files = header.files.iter().filter(|file| file.has_stream);
    for folder in &header.streams.folders {
        let sizes: Vec<u64> = packed.by_ref().take(usize::try_from(folder.packed_streams).unwrap_or(0)).copied().collect();
        let length = sizes.iter().fold(0_u64, |sum, size| sum.saturating_add(*size));
        let window = Window::new(source, start, length);
        if window.len() < length {
            scan.incomplete(place, "the archive ends inside its packed data");
        }
        start = start.saturating_add(length);
        let members: Vec<&File> = files.by_ref().take(folder.files.len()).collect();
        unpack(scan, &window, place, folder, &members);
    }
}

fn unpack(scan: &mut Scan<'_>, packed: &Window<'_>, place: &Place, folder: &Folder, members: &[&File]) {
    let first = members.first().map_or("", |file| file.name.as_str());
    let inside = place.inside(first);
    match way(folder) {
        Way::Stored => each(scan, packed, place, folder, members),
        Way::Encrypted => {
            scan.incomplete(&inside, "the member is encrypted");
            scan.add(Finding::new(&rules::ENCRYPTED, &inside.member, format!("{first} is encrypted, so that no scanner reads it.")).at(place.base));
        }
        Way::Unread => scan.incomplete(&inside, "packed by a method that is not read"),
        Way::Decode(codec, filters) => {
            let decoded = decode_filtered(codec, &filters, packed, &mut scan.budget);
            let length = decoded.bytes.len() as u64;
            match &decoded.ending {
                Ending::Complete => {}
                Ending::Capped => {
                    scan.incomplete(&inside, "unpacks to more than the limit");
                    if packed.len().saturating_mul(BOMB_RATIO) < length {
                        let explanation = format!("{} bytes unpack to more than {length}.", packed.len());
                        scan.add(Finding::new(&rules::BOMB, &inside.member, explanation).at(place.base));
                    }
                }
                // The decoder's end of a folder is its size, which the loop over the members checks.
                Ending::Broken(_) if length >= folder.size() => {}
                Ending::Broken(why) => {
                    scan.incomplete(&inside, &format!("cannot be unpacked whole: {why}"));
                    let explanation = format!("The packed data is broken after {length} bytes: {why}.");
                    scan.add(Finding::new(&rules::ARCHIVE_MALFORMED, &inside.member, explanation).at(place.base));
                }
                Ending::OutOfTime => scan.incomplete(&inside, "the time for this file is up"),
            }
            each(scan, &MemorySource::new(decoded.bytes), place, folder, members);
            scan.budget.release(length);
        }
    }
}

/// The members of a folder, one behind the other.
fn each(scan: &mut Scan<'_>, body: &dyn Source, place: &Place, folder: &Folder, members: &[&File]) {
    let mut start = 0_u64;
    for (file, (size, crc)) in members.iter().zip(&folder.files) {
        let inside = place.inside(&file.name);
        let window = Window::new(body, start, *size);
        start = start.saturating_add(*size);
        if window.len() < *size {
            scan.incomplete(&inside, "the archive ends inside this member");
        }
        checksum(scan, &inside, &window, *crc);
        link(scan, place, file, &window);
        examine(scan, &window, &inside);
    }
}

/// The checksum of small members; tensors are not read for it.
const CRC_BYTES_MAX: u64 = 4 << 20;

fn checksum(scan: &mut Scan<'_>, inside: &Place, window: &Window<'_>, crc: Option<u32>) {
    let Some(crc) = crc.filter(|_| window.len() <= CRC_BYTES_MAX) else { return };
    if read_range(window, 0, window.len(), CRC_BYTES_MAX).is_ok_and(|bytes| crc32(&bytes) != crc) {
        scan.add(Finding::new(&rules::BAD_CRC, &inside.member, "The member's checksum is wrong: strict readers refuse it.").at(0));
    }
}

fn link(scan: &mut Scan<'_>, place: &Place, file: &File, window: &Window<'_>) {
    if file.attributes & UNIX == 0 || file.attributes >> 16 & 0o170_000 != 0o120_000 {
        return;
    }
    let target = read_range(window, 0, window.len().min(4096), 4096).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let parent = file.name.rsplit_once('/').map_or("", |(parent, _)| parent);
    if target.starts_with('/') || path::escapes(format!("{parent}/{target}").trim_start_matches('/')) {
        let explanation = format!("{} is a link to {target}, outside the target folder.", file.name);
        scan.add(Finding::new(&rules::LINK_OUTSIDE, &place.member, explanation).at(place.base).key(&file.name));
    }
}
