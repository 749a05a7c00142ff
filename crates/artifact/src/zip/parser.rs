//! Zip structure by both of its descriptions: the directory at the end and the header before each member (APPNOTE 6.3.10).

use super::limits::{GAP_BYTES_MIN, GAP_SEARCH_BYTES, NAME_BYTES_MAX, TAIL_BYTES};
use picket_bounded::{BoundedError, Cursor, Reader, Source, read_range};

/// The end record and some of the directory before it.
const SHORT_TAIL_BYTES: u64 = 512;
/// A member's header with its name and padding, as a rule.
const HEADER_BYTES: usize = 256;
const LOCAL: u32 = 0x0403_4b50;
const CENTRAL: u32 = 0x0201_4b50;
const END: [u8; 4] = *b"PK\x05\x06";
const END64: u32 = 0x0606_4b50;
const LOCATOR64: u32 = 0x0706_4b50;

/// One member as one header describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) name: Vec<u8>,
    pub(super) method: u16,
    pub(super) flags: u16,
    pub(super) crc: u32,
    pub(super) compressed: u64,
    pub(super) size: u64,
}

impl Header {
    pub(super) fn encrypted(&self) -> bool {
        self.flags & 1 != 0
    }

    /// Sizes and checksum follow the data.
    pub(super) fn streamed(&self) -> bool {
        self.flags & 8 != 0
    }
}

/// One member as both headers describe it.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) header: Header,
    /// Absent when there is none at the place the directory names.
    pub(super) local: Option<Header>,
    /// Offset of the local header.
    pub(super) start: u64,
    /// Offset of the data.
    pub(super) data: u64,
    /// Unix mode bits, 0 when the archive was not made on Unix.
    pub(super) mode: u32,
    /// Not in the directory.
    pub(super) hidden: bool,
}

/// What the archive is made of.
#[derive(Debug, Default)]
pub(super) struct Archive {
    pub(super) entries: Vec<Entry>,
    /// Bytes before the archive that its own offsets do not count.
    pub(super) prefix: u64,
    /// End of the end record with its comment.
    pub(super) end: u64,
    /// What contradicts the format, with where.
    pub(super) faults: Vec<(u64, String)>,
    /// Bytes of no member: start and length.
    pub(super) gaps: Vec<(u64, u64)>,
    /// There is no directory; members come from their own headers.
    pub(super) without_directory: bool,
    /// Members beyond the limit were not read.
    pub(super) cut: bool,
}

struct End {
    at: u64,
    entries: u64,
    size: u64,
    offset: u64,
    comment: u64,
}

/// Offset of the last end record within the tail, if there is one that fits.
pub(crate) fn find_end(tail: &[u8], tail_start: u64) -> Option<u64> {
    let mut from = tail.len();
    while let Some(at) = tail.get(..from).and_then(|head| head.windows(4).rposition(|window| window == END)) {
        if tail.len() - at >= 22 {
            return Some(tail_start + at as u64);
        }
        from = at + 3;
    }
    None
}

/// Reads the structure; only I/O fails, everything else is a fault in the result.
pub(super) fn parse(source: &dyn Source, members_max: u64) -> Result<Archive, BoundedError> {
    let mut archive = Archive::default();
    // Without a comment, as a rule, the record is the last thing in the file.
    let (mut tail_start, mut tail, mut end) = read_tail(source, SHORT_TAIL_BYTES)?;
    if end.as_ref().is_none_or(|end| end.comment > 0) {
        (tail_start, tail, end) = read_tail(source, TAIL_BYTES)?;
    }
    let Some(end) = end else {
        archive.without_directory = true;
        archive.end = walk_locals(source, 0, source.len(), members_max, &mut archive)?;
        return Ok(archive);
    };
    archive.end = end.at.saturating_add(22).saturating_add(end.comment).min(source.len());
    let before = usize::try_from(end.at.saturating_sub(tail_start)).ok().and_then(|at| tail.get(..at)).unwrap_or_default();
    if end.comment > 0 && before.windows(4).any(|window| window == END) {
        archive.faults.push((end.at, "two end records compete: readers that search forward and backward see different archives".to_owned()));
    }
    read_directory(source, &end, members_max, &mut archive)?;
    find_gaps(source, &end, members_max, &mut archive)?;
    Ok(archive)
}

/// The end of the source, where it begins, and the last end record in it.
fn read_tail(source: &dyn Source, bytes: u64) -> Result<(u64, Vec<u8>, Option<End>), BoundedError> {
    let start = source.len().saturating_sub(bytes);
    let tail = read_range(source, start, source.len() - start, bytes)?;
    let end = find_end(&tail, start).map(|at| read_end(source, at)).transpose()?;
    Ok((start, tail, end))
}

fn read_end(source: &dyn Source, at: u64) -> Result<End, BoundedError> {
    let record = read_range(source, at, 22, 22)?;
    let mut reader = Reader::new(&record);
    reader.skip(8)?;
    let _on_this_disk = reader.u16_le()?;
    let (entries, size, offset, comment) = (reader.u16_le()?, reader.u32_le()?, reader.u32_le()?, reader.u16_le()?);
    let mut end = End { at, entries: entries.into(), size: size.into(), offset: offset.into(), comment: comment.into() };
    if entries == u16::MAX || size == u32::MAX || offset == u32::MAX {
        read_end64(source, &mut end)?;
    }
    Ok(end)
}

/// The zip64 record replaces what does not fit; without one the small numbers are taken as they stand.
fn read_end64(source: &dyn Source, end: &mut End) -> Result<(), BoundedError> {
    let Some(at) = end.at.checked_sub(20) else { return Ok(()) };
    let locator = read_range(source, at, 20, 20)?;
    let mut reader = Reader::new(&locator);
    if reader.u32_le()? != LOCATOR64 {
        return Ok(());
    }
    reader.skip(4)?;
    let named = reader.u64_le()?;
    // The locator's offset is wrong by the prefix when there is one; the record then stands directly before the locator.
    for record_at in [named, at.saturating_sub(56)] {
        let Ok(record) = read_range(source, record_at, 56, 56) else { continue };
        let mut reader = Reader::new(&record);
        if reader.u32_le()? != END64 {
            continue;
        }
        reader.skip(28)?;
        (end.entries, end.size, end.offset) = (reader.u64_le()?, reader.u64_le()?, reader.u64_le()?);
        end.at = record_at;
        // `at` now marks where the directory must end; the comment still belongs to the small record behind it.
        end.comment = end.comment.saturating_add(at.saturating_sub(record_at)).saturating_add(20);
        return Ok(());
    }
    Ok(())
}

fn read_directory(source: &dyn Source, end: &End, members_max: u64, archive: &mut Archive) -> Result<(), BoundedError> {
    // Where the directory really is, whatever its offset says: readers place it before the end record.
    let Some(directory) = end.at.checked_sub(end.size) else {
        archive.faults.push((end.at, "the directory is larger than what stands before it".to_owned()));
        archive.without_directory = true;
        walk_locals(source, 0, source.len(), members_max, archive)?;
        return Ok(());
    };
    match directory.checked_sub(end.offset) {
        Some(prefix) => archive.prefix = prefix,
        None => archive.faults.push((end.at, "the directory's offset points behind the directory".to_owned())),
    }
    let mut cursor = Cursor::new(source);
    cursor.seek(directory);
    let mut count = 0_u64;
    while cursor.position() < end.at {
        let at = cursor.position();
        let entry = match read_central(&mut cursor, archive.prefix) {
            Ok(Some(entry)) => entry,
            Ok(None) => {
                archive.faults.push((at, "the directory holds something else than entries".to_owned()));
                break;
            }
            Err(BoundedError::Io(error)) => return Err(BoundedError::Io(error)),
            Err(error) => {
                archive.faults.push((at, format!("the directory breaks off: {error}")));
                break;
            }
        };
        count += 1;
        if count > members_max {
            archive.cut = true;
            break;
        }
        archive.entries.push(read_local(source, entry)?);
    }
    if count != end.entries && count & 0xffff != end.entries && !archive.cut {
        archive.faults.push((end.at, format!("the directory announces {} members and lists {count}", end.entries)));
    }
    Ok(())
}

fn read_central(cursor: &mut Cursor<'_>, prefix: u64) -> Result<Option<Entry>, BoundedError> {
    if cursor.u32_le()? != CENTRAL {
        return Ok(None);
    }
    let made_by = cursor.u16_le()?;
    cursor.skip(2)?;
    let (flags, method) = (cursor.u16_le()?, cursor.u16_le()?);
    cursor.skip(4)?;
    let (crc, compressed, size) = (cursor.u32_le()?, cursor.u32_le()?, cursor.u32_le()?);
    let (name_len, extra_len, comment_len) = (cursor.u16_le()?, cursor.u16_le()?, cursor.u16_le()?);
    cursor.skip(4)?;
    let (attributes, offset) = (cursor.u32_le()?, cursor.u32_le()?);
    let name = cursor.take(name_len.into(), NAME_BYTES_MAX)?;
    let extra = cursor.take(extra_len.into(), u16::MAX.into())?;
    cursor.skip(comment_len.into())?;
    let mut wide = [u64::from(size), u64::from(compressed), u64::from(offset)];
    widen(&extra, &mut wide);
    let [size, compressed, offset] = wide;
    let mode = if made_by >> 8 == 3 { attributes >> 16 } else { 0 };
    let header = Header { name, method, flags, crc, compressed, size };
    Ok(Some(Entry { header, local: None, start: offset.saturating_add(prefix), data: 0, mode, hidden: false }))
}

/// Zip64: each field that stands at its maximum is found in the extra block, in this order.
fn widen(extra: &[u8], fields: &mut [u64]) {
    let mut reader = Reader::new(extra);
    while let (Ok(id), Ok(len)) = (reader.u16_le(), reader.u16_le()) {
        let Ok(body) = reader.take(len.into()) else { return };
        if id != 1 {
            continue;
        }
        let mut body = Reader::new(body);
        for field in fields.iter_mut().filter(|field| **field == u64::from(u32::MAX)) {
            if let Ok(value) = body.u64_le() {
                *field = value;
            }
        }
        return;
    }
}

fn read_local(source: &dyn Source, mut entry: Entry) -> Result<Entry, BoundedError> {
    let mut cursor = Cursor::with_buffer(source, HEADER_BYTES);
    cursor.seek(entry.start);
    match read_local_header(&mut cursor) {
        Ok(Some((header, data))) => {
            entry.data = data;
            entry.local = Some(header);
        }
        Err(BoundedError::Io(error)) => return Err(BoundedError::Io(error)),
        _ => entry.data = entry.start,
    }
    Ok(entry)
}

fn read_local_header(cursor: &mut Cursor<'_>) -> Result<Option<(Header, u64)>, BoundedError> {
    let fixed: [u8; 30] = cursor.array()?;
    let mut reader = Reader::new(&fixed);
    if reader.u32_le()? != LOCAL {
        return Ok(None);
    }
    reader.skip(2)?;
    let (flags, method) = (reader.u16_le()?, reader.u16_le()?);
    reader.skip(4)?;
    let (crc, compressed, size) = (reader.u32_le()?, reader.u32_le()?, reader.u32_le()?);
    let (name_len, extra_len) = (reader.u16_le()?, reader.u16_le()?);
    let name = cursor.take(name_len.into(), NAME_BYTES_MAX)?;
    let extra = cursor.take(extra_len.into(), u16::MAX.into())?;
    let mut wide = [u64::from(size), u64::from(compressed)];
    widen(&extra, &mut wide);
    let [size, compressed] = wide;
    Ok(Some((Header { name, method, flags, crc, compressed, size }, cursor.position())))
}

/// Follows local headers one behind another; returns where they stop.
fn walk_locals(source: &dyn Source, from: u64, to: u64, members_max: u64, archive: &mut Archive) -> Result<u64, BoundedError> {
    let mut at = from;
    while at.saturating_add(30) <= to {
        let mut cursor = Cursor::with_buffer(source, HEADER_BYTES);
        cursor.seek(at);
        let (header, data) = match read_local_header(&mut cursor) {
            Ok(Some(found)) => found,
            Err(BoundedError::Io(error)) => return Err(BoundedError::Io(error)),
            _ => break,
        };
        if archive.entries.len() as u64 >= members_max {
            archive.cut = true;
            break;
        }
        // A streamed member's size stands behind its data, which ends only where its decoder says; the next signature bounds it.
        let unknown = header.streamed() && header.compressed == 0;
        let end = if unknown { next_local(source, data, to)?.unwrap_or(to) } else { data.saturating_add(header.compressed).min(to) };
        let header = if unknown { Header { compressed: end.saturating_sub(data), ..header } } else { header };
        let streamed = header.streamed();
        archive.entries.push(Entry { local: Some(header.clone()), header, start: at, data, mode: 0, hidden: true });
        at = end;
        if streamed && !unknown {
            at = next_local(source, end, to.min(end.saturating_add(24 + 4)))?.unwrap_or(end);
        }
    }
    Ok(at)
}

fn next_local(source: &dyn Source, from: u64, to: u64) -> Result<Option<u64>, BoundedError> {
    let length = to.saturating_sub(from).min(GAP_SEARCH_BYTES);
    let bytes = read_range(source, from, length, GAP_SEARCH_BYTES)?;
    Ok(bytes.windows(4).position(|window| window == LOCAL.to_le_bytes()).map(|at| from + at as u64))
}

/// Finds bytes that belong to no member, and members in them.
fn find_gaps(source: &dyn Source, end: &End, members_max: u64, archive: &mut Archive) -> Result<(), BoundedError> {
    let mut ranges: Vec<(u64, u64)> = archive.entries.iter().map(|entry| (entry.start, entry.data.saturating_add(entry.header.compressed))).collect();
    ranges.sort_unstable();
    let directory = end.at.saturating_sub(end.size);
    ranges.push((directory, end.at));
    let mut covered = archive.prefix;
    for (start, stop) in ranges {
        if start > covered && covered < directory {
            gap(source, covered, start.min(directory), members_max, archive)?;
        }
        covered = covered.max(stop);
    }
    Ok(())
}

fn gap(source: &dyn Source, from: u64, to: u64, members_max: u64, archive: &mut Archive) -> Result<(), BoundedError> {
    let Some(first) = next_local(source, from, to)? else {
        if to - from > GAP_BYTES_MIN {
            archive.gaps.push((from, to - from));
        }
        return Ok(());
    };
    // A signature by chance has no sound header behind it, and the walk stops at once.
    walk_locals(source, first, to, members_max, archive)?;
    Ok(())
}
