//! Which bytes of a file belong to which digest: distinct tensors, in the order in which one pass meets them.

use crate::tensors::{Data, Run, Tensor};
use std::collections::HashMap;

/// Tensors over the same byte. Views of one storage overlap a little; a table that makes each byte count a thousand times is
/// built to exhaust its reader, and is reported.
pub(super) const OVERLAP_MAX: u64 = 8;

/// What one pass digests.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Runs by offset, with the unit each belongs to.
    segments: Vec<(Run, usize)>,
    units: usize,
    /// Unit of each tensor, by its position.
    of_tensor: HashMap<usize, usize>,
    /// Tensors without a unit, and why.
    pub(super) left_out: Vec<String>,
}

impl Plan {
    /// Plans the tensors whose bytes are runs of a file of `len` bytes.
    pub(super) fn new(tensors: &[Tensor], len: u64) -> Self {
        let mut plan = Self::default();
        let mut known: HashMap<&[Run], usize> = HashMap::new();
        let mut budget = len.saturating_mul(OVERLAP_MAX);
        for (position, tensor) in tensors.iter().enumerate() {
            let Data::Runs(runs) = &tensor.data else { continue };
            if let Some(unit) = known.get(runs.as_slice()) {
                plan.of_tensor.insert(position, *unit);
                continue;
            }
            let Some(total) = checked(runs, len) else {
                plan.left_out.push(format!("{}: it reaches past the end of the file, or its parts are out of order", tensor.name));
                continue;
            };
            let Some(left) = budget.checked_sub(total) else {
                plan.left_out.push(format!("{}: the tensors together claim more than {OVERLAP_MAX} times the file", tensor.name));
                continue;
            };
            budget = left;
            known.insert(runs, plan.units);
            plan.of_tensor.insert(position, plan.units);
            plan.segments.extend(runs.iter().filter(|run| run.len > 0).map(|run| (*run, plan.units)));
            plan.units += 1;
        }
        plan.segments.sort_unstable();
        plan
    }

    pub(super) fn is_empty(&self) -> bool {
        self.units == 0
    }

    pub(super) fn units(&self) -> usize {
        self.units
    }

    pub(super) fn segments(&self) -> &[(Run, usize)] {
        &self.segments
    }

    pub(super) fn unit_of(&self, tensor: usize) -> Option<usize> {
        self.of_tensor.get(&tensor).copied()
    }
}

/// Bytes over all runs, if they lie inside the file one behind another.
fn checked(runs: &[Run], len: u64) -> Option<u64> {
    let (mut at, mut total) = (0_u64, 0_u64);
    for run in runs {
        if run.offset < at {
            return None;
        }
        at = run.offset.checked_add(run.len).filter(|end| *end <= len)?;
        total = total.checked_add(run.len)?;
    }
    Some(total)
}
