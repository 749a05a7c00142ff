//! OCSF Scan Activity.

use serde::{Deserialize, Serialize};

use crate::{Timestamp, numbered::numbered};

/// OCSF Scan Activity (6007).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScanActivity {
    /// How far it is.
    pub kind: ScanActivityKind,
    /// Identity of the scan on this host.
    pub scan_uid: String,
    /// What is scanned, in a few words.
    pub name: String,
    /// Why it runs.
    pub trigger: ScanTrigger,
    /// The command that asked for it, where one did.
    pub command_uid: String,
    /// The policy it runs under.
    pub policy_name: String,
    /// That policy's version.
    pub policy_version: String,
    /// When it began.
    pub since: Timestamp,
    /// When it ended, where it did.
    pub until: Option<Timestamp>,
    /// Sums so far.
    pub counts: ScanCounts,
    /// One plain sentence where there is something to say: what failed, why it waits.
    pub detail: String,
}

impl ScanActivity {
    /// Whole milliseconds from its start to its end, where it ended.
    #[must_use]
    pub fn duration_ms(&self) -> Option<i64> {
        self.until.map(|until| until.0.saturating_sub(self.since.0).max(0) / 1_000_000)
    }
}

/// What a scan has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScanCounts {
    /// Files judged.
    pub files: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Findings.
    pub detections: u64,
    /// Files that could not be judged whole.
    pub skipped: u64,
    /// Files whose verdict was known already.
    pub trusted: u64,
}

numbered! {
    /// OCSF `activity_id` of Scan Activity.
    ScanActivityKind {
        /// 1
        Started = 1 "Started",
        /// 2
        Completed = 2 "Completed",
        /// 3
        Cancelled = 3 "Cancelled",
        /// 4: it took longer than it may.
        DurationViolation = 4 "Duration Violation",
        /// 6
        Error = 6 "Error",
        /// 7
        Paused = 7 "Paused",
        /// 8
        Resumed = 8 "Resumed",
        /// 9
        Restarted = 9 "Restarted",
        /// 10
        Delayed = 10 "Delayed",
    }
}

numbered! {
    /// OCSF `scan.type_id`.
    ScanTrigger {
        /// 1: somebody asked.
        Manual = 1 "Manual",
        /// 2
        Scheduled = 2 "Scheduled",
        /// 3: rules changed.
        UpdatedContent = 3 "Updated Content",
        /// 99: a file was written or moved into place.
        FileChanged = 99 "File Changed",
    }
}
