//! Tar headers: POSIX.1-2017 `pax`, GNU long names and base-256 numbers.

use picket_bounded::{BoundedError, Cursor, Reader, Source};

const BLOCK: u64 = 512;
/// Long names and PAX records; file systems end at 4096 bytes a path.
const RECORD_BYTES_MAX: u64 = 1 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Folder,
    Link,
    Symlink,
    Special,
    Sparse,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) target: String,
    pub(super) kind: Kind,
    pub(super) size: u64,
    /// Offset of the header.
    pub(super) at: u64,
    /// Offset of the content.
    pub(super) data: u64,
}

#[derive(Debug, Default)]
pub(super) struct Archive {
    pub(super) entries: Vec<Entry>,
    pub(super) end: u64,
    pub(super) fault: Option<(u64, String)>,
    pub(super) cut: bool,
}

/// What extended headers say about the next member.
#[derive(Default)]
struct Pending {
    name: Option<String>,
    target: Option<String>,
    size: Option<u64>,
    sparse: bool,
}

pub(super) fn parse(source: &dyn Source, members_max: u64) -> Result<Archive, BoundedError> {
    let mut archive = Archive::default();
    let mut cursor = Cursor::new(source);
    let mut pending = Pending::default();
    loop {
        let at = cursor.position();
        let block: [u8; 512] = match cursor.array() {
            Ok(block) => block,
            Err(BoundedError::Io(error)) => return Err(error.into()),
            Err(_) => {
                // Many writers leave the closing blocks out; a part of a block is a cut file.
                archive.end = at.min(source.len());
                if cursor.remaining() > 0 {
                    archive.fault = Some((at, "the last header is cut".to_owned()));
                }
                return Ok(archive);
            }
        };
        if block.iter().all(|byte| *byte == 0) {
            archive.end = cursor.position();
            return Ok(archive);
        }
        if archive.entries.len() as u64 >= members_max {
            archive.cut = true;
            archive.end = source.len();
            return Ok(archive);
        }
        match entry(&block, at, &mut cursor, &mut pending) {
            Ok(Some(entry)) => {
                let next = entry.data.checked_add(entry.size).and_then(|end| end.checked_next_multiple_of(BLOCK));
                let content = matches!(entry.kind, Kind::File | Kind::Sparse);
                let Some(next) = next else {
                    archive.fault = Some((at, "a member's size does not fit 64 bits".to_owned()));
                    archive.end = source.len();
                    return Ok(archive);
                };
                if content {
                    cursor.seek(next.min(source.len()));
                }
                archive.entries.push(entry);
            }
            Ok(None) => {}
            Err(BoundedError::Io(error)) => return Err(error.into()),
            Err(error) => {
                archive.fault = Some((at, error.to_string()));
                archive.end = at;
                return Ok(archive);
            }
        }
    }
}

/// One header; nothing when it only described the next.
fn entry(block: &[u8; 512], at: u64, cursor: &mut Cursor<'_>, pending: &mut Pending) -> Result<Option<Entry>, BoundedError> {
    let mut reader = Reader::new(block);
    let name = text(reader.take(100)?);
    reader.skip(24)?;
    let size = number(reader.take(12)?)?;
    reader.skip(12)?;
    let sum = number(reader.take(8)?)?;
    let kind = reader.u8()?;
    let target = text(reader.take(100)?);
    let posix = reader.take(6)? == b"ustar\0";
    reader.skip(82)?;
    let prefix = text(reader.take(155)?);
    if sum != checksum(block) {
        return Err(BoundedError::Malformed("a header's checksum is wrong"));
    }
    match kind {
        b'L' | b'K' | b'x' | b'g' => {
            let record = cursor.take(size, RECORD_BYTES_MAX)?;
            let padding = size.next_multiple_of(BLOCK) - size;
            cursor.skip(padding.min(cursor.remaining()))?;
            match kind {
                b'L' => pending.name = Some(text(&record)),
                b'K' => pending.target = Some(text(&record)),
                b'x' => pax(&record, pending)?,
                _ => {}
            }
            return Ok(None);
        }
        _ => {}
    }
    let described = std::mem::take(pending);
    let joined = if posix && !prefix.is_empty() { format!("{prefix}/{name}") } else { name };
    let kind = match kind {
        _ if described.sparse => Kind::Sparse,
        b'0' | 0 | b'7' => Kind::File,
        b'1' => Kind::Link,
        b'2' => Kind::Symlink,
        b'3' | b'4' | b'6' => Kind::Special,
        b'5' => Kind::Folder,
        b'S' => Kind::Sparse,
        _ => Kind::File,
    };
    Ok(Some(Entry {
        name: described.name.unwrap_or(joined),
        target: described.target.unwrap_or(target),
        kind,
        size: described.size.unwrap_or(size),
        at,
        data: cursor.position(),
    }))
}

/// `length key=value\n`, repeated.
fn pax(record: &[u8], pending: &mut Pending) -> Result<(), BoundedError> {
    let mut rest = record;
    while !rest.is_empty() && rest.first() != Some(&0) {
        let malformed = BoundedError::Malformed("an extended header is not made of records");
        let Some(space) = rest.iter().position(|byte| *byte == b' ') else { return Err(malformed) };
        let length = rest.get(..space).and_then(|digits| std::str::from_utf8(digits).ok()).and_then(|digits| digits.parse::<usize>().ok());
        let Some((body, tail)) = length.filter(|length| *length > space + 1).and_then(|length| Some((rest.get(space + 1..length)?, rest.get(length..)?)))
        else {
            return Err(malformed);
        };
        rest = tail;
        let body = String::from_utf8_lossy(body);
        let Some((key, value)) = body.trim_end_matches('\n').split_once('=') else { return Err(malformed) };
        match key {
            "path" | "GNU.sparse.name" => pending.name = Some(value.to_owned()),
            "linkpath" => pending.target = Some(value.to_owned()),
            "size" => pending.size = Some(value.parse().map_err(|_| malformed)?),
            _ => {}
        }
        pending.sparse |= key.starts_with("GNU.sparse");
    }
    Ok(())
}

fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned()
}

/// Octal digits, or base 256 when the first bit is set.
fn number(field: &[u8]) -> Result<u64, BoundedError> {
    if let Some((first, rest)) = field.split_first().filter(|(first, _)| **first & 0x80 != 0) {
        return rest
            .iter()
            .try_fold(u64::from(first & 0x7f), |value, byte| value.checked_mul(256)?.checked_add((*byte).into()))
            .ok_or(BoundedError::Malformed("a number does not fit 64 bits"));
    }
    let digits = text(field);
    let digits = digits.trim_matches([' ', '\0']);
    if digits.is_empty() {
        return Ok(0);
    }
    u64::from_str_radix(digits, 8).map_err(|_| BoundedError::Malformed("a number has digits that are not octal"))
}

/// Sum of all bytes with the checksum field as spaces.
fn checksum(block: &[u8; 512]) -> u64 {
    block.iter().enumerate().map(|(at, byte)| if (148..156).contains(&at) { u64::from(b' ') } else { u64::from(*byte) }).sum()
}
