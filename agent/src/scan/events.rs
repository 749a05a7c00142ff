//! Verdicts as events.

use picket_event::{
    Activity, Actor, Completeness, Confidence, DetectionFinding, Event, EventFlags, Evidence, File, FindingActivityKind, FindingRule, RuleKind, ScanActivity,
    ScanActivityKind, ScanCounts, ScanTrigger, Severity, Timestamp,
};
use sha2::{Digest, Sha256};

use super::outcome::{self, Report, Verdict};

/// Findings told of one file; the rest is counted in the scan's own event. The scanner sends the worst first.
const FINDINGS_MAX: usize = 20;
/// Findings about the scan itself.
const NOT_WHOLE: (&str, &str) = ("PICKET-SCAN-001", "File could not be judged whole");
const KILLED: (&str, &str) = ("PICKET-SCAN-002", "File ended the scanner");

/// What was scanned, for whom.
pub(crate) struct Scanned<'a> {
    pub(crate) scan_uid: &'a str,
    pub(crate) actor: Option<&'a Actor>,
    pub(crate) file: File,
    pub(crate) now: Timestamp,
}

/// How a scan went on.
pub(crate) struct Told<'a> {
    pub(crate) kind: ScanActivityKind,
    pub(crate) uid: &'a str,
    pub(crate) name: &'a str,
    pub(crate) trigger: ScanTrigger,
    pub(crate) command: &'a str,
    pub(crate) rules: &'a str,
    pub(crate) since: Timestamp,
    pub(crate) until: Option<Timestamp>,
    pub(crate) counts: ScanCounts,
    pub(crate) detail: String,
}

pub(crate) fn scan(told: Told<'_>, now: Timestamp) -> Event {
    let severity = if told.kind == ScanActivityKind::Error { Severity::Low } else { Severity::Informational };
    let activity = ScanActivity {
        kind: told.kind,
        scan_uid: told.uid.to_owned(),
        name: told.name.to_owned(),
        trigger: told.trigger,
        command_uid: told.command.to_owned(),
        policy_name: "artifacts".to_owned(),
        policy_version: told.rules.to_owned(),
        since: told.since,
        until: told.until,
        counts: told.counts,
        detail: told.detail,
    };
    Event { time: now, severity, flags: EventFlags::default(), actor: None, activity: Activity::Scan(Box::new(activity)) }
}

/// One event a finding, and one about the scan where it did not see everything.
pub(crate) fn findings(scanned: &Scanned<'_>, report: &Report) -> Vec<Event> {
    let completeness = if report.incomplete.is_empty() { Completeness::Full } else { Completeness::Partial(report.incomplete.clone()) };
    let mut events: Vec<Event> = report.findings.iter().take(FINDINGS_MAX).map(|finding| found(scanned, report, finding, &completeness)).collect();
    if report.verdict == Verdict::Unscannable {
        let why = report.incomplete.first().cloned().unwrap_or_default();
        let explanation = format!("Not everything in this {} was read, and nothing was found in the rest: {why}.", report.format);
        events.push(about_scan(scanned, NOT_WHOLE, explanation, Severity::Informational, completeness));
    }
    events
}

/// The file that ended the scanner.
pub(crate) fn killed(scanned: &Scanned<'_>, why: &str) -> Event {
    let explanation = format!("The scanner ended on this file: {why}. It is not scanned again until it changes.");
    about_scan(scanned, KILLED, explanation, Severity::Medium, Completeness::Partial(vec![why.to_owned()]))
}

fn about_scan(scanned: &Scanned<'_>, (rule, title): (&str, &str), explanation: String, severity: Severity, completeness: Completeness) -> Event {
    let finding = DetectionFinding {
        kind: FindingActivityKind::Create,
        uid: uid(&scanned.file, rule, &outcome::Place::default()),
        rule: FindingRule { uid: rule.to_owned(), version: env!("CARGO_PKG_VERSION").to_owned(), title: title.to_owned(), kind: RuleKind::Scanner },
        title: title.to_owned(),
        explanation,
        verdict: picket_event::Verdict::Unscannable,
        confidence: Confidence::High,
        completeness,
        file: Some(scanned.file.clone()),
        process: None,
        evidence: Vec::new(),
        techniques: Vec::new(),
        related_events: Vec::new(),
        scan_uid: scanned.scan_uid.to_owned(),
    };
    event(scanned, severity, finding)
}

fn found(scanned: &Scanned<'_>, report: &Report, finding: &outcome::Finding, completeness: &Completeness) -> Event {
    let place = &finding.evidence;
    let kind = if finding.rule_id.starts_with("PICKET-") && !finding.rule_id.starts_with("PICKET-YAR-") { RuleKind::Scanner } else { RuleKind::Yara };
    let evidence = Evidence {
        member: place.member.clone(),
        offset: place.offset,
        key: place.key.clone().or_else(|| place.opcode.clone()).unwrap_or_default(),
        text: place.value.clone().unwrap_or_default(),
    };
    let verdict = match report.verdict {
        Verdict::Malicious => picket_event::Verdict::Malicious,
        Verdict::Suspicious => picket_event::Verdict::Suspicious,
        Verdict::Unscannable => picket_event::Verdict::Unscannable,
        Verdict::Clean => picket_event::Verdict::Clean,
    };
    let severity = match finding.severity_id {
        5 => Severity::Critical,
        4 => Severity::High,
        3 => Severity::Medium,
        2 => Severity::Low,
        _ => Severity::Informational,
    };
    let finding = DetectionFinding {
        kind: FindingActivityKind::Create,
        uid: uid(&scanned.file, &finding.rule_id, place),
        rule: FindingRule { uid: finding.rule_id.clone(), version: finding.rule_version.clone(), title: finding.title.clone(), kind },
        title: finding.title.clone(),
        explanation: finding.explanation.clone(),
        verdict,
        confidence: if verdict == picket_event::Verdict::Malicious { Confidence::High } else { Confidence::Medium },
        completeness: completeness.clone(),
        file: Some(scanned.file.clone()),
        process: None,
        evidence: vec![evidence],
        techniques: finding.techniques.clone(),
        related_events: Vec::new(),
        scan_uid: scanned.scan_uid.to_owned(),
    };
    event(scanned, severity, finding)
}

fn event(scanned: &Scanned<'_>, severity: Severity, finding: DetectionFinding) -> Event {
    Event { time: scanned.now, severity, flags: EventFlags::default(), actor: scanned.actor.cloned(), activity: Activity::Finding(Box::new(finding)) }
}

/// The same for the same thing in the same file, so that a second scan does not look like a second attack.
fn uid(file: &File, rule: &str, place: &outcome::Place) -> String {
    let mut hash = Sha256::new();
    let digest = file.sha256.map(|digest| digest.to_string()).unwrap_or_default();
    for part in [file.path.as_str(), &digest, rule, &place.member, place.key.as_deref().unwrap_or_default(), place.value.as_deref().unwrap_or_default()] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    hash.update(place.offset.unwrap_or(u64::MAX).to_le_bytes());
    hex::encode(hash.finalize().get(..16).unwrap_or_default())
}
