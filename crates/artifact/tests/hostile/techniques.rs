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

/// What lets a verdict be taken over under another name: no other name with the same ending says anything else.
#[test]
fn where_a_name_counts_by_its_ending_no_other_one_is_judged_otherwise() {
    let _alone = alone();
    let mut counted = 0;
    for case in corpus::all() {
        for ending in ["bin", "pt", "pth", "ckpt", "pkl", "h5", "keras", "onnx", "gguf", "safetensors", "npy", "npz", "tflite", "model"] {
            let judged = |stem: &str| scan(&case.bytes.as_slice(), &format!("folder/{stem}.{ending}"), &ScanOptions::default());
            let report = judged("one");
            if !report.name_counts_by_ending() {
                continue;
            }
            counted += 1;
            for stem in ["two", "setup.py", "MLmodel", "checkpoint", "requirements", "tokenizer_config.json", "libmodel.so", "x.tar"] {
                let other = judged(stem);
                assert_eq!((other.verdict, other.findings.len(), other.format), (Verdict::Clean, 0, report.format), "{} as {stem}.{ending}", case.name);
            }
        }
    }
    assert!(counted > 100, "only {counted} names count by their ending");
}
