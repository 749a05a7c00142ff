use crate::{Report, ScanOptions, Verdict, scan};

fn scanned(text: &str, name: &str) -> Report {
    scan(&text.as_bytes(), name, &ScanOptions::default())
}

#[test]
fn entities_that_reach_out() {
    let report = scanned("<?xml version=\"1.0\"?><!DOCTYPE PMML [<!ENTITY x SYSTEM \"file:///etc/passwd\">]><PMML>&x;</PMML>", "m.pmml");
    assert_eq!((report.verdict, report.findings[0].rule_id), (Verdict::Malicious, "PICKET-XML-001"), "{report:#?}");
    let bomb: String = (0..9).map(|n| format!("<!ENTITY l{} \"&l{n};&l{n};\">", n + 1)).collect();
    let report = scanned(&format!("<?xml version=\"1.0\"?><!DOCTYPE x [<!ENTITY l0 \"ha\">{bomb}]><x/>"), "m.xml");
    assert_eq!(report.findings[0].rule_id, "PICKET-ARC-001", "{report:#?}");
    assert_eq!(scanned("<?xml version=\"1.0\"?><!-- <!ENTITY x SYSTEM \"f\"> --><PMML version=\"4.4\"/>", "m.pmml").verdict, Verdict::Clean);
}

#[test]
fn credentials_are_named_and_never_shown() {
    let key = ["AKIA", "Q3EGTZ7XW2PLMN4R"].concat();
    let token = ["hf_", "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7"].concat();
    for secret in [&key, &token] {
        let report = scanned(&format!("key = {secret}\n"), "notes.txt");
        assert_eq!((report.verdict, report.findings[0].rule_id), (Verdict::Suspicious, "PICKET-SEC-001"), "{report:#?}");
        assert!(!serde_json::to_string(&report).unwrap().contains(&secret[8..]));
    }
    let pem = format!("-----BEGIN {} KEY-----\n{}\n", "PRIVATE", "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEA");
    assert_eq!(scanned(&pem, "key.pem").findings[0].rule_id, "PICKET-SEC-001");
    for text in ["AKIAIOSFODNN7EXAMPLE", "hf_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", "-----BEGIN PRIVATE KEY-----\n...", "the token hf_ is a prefix"] {
        assert_eq!(scanned(text, "readme.txt").verdict, Verdict::Clean, "{text}");
    }
}

#[test]
fn templates_by_file() {
    for (text, name) in [
        ("text {{ ''.__class__.__mro__ }}", "chat_template.jinja"),
        ("{%- if ''.__class__ %}{% endif %}", "chat_template.jinja"),
        ("{{ ''.__class__ }}", "default"),
    ] {
        let report = scanned(text, name);
        assert_eq!((report.verdict, report.findings[0].rule_id), (Verdict::Malicious, "PICKET-JIN-001"), "{report:#?}");
    }
}

#[test]
fn templates_of_other_engines_are_text() {
    for (text, name) in [("{{py:\nx = 1\n}}\ncdef int y", "loss.pyx.tp"), ("{% include 'style.tpl' %}", "html.tpl")] {
        assert_eq!(scanned(text, name).verdict, Verdict::Clean, "{name}");
    }
    assert_eq!(scanned("{% include 'style.tpl' %}", "chat_template.jinja").findings[0].rule_id, "PICKET-JIN-002");
}

#[test]
fn the_first_character_does_not_make_code_data() {
    let report = scanned("[1]\nimport os\nos.system('id')\n", "modeling.py");
    assert_eq!((report.verdict, report.findings[0].rule_id), (Verdict::Malicious, "PICKET-PY-001"), "{report:#?}");
    let report = scanned("{\"_target_\": \"os.system\"}", "config.yaml");
    assert_eq!(report.findings[0].rule_id, "PICKET-CFG-001", "{report:#?}");
}
