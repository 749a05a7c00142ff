use crate::{Completeness, Format, Report, ScanOptions, Verdict, scan};
use proptest::prelude::*;

fn file(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/tests/data/hdf5/{name}.h5", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

fn scanned(bytes: &[u8]) -> Report {
    scan(&bytes, "m.h5", &ScanOptions::default())
}

#[track_caller]
fn judged(name: &str, verdict: Verdict, rule: &str, key: &str) {
    let report = scanned(&file(name));
    assert_eq!(report.verdict, verdict, "{name} {report:#?}");
    let finding = report.findings.iter().find(|finding| finding.rule_id == rule);
    assert!(finding.is_some_and(|finding| finding.evidence.key.as_deref() == Some(key)), "{rule} at {key} is missing in {name} {report:#?}");
}

#[test]
fn architectures_of_both_file_versions() {
    for version in ["earliest", "latest"] {
        let report = scanned(&file(&format!("dense_{version}")));
        assert_eq!((report.format, report.verdict, report.completeness), (Format::KerasH5, Verdict::Clean, Completeness::Full), "{report:#?}");
        judged(&format!("lambda_{version}"), Verdict::Malicious, "PICKET-KER-001", "config.layers[0]");
    }
    judged("fixed_text", Verdict::Malicious, "PICKET-KER-001", "config.layers[0]");
    judged("user_block", Verdict::Malicious, "PICKET-KER-001", "config.layers[0]");
}

#[test]
fn what_leads_to_other_files() {
    for version in ["earliest", "latest"] {
        judged(&format!("external_link_{version}"), Verdict::Malicious, "PICKET-EXT-001", "/link");
        judged(&format!("external_data_{version}"), Verdict::Malicious, "PICKET-EXT-001", "/data");
    }
}

#[test]
fn circles_end() {
    let report = scanned(&file("cycle"));
    assert_eq!((report.verdict, report.completeness), (Verdict::Clean, Completeness::Full), "{report:#?}");
}

#[test]
fn dense_storage_is_read() {
    let report = scanned(&file("dense_storage"));
    assert_eq!((report.verdict, report.completeness), (Verdict::Clean, Completeness::Full), "{report:#?}");
    // A heap of one block, and one with two levels under a tree of several nodes.
    for name in ["dense_links", "dense_links_many"] {
        judged(name, Verdict::Malicious, "PICKET-EXT-001", "/outside");
        assert_eq!(scanned(&file(name)).completeness, Completeness::Full, "{name}");
    }
    judged("dense_attributes", Verdict::Malicious, "PICKET-KER-001", "config.layers[0]");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn any_damage_ends(which in 0_usize..11, damage in proptest::collection::vec((8_usize..3000, any::<u8>()), 0..12), cut in 0_usize..8000) {
        let names = ["dense_earliest", "lambda_latest", "external_link_earliest", "external_data_latest", "external_data_earliest", "fixed_text", "cycle", "user_block", "dense_links", "dense_attributes", "dense_storage"];
        let mut bytes = file(names[which]);
        for (offset, byte) in damage {
            if let Some(target) = bytes.get_mut(offset) {
                *target = byte;
            }
        }
        bytes.truncate(cut);
        scanned(&bytes);
    }
}
