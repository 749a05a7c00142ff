//! R's serialisation (R Internals 1.8), versions 2 and 3, XDR and native binary: every object, and which of them are promises
//! or calls. Nothing is evaluated.

use super::limits::{CALLS_MAX, DEPTH_MAX, NAME_BYTES_MAX, REFERENCES_MAX};
use picket_bounded::{BoundedError, Budget, Cursor, Source};

/// What an object holds that can run.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Promises with an expression, by offset and what they call.
    pub(super) promises: Vec<(u64, String)>,
    /// Functions called by expressions, by offset.
    pub(super) calls: Vec<(u64, String)>,
    pub(super) closures: u64,
    pub(super) bytecode: bool,
    /// Where the object ends.
    pub(super) end: u64,
}

pub(super) struct Parser<'p, 's> {
    cursor: Cursor<'s>,
    budget: &'p mut Budget,
    little: bool,
    references: Vec<String>,
    pub(super) found: Found,
}

type Read<T> = Result<T, BoundedError>;

/// What an object was, as far as its surroundings care.
enum Kind {
    Symbol(String),
    Call(String),
    Other,
}

impl<'p, 's> Parser<'p, 's> {
    /// `start` is behind the format's letter and newline.
    pub(super) fn new(source: &'s dyn Source, start: u64, little: bool, budget: &'p mut Budget) -> Self {
        let mut cursor = Cursor::new(source);
        cursor.seek(start);
        Self { cursor, budget, little, references: Vec::new(), found: Found::default() }
    }

    pub(super) fn read(&mut self) -> Read<()> {
        let version = self.number()?;
        self.cursor.skip(8)?;
        match version {
            2 => {}
            3 => {
                let length = self.number()?;
                self.cursor.skip(length.into())?;
            }
            _ => return Err(BoundedError::Unsupported("a version of R's serialisation that is not known")),
        }
        self.item(DEPTH_MAX)?;
        self.found.end = self.cursor.position();
        Ok(())
    }

    fn number(&mut self) -> Read<u32> {
        if self.little { self.cursor.u32_le() } else { self.cursor.u32_be() }
    }

    /// A length; -1 says that two words of a longer one follow.
    fn length(&mut self) -> Read<u64> {
        match self.number()? {
            u32::MAX => Ok(u64::from(self.number()?) << 32 | u64::from(self.number()?)),
            length => Ok(length.into()),
        }
    }

    fn elements(&mut self, bytes: u64) -> Read<()> {
        let length = self.length()?.checked_mul(bytes).ok_or(BoundedError::Malformed("a vector larger than 64 bits can address"))?;
        self.cursor.skip(length)
    }

    fn refer(&mut self, name: String) -> Read<()> {
        if self.references.len() >= REFERENCES_MAX {
            return Err(BoundedError::LimitExceeded { what: "symbols of an R object", limit: REFERENCES_MAX as u64 });
        }
        self.references.push(name);
        Ok(())
    }

    fn item(&mut self, depth: u32) -> Read<Kind> {
        let depth = depth.checked_sub(1).ok_or(BoundedError::LimitExceeded { what: "R objects inside one another", limit: DEPTH_MAX.into() })?;
        // A list is a chain of pairs: it is followed here, so that its length costs no depth.
        let mut first = None;
        loop {
            self.budget.spend_steps(1)?;
            let at = self.cursor.position();
            let flags = self.number()?;
            let (kind, attributes, tagged) = (flags & 0xff, flags & 0x200 != 0, flags & 0x400 != 0);
            if !matches!(kind, 2 | 3 | 5 | 6 | 17 | 239 | 240) {
                let value = self.single(kind, flags, attributes, depth)?;
                return Ok(first.unwrap_or(value));
            }
            if attributes || matches!(kind, 239 | 240) {
                self.item(depth)?;
            }
            if tagged {
                self.item(depth)?;
            }
            let head = self.item(depth)?;
            let call = match (&head, kind) {
                (Kind::Symbol(name) | Kind::Call(name), 6 | 239) => Some(name.clone()),
                _ => None,
            };
            if let Some(name) = &call
                && self.found.calls.len() < CALLS_MAX
            {
                self.found.calls.push((at, name.clone()));
            }
            match kind {
                // A promise: its value, then the expression that makes it. A value that is there is not made again.
                5 => {
                    if let Kind::Call(name) | Kind::Symbol(name) = self.item(depth)? {
                        self.found.promises.push((at, name));
                    }
                    return Ok(first.unwrap_or(Kind::Other));
                }
                3 => self.found.closures += 1,
                _ => {}
            }
            if first.is_none() {
                first = Some(call.map_or(Kind::Other, Kind::Call));
            }
        }
    }

    fn single(&mut self, kind: u32, flags: u32, attributes: bool, depth: u32) -> Read<Kind> {
        match kind {
            // The nil value and the environments that every session has.
            254 | 253 | 242 | 241 | 251 | 252 | 247 => return Ok(Kind::Other),
            255 => {
                let index = if flags >> 8 == 0 { self.number()? } else { flags >> 8 };
                let name = usize::try_from(index).ok().and_then(|index| self.references.get(index.checked_sub(1)?)).cloned();
                return Ok(name.map_or(Kind::Other, Kind::Symbol));
            }
            1 => {
                let name = self.characters()?;
                self.refer(name.clone())?;
                return Ok(Kind::Symbol(name));
            }
            // Names of namespaces and packages, and objects that a hook restores.
            248..=250 => {
                self.number()?;
                for _ in 0..self.length()? {
                    self.characters()?;
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
                let name = self.cursor.take(length.into(), NAME_BYTES_MAX)?;
                return Ok(Kind::Symbol(String::from_utf8_lossy(&name).into_owned()));
            }
            9 | 10 | 13..=16 | 19 | 20 | 24 | 25 => self.vector(kind, depth)?,
            // An alternative representation: its class, its state, its attributes.
            238 => {
                for _ in 0..3 {
                    self.item(depth)?;
                }
                return Ok(Kind::Other);
            }
            21 => {
                self.found.bytecode = true;
                return Err(BoundedError::Unsupported("compiled R code"));
            }
            _ => return Err(BoundedError::Malformed("an R object of an unknown kind")),
        }
        if attributes {
            self.item(depth)?;
        }
        Ok(Kind::Other)
    }

    /// Characters, elements, or items one behind the other.
    fn vector(&mut self, kind: u32, depth: u32) -> Read<()> {
        match kind {
            9 => match self.number()? {
                u32::MAX => Ok(()),
                length => self.cursor.skip(length.into()),
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
    fn characters(&mut self) -> Read<String> {
        let flags = self.number()?;
        if flags & 0xff != 9 {
            return Err(BoundedError::Malformed("a name that is no text"));
        }
        match self.number()? {
            u32::MAX => Ok("NA".to_owned()),
            length => Ok(String::from_utf8_lossy(&self.cursor.take(length.into(), NAME_BYTES_MAX)?).into_owned()),
        }
    }
}
