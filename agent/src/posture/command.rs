//! `picket-agent posture`.

use std::{fmt::Write, path::Path, process::ExitCode};

use serde_json::json;

use super::{Outcome, Status, assess, load};
use crate::config::Config;

/// Some check failed.
const FAILED: u8 = 1;
/// Nothing failed, and something could not be looked at.
const UNKNOWN: u8 = 2;

/// Judges the host below `root` and prints what it found, the worst first. One id or none in `only`.
pub(crate) fn run(config: &Config, root: &Path, checks_dir: Option<&Path>, only: Option<&str>, json: bool) -> anyhow::Result<ExitCode> {
    let mut checks = load(checks_dir.or(config.posture.checks_dir.as_deref()))?;
    if let Some(id) = only {
        checks.retain(|check| check.id == id);
        anyhow::ensure!(!checks.is_empty(), "no check has the id {id}");
    }
    let mut outcomes = assess(root, &checks, &config.watch);
    outcomes.sort_by(|left, right| (rank(left.status), right.severity, &left.id).cmp(&(rank(right.status), left.severity, &right.id)));
    print!("{}", if json { lines(&outcomes) } else { table(&outcomes) });
    let any = |status| outcomes.iter().any(|outcome| outcome.status == status);
    Ok(ExitCode::from(if any(Status::Fail) {
        FAILED
    } else if any(Status::Unknown) {
        UNKNOWN
    } else {
        0
    }))
}

const fn rank(status: Status) -> u8 {
    match status {
        Status::Fail => 0,
        Status::Unknown => 1,
        Status::Pass => 2,
        Status::NotApplicable => 3,
    }
}

/// One JSON object a check.
fn lines(outcomes: &[Outcome]) -> String {
    let object = |outcome: &Outcome| {
        json!({
            "id": outcome.id, "version": outcome.version, "title": outcome.title, "severity": outcome.severity.name(), "status": outcome.status.name(), "evidence": outcome.evidence,
            "rationale": outcome.rationale, "remediation": outcome.remediation, "standards": outcome.standards,
        })
    };
    outcomes.iter().fold(String::new(), |all, outcome| all + &object(outcome).to_string() + "\n")
}

fn table(outcomes: &[Outcome]) -> String {
    let mut text = String::new();
    for outcome in outcomes.iter().filter(|outcome| matches!(outcome.status, Status::Fail | Status::Unknown)) {
        let _ = writeln!(text, "{} {} [{}] {}", outcome.status.name().to_uppercase(), outcome.id, outcome.severity.name(), outcome.title);
        for line in &outcome.evidence {
            let _ = writeln!(text, "    {line}");
        }
        let _ = writeln!(text, "    why: {}\n    fix: {}\n    see: {}\n", outcome.rationale, outcome.remediation, outcome.standards.join(", "));
    }
    let count = |status| outcomes.iter().filter(|outcome| outcome.status == status).count();
    let _ = writeln!(
        text,
        "{} failed, {} unknown, {} passed, {} do not apply to this host",
        count(Status::Fail),
        count(Status::Unknown),
        count(Status::Pass),
        count(Status::NotApplicable)
    );
    text
}
