use crate::{Completeness, Format, Report, ScanOptions, Verdict, scan};
use proptest::prelude::*;

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}

fn pair(key: &str, kind: u32, value: &[u8]) -> Vec<u8> {
    [text(key), kind.to_le_bytes().to_vec(), value.to_vec()].concat()
}

fn tensor(name: &str, shape: &[u64], kind: u32, offset: u64) -> Vec<u8> {
    let mut bytes = text(name);
    bytes.extend(u32::try_from(shape.len()).unwrap().to_le_bytes());
    bytes.extend(shape.iter().flat_map(|length| length.to_le_bytes()));
    bytes.extend(kind.to_le_bytes());
    bytes.extend(offset.to_le_bytes());
    bytes
}

fn file(pairs: &[Vec<u8>], tensors: &[Vec<u8>], data: usize) -> Vec<u8> {
    let mut bytes = [&b"GGUF\x03\0\0\0"[..], &(tensors.len() as u64).to_le_bytes(), &(pairs.len() as u64).to_le_bytes()].concat();
    bytes.extend(pairs.concat());
    bytes.extend(tensors.concat());
    bytes.resize(bytes.len().next_multiple_of(32) + data, 0);
    bytes
}

fn scanned(bytes: &[u8]) -> Report {
    scan(&bytes, "m.gguf", &ScanOptions::default())
}

#[track_caller]
fn judged(bytes: &[u8], verdict: Verdict, rule: &str) -> Report {
    let report = scanned(bytes);
    assert_eq!((report.verdict, report.format), (verdict, Format::Gguf), "{report:#?}");
    assert!(report.findings.iter().any(|finding| finding.rule_id == rule), "{rule} is missing in {report:#?}");
    report
}

#[test]
fn an_honest_model_is_clean() {
    let pairs = [
        pair("general.architecture", 8, &text("llama")),
        pair("general.alignment", 4, &32_u32.to_le_bytes()),
        pair("tokens", 9, &[&8_u32.to_le_bytes()[..], &2_u64.to_le_bytes(), &text("a"), &text("b")].concat()),
        pair("tokenizer.chat_template", 8, &text("{% for m in messages %}{{ m['role'] + ': ' + m.content }}{% endfor %}")),
    ];
    let report = scanned(&file(&pairs, &[tensor("w", &[32, 2], 2, 0), tensor("v", &[4], 0, 64)], 80));
    assert_eq!((report.verdict, report.completeness), (Verdict::Clean, Completeness::Full), "{report:#?}");
}

#[test]
fn both_byte_orders_and_old_versions() {
    let mut swapped = b"GGUF\0\0\0\x03".to_vec();
    swapped.extend([0; 16]);
    assert_eq!(scanned(&swapped).verdict, Verdict::Clean);
    let old = [&b"GGUF\x01\0\0\0"[..], &[0; 8]].concat();
    assert_eq!(scanned(&old).verdict, Verdict::Clean);
    assert_eq!(scanned(b"GGUF\x09\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0").verdict, Verdict::Unscannable);
}

#[test]
fn counts_and_lengths_that_cannot_be_true() {
    let counts = [&b"GGUF\x03\0\0\0"[..], &u64::MAX.to_le_bytes(), &1_u64.to_le_bytes(), &[0; 64]].concat();
    judged(&counts, Verdict::Malicious, "PICKET-STR-001");
    judged(&file(&[pair("k", 8, &u64::MAX.to_le_bytes())], &[], 64), Verdict::Malicious, "PICKET-STR-001");
    judged(&file(&[pair("k", 9, &[&10_u32.to_le_bytes()[..], &(1_u64 << 62).to_le_bytes()].concat())], &[], 64), Verdict::Malicious, "PICKET-STR-001");
    judged(&file(&[], &[tensor("w", &[1 << 40, 1 << 40], 0, 0)], 64), Verdict::Malicious, "PICKET-STR-001");
    judged(&file(&[], &[tensor("w", &[1; 5], 0, 0)], 64), Verdict::Malicious, "PICKET-STR-001");
}

#[test]
fn places_and_duplicates() {
    judged(&file(&[], &[tensor("w", &[100], 0, 0)], 64), Verdict::Suspicious, "PICKET-STR-002");
    judged(&file(&[], &[tensor("w", &[8], 0, 0), tensor("v", &[8], 0, 0)], 64), Verdict::Suspicious, "PICKET-STR-002");
    judged(&file(&[], &[tensor("w", &[8], 0, 3)], 64), Verdict::Suspicious, "PICKET-STR-002");
    judged(&file(&[pair("k", 7, &[1]), pair("k", 7, &[0])], &[], 0), Verdict::Suspicious, "PICKET-STR-005");
    judged(&file(&[pair("k", 99, &[1])], &[], 0), Verdict::Suspicious, "PICKET-STR-002");
    let nested: Vec<u8> = (0..20).flat_map(|_| [&9_u32.to_le_bytes()[..], &1_u64.to_le_bytes()].concat()).collect();
    judged(&file(&[pair("k", 9, &nested)], &[], 0), Verdict::Suspicious, "PICKET-STR-002");
}

#[test]
fn every_chat_template_is_judged() {
    for key in ["tokenizer.chat_template", "tokenizer.chat_template.tool_use"] {
        let report = judged(&file(&[pair(key, 8, &text("{{ ''.__class__.__mro__ }}"))], &[], 0), Verdict::Malicious, "PICKET-JIN-001");
        assert_eq!(report.findings[0].evidence.key.as_deref(), Some(key));
    }
}

proptest! {
    #[test]
    fn any_damage_ends(damage in proptest::collection::vec((4_usize..300, any::<u8>()), 0..10), cut in 0_usize..400) {
        let pairs = [pair("general.alignment", 4, &32_u32.to_le_bytes()), pair("t", 9, &[&8_u32.to_le_bytes()[..], &1_u64.to_le_bytes(), &text("a")].concat())];
        let mut bytes = file(&pairs, &[tensor("w", &[32, 2], 2, 0)], 64);
        for (offset, byte) in damage {
            if let Some(target) = bytes.get_mut(offset) {
                *target = byte;
            }
        }
        bytes.truncate(cut);
        scanned(&bytes);
    }
}
