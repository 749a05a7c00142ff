//! Global heaps: what elements of variable length refer to (File Format Specification 3.0, III.E).

use super::parser::{Parsed, sized};
use picket_bounded::{BoundedError, Budget, Cursor, Reader, Source, read_range};
use std::collections::HashMap;

/// One heap; writers begin a new one every 4 KiB, and give an object that is larger one of its own.
const HEAP_BYTES_MAX: u64 = 64 << 20;

/// Heads are eight to sixteen bytes, some forty apart.
const BUFFER_BYTES: usize = 4096;

/// Place and size of each object, by its number.
type Objects = HashMap<u32, (u64, u64)>;

/// Reads objects of heaps, and remembers where those of the last heap stand.
#[derive(Debug, Default)]
pub(super) struct Heaps {
    /// Where addresses count from.
    pub(super) base: u64,
    pub(super) address: u8,
    length: u8,
    last: Option<(u64, Objects)>,
}

impl Heaps {
    /// Widths of addresses and lengths are those of the superblock.
    pub(super) fn new(base: u64, address: u8, length: u8) -> Self {
        Self { base, address, length, last: None }
    }

    /// At most `length` bytes of one object, of which an attribute or element has the heap's address and the object's number.
    pub(super) fn object(&mut self, source: &dyn Source, budget: &mut Budget, heap: u64, index: u32, length: u64, cap: u64) -> Parsed<Vec<u8>> {
        if self.last.as_ref().is_none_or(|(last, _)| *last != heap) {
            self.last = Some((heap, self.list(source, budget, heap)?));
        }
        let found = self.last.as_ref().and_then(|(_, objects)| objects.get(&index));
        let (offset, size) = *found.ok_or(BoundedError::Malformed("a text is not in its heap"))?;
        budget.spend_steps(1 + length.min(size) / 64)?;
        read_range(source, offset, length.min(size), cap)
    }

    /// Place and size of each object of a heap.
    fn list(&self, source: &dyn Source, budget: &mut Budget, heap: u64) -> Parsed<Objects> {
        let start = self.base.checked_add(heap).ok_or(BoundedError::Malformed("an address does not fit 64 bits"))?;
        let length = u64::from(self.length);
        let head = read_range(source, start, 8 + length, 32)?;
        let mut reader = Reader::new(&head);
        if reader.take(4)? != b"GCOL" {
            return Err(BoundedError::Malformed("a text points to no heap"));
        }
        reader.skip(4)?;
        let size = sized(&mut reader, self.length)?.min(source.len().saturating_sub(start));
        if size > HEAP_BYTES_MAX {
            return Err(BoundedError::LimitExceeded { what: "bytes of a heap", limit: HEAP_BYTES_MAX });
        }
        budget.spend_steps(1 + size / 64)?;
        // Only the heads of objects are read: what stands between them may be large.
        let mut cursor = Cursor::with_buffer(source, BUFFER_BYTES);
        cursor.seek(start.saturating_add(8 + length));
        let (end, mut objects) = (start.saturating_add(size), HashMap::new());
        while cursor.position().saturating_add(8 + length) <= end {
            budget.spend_steps(1)?;
            let index = cursor.u16_le()?;
            cursor.skip(6)?;
            let object = sized(&mut Reader::new(&cursor.take(length, 8)?), self.length)?;
            if index == 0 {
                break;
            }
            objects.insert(index.into(), (cursor.position(), object));
            cursor.skip(object.checked_next_multiple_of(8).ok_or(BoundedError::Malformed("an object of a heap does not fit 64 bits"))?)?;
        }
        Ok(objects)
    }
}
