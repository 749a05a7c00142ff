//! 7z headers (7zFormat.txt of the LZMA SDK): packed streams, folders of coders, and the files in them.

use super::limits::CODERS_MAX;
use picket_bounded::{BoundedError, Reader};

/// A chain of coders and what goes through it.
#[derive(Clone, Debug, Default)]
pub(super) struct Folder {
    pub(super) coders: Vec<Coder>,
    /// Which input takes which output.
    pub(super) bonds: Vec<(u64, u64)>,
    /// Unpacked size of each output.
    pub(super) sizes: Vec<u64>,
    /// Which input takes each packed stream, in the order of the archive.
    pub(super) packed: Vec<u64>,
    pub(super) crc: Option<u32>,
    /// Sizes of the files in it, and their checksums.
    pub(super) files: Vec<(u64, Option<u32>)>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Coder {
    pub(super) id: u64,
    /// Streams that it reads.
    pub(super) inputs: u64,
    pub(super) properties: Vec<u8>,
}

#[derive(Debug, Default)]
pub(super) struct Streams {
    /// Behind the signature header.
    pub(super) packed_start: u64,
    pub(super) packed_sizes: Vec<u64>,
    pub(super) folders: Vec<Folder>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct File {
    pub(super) name: String,
    pub(super) has_stream: bool,
    pub(super) attributes: u32,
}

#[derive(Debug, Default)]
pub(super) struct Header {
    pub(super) streams: Streams,
    pub(super) files: Vec<File>,
}

pub(super) enum Parsed {
    Header(Header),
    /// The header itself is packed.
    Packed(Streams),
}

type Read<T> = Result<T, BoundedError>;

const END: u64 = 0x00;

pub(super) fn parse(bytes: &[u8], members_max: u64) -> Read<Parsed> {
    let mut reader = Reader::new(bytes);
    match reader.u8()? {
        0x17 => Ok(Parsed::Packed(streams(&mut reader)?)),
        0x01 => header(&mut reader, members_max).map(Parsed::Header),
        _ => Err(BoundedError::Malformed("a 7z header of an unknown kind")),
    }
}

/// The first byte's leading ones say how many bytes follow; what is left of it is the highest part.
fn number(reader: &mut Reader<'_>) -> Read<u64> {
    let first = reader.u8()?;
    let extra = first.leading_ones();
    let mut value = 0_u64;
    for shift in 0..extra {
        value |= u64::from(reader.u8()?) << (8 * shift);
    }
    let high = if extra >= 7 { 0 } else { u64::from(first & (0x7f >> extra)) };
    Ok(value | high.checked_shl(8 * extra).unwrap_or(0))
}

/// A count of things that need at least a byte, or a bit, each in what is left.
fn count(reader: &mut Reader<'_>) -> Read<u64> {
    let count = number(reader)?;
    if count > reader.remaining().saturating_mul(8) { Err(BoundedError::Malformed("a count is larger than its header")) } else { Ok(count) }
}

fn header(reader: &mut Reader<'_>, members_max: u64) -> Read<Header> {
    let mut header = Header::default();
    loop {
        match number(reader)? {
            END => return Ok(header),
            // Archive properties: kind, size, content.
            0x02 => {
                while number(reader)? != END {
                    let size = number(reader)?;
                    reader.skip(size)?;
                }
            }
            0x03 => drop(streams(reader)?),
            0x04 => header.streams = streams(reader)?,
            0x05 => header.files = files(reader, members_max)?,
            _ => return Err(BoundedError::Malformed("a part of the header of an unknown kind")),
        }
    }
}

fn streams(reader: &mut Reader<'_>) -> Read<Streams> {
    let mut streams = Streams::default();
    loop {
        match number(reader)? {
            END => break,
            0x06 => packed(reader, &mut streams)?,
            0x07 => streams.folders = folders(reader)?,
            0x08 => substreams(reader, &mut streams.folders)?,
            _ => return Err(BoundedError::Malformed("a part of the streams of an unknown kind")),
        }
    }
    // Without a list, a folder holds one file.
    for folder in &mut streams.folders {
        if folder.files.is_empty() && !folder.sizes.is_empty() && !folder.packed.is_empty() {
            folder.files = vec![(folder.size(), folder.crc)];
        }
    }
    Ok(streams)
}

impl Folder {
    /// The output that no other coder takes.
    pub(super) fn main_output(&self) -> Option<u64> {
        (0..self.sizes.len() as u64).find(|output| !self.bonds.iter().any(|(_, from)| from == output))
    }

    /// What the whole folder unpacks to.
    pub(super) fn size(&self) -> u64 {
        let output = self.main_output().and_then(|output| usize::try_from(output).ok());
        output.and_then(|output| self.sizes.get(output)).copied().unwrap_or(0)
    }
}

fn packed(reader: &mut Reader<'_>, streams: &mut Streams) -> Read<()> {
    streams.packed_start = number(reader)?;
    let total = count(reader)?;
    loop {
        match number(reader)? {
            END => return Ok(()),
            0x09 => {
                for _ in 0..total {
                    streams.packed_sizes.push(number(reader)?);
                }
            }
            0x0a => drop(digests(reader, total)?),
            _ => return Err(BoundedError::Malformed("packed streams of an unknown kind")),
        }
    }
}

fn folders(reader: &mut Reader<'_>) -> Read<Vec<Folder>> {
    if number(reader)? != 0x0b {
        return Err(BoundedError::Malformed("folders without their list"));
    }
    let total = count(reader)?;
    if reader.u8()? != 0 {
        return Err(BoundedError::Unsupported("a 7z header in several parts"));
    }
    let mut folders = Vec::new();
    for _ in 0..total {
        folders.push(folder(reader)?);
    }
    loop {
        match number(reader)? {
            END => return Ok(folders),
            0x0c => {
                for folder in &mut folders {
                    for size in &mut folder.sizes {
                        *size = number(reader)?;
                    }
                }
            }
            0x0a => {
                let found = digests(reader, total)?;
                for (folder, crc) in folders.iter_mut().zip(found) {
                    folder.crc = crc;
                }
            }
            _ => return Err(BoundedError::Malformed("folders of an unknown kind")),
        }
    }
}

fn folder(reader: &mut Reader<'_>) -> Read<Folder> {
    let mut folder = Folder::default();
    let coders = number(reader)?;
    if coders == 0 || coders > CODERS_MAX {
        return Err(BoundedError::Malformed("a folder with an impossible number of coders"));
    }
    let (mut inputs, mut outputs) = (0_u64, 0_u64);
    for _ in 0..coders {
        let flags = reader.u8()?;
        let id = reader.take(u64::from(flags & 15))?;
        let id = id.iter().take(8).fold(0_u64, |id, byte| id << 8 | u64::from(*byte));
        let (mut ins, mut outs) = (1, 1);
        if flags & 0x10 != 0 {
            (ins, outs) = (number(reader)?, number(reader)?);
        }
        if ins > CODERS_MAX || outs > CODERS_MAX {
            return Err(BoundedError::Malformed("a coder with an impossible number of streams"));
        }
        let mut properties = Vec::new();
        if flags & 0x20 != 0 {
            let size = number(reader)?;
            properties = reader.take(size)?.to_vec();
        }
        inputs += ins;
        outputs += outs;
        folder.coders.push(Coder { id, inputs: ins, properties });
    }
    let bonds = outputs.checked_sub(1).ok_or(BoundedError::Malformed("a folder without an output"))?;
    for _ in 0..bonds {
        folder.bonds.push((number(reader)?, number(reader)?));
    }
    let packed = inputs.checked_sub(bonds).ok_or(BoundedError::Malformed("a folder with more bonds than inputs"))?;
    if packed == 1 {
        // The only input that no bond feeds needs no mention.
        let open = (0..inputs).find(|input| !folder.bonds.iter().any(|(to, _)| to == input));
        folder.packed.push(open.unwrap_or(u64::MAX));
    } else {
        for _ in 0..packed {
            folder.packed.push(number(reader)?);
        }
    }
    folder.sizes = vec![0; usize::try_from(outputs).unwrap_or(0)];
    Ok(folder)
}

fn substreams(reader: &mut Reader<'_>, folders: &mut [Folder]) -> Read<()> {
    let mut counts: Vec<u64> = vec![1; folders.len()];
    let mut kind = number(reader)?;
    if kind == 0x0d {
        for slot in &mut counts {
            *slot = count(reader)?;
        }
        kind = number(reader)?;
    }
    for (folder, count) in folders.iter_mut().zip(&counts) {
        let Some(listed) = count.checked_sub(1) else { continue };
        let mut left = folder.size();
        for _ in 0..listed {
            let size = if kind == 0x09 { number(reader)? } else { 0 };
            left = left.checked_sub(size).ok_or(BoundedError::Malformed("files are larger than the folder they are in"))?;
            folder.files.push((size, None));
        }
        folder.files.push((left, if listed == 0 { folder.crc } else { None }));
    }
    if kind == 0x09 {
        kind = number(reader)?;
    }
    while kind != END {
        if kind != 0x0a {
            return Err(BoundedError::Malformed("files of a folder of an unknown kind"));
        }
        // Only of those whose checksum is not that of their folder.
        let open = |folder: &Folder| folder.files.len() != 1 || folder.crc.is_none();
        let total: u64 = folders.iter().filter(|folder| open(folder)).map(|folder| folder.files.len() as u64).sum();
        let mut found = digests(reader, total)?.into_iter();
        for folder in folders.iter_mut().filter(|folder| open(folder)) {
            for (file, crc) in folder.files.iter_mut().zip(found.by_ref()) {
                file.1 = crc;
            }
        }
        kind = number(reader)?;
    }
    Ok(())
}

/// Which of `total` are defined, all or by a bit each.
fn defined(reader: &mut Reader<'_>, total: u64) -> Read<Vec<bool>> {
    if total > reader.remaining().saturating_mul(8) {
        return Err(BoundedError::Malformed("a count is larger than its header"));
    }
    if reader.u8()? != 0 {
        return Ok(vec![true; usize::try_from(total).unwrap_or(0)]);
    }
    bits(reader, total)
}

fn bits(reader: &mut Reader<'_>, total: u64) -> Read<Vec<bool>> {
    let bytes = reader.take(total.div_ceil(8))?;
    let bits = bytes.iter().flat_map(|byte| (0..8).map(move |bit| byte & (0x80 >> bit) != 0));
    Ok(bits.take(usize::try_from(total).unwrap_or(0)).collect())
}

fn digests(reader: &mut Reader<'_>, total: u64) -> Read<Vec<Option<u32>>> {
    let defined = defined(reader, total)?;
    defined.into_iter().map(|defined| if defined { reader.u32_le().map(Some) } else { Ok(None) }).collect()
}

fn files(reader: &mut Reader<'_>, members_max: u64) -> Read<Vec<File>> {
    let total = count(reader)?;
    if total > members_max {
        return Err(BoundedError::LimitExceeded { what: "members", limit: members_max });
    }
    let mut files = vec![File { has_stream: true, ..File::default() }; usize::try_from(total).unwrap_or(0)];
    loop {
        let kind = number(reader)?;
        if kind == END {
            return Ok(files);
        }
        let size = number(reader)?;
        let mut body = Reader::new(reader.take(size)?);
        match kind {
            0x0e => {
                for (file, empty) in files.iter_mut().zip(bits(&mut body, total)?) {
                    file.has_stream = !empty;
                }
            }
            0x11 => names(&mut body, &mut files)?,
            0x15 => {
                let defined = defined(&mut body, total)?;
                if body.u8()? == 0 {
                    for (file, _) in files.iter_mut().zip(defined).filter(|(_, defined)| *defined) {
                        file.attributes = body.u32_le()?;
                    }
                }
            }
            // Times, comments, and filling.
            _ => {}
        }
    }
}

/// UTF-16 that ends with zero, one behind the other.
fn names(body: &mut Reader<'_>, files: &mut [File]) -> Read<()> {
    if body.u8()? != 0 {
        return Err(BoundedError::Unsupported("a 7z header in several parts"));
    }
    for file in files {
        let mut units = Vec::new();
        loop {
            match body.u16_le()? {
                0 => break,
                unit => units.push(unit),
            }
        }
        file.name = String::from_utf16_lossy(&units);
    }
    Ok(())
}
