use crate::{Completeness, Data, Format, Report, ScanOptions, Verdict, Watch, digest, scan, tensor_index};
use proptest::prelude::*;
use std::collections::BTreeMap;

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
fn data_sets_put_together_from_other_files() {
    for version in ["v110", "latest"] {
        let report = scanned(&file(&format!("virtual_{version}")));
        let found: Vec<(&str, &str, &str)> = report
            .findings
            .iter()
            .map(|finding| (finding.rule_id, finding.evidence.key.as_deref().unwrap_or_default(), finding.evidence.value.as_deref().unwrap_or_default()))
            .collect();
        assert_eq!(found, [("PICKET-EXT-001", "/whole", "../../secret.h5"), ("PICKET-EXT-002", "/whole", "beside.h5")], "{version} {report:#?}");
        // Numbers would not be read anywhere; these bytes could be a file.
        assert_eq!(report.incomplete, ["inside: the data set was not read: it is put together from others"]);
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

/// Digests by name: `NAME` in chunks and `NAME_plain` in one run are the same tensor.
fn digests(bytes: &[u8]) -> BTreeMap<String, String> {
    let index = tensor_index(&bytes, "m.h5", &ScanOptions::default());
    assert!(index.incomplete.is_empty(), "{:?}", index.incomplete);
    let found = digest(&bytes, &index, &|_| Err(std::io::ErrorKind::NotFound.into()), &Watch::default()).unwrap();
    assert!(found.incomplete.is_empty(), "{:?}", found.incomplete);
    found.tensors.into_iter().map(|tensor| (tensor.name, tensor.digests.sha256)).collect()
}

#[test]
fn tensors_in_chunks_have_the_digests_of_their_elements() {
    for (version, count) in [("earliest", 11), ("v110", 13), ("latest", 13)] {
        let found = digests(&file(&format!("chunked_{version}")));
        let twins: Vec<_> = found.iter().filter(|(name, _)| !name.ends_with("_plain")).collect();
        assert_eq!(twins.len(), count, "{found:?}");
        for (name, digest) in twins {
            assert_eq!(Some(digest), found.get(&format!("{name}_plain")), "{version} {name}");
        }
        let report = scanned(&file(&format!("chunked_{version}")));
        assert_eq!((report.verdict, report.completeness), (Verdict::Clean, Completeness::Full), "{report:#?}");
    }
}

#[test]
fn texts_and_pickles_among_elements_are_judged() {
    for name in ["plain_earliest", "plain_latest", "chunked_earliest", "chunked_latest"] {
        let report = scanned(&file(&format!("contents_{name}")));
        assert_eq!((report.verdict, report.completeness), (Verdict::Malicious, Completeness::Full), "{name} {report:#?}");
        let found = |rule: &str| {
            let mut members: Vec<&str> =
                report.findings.iter().filter(|finding| finding.rule_id == rule).map(|finding| finding.evidence.member.as_str()).collect();
            members.sort_unstable();
            members.dedup();
            members
        };
        assert_eq!(found("PICKET-PKL-001"), ["/@array", "/@object", "bytes", "opaque", "rows"], "{name} {report:#?}");
        assert_eq!(found("PICKET-KER-001"), ["fixed", "texts"], "{name}");
        assert_eq!(found("PICKET-SEC-001"), ["secret"], "{name}");
    }
}

#[test]
fn fields_of_records_and_elements_of_arrays_are_judged() {
    for version in ["earliest", "latest"] {
        let report = scanned(&file(&format!("records_{version}")));
        assert_eq!((report.verdict, report.completeness), (Verdict::Malicious, Completeness::Full), "{version} {report:#?}");
        let mut found: Vec<(&str, &str)> = report.findings.iter().map(|finding| (finding.evidence.member.as_str(), finding.rule_id)).collect();
        found.sort_unstable();
        found.dedup();
        let expected = [
            ("array", "PICKET-PKL-001"),
            ("blob", "PICKET-PKL-001"),
            ("note", "PICKET-KER-001"),
            ("pair", "PICKET-SEC-001"),
            ("raw", "PICKET-PKL-001"),
            ("text", "PICKET-KER-001"),
            ("words", "PICKET-SEC-001"),
        ];
        assert_eq!(found, expected, "{version} {report:#?}");
    }
}

#[test]
fn names_pictures_and_numbers_are_no_findings() {
    for version in ["earliest", "latest"] {
        let report = scanned(&file(&format!("names_{version}")));
        assert_eq!((report.verdict, report.completeness, report.members.len()), (Verdict::Clean, Completeness::Full, 0), "{report:#?}");
    }
}

/// The file with the bytes at each place of `from` replaced by those of `to`.
fn replaced(name: &str, from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut bytes = file(name);
    let places: Vec<usize> = (0..bytes.len() - from.len()).filter(|at| bytes[*at..].starts_with(from)).collect();
    assert!(!places.is_empty(), "{from:?} is not in {name}");
    for at in places {
        bytes[at..at + to.len()].copy_from_slice(to);
    }
    bytes
}

/// Offset and length of each chunk of a data set.
fn runs(bytes: &[u8], name: &str) -> Vec<(u64, u64)> {
    let index = tensor_index(&bytes, "m.h5", &ScanOptions::default());
    let tensor = index.tensors.iter().find(|tensor| tensor.name == name).unwrap();
    let Data::Chunked(chunked) = &tensor.data else { panic!("{name} is not in chunks") };
    chunked.chunks.iter().map(|chunk| (chunk.run.offset, chunk.run.len)).collect()
}

#[test]
fn chunks_that_lie_are_findings() {
    let whole = file("chunked_earliest");
    let chunks = runs(&whole, "growing");
    let (first, second) = (chunks[0].0.to_le_bytes(), chunks[1].0.to_le_bytes());
    let judged = |bytes: &[u8], rule: &str| {
        let report = scanned(bytes);
        assert!(report.findings.iter().any(|finding| finding.rule_id == rule), "{rule} {report:#?}");
        report
    };
    let shared = judged(&replaced("chunked_earliest", &second, &first), "PICKET-STR-003");
    assert_eq!(shared.verdict, Verdict::Suspicious);
    let beyond = judged(&replaced("chunked_earliest", &first, &(whole.len() as u64 - 4).to_le_bytes()), "PICKET-STR-002");
    assert_eq!(beyond.completeness, Completeness::Partial);
    // A key of the tree: size, filters left out, and the place of the second chunk turned into that of the first.
    let key = |column: u64| [24_u32.to_le_bytes().to_vec(), vec![0; 12], column.to_le_bytes().to_vec(), vec![0; 8], second.to_vec()].concat();
    judged(&replaced("chunked_earliest", &key(3), &key(0)), "PICKET-STR-002");
}

#[test]
fn a_chunk_that_cannot_be_unpacked_is_said() {
    for name in ["contents_chunked_earliest", "contents_chunked_latest"] {
        let whole = file(name);
        let (offset, length) = runs(&whole, "bytes")[0];
        let middle = usize::try_from(offset + length / 2).unwrap();
        let mut bytes = whole.clone();
        bytes[middle] ^= 0x55;
        let report = scanned(&bytes);
        let said = report.incomplete.iter().any(|reason| reason.starts_with("bytes: the data set was not read"));
        assert!(said && report.findings.iter().any(|finding| finding.rule_id == "PICKET-STR-002"), "{name} {report:#?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn any_damage_ends(which in 0_usize..19, damage in proptest::collection::vec((8_usize..3000, any::<u8>()), 0..12), cut in 0_usize..8000) {
        let names = ["dense_earliest", "lambda_latest", "external_link_earliest", "external_data_latest", "external_data_earliest", "fixed_text", "cycle", "user_block", "dense_links", "dense_attributes", "dense_storage", "contents_chunked_earliest", "contents_chunked_latest", "contents_plain_latest", "names_latest", "virtual_v110", "virtual_latest", "records_earliest", "records_latest"];
        let mut bytes = file(names[which]);
        for (offset, byte) in damage {
            if let Some(target) = bytes.get_mut(offset) {
                *target = byte;
            }
        }
        bytes.truncate(cut);
        scanned(&bytes);
    }

    /// The indexes of chunks, damaged anywhere; what is digested then ends as well.
    #[test]
    fn any_damage_to_chunks_ends(version in proptest::sample::select(vec!["earliest", "v110", "latest"]), damage in proptest::collection::vec((48_usize..38_000, any::<u8>()), 1..40)) {
        let mut bytes = file(&format!("chunked_{version}"));
        for (offset, byte) in damage {
            if let Some(target) = bytes.get_mut(offset) {
                *target = byte;
            }
        }
        let report = scanned(&bytes);
        prop_assert!(report.verdict != Verdict::Clean || report.incomplete.is_empty(), "{:?}", report);
        let source = bytes.as_slice();
        let index = tensor_index(&source, "m.h5", &ScanOptions::default());
        let found = digest(&source, &index, &|_| Err(std::io::ErrorKind::NotFound.into()), &Watch::default()).unwrap();
        prop_assert!(found.tensors.len() <= index.tensors.len());
    }
}
