//! Compiled closures (`ReadBC` of R's serialize.c): instructions, and the constants they use, among them the expressions they were
//! compiled from. What a closure calls stands in both: R evaluates the instructions where it knows their version, else the expression.

use super::limits::{CALLS_MAX, SHARED_MAX};
use super::parser::{Kind, Pairs, Parser, Read, deeper};
use picket_bounded::BoundedError;
use std::collections::{HashMap, HashSet};

/// Versions of the instructions whose operands [`OPERANDS`] counts.
const VERSIONS: std::ops::RangeInclusive<u32> = 9..=12;

/// Operands of each instruction, by its number (`Opcodes.argc` of R's compiler).
#[rustfmt::skip]
const OPERANDS: [u8; 129] = [
    0, 0, 1, 2, 0, 0, 0, 2, 1, 0, 0, 3, 1, 0, 0, 0, 1, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 0, 1, 0, 1,
    0, 0, 1, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 1, 1, 2,
    0, 2, 0, 2, 0, 2, 0, 2, 0, 2, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 1, 2, 1, 1, 1, 0, 1,
    1, 1, 2, 1, 0, 0, 4, 0, 2, 2, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 1, 1, 2, 2, 1, 1, 1, 2, 0, 0, 1, 0,
    0,
];

/// Instructions whose first operand is the constant that names a function: GETFUN, GETGLOBFUN, GETSYMFUN, GETBUILTIN, GETINTLBUILTIN.
const FETCHES: std::ops::RangeInclusive<u32> = 23..=27;

/// Expressions that several constants share, by their number.
#[derive(Default)]
struct Shared(HashMap<u32, Kind>);

impl Parser<'_, '_> {
    /// A compiled object, read as the function that it calls.
    pub(super) fn bytecode(&mut self, depth: u32) -> Read<Kind> {
        // How many expressions are shared; a table of that size is made by R alone.
        self.number()?;
        self.code(&mut Shared::default(), depth)
    }

    fn code(&mut self, shared: &mut Shared, depth: u32) -> Read<Kind> {
        let depth = deeper(depth)?;
        let fetched = self.instructions(depth)?;
        let (mut expression, mut function) = (Kind::Other, None);
        for index in 0..self.number()? {
            self.spend()?;
            let at = self.position();
            // The kind is told before the constant; only what is shared, and code, is written otherwise than anywhere else.
            let constant = match self.number()? {
                21 => self.code(shared, depth)?,
                kind @ (2 | 6 | 239 | 240 | 243 | 244) => self.expression(kind, shared, depth)?,
                _ => self.item(depth)?,
            };
            if let Kind::Symbol(name) = &constant
                && fetched.as_ref().is_none_or(|fetched| fetched.contains(&index))
            {
                self.call(at, name);
                function.get_or_insert_with(|| name.clone());
            }
            if index == 0 {
                expression = constant;
            }
        }
        Ok(match (expression, function) {
            (Kind::Call(name), _) | (_, Some(name)) => Kind::Call(name),
            _ => Kind::Call("compiled code".to_owned()),
        })
    }

    /// The constants that instructions fetch as functions; nothing where the instructions are not known, so that each name among the constants counts.
    fn instructions(&mut self, depth: u32) -> Read<Option<HashSet<u32>>> {
        let flags = self.number()?;
        if flags & 0xff != 13 {
            return Err(BoundedError::Malformed("compiled R code without instructions"));
        }
        let mut left = self.length()?;
        let mut next = |parser: &mut Self| -> Read<Option<u32>> {
            left = match left.checked_sub(1) {
                Some(left) => left,
                None => return Ok(None),
            };
            parser.spend()?;
            parser.number().map(Some)
        };
        let mut known = next(self)?.is_some_and(|version| VERSIONS.contains(&version));
        let mut fetched = HashSet::new();
        while let Some(instruction) = next(self)? {
            let operands = usize::try_from(instruction).ok().and_then(|at| OPERANDS.get(at));
            known &= operands.is_some() && fetched.len() < CALLS_MAX;
            for operand in 0..operands.copied().unwrap_or(0) {
                let Some(constant) = next(self)? else { break };
                if operand == 0 && FETCHES.contains(&instruction) && known {
                    fetched.insert(constant);
                }
            }
        }
        if flags & 0x200 != 0 {
            self.item(depth)?;
        }
        Ok(known.then_some(fetched))
    }

    /// A list or call among the constants, whose kinds stand before its parts (`ReadBCLang`).
    fn expression(&mut self, kind: u32, shared: &mut Shared, depth: u32) -> Read<Kind> {
        let depth = deeper(depth)?;
        let (mut kind, mut pairs, mut slots) = (kind, Pairs::default(), Vec::new());
        let last = loop {
            self.spend()?;
            let at = self.position();
            if kind == 243 {
                let slot = self.number()?;
                break shared.0.get(&slot).cloned().unwrap_or(Kind::Other);
            }
            if kind == 244 {
                slots.push(self.number()?);
                kind = self.number()?;
                if !matches!(kind, 2 | 6 | 239 | 240) {
                    return Err(BoundedError::Malformed("a shared R expression of an unknown kind"));
                }
            }
            if !matches!(kind, 2 | 6 | 239 | 240) {
                break self.item(depth)?;
            }
            if matches!(kind, 239 | 240) {
                self.item(depth)?;
            }
            self.item(depth)?;
            let head = self.number()?;
            let head = self.expression(head, shared, depth)?;
            self.pair(&mut pairs, at, matches!(kind, 6 | 240), head);
            // A part of this very expression may refer to it.
            self.share(shared, &mut slots, &pairs)?;
            kind = self.number()?;
        };
        Ok(pairs.whole().unwrap_or(last))
    }

    fn share(&mut self, shared: &mut Shared, slots: &mut Vec<u32>, pairs: &Pairs) -> Read<()> {
        for slot in slots.drain(..) {
            if shared.0.len() >= SHARED_MAX {
                return Err(BoundedError::LimitExceeded { what: "shared expressions of an R object", limit: SHARED_MAX as u64 });
            }
            shared.0.insert(slot, pairs.last());
        }
        Ok(())
    }
}
