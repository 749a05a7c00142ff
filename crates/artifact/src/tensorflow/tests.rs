use crate::build::Pb;
use crate::{Completeness, Format, Report, ScanOptions, Verdict, scan};
use proptest::prelude::*;

fn pb() -> Pb {
    Pb::default()
}

fn node(name: &str, operator: &str) -> Pb {
    pb().run(1, name).run(2, operator)
}

fn graph(nodes: &[Pb]) -> Pb {
    nodes.iter().fold(pb(), |graph, node| graph.run(1, node)).run(4, pb().int(1, 1882))
}

fn saved(graph: &Pb) -> Pb {
    pb().int(1, 1).run(2, pb().run(1, pb().run(4, "serve")).run(2, graph).run(5, pb().run(1, "serving_default")))
}

fn scanned(model: &Pb) -> Report {
    scan(&model.as_ref(), "saved_model.pb", &ScanOptions::default())
}

#[track_caller]
fn judged(model: &Pb, format: Format, verdict: Verdict, rule: &str) -> Report {
    let report = scanned(model);
    assert_eq!((report.format, report.verdict), (format, verdict), "{report:#?}");
    assert!(report.findings.iter().any(|finding| finding.rule_id == rule), "{rule} is missing in {report:#?}");
    report
}

#[test]
fn honest_graphs_are_clean() {
    let honest = graph(&[node("x", "Placeholder"), node("y", "MatMul"), node("s", "SaveV2"), node("r", "RestoreV2")]);
    for (model, format) in [
        (saved(&honest), Format::TensorflowSavedModel),
        (honest.clone(), Format::TensorflowGraph),
        (pb().run(1, pb().run(4, "t")).run(2, &honest), Format::TensorflowMetaGraph),
    ] {
        let report = scanned(&model);
        assert_eq!((report.format, report.verdict, report.completeness), (format, Verdict::Clean, Completeness::Full), "{report:#?}");
    }
}

#[test]
fn operators_in_graphs_and_functions() {
    let evil = graph(&[node("x", "Placeholder"), node("drop", "WriteFile")]);
    let report = judged(&saved(&evil), Format::TensorflowSavedModel, Verdict::Malicious, "PICKET-OPS-001");
    assert_eq!((report.findings[0].evidence.opcode.as_deref(), report.findings[0].evidence.key.as_deref()), (Some("WriteFile"), Some("drop")));
    judged(&evil, Format::TensorflowGraph, Verdict::Malicious, "PICKET-OPS-001");
    let library = pb().run(1, pb().run(1, pb().run(1, "f")).run(3, node("drop", "WriteFile")));
    judged(&saved(&graph(&[node("x", "Placeholder")]).run(2, library)), Format::TensorflowSavedModel, Verdict::Malicious, "PICKET-OPS-001");
    judged(&graph(&[node("p", "PyFunc")]), Format::TensorflowGraph, Verdict::Malicious, "PICKET-OPS-001");
    judged(&graph(&[node("r", "ReadFile")]), Format::TensorflowGraph, Verdict::Suspicious, "PICKET-OPS-002");
}

#[test]
fn graphs_kept_as_data() {
    let inner = graph(&[node("x", "Placeholder"), node("drop", "WriteFile")]);
    let tensor = pb().int(1, 7).run(8, &inner);
    let constant = node("c", "Const").run(5, pb().run(1, "value").run(2, pb().run(8, tensor)));
    judged(&saved(&graph(&[constant])), Format::TensorflowSavedModel, Verdict::Malicious, "PICKET-OPS-004");
    let mut nested = inner;
    for _ in 0..20 {
        nested = graph(&[node("c", "Const").run(5, pb().run(1, "value").run(2, pb().run(2, &nested)))]);
    }
    assert_eq!(scanned(&nested).completeness, Completeness::Partial);
}

#[test]
fn keras_metadata_beside_the_graph() {
    let object = |layer: &str| {
        pb().int(2, 1).run(3, "root.layer-1").run(4, "_tf_keras_layer").run(5, format!(r#"{{"class_name": "{layer}", "config": {{"name": "x"}}}}"#))
    };
    let file = |layer: &str| pb().run(1, pb().run(3, "root").run(4, "_tf_keras_model").run(5, "{}")).run(1, object(layer));
    judged(&file("Lambda"), Format::KerasMetadata, Verdict::Malicious, "PICKET-KER-001");
    let report = scanned(&file("Dense"));
    assert_eq!((report.format, report.verdict, report.completeness), (Format::KerasMetadata, Verdict::Clean, Completeness::Full), "{report:#?}");
}

proptest! {
    #[test]
    fn any_damage_ends(damage in proptest::collection::vec((0_usize..300, any::<u8>()), 0..10), cut in 0_usize..400) {
        let inner = graph(&[node("x", "Placeholder")]);
        let mut bytes = saved(&graph(&[node("c", "Const").run(5, pb().run(1, "value").run(2, pb().run(8, pb().run(8, inner))))])).as_ref().to_vec();
        for (offset, byte) in damage {
            if let Some(target) = bytes.get_mut(offset) {
                *target = byte;
            }
        }
        bytes.truncate(cut);
        let _ = scan(&bytes.as_slice(), "m.pb", &ScanOptions::default());
    }
}
