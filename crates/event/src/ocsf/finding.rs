//! OCSF Detection Finding and Compliance Finding.

use serde_json::{Value, json};

use crate::{ComplianceFinding, ComplianceStatus, Confidence, DetectionFinding, Evidence, FindingActivityKind, FindingRule};

use super::{
    file,
    object::{Object, long},
    process::with_parent,
};

/// Versions of the frameworks whose ids `techniques` holds.
pub const ATTACK_VERSION: &str = "19";
/// See [`ATTACK_VERSION`].
pub const ATLAS_VERSION: &str = "5.6";

pub(super) fn put_detection(finding: &DetectionFinding, json: &mut Object) {
    let mut info = Object::default();
    info.put("uid", &*finding.uid);
    info.put("title", &*finding.title);
    info.put_text("desc", &finding.explanation);
    info.put("analytic", analytic(&finding.rule));
    info.put_list("attacks", finding.techniques.iter().map(|id| attack(id)).collect());
    info.put_list("related_events", finding.related_events.iter().map(|uid| json!({ "uid": uid })).collect());
    json.put("finding_info", info);
    json.put_list("evidences", evidences(finding));
    json.put("confidence_id", finding.confidence as i32);
    json.put("confidence", confidence(finding.confidence));
    json.put("is_alert", true);
    put_status(finding.kind, json);
}

fn analytic(rule: &FindingRule) -> Object {
    let mut json = Object::default();
    json.put("uid", &*rule.uid);
    json.put_text("name", &rule.title);
    json.put_text("version", &rule.version);
    json.put("type_id", 1);
    json.put("type", "Rule");
    json.put("category", rule.kind.name());
    json
}

/// One id: a tactic (`TA0001`, `AML.TA0000`), a technique, or a technique and its part.
fn attack(id: &str) -> Value {
    let atlas = id.starts_with("AML.");
    let version = if atlas { ATLAS_VERSION } else { ATTACK_VERSION };
    let own = id.strip_prefix("AML.").unwrap_or(id);
    if own.starts_with("TA") {
        return json!({ "tactic": { "uid": id }, "version": version });
    }
    match own.split_once('.') {
        Some((technique, _)) => {
            let technique = format!("{}{technique}", if atlas { "AML." } else { "" });
            json!({ "technique": { "uid": technique }, "sub_technique": { "uid": id }, "version": version })
        }
        None => json!({ "technique": { "uid": id }, "version": version }),
    }
}

/// The file and the process stand in the first entry.
fn evidences(finding: &DetectionFinding) -> Vec<Value> {
    let mut list: Vec<Object> = finding.evidence.iter().map(evidence).collect();
    if list.is_empty() && (finding.file.is_some() || finding.process.is_some()) {
        list.push(Object::default());
    }
    if let Some(first) = list.first_mut() {
        first.put_some("file", finding.file.as_ref().map(file::file));
        first.put_some("process", finding.process.as_ref().map(with_parent));
    }
    list.into_iter().map(Value::from).collect()
}

fn evidence(evidence: &Evidence) -> Object {
    let mut data = Object::default();
    data.put_text("member", &evidence.member);
    data.put_some("offset", evidence.offset.map(long));
    data.put_text("key", &evidence.key);
    data.put_text("text", &evidence.text);
    let mut json = Object::default();
    json.put("data", data);
    json
}

const fn confidence(confidence: Confidence) -> &'static str {
    confidence.name()
}

fn put_status(kind: FindingActivityKind, json: &mut Object) {
    let (id, caption) = match kind {
        FindingActivityKind::Create => (1, "New"),
        FindingActivityKind::Update => (2, "In Progress"),
        FindingActivityKind::Close => (4, "Resolved"),
    };
    json.put("status_id", id);
    json.put("status", caption);
}

pub(super) fn put_compliance(finding: &ComplianceFinding, json: &mut Object) {
    let mut info = Object::default();
    info.put("uid", &*finding.uid);
    info.put("title", &*finding.title);
    info.put_text("desc", &finding.explanation);
    json.put("finding_info", info);
    json.put("compliance", compliance(finding));
    json.put_list("evidences", finding.evidence.iter().map(|text| json!({ "data": { "text": text } })).collect());
    json.put_some("remediation", (!finding.remediation.is_empty()).then(|| json!({ "desc": finding.remediation })));
    put_status(finding.kind, json);
}

fn compliance(finding: &ComplianceFinding) -> Object {
    let standards = || finding.standards.iter().map(|standard| Value::from(&**standard)).collect::<Vec<_>>();
    let mut check = Object::default();
    check.put("uid", &*finding.check_uid);
    check.put("name", &*finding.title);
    check.put_text("version", &finding.check_version);
    let mut json = Object::default();
    json.put("control", &*finding.title);
    json.put_list("standards", standards());
    json.put_text("desc", &finding.explanation);
    for part in [&mut check, &mut json] {
        part.put("status_id", finding.status as i32);
        part.put(
            "status",
            match finding.status {
                ComplianceStatus::Unknown => "Unknown",
                ComplianceStatus::Pass => "Pass",
                ComplianceStatus::Warning => "Warning",
                ComplianceStatus::Fail => "Fail",
            },
        );
    }
    json.put_list("checks", vec![check.into()]);
    json
}
