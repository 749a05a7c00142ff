use crate::build::{member, tar};
use crate::pickle::tests::{Asm, benign};
use crate::{Completeness, Format, Report, ScanOptions, Verdict, scan};
use proptest::prelude::*;

fn scanned(bytes: &[u8]) -> Report {
    scan(&bytes, "a.tar", &ScanOptions::default())
}

#[track_caller]
fn judged(bytes: &[u8], verdict: Verdict, rule: &str) -> Report {
    let report = scanned(bytes);
    assert_eq!(report.verdict, verdict, "{report:#?}");
    assert!(report.findings.iter().any(|finding| finding.rule_id == rule), "{rule} is missing in {report:#?}");
    report
}

fn evil() -> Vec<u8> {
    Asm::new(2).payload().stop()
}

#[test]
fn members_are_judged() {
    let report = scanned(&tar(&[member("a/", b'5', "", b""), member("a/x.pkl", b'0', "", &benign()), member("a/t.txt", b'0', "", b"text")]));
    assert_eq!((report.verdict, report.completeness, report.format), (Verdict::Clean, Completeness::Full, Format::Tar), "{report:#?}");
    let report = judged(&tar(&[member("sample.pkl", b'0', "", &evil())]), Verdict::Malicious, "PICKET-PKL-001");
    assert_eq!(report.findings[0].evidence.member, "sample.pkl");
}

#[test]
fn long_names_and_extended_headers() {
    let long = "d/".repeat(80) + "../../x";
    let gnu = [member("././@LongLink", b'L', "", format!("{long}\0").as_bytes()), member("short", b'0', "", b"text")];
    assert!(scanned(&tar(&gnu)).members[0].path.starts_with("d/d/d/"));
    let pax = [member("pax", b'x', "", b"18 path=../escape\n"), member("short", b'0', "", b"text")];
    judged(&tar(&pax), Verdict::Malicious, "PICKET-ARC-002");
    let broken = [member("pax", b'x', "", b"99 path=x\n"), member("short", b'0', "", b"text")];
    judged(&tar(&broken), Verdict::Suspicious, "PICKET-ARC-009");
}

#[test]
fn paths_links_devices_and_duplicates() {
    judged(&tar(&[member("../x", b'0', "", b"")]), Verdict::Malicious, "PICKET-ARC-002");
    judged(&tar(&[member("a/l", b'2', "../../etc/passwd", b"")]), Verdict::Malicious, "PICKET-ARC-010");
    judged(&tar(&[member("l", b'1', "/etc/passwd", b"")]), Verdict::Malicious, "PICKET-ARC-010");
    assert_eq!(scanned(&tar(&[member("a/b/l", b'2', "../c", b"")])).verdict, Verdict::Clean);
    judged(&tar(&[member("dev", b'3', "", b"")]), Verdict::Suspicious, "PICKET-ARC-012");
    judged(&tar(&[member("w.ckpt", b'0', "", &benign()), member("./w.ckpt", b'0', "", &evil())]), Verdict::Malicious, "PICKET-ARC-003");
}

#[test]
fn the_old_pytorch_tar() {
    let members = |pickle: &[u8]| {
        tar(&[
            member("sys_info", b'0', "", &benign()),
            member("pickle", b'0', "", pickle),
            member("storages", b'0', "", &Asm::new(2).int(0).stop()),
            member("tensors", b'0', "", &Asm::new(2).int(0).stop()),
        ])
    };
    let report = scanned(&members(&benign()));
    assert_eq!((report.verdict, report.format), (Verdict::Clean, Format::PytorchTar), "{report:#?}");
    judged(&members(&evil()), Verdict::Malicious, "PICKET-PKL-001");
}

#[test]
fn cut_and_damaged() {
    let mut bytes = tar(&[member("a", b'0', "", &[1; 2000])]);
    bytes.truncate(1500);
    assert_eq!(scanned(&bytes).completeness, Completeness::Partial);
    let mut bytes = tar(&[member("a", b'0', "", b"text"), member("b", b'0', "", b"text")]);
    bytes[1024] = b'X';
    judged(&bytes, Verdict::Suspicious, "PICKET-ARC-009");
    let huge = [member("a", b'0', "", b"")].concat();
    let mut huge = huge;
    huge[124..136].copy_from_slice(&[0xff; 12]);
    assert_ne!(scanned(&huge).verdict, Verdict::Clean);
}

proptest! {
    #[test]
    fn any_damage_ends(damage in proptest::collection::vec((0_usize..2000, any::<u8>()), 0..10), cut in 0_usize..3000) {
        let mut bytes = tar(&[member("pax", b'x', "", b"18 path=some/file\n"), member("a", b'0', "", &benign())]);
        for (offset, byte) in damage {
            if let Some(target) = bytes.get_mut(offset) {
                *target = byte;
            }
        }
        bytes.truncate(cut);
        scanned(&bytes);
    }
}
