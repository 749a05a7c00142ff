use std::time::Duration;

use rand::RngExt;

const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(60);

/// Growing waits with full jitter, so that a fleet whose server restarts does not come back at once.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// Before the next attempt.
    pub(crate) fn wait(&mut self) -> Duration {
        let ceiling = FIRST.saturating_mul(1 << self.failures.min(10)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        ceiling.mul_f64(rand::rng().random_range(0.5..=1.0))
    }

    /// A session that did something.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_minute_with_jitter() {
        let mut backoff = Backoff::default();
        for round in 0..20 {
            let ceiling = FIRST.saturating_mul(1 << round.min(10)).min(LONGEST);
            let wait = backoff.wait();
            assert!(wait >= ceiling / 2 && wait <= ceiling, "{wait:?} in round {round}");
        }
        backoff.reset();
        assert!(backoff.wait() <= FIRST);
    }
}
