//! OCSF Scan Activity.

use serde_json::json;

use crate::{ScanActivity, ScanActivityKind};

use super::object::{Object, long};

pub(super) fn put_activity(activity: &ScanActivity, json: &mut Object) {
    let mut scan = Object::default();
    scan.put("uid", &*activity.scan_uid);
    scan.put_text("name", &activity.name);
    scan.put("type_id", activity.trigger as i32);
    scan.put("type", activity.trigger.name());
    json.put("scan", scan);
    json.put_text("command_uid", &activity.command_uid);
    json.put_some("policy", (!activity.policy_name.is_empty()).then(|| json!({ "name": activity.policy_name, "version": activity.policy_version })));
    json.put("start_time", activity.since.as_millis());
    if let Some(until) = activity.until {
        json.put("end_time", until.as_millis());
    }
    json.put_some("duration", activity.duration_ms());
    let counts = &activity.counts;
    json.put("num_files", long(counts.files));
    json.put("num_detections", long(counts.detections));
    json.put("num_skipped_items", long(counts.skipped));
    json.put("num_trusted_items", long(counts.trusted));
    json.put("total", long(counts.files.saturating_add(counts.skipped).saturating_add(counts.trusted)));
    let failed = matches!(activity.kind, ScanActivityKind::Error | ScanActivityKind::Cancelled | ScanActivityKind::DurationViolation);
    json.put("status_id", if failed { 2 } else { 1 });
    json.put("status", if failed { "Failure" } else { "Success" });
    json.put_text("status_detail", &activity.detail);
}
