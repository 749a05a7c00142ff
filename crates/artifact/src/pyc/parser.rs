//! Python's marshal format, versions 2 to 5, as `.pyc` files of Python 3.6 to 3.14 use it: code objects with their names and
//! texts. Nothing is rebuilt that could run.

use super::limits::{DEPTH_MAX, REFERENCES_MAX, TEXT_BYTES_MAX, TEXTS_BYTES_MAX, TEXTS_MAX};
use picket_bounded::{BoundedError, Budget, Reader};
use std::rc::Rc;

/// How a code object's fields are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// 3.6 and 3.7.
    Old,
    /// 3.8 to 3.10: positional-only arguments.
    Middle,
    /// 3.11 and later: one list of local names, a qualified name, exception tables.
    New,
}

/// The layout and the length of the header before the code, by the magic number of a release.
pub(super) fn release(magic: u16) -> Option<(Layout, u64)> {
    match magic {
        3360..=3379 => Some((Layout::Old, 12)),
        3390..=3399 => Some((Layout::Old, 16)),
        3400..=3439 => Some((Layout::Middle, 16)),
        3450..=3699 => Some((Layout::New, 16)),
        _ => None,
    }
}

/// One code object, without its code.
#[derive(Debug, Default)]
pub(super) struct Code {
    pub(super) name: String,
    /// What it loads and calls by name.
    pub(super) names: Vec<Rc<str>>,
    /// Text among its constants.
    pub(super) texts: Vec<Rc<str>>,
    /// Functions and classes defined in it: indices into the list of all.
    pub(super) depth: u32,
}

#[derive(Clone)]
enum Value {
    Text(Rc<str>),
    List(Rc<Vec<Value>>),
    Other,
}

pub(super) struct Marshal<'m> {
    reader: Reader<'m>,
    budget: &'m mut Budget,
    layout: Layout,
    references: Vec<Value>,
    kept: usize,
    pub(super) codes: Vec<Code>,
}

type Read<T> = Result<T, BoundedError>;

impl<'m> Marshal<'m> {
    pub(super) fn new(bytes: &'m [u8], layout: Layout, budget: &'m mut Budget) -> Self {
        Self { reader: Reader::new(bytes), budget, layout, references: Vec::new(), kept: 0, codes: Vec::new() }
    }

    /// Reads the one object of a file; the code objects met are in `codes`, outer before inner. Returns where it ends.
    pub(super) fn read(&mut self) -> Read<u64> {
        self.object(DEPTH_MAX)?;
        Ok(self.reader.position())
    }

    fn object(&mut self, depth: u32) -> Read<Value> {
        let depth = depth.checked_sub(1).ok_or(BoundedError::LimitExceeded { what: "marshalled objects inside one another", limit: DEPTH_MAX.into() })?;
        self.budget.spend_steps(1)?;
        let kind = self.reader.u8()?;
        // Containers take their number before what is inside them.
        let slot = (kind & 0x80 != 0).then_some(self.references.len());
        if slot.is_some() {
            if self.references.len() >= REFERENCES_MAX {
                return Err(BoundedError::LimitExceeded { what: "references of marshalled objects", limit: REFERENCES_MAX as u64 });
            }
            self.references.push(Value::Other);
        }
        let value = self.value(kind & 0x7f, depth)?;
        if let Some(place) = slot.and_then(|slot| self.references.get_mut(slot)) {
            *place = value.clone();
        }
        Ok(value)
    }

    fn value(&mut self, kind: u8, depth: u32) -> Read<Value> {
        match kind {
            b'0' | b'N' | b'F' | b'T' | b'S' | b'.' => Ok(Value::Other),
            b'i' => self.skip(4),
            b'I' | b'g' => self.skip(8),
            b'y' => self.skip(16),
            b'l' => {
                let digits = self.reader.i32_le()?.unsigned_abs();
                self.skip(u64::from(digits) * 2)
            }
            b'f' => {
                let length = self.reader.u8()?;
                self.skip(length.into())
            }
            b'x' => {
                for _ in 0..2 {
                    let length = self.reader.u8()?;
                    self.reader.skip(length.into())?;
                }
                Ok(Value::Other)
            }
            b's' => {
                let length = self.reader.u32_le()?;
                self.text(length.into(), false)
            }
            b't' | b'u' | b'a' | b'A' => {
                let length = self.reader.u32_le()?;
                self.text(length.into(), true)
            }
            b'z' | b'Z' => {
                let length = self.reader.u8()?;
                self.text(length.into(), true)
            }
            b')' => {
                let count = self.reader.u8()?;
                self.items(count.into(), depth)
            }
            b'(' | b'[' | b'<' | b'>' => {
                let count = self.reader.u32_le()?;
                self.items(count.into(), depth)
            }
            b'{' => {
                while self.reader.rest().first().is_some_and(|next| *next != b'0') {
                    self.object(depth)?;
                    self.object(depth)?;
                }
                self.skip(1)
            }
            b':' => self.items(3, depth),
            b'r' => {
                let index = self.reader.u32_le()?;
                usize::try_from(index)
                    .ok()
                    .and_then(|index| self.references.get(index).cloned())
                    .ok_or(BoundedError::Malformed("a reference to a marshalled object that is not there"))
            }
            b'c' => self.code(depth),
            _ => Err(BoundedError::Malformed("a marshalled object of an unknown kind")),
        }
    }

    fn skip(&mut self, length: u64) -> Read<Value> {
        self.reader.skip(length)?;
        Ok(Value::Other)
    }

    fn text(&mut self, length: u64, keep: bool) -> Read<Value> {
        let bytes = self.reader.take(length)?;
        if !keep || self.kept > TEXTS_BYTES_MAX {
            return Ok(Value::Other);
        }
        let text = String::from_utf8_lossy(bytes.get(..bytes.len().min(TEXT_BYTES_MAX)).unwrap_or_default());
        self.kept += text.len() + 64;
        Ok(Value::Text(text.as_ref().into()))
    }

    fn items(&mut self, count: u64, depth: u32) -> Read<Value> {
        let mut items = Vec::new();
        for _ in 0..count {
            let item = self.object(depth)?;
            if items.len() < TEXTS_MAX && !matches!(item, Value::Other) {
                items.push(item);
            }
        }
        Ok(Value::List(Rc::new(items)))
    }

    fn code(&mut self, depth: u32) -> Read<Value> {
        let numbers = match self.layout {
            Layout::Old | Layout::New => 5,
            Layout::Middle => 6,
        };
        self.reader.skip(numbers * 4)?;
        // Outer before inner: a module's own code is what runs on import.
        let index = self.codes.len();
        self.codes.push(Code { depth: DEPTH_MAX - depth, ..Code::default() });
        self.object(depth)?;
        let constants = self.object(depth)?;
        let names = self.object(depth)?;
        let variables = if self.layout == Layout::New { 2 } else { 3 };
        for _ in 0..variables {
            self.object(depth)?;
        }
        self.object(depth)?;
        let name = self.object(depth)?;
        if self.layout == Layout::New {
            self.object(depth)?;
        }
        self.reader.skip(4)?;
        self.object(depth)?;
        if self.layout == Layout::New {
            self.object(depth)?;
        }
        if let Some(code) = self.codes.get_mut(index) {
            code.names = texts(&names);
            code.texts = texts(&constants);
            code.name = if let Value::Text(name) = &name { name.to_string() } else { String::new() };
        }
        Ok(Value::Other)
    }
}

/// Text of a tuple, and of tuples in it: the arguments of a call may be one constant.
fn texts(value: &Value) -> Vec<Rc<str>> {
    let mut out = Vec::new();
    if let Value::List(items) = value {
        for item in items.iter() {
            match item {
                Value::Text(text) => out.push(text.clone()),
                Value::List(inner) => out.extend(inner.iter().filter_map(|item| if let Value::Text(text) = item { Some(text.clone()) } else { None })),
                Value::Other => {}
            }
            if out.len() >= TEXTS_MAX {
                break;
            }
        }
    }
    out
}
