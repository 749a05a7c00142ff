//! OCSF Detection Finding and Compliance Finding: what a rule or a check concluded.

use serde::{Deserialize, Serialize};

use crate::{File, Process, numbered::numbered};

/// OCSF Detection Finding (2004).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DetectionFinding {
    /// New, changed or closed.
    pub kind: FindingActivityKind,
    /// Identity of the finding: the same again where the same thing is found again.
    pub uid: String,
    /// The rule that concluded it.
    pub rule: FindingRule,
    /// What was found, in a few words.
    pub title: String,
    /// One plain sentence: why this is a finding.
    pub explanation: String,
    /// The judgement.
    pub verdict: Verdict,
    /// How sure the rule is.
    pub confidence: Confidence,
    /// Whether everything that the rule wanted to see was seen.
    pub completeness: Completeness,
    /// The file it is about.
    pub file: Option<File>,
    /// The process it is about, where that is not the actor.
    pub process: Option<Process>,
    /// Where to look: at most [`crate::limits::EVIDENCE_MAX`].
    pub evidence: Vec<Evidence>,
    /// ATT&CK (`T1195.002`, `TA0001`) and ATLAS (`AML.T0010`) ids.
    pub techniques: Vec<String>,
    /// `metadata.uid` or `spool:sequence` of the events that it rests on.
    pub related_events: Vec<String>,
    /// The scan that found it, where it was one.
    pub scan_uid: String,
}

/// OCSF Compliance Finding (2003): the outcome of one posture check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComplianceFinding {
    /// New, changed or closed.
    pub kind: FindingActivityKind,
    /// Identity of the finding.
    pub uid: String,
    /// Identity of the check.
    pub check_uid: String,
    /// Version of the check.
    pub check_version: String,
    /// What is checked, in a few words.
    pub title: String,
    /// One plain sentence: what was found.
    pub explanation: String,
    /// The outcome.
    pub status: ComplianceStatus,
    /// What was read, and where.
    pub evidence: Vec<String>,
    /// What to do.
    pub remediation: String,
    /// Standards and controls that ask for it.
    pub standards: Vec<String>,
}

numbered! {
    /// OCSF `activity_id` of findings.
    FindingActivityKind {
        /// 1
        Create = 1 "Create",
        /// 2
        Update = 2 "Update",
        /// 3
        Close = 3 "Close",
    }
}

/// A rule, as a finding names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FindingRule {
    /// Identity.
    pub uid: String,
    /// Version, so that a finding can be explained after the rule changed.
    pub version: String,
    /// Title.
    pub title: String,
    /// What kind of rule.
    pub kind: RuleKind,
}

numbered! {
    /// What kind of rule.
    RuleKind {
        /// The artifact scanner's own judgement of a file's structure.
        Scanner = 1 "scanner",
        /// A YARA rule over content.
        Yara = 2 "yara",
        /// A Sigma rule over events.
        Sigma = 3 "sigma",
        /// A sequence, count or first sight over many events.
        Correlation = 4 "correlation",
        /// A list of known indicators.
        Indicator = 5 "indicator",
    }
}

numbered! {
    /// The judgement of a file or an act.
    Verdict {
        /// Does harm.
        Malicious = 1 "malicious",
        /// May do harm.
        Suspicious = 2 "suspicious",
        /// Read whole, nothing found.
        Clean = 3 "clean",
        /// Could not be judged.
        Unscannable = 4 "unscannable",
    }
}

numbered! {
    /// OCSF `confidence_id`.
    Confidence {
        /// 0
        Unknown = 0 "Unknown",
        /// 1
        Low = 1 "Low",
        /// 2
        Medium = 2 "Medium",
        /// 3
        High = 3 "High",
    }
}

numbered! {
    /// OCSF `compliance.status_id`.
    ComplianceStatus {
        /// 0: could not be told.
        Unknown = 0 "unknown",
        /// 1
        Pass = 1 "pass",
        /// 2
        Warning = 2 "warning",
        /// 3
        Fail = 3 "fail",
    }
}

/// Whether everything was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Completeness {
    /// Everything.
    #[default]
    Full,
    /// Not everything, and why.
    Partial(Vec<String>),
}

/// One place that supports a finding.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// Path of the member within archives; empty where it is the file itself.
    pub member: String,
    /// Byte within the member.
    pub offset: Option<u64>,
    /// Key, field, opcode or event attribute.
    pub key: String,
    /// What stands there.
    pub text: String,
}
