//! A change of condition as an OCSF Detection Finding: one finding from the moment a host stops reporting until it reports again.

use picket_event::{
    Activity, Completeness, Confidence, DetectionFinding, Event, EventFlags, Evidence, FindingActivityKind, FindingRule, RuleKind, Severity, Timestamp,
    Verdict, limits::EVIDENCE_MAX,
};
use picket_proto::v1::SensorProblem;

use super::Condition;

/// Disable or Modify Tools.
const TECHNIQUE: &str = "T1685";
const RULE_VERSION: &str = "1";

/// What is told.
pub(super) struct Change<'a> {
    pub(super) from: Condition,
    pub(super) to: Condition,
    pub(super) reason: &'a str,
    pub(super) problems: &'a [SensorProblem],
    pub(super) finding_uid: &'a str,
    pub(super) hostname: &'a str,
    pub(super) at: Timestamp,
}

pub(super) fn event(change: &Change<'_>) -> Event {
    let Change { from, to, reason, problems, finding_uid, hostname, at } = change;
    // A finding keeps its rule: the condition that it began with, or ends.
    let about = if *to == Condition::Reporting { *from } else { *to };
    let kind = match (from, to) {
        (_, Condition::Reporting) => FindingActivityKind::Close,
        (Condition::Reporting, _) => FindingActivityKind::Create,
        _ => FindingActivityKind::Update,
    };
    let explanation = match to {
        Condition::Reporting => format!("{hostname} reports again; it was {}", from.name()),
        _ => format!("{hostname}: {reason}"),
    };
    let evidence = |problem: &SensorProblem| Evidence {
        member: String::new(),
        offset: None,
        key: problem.cause.clone(),
        text: format!("{}: {}", problem.subject, problem.detail),
    };
    let finding = DetectionFinding {
        kind,
        uid: (*finding_uid).to_owned(),
        rule: rule(about),
        title: format!("{hostname} {}", if *to == Condition::Reporting { "reports again" } else { title(*to) }),
        explanation,
        verdict: if *to == Condition::Reporting { Verdict::Clean } else { Verdict::Suspicious },
        confidence: Confidence::High,
        completeness: Completeness::Full,
        file: None,
        process: None,
        evidence: problems.iter().take(EVIDENCE_MAX).map(evidence).collect(),
        techniques: vec![TECHNIQUE.to_owned()],
        related_events: Vec::new(),
        scan_uid: String::new(),
    };
    Event { time: *at, severity: severity(*to), flags: EventFlags::default(), actor: None, activity: Activity::Finding(Box::new(finding)) }
}

fn rule(condition: Condition) -> FindingRule {
    FindingRule {
        uid: format!("picket.sensor.{}", condition.name()),
        version: RULE_VERSION.to_owned(),
        title: format!("a host {}", title(condition)),
        kind: RuleKind::Correlation,
    }
}

const fn title(condition: Condition) -> &'static str {
    match condition {
        Condition::Reporting => "reports",
        Condition::Stopped => "was stopped in order",
        Condition::Silent => "is silent",
        Condition::Blinded => "is blinded",
    }
}

const fn severity(condition: Condition) -> Severity {
    match condition {
        Condition::Reporting => Severity::Informational,
        Condition::Stopped => Severity::Low,
        Condition::Silent | Condition::Blinded => Severity::High,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_finding_opens_changes_and_closes() {
        let told = |from, to| {
            let change = Change { from, to, reason: "why", problems: &[], finding_uid: "f", hostname: "gpu-1", at: Timestamp(1) };
            let event = event(&change);
            let Activity::Finding(finding) = event.activity else { panic!("no finding") };
            (finding.kind, finding.rule.uid, event.severity)
        };
        let (blinded, silent, reporting) = (Condition::Blinded, Condition::Silent, Condition::Reporting);
        assert_eq!(told(reporting, blinded), (FindingActivityKind::Create, "picket.sensor.blinded".to_owned(), Severity::High));
        assert_eq!(told(blinded, silent), (FindingActivityKind::Update, "picket.sensor.silent".to_owned(), Severity::High));
        assert_eq!(told(silent, reporting), (FindingActivityKind::Close, "picket.sensor.silent".to_owned(), Severity::Informational));
    }
}
