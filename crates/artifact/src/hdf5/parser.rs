//! HDF5 metadata (File Format Specification 3.0): superblocks 0 to 3, object headers 1 and 2, groups by symbol table or link
//! message, attributes with fixed or variable text, what names other files, and where data sets stand. Their elements are not read here.

use super::dataset::{self, Dataset};
use super::heap::Heaps;
use picket_bounded::{BoundedError, Budget, Reader, Source, read_range};
use std::collections::HashSet;

/// Objects walked. Large models have some ten thousand.
const OBJECTS_MAX: usize = 500_000;
/// One object header's messages, or one heap; attributes of up to 64 KiB stand in them.
const BLOCK_BYTES_MAX: u64 = 16 << 20;
/// Continuation blocks of one header, and nodes of one group's tree.
const BLOCKS_MAX: u32 = 10_000;

pub(super) const UNDEFINED: u64 = u64::MAX;

/// What a file says about itself and about others.
#[derive(Debug, Default)]
pub(super) struct File {
    /// Object path, attribute name, text.
    pub(super) attributes: Vec<(String, String, Vec<u8>)>,
    /// Link path and the file it leads to.
    pub(super) external_links: Vec<(String, String)>,
    /// Data set path and the file its elements stand in.
    pub(super) external_data: Vec<(String, String)>,
    /// Type, extent and place of each data set.
    pub(super) datasets: Vec<Dataset>,
    /// Texts and sequences of bytes that elements only refer to.
    pub(super) heaps: Heaps,
    /// What was not read, or contradicts the format.
    pub(super) unread: Vec<String>,
    /// Where the superblock says the file ends.
    pub(super) end: u64,
}

pub(super) struct Parser<'p, 's> {
    pub(super) source: &'s dyn Source,
    pub(super) budget: &'p mut Budget,
    pub(super) file: File,
    pub(super) base: u64,
    /// Bytes of an address and of a length.
    pub(super) address: u8,
    pub(super) length: u8,
    seen: HashSet<u64>,
    /// Bytes of attributes kept.
    pub(super) kept: u64,
    /// Chunks listed so far, over all data sets.
    pub(super) chunks: usize,
    /// Objects to visit: address and path.
    queue: Vec<(u64, String)>,
    /// What the object being read says about a data set.
    dataset: Dataset,
    /// The object being read is a type that others share.
    sharing: bool,
}

pub(super) type Parsed<T> = Result<T, BoundedError>;

/// The signature; behind a user block it stands at 512 or any power of two above.
const SIGNATURE: &[u8; 8] = b"\x89HDF\r\n\x1a\n";

/// Where the superblock is.
pub(crate) fn find(source: &dyn Source) -> Option<u64> {
    let is_here = |at: u64| read_range(source, at, 8, 8).is_ok_and(|bytes| bytes == SIGNATURE);
    std::iter::once(0).chain((9..=20).map(|power| 1 << power)).find(|at| is_here(*at))
}

/// Reads a file whose superblock is at `at`.
pub(super) fn parse(source: &dyn Source, at: u64, budget: &mut Budget) -> Parsed<File> {
    let mut parser = Parser {
        source,
        budget,
        file: File::default(),
        base: at,
        address: 8,
        length: 8,
        seen: HashSet::new(),
        kept: 0,
        chunks: 0,
        queue: Vec::new(),
        dataset: Dataset::default(),
        sharing: false,
    };
    let root = parser.superblock()?;
    parser.queue.push((root, String::new()));
    while let Some((address, path)) = parser.queue.pop() {
        if !parser.seen.insert(address) {
            continue;
        }
        if parser.seen.len() > OBJECTS_MAX {
            parser.unread("more objects than the limit");
            break;
        }
        parser.budget.spend_steps(1)?;
        match parser.object(address, &path) {
            Ok(()) => parser.keep_dataset(path)?,
            Err(BoundedError::Io(error)) => return Err(BoundedError::Io(error)),
            Err(error) => parser.unread(&format!("the object {path}/ is broken: {error}")),
        }
    }
    parser.file.heaps = parser.heaps();
    Ok(parser.file)
}

pub(super) fn sized(reader: &mut Reader<'_>, width: u8) -> Parsed<u64> {
    let bytes = reader.take(width.into())?;
    if bytes.iter().all(|byte| *byte == 0xff) {
        return Ok(UNDEFINED);
    }
    Ok(bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
}

pub(super) fn padded(length: u64) -> u64 {
    length.next_multiple_of(8)
}

impl Parser<'_, '_> {
    pub(super) fn unread(&mut self, why: &str) {
        if self.file.unread.len() < 20 {
            self.file.unread.push(why.to_owned());
        }
    }

    pub(super) fn block(&mut self, address: u64, length: u64) -> Parsed<Vec<u8>> {
        // Headers may name the same large block again and again; what is read is paid for.
        self.budget.spend_steps(1 + length.min(BLOCK_BYTES_MAX) / 64)?;
        let start = self.base.checked_add(address).ok_or(BoundedError::Malformed("an address does not fit 64 bits"))?;
        read_range(self.source, start, length, BLOCK_BYTES_MAX)
    }

    /// Up to `length` bytes, fewer at the end of the file.
    pub(super) fn block_up_to(&mut self, address: u64, length: u64) -> Parsed<Vec<u8>> {
        let left = self.source.len().saturating_sub(self.base.saturating_add(address));
        self.block(address, length.min(left))
    }

    fn superblock(&mut self) -> Parsed<u64> {
        let head = self.block_up_to(0, 128)?;
        let mut reader = Reader::new(&head);
        reader.skip(8)?;
        let version = reader.u8()?;
        match version {
            0 | 1 => {
                reader.skip(4)?;
                (self.address, self.length) = (reader.u8()?, reader.u8()?);
                reader.skip(if version == 1 { 13 } else { 9 })?;
            }
            2 | 3 => {
                (self.address, self.length) = (reader.u8()?, reader.u8()?);
                reader.skip(1)?;
            }
            _ => return Err(BoundedError::Unsupported("a superblock of an unknown version")),
        }
        if !matches!(self.address, 2 | 4 | 8) || !matches!(self.length, 2 | 4 | 8) {
            return Err(BoundedError::Malformed("addresses of an impossible width"));
        }
        let base = sized(&mut reader, self.address)?;
        sized(&mut reader, self.address)?;
        let end = sized(&mut reader, self.address)?;
        let root = if version < 2 {
            sized(&mut reader, self.address)?;
            sized(&mut reader, self.length)?;
            sized(&mut reader, self.address)?
        } else {
            sized(&mut reader, self.address)?
        };
        if base != UNDEFINED {
            self.base = base;
        }
        self.file.end = self.base.saturating_add(end);
        Ok(root)
    }

    fn keep_dataset(&mut self, path: String) -> Parsed<()> {
        let mut dataset = Dataset { path, ..std::mem::take(&mut self.dataset) };
        if dataset.layout.is_none() {
            return Ok(());
        }
        match self.list_chunks(&mut dataset) {
            Ok(()) => {}
            Err(BoundedError::Io(error)) => return Err(error.into()),
            Err(error) => {
                dataset.chunks.clear();
                dataset.unlisted = Some(error.to_string());
            }
        }
        match self.list_sources(&dataset) {
            Ok(()) => {}
            Err(BoundedError::Io(error)) => return Err(error.into()),
            Err(error) => self.unread(&format!("where {} has its elements from: {error}", dataset.path)),
        }
        self.file.datasets.push(dataset);
        Ok(())
    }

    pub(super) fn heaps(&self) -> Heaps {
        Heaps::new(self.base, self.address, self.length)
    }

    fn object(&mut self, address: u64, path: &str) -> Parsed<()> {
        self.dataset = Dataset::default();
        let head = self.block_up_to(address, 64)?;
        if head.starts_with(b"OHDR") { self.object_v2(address, &head, path) } else { self.object_v1(address, &head, path) }
    }

    fn object_v1(&mut self, address: u64, head: &[u8], path: &str) -> Parsed<()> {
        let mut reader = Reader::new(head);
        if reader.u8()? != 1 {
            return Err(BoundedError::Malformed("an object header of an unknown version"));
        }
        reader.skip(7)?;
        let length = reader.u32_le()?;
        let mut blocks = vec![(address.saturating_add(16), u64::from(length))];
        let mut count = 0;
        while let Some((start, length)) = blocks.pop() {
            count += 1;
            if count > BLOCKS_MAX {
                return Err(BoundedError::LimitExceeded { what: "blocks of one object", limit: BLOCKS_MAX.into() });
            }
            let block = self.block(start, length)?;
            let mut reader = Reader::new(&block);
            while reader.remaining() >= 8 {
                let (kind, size, flags) = (reader.u16_le()?, reader.u16_le()?, reader.u8()?);
                reader.skip(3)?;
                let body = reader.take(size.into())?;
                self.message(kind, flags, body, path, &mut blocks)?;
            }
        }
        Ok(())
    }

    fn object_v2(&mut self, address: u64, head: &[u8], path: &str) -> Parsed<()> {
        let mut reader = Reader::new(head);
        reader.skip(5)?;
        let flags = reader.u8()?;
        reader.skip(if flags & 0x20 != 0 { 16 } else { 0 })?;
        reader.skip(if flags & 0x10 != 0 { 4 } else { 0 })?;
        let length = sized(&mut reader, 1 << (flags & 3))?;
        let mut blocks = vec![(address.saturating_add(reader.position()), length)];
        let mut first = true;
        let mut count = 0;
        while let Some((start, length)) = blocks.pop() {
            count += 1;
            if count > BLOCKS_MAX {
                return Err(BoundedError::LimitExceeded { what: "blocks of one object", limit: BLOCKS_MAX.into() });
            }
            let block = self.block(start, length)?;
            // Continuation blocks begin with a signature and end with a checksum.
            let messages = if first { block.as_slice() } else { block.get(4..block.len().saturating_sub(4)).unwrap_or_default() };
            first = false;
            let mut reader = Reader::new(messages);
            let header = if flags & 4 != 0 { 6 } else { 4 };
            while reader.remaining() >= header {
                let (kind, size, message_flags) = (reader.u8()?, reader.u16_le()?, reader.u8()?);
                reader.skip(header - 4)?;
                let Ok(body) = reader.take(size.into()) else { break };
                self.message(kind.into(), message_flags, body, path, &mut blocks)?;
            }
        }
        Ok(())
    }

    fn message(&mut self, kind: u16, flags: u8, body: &[u8], path: &str, blocks: &mut Vec<(u64, u64)>) -> Parsed<()> {
        let mut reader = Reader::new(body);
        if flags & 2 != 0 {
            return self.shared(kind, &mut reader, path);
        }
        match kind {
            // Link info, attribute info: a heap address where there are too many for the header.
            0x02 | 0x15 => {
                reader.skip(1)?;
                let info = reader.u8()?;
                let tracked = if kind == 0x02 { 8 } else { 2 };
                reader.skip(if info & 1 != 0 { tracked } else { 0 })?;
                let (heap, tree) = (sized(&mut reader, self.address)?, sized(&mut reader, self.address)?);
                if heap != UNDEFINED {
                    self.stored(kind, heap, tree, path)?;
                }
            }
            0x01 | 0x03 | 0x04 | 0x05 | 0x08 | 0x0b => dataset::message(&mut self.dataset, kind, body, self.address, self.length)?,
            0x06 => self.link(&mut reader, path)?,
            0x07 => self.external_files(&mut reader, path)?,
            // What follows a broken attribute is judged as well.
            0x0c => match self.attribute(&mut reader, path) {
                Ok(()) => {}
                Err(BoundedError::Io(error)) => return Err(error.into()),
                Err(error) => self.unread(&format!("an attribute of {path}/ is broken: {error}")),
            },
            0x10 => {
                let (start, length) = (sized(&mut reader, self.address)?, sized(&mut reader, self.length)?);
                blocks.push((start, length));
            }
            0x11 => {
                let (tree, heap) = (sized(&mut reader, self.address)?, sized(&mut reader, self.address)?);
                self.group(tree, heap, path)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// A message that stands elsewhere: types that were given a name are objects of their own.
    fn shared(&mut self, kind: u16, reader: &mut Reader<'_>, path: &str) -> Parsed<()> {
        let (version, place) = (reader.u8()?, reader.u8()?);
        reader.skip(if version == 1 { 6 } else { 0 })?;
        if kind != 0x03 || self.sharing || version == 3 && place != 2 {
            if !matches!(kind, 0x02 | 0x0a | 0x0e | 0x12 | 0x15) {
                self.unread(&format!("a shared message of {path}/"));
            }
            return Ok(());
        }
        let address = sized(reader, self.address)?;
        let dataset = std::mem::take(&mut self.dataset);
        self.sharing = true;
        let outcome = self.object(address, path);
        self.sharing = false;
        let Dataset { dtype, content, .. } = std::mem::replace(&mut self.dataset, dataset);
        (self.dataset.dtype, self.dataset.content) = (dtype, content);
        outcome
    }

    pub(super) fn link(&mut self, reader: &mut Reader<'_>, path: &str) -> Parsed<()> {
        reader.skip(1)?;
        let flags = reader.u8()?;
        let kind = if flags & 8 != 0 { reader.u8()? } else { 0 };
        reader.skip(if flags & 4 != 0 { 8 } else { 0 })?;
        reader.skip(if flags & 16 != 0 { 1 } else { 0 })?;
        let length = sized(reader, 1 << (flags & 3))?;
        let name = String::from_utf8_lossy(reader.take(length)?).into_owned();
        let full = format!("{path}/{name}");
        match kind {
            0 => {
                let address = sized(reader, self.address)?;
                self.queue.push((address, full));
            }
            64 => {
                let length = reader.u16_le()?;
                let value = reader.take(length.into())?;
                // One byte of version and flags, the file, zero, the object, zero.
                let file = value.get(1..).unwrap_or_default().split(|byte| *byte == 0).next().unwrap_or_default();
                self.file.external_links.push((full, String::from_utf8_lossy(file).into_owned()));
            }
            // Soft links stay inside the file.
            1 => {}
            _ => self.unread(&format!("the link {full} is of a kind that only a plug-in reads")),
        }
        Ok(())
    }

    fn group(&mut self, tree: u64, heap: u64, path: &str) -> Parsed<()> {
        let header = self.block(heap, 8 + 2 * u64::from(self.length) + u64::from(self.address))?;
        let mut reader = Reader::new(&header);
        if reader.take(4)? != b"HEAP" {
            return Err(BoundedError::Malformed("a group without its heap of names"));
        }
        reader.skip(4)?;
        let size = sized(&mut reader, self.length)?;
        sized(&mut reader, self.length)?;
        let data = sized(&mut reader, self.address)?;
        let names = self.block(data, size)?;
        let mut nodes = vec![tree];
        let mut count = 0;
        while let Some(node) = nodes.pop() {
            count += 1;
            if count > BLOCKS_MAX || !self.seen.insert(node) {
                return Err(BoundedError::Malformed("a group's tree has no end"));
            }
            self.tree_node(node, &names, path, &mut nodes)?;
        }
        Ok(())
    }

    fn tree_node(&mut self, node: u64, names: &[u8], path: &str, nodes: &mut Vec<u64>) -> Parsed<()> {
        let head = self.block(node, 8)?;
        let mut reader = Reader::new(&head);
        let signature = reader.take(4)?.to_vec();
        reader.skip(2)?;
        let count = u64::from(reader.u16_le()?);
        let (address, length) = (u64::from(self.address), u64::from(self.length));
        if signature == b"TREE" {
            let body = self.block(node.saturating_add(8), 2 * address + count * (address + length))?;
            let mut reader = Reader::new(&body);
            reader.skip(2 * address)?;
            for _ in 0..count {
                reader.skip(length)?;
                nodes.push(sized(&mut reader, self.address)?);
            }
            return Ok(());
        }
        if signature != b"SNOD" {
            return Err(BoundedError::Malformed("a group's tree holds something else than nodes"));
        }
        let body = self.block(node.saturating_add(8), count * (2 * address + 24))?;
        let mut reader = Reader::new(&body);
        for _ in 0..count {
            let (name, object) = (sized(&mut reader, self.address)?, sized(&mut reader, self.address)?);
            let kind = reader.u32_le()?;
            reader.skip(20)?;
            let name = usize::try_from(name).ok().and_then(|name| names.get(name..)).unwrap_or_default();
            let name = String::from_utf8_lossy(name.split(|byte| *byte == 0).next().unwrap_or_default());
            // 2 is a soft link, which stays inside the file.
            if kind != 2 && object != UNDEFINED {
                self.queue.push((object, format!("{path}/{name}")));
            }
        }
        Ok(())
    }

    /// Version, slots, a heap of names, and for each slot the place of its file's name.
    fn external_files(&mut self, reader: &mut Reader<'_>, path: &str) -> Parsed<()> {
        reader.skip(6)?;
        let used = reader.u16_le()?;
        let heap = sized(reader, self.address)?;
        let header = self.block(heap, 8 + 2 * u64::from(self.length) + u64::from(self.address))?;
        let mut head = Reader::new(&header);
        head.skip(8)?;
        let size = sized(&mut head, self.length)?;
        sized(&mut head, self.length)?;
        let data = sized(&mut head, self.address)?;
        let names = self.block(data, size)?;
        for _ in 0..used {
            let name = sized(reader, self.length)?;
            sized(reader, self.length)?;
            sized(reader, self.length)?;
            let name = usize::try_from(name).ok().and_then(|name| names.get(name..)).unwrap_or_default();
            let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
            self.file.external_data.push((path.to_owned(), String::from_utf8_lossy(name).into_owned()));
        }
        Ok(())
    }
}
