//! Events a second of one device.

use std::time::{Duration, Instant};

/// A token bucket that may go into debt by one batch: a batch larger than the bucket still passes, and the next one waits for it.
#[derive(Debug)]
pub struct TokenBucket {
    per_second: f64,
    balance: f64,
    filled_at: Instant,
}

impl TokenBucket {
    /// Full: two seconds' worth.
    #[must_use]
    pub fn new(per_second: u32, now: Instant) -> Self {
        let per_second = f64::from(per_second.max(1));
        Self { per_second, balance: per_second * 2.0, filled_at: now }
    }

    /// Takes `count`, or says how long to wait until that may be tried again.
    pub fn take(&mut self, count: u32, now: Instant) -> Result<(), Duration> {
        self.fill(now);
        if self.balance <= 0.0 {
            return Err(Duration::from_secs_f64((-self.balance / self.per_second).min(3600.0)) + Duration::from_millis(1));
        }
        self.balance -= f64::from(count);
        Ok(())
    }

    /// True when something could be taken.
    pub fn has_some(&mut self, now: Instant) -> bool {
        self.fill(now);
        self.balance > 0.0
    }

    fn fill(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.filled_at).as_secs_f64();
        self.balance = elapsed.mul_add(self.per_second, self.balance).min(self.per_second * 2.0);
        self.filled_at = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sustained_rate_holds_whatever_the_batch_size() {
        let start = Instant::now();
        for batch in [1, 100, 5_000] {
            let mut bucket = TokenBucket::new(1_000, start);
            let (mut taken, mut now) = (0, start);
            while now < start + Duration::from_secs(100) {
                match bucket.take(batch, now) {
                    Ok(()) => taken += batch,
                    Err(wait) => now += wait,
                }
            }
            assert!((100_000..=107_000).contains(&taken), "{batch}: {taken}");
        }
    }

    #[test]
    fn an_idle_device_saves_up_no_more_than_two_seconds() {
        let start = Instant::now();
        let mut bucket = TokenBucket::new(10, start);
        let later = start + Duration::from_secs(1000);
        let taken = (0..1000).filter(|_| bucket.take(1, later).is_ok()).count();
        assert_eq!(taken, 20);
    }
}
