//! Dense storage: links and attributes that are too many for their object's header stand in a fractal heap, and a second-version
//! B-tree says where (File Format Specification 3.0, III.A.2 and III.G).

use super::parser::{Parsed, Parser, UNDEFINED, sized};
use picket_bounded::{BoundedError, Reader};

/// Nodes of one tree, and blocks of one heap.
const NODES_MAX: u32 = 100_000;
/// Records of one tree: of half a million chunks in three dimensions.
const RECORD_BYTES_MAX: usize = 32 << 20;
/// Levels of a tree or of a heap; a group of a million links has four.
const LEVELS_MAX: u16 = 16;
/// An object kept in the heap; larger ones stand outside of it and are attributes of megabytes.
const OBJECT_BYTES_MAX: u64 = 1 << 20;

/// Where a heap keeps its managed objects.
struct Heap {
    filtered: bool,
    /// Bytes of an offset, and of a length, in the objects' identifiers.
    offset_bytes: u8,
    length_bytes: u8,
    width: u64,
    start_size: u64,
    direct_max: u64,
    root: u64,
    /// Rows of the root where it is an indirect block.
    rows: u16,
}

impl Parser<'_, '_> {
    /// Links or attributes outside of the object's header.
    pub(super) fn stored(&mut self, kind: u16, heap: u64, tree: u64, path: &str) -> Parsed<()> {
        let objects = match self.dense(heap, tree) {
            Ok(objects) => objects,
            Err(BoundedError::Io(error)) => return Err(error.into()),
            Err(error) => {
                self.unread(&format!("the dense storage of {path}/: {error}"));
                return Ok(());
            }
        };
        for object in objects {
            let mut reader = Reader::new(&object);
            if kind == 0x02 { self.link(&mut reader, path)? } else { self.attribute(&mut reader, path)? }
        }
        Ok(())
    }

    /// Every object of a heap that a tree names, as bytes of the message they would be in a header.
    fn dense(&mut self, heap: u64, tree: u64) -> Parsed<Vec<Vec<u8>>> {
        let heap = self.heap(heap)?;
        if heap.filtered {
            return Err(BoundedError::Unsupported("a heap that is packed"));
        }
        let identifiers = self.tree(tree)?;
        let mut objects = Vec::new();
        for identifier in identifiers {
            objects.push(self.managed(&heap, &identifier)?);
        }
        Ok(objects)
    }

    fn heap(&mut self, at: u64) -> Parsed<Heap> {
        let bytes = self.block_up_to(at, 256)?;
        let mut reader = Reader::new(&bytes);
        if reader.take(4)? != b"FRHP" {
            return Err(BoundedError::Malformed("dense storage without its heap"));
        }
        reader.skip(3)?;
        let filters = reader.u16_le()?;
        reader.skip(1)?;
        let managed_max = u64::from(reader.u32_le()?);
        let (address, length) = (self.address, self.length);
        // Huge objects: next identifier, tree. Free space: amount, manager. Space and counts.
        reader.skip(u64::from(length) * 10 + u64::from(address) * 2)?;
        let width = u64::from(reader.u16_le()?);
        let (start_size, direct_max) = (sized(&mut reader, length)?, sized(&mut reader, length)?);
        let bits = reader.u16_le()?;
        reader.skip(2)?;
        let root = sized(&mut reader, address)?;
        let rows = reader.u16_le()?;
        let sound = width > 0 && width <= 1024 && start_size.is_power_of_two() && direct_max.is_power_of_two() && direct_max >= start_size && bits <= 64;
        if !sound || rows > 64 {
            return Err(BoundedError::Malformed("a heap of impossible sizes"));
        }
        let offset_bytes = u8::try_from(bits.div_ceil(8)).unwrap_or(8);
        let length_bytes = bytes_for(direct_max.min(managed_max.max(1)));
        Ok(Heap { filtered: filters != 0, offset_bytes, length_bytes, width, start_size, direct_max, root, rows })
    }

    /// The heap's object with this identifier.
    fn managed(&mut self, heap: &Heap, identifier: &[u8]) -> Parsed<Vec<u8>> {
        let mut reader = Reader::new(identifier);
        match reader.u8()? >> 4 & 3 {
            0 => {}
            // Tiny: the object stands in its identifier, behind its length less one.
            2 => return Ok(identifier.get(1..).unwrap_or_default().to_vec()),
            _ => return Err(BoundedError::Unsupported("an object outside of its heap")),
        }
        let (offset, length) = (sized(&mut reader, heap.offset_bytes)?, sized(&mut reader, heap.length_bytes)?);
        if length > OBJECT_BYTES_MAX {
            return Err(BoundedError::LimitExceeded { what: "bytes of an object in a heap", limit: OBJECT_BYTES_MAX });
        }
        let (block, start) = self.direct_block(heap, offset)?;
        let inside = offset.checked_sub(start).ok_or(BoundedError::Malformed("an object before its block"))?;
        let at = block.checked_add(inside).ok_or(BoundedError::Malformed("an address does not fit 64 bits"))?;
        self.block(at, length)
    }

    /// Address and first offset of the direct block that holds `offset`.
    fn direct_block(&mut self, heap: &Heap, offset: u64) -> Parsed<(u64, u64)> {
        let outside = || BoundedError::Malformed("an object outside of every block of its heap");
        let (mut block, mut start, mut rows) = (heap.root, 0_u64, u64::from(heap.rows));
        for _ in 0..LEVELS_MAX {
            if block == UNDEFINED {
                return Err(outside());
            }
            if rows == 0 {
                return Ok((block, start));
            }
            // Rows double in size from the second on; those above the largest direct block are indirect themselves.
            let direct_rows = u64::from(heap.direct_max.ilog2() - heap.start_size.ilog2()) + 2;
            let (mut row, mut row_start, mut size) = (0_u64, start, heap.start_size);
            loop {
                let row_bytes = size.checked_mul(heap.width).ok_or_else(outside)?;
                let row_end = row_start.checked_add(row_bytes).ok_or_else(outside)?;
                if offset < row_end {
                    break;
                }
                (row_start, row) = (row_end, row + 1);
                if row > 1 {
                    size = size.checked_mul(2).ok_or_else(outside)?;
                }
                if row >= rows {
                    return Err(outside());
                }
            }
            let column = offset.checked_sub(row_start).ok_or_else(outside)? / size;
            let entry = row * heap.width + column;
            // Signature, version, the heap's address, the block's offset, then one address an entry.
            let header = 5 + u64::from(self.address) + u64::from(heap.offset_bytes);
            let at = block.checked_add(header + entry * u64::from(self.address)).ok_or_else(outside)?;
            let bytes = self.block(at, self.address.into())?;
            block = sized(&mut Reader::new(&bytes), self.address)?;
            start = row_start + column * size;
            // An indirect block spans as many rows as its size needs.
            rows = if row < direct_rows { 0 } else { u64::from(size.ilog2().saturating_sub((heap.start_size * heap.width).ilog2())) + 1 };
        }
        Err(BoundedError::Malformed("a heap without end"))
    }

    /// The identifiers of every record of a tree.
    fn tree(&mut self, at: u64) -> Parsed<Vec<Vec<u8>>> {
        let (kind, record, records) = self.records(at)?;
        // Links by name: a hash, then the identifier. Attributes by name: the identifier of eight bytes first.
        let (skip, length) = match kind {
            5 => (4, record.checked_sub(4)),
            8 => (0, Some(8)),
            _ => return Err(BoundedError::Unsupported("a tree of an unknown kind")),
        };
        let length = length.filter(|length| *length > 1).ok_or(BoundedError::Malformed("a tree with records that are too short"))?;
        let (mut reader, mut found) = (Reader::new(&records), Vec::new());
        while !reader.is_empty() {
            let mut one = Reader::new(reader.take(record)?);
            one.skip(skip)?;
            found.push(one.take(length)?.to_vec());
        }
        Ok(found)
    }

    /// The kind of a tree of the second version, the size of its records, and the records one behind another.
    pub(super) fn records(&mut self, at: u64) -> Parsed<(u8, u64, Vec<u8>)> {
        let bytes = self.block_up_to(at, 64)?;
        let mut reader = Reader::new(&bytes);
        if reader.take(4)? != b"BTHD" {
            return Err(BoundedError::Malformed("dense storage without its tree"));
        }
        reader.skip(1)?;
        let kind = reader.u8()?;
        let (node_size, record, depth) = (u64::from(reader.u32_le()?), u64::from(reader.u16_le()?), reader.u16_le()?);
        reader.skip(2)?;
        let root = sized(&mut reader, self.address)?;
        let count = u64::from(reader.u16_le()?);
        if root == UNDEFINED {
            return Ok((kind, record, Vec::new()));
        }
        if depth > LEVELS_MAX {
            return Err(BoundedError::Malformed("a tree without end"));
        }
        let shape = Shape::new(node_size, record, depth, u64::from(self.address))?;
        let (mut nodes, mut found, mut seen) = (vec![(root, count, depth)], Vec::new(), 0);
        while let Some((node, count, depth)) = nodes.pop() {
            seen += 1;
            if seen > NODES_MAX {
                return Err(BoundedError::LimitExceeded { what: "nodes of a tree", limit: NODES_MAX.into() });
            }
            let bytes = self.block_up_to(node, node_size)?;
            let mut reader = Reader::new(&bytes);
            if reader.take(4)? != if depth == 0 { b"BTLF" } else { b"BTIN" } {
                return Err(BoundedError::Malformed("a tree that holds something else than nodes"));
            }
            reader.skip(2)?;
            let length = count.checked_mul(record).ok_or(BoundedError::Malformed("a node of a tree with more records than it has bytes"))?;
            found.extend_from_slice(reader.take(length)?);
            if found.len() > RECORD_BYTES_MAX {
                return Err(BoundedError::LimitExceeded { what: "bytes of a tree's records", limit: RECORD_BYTES_MAX as u64 });
            }
            let Some(below) = depth.checked_sub(1) else { continue };
            for _ in 0..=count {
                let child = sized(&mut reader, self.address)?;
                let (records, total) = shape.widths(below);
                let count = sized(&mut reader, records)?;
                reader.skip(total.into())?;
                nodes.push((child, count, below));
            }
        }
        Ok((kind, record, found))
    }
}

/// Widths of the counts in a tree's pointers, which depend on how much can be below them.
struct Shape(Vec<(u8, u8)>);

impl Shape {
    fn new(node_size: u64, record: u64, depth: u16, address: u64) -> Parsed<Self> {
        let impossible = || BoundedError::Malformed("a tree of impossible sizes");
        if record == 0 {
            return Err(impossible());
        }
        // Signature, version, kind and checksum take ten bytes of a node.
        let leaf = node_size.checked_sub(10).map(|bytes| bytes / record).filter(|most| *most > 0).ok_or_else(impossible)?;
        let (mut widths, mut total) = (vec![(bytes_for(leaf), 0)], leaf);
        for level in 1..=depth {
            let (records, below) = widths.last().copied().unwrap_or((1, 0));
            let pointer = address + u64::from(records) + u64::from(below);
            let most = node_size.checked_sub(10 + pointer).map(|bytes| bytes / (record + pointer)).filter(|most| *most > 0).ok_or_else(impossible)?;
            total = (most + 1).saturating_mul(total).saturating_add(most);
            widths.push((bytes_for(most), bytes_for(total)));
            if level == LEVELS_MAX {
                break;
            }
        }
        Ok(Self(widths))
    }

    /// Bytes of a child's count of records, and of the total below it; a leaf has no total.
    fn widths(&self, level: u16) -> (u8, u8) {
        self.0.get(usize::from(level)).copied().unwrap_or((1, 0))
    }
}

/// Bytes that hold numbers up to `limit`.
fn bytes_for(limit: u64) -> u8 {
    u8::try_from(limit.max(1).ilog2() / 8 + 1).unwrap_or(8)
}
