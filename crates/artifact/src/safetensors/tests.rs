use crate::{Completeness, Format, Report, ScanOptions, Verdict, scan};
use proptest::prelude::*;

fn file(header: &str, data: usize) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &vec![7; data]].concat()
}

fn scanned(bytes: &[u8]) -> Report {
    scan(&bytes, "model.safetensors", &ScanOptions::default())
}

#[track_caller]
fn judged(header: &str, data: usize, verdict: Verdict, rule: &str) {
    let report = scanned(&file(header, data));
    assert_eq!((report.verdict, report.format), (verdict, Format::Safetensors), "{report:#?}");
    assert!(report.findings.iter().any(|finding| finding.rule_id == rule), "{rule} is missing in {report:#?}");
}

#[test]
fn honest_files_are_clean() {
    for (header, data) in [
        (r#"{"a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]},"b":{"dtype":"I64","shape":[],"data_offsets":[16,24]}}"#, 24),
        (r#"{"__metadata__":{"format":"pt"},"a":{"dtype":"BF16","shape":[0,5],"data_offsets":[0,0]}}   "#, 0),
        ("{}", 0),
    ] {
        let report = scanned(&file(header, data));
        assert_eq!((report.verdict, report.completeness, report.format), (Verdict::Clean, Completeness::Full, Format::Safetensors), "{report:#?}");
    }
}

#[test]
fn broken_promises() {
    let one = |dtype: &str, shape: &str, offsets: &str| format!(r#"{{"a":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}}}"#);
    judged(&one("F32", "[2,2]", "[0,12]"), 12, Verdict::Suspicious, "PICKET-STR-002");
    judged(&one("F32", "[2,2]", "[0,16]"), 8, Verdict::Suspicious, "PICKET-STR-002");
    judged(&one("F32", "[2]", "[16,8]"), 16, Verdict::Malicious, "PICKET-STR-001");
    judged(&one("F32", "[4611686018427387904,16]", "[0,16]"), 16, Verdict::Malicious, "PICKET-STR-001");
    judged(&one("X9", "[1]", "[0,4]"), 4, Verdict::Suspicious, "PICKET-STR-002");
    judged(&one("U8", "[4]", "[8,12]"), 12, Verdict::Suspicious, "PICKET-STR-004");
    judged(&one("U8", "[4]", "[0,4]"), 200, Verdict::Suspicious, "PICKET-FMT-001");
    judged(
        r#"{"a":{"dtype":"U8","shape":[8],"data_offsets":[0,8]},"b":{"dtype":"U8","shape":[8],"data_offsets":[4,12]}}"#,
        12,
        Verdict::Suspicious,
        "PICKET-STR-003",
    );
    judged(
        r#"{"a":{"dtype":"U8","shape":[8],"data_offsets":[0,8]},"a":{"dtype":"U8","shape":[8],"data_offsets":[0,8]}}"#,
        8,
        Verdict::Suspicious,
        "PICKET-STR-005",
    );
    judged(r#"{"__metadata__":{"format":{"not":"text"}}}"#, 0, Verdict::Suspicious, "PICKET-STR-002");
}

#[test]
fn a_length_beyond_the_file_is_an_overflow() {
    let bytes = [&(1_u64 << 31).to_le_bytes()[..], b"{\"a\":1}"].concat();
    let report = scanned(&bytes);
    assert_eq!((report.verdict, report.completeness), (Verdict::Malicious, Completeness::Partial), "{report:#?}");
}

#[test]
fn an_archive_behind_the_tensors_is_a_polyglot() {
    use crate::build::{item, zip};
    let mut bytes = file(r#"{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}"#, 4);
    bytes.extend(zip(&[item("data.pkl", crate::pickle::tests::Asm::new(2).payload().stop())]));
    let report = scanned(&bytes);
    assert_eq!(report.verdict, Verdict::Malicious, "{report:#?}");
    assert!(report.findings.iter().any(|finding| finding.rule_id == "PICKET-FMT-002"));
}

proptest! {
    #[test]
    fn any_header_ends(header in r#"\{("[a-b_]{1,3}":(\{"dtype":"(F32|U8)","shape":\[[0-9]{0,20}\],"data_offsets":\[[0-9]{1,20},[0-9]{1,20}\]\}|[0-9]+),?){0,3}\}?"#, data in 0_usize..64) {
        scanned(&file(&header, data));
    }
}
