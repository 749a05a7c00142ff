//! Which chunks a data set has: the indexes that list them (File Format Specification 3.0, III.A.1, III.C to III.E, VII).

use super::dataset::{Dataset, Index, Layout};
use super::parser::{Parsed, Parser, UNDEFINED, sized};
use crate::tensors::{Chunk, Run};
use picket_bounded::{BoundedError, Reader};

/// Chunks of all data sets. At the megabyte that writers choose for one, this is half a terabyte; each costs its reader some hundred bytes.
const CHUNKS_MAX: usize = 500_000;
/// Nodes of one tree, and blocks of one array.
const NODES_MAX: u32 = 100_000;
/// Elements of one block or page of an index.
const BLOCK_BYTES_MAX: u64 = 16 << 20;

/// How a data set is cut.
pub(super) struct Grid {
    rank: usize,
    /// Chunks along each dimension, now and at most.
    now: Vec<u64>,
    most: Vec<u64>,
    /// Bytes of a chunk as it is in memory.
    pub(super) nominal: u64,
    filtered: bool,
}

impl Grid {
    fn new(dataset: &Dataset, chunk: &[u64], element: u64) -> Parsed<Self> {
        let shape = dataset.shape.as_deref().unwrap_or_default();
        if shape.len() != chunk.len() || dataset.shape_max.len() != chunk.len() {
            return Err(BoundedError::Malformed("chunks of other dimensions than their data set"));
        }
        let count = |sizes: &[u64]| sizes.iter().zip(chunk).map(|(size, chunk)| if *size == UNDEFINED { UNDEFINED } else { size.div_ceil(*chunk) }).collect();
        let nominal = chunk.iter().try_fold(element, |product, length| product.checked_mul(*length));
        let nominal = nominal.ok_or(BoundedError::Malformed("a chunk larger than 64 bits can address"))?;
        Ok(Self { rank: chunk.len(), now: count(shape), most: count(&dataset.shape_max), nominal, filtered: !dataset.filters.is_empty() })
    }

    /// The number of a chunk in the order of its elements; nothing outside of what the data set has now.
    fn number(&self, place: &[u64]) -> Option<u64> {
        place.iter().zip(&self.now).try_fold(0_u64, |number, (at, count)| number.checked_mul(*count)?.checked_add(*at).filter(|_| at < count))
    }

    /// The same for a chunk whose number counts up to the largest extents. `slowest` is the dimension that counts before all others.
    fn of_array(&self, number: u64, slowest: usize) -> Option<u64> {
        let (mut place, mut left) = (vec![0; self.rank], number);
        for dimension in (0..self.rank).rev().filter(|dimension| *dimension != slowest) {
            let count = *self.most.get(dimension)?;
            *place.get_mut(dimension)? = left.checked_rem(count)?;
            left = left.checked_div(count)?;
        }
        *place.get_mut(slowest)? = left;
        self.number(&place)
    }
}

/// Elements of an array of chunks: places, and of packed ones sizes and filters left out.
struct Entries {
    /// Bytes of one.
    width: u64,
    /// Bytes of its size.
    size: u8,
}

impl Entries {
    fn new(width: u8, address: u8, filtered: bool) -> Parsed<Self> {
        let size = if filtered { width.checked_sub(address).and_then(|left| left.checked_sub(4)) } else { Some(0) };
        let size = size.filter(|size| *size <= 8 && (filtered == (*size > 0)) && (filtered || width == address));
        Ok(Self { width: width.into(), size: size.ok_or(BoundedError::Malformed("entries of an index of an impossible width"))? })
    }
}

impl Parser<'_, '_> {
    /// Fills in the chunks of a data set that has some, by their numbers.
    pub(super) fn list_chunks(&mut self, dataset: &mut Dataset) -> Parsed<()> {
        let Some(Layout::Chunked { chunk, element, index }) = dataset.layout.clone() else { return Ok(()) };
        let grid = Grid::new(dataset, &chunk, element)?;
        match index {
            Index::Tree1(UNDEFINED)
            | Index::Single(UNDEFINED, _)
            | Index::Implicit(UNDEFINED)
            | Index::FixedArray(UNDEFINED)
            | Index::ExtensibleArray(UNDEFINED)
            | Index::Tree2(UNDEFINED) => {}
            Index::Tree1(root) => self.first_tree(root, &grid, &chunk, dataset)?,
            Index::Single(at, packed) => {
                let (size, mask) = packed.unwrap_or((grid.nominal, 0));
                self.add(dataset, Some(0), at, size, mask)?;
            }
            Index::Implicit(at) => self.implicit(at, &grid, dataset)?,
            Index::FixedArray(at) => self.fixed_array(at, &grid, dataset)?,
            Index::ExtensibleArray(at) => self.extensible_array(at, &grid, dataset)?,
            Index::Tree2(at) => self.second_tree(at, &grid, dataset)?,
        }
        dataset.chunks.sort_unstable_by_key(|chunk| chunk.index);
        Ok(())
    }

    /// One chunk, unless it was never written or lies outside of the extents.
    fn add(&mut self, dataset: &mut Dataset, number: Option<u64>, at: u64, size: u64, mask: u32) -> Parsed<()> {
        let Some(index) = number.filter(|_| at != UNDEFINED) else { return Ok(()) };
        self.chunks += 1;
        if self.chunks > CHUNKS_MAX {
            return Err(BoundedError::LimitExceeded { what: "chunks of data sets", limit: CHUNKS_MAX as u64 });
        }
        let offset = self.base.checked_add(at).ok_or(BoundedError::Malformed("an address does not fit 64 bits"))?;
        dataset.chunks.push(Chunk { index, run: Run { offset, len: size }, mask });
        Ok(())
    }

    fn first_tree(&mut self, root: u64, grid: &Grid, chunk: &[u64], dataset: &mut Dataset) -> Parsed<()> {
        let address = u64::from(self.address);
        let key = 8 + 8 * (grid.rank as u64 + 1);
        let (mut nodes, mut seen) = (vec![(root, None)], 0);
        while let Some((at, expected)) = nodes.pop() {
            seen += 1;
            if seen > NODES_MAX {
                return Err(BoundedError::LimitExceeded { what: "nodes of a tree", limit: NODES_MAX.into() });
            }
            let head = self.block(at, 8 + 2 * address)?;
            let mut reader = Reader::new(&head);
            let signature = reader.take(4)?;
            let (kind, level, count) = (reader.u8()?, reader.u8()?, u64::from(reader.u16_le()?));
            // Levels that fall by one are what ends a tree whose nodes name each other.
            if signature != b"TREE" || kind != 1 || expected.is_some_and(|expected| expected != level) {
                return Err(BoundedError::Malformed("a tree of chunks that holds something else than nodes"));
            }
            let body = self.block(at.saturating_add(8 + 2 * address), count * (key + address))?;
            let mut reader = Reader::new(&body);
            for _ in 0..count {
                let (size, mask) = (reader.u32_le()?, reader.u32_le()?);
                let place = (0..grid.rank).map(|_| reader.u64_le()).collect::<Parsed<Vec<_>>>()?;
                reader.skip(8)?;
                let child = sized(&mut reader, self.address)?;
                match level.checked_sub(1) {
                    Some(below) => nodes.push((child, Some(below))),
                    None => {
                        let place: Vec<u64> = place.iter().zip(chunk).map(|(at, length)| at.checked_div(*length).unwrap_or(UNDEFINED)).collect();
                        self.add(dataset, grid.number(&place), child, size.into(), mask)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn implicit(&mut self, start: u64, grid: &Grid, dataset: &mut Dataset) -> Parsed<()> {
        let count = grid.most.iter().try_fold(1_u64, |product, count| product.checked_mul(*count));
        let count =
            count.filter(|count| *count <= CHUNKS_MAX as u64).ok_or(BoundedError::LimitExceeded { what: "chunks of data sets", limit: CHUNKS_MAX as u64 })?;
        for number in 0..count {
            self.budget.spend_steps(1)?;
            let at = number.checked_mul(grid.nominal).and_then(|offset| start.checked_add(offset));
            let at = at.ok_or(BoundedError::Malformed("an address does not fit 64 bits"))?;
            self.add(dataset, grid.of_array(number, 0), at, grid.nominal, 0)?;
        }
        Ok(())
    }

    fn second_tree(&mut self, at: u64, grid: &Grid, dataset: &mut Dataset) -> Parsed<()> {
        let (kind, record, records) = self.records(at)?;
        let place = 8 * grid.rank as u64;
        let width = u8::try_from(record.saturating_sub(place)).ok().filter(|_| matches!(kind, 10 | 11));
        let entries = Entries::new(width.ok_or(BoundedError::Malformed("a tree of chunks with other records"))?, self.address, kind == 11)?;
        let mut reader = Reader::new(&records);
        while !reader.is_empty() {
            let (at, size, mask) = self.entry(&mut reader, &entries, grid)?;
            let place = (0..grid.rank).map(|_| reader.u64_le()).collect::<Parsed<Vec<_>>>()?;
            self.add(dataset, grid.number(&place), at, size, mask)?;
        }
        Ok(())
    }

    fn entry(&self, reader: &mut Reader<'_>, entries: &Entries, grid: &Grid) -> Parsed<(u64, u64, u32)> {
        let at = sized(reader, self.address)?;
        if entries.size == 0 {
            return Ok((at, grid.nominal, 0));
        }
        Ok((at, sized(reader, entries.size)?, reader.u32_le()?))
    }

    /// `count` elements of an array one behind another, of which the first has the number `first`.
    fn elements(&mut self, at: u64, first: u64, count: u64, array: &Array<'_>, dataset: &mut Dataset) -> Parsed<()> {
        let length = count.checked_mul(array.entries.width).filter(|length| *length <= BLOCK_BYTES_MAX);
        let bytes = self.block(at, length.ok_or(BoundedError::Malformed("a block of an index larger than the limit"))?)?;
        let mut reader = Reader::new(&bytes);
        for number in first..first.saturating_add(count) {
            let (at, size, mask) = self.entry(&mut reader, &array.entries, array.grid)?;
            self.add(dataset, array.grid.of_array(number, array.slowest), at, size, mask)?;
        }
        Ok(())
    }

    /// The same in pages, each with a checksum; a bitmap says which were written, where there is one.
    fn pages(&mut self, at: u64, first: u64, count: u64, array: &Array<'_>, written: Option<Written<'_>>, dataset: &mut Dataset) -> Parsed<()> {
        let page_bytes = array.page.checked_mul(array.entries.width).and_then(|bytes| bytes.checked_add(4));
        let page_bytes = page_bytes.ok_or(BoundedError::Malformed("a page of an index of an impossible size"))?;
        for page in 0..count.div_ceil(array.page) {
            self.budget.spend_steps(1)?;
            let is_written = written.as_ref().is_none_or(|written| written.has(page));
            if is_written {
                let before = page.saturating_mul(array.page);
                let at = at.saturating_add(page.saturating_mul(page_bytes));
                self.elements(at, first.saturating_add(before), array.page.min(count - before), array, dataset)?;
            }
        }
        Ok(())
    }

    /// Signature, version and kind of a block, and the array's header that it belongs to.
    fn head<'b>(bytes: &'b [u8], signature: &[u8; 4]) -> Parsed<Reader<'b>> {
        let mut reader = Reader::new(bytes);
        if reader.take(4)? != signature {
            return Err(BoundedError::Malformed("an index of chunks without one of its blocks"));
        }
        reader.skip(2)?;
        Ok(reader)
    }

    fn fixed_array(&mut self, at: u64, grid: &Grid, dataset: &mut Dataset) -> Parsed<()> {
        let (address, length) = (u64::from(self.address), u64::from(self.length));
        let header = self.block(at, 8 + length + address)?;
        let mut reader = Self::head(&header, b"FAHD")?;
        let (width, page_bits) = (reader.u8()?, reader.u8()?);
        let (count, data) = (sized(&mut reader, self.length)?, sized(&mut reader, self.address)?);
        if data == UNDEFINED {
            return Ok(());
        }
        let page = 1_u64.checked_shl(page_bits.into()).ok_or(BoundedError::Malformed("a page of an index of an impossible size"))?;
        let array = Array { grid, entries: Entries::new(width, self.address, grid.filtered)?, page, slowest: 0 };
        let prefix = 6 + address;
        Self::head(&self.block(data, prefix)?, b"FADB")?;
        if count <= page {
            return self.elements(data.saturating_add(prefix), 0, count, &array, dataset);
        }
        let bitmap = count.div_ceil(page).div_ceil(8);
        let written = self.block(data.saturating_add(prefix), bitmap)?;
        let written = Written { bits: &written, first: 0 };
        self.pages(data.saturating_add(prefix + bitmap + 4), 0, count, &array, Some(written), dataset)
    }

    fn extensible_array(&mut self, at: u64, grid: &Grid, dataset: &mut Dataset) -> Parsed<()> {
        let (address, length) = (u64::from(self.address), u64::from(self.length));
        let header = self.block(at, 12 + 6 * length + address)?;
        let mut reader = Self::head(&header, b"EAHD")?;
        let (width, bits, in_index, least, pointers, page_bits) = (reader.u8()?, reader.u8()?, reader.u8()?, reader.u8()?, reader.u8()?, reader.u8()?);
        reader.skip(6 * length)?;
        let index = sized(&mut reader, self.address)?;
        if index == UNDEFINED {
            return Ok(());
        }
        if bits > 64 || page_bits > 63 || !least.is_power_of_two() || !pointers.is_power_of_two() {
            return Err(BoundedError::Malformed("an extensible array of impossible sizes"));
        }
        // The one dimension that has no end counts before all others.
        let slowest = grid.most.iter().position(|count| *count == UNDEFINED).unwrap_or(0);
        let array = Array { grid, entries: Entries::new(width, self.address, grid.filtered)?, page: 1 << page_bits, slowest };
        let shape = Extensible { least: least.into(), offset_bytes: u64::from(bits).div_ceil(8) };
        let blocks = 2 * (u64::from(pointers) - 1);
        let groups_before = 2 * pointers.ilog2();
        let groups = (1 + u32::from(bits)).saturating_sub(least.ilog2()).saturating_sub(groups_before);
        let prefix = 6 + address;
        let elements = u64::from(in_index) * array.entries.width;
        let bytes = self.block(index, prefix + elements + (blocks + u64::from(groups)) * address)?;
        let mut reader = Self::head(&bytes, b"EAIB")?;
        self.elements(index.saturating_add(prefix), 0, in_index.into(), &array, dataset)?;
        reader.skip(address + elements)?;
        let mut first = u64::from(in_index);
        // The first groups of data blocks stand in the index itself, the rest in blocks of their own.
        for group in 0..groups_before {
            for _ in 0..shape.blocks(group)? {
                let block = sized(&mut reader, self.address)?;
                let count = shape.elements(group)?;
                self.data_block(block, first, count, &array, &shape, None, dataset)?;
                first = first.saturating_add(count);
            }
        }
        for group in groups_before..groups_before + groups {
            let block = sized(&mut reader, self.address)?;
            self.pointers(block, group, first, &array, &shape, dataset)?;
            first = first.saturating_add(shape.blocks(group)?.saturating_mul(shape.elements(group)?));
        }
        Ok(())
    }

    /// A block of pointers to data blocks.
    fn pointers(&mut self, at: u64, group: u32, first: u64, array: &Array<'_>, shape: &Extensible, dataset: &mut Dataset) -> Parsed<()> {
        if at == UNDEFINED {
            return Ok(());
        }
        let address = u64::from(self.address);
        let (blocks, count) = (shape.blocks(group)?, shape.elements(group)?);
        let bitmap = if count > array.page { count.div_ceil(array.page).div_ceil(8) } else { 0 };
        let length = blocks.checked_mul(bitmap + address).filter(|length| *length <= BLOCK_BYTES_MAX);
        let prefix = 6 + address + shape.offset_bytes;
        let bytes = self.block(at, prefix + length.ok_or(BoundedError::Malformed("a block of an index larger than the limit"))?)?;
        let mut reader = Self::head(&bytes, b"EASB")?;
        reader.skip(address + shape.offset_bytes)?;
        // Bits of a block follow those of the block before it, not the next byte.
        let written = reader.take(blocks * bitmap)?;
        for number in 0..blocks {
            let block = sized(&mut reader, self.address)?;
            let first = first.saturating_add(number.saturating_mul(count));
            let written = Written { bits: written, first: number.saturating_mul(count / array.page) };
            self.data_block(block, first, count, array, shape, Some(written), dataset)?;
        }
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "a block, its place in the array, and the array")]
    fn data_block(
        &mut self,
        at: u64,
        first: u64,
        count: u64,
        array: &Array<'_>,
        shape: &Extensible,
        written: Option<Written<'_>>,
        dataset: &mut Dataset,
    ) -> Parsed<()> {
        if at == UNDEFINED {
            return Ok(());
        }
        let prefix = 6 + u64::from(self.address) + shape.offset_bytes;
        Self::head(&self.block(at, prefix)?, b"EADB")?;
        if count > array.page {
            // The checksum of the head stands before the pages.
            return self.pages(at.saturating_add(prefix + 4), first, count, array, written, dataset);
        }
        self.elements(at.saturating_add(prefix), first, count, array, dataset)
    }
}

/// Which pages were written, a bit each.
struct Written<'b> {
    bits: &'b [u8],
    /// The bit of the first page.
    first: u64,
}

impl Written<'_> {
    fn has(&self, page: u64) -> bool {
        let bit = self.first.saturating_add(page);
        let byte = usize::try_from(bit / 8).ok().and_then(|byte| self.bits.get(byte));
        byte.is_some_and(|byte| byte & (0x80 >> (bit % 8)) != 0)
    }
}

/// An array of chunks, fixed or extensible.
struct Array<'g> {
    grid: &'g Grid,
    entries: Entries,
    /// Elements of one page.
    page: u64,
    slowest: usize,
}

/// How an extensible array grows: each second group has twice as many data blocks, each other one blocks of twice the size.
struct Extensible {
    least: u64,
    /// Bytes of the offset in the head of a block.
    offset_bytes: u64,
}

impl Extensible {
    fn blocks(&self, group: u32) -> Parsed<u64> {
        1_u64.checked_shl(group / 2).ok_or(BoundedError::Malformed("an extensible array of impossible sizes"))
    }

    fn elements(&self, group: u32) -> Parsed<u64> {
        let size = 1_u64.checked_shl(group.div_ceil(2)).and_then(|size| size.checked_mul(self.least));
        size.ok_or(BoundedError::Malformed("an extensible array of impossible sizes"))
    }
}
