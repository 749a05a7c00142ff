//! The ledger of what was not kept. Every part of the agent that drops an event enters it here; the spooler turns the entries into loss
//! events, at most one a second for each cause, class and CPU, and puts back what it could not store.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use picket_event::{EventClass, LossCause, SensorLoss, Timestamp};

/// Classes of the kernel's records, in the order of its counters.
pub(crate) const RECORD_CLASSES: [EventClass; 3] = [EventClass::ProcessActivity, EventClass::FileSystemActivity, EventClass::NetworkActivity];

/// Losses of one cause and class that no event tells yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pending {
    pub(crate) cause: LossCause,
    pub(crate) class: Option<EventClass>,
    /// The CPU that made them, where the kernel counts by CPU.
    pub(crate) cpu: Option<u32>,
    pub(crate) count: u64,
    /// How many of them the kernel had counted as produced.
    pub(crate) produced: u64,
    pub(crate) since: Timestamp,
    pub(crate) until: Timestamp,
}

impl Pending {
    pub(crate) fn event(&self) -> SensorLoss {
        SensorLoss {
            cause: self.cause,
            class: self.class,
            count: Some(self.count),
            cpu: self.cpu,
            since: self.since,
            until: self.until,
            healed: None,
            message: message(self.cause, self.count),
        }
    }

    fn key(&self) -> Key {
        (self.cause, self.class, self.cpu)
    }
}

/// CPUs told one by one, those that lost most; what the others lost is told together, so that a host with hundreds of CPUs under load does not
/// tell hundreds of losses a second.
const CPUS_TOLD_MAX: usize = 8;

/// `counts` by CPU as (CPU, count), and the sum of the rest without one.
pub(crate) fn by_cpu(counts: &[u64]) -> Vec<(Option<u32>, u64)> {
    let mut lost: Vec<(Option<u32>, u64)> = (0..).map(Some).zip(counts.iter().copied()).filter(|(_, count)| *count > 0).collect();
    lost.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let rest: u64 = lost.iter().skip(CPUS_TOLD_MAX).map(|(_, count)| count).sum();
    lost.truncate(CPUS_TOLD_MAX);
    lost.extend((rest > 0).then_some((None, rest)));
    lost
}

type Key = (LossCause, Option<EventClass>, Option<u32>);

#[derive(Default)]
struct State {
    pending: BTreeMap<Key, Pending>,
    totals: BTreeMap<(LossCause, Option<EventClass>), u64>,
}

/// See the module. Bounded by causes × classes × CPUs.
#[derive(Default)]
pub(crate) struct LossLedger {
    state: Mutex<State>,
}

impl LossLedger {
    // Entries are complete whenever the lock is free.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a loss.
    pub(crate) fn add(&self, pending: Pending) {
        if pending.count == 0 {
            return;
        }
        let state = &mut *self.state();
        *state.totals.entry((pending.cause, pending.class)).or_default() += pending.count;
        merge(&mut state.pending, pending);
    }

    /// Everything that no event tells yet; the caller stores it or puts it back.
    pub(crate) fn take(&self) -> Vec<Pending> {
        std::mem::take(&mut self.state().pending).into_values().collect()
    }

    /// What could not be stored, for the next try.
    pub(crate) fn put_back(&self, pending: Vec<Pending>) {
        let state = &mut *self.state();
        for one in pending {
            merge(&mut state.pending, one);
        }
    }

    /// True when every entered loss was taken.
    pub(crate) fn is_empty(&self) -> bool {
        self.state().pending.is_empty()
    }

    /// Since the agent's start, by cause and class.
    pub(crate) fn totals(&self) -> Vec<(LossCause, Option<EventClass>, u64)> {
        self.state().totals.iter().map(|((cause, class), count)| (*cause, *class, *count)).collect()
    }
}

fn merge(into: &mut BTreeMap<Key, Pending>, pending: Pending) {
    let Some(known) = into.get_mut(&pending.key()) else {
        into.insert(pending.key(), pending);
        return;
    };
    known.count = known.count.saturating_add(pending.count);
    known.produced = known.produced.saturating_add(pending.produced);
    known.since = known.since.min(pending.since);
    known.until = known.until.max(pending.until);
}

/// One sentence for the analyst.
pub(crate) fn message(cause: LossCause, count: u64) -> String {
    let events = if count == 1 { "1 event was".to_owned() } else { format!("{count} events were") };
    let why = match cause {
        LossCause::RingFull => "lost because the kernel's ring buffer was full",
        LossCause::QueueFull => "dropped because the agent's queue was full",
        LossCause::SpoolFull => "dropped because the spool used all the disk it may use",
        LossCause::DiskError => "lost because the disk refused to store them",
        LossCause::AgentDown => "in memory when the agent was killed",
        LossCause::SpoolCorrupt => "stored in the spool and could not be read back",
        LossCause::Budget => "shed to stay inside the agent's budget",
        LossCause::Refused => "refused",
        LossCause::MapFull => "incomplete because a kernel map was full",
        LossCause::ProbeDetached => "not seen because a probe was detached",
        LossCause::RateLimited => "left out because one process caused more of them than its share",
        LossCause::SensorTampered => "not seen because the sensor was tampered with",
        LossCause::Scan => "not looked at by a scan",
        LossCause::ProbeMissed => {
            return format!("the kernel left out {count} runs of probes while others of the same were under way: each may have been an event");
        }
    };
    format!("{events} {why}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pending(cause: LossCause, count: u64, at: i64) -> Pending {
        Pending { cause, class: Some(EventClass::ProcessActivity), cpu: None, count, produced: count, since: Timestamp(at), until: Timestamp(at + 1) }
    }

    proptest! {
        /// However losses arrive, are taken, and are put back: what was entered is told or still pending, and counted once.
        #[test]
        fn nothing_vanishes(steps in proptest::collection::vec((0..4_u8, 0..100_u64), 1..100)) {
            let ledger = LossLedger::default();
            let (mut entered, mut told) = (0, 0);
            for (at, (kind, count)) in (0_i64..).zip(steps) {
                match kind {
                    0 => ledger.add(pending(LossCause::QueueFull, count, at)),
                    1 => ledger.add(pending(LossCause::RingFull, count, at)),
                    2 => told += ledger.take().iter().map(|one| one.count).sum::<u64>(),
                    _ => ledger.put_back(ledger.take()),
                }
                if kind < 2 {
                    entered += count;
                }
            }
            prop_assert_eq!(ledger.totals().iter().map(|(_, _, count)| count).sum::<u64>(), entered);
            told += ledger.take().iter().map(|one| one.count).sum::<u64>();
            prop_assert_eq!(told, entered);
            prop_assert!(ledger.is_empty());
        }
    }

    #[test]
    fn the_cpus_that_lost_most_are_named_and_the_sum_stays() {
        assert_eq!(by_cpu(&[0, 0]), vec![]);
        assert_eq!(by_cpu(&[0, 7, 9]), vec![(Some(2), 9), (Some(1), 7)]);
        let many: Vec<u64> = (0..200).collect();
        let told = by_cpu(&many);
        assert_eq!(told.iter().map(|(_, count)| count).sum::<u64>(), many.iter().sum::<u64>());
        assert_eq!((told.len(), told.first(), told.last().map(|(cpu, _)| *cpu)), (CPUS_TOLD_MAX + 1, Some(&(Some(199), 199)), Some(None)));
        let ledger = LossLedger::default();
        for (cpu, count) in by_cpu(&[3, 5]) {
            ledger.add(Pending { cpu, ..pending(LossCause::RingFull, count, 1) });
        }
        assert_eq!(ledger.take().iter().map(|one| (one.cpu, one.count)).collect::<Vec<_>>(), vec![(Some(0), 3), (Some(1), 5)]);
        assert_eq!(ledger.totals(), vec![(LossCause::RingFull, Some(EventClass::ProcessActivity), 8)], "totals do not tell CPUs apart");
    }

    #[test]
    fn the_span_covers_every_loss() {
        let ledger = LossLedger::default();
        ledger.add(pending(LossCause::QueueFull, 2, 50));
        ledger.add(pending(LossCause::QueueFull, 3, 10));
        let taken = ledger.take();
        assert_eq!(taken, vec![Pending { count: 5, produced: 5, since: Timestamp(10), until: Timestamp(51), ..pending(LossCause::QueueFull, 0, 0) }]);
        assert_eq!(taken.first().unwrap().event().message, "5 events were dropped because the agent's queue was full");
    }
}
