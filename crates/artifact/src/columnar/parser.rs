//! Thrift's compact protocol, as Parquet footers use it: text by the path of field numbers that leads to it.

use super::limits::DEPTH_MAX;
use picket_bounded::{BoundedError, Budget, Reader};

type Read<T> = Result<T, BoundedError>;

/// Walks one structure and calls `look` with the fields' numbers (lists do not add one) and the bytes of each text.
pub(super) fn walk<'b>(bytes: &'b [u8], budget: &mut Budget, look: &mut dyn FnMut(&[i32], &'b [u8])) -> Read<u64> {
    let mut walker = Walker { reader: Reader::new(bytes), budget, path: Vec::new() };
    walker.structure(DEPTH_MAX, look)?;
    Ok(walker.reader.position())
}

struct Walker<'b, 'w> {
    reader: Reader<'b>,
    budget: &'w mut Budget,
    path: Vec<i32>,
}

impl<'b> Walker<'b, '_> {
    fn structure(&mut self, depth: u32, look: &mut dyn FnMut(&[i32], &'b [u8])) -> Read<()> {
        let depth = depth.checked_sub(1).ok_or(BoundedError::Malformed("structures inside one another without end"))?;
        let mut number = 0_i32;
        loop {
            self.budget.spend_steps(1)?;
            let head = self.reader.u8()?;
            let kind = head & 15;
            if kind == 0 {
                return Ok(());
            }
            // A small step is written beside the kind, any other as a zigzag number of its own.
            number = match head >> 4 {
                0 => zigzag(self.reader.varint()?),
                step => number.wrapping_add(step.into()),
            };
            self.path.push(number);
            self.value(kind, depth, true, look)?;
            self.path.pop();
        }
    }

    fn value(&mut self, kind: u8, depth: u32, in_field: bool, look: &mut dyn FnMut(&[i32], &'b [u8])) -> Read<()> {
        match kind {
            // A boolean field stands in its kind; in a list it has a byte.
            1 | 2 if in_field => Ok(()),
            1..=3 => self.reader.skip(1),
            4..=6 => self.reader.varint().map(|_| ()),
            7 => self.reader.skip(8),
            8 => {
                let length = self.reader.varint()?;
                let text = self.reader.take(length)?;
                look(&self.path, text);
                Ok(())
            }
            9 | 10 => {
                let head = self.reader.u8()?;
                let count = if head >> 4 == 15 { self.reader.varint()? } else { u64::from(head >> 4) };
                self.many(count, head & 15, depth, look)
            }
            11 => {
                let count = self.reader.varint()?;
                if count == 0 {
                    return Ok(());
                }
                let kinds = self.reader.u8()?;
                for _ in 0..count {
                    self.budget.spend_steps(1)?;
                    self.value(kinds >> 4, depth, false, look)?;
                    self.value(kinds & 15, depth, false, look)?;
                }
                Ok(())
            }
            12 => self.structure(depth, look),
            13 => self.reader.skip(16),
            _ => Err(BoundedError::Malformed("a value of an unknown kind")),
        }
    }

    fn many(&mut self, count: u64, kind: u8, depth: u32, look: &mut dyn FnMut(&[i32], &'b [u8])) -> Read<()> {
        let depth = depth.checked_sub(1).ok_or(BoundedError::Malformed("lists inside one another without end"))?;
        // Every element takes at least a byte.
        if count > self.reader.remaining() {
            return Err(BoundedError::Malformed("a list longer than its footer"));
        }
        for _ in 0..count {
            self.budget.spend_steps(1)?;
            self.value(kind, depth, false, look)?;
        }
        Ok(())
    }
}

fn zigzag(value: u64) -> i32 {
    let half = i32::try_from(value >> 1 & 0x7fff_ffff).unwrap_or(0);
    if value & 1 == 0 { half } else { !half }
}
