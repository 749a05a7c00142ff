use crate::pickle::tests::{Asm, benign};
use crate::{Completeness, Format, Report, ScanOptions, Verdict, scan};
use picket_bounded::Limits;
use proptest::prelude::*;
use std::io::Write;

fn encode(format: Format, data: &[u8]) -> Vec<u8> {
    fn all<W: Write>(mut writer: W, data: &[u8], end: impl FnOnce(W) -> Vec<u8>) -> Vec<u8> {
        writer.write_all(data).unwrap();
        end(writer)
    }
    let level = flate2::Compression::default();
    match format {
        Format::Zlib => all(flate2::write::ZlibEncoder::new(Vec::new(), level), data, |encoder| encoder.finish().unwrap()),
        Format::Gzip => all(flate2::write::GzEncoder::new(Vec::new(), level), data, |encoder| encoder.finish().unwrap()),
        Format::Lz4 => all(lz4_flex::frame::FrameEncoder::new(Vec::new()), data, |encoder| encoder.finish().unwrap()),
        _ => zstd::encode_all(data, 1).unwrap(),
    }
}

const FORMATS: [Format; 4] = [Format::Zlib, Format::Gzip, Format::Lz4, Format::Zstd];

fn scanned(bytes: &[u8]) -> Report {
    scan(&bytes, "model.joblib", &ScanOptions::default())
}

#[test]
fn what_is_inside_is_judged() {
    for format in FORMATS {
        let report = scanned(&encode(format, &Asm::new(2).payload().stop()));
        assert_eq!((report.format, report.verdict), (format, Verdict::Malicious), "{report:#?}");
        let report = scanned(&encode(format, &benign()));
        assert_eq!((report.verdict, report.completeness), (Verdict::Clean, Completeness::Full), "{report:#?}");
        assert_eq!(report.members[0].format, Format::Pickle);
    }
}

#[test]
fn streams_behind_one_another_are_one_file() {
    let pickle = Asm::new(2).payload().stop();
    let (head, tail) = pickle.split_at(5);
    let report = scanned(&[encode(Format::Gzip, head), encode(Format::Gzip, tail)].concat());
    assert_eq!(report.verdict, Verdict::Malicious, "{report:#?}");
}

#[test]
fn what_follows_and_what_is_cut() {
    let junk = [encode(Format::Gzip, &benign()), vec![b'j'; 500]].concat();
    assert_eq!(scanned(&junk).findings[0].rule_id, "PICKET-FMT-001");
    let mut cut = encode(Format::Zstd, &benign().repeat(100));
    cut.truncate(cut.len() - 3);
    let report = scanned(&cut);
    assert_ne!(report.verdict, Verdict::Clean);
    assert_eq!(report.completeness, Completeness::Partial);
}

#[test]
fn a_bomb_is_a_finding() {
    let options = ScanOptions { limits: Limits { member_bytes: 1 << 20, ..Limits::default() }, ..ScanOptions::default() };
    for format in FORMATS {
        let report = scan(&encode(format, &vec![0; 4 << 20]).as_slice(), "x", &options);
        assert_eq!(report.completeness, Completeness::Partial, "{report:#?}");
        // lz4 reaches 255:1 at most, and here a hundredth of the cap.
        assert!(format == Format::Lz4 || report.findings.iter().any(|finding| finding.rule_id == "PICKET-ARC-001"), "{format} {report:#?}");
    }
}

proptest! {
    #[test]
    fn any_damage_ends(which in 0..FORMATS.len(), damage in proptest::collection::vec((0_usize..300, any::<u8>()), 0..8)) {
        let mut bytes = encode(FORMATS[which], &benign().repeat(5));
        for (offset, byte) in damage {
            if let Some(target) = bytes.get_mut(offset) {
                *target = byte;
            }
        }
        scanned(&bytes);
    }
}
