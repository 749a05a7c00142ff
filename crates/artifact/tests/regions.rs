//! What content rules are shown of a file, and what they leave in its report.

#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

use picket_artifact::rules::Rule;
use picket_artifact::{Completeness, Format, Region, RegionMatch, RegionOutcome, RegionRules, ScanOptions, Severity, Verdict, scan};
use std::sync::{Arc, Mutex};

static MARK: Rule = Rule { id: "TEST-MARK", version: "3", title: "A mark", severity: Severity::High, techniques: &["T1027"], verdict: Verdict::Suspicious };

/// Matches a word, and remembers what it was shown.
#[derive(Debug, Default)]
struct Marks {
    seen: Mutex<Vec<(String, Format, u64, usize)>>,
    stop: bool,
}

impl RegionRules for Marks {
    fn apply(&self, region: &Region<'_>) -> RegionOutcome {
        self.seen.lock().unwrap().push((region.member.to_owned(), region.format, region.offset, region.bytes.len()));
        let at = region.bytes.windows(8).position(|bytes| bytes == b"the-mark");
        let matches = at.map(|at| RegionMatch {
            rule: &MARK,
            offset: Some(at as u64),
            pattern: Some("$mark".to_owned()),
            excerpt: Some("the-mark\u{1b}[2J".to_owned()),
            explanation: "A mark stands here.".to_owned(),
        });
        RegionOutcome { matches: matches.into_iter().collect(), incomplete: self.stop.then(|| "the rules were stopped".to_owned()) }
    }

    fn identity(&self) -> String {
        "test".to_owned()
    }
}

fn options(marks: &Arc<Marks>) -> ScanOptions {
    ScanOptions { region_rules: Some(Arc::<Marks>::clone(marks)), ..ScanOptions::default() }
}

fn safetensors(elements: &[u8]) -> Vec<u8> {
    let header = format!("{{\"__metadata__\":{{\"note\":\"the-mark\"}},\"w\":{{\"dtype\":\"U8\",\"shape\":[{0}],\"data_offsets\":[0,{0}]}}}}", elements.len());
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(header.as_bytes());
    file.extend_from_slice(elements);
    file
}

#[test]
fn a_header_is_shown_and_tensors_are_not() {
    let marks = Arc::<Marks>::default();
    let file = safetensors(&vec![7; 1 << 20]);
    let report = scan(&file.as_slice(), "m.safetensors", &options(&marks));
    let finding = report.findings.first().unwrap();
    assert_eq!((finding.rule_id, finding.rule_version, finding.evidence.key.as_deref()), ("TEST-MARK", "3", Some("$mark")));
    assert_eq!(finding.evidence.value.as_deref(), Some("the-mark\\u{1b}[2J"), "the excerpt is inert");
    assert_eq!(file.get(usize::try_from(finding.evidence.offset.unwrap()).unwrap()..).unwrap().first_chunk::<8>().unwrap(), b"the-mark");
    let applied = report.rules_applied.unwrap();
    assert_eq!((applied.regions, applied.bytes_left_out), (1, 1 << 20));
    assert_eq!(applied.bytes + applied.bytes_left_out, file.len() as u64);
    assert_eq!(report.verdict, Verdict::Suspicious);
}

#[test]
fn tensors_are_shown_when_asked() {
    let marks = Arc::<Marks>::default();
    let mut elements = vec![7; 40 << 20];
    let at = (16 << 20) - 30;
    elements.splice(at..at + 8, *b"the-mark");
    let file = safetensors(&elements);
    let report = scan(&file.as_slice(), "m.safetensors", &ScanOptions { all_regions: true, ..options(&marks) });
    // Once in the header, once in the elements: one rule, one place each, and no piece longer than the bound.
    let applied = report.rules_applied.unwrap();
    assert_eq!((applied.regions, applied.bytes_left_out), (3, 0));
    assert!(marks.seen.lock().unwrap().iter().all(|(_, _, _, length)| *length <= 16 << 20));
}

#[test]
fn members_are_shown_and_their_archive_is_not() {
    let marks = Arc::<Marks>::default();
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut writer, b"text with the-mark inside").unwrap();
    let file = writer.finish().unwrap();
    let report = scan(&file.as_slice(), "notes.txt.gz", &options(&marks));
    let seen = marks.seen.lock().unwrap().clone();
    assert_eq!(seen, [("notes.txt".to_owned(), Format::Text, 0, 25)]);
    assert_eq!(report.findings.first().unwrap().evidence.member, "notes.txt");
}

#[test]
fn stopped_rules_make_the_scan_partial() {
    let marks = Arc::new(Marks { stop: true, ..Marks::default() });
    let text: &[u8] = b"plain text";
    let report = scan(&text, "a.txt", &options(&marks));
    assert_eq!((report.completeness, report.verdict), (Completeness::Partial, Verdict::Unscannable));
    assert_eq!(report.incomplete, ["the rules were stopped"]);
    assert!(scan(&text, "a.txt", &ScanOptions::default()).rules_applied.is_none());
}

#[test]
fn a_pattern_across_a_cut_is_seen() {
    let marks = Arc::<Marks>::default();
    let mut text = vec![b'x'; (16 << 20) + 100];
    let at = (16 << 20) - 4;
    text.splice(at..at + 8, *b"the-mark");
    let report = scan(&text.as_slice(), "a.txt", &options(&marks));
    assert_eq!(report.findings.first().unwrap().evidence.offset, Some(at as u64));
    assert_eq!(report.rules_applied.unwrap().regions, 2);
}
