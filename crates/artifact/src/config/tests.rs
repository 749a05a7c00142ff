use crate::json::tests::{clean, judged};
use crate::{ScanOptions, Verdict, scan};

fn yaml(text: &str) -> (Verdict, Option<&'static str>) {
    let report = scan(&text.as_bytes(), "model_config.yaml", &ScanOptions::default());
    (report.verdict, report.findings.first().map(|finding| finding.rule_id))
}

#[test]
fn yaml_that_constructs() {
    for text in [
        "x: !!python/object/apply:os.system ['id']\n",
        "- !!python/object/new:subprocess.Popen\n  args: [id]\n",
        "x: !<tag:yaml.org,2002:python/object/apply:builtins.eval> ['1']\n",
        "x: !!python/name:os.system ''\n",
        "model:\n  _target_: os.system\n",
        "- \"_target_\": 'subprocess.run'\n",
    ] {
        assert_eq!(yaml(text), (Verdict::Malicious, Some("PICKET-CFG-001")), "{text}");
    }
    assert_eq!(yaml("x: !!python/object:mine.Thing {}\n"), (Verdict::Suspicious, Some("PICKET-CFG-002")));
    for text in ["x: !!python/tuple [1, 2]\n", "a: 1 # !!python/object/apply:os.system\n", "model:\n  _target_: nemo.collections.nlp.Model\n", "target: os\n"] {
        assert_eq!(yaml(text), (Verdict::Clean, None), "{text}");
    }
}

#[test]
fn json_targets_and_skops_nodes() {
    judged(r#"{"model": {"_target_": "os.system", "command": "id"}}"#, Verdict::Malicious, "PICKET-CFG-001");
    clean(r#"{"model": {"_target_": "torch.nn.Linear"}}"#);
    let skops = |module: &str, class: &str| {
        format!(
            r#"{{"__class__": "dict", "__module__": "builtins", "__loader__": "DictNode", "content": {{"a": {{"__class__": "{class}", "__module__": "{module}", "__loader__": "FunctionNode"}}}}}}"#
        )
    };
    judged(&skops("os", "system"), Verdict::Malicious, "PICKET-CFG-001");
    judged(&skops("mine", "Thing"), Verdict::Suspicious, "PICKET-CFG-002");
    clean(&skops("sklearn.linear_model._logistic", "LogisticRegression"));
}
