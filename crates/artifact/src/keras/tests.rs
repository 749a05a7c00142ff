use crate::Verdict;
use crate::json::tests::{clean, judged};

fn model(layer: &str) -> String {
    format!(r#"{{"module": "keras", "class_name": "Functional", "config": {{"layers": [{layer}]}}, "registered_name": "Functional"}}"#)
}

#[test]
fn layers_that_run_code() {
    judged(&model(r#"{"class_name": "Lambda", "config": {"function": ["4wEAAAA=", null, null]}}"#), Verdict::Malicious, "PICKET-KER-001");
    judged(&model(r#"{"class_name": "\u004cambda", "config": {}}"#), Verdict::Malicious, "PICKET-KER-001");
    judged(
        &model(
            r#"{"class_name": "TimeDistributed", "config": {"layer": {"class_name": "Functional", "config": {"layers": [{"class_name": "Lambda", "config": {}}]}}}}"#,
        ),
        Verdict::Malicious,
        "PICKET-KER-001",
    );
    judged(&model(r#"{"class_name": "Dense", "class_name": "Lambda", "config": {}}"#), Verdict::Malicious, "PICKET-KER-001");
    judged(&model(r#"{"class_name": "Lambda", "class_name": "Dense", "config": {}}"#), Verdict::Malicious, "PICKET-KER-001");
    judged(&model(r#"{"module": "keras.layers", "class_name": "TFSMLayer", "config": {"filepath": "/tmp/x"}}"#), Verdict::Malicious, "PICKET-KER-004");
    judged(&model(r#"{"class_name": "Package>Lambda", "config": {"rate": NaN}}"#), Verdict::Malicious, "PICKET-KER-001");
}

#[test]
fn imports_by_module() {
    let report = judged(&model(r#"{"module": "subprocess", "class_name": "Popen", "config": {"args": ["id"]}}"#), Verdict::Malicious, "PICKET-KER-002");
    assert_eq!(report.findings[0].evidence.value.as_deref(), Some("subprocess.Popen"));
    assert_eq!(report.findings[0].evidence.key.as_deref(), Some("config.layers[0]"));
    judged(&model(r#"{"module": "os", "class_name": "function", "config": "system"}"#), Verdict::Malicious, "PICKET-KER-002");
    judged(&model(r#"{"module": "keras.utils", "class_name": "function", "config": "get_file"}"#), Verdict::Malicious, "PICKET-KER-002");
    judged(&model(r#"{"module": "my.layers", "class_name": "Attention", "config": {}}"#), Verdict::Suspicious, "PICKET-KER-003");
}

#[test]
fn wrapped_modules_and_paths() {
    // base64 of a pickle that calls os.system, padded to be looked at.
    let pickle = crate::pickle::tests::Asm::new(2).text(&"x".repeat(64)).op(b'0').payload().stop();
    let text = base64(&pickle);
    let report = judged(&model(&format!(r#"{{"class_name": "TorchModuleWrapper", "config": {{"module": "{text}"}}}}"#)), Verdict::Malicious, "PICKET-KER-004");
    assert!(report.findings.iter().any(|finding| finding.rule_id == "PICKET-PKL-001"), "{report:#?}");
    judged(
        &model(r#"{"module": "keras.layers", "class_name": "StringLookup", "config": {"vocabulary": "/etc/passwd"}}"#),
        Verdict::Malicious,
        "PICKET-EXT-001",
    );
}

#[test]
fn objects_beside_the_model() {
    judged(r#"{"optimizer_config": {"module": "os", "class_name": "system", "config": {}}, "loss": "mse"}"#, Verdict::Malicious, "PICKET-KER-002");
    clean(r#"{"students": [{"class_name": "Lambda"}]}"#);
}

#[test]
fn honest_models_are_clean() {
    clean(&model(
        r#"{"module": "keras.layers", "class_name": "Dense", "config": {"activation": "relu", "kernel_initializer": {"module": "keras.initializers", "class_name": "GlorotUniform", "config": {"seed": null}}}}"#,
    ));
    clean(&model(r#"{"module": "builtins", "class_name": "function", "config": "my_metric", "registered_name": "function"}"#));
    clean(&model(r#"{"class_name": "StringLookup", "config": {"vocabulary": ["a", "b"]}}"#));
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let number = chunk.iter().fold(0_u32, |number, byte| number << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..=chunk.len() {
            out.push(char::from(DIGITS[usize::try_from(number >> (18 - 6 * place) & 63).unwrap()]));
        }
    }
    out
}
