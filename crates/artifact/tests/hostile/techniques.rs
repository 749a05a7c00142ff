//! The whole corpus: every technique is a finding of its weight, everything harmless is not.

use crate::alone;
use crate::corpus::{self, Label};
use picket_artifact::{ScanOptions, Verdict, scan};
use std::collections::HashSet;

#[test]
fn every_technique_is_found_and_nothing_harmless_is() {
    let _alone = alone();
    let mut wrong = Vec::new();
    let mut names = HashSet::new();
    let cases = corpus::all();
    for case in &cases {
        assert!(names.insert(case.name.clone()), "{} is there twice", case.name);
        let report = scan(&case.bytes.as_slice(), &case.file, &ScanOptions::default());
        let right = match case.label {
            Label::Executes => report.verdict == Verdict::Malicious,
            Label::Hides => matches!(report.verdict, Verdict::Malicious | Verdict::Suspicious),
            Label::Harmless => report.verdict == Verdict::Clean,
        };
        if !right {
            let rules: Vec<&str> = report.findings.iter().map(|finding| finding.rule_id).collect();
            wrong.push(format!("{:?} {}: {:?} as {} {rules:?} {:?}", case.label, case.name, report.verdict, report.format, report.incomplete));
        }
    }
    assert!(wrong.is_empty(), "{} of {} are judged wrong:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}
