//! After a loss: when the kernel's lists of processes and sockets are read again, so that what the lost records would have told is known to the
//! events that follow.
//!
//! Whoever can fill the ring decides that there are losses; it must not decide how often the host is walked. So: not at once, at most every
//! [`EVERY`], never for more than one part in [`REST`] of the time, and with jitter, so that a fleet under one load does not walk in step.

use std::time::{Duration, Instant};

use picket_ebpf::record::{Body, FlowOp, Record};
use picket_event::{EventClass, LossCause, Timestamp};
use rand::RngExt;

/// From the first loss: a burst is over by then, more often than not.
const AFTER: Duration = Duration::from_secs(1);
const EVERY: Duration = Duration::from_secs(30);
const REST: u32 = 200;
/// Records are counted a moment after they were made.
const SLACK_NS: u64 = 2_000_000_000;

/// What was lost since the lists were read last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Gap {
    pub(crate) cause: LossCause,
    pub(crate) since: Timestamp,
    pub(crate) until: Timestamp,
    /// `since`, on the clock of the records.
    pub(crate) since_boot_ns: u64,
    pub(crate) processes: bool,
    pub(crate) flows: bool,
}

impl Gap {
    /// Classes whose losses are healed with it.
    pub(crate) fn classes(&self) -> impl Iterator<Item = EventClass> {
        let classes = [(self.processes, EventClass::ProcessActivity), (self.flows, EventClass::NetworkActivity)];
        classes.into_iter().filter(|(lost, _)| *lost).map(|(_, class)| class)
    }

    /// A socket that may not have been told: begun in the gap, or without a time, unless that only says that it is older than the agent.
    pub(crate) fn may_hide(&self, record: &Record) -> bool {
        let Body::Flow(flow) = &record.body else { return true };
        match flow.established_boot_ns {
            0 => flow.op == FlowOp::Listen || self.cause == LossCause::MapFull,
            begun => begun.saturating_add(SLACK_NS) >= self.since_boot_ns,
        }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Healing {
    gap: Option<Gap>,
    due: Option<Instant>,
    not_before: Option<Instant>,
}

impl Healing {
    pub(crate) fn lost(&mut self, lost: Gap, now: Instant) {
        if !lost.processes && !lost.flows {
            return;
        }
        self.due.get_or_insert_with(|| {
            let due = now + AFTER.mul_f64(rand::rng().random_range(1.0..=2.0));
            self.not_before.map_or(due, |not_before| due.max(not_before))
        });
        self.gap = Some(match self.gap.take() {
            None => lost,
            Some(known) => Gap {
                // A map that was full is the wider loss.
                cause: if lost.cause == LossCause::MapFull { lost.cause } else { known.cause },
                since: known.since.min(lost.since),
                until: known.until.max(lost.until),
                since_boot_ns: known.since_boot_ns.min(lost.since_boot_ns),
                processes: known.processes || lost.processes,
                flows: known.flows || lost.flows,
            },
        });
    }

    /// The gap to close now; the caller says what came of it by [`Healing::done`] or [`Healing::lost`].
    pub(crate) fn due(&mut self, now: Instant) -> Option<Gap> {
        self.due.take_if(|due| *due <= now)?;
        self.gap.take()
    }

    /// The lists were read; that took so long.
    pub(crate) fn done(&mut self, now: Instant, took: Duration) {
        let rest = EVERY.max(took.saturating_mul(REST));
        self.not_before = Some(now + rest.mul_f64(rand::rng().random_range(1.0..=1.5)));
    }
}

/// One sentence for the analyst.
pub(crate) fn message(class: EventClass, found: u64) -> String {
    let (one, many) = if class == EventClass::ProcessActivity { ("process", "processes") } else { ("socket", "sockets") };
    let found = match found {
        0 => format!("no {one} was unknown"),
        1 => format!("1 {one} was unknown"),
        count => format!("{count} {many} were unknown"),
    };
    format!("what these losses left unknown was read again from the kernel: {found}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gap(cause: LossCause, since: i64, processes: bool) -> Gap {
        Gap { cause, since: Timestamp(since), until: Timestamp(since + 5), since_boot_ns: since.unsigned_abs(), processes, flows: !processes }
    }

    #[test]
    fn losses_are_healed_together_after_a_moment_and_not_often() {
        let (mut healing, start) = (Healing::default(), Instant::now());
        healing.lost(gap(LossCause::RingFull, 50, true), start);
        healing.lost(gap(LossCause::QueueFull, 10, false), start + Duration::from_millis(900));
        assert_eq!(healing.due(start + Duration::from_millis(999)), None, "not at once");
        let whole = Gap { until: Timestamp(55), flows: true, ..gap(LossCause::RingFull, 10, true) };
        assert_eq!(healing.due(start + Duration::from_secs(2)), Some(whole));
        assert_eq!(healing.due(start + Duration::from_secs(900)), None, "once");
        let end = start + Duration::from_secs(2);
        healing.done(end, Duration::from_secs(1));
        healing.lost(gap(LossCause::RingFull, 60, true), end);
        assert_eq!(healing.due(end + Duration::from_secs(199)), None, "a walk of a second is followed by a rest of 200");
        assert!(healing.due(end + Duration::from_secs(301)).is_some());
        healing.done(end, Duration::ZERO);
        healing.lost(gap(LossCause::RingFull, 70, true), end);
        assert_eq!(healing.due(end + Duration::from_secs(29)), None);
        assert!(healing.due(end + Duration::from_secs(46)).is_some());
    }

    #[test]
    fn losses_of_files_need_no_healing() {
        let (mut healing, now) = (Healing::default(), Instant::now());
        healing.lost(Gap { processes: false, ..gap(LossCause::RingFull, 1, true) }, now);
        assert_eq!(healing.due(now + Duration::from_secs(900)), None);
    }
}
