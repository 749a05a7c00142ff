//! Keeps the scanner inside its share of CPU and disk: after each file it rests as long as that file cost too much.

use std::time::{Duration, Instant};

/// One rest at most: a single file cannot stop the scanner for good.
const REST_MAX: Duration = Duration::from_secs(120);

/// See the module. Pure: time is an argument.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    free_at: Option<Instant>,
}

impl Pace {
    /// How long to rest still.
    pub(crate) fn rest(&self, now: Instant) -> Duration {
        self.free_at.map_or(Duration::ZERO, |at| at.saturating_duration_since(now))
    }

    /// A scan that took `took` until `now`, `cpu` of one CPU and read `bytes`. `percent` is of one CPU.
    pub(crate) fn note(&mut self, now: Instant, took: Duration, cpu: Duration, bytes: u64, percent: f64, bytes_per_second: u64) {
        let by_cpu = cpu.mul_f64(100.0 / percent.clamp(0.1, 100.0));
        #[expect(clippy::cast_precision_loss, reason = "a rest need not be exact")]
        let by_disk = Duration::from_secs_f64((bytes as f64 / bytes_per_second.max(1) as f64).min(REST_MAX.as_secs_f64()));
        let rest = by_cpu.max(by_disk).saturating_sub(took).min(REST_MAX);
        self.free_at = (!rest.is_zero()).then(|| now + rest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn work_and_rest_keep_to_the_share() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        // One second of CPU at 25 % of one CPU is four seconds in all.
        pace.note(now, SECOND, SECOND, 0, 25.0, 1 << 30);
        assert_eq!(pace.rest(now), 3 * SECOND);
        assert_eq!(pace.rest(now + 10 * SECOND), Duration::ZERO);
        // The disk's share where that is the longer one.
        pace.note(now, SECOND, Duration::ZERO, 300 << 20, 25.0, 100 << 20);
        assert_eq!(pace.rest(now), 2 * SECOND);
        // A scan that waited for the disk all the time has rested already.
        pace.note(now, 10 * SECOND, SECOND, 0, 25.0, 1 << 30);
        assert_eq!(pace.rest(now), Duration::ZERO);
        pace.note(now, SECOND, 3_600 * SECOND, u64::MAX, 0.0, 0);
        assert_eq!(pace.rest(now), REST_MAX);
    }
}
