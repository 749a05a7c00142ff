//! R's serialisation (R Internals 1.8), versions 2 and 3, XDR, native binary and text: every object, and which of them are
//! promises or calls. Nothing is evaluated.
//!
//! Numbers of the kinds are those of R's `SEXPTYPE` and, from 238 on, of its serialize.c.

use super::limits::{CALLS_MAX, DEPTH_MAX, NAME_BYTES_MAX, REFERENCES_MAX};
use super::{Form, RUNS};
use picket_bounded::{BoundedError, Budget, Cursor, Source};

/// What an object holds that can run.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Promises with an expression, by offset and what they call.
    pub(super) promises: Vec<(u64, String)>,
    /// Functions of [`RUNS`] that expressions call, by offset.
    pub(super) calls: Vec<(u64, String)>,
    /// Where the last of them is called.
    pub(super) last_call: Option<u64>,
    /// Where the object ends.
    pub(super) end: u64,
}

pub(super) struct Parser<'p, 's> {
    pub(super) cursor: Cursor<'s>,
    budget: &'p mut Budget,
    form: Form,
    references: Vec<String>,
    pub(super) found: Found,
}

pub(super) type Read<T> = Result<T, BoundedError>;

/// What an object was, as far as its surroundings care.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    Symbol(String),
    Call(String),
    Other,
}

/// A chain of pairs while it is read.
#[derive(Debug, Default)]
pub(super) struct Pairs {
    first: Option<Kind>,
    last: Option<Kind>,
    count: u64,
    /// The call is `::` or `:::`, whose second argument is the function that is meant.
    scoped: bool,
}

impl Pairs {
    /// What the whole chain is: a call, if its first pair is one; nothing of a chain without pairs.
    pub(super) fn whole(self) -> Option<Kind> {
        self.first
    }

    /// What begins with the last pair.
    pub(super) fn last(&self) -> Kind {
        self.last.clone().unwrap_or(Kind::Other)
    }
}

/// One level less.
pub(super) fn deeper(depth: u32) -> Read<u32> {
    depth.checked_sub(1).ok_or(BoundedError::LimitExceeded { what: "R objects inside one another", limit: DEPTH_MAX.into() })
}

impl<'p, 's> Parser<'p, 's> {
    /// `start` is behind the format's letter and newline.
    pub(super) fn new(source: &'s dyn Source, start: u64, form: Form, budget: &'p mut Budget) -> Self {
        let mut cursor = Cursor::new(source);
        cursor.seek(start);
        Self { cursor, budget, form, references: Vec::new(), found: Found::default() }
    }

    pub(super) fn read(&mut self) -> Read<()> {
        let version = self.number()?;
        // Of the writer, and the first that can read it.
        self.number()?;
        self.number()?;
        match version {
            2 => {}
            3 => {
                let length = self.number()?;
                self.skip_characters(length.into())?;
            }
            _ => return Err(BoundedError::Unsupported("a version of R's serialisation that is not known")),
        }
        self.item(DEPTH_MAX)?;
        self.found.end = self.cursor.position();
        Ok(())
    }

    pub(super) fn number(&mut self) -> Read<u32> {
        match self.form {
            Form::Xdr => self.cursor.u32_be(),
            Form::Native => self.cursor.u32_le(),
            Form::Ascii => self.number_of_text(),
        }
    }

    /// A length; -1 says that two words of a longer one follow.
    pub(super) fn length(&mut self) -> Read<u64> {
        match self.number()? {
            u32::MAX => Ok(u64::from(self.number()?) << 32 | u64::from(self.number()?)),
            length => Ok(length.into()),
        }
    }

    /// Moves over a vector whose elements have so many bytes; as text, each is one word, or two of a complex number.
    fn elements(&mut self, bytes: u64) -> Read<()> {
        let length = self.length()?;
        if self.form == Form::Ascii {
            return self.skip_words(length.saturating_mul(if bytes == 16 { 2 } else { 1 }));
        }
        self.cursor.skip(length.checked_mul(bytes).ok_or(BoundedError::Malformed("a vector larger than 64 bits can address"))?)
    }

    /// Characters of a name.
    fn name(&mut self, length: u32) -> Read<String> {
        let bytes = match self.form {
            Form::Ascii => self.characters_of_text(length.into(), NAME_BYTES_MAX)?,
            Form::Xdr | Form::Native => self.cursor.take(length.into(), NAME_BYTES_MAX)?,
        };
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn skip_characters(&mut self, length: u64) -> Read<()> {
        match self.form {
            Form::Ascii => self.skip_characters_of_text(length),
            Form::Xdr | Form::Native => self.cursor.skip(length),
        }
    }

    fn refer(&mut self, name: String) -> Read<()> {
        if self.references.len() >= REFERENCES_MAX {
            return Err(BoundedError::LimitExceeded { what: "symbols of an R object", limit: REFERENCES_MAX as u64 });
        }
        self.references.push(name);
        Ok(())
    }

    pub(super) fn position(&self) -> u64 {
        self.cursor.position()
    }

    pub(super) fn spend(&mut self) -> Read<()> {
        self.budget.spend_steps(1)
    }

    /// Remembers that the object at this offset calls a function, where that is one that counts: a flood of others hides none.
    pub(super) fn call(&mut self, at: u64, name: &str) {
        if !RUNS.contains(&name) {
            return;
        }
        self.found.last_call = self.found.last_call.max(Some(at));
        if self.found.calls.len() < CALLS_MAX {
            self.found.calls.push((at, name.to_owned()));
        }
    }

    /// Takes the next pair of a chain, of which `head` is the first half; `call` where it begins a call.
    pub(super) fn pair(&mut self, pairs: &mut Pairs, at: u64, call: bool, head: Kind) {
        pairs.count += 1;
        if let (3, true, Kind::Symbol(name)) = (pairs.count, pairs.scoped, &head) {
            self.call(at, name);
            pairs.first = Some(Kind::Call(name.clone()));
        }
        let kind = match head {
            Kind::Symbol(name) | Kind::Call(name) if call => {
                self.call(at, &name);
                pairs.scoped |= pairs.count == 1 && matches!(name.as_str(), "::" | ":::");
                Kind::Call(name)
            }
            _ => Kind::Other,
        };
        pairs.last = Some(kind.clone());
        pairs.first.get_or_insert(kind);
    }

    pub(super) fn item(&mut self, depth: u32) -> Read<Kind> {
        let depth = deeper(depth)?;
        // A list is a chain of pairs: it is followed here, so that its length costs no depth.
        let mut pairs = Pairs::default();
        loop {
            self.spend()?;
            let at = self.cursor.position();
            let flags = self.number()?;
            let (kind, attributes, tagged) = (flags & 0xff, flags & 0x200 != 0, flags & 0x400 != 0);
            if !matches!(kind, 2 | 3 | 5 | 6 | 17) {
                let value = self.single(kind, flags, attributes, depth)?;
                return Ok(pairs.whole().unwrap_or(value));
            }
            if attributes {
                self.item(depth)?;
            }
            if tagged {
                self.item(depth)?;
            }
            let head = self.item(depth)?;
            self.pair(&mut pairs, at, kind == 6, head);
            // A promise: its value, then the expression that makes it. A value that is there is not made again.
            if kind == 5 {
                if let Kind::Call(name) | Kind::Symbol(name) = self.item(depth)?
                    && self.found.promises.len() < CALLS_MAX
                {
                    self.found.promises.push((at, name));
                }
                return Ok(pairs.whole().unwrap_or(Kind::Other));
            }
        }
    }

    fn single(&mut self, kind: u32, flags: u32, attributes: bool, depth: u32) -> Read<Kind> {
        let mut named = Kind::Other;
        match kind {
            // The nil value, markers, and the environments that every session has.
            241 | 242 | 250..=254 => return Ok(Kind::Other),
            255 => {
                let index = if flags >> 8 == 0 { self.number()? } else { flags >> 8 };
                let name = usize::try_from(index).ok().and_then(|index| self.references.get(index.checked_sub(1)?)).cloned();
                return Ok(name.map_or(Kind::Other, Kind::Symbol));
            }
            1 => {
                let name = self.characters(depth)?;
                self.refer(name.clone())?;
                return Ok(Kind::Symbol(name));
            }
            // Names of namespaces and packages, and objects that a hook restores.
            247..=249 => {
                self.number()?;
                for _ in 0..self.number()? {
                    self.spend()?;
                    self.characters(depth)?;
                }
                self.refer(String::new())?;
                return Ok(Kind::Other);
            }
            4 => {
                self.number()?;
                self.refer(String::new())?;
                for _ in 0..4 {
                    self.item(depth)?;
                }
                return Ok(Kind::Other);
            }
            22 => {
                self.refer(String::new())?;
                self.item(depth)?;
                self.item(depth)?;
            }
            23 => self.refer(String::new())?,
            7 | 8 => {
                let length = self.number()?;
                named = Kind::Symbol(self.name(length)?);
            }
            9 | 10 | 13..=16 | 19 | 20 | 24 | 25 => self.vector(kind, depth)?,
            // An alternative representation: its class, its state, its attributes.
            238 => {
                for _ in 0..3 {
                    self.item(depth)?;
                }
                return Ok(Kind::Other);
            }
            21 => named = self.bytecode(depth)?,
            _ => return Err(BoundedError::Malformed("an R object of an unknown kind")),
        }
        if attributes {
            self.item(depth)?;
        }
        Ok(named)
    }

    /// Characters, elements, or items one behind the other.
    fn vector(&mut self, kind: u32, depth: u32) -> Read<()> {
        match kind {
            9 => match self.number()? {
                u32::MAX => Ok(()),
                length => self.skip_characters(length.into()),
            },
            10 | 13 => self.elements(4),
            14 => self.elements(8),
            15 => self.elements(16),
            24 => self.elements(1),
            16 | 19 | 20 => {
                for _ in 0..self.length()? {
                    self.item(depth)?;
                }
                Ok(())
            }
            // An object whose slots are attributes.
            _ => Ok(()),
        }
    }

    /// A name as a character object of its own.
    fn characters(&mut self, depth: u32) -> Read<String> {
        let flags = self.number()?;
        if flags & 0xff != 9 {
            return Err(BoundedError::Malformed("a name that is no text"));
        }
        let name = match self.number()? {
            u32::MAX => "NA".to_owned(),
            length => self.name(length)?,
        };
        if flags & 0x200 != 0 {
            self.item(depth)?;
        }
        Ok(name)
    }
}
