use crate::pickle::tests::{Asm, benign};
use crate::{Format, Report, ScanOptions, Verdict, scan};
use proptest::prelude::*;

fn scanned(bytes: &[u8], name: &str) -> Report {
    scan(&bytes, name, &ScanOptions::default())
}

#[test]
fn content_decides_and_a_lying_name_is_a_finding() {
    let report = scanned(&benign(), "model.safetensors");
    assert_eq!((report.format, report.verdict, report.findings[0].rule_id), (Format::Pickle, Verdict::Suspicious, "PICKET-FMT-003"));
    let report = scanned(&Asm::new(2).payload().stop(), "model.safetensors");
    assert_eq!(report.verdict, Verdict::Malicious);
    assert_eq!(scanned(&benign(), "config.p").verdict, Verdict::Clean);
    assert_eq!(scanned(&benign(), "pytorch_model.bin").verdict, Verdict::Clean);
}

#[test]
fn programs_named_as_models() {
    for (bytes, name) in [(&b"\x7fELF\x02\x01\x01\0"[..], "pytorch_model.bin"), (b"\x7fELF\x02", "model.gguf"), (b"#!/bin/sh\nid\n", "weights.pt")] {
        let report = scanned(bytes, name);
        assert_eq!((report.verdict, report.findings[0].rule_id), (Verdict::Malicious, "PICKET-FMT-004"), "{report:#?}");
    }
}

#[test]
fn what_is_not_examined_is_not_clean() {
    for bytes in [&b"ftrt\0\0\0\0"[..], b"%PDF-1.7", b"\x01\x02\x03\x04\x05 unknown", b"binf\0\0"] {
        assert_eq!(scanned(bytes, "file").verdict, Verdict::Unscannable, "{bytes:?}");
    }
    // A header alone contradicts its own format.
    for bytes in [&b"7z\xbc\xaf\x27\x1c\0\x04"[..], b"\x7fELF\x02\x01", b"PAR1...."] {
        let report = scanned(bytes, "file");
        assert_eq!((report.verdict, report.incomplete.is_empty()), (Verdict::Suspicious, false), "{report:#?}");
    }
    for (bytes, format) in [(&b""[..], Format::Empty), (b"hello\n", Format::Text), (b"\x89PNG\r\n\x1a\n", Format::Image)] {
        let report = scanned(bytes, "file");
        assert_eq!((report.verdict, report.format), (Verdict::Clean, format));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Every magic number with anything behind it.
    #[test]
    fn any_bytes_end(magic in 0_usize..24, bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let magics: [&[u8]; 24] = [
            b"", b"PK\x03\x04", b"PK\x05\x06", b"\x93NUMPY\x01\0", b"GGUF\x03\0\0\0", b"\x89HDF\r\n\x1a\n", b"\x1f\x8b\x08", b"BZh91AY&SY", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd", b"\x04\x22\x4d\x18",
            b"7z\xbc\xaf\x27\x1c", b"\x7fELF", b"MZ", b"{\"a\":", b"<?xml ", b"(", b"c", b"\x5d\0\0\x01\0", b"\x78\x9c", b"\x80\x02", b"\x80\x05\x95", b"#!", b"\x20\0\0\0\0\0\0\0{",
        ];
        let bytes = [magics[magic], &bytes].concat();
        let report = scanned(&bytes, "x.bin");
        prop_assert!(report.verdict != Verdict::Clean || report.incomplete.is_empty());
    }
}

#[test]
fn archives_behind_other_formats() {
    use crate::build::{item, zip};
    let archive = zip(&[item("data.pkl", Asm::new(2).payload().stop())]);
    let llamafile = [&b"MZqFpD='\n"[..], &[7; 200], &archive].concat();
    let report = scanned(&llamafile, "model.llamafile");
    assert_eq!((report.format, report.verdict), (Format::Llamafile, Verdict::Malicious), "{report:#?}");
    assert!(
        report.findings.iter().any(|finding| finding.rule_id == "PICKET-FMT-005") && !report.findings.iter().any(|finding| finding.rule_id == "PICKET-FMT-002"),
        "{report:#?}"
    );
    // Inside the bytes that a header claims for a tensor, and behind text.
    let header = format!(r#"{{"a":{{"dtype":"U8","shape":[{0}],"data_offsets":[0,{0}]}}}}"#, archive.len());
    let tensor = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &archive].concat();
    for (bytes, name) in [(tensor, "m.safetensors"), ([b"hello\n", &archive[..]].concat(), "a.txt"), ([b"{\"a\": 1}\n", &archive[..]].concat(), "a.json")] {
        let report = scanned(&bytes, name);
        assert_eq!(report.verdict, Verdict::Malicious, "{report:#?}");
        assert!(report.findings.iter().any(|finding| matches!(finding.rule_id, "PICKET-FMT-002" | "PICKET-FMT-007")), "{report:#?}");
    }
}

#[test]
fn programs_in_archives() {
    use crate::build::{item, zip};
    let report = scanned(&zip(&[item("assets.extra/tool", b"\x7fELF\x02\x01\x01\0")]), "model.zip");
    assert_eq!(report.verdict, Verdict::Suspicious, "{report:#?}");
    assert!(report.findings.iter().any(|finding| finding.rule_id == "PICKET-FMT-006"), "{report:#?}");
    // An ELF header of 64 bytes that names no segments.
    let mut library = b"\x7fELF\x02\x01\x01\0".to_vec();
    library.resize(64, 0);
    library[52] = 64;
    assert_eq!(scanned(&zip(&[item("pkg/native.so", &library)]), "p.whl").verdict, Verdict::Unscannable);
}
