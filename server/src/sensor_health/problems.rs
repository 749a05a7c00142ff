//! What a sensor does not see: by its own words, and by comparison with what it saw before.

use std::collections::BTreeSet;

use picket_proto::v1::SensorProblem;
use serde::{Deserialize, Serialize};

use crate::{gateway::Seen, refusal::sanitise};

/// Causes under which a host does not see; others are shown only.
const BLINDING: [&str; 7] = ["probe_detached", "probe_silent", "probe_missing", "map_changed", "reader_stuck", "agent_paused", "traced"];
/// Shown and stored of one host; a sensor has about 50 probes, and one problem is enough to look at it.
const PROBLEMS_MAX: usize = 64;
const NAME_CHARS_MAX: usize = 64;
const DETAIL_CHARS_MAX: usize = 200;
const PROBES_MAX: usize = 256;
/// Named in one sentence.
const NAMED_MAX: usize = 4;

/// Probes that ran at one time, of one agent on one kernel: another version or kernel may have others, and begins anew.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Baseline {
    agent_version: String,
    kernel: String,
    probes: BTreeSet<String>,
}

impl Baseline {
    /// Adds what runs now. True where something changed.
    pub(super) fn learn(&mut self, seen: &Seen<'_>) -> bool {
        let Some(report) = seen.capabilities else { return false };
        let (version, kernel) = (sanitise(seen.agent_version, NAME_CHARS_MAX), sanitise(seen.kernel, NAME_CHARS_MAX));
        let anew = self.agent_version != version || self.kernel != kernel;
        if anew {
            *self = Self { agent_version: version, kernel, probes: BTreeSet::new() };
        }
        let before = self.probes.len();
        for probe in report.probes.iter().filter(|probe| probe.attached) {
            if self.probes.len() < PROBES_MAX && !self.probes.contains(probe.name.as_str()) {
                self.probes.insert(sanitise(&probe.name, NAME_CHARS_MAX));
            }
        }
        anew || self.probes.len() != before
    }

    fn missing<'a>(&'a self, seen: &'a Seen<'_>) -> impl Iterator<Item = SensorProblem> + 'a {
        let report = seen.capabilities;
        let probe = move |name: &str| report.and_then(|report| report.probes.iter().find(|probe| probe.name == name));
        self.probes.iter().filter_map(move |name| {
            let detail = match probe(name) {
                Some(probe) if probe.attached => return None,
                Some(probe) => sanitise(&probe.reason, DETAIL_CHARS_MAX),
                None => "it ran before, and the sensor does not have it now".to_owned(),
            };
            Some(SensorProblem { cause: "probe_missing".to_owned(), subject: name.clone(), detail, healed: false, since_ns: 0 })
        })
    }
}

/// Everything that is wrong, what blinds first.
pub(super) fn problems(baseline: &Baseline, seen: &Seen<'_>) -> Vec<SensorProblem> {
    let told = seen.heartbeat.map(|heartbeat| heartbeat.problems.as_slice()).unwrap_or_default();
    let mut all: Vec<SensorProblem> = told
        .iter()
        .take(PROBLEMS_MAX)
        .map(|problem| SensorProblem {
            cause: sanitise(&problem.cause, NAME_CHARS_MAX),
            subject: sanitise(&problem.subject, NAME_CHARS_MAX),
            detail: sanitise(&problem.detail, DETAIL_CHARS_MAX),
            healed: problem.healed,
            since_ns: problem.since_ns,
        })
        .collect();
    // A probe that the agent tells of is not told twice.
    let missing: Vec<_> = baseline.missing(seen).filter(|missing| !all.iter().any(|told| told.subject == missing.subject)).collect();
    all.extend(missing);
    all.sort_by_key(|problem| !blinds(problem));
    all.truncate(PROBLEMS_MAX);
    all
}

/// Whether a host with that problem does not see, or did not.
pub(super) fn blinds(problem: &SensorProblem) -> bool {
    BLINDING.contains(&problem.cause.as_str())
}

/// One sentence.
pub(super) fn summary(problems: &[SensorProblem]) -> String {
    let named: Vec<String> = problems
        .iter()
        .take(NAMED_MAX)
        .map(|problem| {
            let healed = if problem.healed { ", healed" } else { "" };
            let detail = if problem.detail.is_empty() { String::new() } else { format!(" ({})", problem.detail) };
            format!("{} {}{healed}{detail}", problem.subject, words(&problem.cause))
        })
        .collect();
    let more = problems.len().saturating_sub(NAMED_MAX);
    let rest = if more > 0 { format!("; and {more} more") } else { String::new() };
    format!("{}{rest}", named.join("; "))
}

fn words(cause: &str) -> &str {
    match cause {
        "probe_detached" => "was detached",
        "probe_silent" => "is not called",
        "probe_missing" => "is missing",
        "map_changed" => "was changed from outside",
        "reader_stuck" => "stands still",
        "agent_paused" => "did not run for a while",
        "traced" => "is traced",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use picket_event::DeviceUid;
    use picket_proto::v1::{CapabilityReport, Heartbeat, Probe};

    use super::*;

    fn report(probes: &[(&str, bool)]) -> CapabilityReport {
        let probe = |(name, attached): &(&str, bool)| Probe { name: (*name).to_owned(), attached: *attached, reason: "why".to_owned(), ..Probe::default() };
        CapabilityReport { probes: probes.iter().map(probe).collect(), ..CapabilityReport::default() }
    }

    fn seen<'a>(capabilities: &'a CapabilityReport, heartbeat: &'a Heartbeat, kernel: &'a str) -> Seen<'a> {
        let now = Instant::now();
        Seen {
            device: DeviceUid(uuid::Uuid::nil()),
            hostname: "h",
            agent_version: "1",
            kernel,
            joined: now,
            heard: now,
            beat: Some(now),
            capabilities: Some(capabilities),
            heartbeat: Some(heartbeat),
        }
    }

    #[test]
    fn a_probe_that_ran_is_missed_and_one_that_never_did_is_not() {
        let (beat, mut baseline) = (Heartbeat::default(), Baseline::default());
        let before = report(&[("process_exec", true), ("file_open", true), ("udp_flow", false)]);
        assert!(baseline.learn(&seen(&before, &beat, "6.18")));
        assert!(!baseline.learn(&seen(&before, &beat, "6.18")));
        assert_eq!(problems(&baseline, &seen(&before, &beat, "6.18")), []);
        let after = report(&[("process_exec", false), ("udp_flow", false)]);
        assert!(!baseline.learn(&seen(&after, &beat, "6.18")));
        let found = problems(&baseline, &seen(&after, &beat, "6.18"));
        let found: Vec<_> = found.iter().map(|problem| (problem.subject.as_str(), problem.detail.as_str())).collect();
        assert_eq!(found, [("file_open", "it ran before, and the sensor does not have it now"), ("process_exec", "why")]);
        // Another kernel has other probes.
        assert!(baseline.learn(&seen(&after, &beat, "6.1")));
        assert_eq!(problems(&baseline, &seen(&after, &beat, "6.1")), []);
    }

    #[test]
    fn what_a_host_tells_is_cut_and_what_blinds_comes_first() {
        let told = |cause: &str| SensorProblem { cause: cause.to_owned(), subject: "a\nb".to_owned(), detail: "x".repeat(1_000), ..SensorProblem::default() };
        let beat = Heartbeat {
            problems: (0..400).map(|number| told(if number % 2 == 0 { "config_missing" } else { "map_changed" })).collect(),
            ..Heartbeat::default()
        };
        let report = report(&[]);
        let found = problems(&Baseline::default(), &seen(&report, &beat, "6.18"));
        assert_eq!(found.len(), PROBLEMS_MAX);
        assert!(found.first().is_some_and(blinds) && !found.last().is_some_and(blinds));
        assert!(found.iter().all(|problem| problem.subject == "a\u{fffd}b" && problem.detail.len() == DETAIL_CHARS_MAX));
        assert!(summary(&found).ends_with(&format!("and {} more", PROBLEMS_MAX - NAMED_MAX)), "{}", summary(&found));
    }
}
