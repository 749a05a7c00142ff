//! What a scan says about a file: the contract of `picketctl scan --format json`.

use crate::digest::FileDigests;
use crate::manifest::{Comparison, Stamp};
use crate::rules::Rule;
use crate::{Format, RulesApplied};
use serde::Serialize;

/// Findings, members and reasons are text that an adversary wrote; longer text is cut and ends in `…`.
pub(crate) const TEXT_CHARS_MAX: usize = 300;

/// Reasons kept for an incomplete scan; they repeat soon.
const REASONS_MAX: usize = 20;

/// The result for one file.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// As the caller named it.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// Of the whole file, where the digest policy asked for it.
    pub sha256: Option<String>,
    /// Of the file and of each tensor, where they were asked for: `blake3`, `tensors`, `tensors_incomplete`.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub digests: Option<FileDigests>,
    /// How the file stands to the baseline, where one was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub baseline: Option<Comparison>,
    /// What the file system said before and after it was read; nothing when it is no file, or changed meanwhile.
    #[serde(skip)]
    pub stamp: Option<Stamp>,
    /// The scan was stopped before this file.
    #[serde(skip)]
    pub not_reached: bool,
    /// What the content is, whatever the name says.
    pub format: Format,
    /// The judgement over all findings.
    pub verdict: Verdict,
    /// Worst first.
    pub findings: Vec<Finding>,
    /// Findings beyond the limit, counted and not kept.
    #[serde(skip_serializing_if = "is_zero")]
    pub findings_dropped: u64,
    /// Whether everything that decides was read.
    pub completeness: Completeness,
    /// Why it is partial; empty when full.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub incomplete: Vec<String>,
    /// What was found inside, outermost first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<Member>,
    /// What content rules looked at, where there were any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rules_applied: Option<RulesApplied>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature serde asks for")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// A file inside the file.
#[derive(Clone, Debug, Serialize)]
pub struct Member {
    /// Path from the outside in, levels joined with `!`.
    pub path: String,
    /// Bytes once unpacked.
    pub size: u64,
    /// What the content is.
    pub format: Format,
}

/// The judgement, worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Code runs, or the file is built to deceive.
    Malicious,
    /// Something that honest files do not need.
    Suspicious,
    /// Something could not be read and nothing was found in the rest.
    Unscannable,
    /// Everything that decides was read and nothing was found.
    Clean,
}

/// Whether everything that decides was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Completeness {
    /// Yes.
    Full,
    /// No; [`Report::incomplete`] says what was not.
    Partial,
}

/// OCSF severity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Severity {
    /// 1.
    Informational,
    /// 2.
    Low,
    /// 3.
    Medium,
    /// 4.
    High,
    /// 5.
    Critical,
}

impl Severity {
    /// The OCSF `severity_id`.
    #[must_use]
    pub fn id(self) -> u8 {
        match self {
            Self::Informational => 1,
            Self::Low => 2,
            Self::Medium => 3,
            Self::High => 4,
            Self::Critical => 5,
        }
    }
}

/// One thing found, with its place and its reason.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// Stable id of the rule.
    pub rule_id: &'static str,
    /// The rule's version: what is built in goes with the program, a pack says its own.
    pub rule_version: &'static str,
    /// The rule's title.
    pub title: &'static str,
    /// OCSF severity.
    pub severity: Severity,
    /// OCSF `severity_id`.
    pub severity_id: u8,
    /// ATT&CK and ATLAS technique ids.
    pub techniques: &'static [&'static str],
    /// Where.
    pub evidence: Evidence,
    /// Why, in one sentence.
    pub explanation: String,
    #[serde(skip)]
    pub(crate) weight: Verdict,
    #[serde(skip)]
    pub(crate) rule: &'static Rule,
}

/// Where in the file a finding is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Evidence {
    /// Path of the member, empty for the file itself.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub member: String,
    /// Byte offset inside the member.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// The pickle opcode or graph operator.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub opcode: Option<String>,
    /// The metadata key, tensor name or field.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// What stands there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

impl Finding {
    pub(crate) fn new(rule: &'static Rule, member: &str, explanation: impl AsRef<str>) -> Self {
        Self {
            rule_id: rule.id,
            rule_version: rule.version,
            title: rule.title,
            severity: rule.severity,
            severity_id: rule.severity.id(),
            techniques: rule.techniques,
            evidence: Evidence { member: printable(member), ..Evidence::default() },
            explanation: printable(explanation.as_ref()),
            weight: rule.verdict,
            rule,
        }
    }

    pub(crate) fn at(mut self, offset: u64) -> Self {
        self.evidence.offset = Some(offset);
        self
    }

    pub(crate) fn opcode(mut self, opcode: impl AsRef<str>) -> Self {
        self.evidence.opcode = Some(printable(opcode.as_ref()));
        self
    }

    pub(crate) fn key(mut self, key: impl AsRef<str>) -> Self {
        self.evidence.key = Some(printable(key.as_ref()));
        self
    }

    pub(crate) fn value(mut self, value: impl AsRef<str>) -> Self {
        self.evidence.value = Some(printable(value.as_ref()));
        self
    }

    /// The verdict this finding alone would give.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        self.weight
    }
}

/// Cuts to [`TEXT_CHARS_MAX`] and escapes what could move a terminal's cursor or reorder its text.
pub(crate) fn printable(text: &str) -> String {
    let mut out = String::new();
    for (count, character) in text.chars().enumerate() {
        if count == TEXT_CHARS_MAX {
            out.push('…');
            break;
        }
        let reorders = matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}');
        if character.is_control() || reorders { out.extend(character.escape_default()) } else { out.push(character) }
    }
    out
}

/// Collects what is found while one file is read.
#[derive(Debug, Default)]
pub(crate) struct Collected {
    findings: Vec<Finding>,
    dropped: u64,
    incomplete: Vec<String>,
    partial: bool,
    pub(crate) members: Vec<Member>,
}

impl Collected {
    /// Keeps a finding unless it repeats one with the same rule, member, opcode, key and value. Above the limit a worse finding
    /// replaces a lesser one, so that a flood of small ones cannot hide the one that matters.
    pub(crate) fn add(&mut self, finding: Finding, limit: usize) {
        let same = |other: &Finding| {
            let (a, b) = (&other.evidence, &finding.evidence);
            other.rule_id == finding.rule_id && a.member == b.member && a.opcode == b.opcode && a.key == b.key && a.value == b.value
        };
        if self.findings.iter().any(same) {
            return;
        }
        if self.findings.len() < limit {
            self.findings.push(finding);
            return;
        }
        self.dropped += 1;
        let rank = |finding: &Finding| (finding.weight, std::cmp::Reverse(finding.severity));
        if let Some(least) = self.findings.iter_mut().max_by_key(|finding| rank(finding)).filter(|least| rank(least) > rank(&finding)) {
            *least = finding;
        }
    }

    pub(crate) fn incomplete(&mut self, reason: &str) {
        self.partial = true;
        let reason = printable(reason);
        if self.incomplete.len() < REASONS_MAX && !self.incomplete.contains(&reason) {
            self.incomplete.push(reason);
        }
    }

    pub(crate) fn into_report(mut self, path: &str, size: u64, sha256: Option<String>, format: Format) -> Report {
        self.findings.sort_by_key(|finding| (finding.weight, std::cmp::Reverse(finding.severity)));
        let found = self.findings.iter().map(|finding| finding.weight).min().unwrap_or(Verdict::Clean);
        let (completeness, read) = if self.partial { (Completeness::Partial, Verdict::Unscannable) } else { (Completeness::Full, Verdict::Clean) };
        Report {
            path: path.to_owned(),
            size,
            sha256,
            digests: None,
            baseline: None,
            stamp: None,
            not_reached: false,
            format,
            verdict: found.min(read),
            findings: self.findings,
            findings_dropped: self.dropped,
            completeness,
            incomplete: self.incomplete,
            members: self.members,
            rules_applied: None,
        }
    }
}

impl Report {
    /// Adds a finding made after the scan.
    pub(crate) fn found(&mut self, finding: Finding) {
        self.verdict = self.verdict.min(finding.weight);
        self.findings.push(finding);
        self.findings.sort_by_key(|finding| (finding.weight, std::cmp::Reverse(finding.severity)));
    }

    /// True where the same bytes under another name with the same ending would have been judged the same, by rules that do not ask for the name. False
    /// where something was found: findings may speak of the name.
    #[must_use]
    pub fn name_counts_by_ending(&self) -> bool {
        let name = self.path.rsplit('/').next().unwrap_or(&self.path);
        self.verdict == Verdict::Clean && self.findings.is_empty() && crate::detect::name_counts_by_ending(name, self.format)
    }

    /// Says after the scan that something was not read: the file is not clean any more.
    pub fn not_whole(&mut self, reason: &str) {
        self.completeness = Completeness::Partial;
        self.verdict = self.verdict.min(Verdict::Unscannable);
        let reason = printable(reason);
        if !self.incomplete.contains(&reason) {
            self.incomplete.push(reason);
        }
    }

    #[cfg(test)]
    pub(crate) fn unread_nothing(path: &str, size: u64, format: Format) -> Self {
        Collected::default().into_report(path, size, None, format)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules;

    #[test]
    fn a_flood_of_small_findings_does_not_hide_the_worst() {
        let mut collected = Collected::default();
        for number in 0..50 {
            collected.add(Finding::new(&rules::PICKLE_UNKNOWN, "", "small").key(number.to_string()), 10);
        }
        collected.add(Finding::new(&rules::PICKLE_EXECUTES, "", "large"), 10);
        let report = collected.into_report("x", 1, None, Format::Pickle);
        assert_eq!((report.verdict, report.findings.len(), report.findings_dropped), (Verdict::Malicious, 10, 41));
        assert_eq!(report.findings[0].explanation, "large");
    }

    #[test]
    fn partial_is_never_clean_and_text_is_inert() {
        let mut collected = Collected::default();
        collected.incomplete("one\u{1b}[2Jtwo\u{202e}");
        let report = collected.into_report("x", 1, None, Format::Unknown);
        assert_eq!((report.verdict, report.completeness), (Verdict::Unscannable, Completeness::Partial));
        assert_eq!(report.incomplete, ["one\\u{1b}[2Jtwo\\u{202e}"]);
        assert_eq!(printable(&"x".repeat(1000)).chars().count(), TEXT_CHARS_MAX + 1);
    }
}
