use crate::build::Pb;
use crate::{Completeness, Format, Report, ScanOptions, Verdict, scan};
use proptest::prelude::*;

fn pb() -> Pb {
    Pb::default()
}

fn node(operator: &str, domain: &str, attribute: Option<Pb>) -> Pb {
    let node = pb().run(1, "x").run(2, "y").run(3, "the node").run(4, operator).run(7, domain);
    attribute.into_iter().fold(node, |node, attribute| node.run(5, attribute))
}

fn external(location: &str) -> Pb {
    pb().int(1, 4).int(2, 1).run(8, "w").run(13, pb().run(1, "location").run(2, location)).int(14, 1)
}

fn model(graph: Pb) -> Pb {
    pb().int(1, 8).run(2, "producer").run(7, graph).run(8, pb().run(1, "").int(2, 17))
}

fn scanned(model: &Pb) -> Report {
    scan(&model.as_ref(), "m.onnx", &ScanOptions::default())
}

#[track_caller]
fn judged(model: &Pb, verdict: Verdict, rule: &str) -> Report {
    let report = scanned(model);
    assert_eq!((report.format, report.verdict), (Format::Onnx, verdict), "{report:#?}");
    assert!(report.findings.iter().any(|finding| finding.rule_id == rule), "{rule} is missing in {report:#?}");
    report
}

#[test]
fn honest_models_are_clean() {
    for graph in [
        pb().run(1, node("Relu", "", None)).run(5, external("weights.bin")),
        pb().run(1, node("FusedMatMul", "com.microsoft", None)).run(5, pb().run(9, [7; 5000])),
    ] {
        let report = scanned(&model(graph));
        assert_eq!((report.format, report.verdict, report.completeness), (Format::Onnx, Verdict::Clean, Completeness::Full), "{report:#?}");
    }
    let function = pb().run(1, "F").run(7, node("Add", "", None)).run(10, "own.domain");
    assert_eq!(scanned(&model(pb().run(1, node("F", "own.domain", None))).run(25, function)).verdict, Verdict::Clean);
}

#[test]
fn external_data_wherever_a_tensor_can_stand() {
    let evil = || external("../../../etc/passwd");
    let attribute = |field: u64, value: Pb| node("Constant", "", Some(pb().run(1, "value").run(field, value)));
    let graphs = [
        pb().run(5, evil()),
        pb().run(15, pb().run(1, evil())),
        pb().run(1, attribute(5, evil())),
        pb().run(1, attribute(10, evil())),
        pb().run(1, attribute(6, pb().run(5, evil()))),
        pb().run(1, attribute(22, pb().run(2, evil()))),
        pb().run(5, external("/etc/passwd")),
    ];
    for graph in graphs {
        let report = judged(&model(graph), Verdict::Malicious, "PICKET-EXT-001");
        assert_eq!(report.findings[0].evidence.key.as_deref(), Some("w.external_data.location"));
    }
    let function = pb().run(1, "F").run(7, attribute(5, evil())).run(10, "d");
    judged(&model(pb().run(1, node("Relu", "", None))).run(25, function), Verdict::Malicious, "PICKET-EXT-001");
    judged(&model(pb().run(1, node("Relu", "", None))).run(20, pb().run(2, pb().run(5, evil()))), Verdict::Malicious, "PICKET-EXT-001");
}

#[test]
fn operators_from_elsewhere() {
    judged(&model(pb().run(1, node("PyOp", "ai.onnx.contrib", None))), Verdict::Malicious, "PICKET-OPS-001");
    let report = judged(&model(pb().run(1, node("Evil", "my.ops", None))), Verdict::Suspicious, "PICKET-OPS-003");
    assert_eq!(report.findings[0].evidence.opcode.as_deref(), Some("my.ops:Evil"));
}

#[test]
fn depth_and_damage() {
    let mut graph = pb().run(1, node("Relu", "", None));
    for _ in 0..60 {
        graph = pb().run(1, node("If", "", Some(pb().run(1, "then").run(6, graph))));
    }
    assert_eq!(scanned(&model(graph)).verdict, Verdict::Unscannable);
    let broken = model(pb().run(1, pb().run(4, "Relu").run(5, [0xff; 12])));
    let report = scanned(&broken);
    assert_eq!(report.completeness, Completeness::Partial, "{report:#?}");
}

proptest! {
    #[test]
    fn any_damage_ends(damage in proptest::collection::vec((0_usize..300, any::<u8>()), 0..10), cut in 0_usize..400) {
        let attribute = pb().run(1, "value").run(6, pb().run(5, external("w")));
        let mut bytes = model(pb().run(1, node("If", "", Some(attribute))).run(5, external("weights.bin"))).as_ref().to_vec();
        for (offset, byte) in damage {
            if let Some(target) = bytes.get_mut(offset) {
                *target = byte;
            }
        }
        bytes.truncate(cut);
        let _ = scan(&bytes.as_slice(), "m.onnx", &ScanOptions::default());
    }
}
