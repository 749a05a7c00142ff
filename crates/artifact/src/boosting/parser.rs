//! Universal Binary JSON (draft 12), walked in place: counts and lengths against the file.

use super::limits::DEPTH_MAX;
use picket_bounded::{BoundedError, Budget, Cursor};

type Read<T> = Result<T, BoundedError>;

pub(super) struct Walker<'w, 's> {
    pub(super) cursor: Cursor<'s>,
    pub(super) budget: &'w mut Budget,
}

impl Walker<'_, '_> {
    pub(super) fn value(&mut self, kind: u8, depth: u32) -> Read<()> {
        self.budget.spend_steps(1)?;
        match kind {
            b'Z' | b'N' | b'T' | b'F' => Ok(()),
            b'S' | b'H' => {
                let length = self.length()?;
                self.cursor.skip(length)
            }
            b'[' | b'{' => self.container(kind == b'{', depth),
            _ => self.cursor.skip(width(kind)?),
        }
    }

    /// A whole number of any width, as lengths and counts are.
    fn length(&mut self) -> Read<u64> {
        let negative = BoundedError::Malformed("a negative length");
        match self.cursor.u8()? {
            b'U' => Ok(self.cursor.u8()?.into()),
            b'i' => u64::try_from(i8::from_le_bytes(self.cursor.array()?)).map_err(|_| negative),
            b'I' => u64::try_from(i16::from_be_bytes(self.cursor.array()?)).map_err(|_| negative),
            b'l' => u64::try_from(i32::from_be_bytes(self.cursor.array()?)).map_err(|_| negative),
            b'L' => u64::try_from(i64::from_be_bytes(self.cursor.array()?)).map_err(|_| negative),
            _ => Err(BoundedError::Malformed("a length that is no whole number")),
        }
    }

    fn container(&mut self, object: bool, depth: u32) -> Read<()> {
        let depth = depth.checked_sub(1).ok_or(BoundedError::LimitExceeded { what: "containers inside one another", limit: DEPTH_MAX.into() })?;
        let (mut kind, mut count) = (None, None);
        if self.cursor.peek::<1>()? == *b"$" {
            self.cursor.skip(1)?;
            kind = Some(self.cursor.u8()?);
        }
        if self.cursor.peek::<1>()? == *b"#" {
            self.cursor.skip(1)?;
            count = Some(self.length()?);
        }
        if kind.is_some() && count.is_none() {
            return Err(BoundedError::Malformed("values of one kind without a count"));
        }
        match (kind, count) {
            // Numbers of one kind are one run of bytes.
            (Some(kind), Some(count)) if !object && width(kind).is_ok() => {
                let bytes = count.checked_mul(width(kind)?).ok_or(BoundedError::Malformed("a list larger than 64 bits can address"))?;
                self.cursor.skip(bytes)
            }
            (kind, Some(count)) => {
                if count > self.cursor.remaining() {
                    return Err(BoundedError::Malformed("a container with more values than the file has bytes"));
                }
                for _ in 0..count {
                    self.member(object, kind, depth)?;
                }
                Ok(())
            }
            (_, None) => {
                let close = if object { b'}' } else { b']' };
                while self.cursor.peek::<1>()? != [close] {
                    self.member(object, None, depth)?;
                }
                self.cursor.skip(1)
            }
        }
    }

    fn member(&mut self, object: bool, kind: Option<u8>, depth: u32) -> Read<()> {
        if object {
            let length = self.length()?;
            self.cursor.skip(length)?;
        }
        let kind = match kind {
            Some(kind) => kind,
            None => self.cursor.u8()?,
        };
        self.value(kind, depth)
    }
}

fn width(kind: u8) -> Read<u64> {
    Ok(match kind {
        b'i' | b'U' | b'C' => 1,
        b'I' => 2,
        b'l' | b'd' => 4,
        b'L' | b'D' => 8,
        _ => return Err(BoundedError::Malformed("a value of an unknown kind")),
    })
}
