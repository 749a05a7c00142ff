use crate::build::{Packed, SevenZip, bcj2, evil, sevenz};
use crate::{Completeness, Format, Report, ScanOptions, Verdict, scan};
use proptest::prelude::*;

fn scanned(bytes: &[u8]) -> Report {
    scan(&bytes, "m.7z", &ScanOptions::default())
}

/// Calls and jumps to the same few places from many, then a pickle.
fn program() -> Vec<u8> {
    let mut bytes = Vec::new();
    for number in 0_u32..400 {
        let here = u32::try_from(bytes.len()).unwrap();
        let (code, target) = if number % 3 == 0 { (0xe9, 0x80) } else { (0xe8, 0x40 * (number % 4)) };
        bytes.push(code);
        bytes.extend(target.wrapping_sub(here + 5).to_le_bytes());
        bytes.extend([0x90, 0x0f, 0x84]);
        bytes.extend(0x100_u32.wrapping_sub(here + 12).to_le_bytes());
    }
    bytes
}

#[test]
fn programs_in_four_streams_are_put_together() {
    let (program, pickle) = (program(), evil());
    assert!(bcj2(&program).iter().all(|stream| stream.len() > 5), "nothing was split off");
    let files = [Packed { name: "lib.bin", data: &program }, Packed { name: "data.pkl", data: &pickle }];
    let report = scanned(&sevenz(&files, SevenZip::Bcj2, true));
    // A wrong byte would be a wrong checksum.
    assert_eq!((report.format, report.verdict), (Format::SevenZip, Verdict::Malicious), "{report:#?}");
    assert!(report.findings.iter().all(|finding| finding.rule_id != "PICKET-ARC-006" && finding.rule_id != "PICKET-ARC-009"), "{report:#?}");
    assert!(!report.incomplete.iter().any(|reason| reason.contains("packed")), "{report:#?}");
    assert_eq!(report.members.len(), 2);
}

/// Made by 7-Zip (`tests/data/sevenz/generate.sh`).
#[test]
fn what_the_published_tool_writes() {
    let bytes = std::fs::read(format!("{}/tests/data/sevenz/bcj2.7z", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let report = scanned(&bytes);
    assert_eq!((report.verdict, report.members.len()), (Verdict::Malicious, 2), "{report:#?}");
    assert!(report.findings.iter().all(|finding| finding.rule_id.starts_with("PICKET-PKL")), "{report:#?}");
}

#[test]
fn a_stream_that_ends_early_is_said() {
    let program = program();
    let whole = sevenz(&[Packed { name: "lib.bin", data: &program }], SevenZip::Bcj2, false);
    for at in [40, 200, 400] {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x55;
        let report = scanned(&bytes);
        assert!(report.verdict != Verdict::Clean && !report.findings.is_empty(), "{at} {report:#?}");
    }
}

#[test]
fn dictionaries_of_four_streams_share_one_limit() {
    let mut bytes = sevenz(&[Packed { name: "lib.bin", data: &program() }], SevenZip::Bcj2, false);
    let header = bytes.windows(4).rposition(|four| four == [0x23, 0x03, 0x01, 0x01]).unwrap();
    // Each of the three LZMA coders asks for 64 MiB.
    let places: Vec<usize> = (0..=header).filter(|at| bytes[*at..].starts_with(&[0x23, 0x03, 0x01, 0x01, 0x05])).collect();
    assert_eq!(places.len(), 3);
    for at in places {
        bytes[at + 6..at + 10].copy_from_slice(&(64_u32 << 20).to_le_bytes());
    }
    reseal(&mut bytes);
    let report = scanned(&bytes);
    assert_eq!(report.completeness, Completeness::Partial, "{report:#?}");
    assert!(report.incomplete.iter().any(|reason| reason.contains("dictionaries")), "{report:#?}");
}

/// Bonds that lead in a circle, or to an output twice, read nothing and end.
#[test]
fn coders_in_a_circle_end() {
    let whole = sevenz(&[Packed { name: "lib.bin", data: &program() }], SevenZip::Bcj2, false);
    let bonds = whole.windows(9).rposition(|nine| nine[0] == 0xff && nine[1..] == 6_u64.to_le_bytes()).unwrap();
    for (number, value) in (0..80_usize).flat_map(|number| [0, 1, 2, 3, 5].map(|value| (number, value))) {
        let mut bytes = whole.clone();
        let Some(slot) = bytes.get_mut(bonds.saturating_sub(60) + number) else { continue };
        *slot = value;
        reseal(&mut bytes);
        let report = scanned(&bytes);
        assert!(report.verdict != Verdict::Clean || report.incomplete.is_empty(), "{report:#?}");
    }
}

/// Right checksums, so that damage is met by the parser and not by them.
fn reseal(bytes: &mut [u8]) {
    let field = |bytes: &[u8], at: usize| usize::try_from(u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())).unwrap();
    let (offset, size) = (field(bytes, 12), field(bytes, 20));
    let crc = picket_bounded::crc32(&bytes[32 + offset..32 + offset + size]);
    bytes[28..32].copy_from_slice(&crc.to_le_bytes());
    let crc = picket_bounded::crc32(&bytes[12..32]);
    bytes[8..12].copy_from_slice(&crc.to_le_bytes());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Damage to the streams and to the header behind right checksums.
    #[test]
    fn any_damage_ends(damage in proptest::collection::vec((32_usize..1400, any::<u8>()), 1..8)) {
        let mut bytes = sevenz(&[Packed { name: "lib.bin", data: &program() }], SevenZip::Bcj2, false);
        for (at, byte) in damage {
            if let Some(target) = bytes.get_mut(at) {
                *target = byte;
            }
        }
        reseal(&mut bytes);
        let report = scanned(&bytes);
        prop_assert!(report.verdict != Verdict::Clean || report.incomplete.is_empty());
    }
}
