//! What one file may cost, whatever it says about itself.

use crate::BoundedError;
use std::time::Instant;

/// Ceilings for one scanned file with everything nested in it.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Containers inside containers. 8 is twice the deepest published packaging (wheel in zip in tar in gzip); a quine zip
    /// would otherwise recurse for ever.
    pub depth: u32,
    /// Members over all archives of the file. The largest public checkpoints have under 10,000 storages; a zip of empty
    /// names costs 46 bytes a member and would otherwise buy unbounded work.
    pub members: u64,
    /// Bytes inflated over all members. Metadata and code are small; a bomb is not.
    pub inflated_bytes: u64,
    /// Bytes inflated and held for one member.
    pub member_bytes: u64,
    /// Bytes inflated and held at once over all levels of nesting. This bounds memory: without it, `depth` members of
    /// `member_bytes` each could stand in memory inside one another.
    pub held_bytes: u64,
    /// Steps of any interpreter or walker (pickle opcodes, protobuf fields). 3.6 million pickle opcodes cost 25 ms, so
    /// 200 million is seconds; fewer would let padding hide what follows.
    pub steps: u64,
    /// Findings kept for one file; the rest is counted. A hostile file must not flood the report.
    pub findings: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { depth: 8, members: 100_000, inflated_bytes: 1 << 30, member_bytes: 128 << 20, held_bytes: 192 << 20, steps: 200_000_000, findings: 200 }
    }
}

/// What is left of the [`Limits`] while one file is read.
#[derive(Debug)]
pub struct Budget {
    limits: Limits,
    deadline: Option<Instant>,
    members: u64,
    inflated_bytes: u64,
    held_bytes: u64,
    steps: u64,
}

impl Budget {
    /// A full budget; `deadline` ends the work by the clock as well.
    #[must_use]
    pub fn new(limits: Limits, deadline: Option<Instant>) -> Self {
        Self { members: limits.members, inflated_bytes: limits.inflated_bytes, held_bytes: limits.held_bytes, steps: limits.steps, limits, deadline }
    }

    /// The ceilings it was made from.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Spends one archive member.
    ///
    /// # Errors
    /// `LimitExceeded` when none is left.
    pub fn spend_member(&mut self) -> Result<(), BoundedError> {
        self.members = self.members.checked_sub(1).ok_or(BoundedError::LimitExceeded { what: "members", limit: self.limits.members })?;
        Ok(())
    }

    /// Spends interpreter steps and looks at the clock.
    ///
    /// # Errors
    /// `LimitExceeded` when the steps or the time are used up.
    pub fn spend_steps(&mut self, steps: u64) -> Result<(), BoundedError> {
        self.steps = self.steps.checked_sub(steps).ok_or(BoundedError::LimitExceeded { what: "steps", limit: self.limits.steps })?;
        self.check_time()
    }

    /// Looks at the clock.
    ///
    /// # Errors
    /// `LimitExceeded` when the deadline has passed.
    pub fn check_time(&self) -> Result<(), BoundedError> {
        match self.deadline {
            Some(deadline) if Instant::now() >= deadline => Err(BoundedError::LimitExceeded { what: "time", limit: 0 }),
            _ => Ok(()),
        }
    }

    /// How many bytes the next decoder may produce.
    #[must_use]
    pub fn inflate_cap(&self) -> u64 {
        self.limits.member_bytes.min(self.inflated_bytes).min(self.held_bytes)
    }

    pub(crate) fn spent_inflating(&mut self, bytes: u64) {
        self.inflated_bytes = self.inflated_bytes.saturating_sub(bytes);
        self.held_bytes = self.held_bytes.saturating_sub(bytes);
    }

    /// Gives back room of `held_bytes` once decoded bytes are no longer in memory.
    pub fn release(&mut self, bytes: u64) {
        self.held_bytes = self.held_bytes.saturating_add(bytes).min(self.limits.held_bytes);
    }
}
