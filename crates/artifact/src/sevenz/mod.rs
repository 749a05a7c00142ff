//! 7z archives: names, links, encryption and bombs by the header; members through the capped decoders where they are stored,
//! LZMA, LZMA2, deflate, bzip2 or zstd, with or without filters behind, or joined by BCJ2.

mod coders;
mod limits;
mod parser;
#[cfg(test)]
mod tests;

use crate::Format;
use crate::path;
use crate::report::Finding;
use crate::rules;
use crate::scan::{Claim, Place, Scan, examine};
use coders::{Way, way};
use limits::{BOMB_RATIO, HEADER_BYTES_MAX, HEADERS_MAX};
use parser::{File, Folder, Header, Parsed, Streams};
use picket_bounded::{BoundedError, Ending, MemorySource, Reader, Source, Window, crc32, decode_steps, read_range};
use std::collections::HashSet;

/// The signature header: everything else is counted from its end.
const START: u64 = 32;
/// Unix mode in the upper half of the attributes, where this bit is set.
const UNIX: u32 = 0x8000;

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
    let folder = streams.folders.first()?;
    let (packed, _) = windows(source, START.checked_add(streams.packed_start)?, folder, &mut streams.packed_sizes.iter());
    let Way::Decode(steps) = way(folder, &packed) else { return None };
    let decoded = decode_steps(&steps, &mut scan.budget);
    scan.budget.release(decoded.bytes.len() as u64);
    (decoded.bytes.len() as u64 >= folder.size() && folder.size() <= HEADER_BYTES_MAX).then_some(decoded.bytes)
}

/// A folder's packed streams, which stand one behind another from `start`, and the bytes that they should have.
fn windows<'s>(source: &'s dyn Source, start: u64, folder: &Folder, sizes: &mut std::slice::Iter<'_, u64>) -> (Vec<Window<'s>>, u64) {
    let (mut windows, mut length) = (Vec::new(), 0_u64);
    for size in sizes.take(folder.packed.len()) {
        windows.push(Window::new(source, start.saturating_add(length), *size));
        length = length.saturating_add(*size);
    }
    (windows, length)
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

fn bodies(scan: &mut Scan<'_>, source: &dyn Source, place: &Place, header: &Header) {
    let mut packed = header.streams.packed_sizes.iter();
    let mut start = START.saturating_add(header.streams.packed_start);
    let mut files = header.files.iter().filter(|file| file.has_stream);
    for folder in &header.streams.folders {
        let (windows, length) = windows(source, start, folder, &mut packed);
        if windows.iter().map(Source::len).sum::<u64>() < length {
            scan.incomplete(place, "the archive ends inside its packed data");
        }
        start = start.saturating_add(length);
        let members: Vec<&File> = files.by_ref().take(folder.files.len()).collect();
        unpack(scan, &windows, place, folder, &members);
    }
}

fn unpack(scan: &mut Scan<'_>, packed: &[Window<'_>], place: &Place, folder: &Folder, members: &[&File]) {
    let first = members.first().map_or("", |file| file.name.as_str());
    let inside = place.inside(first);
    match way(folder, packed) {
        Way::Stored(window) => each(scan, &window, place, folder, members),
        Way::Encrypted => {
            scan.incomplete(&inside, "the member is encrypted");
            scan.add(Finding::new(&rules::ENCRYPTED, &inside.member, format!("{first} is encrypted, so that no scanner reads it.")).at(place.base));
        }
        Way::Unread => scan.incomplete(&inside, "packed by a method that is not read"),
        Way::Decode(steps) => {
            let decoded = decode_steps(&steps, &mut scan.budget);
            let length = decoded.bytes.len() as u64;
            match &decoded.ending {
                Ending::Complete => {}
                Ending::Capped => {
                    scan.incomplete(&inside, "unpacks to more than the limit");
                    let from: u64 = packed.iter().map(Source::len).sum();
                    if from.saturating_mul(BOMB_RATIO) < length {
                        let explanation = format!("{from} bytes unpack to more than {length}.");
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
