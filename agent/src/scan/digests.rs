//! What was judged already, by its bytes: a copy, a link, a second download or the layer of another container has another inode and is told from the
//! same verdict.
//!
//! The digest is the worker's, taken over bytes that it holds in memory and then judges from there, so that a file which changes meanwhile has the verdict
//! of what was digested. A worker that ended on a file may have been taken over by an earlier one: what it said of digests is forgotten with it. Names
//! count too: the same bytes may be harmless as data and a finding under a name that promises something else.

use std::{
    collections::{HashMap, VecDeque},
    path::Path,
    sync::Arc,
};

use picket_event::Sha256;

use super::outcome::Report;

/// Contents remembered; the oldest is forgotten first. About 400 bytes each.
const ENTRIES_MAX: usize = 16_384;
/// Of these, contents with findings, whose texts are kept because each file is told with its own events. At most about 40 KiB each.
const TOLD_MAX: usize = 256;
/// Findings of one content. One with more is judged again.
const FINDINGS_MAX: usize = 20;

/// Bytes, and what of the file's name their judgement depends on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Content {
    digest: Sha256,
    name: Name,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Name {
    Whole(String),
    Ending(String),
}

struct Entry {
    report: Arc<Report>,
    worker: u64,
}

/// Verdicts under one set of rules.
#[derive(Default)]
pub(crate) struct Digests {
    rules: String,
    known: HashMap<Content, Entry>,
    /// Contents without findings, and those with, each from the oldest on.
    plain: VecDeque<Content>,
    told: VecDeque<Content>,
}

impl Digests {
    /// What other rules judged counts no more.
    pub(crate) fn rules(&mut self, identity: &str) {
        if self.rules != identity {
            *self = Self { rules: identity.to_owned(), ..Self::default() };
        }
    }

    pub(crate) fn get(&self, digest: Sha256, path: &str) -> Option<Arc<Report>> {
        let names = [Some(whole(path)), ending(path)];
        names.into_iter().flatten().find_map(|name| self.known.get(&Content { digest, name })).map(|entry| Arc::clone(&entry.report))
    }

    /// Remembers what `worker` said of a content. One that was not read whole is judged again, because time or load may have been why.
    pub(crate) fn insert(&mut self, digest: Sha256, path: &str, report: &Arc<Report>, worker: u64) {
        if !report.incomplete.is_empty() || report.findings_dropped > 0 || report.findings.len() > FINDINGS_MAX {
            return;
        }
        let name = if report.name_counts_by_ending { ending(path) } else { Some(whole(path)) };
        let Some(name) = name else { return };
        let content = Content { digest, name };
        let (order, max) = if report.findings.is_empty() { (&mut self.plain, ENTRIES_MAX) } else { (&mut self.told, TOLD_MAX) };
        if self.known.insert(content.clone(), Entry { report: Arc::clone(report), worker }).is_some() {
            return;
        }
        order.push_back(content);
        while order.len() > max {
            if let Some(oldest) = order.pop_front() {
                self.known.remove(&oldest);
            }
        }
    }

    /// Nothing that this worker said of digests counts any more.
    pub(crate) fn forget(&mut self, worker: u64) {
        self.known.retain(|_, entry| entry.worker != worker);
        let known = &self.known;
        self.plain.retain(|content| known.contains_key(content));
        self.told.retain(|content| known.contains_key(content));
    }

    pub(crate) fn len(&self) -> usize {
        self.known.len()
    }
}

fn whole(path: &str) -> Name {
    Name::Whole(path.rsplit('/').next().unwrap_or(path).to_owned())
}

fn ending(path: &str) -> Option<Name> {
    Some(Name::Ending(Path::new(path).extension()?.to_str()?.to_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::super::outcome::{Finding, Place, Verdict};
    use super::*;

    fn report(findings: usize, name_counts_by_ending: bool) -> Report {
        let finding = Finding {
            rule_id: "PICKET-PKL-001".to_owned(),
            rule_version: "1".to_owned(),
            title: String::new(),
            severity_id: 5,
            techniques: Vec::new(),
            evidence: Place::default(),
            explanation: String::new(),
        };
        let verdict = if findings > 0 { Verdict::Malicious } else { Verdict::Clean };
        let format = "pickle".to_owned();
        Report { sha256: None, format, verdict, findings: vec![finding; findings], findings_dropped: 0, incomplete: Vec::new(), name_counts_by_ending }
    }

    fn judged(findings: usize, by_ending: bool) -> Arc<Report> {
        Arc::new(report(findings, by_ending))
    }

    fn digest(number: u64) -> Sha256 {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&number.to_le_bytes());
        Sha256(bytes)
    }

    #[test]
    fn the_same_bytes_are_known_under_names_that_are_judged_alike() {
        let mut digests = Digests::default();
        digests.rules("r1");
        digests.insert(digest(1), "/a/model.pt", &judged(0, true), 1);
        digests.insert(digest(2), "/a/evil.pt", &judged(1, false), 1);
        assert!(digests.get(digest(1), "/b/other.PT").is_some() && digests.get(digest(2), "/layer/evil.pt").is_some());
        assert!(digests.get(digest(1), "/b/model.bin").is_none() && digests.get(digest(2), "/b/other.pt").is_none());
        assert!(digests.get(digest(3), "/a/model.pt").is_none());
        digests.rules("r2");
        assert_eq!(digests.len(), 0);
    }

    #[test]
    fn what_was_not_read_whole_is_not_known() {
        let mut digests = Digests::default();
        for report in [
            Report { incomplete: vec!["the time for this file is up".to_owned()], ..report(0, true) },
            Report { findings_dropped: 1, ..report(1, false) },
            report(FINDINGS_MAX + 1, false),
        ] {
            digests.insert(digest(1), "/a/model.pt", &Arc::new(report), 1);
        }
        assert_eq!(digests.len(), 0);
    }

    #[test]
    fn a_worker_that_was_ended_takes_its_word_along() {
        let mut digests = Digests::default();
        digests.insert(digest(1), "/a/model.pt", &judged(0, true), 1);
        digests.insert(digest(2), "/a/model.pt", &judged(1, false), 2);
        digests.forget(2);
        assert!(digests.get(digest(1), "/a/model.pt").is_some() && digests.get(digest(2), "/a/model.pt").is_none());
        assert_eq!((digests.plain.len(), digests.told.len()), (1, 0));
    }

    #[test]
    fn it_is_bounded() {
        let mut digests = Digests::default();
        for number in 0..ENTRIES_MAX as u64 + 100 {
            digests.insert(digest(number), "/a/model.pt", &judged(0, true), 1);
            digests.insert(digest(number), "/a/model.bin", &judged(1, false), 1);
        }
        assert_eq!((digests.len(), digests.plain.len(), digests.told.len()), (ENTRIES_MAX + TOLD_MAX, ENTRIES_MAX, TOLD_MAX));
        assert!(digests.get(digest(0), "/a/model.pt").is_none() && digests.get(digest(ENTRIES_MAX as u64), "/a/model.pt").is_some());
    }
}
