//! What was sent and is not answered: a state machine without I/O.

use std::{collections::VecDeque, time::Duration};

use picket_event::Timestamp;
use picket_proto::v1::{Nack, nack::Reason};

/// Rewinds without any progress before the session is given up.
const REWINDS_MAX: u32 = 16;
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// A batch on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) first_seq: u64,
    pub(crate) last_seq: u64,
    pub(crate) bytes: usize,
    /// Events by class; `None` for the empty batch that stands for a lost range.
    pub(crate) counts: Option<[u32; picket_spool::CLASSES]>,
    pub(crate) since: Timestamp,
    pub(crate) until: Timestamp,
}

/// What an answer asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Go on.
    Nothing,
    /// Everything up to `Window::acked` is the server's.
    Acked,
    /// Send again from `Window::cursor`, after this long.
    Rewind(Duration),
    /// The server will never store this batch; everything up to `Window::acked` is settled.
    Refused(Sent),
    /// The server does not have what it acknowledged: it was set back. The spool needs a new life.
    ServerRolledBack,
    /// The server contradicts itself.
    Broken(&'static str),
}

/// Batches in flight.
#[derive(Debug)]
pub(crate) struct Window {
    /// Sent at least once, up to here.
    pub(crate) cursor: u64,
    /// The server's, up to here.
    pub(crate) acked: u64,
    outstanding: VecDeque<(Sent, Freshness)>,
    batches_max: usize,
    bytes_max: usize,
    rewinds: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Freshness {
    Fresh,
    /// Sent before a rewind: its answer only says what is known already.
    Stale,
}

impl Window {
    pub(crate) fn new(watermark: u64, batches_max: usize, bytes_max: usize) -> Self {
        Self { cursor: watermark, acked: watermark, outstanding: VecDeque::new(), batches_max: batches_max.max(1), bytes_max, rewinds: 0 }
    }

    /// May one more batch be sent?
    pub(crate) fn has_room(&self) -> bool {
        self.outstanding.len() < self.batches_max && self.outstanding.iter().map(|(sent, _)| sent.bytes).sum::<usize>() < self.bytes_max
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.outstanding.is_empty()
    }

    pub(crate) fn sent(&mut self, sent: Sent) {
        self.cursor = sent.last_seq;
        self.outstanding.push_back((sent, Freshness::Fresh));
    }

    pub(crate) fn ack(&mut self, seq: u64) -> Outcome {
        // After a rewind the cursor is behind what is on its way.
        let sent = self.outstanding.iter().map(|(sent, _)| sent.last_seq).max().unwrap_or(0).max(self.cursor).max(self.acked);
        if seq > sent {
            return Outcome::Broken("the server acknowledged what was never sent");
        }
        if seq <= self.acked {
            // The answer to a replay.
            self.settle(seq);
            return Outcome::Nothing;
        }
        self.acked = seq;
        self.cursor = self.cursor.max(seq);
        self.rewinds = 0;
        self.settle(seq);
        Outcome::Acked
    }

    fn settle(&mut self, seq: u64) {
        while self.outstanding.front().is_some_and(|(sent, _)| sent.last_seq <= seq) {
            self.outstanding.pop_front();
        }
    }

    pub(crate) fn nack(&mut self, nack: &Nack) -> Outcome {
        let Some(position) = self.outstanding.iter().position(|(sent, _)| sent.first_seq == nack.first_seq) else {
            return Outcome::Broken("the server refused what was never sent");
        };
        let Some((sent, freshness)) = self.outstanding.remove(position) else { return Outcome::Nothing };
        match nack.reason() {
            Reason::Malformed => {
                // Its range counts as stored, whatever the watermark in the answer says.
                let settled = if sent.first_seq == self.acked + 1 { sent.last_seq.max(nack.watermark) } else { nack.watermark };
                if matches!(self.ack(settled.max(self.acked)), Outcome::Broken(_)) {
                    return Outcome::Broken("the server's watermark is beyond what was sent");
                }
                Outcome::Refused(sent)
            }
            _ if freshness == Freshness::Stale => Outcome::Nothing,
            Reason::Gap | Reason::Busy if nack.watermark < self.acked => Outcome::ServerRolledBack,
            Reason::Gap => self.rewind(nack.watermark, Duration::ZERO),
            Reason::Busy => self.rewind(nack.watermark, Duration::from_millis(u64::from(nack.retry_after_ms)).clamp(Duration::from_millis(10), PAUSE_MAX)),
            Reason::Unspecified => Outcome::Broken("the server refused without a reason that this agent knows"),
        }
    }

    fn rewind(&mut self, watermark: u64, pause: Duration) -> Outcome {
        if matches!(self.ack(watermark), Outcome::Broken(_)) {
            return Outcome::Broken("the server's watermark is beyond what was sent");
        }
        for (_, freshness) in &mut self.outstanding {
            *freshness = Freshness::Stale;
        }
        self.cursor = self.acked;
        self.rewinds += 1;
        // A pause is the server's wish, not a sign that the two disagree.
        if pause.is_zero() && self.rewinds > REWINDS_MAX { Outcome::Broken("the server finds a gap wherever the agent begins") } else { Outcome::Rewind(pause) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sent(first_seq: u64, last_seq: u64) -> Sent {
        Sent { first_seq, last_seq, bytes: 10, counts: Some([0; picket_spool::CLASSES]), since: Timestamp(0), until: Timestamp(0) }
    }

    fn nack(first_seq: u64, reason: Reason, watermark: u64) -> Nack {
        Nack { first_seq, reason: reason.into(), watermark, retry_after_ms: 20, ..Nack::default() }
    }

    fn three() -> Window {
        let mut window = Window::new(0, 8, 1_000);
        for first in [1, 11, 21] {
            window.sent(sent(first, first + 9));
        }
        window
    }

    #[test]
    fn acks_are_cumulative_and_cannot_run_ahead() {
        let mut window = three();
        assert_eq!(window.ack(20), Outcome::Acked);
        assert_eq!((window.acked, window.outstanding.len()), (20, 1));
        assert!(matches!(window.ack(31), Outcome::Broken(_)));
    }

    #[test]
    fn the_answers_to_what_followed_a_gap_are_ignored() {
        let mut window = three();
        assert_eq!(window.nack(&nack(1, Reason::Gap, 0)), Outcome::Rewind(Duration::ZERO));
        assert_eq!(window.cursor, 0);
        window.sent(sent(1, 10));
        assert_eq!(window.nack(&nack(11, Reason::Gap, 0)), Outcome::Nothing);
        assert_eq!(window.nack(&nack(21, Reason::Gap, 0)), Outcome::Nothing);
        assert_eq!(window.ack(10), Outcome::Acked);
        assert!(window.is_empty());
    }

    #[test]
    fn busy_pauses_and_goes_on_behind_the_watermark() {
        let mut window = three();
        assert_eq!(window.nack(&nack(11, Reason::Busy, 10)), Outcome::Rewind(Duration::from_millis(20)));
        assert_eq!((window.acked, window.cursor), (10, 10));
    }

    #[test]
    fn a_malformed_batch_is_settled_and_told() {
        let mut window = three();
        assert_eq!(window.ack(10), Outcome::Acked);
        assert_eq!(window.nack(&nack(11, Reason::Malformed, 20)), Outcome::Refused(sent(11, 20)));
        assert_eq!(window.acked, 20);
        assert_eq!(window.ack(30), Outcome::Acked);
        assert!(window.is_empty());
    }

    #[test]
    fn a_server_that_was_set_back_or_raves_is_recognised() {
        let mut window = three();
        window.ack(20);
        assert_eq!(window.nack(&nack(21, Reason::Gap, 5)), Outcome::ServerRolledBack);
        assert!(matches!(three().nack(&nack(5, Reason::Gap, 0)), Outcome::Broken(_)));
        assert!(matches!(three().nack(&nack(1, Reason::Gap, 99)), Outcome::Broken(_)));
        assert!(matches!(three().nack(&nack(1, Reason::Unspecified, 0)), Outcome::Broken(_)));
        let mut window = three();
        let mut rounds = 0;
        while window.nack(&nack(1, Reason::Gap, 0)) == Outcome::Rewind(Duration::ZERO) {
            window.sent(sent(1, 10));
            rounds += 1;
        }
        assert_eq!(rounds, REWINDS_MAX);
    }

    proptest! {
        /// Against a server that stores in order and answers each batch once, in order, everything arrives exactly once.
        #[test]
        fn everything_arrives_once(faults in proptest::collection::vec(0..6_u8, 0..60), batches in 1..40_u64) {
            let mut window = Window::new(0, 4, 1_000_000);
            let (mut watermark, mut wire, mut stored, mut faults) = (0_u64, VecDeque::new(), Vec::new(), faults.into_iter());
            for _ in 0..10_000 {
                if window.acked == batches {
                    break;
                }
                while window.has_room() && window.cursor < batches {
                    let next = window.cursor + 1;
                    window.sent(sent(next, next));
                    wire.push_back(next);
                }
                let Some(first) = wire.pop_front() else { continue };
                let outcome = match faults.next() {
                    Some(0) => window.nack(&nack(first, Reason::Busy, watermark)),
                    _ if first <= watermark => window.ack(watermark),
                    _ if first > watermark + 1 => window.nack(&nack(first, Reason::Gap, watermark)),
                    _ => {
                        watermark = first;
                        stored.push(first);
                        window.ack(watermark)
                    }
                };
                prop_assert!(!matches!(outcome, Outcome::Broken(_) | Outcome::ServerRolledBack), "{outcome:?}");
            }
            prop_assert_eq!(stored, (1..=batches).collect::<Vec<_>>());
            prop_assert_eq!(window.acked, batches);
        }
    }
}
