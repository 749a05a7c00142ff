//! The judgement of one host, from what was seen of it.

use std::time::Duration;

use picket_proto::v1::SensorProblem;

use super::problems;

/// How a host's sensor is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Condition {
    /// It is heard, and sees what it saw.
    #[default]
    Reporting,
    /// The agent ended in order and has not come back.
    Stopped,
    /// Nothing is heard, and no goodbye was.
    Silent,
    /// It is heard, and does not see what it saw.
    Blinded,
}

impl Condition {
    /// Every condition.
    pub const ALL: [Self; 4] = [Self::Reporting, Self::Stopped, Self::Silent, Self::Blinded];

    /// As stored, and as metrics are labelled.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reporting => "reporting",
            Self::Stopped => "stopped",
            Self::Silent => "silent",
            Self::Blinded => "blinded",
        }
    }

    /// From its name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|condition| condition.name() == name)
    }
}

/// How long nothing may be heard.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) silent_after: Duration,
    /// For a host that has had no session since the server started.
    pub(super) grace: Duration,
}

/// What was seen of a host.
#[derive(Clone, Copy, Debug)]
pub(super) enum Sight<'a> {
    /// Its session is up.
    Connected {
        unheard: Duration,
        /// Since its last heartbeat, or since the session began.
        beatless: Duration,
        /// A heartbeat of this session has come.
        beat: bool,
        problems: &'a [SensorProblem],
    },
    /// Its last session has ended.
    Gone { unheard: Duration, goodbye: bool },
    /// No session since the server started, so long ago.
    Unseen { since_start: Duration },
}

/// What it is now, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) condition: Condition,
    pub(super) reason: String,
}

/// A heartbeat that is late by half is late enough: batches alone prove a connection, not a sensor.
const BEAT_SLACK: f64 = 1.5;

/// `known`: what it was judged last. `None` where nothing speaks against that.
pub(super) fn judge(known: Condition, sight: Sight<'_>, limits: Limits) -> Option<Verdict> {
    let verdict = |condition, reason: String| Some(Verdict { condition, reason });
    match sight {
        Sight::Connected { unheard, .. } if unheard >= limits.silent_after => verdict(
            Condition::Silent,
            format!(
                "its connection is up and carries nothing for {} s: the agent is stopped or hangs, or its packets are dropped",
                limits.silent_after.as_secs()
            ),
        ),
        Sight::Connected { beatless, .. } if beatless >= limits.silent_after.mul_f64(BEAT_SLACK) => {
            verdict(Condition::Silent, format!("events come, but no heartbeat for {} s", limits.silent_after.mul_f64(BEAT_SLACK).as_secs()))
        }
        Sight::Connected { problems, .. } if !problems.is_empty() => verdict(Condition::Blinded, problems::summary(problems)),
        // What the host says of its sensor comes with its first heartbeat.
        Sight::Connected { beat: false, .. } => None,
        Sight::Connected { .. } => verdict(Condition::Reporting, String::new()),
        Sight::Gone { goodbye: true, .. } => verdict(Condition::Stopped, "the agent ended in order".to_owned()),
        // It said goodbye to a server that has restarted since.
        _ if known == Condition::Stopped => None,
        Sight::Gone { unheard, .. } if unheard >= limits.silent_after => verdict(
            Condition::Silent,
            format!(
                "its session ended without a goodbye and it did not come back in {} s: the agent or the host was killed, or it is cut off",
                limits.silent_after.as_secs()
            ),
        ),
        Sight::Unseen { since_start } if since_start >= limits.grace => {
            verdict(Condition::Silent, format!("it did not come back in {} s after this server started", limits.grace.as_secs()))
        }
        Sight::Gone { .. } | Sight::Unseen { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { silent_after: Duration::from_secs(30), grace: Duration::from_secs(90) };

    fn condition(known: Condition, sight: Sight<'_>) -> Condition {
        judge(known, sight, LIMITS).map_or(known, |verdict| verdict.condition)
    }

    fn connected(unheard: u64, beatless: u64, problems: &[SensorProblem]) -> Sight<'_> {
        Sight::Connected { unheard: Duration::from_secs(unheard), beatless: Duration::from_secs(beatless), beat: true, problems }
    }

    fn gone(unheard: u64, goodbye: bool) -> Sight<'static> {
        Sight::Gone { unheard: Duration::from_secs(unheard), goodbye }
    }

    #[test]
    fn silence_needs_its_time_and_no_goodbye() {
        for known in [Condition::Reporting, Condition::Blinded] {
            assert_eq!(condition(known, gone(29, false)), known);
            assert_eq!(condition(known, gone(30, false)), Condition::Silent);
            assert_eq!(condition(known, gone(0, true)), Condition::Stopped);
            assert_eq!(condition(known, connected(30, 30, &[])), Condition::Silent);
            assert_eq!(condition(known, connected(1, 45, &[])), Condition::Silent, "events without heartbeats");
        }
        assert_eq!(condition(Condition::Stopped, gone(10_000, true)), Condition::Stopped);
    }

    #[test]
    fn a_restarted_server_waits_for_its_hosts() {
        let unseen = |since| Sight::Unseen { since_start: Duration::from_secs(since) };
        assert_eq!(condition(Condition::Reporting, unseen(89)), Condition::Reporting);
        assert_eq!(condition(Condition::Reporting, unseen(90)), Condition::Silent);
        assert_eq!(condition(Condition::Stopped, unseen(10_000)), Condition::Stopped);
        assert_eq!(condition(Condition::Silent, unseen(1)), Condition::Silent);
    }

    #[test]
    fn a_host_that_comes_back_is_judged_by_its_first_heartbeat() {
        let hello = Sight::Connected { unheard: Duration::ZERO, beatless: Duration::ZERO, beat: false, problems: &[] };
        for known in Condition::ALL {
            assert_eq!(condition(known, hello), known);
            assert_eq!(condition(known, connected(1, 1, &[])), Condition::Reporting);
            let problem = SensorProblem { cause: "probe_missing".to_owned(), subject: "process_exec".to_owned(), ..SensorProblem::default() };
            let blinded = judge(known, connected(1, 1, std::slice::from_ref(&problem)), LIMITS).expect("a verdict");
            assert_eq!(blinded.condition, Condition::Blinded);
            assert!(blinded.reason.contains("process_exec"), "{}", blinded.reason);
        }
    }
}
