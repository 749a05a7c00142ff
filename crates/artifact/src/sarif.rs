//! SARIF 2.1.0, the format in which code hosts take findings.

use crate::report::{Finding, Report, Severity};
use crate::rules::{self, Rule};
use serde_json::{Value, json};

/// One log of all reports. Files that could not be read whole are notifications, so that no reader takes silence for a pass.
#[must_use]
pub fn sarif(reports: &[Report]) -> Value {
    let rules = described_rules(reports);
    let results: Vec<Value> = reports.iter().flat_map(|report| report.findings.iter().map(|finding| result(report, finding, &rules))).collect();
    let notes: Vec<Value> = reports.iter().filter(|report| !report.incomplete.is_empty()).map(notification).collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": "picketctl scan",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": rules.iter().map(|rule| described(rule)).collect::<Vec<_>>(),
            }},
            "invocations": [{"executionSuccessful": notes.is_empty(), "toolExecutionNotifications": notes}],
            "results": results,
            "columnKind": "unicodeCodePoints",
        }],
    })
}

/// The built-in rules, then those of packs that matched.
fn described_rules(reports: &[Report]) -> Vec<&'static Rule> {
    let mut rules = rules::ALL.to_vec();
    for finding in reports.iter().flat_map(|report| &report.findings) {
        if !rules.iter().any(|rule| rule.id == finding.rule_id) {
            rules.push(finding.rule);
        }
    }
    rules
}

fn described(rule: &Rule) -> Value {
    json!({
        "id": rule.id,
        "shortDescription": {"text": rule.title},
        "defaultConfiguration": {"level": level(rule.severity)},
        "properties": {"tags": rule.techniques, "security-severity": score(rule.severity)},
    })
}

fn result(report: &Report, finding: &Finding, rules: &[&Rule]) -> Value {
    let evidence = &finding.evidence;
    // Offsets are of the file only where the finding is not inside a member.
    let region = evidence.offset.filter(|_| evidence.member.is_empty()).map(|offset| json!({"byteOffset": offset, "byteLength": 0}));
    let mut physical = serde_json::Map::from_iter([("artifactLocation".to_owned(), json!({"uri": uri(&report.path)}))]);
    physical.extend(region.map(|region| ("region".to_owned(), region)));
    let mut location = serde_json::Map::from_iter([("physicalLocation".to_owned(), Value::Object(physical))]);
    if !evidence.member.is_empty() {
        location.insert("logicalLocations".to_owned(), json!([{"fullyQualifiedName": evidence.member, "kind": "member"}]));
    }
    json!({
        "ruleId": finding.rule_id,
        "ruleIndex": rules.iter().position(|rule| rule.id == finding.rule_id),
        "level": level(finding.severity),
        "message": {"text": finding.explanation},
        "locations": [location],
        "properties": {"evidence": evidence, "verdict": report.verdict, "format": report.format},
    })
}

fn notification(report: &Report) -> Value {
    json!({
        "level": "warning",
        "message": {"text": format!("Not read whole: {}", report.incomplete.join("; "))},
        "locations": [{"physicalLocation": {"artifactLocation": {"uri": uri(&report.path)}}}],
    })
}

fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Informational => "note",
        Severity::Low | Severity::Medium => "warning",
        Severity::High | Severity::Critical => "error",
    }
}

/// What code hosts sort by, as a CVSS-like number.
fn score(severity: Severity) -> &'static str {
    match severity {
        Severity::Informational => "0.0",
        Severity::Low => "3.0",
        Severity::Medium => "5.5",
        Severity::High => "8.0",
        Severity::Critical => "9.5",
    }
}

/// A path as a URI reference: everything but unreserved characters and slashes is escaped.
fn uri(path: &str) -> String {
    let mut out = if path.starts_with('/') { "file://".to_owned() } else { String::new() };
    for byte in path.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ScanOptions, scan};

    #[test]
    fn results_name_rule_place_and_member() {
        let pickle: &[u8] = b"cos\nsystem\n(S'id'\ntR.";
        let report = scan(&pickle, "a b/m.pkl", &ScanOptions::default());
        let unread = Report::unreadable("/x", 0, "cannot read: denied");
        let log = sarif(&[report, unread]);
        let run = &log["runs"][0];
        let result = &run["results"][0];
        assert_eq!(result["ruleId"], "PICKET-PKL-001");
        let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
        assert_eq!(run["tool"]["driver"]["rules"][index]["id"], "PICKET-PKL-001");
        assert_eq!(result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"], "a%20b/m.pkl");
        assert_eq!(result["locations"][0]["physicalLocation"]["region"]["byteOffset"], 19);
        assert_eq!(result["level"], "error");
        assert_eq!(run["invocations"][0]["executionSuccessful"], false);
        assert_eq!(run["invocations"][0]["toolExecutionNotifications"][0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"], "file:///x");
    }
}
