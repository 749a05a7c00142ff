//! What the agent itself uses, and when it sheds.

use std::time::Instant;

use crate::pipeline::Shedding;

/// `USER_HZ`, 100 on every architecture we build for.
const TICKS_PER_SECOND: f64 = 100.0;

/// Use of the host by this process.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Usage {
    /// Of one CPU, the probes' own time included where the kernel tells it.
    pub(crate) cpu_percent: f64,
    pub(crate) rss_bytes: u64,
}

/// Measures between two calls.
pub(crate) struct Meter {
    at: Instant,
    ticks: u64,
    run_time_ns: u64,
}

impl Meter {
    pub(crate) fn new() -> Self {
        Self { at: Instant::now(), ticks: own_ticks(), run_time_ns: 0 }
    }

    /// Since the last call.
    pub(crate) fn measure(&mut self, run_time_ns: Option<u64>) -> Usage {
        let (now, ticks, run_time_ns) = (Instant::now(), own_ticks(), run_time_ns.unwrap_or(0));
        let seconds = now.duration_since(self.at).as_secs_f64().max(0.001);
        #[expect(clippy::cast_precision_loss, reason = "differences of a few seconds")]
        let used = ticks.saturating_sub(self.ticks) as f64 / TICKS_PER_SECOND + run_time_ns.saturating_sub(self.run_time_ns) as f64 / 1e9;
        *self = Self { at: now, ticks, run_time_ns };
        Usage { cpu_percent: used / seconds * 100.0, rss_bytes: rss_bytes() }
    }
}

/// User and system time of this process, in clock ticks.
fn own_ticks() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
    fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum()
}

fn rss_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()).and_then(|kilobytes| kilobytes.parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// Decides how much is shed, one level at a time.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    over_s: f64,
    under_s: f64,
}

/// Below this share of the limit for as long, a level is given back: between the two nothing changes, so that it does not flap.
const GIVE_BACK: f64 = 0.7;

impl Budget {
    /// `percent` of all CPUs was used over `seconds`; `limit` 0 never sheds. Memory over its own limit sheds likewise, and nothing is given back
    /// before it is under it again. Gives the new level.
    pub(crate) fn note(&mut self, level: u8, percent: f64, limit: f64, over_memory: bool, seconds: f64, over_seconds: f64) -> u8 {
        if limit <= 0.0 {
            *self = Self::default();
            return 0;
        }
        self.over_s = if percent > limit || over_memory { self.over_s + seconds } else { 0.0 };
        self.under_s = if percent < limit * GIVE_BACK && !over_memory { self.under_s + seconds } else { 0.0 };
        if self.over_s >= over_seconds {
            *self = Self::default();
            return level.saturating_add(1).min(Shedding::LEVEL_MAX);
        }
        if self.under_s >= over_seconds {
            *self = Self::default();
            return level.saturating_sub(1);
        }
        level
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shedding_needs_a_lasting_excess_and_ends_after_a_lasting_calm() {
        let mut budget = Budget::default();
        let mut run = |level, percent, seconds: u32| (0..seconds).fold(level, |level, _| budget.note(level, percent, 10.0, false, 1.0, 60.0));
        assert_eq!(run(0, 50.0, 59), 0);
        assert_eq!(run(0, 9.0, 1), 0, "the count begins again");
        assert_eq!(run(0, 50.0, 60), 1);
        assert_eq!(run(1, 50.0, 600), Shedding::LEVEL_MAX);
        assert_eq!(run(2, 8.0, 600), 2, "between give-back and limit nothing changes");
        assert_eq!(run(2, 1.0, 60), 1);
        assert_eq!(run(1, 1.0, 60), 0);
    }

    #[test]
    fn no_limit_never_sheds() {
        assert_eq!((0..1_000).fold(1, |level, _| Budget::default().note(level, 99.0, 0.0, true, 1.0, 1.0)), 0);
    }

    #[test]
    fn memory_over_its_limit_sheds_and_keeps_shed() {
        let mut budget = Budget::default();
        let mut run = |level, over, seconds: u32| (0..seconds).fold(level, |level, _| budget.note(level, 1.0, 10.0, over, 1.0, 60.0));
        assert_eq!(run(0, true, 59), 0);
        assert_eq!(run(0, true, 1), 1);
        assert_eq!(run(1, true, 60), Shedding::LEVEL_MAX);
        assert_eq!(run(2, false, 59), 2);
        assert_eq!(run(2, false, 1), 1, "given back after as long under it");
    }

    #[test]
    fn this_process_is_measured() {
        let mut meter = Meter::new();
        let begin = Instant::now();
        let mut sum = 0_u64;
        while begin.elapsed().as_millis() < 200 {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        let usage = meter.measure(None);
        assert!(usage.cpu_percent > 1.0, "{usage:?}");
        assert!(usage.rss_bytes > 1 << 20, "{usage:?}");
    }
}
