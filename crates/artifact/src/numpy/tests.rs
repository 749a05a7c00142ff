use crate::pickle::tests::{Asm, benign};
use crate::{Completeness, Format, Report, ScanOptions, Verdict, scan};
use proptest::prelude::*;

fn npy(header: &str, data: &[u8]) -> Vec<u8> {
    [b"\x93NUMPY\x01\0", &u16::try_from(header.len()).unwrap().to_le_bytes()[..], header.as_bytes(), data].concat()
}

fn scanned(bytes: &[u8]) -> Report {
    scan(&bytes, "a.npy", &ScanOptions::default())
}

#[track_caller]
fn judged(bytes: &[u8], verdict: Verdict, rule: &str) {
    let report = scanned(bytes);
    assert_eq!((report.verdict, report.format), (verdict, Format::Npy), "{report:#?}");
    assert!(report.findings.iter().any(|finding| finding.rule_id == rule), "{rule} is missing in {report:#?}");
}

#[track_caller]
fn clean(bytes: &[u8]) {
    let report = scanned(bytes);
    assert_eq!((report.verdict, report.completeness), (Verdict::Clean, Completeness::Full), "{report:#?}");
}

const FLOATS: &str = "{'descr': '<f8', 'fortran_order': False, 'shape': (2, 3), }\n";

#[test]
fn arrays_of_numbers() {
    clean(&npy(FLOATS, &[0; 48]));
    clean(&[npy(FLOATS, &[0; 48]), npy(FLOATS, &[1; 48])].concat());
    clean(&npy("{'descr': [('a', '<U4'), ('b', '|b1', (2,))], 'fortran_order': False, 'shape': (2,), }", &[1; 36]));
    judged(&npy(FLOATS, &[0; 47]), Verdict::Suspicious, "PICKET-STR-002");
    judged(&npy(FLOATS, &[9; 200]), Verdict::Suspicious, "PICKET-FMT-001");
}

#[test]
fn objects_are_pickles() {
    let objects = "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }";
    clean(&npy(objects, &benign()));
    judged(&npy(objects, &Asm::new(2).payload().stop()), Verdict::Malicious, "PICKET-PKL-001");
    let structured = "{'descr': [('a', '<f8'), ('b', '|O')], 'fortran_order': False, 'shape': (1,), }";
    judged(&npy(structured, &Asm::new(2).payload().stop()), Verdict::Malicious, "PICKET-PKL-001");
}

#[test]
fn headers_that_are_none() {
    judged(&npy("{'descr': '<f8', 'fortran_order': False, 'shape': (4611686018427387904, 4)}", &[0; 48]), Verdict::Malicious, "PICKET-STR-001");
    judged(&npy("__import__('os').system('id')", &[]), Verdict::Suspicious, "PICKET-STR-002");
    judged(&npy("{'descr': '<f8', 'descr': '|O', 'fortran_order': False, 'shape': (1,)}", &[]), Verdict::Suspicious, "PICKET-STR-002");
    judged(&npy("{'descr': '<f8', 'fortran_order': False, 'shape': (-1,)}", &[]), Verdict::Suspicious, "PICKET-STR-002");
    judged(b"\x93NUMPY\x01\0\xff\xff{", Verdict::Suspicious, "PICKET-STR-002");
}

proptest! {
    #[test]
    fn any_header_ends(header in "[{}()\\[\\]',:<|fO0-9a-z ]{0,80}", data in proptest::collection::vec(any::<u8>(), 0..100)) {
        scanned(&npy(&header, &data));
    }
}
