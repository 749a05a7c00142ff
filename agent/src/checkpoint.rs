//! How many of the kernel's records the spool accounts for, stored in each frame, and what an earlier run left unaccounted.

use picket_ebpf::Counters;
use picket_event::{Activity, Event, EventClass, LossCause, SensorLoss, Timestamp};
use picket_spool::{LostRange, Recovery};

use crate::{
    boot::wall_now,
    loss::{RECORD_CLASSES, message},
    stdout::own_event,
};

/// Classes that a spool frame counts, by index.
pub(crate) const FRAME_CLASSES: [Option<EventClass>; picket_spool::CLASSES] = [
    Some(EventClass::ProcessActivity),
    Some(EventClass::FileSystemActivity),
    Some(EventClass::NetworkActivity),
    Some(EventClass::EventLogActivity),
    Some(EventClass::DeviceConfigState),
    Some(EventClass::DetectionFinding),
    Some(EventClass::DnsActivity),
    // Every other class together.
    None,
];

/// Where a frame's header counts events of a class.
pub(crate) fn frame_slot(class: EventClass) -> usize {
    FRAME_CLASSES.iter().position(|known| *known == Some(class)).unwrap_or(FRAME_CLASSES.len() - 1)
}

const BYTES: usize = 64;

/// Counts since the kernel side was loaded, by record class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    /// The boot; counters of another one say nothing.
    pub(crate) boot: [u8; 16],
    /// Records whose events are stored, or told as lost by a stored event.
    pub(crate) accounted: [u64; 3],
    /// Records that did not fit the ring and are told by a stored event.
    pub(crate) dropped: [u64; 3],
}

impl Checkpoint {
    pub(crate) fn encode(&self) -> [u8; BYTES] {
        let mut bytes = [0; BYTES];
        let numbers = self.accounted.iter().chain(&self.dropped).flat_map(|number| number.to_le_bytes());
        for (place, byte) in bytes.iter_mut().zip(self.boot.into_iter().chain(numbers)) {
            *place = byte;
        }
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; BYTES] = bytes.try_into().ok()?;
        let (boot, numbers) = bytes.split_first_chunk::<16>()?;
        let mut numbers = numbers.chunks_exact(8).filter_map(|chunk| chunk.try_into().ok().map(u64::from_le_bytes));
        let mut three = || Some([numbers.next()?, numbers.next()?, numbers.next()?]);
        Some(Self { boot: *boot, accounted: three()?, dropped: three()? })
    }
}

/// The loss events that the state of the spool and the counters left in the kernel call for.
pub(crate) fn losses_of_the_last_run(recovery: &Recovery, previous: Option<&Counters>, boot: [u8; 16]) -> Vec<Event> {
    let now = wall_now();
    let mut losses: Vec<SensorLoss> = recovery.lost.iter().flat_map(|range| corrupt(range, now)).collect();
    if recovery.unclean {
        // The events of the last run end here; a clock that was stepped back must not turn the span around.
        let since = recovery.last_write_time_ns.map_or(now, |time| Timestamp(time.min(now.0)));
        let checkpoint = recovery.checkpoint.as_deref().and_then(Checkpoint::decode);
        // A killed run that stored nothing has no checkpoint: everything it produced is lost.
        let checkpoint = checkpoint.unwrap_or(Checkpoint { boot, ..Checkpoint::default() });
        if let Some(counters) = previous.filter(|_| checkpoint.boot == boot) {
            losses.extend(difference(LossCause::AgentDown, counters.produced, checkpoint.accounted, since, now));
            losses.extend(difference(LossCause::RingFull, counters.dropped, checkpoint.dropped, since, now));
        }
        let message = "the agent did not run, or was killed: what happened in this time was not seen".to_owned();
        losses.push(SensorLoss { cause: LossCause::AgentDown, class: None, count: None, cpu: None, since, until: now, healed: None, message });
    }
    losses.into_iter().map(|loss| own_event(Activity::Loss(loss), now)).collect()
}

fn difference(cause: LossCause, kernel: [u64; 3], stored: [u64; 3], since: Timestamp, until: Timestamp) -> Vec<SensorLoss> {
    let counts = kernel.into_iter().zip(stored).map(|(kernel, stored)| kernel.saturating_sub(stored));
    let classes = RECORD_CLASSES.into_iter().zip(counts).filter(|(_, count)| *count > 0);
    classes
        .map(|(class, count)| SensorLoss {
            cause,
            class: Some(class),
            count: Some(count),
            cpu: None,
            since,
            until,
            healed: None,
            message: message(cause, count),
        })
        .collect()
}

/// The loss events of a range of the spool that cannot be read: one a class where its header is whole.
pub(crate) fn corrupt(range: &LostRange, now: Timestamp) -> Vec<SensorLoss> {
    let cause = LossCause::SpoolCorrupt;
    let (since, until) = (range.since_ns.map_or(now, Timestamp), range.until_ns.map_or(now, Timestamp));
    let loss = |class, count: u64| SensorLoss { cause, class, count: Some(count), cpu: None, since, until, healed: None, message: message(cause, count) };
    match range.class_counts {
        Some(counts) => {
            let classes = FRAME_CLASSES.into_iter().zip(counts).filter(|(_, count)| *count > 0);
            classes.map(|(class, count)| loss(class, u64::from(count))).collect()
        }
        None => vec![loss(None, range.last_seq.saturating_sub(range.first_seq) + 1)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recovery(checkpoint: Option<Checkpoint>) -> Recovery {
        Recovery {
            spool_uid: uuid::Uuid::nil(),
            first_seq: 1,
            last_seq: 10,
            torn_frames: 0,
            torn_events: 0,
            lost: Vec::new(),
            unclean: true,
            last_write_time_ns: Some(500),
            checkpoint: checkpoint.map(|checkpoint| checkpoint.encode().to_vec()),
        }
    }

    fn counts(events: &[Event]) -> Vec<(LossCause, Option<EventClass>, Option<u64>, i64)> {
        let loss =
            |event: &Event| if let Activity::Loss(loss) = &event.activity { (loss.cause, loss.class, loss.count, loss.since.0) } else { panic!("{event:?}") };
        events.iter().map(loss).collect()
    }

    #[test]
    fn the_checkpoint_survives_its_bytes() {
        let checkpoint = Checkpoint { boot: [7; 16], accounted: [1, u64::MAX, 3], dropped: [4, 5, 6] };
        assert_eq!(Checkpoint::decode(&checkpoint.encode()), Some(checkpoint));
        assert_eq!(Checkpoint::decode(&[0; 63]), None);
    }

    #[test]
    fn what_the_kernel_counted_and_the_spool_does_not_hold_was_lost() {
        let checkpoint = Checkpoint { boot: [1; 16], accounted: [90, 5, 7], dropped: [2, 0, 0] };
        let previous = Counters { produced: [100, 5, 9], dropped: [3, 0, 0], ..Counters::default() };
        let found = counts(&losses_of_the_last_run(&recovery(Some(checkpoint)), Some(&previous), [1; 16]));
        assert_eq!(
            found,
            vec![
                (LossCause::AgentDown, Some(EventClass::ProcessActivity), Some(10), 500),
                (LossCause::AgentDown, Some(EventClass::NetworkActivity), Some(2), 500),
                (LossCause::RingFull, Some(EventClass::ProcessActivity), Some(1), 500),
                (LossCause::AgentDown, None, None, 500),
            ]
        );
    }

    #[test]
    fn after_a_reboot_only_the_span_is_known() {
        let checkpoint = Checkpoint { boot: [1; 16], accounted: [90, 5, 7], dropped: [0; 3] };
        let previous = Counters { produced: [100, 5, 9], ..Counters::default() };
        assert_eq!(counts(&losses_of_the_last_run(&recovery(Some(checkpoint)), Some(&previous), [2; 16])), vec![(LossCause::AgentDown, None, None, 500)]);
        assert_eq!(counts(&losses_of_the_last_run(&recovery(Some(checkpoint)), None, [1; 16])), vec![(LossCause::AgentDown, None, None, 500)]);
        let clean = Recovery { unclean: false, ..recovery(None) };
        assert_eq!(losses_of_the_last_run(&clean, Some(&previous), [1; 16]), vec![]);
    }

    #[test]
    fn a_corrupt_range_is_told_by_class_where_its_header_is_whole() {
        let range = LostRange { first_seq: 11, last_seq: 20, class_counts: None, since_ns: Some(1), until_ns: None, reported: false };
        assert_eq!(corrupt(&range, Timestamp(9)).iter().map(|loss| (loss.class, loss.count)).collect::<Vec<_>>(), vec![(None, Some(10))]);
        let range = LostRange { class_counts: Some([4, 0, 0, 6, 0, 0, 0, 0]), ..range };
        let told: Vec<_> = corrupt(&range, Timestamp(9)).iter().map(|loss| (loss.class, loss.count)).collect();
        assert_eq!(told, vec![(Some(EventClass::ProcessActivity), Some(4)), (Some(EventClass::EventLogActivity), Some(6))]);
    }
}
