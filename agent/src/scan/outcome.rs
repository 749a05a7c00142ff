//! What the scanner says of a file: the JSON of its report, taken apart again. The worker that wrote it has read hostile bytes, so nothing in
//! it is believed beyond what an event can hold.

use picket_event::Sha256;
use serde::Deserialize;

/// The judgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    Malicious,
    Suspicious,
    Unscannable,
    Clean,
}

/// `picket_artifact::Report`, as far as events need it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(crate) struct Report {
    pub(crate) sha256: Option<Sha256>,
    pub(crate) format: String,
    pub(crate) verdict: Verdict,
    #[serde(default)]
    pub(crate) findings: Vec<Finding>,
    #[serde(default)]
    pub(crate) findings_dropped: u64,
    #[serde(default)]
    pub(crate) incomplete: Vec<String>,
    /// The same bytes under another name with the same ending would have been judged the same.
    #[serde(skip)]
    pub(crate) name_counts_by_ending: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Finding {
    pub(crate) rule_id: String,
    pub(crate) rule_version: String,
    pub(crate) title: String,
    pub(crate) severity_id: u8,
    #[serde(default)]
    pub(crate) techniques: Vec<String>,
    #[serde(default)]
    pub(crate) evidence: Place,
    pub(crate) explanation: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct Place {
    #[serde(default)]
    pub(crate) member: String,
    pub(crate) offset: Option<u64>,
    pub(crate) opcode: Option<String>,
    pub(crate) key: Option<String>,
    pub(crate) value: Option<String>,
}

/// What came of one file.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Outcome {
    Judged {
        report: Box<Report>,
        /// The digest is of the very bytes that were judged.
        held: bool,
        cpu_us: u64,
        bytes_read: u64,
    },
    /// Its bytes were judged before, under these rules.
    Known { sha256: Sha256, cpu_us: u64, bytes_read: u64 },
    /// The file ended the worker that read it.
    Killed { why: String },
    /// No worker can be had now; the file is not to blame.
    Unavailable { why: String },
}
