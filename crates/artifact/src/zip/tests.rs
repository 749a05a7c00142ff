use crate::build::{Item, item, zip};
use crate::pickle::tests::{Asm, benign};
use crate::{Completeness, Format, Report, ScanOptions, Verdict, scan};
use picket_bounded::Limits;
use proptest::prelude::*;

/// The pickle of a state dictionary with one tensor in the storage `0`.
fn state_dict(elements: i32) -> Vec<u8> {
    use crate::pickle::tests::codes as op;
    let storage =
        Asm::new(0).op(op::MARK).text("storage").global("torch", "FloatStorage").text("0").text("cpu").int(elements).ops(&[op::TUPLE, op::BINPERSID]).open();
    let tensor = Asm::new(2)
        .global("torch._utils", "_rebuild_tensor_v2")
        .op(op::MARK)
        .raw(storage)
        .int(0)
        .int(elements)
        .op(op::TUPLE1)
        .int(1)
        .op(op::TUPLE1)
        .op(op::NEWFALSE);
    tensor.global("collections", "OrderedDict").ops(&[op::EMPTY_TUPLE, op::REDUCE, op::TUPLE, op::REDUCE]).stop()
}

pub(crate) fn torch(pickle: &[u8]) -> Vec<Item> {
    // The tensor's bytes begin like a pickle that runs a command: it is a tensor because the pickle says so.
    let mut payload = Asm::new(2).payload().stop();
    payload.resize(4096, 7);
    vec![item("model/data.pkl", pickle), item("model/byteorder", b"little"), item("model/data/0", &payload), item("model/version", b"3\n")]
}

fn scanned(bytes: &[u8]) -> Report {
    scan(&bytes, "model.pt", &ScanOptions::default())
}

#[track_caller]
fn judged(bytes: &[u8], verdict: Verdict, rule: &str) -> Report {
    let report = scanned(bytes);
    assert_eq!(report.verdict, verdict, "{report:#?}");
    assert!(report.findings.iter().any(|finding| finding.rule_id == rule), "{rule} is missing in {report:#?}");
    report
}

#[track_caller]
fn clean(bytes: &[u8], format: Format) {
    let report = scanned(bytes);
    assert_eq!((report.verdict, report.completeness, report.format), (Verdict::Clean, Completeness::Full, format), "{report:#?}");
}

fn evil() -> Vec<u8> {
    Asm::new(2).payload().stop()
}

#[test]
fn a_checkpoint_is_clean_and_its_tensors_are_not_pickles() {
    clean(&zip(&torch(&state_dict(1024))), Format::PytorchZip);
    // A member of that folder that no pickle uses is judged like any other.
    let mut items = torch(&state_dict(1024));
    items.push(item("model/data/7", evil()));
    judged(&zip(&items), Verdict::Malicious, "PICKET-PKL-001");
}

#[test]
fn a_malicious_checkpoint_names_member_and_call() {
    let report = judged(&zip(&torch(&evil())), Verdict::Malicious, "PICKET-PKL-001");
    assert_eq!(report.findings[0].evidence.member, "model/data.pkl");
    assert_eq!(report.findings[0].evidence.value.as_deref(), Some("os.system('id')"));
}

#[test]
fn lies_in_headers_do_not_hide_the_body() {
    type Lie<'l> = (&'l str, &'l dyn Fn(&mut Item));
    let lies: [Lie<'_>; 4] = [
        ("PICKET-ARC-006", &|item| item.crc = Some(0xdead_beef)),
        ("PICKET-ARC-007", &|item| item.flags = 1),
        ("PICKET-ARC-005", &|item| item.local_name = Some(b"model/other".to_vec())),
        ("PICKET-ARC-005", &|item| item.name = b"model/data.pkl\0.txt".to_vec()),
    ];
    for (rule, lie) in lies {
        let mut items = torch(&evil());
        lie(&mut items[0]);
        let report = judged(&zip(&items), Verdict::Malicious, rule);
        assert!(report.findings.iter().any(|finding| finding.rule_id == "PICKET-PKL-001"), "{report:#?}");
    }
}

#[test]
fn duplicates_and_hidden_members() {
    let mut twice = torch(&benign());
    twice.push(item("model/data.pkl", evil()));
    let report = judged(&zip(&twice), Verdict::Malicious, "PICKET-ARC-003");
    assert!(report.findings.iter().any(|finding| finding.rule_id == "PICKET-PKL-001"), "{report:#?}");
    let mut hidden = torch(&benign());
    hidden.insert(1, Item { listed: false, ..item("model/data.pkl", evil()) });
    let report = judged(&zip(&hidden), Verdict::Malicious, "PICKET-ARC-004");
    assert!(report.findings.iter().any(|finding| finding.rule_id == "PICKET-PKL-001"), "{report:#?}");
}

#[test]
fn prefixes_suffixes_and_nesting() {
    let archive = zip(&torch(&state_dict(1024)));
    let polyglot = [evil(), archive.clone()].concat();
    judged(&polyglot, Verdict::Malicious, "PICKET-FMT-002");
    let junk = [archive.clone(), vec![b'j'; 60_000]].concat();
    judged(&junk, Verdict::Suspicious, "PICKET-FMT-001");
    let far = [archive.clone(), vec![b'j'; 70_000]].concat();
    assert_ne!(scanned(&far).verdict, Verdict::Clean);
    let padded = [archive.clone(), vec![0; 4096]].concat();
    clean(&padded, Format::PytorchZip);
    let two = [zip(&torch(&evil())), archive].concat();
    judged(&two, Verdict::Malicious, "PICKET-PKL-001");
    let nested = zip(&[item("a.zip", zip(&[Item { method: 8, ..item("b.zip", zip(&torch(&evil()))) }]))]);
    let report = judged(&nested, Verdict::Malicious, "PICKET-PKL-001");
    assert_eq!(report.findings[0].evidence.member, "a.zip!b.zip!model/data.pkl");
}

#[test]
fn without_a_directory_members_are_still_judged() {
    let mut cut = zip(&torch(&evil()));
    cut.truncate(cut.len() - 22);
    judged(&cut, Verdict::Malicious, "PICKET-PKL-001");
    let broken_first = [item("model/broken", b"x"), item("model/data.pkl", evil())];
    let mut bytes = zip(&broken_first);
    bytes[0] = b'X';
    judged(&bytes, Verdict::Malicious, "PICKET-PKL-001");
}

#[test]
fn paths_links_and_overlaps() {
    judged(&zip(&[item("../../etc/cron.d/x", b"* * * * * root id")]), Verdict::Malicious, "PICKET-ARC-002");
    let link = Item { mode: 0o120_777, ..item("model/link", b"../../etc/passwd") };
    judged(&zip(&[link]), Verdict::Malicious, "PICKET-ARC-010");
    let inner = Item { mode: 0o120_777, ..item("a/b/link", b"../c") };
    clean(&zip(&[inner, item("a/c", b"text")]), Format::Zip);
    // Two directory entries over one body.
    let mut bytes = zip(&[item("a", b"text"), item("b", b"text")]);
    let second = bytes.windows(4).rposition(|window| window == b"PK\x01\x02").unwrap();
    bytes[second + 42..second + 46].copy_from_slice(&[0; 4]);
    judged(&bytes, Verdict::Suspicious, "PICKET-ARC-008");
}

#[test]
fn bombs_and_limits() {
    let options = ScanOptions { limits: Limits { member_bytes: 1 << 20, ..Limits::default() }, ..ScanOptions::default() };
    let bomb = zip(&[Item { method: 8, ..item("zeros", vec![0; 4 << 20]) }]);
    let report = scan(&bomb.as_slice(), "x.zip", &options);
    assert_eq!((report.verdict, report.completeness), (Verdict::Suspicious, Completeness::Partial), "{report:#?}");
    assert!(report.findings.iter().any(|finding| finding.rule_id == "PICKET-ARC-001"));
    let mut nested = evil();
    for _ in 0..12 {
        nested = zip(&[item("next.zip", &nested)]);
    }
    let report = scanned(&nested);
    assert_eq!(report.completeness, Completeness::Partial);
    assert!(report.findings.iter().any(|finding| finding.rule_id == "PICKET-ARC-011"), "{report:#?}");
    let unknown = zip(&[Item { method: 9, ..item("a", b"text") }]);
    assert_eq!(scanned(&unknown).verdict, Verdict::Unscannable);
}

#[test]
fn packages_of_frameworks() {
    let keras = |layer: &str| {
        let config = format!(r#"{{"module": "keras", "class_name": "Sequential", "config": {{"layers": [{{"class_name": "{layer}", "config": {{}}}}]}}}}"#);
        let weights = std::fs::read(format!("{}/tests/data/hdf5/cycle.h5", env!("CARGO_MANIFEST_DIR"))).unwrap();
        zip(&[item("metadata.json", br#"{"keras_version": "3.5.0"}"#), item("config.json", config.as_bytes()), item("model.weights.h5", &weights)])
    };
    let report = scan(&keras("Dense").as_slice(), "m.keras", &ScanOptions::default());
    assert_eq!((report.verdict, report.completeness, report.format), (Verdict::Clean, Completeness::Full, Format::KerasV3), "{report:#?}");
    let report = judged(&keras("Lambda"), Verdict::Malicious, "PICKET-KER-001");
    assert_eq!((report.findings[0].evidence.member.as_str(), report.findings[0].evidence.key.as_deref()), ("config.json", Some("config.layers[0]")));
    let archive = zip(&[item("MAR-INF/MANIFEST.json", br#"{"model": {"handler": "handler.py"}}"#), item("handler.py", b"import os\nos.system('id')\n")]);
    let report = judged(&archive, Verdict::Malicious, "PICKET-PY-001");
    assert_eq!((report.format, report.findings[0].evidence.member.as_str()), (Format::TorchMar, "handler.py"));
    // An array of objects inside an npz, packed.
    let header = "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }";
    let array = [b"\x93NUMPY\x01\0", &u16::try_from(header.len()).unwrap().to_le_bytes()[..], header.as_bytes(), &evil()].concat();
    let report = judged(&zip(&[Item { method: 8, ..item("a.npy", &array) }]), Verdict::Malicious, "PICKET-PKL-001");
    assert_eq!(report.format, Format::Npz);
}

#[test]
fn flavours_by_their_members() {
    for (name, format) in [("MAR-INF/MANIFEST.json", Format::TorchMar), ("pkg-1.dist-info/WHEEL", Format::Wheel), ("a.txt", Format::Zip)] {
        assert_eq!(scanned(&zip(&[item(name, b"text")])).format, format);
    }
    assert_eq!(scanned(b"PK\x05\x06\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0").verdict, Verdict::Clean, "an empty archive");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn any_damage_ends(at in proptest::collection::vec((0_usize..5000, any::<u8>()), 0..12), cut in 0_usize..6000) {
        let mut bytes = zip(&[torch(&state_dict(1024)), vec![Item { method: 8, ..item("x", [1; 500]) }]].concat());
        for (offset, byte) in at {
            if let Some(target) = bytes.get_mut(offset) {
                *target = byte;
            }
        }
        bytes.truncate(cut);
        scanned(&bytes);
    }
}
