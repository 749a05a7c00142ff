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
    /// From now on; `run_time_ns` is what the probes have used so far, where the kernel tells it.
    pub(crate) fn new(run_time_ns: Option<u64>) -> Self {
        Self { at: Instant::now(), ticks: own_ticks(), run_time_ns: run_time_ns.unwrap_or(0) }
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
    /// Since a level was given back.
    given_back_s: Option<f64>,
    /// How often in a row a level that was given back had to be taken again at once: each time it is kept twice as long.
    relapses: i32,
}

/// Below this share of the limit for as long, a level is given back: between the two nothing changes.
const GIVE_BACK: f64 = 0.7;
/// A level that is taken again within so many times the time that shedding needs was given back too early.
const RELAPSE: f64 = 4.0;
const RELAPSES_MAX: i32 = 4;

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
        self.given_back_s = self.given_back_s.map(|since| since + seconds);
        if self.over_s >= over_seconds {
            self.relapses = match self.given_back_s.take() {
                Some(since) if since < over_seconds * RELAPSE => (self.relapses + 1).min(RELAPSES_MAX),
                _ => 0,
            };
            self.over_s = 0.0;
            self.under_s = 0.0;
            return level.saturating_add(1).min(Shedding::LEVEL_MAX);
        }
        if level > 0 && self.under_s >= over_seconds * 2.0_f64.powi(self.relapses) {
            self.given_back_s = Some(0.0);
            self.over_s = 0.0;
            self.under_s = 0.0;
            return level - 1;
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
    fn a_level_that_was_given_back_too_early_is_kept_twice_as_long() {
        let mut budget = Budget::default();
        // Shedding takes the use far under the limit, and without it the flood is back at once.
        let (mut level, mut length, mut lengths) = (0, 0, Vec::new());
        for _ in 0..1_000 {
            level = budget.note(level, if level == 0 { 50.0 } else { 1.0 }, 10.0, false, 1.0, 10.0);
            if level == 1 {
                length += 1;
            } else if length > 0 {
                lengths.push(std::mem::take(&mut length));
            }
        }
        assert!(lengths.starts_with(&[10, 20, 40, 80, 160, 160]), "{lengths:?}");
        let mut run = |level, percent, seconds: u32| (0..seconds).fold(level, |level, _| budget.note(level, percent, 10.0, false, 1.0, 10.0));
        assert_eq!(run(level, 1.0, 400), 0, "the flood has ended");
        assert_eq!(run(0, 1.0, 60), 0);
        assert_eq!(run(0, 50.0, 10), 1);
        assert_eq!(run(1, 1.0, 10), 0, "after a long calm it begins anew");
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
        let mut meter = Meter::new(None);
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
