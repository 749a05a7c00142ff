use crate::{Completeness, Format, Report, ScanOptions, Verdict, scan};
use proptest::prelude::*;

/// A model with one operator code and one operator that uses the code of `index`.
fn model(builtin: u8, custom: &str, index: u32, buffer_length: u32) -> Vec<u8> {
    let mut out = vec![0; 8];
    out[4..8].copy_from_slice(b"TFL3");
    let put = |out: &mut Vec<u8>, bytes: &[u8]| {
        let at = out.len();
        out.extend(bytes);
        at
    };
    let word = |value: usize| u32::try_from(value).unwrap().to_le_bytes();
    // Each table stands behind its own vtable; offsets to later places are filled in when those are known.
    let table = |out: &mut Vec<u8>, fields: &[(u16, &[u8])], count: usize| {
        let mut vtable = vec![0_u8; 4 + 2 * count];
        let mut body = vec![0_u8; 4];
        let mut places = Vec::new();
        for (index, bytes) in fields {
            let slot = 4 + 2 * usize::from(*index);
            vtable[slot..slot + 2].copy_from_slice(&u16::try_from(body.len()).unwrap().to_le_bytes());
            places.push(body.len());
            body.extend(*bytes);
        }
        let length = u16::try_from(vtable.len()).unwrap();
        vtable[0..2].copy_from_slice(&length.to_le_bytes());
        body[0..4].copy_from_slice(&i32::from(length).to_le_bytes());
        out.extend(&vtable);
        let at = out.len();
        out.extend(&body);
        (at, places.into_iter().map(|place| at + place).collect::<Vec<_>>())
    };
    let point = |out: &mut Vec<u8>, from: usize, to: usize| out[from..from + 4].copy_from_slice(&word(to - from));
    let (root, slots) = table(&mut out, &[(1, &[0; 4]), (2, &[0; 4]), (4, &[0; 4])], 5);
    out[0..4].copy_from_slice(&word(root));
    let vector = |out: &mut Vec<u8>, from: usize| {
        let at = put(out, &[1_u32.to_le_bytes(), [0; 4]].concat());
        point(out, from, at);
        at + 4
    };
    let codes = vector(&mut out, slots[0]);
    let (code, code_slots) = table(&mut out, &[(0, &[builtin]), (1, &[0; 4])], 4);
    point(&mut out, codes, code);
    let name = put(&mut out, &[&word(custom.len()), custom.as_bytes()].concat());
    point(&mut out, code_slots[1], name);
    let graphs = vector(&mut out, slots[1]);
    let (graph, graph_slots) = table(&mut out, &[(3, &[0; 4])], 4);
    point(&mut out, graphs, graph);
    let operators = vector(&mut out, graph_slots[0]);
    let (operator, _) = table(&mut out, &[(0, &index.to_le_bytes())], 1);
    point(&mut out, operators, operator);
    let buffers = vector(&mut out, slots[2]);
    let (buffer, buffer_slots) = table(&mut out, &[(0, &[0; 4])], 1);
    point(&mut out, buffers, buffer);
    let data = put(&mut out, &[&buffer_length.to_le_bytes()[..], &[7; 16]].concat());
    point(&mut out, buffer_slots[0], data);
    out
}

fn scanned(bytes: &[u8]) -> Report {
    scan(&bytes, "m.tflite", &ScanOptions::default())
}

#[track_caller]
fn judged(bytes: &[u8], verdict: Verdict, rule: &str) {
    let report = scanned(bytes);
    assert_eq!((report.format, report.verdict), (Format::Tflite, verdict), "{report:#?}");
    assert!(report.findings.iter().any(|finding| finding.rule_id == rule), "{rule} is missing in {report:#?}");
}

#[test]
fn operators() {
    for (builtin, name) in [(3, ""), (32, "TFLite_Detection_PostProcess"), (32, "FlexAdd")] {
        let report = scanned(&model(builtin, name, 0, 16));
        assert_eq!((report.verdict, report.completeness, report.format), (Verdict::Clean, Completeness::Full, Format::Tflite), "{name} {report:#?}");
    }
    judged(&model(32, "FlexWriteFile", 0, 16), Verdict::Malicious, "PICKET-OPS-001");
    judged(&model(32, "FlexReadFile", 0, 16), Verdict::Suspicious, "PICKET-OPS-002");
    judged(&model(32, "MyOp", 0, 16), Verdict::Suspicious, "PICKET-OPS-003");
}

#[test]
fn indexes_and_lengths() {
    judged(&model(3, "", 7, 16), Verdict::Malicious, "PICKET-STR-001");
    judged(&model(3, "", 0, 1 << 30), Verdict::Malicious, "PICKET-STR-001");
    let mut wild = model(3, "", 0, 16);
    wild[0..4].copy_from_slice(&[0xff; 4]);
    assert_ne!(scanned(&wild).verdict, Verdict::Clean);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn any_damage_ends(damage in proptest::collection::vec((0_usize..250, any::<u8>()), 0..10), cut in 8_usize..300) {
        let mut bytes = model(32, "FlexAdd", 0, 16);
        for (offset, byte) in damage {
            if let Some(target) = bytes.get_mut(offset) {
                *target = byte;
            }
        }
        bytes.truncate(cut);
        scanned(&bytes);
    }
}
