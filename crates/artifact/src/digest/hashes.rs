//! Feeding runs of a file to digests of the whole and of its parts.

use super::plan::Plan;
use crate::tensors::Run;
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;

/// A digest being taken.
pub(super) trait Hash: Send {
    fn start() -> Self;
    fn add(&mut self, bytes: &[u8]);
    fn hex(self) -> String;
}

impl Hash for Sha256 {
    fn start() -> Self {
        Self::new()
    }
    fn add(&mut self, bytes: &[u8]) {
        self.update(bytes);
    }
    fn hex(self) -> String {
        hex::encode(self.finalize())
    }
}

impl Hash for blake3::Hasher {
    fn start() -> Self {
        Self::new()
    }
    fn add(&mut self, bytes: &[u8]) {
        self.update(bytes);
    }
    fn hex(self) -> String {
        self.finalize().to_hex().to_string()
    }
}

/// Takes the runs of a file in order.
pub(super) trait Feed {
    fn feed(&mut self, offset: u64, bytes: &[u8]);
}

/// The whole file.
pub(super) struct Whole<H>(H);

impl<H: Hash> Whole<H> {
    pub(super) fn new() -> Self {
        Self(H::start())
    }
    pub(super) fn end(self) -> String {
        self.0.hex()
    }
}

impl<H: Hash> Feed for Whole<H> {
    fn feed(&mut self, _: u64, bytes: &[u8]) {
        self.0.add(bytes);
    }
}

/// The units of a plan. Runs of one unit come in order; several units may be open at once.
pub(super) struct Units<'p, H> {
    segments: &'p [(Run, usize)],
    runs_left: Vec<usize>,
    next: usize,
    active: Vec<(u64, u64, usize)>,
    open: HashMap<usize, H>,
    done: Vec<Option<String>>,
}

impl<'p, H: Hash> Units<'p, H> {
    pub(super) fn new(plan: &'p Plan) -> Self {
        let count = plan.units();
        let mut runs_left = vec![0; count];
        for (_, unit) in plan.segments() {
            if let Some(left) = runs_left.get_mut(*unit) {
                *left += 1;
            }
        }
        Self { segments: plan.segments(), runs_left, next: 0, active: Vec::new(), open: HashMap::new(), done: vec![None; count] }
    }

    /// Digests by unit; a unit without bytes has that of nothing.
    pub(super) fn end(mut self) -> Vec<String> {
        (0..self.done.len())
            .map(|unit| {
                let done = self.done.get_mut(unit).and_then(Option::take);
                done.unwrap_or_else(|| self.open.remove(&unit).unwrap_or_else(H::start).hex())
            })
            .collect()
    }

    fn close(&mut self, unit: usize) {
        let Some(left) = self.runs_left.get_mut(unit) else { return };
        *left -= 1;
        if *left == 0
            && let (Some(hash), Some(done)) = (self.open.remove(&unit), self.done.get_mut(unit))
        {
            *done = Some(hash.hex());
        }
    }
}

impl<H: Hash> Feed for Units<'_, H> {
    fn feed(&mut self, offset: u64, bytes: &[u8]) {
        let end = offset.saturating_add(bytes.len() as u64);
        while let Some((run, unit)) = self.segments.get(self.next).filter(|(run, _)| run.offset < end) {
            self.active.push((run.offset, run.offset.saturating_add(run.len), *unit));
            self.next += 1;
        }
        for (from, to, unit) in &self.active {
            let start = usize::try_from(from.saturating_sub(offset)).unwrap_or(usize::MAX);
            let stop = usize::try_from((*to).min(end).saturating_sub(offset)).unwrap_or(usize::MAX);
            if let Some(part) = bytes.get(start..stop) {
                self.open.entry(*unit).or_insert_with(H::start).add(part);
            }
        }
        let mut closed = Vec::new();
        self.active.retain(|(_, to, unit)| {
            if *to <= end {
                closed.push(*unit);
            }
            *to > end
        });
        for unit in closed {
            self.close(unit);
        }
    }
}
