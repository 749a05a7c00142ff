use super::tree::{Json, JsonError, parse};
use crate::{Completeness, Format, Report, ScanOptions, Verdict, scan};
use proptest::prelude::*;

pub(crate) fn scanned(text: &str, name: &str) -> Report {
    scan(&text.as_bytes(), name, &ScanOptions::default())
}

#[track_caller]
pub(crate) fn judged(text: &str, verdict: Verdict, rule: &str) -> Report {
    let report = scanned(text, "config.json");
    assert_eq!(report.verdict, verdict, "{report:#?}");
    assert!(report.findings.iter().any(|finding| finding.rule_id == rule), "{rule} is missing in {report:#?}");
    report
}

#[track_caller]
pub(crate) fn clean(text: &str) {
    let report = scanned(text, "config.json");
    assert_eq!((report.verdict, report.completeness), (Verdict::Clean, Completeness::Full), "{report:#?}");
}

#[test]
fn what_python_reads_is_read() {
    let text = |text: &str| parse(text).unwrap().root;
    assert_eq!(text(r#"{"a": [NaN, -Infinity, Infinity, -1.5e3], "b": null}"#).get("a").unwrap().items().len(), 4);
    assert_eq!(text("\u{feff}[\"\\u004cambda\"]").items()[0].text(), Some("Lambda"));
    assert_eq!(text(r#""\ud83d\ude00 \ud800x""#).text(), Some("😀 \u{fffd}x"));
    assert_eq!(text("\"a\u{1}\nb\"").text(), Some("a\u{1}\nb"));
    assert_eq!(parse(r#"{"a":1,"a":2,"b":{"c":1,"c":2}}"#).unwrap().duplicates, ["c", "a"]);
    assert_eq!(text(r#"{"a":1,"a":"last"}"#).get("a"), Some(&Json::Text("last".into())));
    for bad in ["", "{", "[1,]", "{\"a\" 1}", "{a:1}", "[1] x", "\"\\x\"", "\"\\u12\"", "nul"] {
        assert!(matches!(parse(bad), Err(JsonError::Syntax(_))), "{bad}");
    }
    assert!(matches!(parse(&"[".repeat(100_000)), Err(JsonError::Limit(_))));
}

#[test]
fn a_deep_document_is_not_clean() {
    let deep = format!("{}1{}", "[".repeat(400), "]".repeat(400));
    assert_eq!(scanned(&deep, "x.json").verdict, Verdict::Unscannable);
}

#[test]
fn remote_code_templates_and_indexes() {
    let report = judged(r#"{"auto_map": {"AutoModel": "modeling_x.Net"}}"#, Verdict::Suspicious, "PICKET-REP-001");
    assert_eq!(report.findings[0].evidence.value.as_deref(), Some("modeling_x.Net"));
    judged(r#"{"chat_template": "{{ ''.__class__ }}"}"#, Verdict::Malicious, "PICKET-JIN-001");
    judged(
        r#"{"chat_template": [{"name": "default", "template": "ok"}, {"name": "tool_use", "template": "{{ lipsum['__globals__'] }}"}]}"#,
        Verdict::Malicious,
        "PICKET-JIN-001",
    );
    judged(r#"{"metadata": {}, "weight_map": {"a": "model-1.safetensors", "b": "../../../etc/passwd"}}"#, Verdict::Malicious, "PICKET-EXT-001");
    clean(r#"{"chat_template": "{{ messages[0]['content'] }}", "weight_map": {"a": "model-1.safetensors"}, "architectures": ["X"]}"#);
}

#[test]
fn keys_twice_and_lines_of_json() {
    judged(r#"{"a": {"b": 1, "b": 2}}"#, Verdict::Suspicious, "PICKET-STR-005");
    assert_eq!(scanned("{\"a\":1}\n{\"a\":2}\n", "data.jsonl").format, Format::Text);
}

proptest! {
    #[test]
    fn any_text_ends(text in r#"[\[\]{}",:\\u0-9a-fnN \n-]{0,200}"#) {
        let _ = parse(&text);
        scanned(&format!("{{{text}"), "x.json");
    }

    #[test]
    fn any_value_reads_back(value in r#"[a-z"\\\n\u{1F600}]{0,20}"#) {
        let text = serde_json::to_string(&value).unwrap();
        prop_assert_eq!(parse(&text).unwrap().root, Json::Text(value.into()));
    }
}
