//! Posture while the agent runs: a thread that looks once in a while and tells what changed, and everything once a day.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc,
        mpsc::{self, RecvTimeoutError, SyncSender},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use picket_event::{Activity, ComplianceFinding, ComplianceStatus, Event, FindingActivityKind, Severity};

use super::{CheckSeverity, Outcome, Status, assess};
use crate::{
    boot::wall_now,
    config::Config,
    pipeline::{Chunk, Numbered},
    side::{SideGuard, side},
    stdout::own_event,
};

/// An outcome that did not change is told again so often: a server that was set up later learns it.
const TELL_AGAIN_AFTER: Duration = Duration::from_secs(86_400);
/// The host has other things to do while it starts.
const FIRST_AFTER: Duration = Duration::from_secs(60);

/// The running thread; it ends when this is dropped, at the latest with the look it is taking.
pub(crate) struct PostureWatch {
    _stop: mpsc::Sender<()>,
    _sink: SideGuard,
}

impl PostureWatch {
    /// `None` where the configuration asks for none.
    pub(crate) fn start(config: Arc<ArcSwap<Config>>, sink: SyncSender<Chunk>) -> anyhow::Result<Option<Self>> {
        let current = config.load();
        let every = Duration::from_secs(current.posture.every_seconds);
        if every.is_zero() {
            return Ok(None);
        }
        let checks = super::load(current.posture.checks_dir.as_deref())?;
        let (stop, stopped) = mpsc::channel();
        let (sink, guard) = side(sink);
        let run = move || {
            let mut told = Told::default();
            let mut wait = FIRST_AFTER.min(every);
            while stopped.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) {
                wait = every;
                let outcomes = assess(Path::new("/"), &checks, &config.load().watch);
                let chunk: Chunk = told.news(outcomes, Instant::now()).into_iter().map(Numbered::own).collect();
                if !sink.send(chunk) {
                    return;
                }
            }
        };
        std::thread::Builder::new().name("posture".to_owned()).spawn(run)?;
        Ok(Some(Self { _stop: stop, _sink: guard }))
    }
}

/// What was told of each check, and when.
#[derive(Default)]
struct Told(BTreeMap<String, (Status, Vec<String>, Instant)>);

impl Told {
    /// Events of what is new. What does not apply is told only where it applied before.
    fn news(&mut self, outcomes: Vec<Outcome>, now: Instant) -> Vec<Event> {
        let mut events = Vec::new();
        for outcome in outcomes {
            let before = self.0.get(&outcome.id);
            let kind = match before {
                None if outcome.status == Status::NotApplicable => continue,
                None => FindingActivityKind::Create,
                Some((status, evidence, at)) => {
                    let same = *status == outcome.status && *evidence == outcome.evidence;
                    if same && (outcome.status == Status::NotApplicable || now.duration_since(*at) < TELL_AGAIN_AFTER) {
                        continue;
                    }
                    if outcome.status == Status::NotApplicable { FindingActivityKind::Close } else { FindingActivityKind::Update }
                }
            };
            self.0.insert(outcome.id.clone(), (outcome.status, outcome.evidence.clone(), now));
            events.push(event(kind, outcome));
        }
        events
    }
}

fn event(kind: FindingActivityKind, outcome: Outcome) -> Event {
    let status = match outcome.status {
        Status::Pass | Status::NotApplicable => ComplianceStatus::Pass,
        Status::Fail => ComplianceStatus::Fail,
        Status::Unknown => ComplianceStatus::Unknown,
    };
    let severity = match (outcome.status, outcome.severity) {
        (Status::Fail, CheckSeverity::Critical) => Severity::Critical,
        (Status::Fail, CheckSeverity::High) => Severity::High,
        (Status::Fail, CheckSeverity::Medium) => Severity::Medium,
        (Status::Fail, CheckSeverity::Low) => Severity::Low,
        _ => Severity::Informational,
    };
    let explanation = match outcome.status {
        Status::Fail => outcome.rationale,
        Status::Pass => "it was looked at and is well".to_owned(),
        Status::Unknown => "nothing wrong was seen, and not everything could be looked at".to_owned(),
        Status::NotApplicable => "what it is about is no longer on this host".to_owned(),
    };
    let finding = ComplianceFinding {
        kind,
        uid: format!("posture-{}", outcome.id),
        check_uid: outcome.id,
        check_version: outcome.version.to_string(),
        title: outcome.title,
        explanation,
        status,
        evidence: outcome.evidence,
        remediation: outcome.remediation,
        standards: outcome.standards,
    };
    Event { severity, ..own_event(Activity::Compliance(Box::new(finding)), wall_now()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(status: Status, evidence: &str) -> Outcome {
        Outcome {
            id: "P01".to_owned(),
            version: 1,
            title: "t".to_owned(),
            severity: CheckSeverity::High,
            status,
            evidence: vec![evidence.to_owned()],
            rationale: "r".to_owned(),
            remediation: "m".to_owned(),
            standards: Vec::new(),
        }
    }

    #[test]
    fn changes_are_told_at_once_and_the_rest_once_a_day() {
        let (mut told, begin) = (Told::default(), Instant::now());
        let mut news = |status, evidence: &str, hours: u64| {
            let events = told.news(vec![outcome(status, evidence)], begin + Duration::from_secs(hours * 3_600));
            events.into_iter().next().map(|event| match event.activity {
                Activity::Compliance(finding) => (finding.kind, finding.status, event.severity),
                other => panic!("{other:?}"),
            })
        };
        assert_eq!(news(Status::NotApplicable, "", 0), None);
        assert_eq!(news(Status::Fail, "a", 1), Some((FindingActivityKind::Create, ComplianceStatus::Fail, Severity::High)));
        assert_eq!(news(Status::Fail, "a", 2), None);
        assert_eq!(news(Status::Fail, "b", 3), Some((FindingActivityKind::Update, ComplianceStatus::Fail, Severity::High)));
        assert_eq!(news(Status::Pass, "", 4), Some((FindingActivityKind::Update, ComplianceStatus::Pass, Severity::Informational)));
        assert_eq!(news(Status::Pass, "", 29), Some((FindingActivityKind::Update, ComplianceStatus::Pass, Severity::Informational)));
        assert_eq!(news(Status::NotApplicable, "", 30), Some((FindingActivityKind::Close, ComplianceStatus::Pass, Severity::Informational)));
        assert_eq!(news(Status::NotApplicable, "", 90), None);
    }
}
