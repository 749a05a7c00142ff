//! The SARIF log of the whole corpus, object by object: only properties that SARIF 2.1.0 has, the required ones, values of its enumerations, and
//! references that lead somewhere. The shapes below are those of the standard's chapter 3, as far as we write them.

#[path = "corpus/mod.rs"]
#[expect(dead_code, reason = "labels are for the tests of judgement")]
mod corpus;

use picket_artifact::{Report, ScanOptions, sarif, scan};
use serde_json::Value;

/// An object: required and allowed properties, and what stands in them.
struct Shape {
    required: &'static [&'static str],
    allowed: &'static [(&'static str, Kind)],
}

#[derive(Clone, Copy)]
enum Kind {
    Text,
    /// One of these words.
    Word(&'static [&'static str]),
    /// An absolute or relative URI reference without characters that must be escaped.
    Uri,
    Flag,
    /// A whole number, zero or more.
    Count,
    Object(&'static Shape),
    List(&'static Shape),
    /// Anything: a property bag.
    Bag,
}

const LEVEL: Kind = Kind::Word(&["none", "note", "warning", "error"]);
const MESSAGE: Shape = Shape { required: &["text"], allowed: &[("text", Kind::Text)] };
const ARTIFACT_LOCATION: Shape = Shape { required: &["uri"], allowed: &[("uri", Kind::Uri)] };
const REGION: Shape = Shape { required: &["byteOffset", "byteLength"], allowed: &[("byteOffset", Kind::Count), ("byteLength", Kind::Count)] };
const PHYSICAL: Shape =
    Shape { required: &["artifactLocation"], allowed: &[("artifactLocation", Kind::Object(&ARTIFACT_LOCATION)), ("region", Kind::Object(&REGION))] };
const LOGICAL: Shape = Shape { required: &["fullyQualifiedName"], allowed: &[("fullyQualifiedName", Kind::Text), ("kind", Kind::Text)] };
const LOCATION: Shape =
    Shape { required: &["physicalLocation"], allowed: &[("physicalLocation", Kind::Object(&PHYSICAL)), ("logicalLocations", Kind::List(&LOGICAL))] };
const RESULT: Shape = Shape {
    required: &["ruleId", "ruleIndex", "level", "message", "locations"],
    allowed: &[
        ("ruleId", Kind::Text),
        ("ruleIndex", Kind::Count),
        ("level", LEVEL),
        ("message", Kind::Object(&MESSAGE)),
        ("locations", Kind::List(&LOCATION)),
        ("properties", Kind::Bag),
    ],
};
const CONFIGURATION: Shape = Shape { required: &["level"], allowed: &[("level", LEVEL)] };
const RULE: Shape = Shape {
    required: &["id", "shortDescription"],
    allowed: &[
        ("id", Kind::Text),
        ("shortDescription", Kind::Object(&MESSAGE)),
        ("defaultConfiguration", Kind::Object(&CONFIGURATION)),
        ("properties", Kind::Bag),
    ],
};
const DRIVER: Shape = Shape { required: &["name", "rules"], allowed: &[("name", Kind::Text), ("version", Kind::Text), ("rules", Kind::List(&RULE))] };
const TOOL: Shape = Shape { required: &["driver"], allowed: &[("driver", Kind::Object(&DRIVER))] };
const NOTIFICATION: Shape =
    Shape { required: &["message"], allowed: &[("level", LEVEL), ("message", Kind::Object(&MESSAGE)), ("locations", Kind::List(&LOCATION))] };
const INVOCATION: Shape =
    Shape { required: &["executionSuccessful"], allowed: &[("executionSuccessful", Kind::Flag), ("toolExecutionNotifications", Kind::List(&NOTIFICATION))] };
const RUN: Shape = Shape {
    required: &["tool", "results"],
    allowed: &[
        ("tool", Kind::Object(&TOOL)),
        ("invocations", Kind::List(&INVOCATION)),
        ("results", Kind::List(&RESULT)),
        ("columnKind", Kind::Word(&["utf16CodeUnits", "unicodeCodePoints"])),
    ],
};
const LOG: Shape =
    Shape { required: &["version", "runs"], allowed: &[("$schema", Kind::Uri), ("version", Kind::Word(&["2.1.0"])), ("runs", Kind::List(&RUN))] };

fn check(value: &Value, shape: &Shape, place: &str, wrong: &mut Vec<String>) {
    let Some(object) = value.as_object() else {
        wrong.push(format!("{place} is no object"));
        return;
    };
    wrong.extend(shape.required.iter().filter(|name| !object.contains_key(**name)).map(|name| format!("{place} has no {name}")));
    for (name, value) in object {
        let place = format!("{place}.{name}");
        let Some((_, kind)) = shape.allowed.iter().find(|(allowed, _)| allowed == name) else {
            wrong.push(format!("{place} is not of the standard"));
            continue;
        };
        let good = match kind {
            Kind::Text => value.as_str().is_some_and(|text| !text.is_empty()),
            Kind::Word(words) => value.as_str().is_some_and(|text| words.contains(&text)),
            Kind::Uri => value.as_str().is_some_and(is_uri_reference),
            Kind::Flag => value.is_boolean(),
            Kind::Count => value.is_u64(),
            Kind::Bag => value.is_object(),
            Kind::Object(shape) => {
                check(value, shape, &place, wrong);
                true
            }
            Kind::List(shape) => value.as_array().is_some_and(|list| {
                list.iter().enumerate().for_each(|(at, one)| check(one, shape, &format!("{place}[{at}]"), wrong));
                true
            }),
        };
        if !good {
            wrong.push(format!("{place} is {value}"));
        }
    }
}

/// RFC 3986: unreserved and reserved characters, and two hexadecimal digits behind each percent sign.
fn is_uri_reference(text: &str) -> bool {
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let allowed = match byte {
            b'%' => (0..2).all(|_| rest.next().is_some_and(|digit| digit.is_ascii_hexdigit())),
            byte => byte.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=".contains(&byte),
        };
        if !allowed {
            return false;
        }
    }
    !text.is_empty()
}

#[test]
fn the_log_of_every_technique_has_the_standards_shape() {
    let mut reports: Vec<Report> = corpus::all()
        .into_iter()
        .filter(|case| case.bytes.len() < 1 << 20)
        .map(|case| scan(&case.bytes.as_slice(), &format!("{}/a b\u{1b}%/{}", case.name, case.file), &ScanOptions::default()))
        .collect();
    reports.push(Report::unreadable("/gone away", 0, "cannot read: denied"));
    let log = sarif(&reports);
    let mut wrong = Vec::new();
    check(&log, &LOG, "log", &mut wrong);
    assert!(wrong.is_empty(), "{} things, the first: {:#?}", wrong.len(), wrong.iter().take(10).collect::<Vec<_>>());
    let run = &log["runs"][0];
    let (results, rules) = (run["results"].as_array().unwrap(), run["tool"]["driver"]["rules"].as_array().unwrap());
    assert!(results.len() > 300, "{} results", results.len());
    for result in results {
        let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
        assert_eq!(rules[index]["id"], result["ruleId"]);
    }
    let mut ids: Vec<_> = rules.iter().map(|rule| rule["id"].as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), rules.len(), "a rule is described twice");
    assert_eq!(run["invocations"][0]["executionSuccessful"], false);
}
