//! Keys of configuration files: lines of the common forms, and JSON.

use serde_json::Value;

use crate::enrich::matches;

const VALUES_MAX: usize = 10_000;

/// Whether the file gives `key` one of `values`, or gives it values of which none is one of `lacks`.
pub(super) fn holds(text: &str, key: &str, values: &[String], lacks: &[String]) -> bool {
    let found = if key.starts_with('/') { pointed(text, key) } else { lines(text, key) };
    let any = |patterns: &[String]| found.iter().any(|value| patterns.iter().any(|pattern| matches(&pattern.to_lowercase(), &value.to_lowercase())));
    (!values.is_empty() && any(values)) || (!lacks.is_empty() && !found.is_empty() && !any(lacks))
}

/// Values of `key value`, `key = value`, `key: value` and `key=value`. Comments do not count, quotes and sections neither.
fn lines(text: &str, key: &str) -> Vec<String> {
    let value = |line: &str| {
        let line = line.trim();
        if line.starts_with(['#', ';', '[']) {
            return None;
        }
        let (name, value) = line.split_once(['=', ':', ' ', '\t'])?;
        name.trim().eq_ignore_ascii_case(key).then(|| value.trim().trim_start_matches(['=', ':']).trim().trim_matches(['"', '\'']).to_owned())
    };
    text.lines().filter_map(value).take(VALUES_MAX).collect()
}

/// What a JSON pointer points at; `*` is every element. An array stands for its elements.
fn pointed(text: &str, pointer: &str) -> Vec<String> {
    let Ok(value) = serde_json::from_str::<Value>(text) else { return Vec::new() };
    let mut at = vec![&value];
    for part in pointer.split('/').skip(1) {
        at = at
            .into_iter()
            .flat_map(|value| -> Vec<&Value> {
                match (value, part) {
                    (Value::Array(all), "*") => all.iter().collect(),
                    (Value::Object(all), "*") => all.values().collect(),
                    (Value::Object(all), name) => all.get(name).into_iter().collect(),
                    _ => Vec::new(),
                }
            })
            .take(VALUES_MAX)
            .collect();
    }
    let scalar = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    };
    at.into_iter().flat_map(|value| value.as_array().map_or_else(|| vec![value], |all| all.iter().collect())).filter_map(scalar).take(VALUES_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn lines_of_the_common_forms() {
        let text = "# Port 1\n Port 22\nPermitRootLogin  yes\nkey = \"v w\"\nurl: https://x\nenv=A\n";
        for (key, value) in [("port", "22"), ("PermitRootLogin", "YES"), ("key", "v w"), ("url", "https://*"), ("env", "a")] {
            assert!(holds(text, key, &list(&[value]), &[]), "{key}");
        }
        assert!(!holds(text, "Port", &list(&["1"]), &[]));
    }

    #[test]
    fn pointers() {
        let text = r#"{"HostConfig":{"Privileged":true},"linux":{"namespaces":[{"type":"pid"},{"type":"mount"}]},"caps":["A","B"]}"#;
        assert!(holds(text, "/HostConfig/Privileged", &list(&["true"]), &[]));
        assert!(holds(text, "/caps", &list(&["B"]), &[]));
        assert!(holds(text, "/linux/namespaces/*/type", &[], &list(&["network"])));
        assert!(!holds(text, "/linux/namespaces/*/type", &[], &list(&["pid"])));
        assert!(!holds(text, "/absent/*/type", &[], &list(&["pid"])), "a file that does not speak of it");
        assert!(!holds("{", "/caps", &list(&["*"]), &[]));
    }
}
