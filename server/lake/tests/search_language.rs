//! What the search language selects, against a filter written without it.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test ends where it fails, and its numbers are small")]

mod common;

use std::{net::IpAddr, sync::OnceLock};

use common::{EPOCH, batch_of, config, events};
use picket_event::{Activity, NetworkActivityKind, StoredEvent, Timestamp, row::Row};
use picket_lake::{ErrorKind, Lake, LakeError, SearchQuery};
use proptest::prelude::*;

const EVENTS: u64 = 400;

/// One lake for all tests of this file: half of the rows in files, half in the tail.
struct World {
    runtime: tokio::runtime::Runtime,
    lake: Lake,
    stored: Vec<StoredEvent>,
    _dir: tempfile::TempDir,
}

fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let lake = Lake::open(config(dir.path())).unwrap();
        let stored = runtime.block_on(async {
            for device in 0..4 {
                lake.append(batch_of(device, 1, Timestamp(EPOCH), events(device, 1, EVENTS / 4))).await.unwrap();
                if device == 1 {
                    lake.flush().await.unwrap();
                }
            }
            lake.search(SearchQuery { limit: 10_000, ..SearchQuery::default() }).await.unwrap().events
        });
        assert_eq!(stored.len() as u64, EVENTS);
        World { runtime, lake, stored, _dir: dir }
    })
}

fn search(query: &str) -> Result<Vec<(String, u64)>, LakeError> {
    let world = world();
    let page = world.runtime.block_on(world.lake.search(SearchQuery { query: query.into(), limit: 10_000, ..SearchQuery::default() }))?;
    Ok(page.events.iter().map(key).collect())
}

fn key(event: &StoredEvent) -> (String, u64) {
    (event.device.hostname.clone(), event.seq)
}

/// A query as a tree, how it is written, and what it means: the meaning shares no code with the lake.
#[derive(Clone, Debug)]
enum Query {
    Word(String),
    Text { field: &'static str, pattern: String },
    Number { field: &'static str, low: Option<i64>, high: Option<i64> },
    Class(&'static str),
    Activity(&'static str),
    Network([u8; 4], u8),
    Address([u8; 4]),
    Time { low_s: i64, high_s: i64 },
    Exists(&'static str),
    Not(Box<Query>),
    All(Vec<Query>),
    Any(Vec<Query>),
}

impl Query {
    fn written(&self) -> String {
        let side = |value: &Option<i64>| value.map(|value| value.to_string()).unwrap_or_default();
        match self {
            Self::Word(word) => word.clone(),
            Self::Text { field, pattern } => format!("{field}:{pattern}"),
            Self::Number { field, low: Some(low), high: Some(high) } if low == high => format!("{field}:{low}"),
            Self::Number { field, low: Some(low), high: None } => format!("{field}:>={low}"),
            Self::Number { field, low: None, high: Some(high) } => format!("{field}:<{}", high + 1),
            Self::Number { field, low, high } => format!("{field}:[{}..{}]", side(low), side(high)),
            Self::Class(word) => format!("class:{word}"),
            Self::Activity(word) => format!("activity:{word}"),
            Self::Network([a, b, c, d], prefix) => format!("ip:{a}.{b}.{c}.{d}/{prefix}"),
            Self::Address([a, b, c, d]) => format!("ip:{a}.{b}.{c}.{d}"),
            Self::Time { low_s, high_s } => format!("time:[2026-11-21T00:00:{low_s:02}.01Z..2026-11-21T00:00:{high_s:02}.05Z]"),
            Self::Exists(field) => format!("{field}:*"),
            Self::Not(inner) => format!("NOT ({})", inner.written()),
            Self::All(parts) => parts.iter().map(|part| format!("({})", part.written())).collect::<Vec<_>>().join(" "),
            Self::Any(parts) => parts.iter().map(|part| format!("({})", part.written())).collect::<Vec<_>>().join(" OR "),
        }
    }

    fn holds(&self, event: &StoredEvent) -> bool {
        let row = Row::from(event);
        match self {
            Self::Word(word) => words(&row).iter().any(|text| glob(&format!("*{word}*"), text)),
            Self::Text { field, pattern } => texts(&row, field).iter().any(|text| glob(pattern, text)),
            Self::Number { field, low, high } => {
                numbers(&row, field).iter().any(|value| low.is_none_or(|low| *value >= low) && high.is_none_or(|high| *value <= high))
            }
            Self::Class(word) => {
                matches!((*word, &event.event.activity), ("file", Activity::File(_)) | ("process", Activity::Process(_)) | ("network", Activity::Network(_)))
            }
            Self::Activity(word) => match (&event.event.activity, *word) {
                (Activity::File(file), word) => {
                    file.kind as i32
                        == match word {
                            "open" => 14,
                            "create" => 1,
                            "delete" => 4,
                            _ => 0,
                        }
                }
                (Activity::Network(flow), "open" | "connect") => flow.kind == NetworkActivityKind::Open,
                _ => false,
            },
            Self::Network(network, prefix) => addresses(event).iter().any(|address| {
                let mask = if *prefix == 0 { 0 } else { u32::MAX << (32 - u32::from(*prefix)) };
                u32::from_be_bytes(*network) & mask == u32::from_be_bytes(*address) & mask
            }),
            Self::Address(wanted) => addresses(event).contains(wanted),
            Self::Time { low_s, high_s } => {
                let micros = (event.event.time.0 - EPOCH) / 1_000;
                micros >= low_s * 1_000_000 + 10_000 && micros <= high_s * 1_000_000 + 50_000
            }
            Self::Exists(field) => !texts(&row, field).is_empty(),
            Self::Not(inner) => !inner.holds(event),
            Self::All(parts) => parts.iter().all(|part| part.holds(event)),
            Self::Any(parts) => parts.iter().any(|part| part.holds(event)),
        }
    }
}

/// `*` is any text; letters match without regard to case.
fn glob(pattern: &str, text: &str) -> bool {
    fn at(pattern: &[u8], text: &[u8]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some((b'*', rest)) => (0..=text.len()).any(|skip| at(rest, &text[skip..])),
            Some((first, rest)) => text.split_first().is_some_and(|(head, tail)| head.eq_ignore_ascii_case(first) && at(rest, tail)),
        }
    }
    at(pattern.as_bytes(), text.as_bytes())
}

fn words<'a>(row: &'a Row<'_>) -> Vec<&'a str> {
    [
        &row.device_hostname,
        &row.actor_process_name,
        &row.actor_process_file_path,
        &row.actor_process_cmd_line,
        &row.actor_process_parent_process_cmd_line,
        &row.process_name,
        &row.process_file_path,
        &row.process_cmd_line,
        &row.file_path,
        &row.file_result_path,
        &row.message,
    ]
    .into_iter()
    .filter_map(|text| text.as_deref())
    .collect()
}

fn texts<'a>(row: &'a Row<'_>, field: &str) -> Vec<&'a str> {
    let columns = match field {
        "host" => vec![&row.device_hostname],
        "process" => vec![&row.actor_process_name, &row.process_name],
        "cmd" => vec![&row.actor_process_cmd_line, &row.process_cmd_line],
        "file" => vec![&row.file_path, &row.file_name, &row.file_result_path],
        "role" => vec![&row.picket_process_role],
        "job" => vec![&row.picket_job_uid],
        "actor.process.user.name" => vec![&row.actor_process_user_name],
        other => panic!("{other}"),
    };
    columns.into_iter().filter_map(|text| text.as_deref()).collect()
}

fn numbers(row: &Row<'_>, field: &str) -> Vec<i64> {
    match field {
        "pid" => [row.actor_process_pid, row.process_pid].into_iter().flatten().collect(),
        "port" => [row.src_endpoint_port, row.dst_endpoint_port].into_iter().flatten().map(i64::from).collect(),
        "bytes_out" => row.traffic_bytes_out.into_iter().collect(),
        "seq" => vec![row.metadata_sequence],
        other => panic!("{other}"),
    }
}

fn addresses(event: &StoredEvent) -> Vec<[u8; 4]> {
    let Activity::Network(flow) = &event.event.activity else { return Vec::new() };
    [flow.src.ip, flow.dst.ip].into_iter().filter_map(|ip| if let IpAddr::V4(ip) = ip { Some(ip.octets()) } else { None }).collect()
}

fn leaf() -> impl Strategy<Value = Query> {
    let words = ["gpu-0001", "PYTHON3", "rank", "shard-0000", "set-1/", "train*er", "config*seed", "nothing-has-this", "bash", "--rank"];
    let patterns = prop_oneof![
        (Just("host"), prop::sample::select(vec!["gpu-0002", "GPU-*", "*3", "gpu"])),
        (Just("process"), prop::sample::select(vec!["bash", "Py*", "*run", "x*"])),
        (Just("cmd"), prop::sample::select(vec!["*rank*3*", "*--seed*", "/usr/*", "bash"])),
        (Just("file"), prop::sample::select(vec!["/data/*", "*00001.safetensors", "shard-00003.safetensors", "*.SAFETENSORS"])),
        (Just("role"), prop::sample::select(vec!["trainer", "s*", "other"])),
        (Just("job"), prop::sample::select(vec!["40001", "400*", "1"])),
        (Just("actor.process.user.name"), prop::sample::select(vec!["user3", "USER4", "*5"])),
    ];
    let numbers = (prop::sample::select(vec!["pid", "port", "bytes_out", "seq"]), prop::option::of(0_i64..5_000), prop::option::of(0_i64..60_000));
    prop_oneof![
        prop::sample::select(words.to_vec()).prop_map(|word| Query::Word(word.into())),
        patterns.prop_map(|(field, pattern)| Query::Text { field, pattern: pattern.into() }),
        // Both ends open says only that there is a number: the language writes that as a range too.
        numbers.prop_map(|(field, low, high)| Query::Number { field, low, high }),
        prop::sample::select(vec!["file", "process", "network"]).prop_map(Query::Class),
        prop::sample::select(vec!["open", "create", "delete", "connect"]).prop_map(Query::Activity),
        (prop::sample::select(vec![[10, 2, 0, 0], [10, 1, 0, 2], [10, 2, 0, 7]]), 0_u8..=32).prop_map(|(address, prefix)| Query::Network(address, prefix)),
        prop::sample::select(vec![[10, 2, 0, 0], [10, 1, 0, 2], [10, 2, 0, 7]]).prop_map(Query::Address),
        (0_i64..2, 0_i64..3).prop_map(|(low_s, high_s)| Query::Time { low_s, high_s }),
        prop::sample::select(vec!["file", "job", "cmd", "process"]).prop_map(Query::Exists),
    ]
}

fn query() -> impl Strategy<Value = Query> {
    leaf().prop_recursive(4, 16, 4, |inner| {
        prop_oneof![
            inner.clone().prop_map(|query| Query::Not(Box::new(query))),
            prop::collection::vec(inner.clone(), 1..4).prop_map(Query::All),
            prop::collection::vec(inner, 1..4).prop_map(Query::Any),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn selects_what_a_plain_filter_selects(query in query()) {
        let text = query.written();
        let expected: Vec<_> = world().stored.iter().filter(|event| query.holds(event)).map(key).collect();
        prop_assert_eq!(search(&text).unwrap(), expected, "{}", text);
    }

    #[test]
    fn any_text_is_answered_or_refused(text in "\\PC{0,60}") {
        if let Err(error) = search(&text) {
            prop_assert_eq!(error.kind(), ErrorKind::BadQuery, "{}", text);
        }
    }

    #[test]
    fn anything_that_looks_like_a_query_is_answered_or_refused(parts in prop::collection::vec(prop::sample::select(vec![
        "a", "file:", "pid:", "time:", "ip:", "class:", "since:", "severity:", "(", ")", "[", "]", "..", "AND", "OR", "NOT", "\"", "\\", "*", ">", ">=", "<", "1", "24h", "10.0.0.0/8", " ", " ", "é", "2026-11-21", ":",
    ]), 0..24)) {
        let text = parts.concat();
        if let Err(error) = search(&text) {
            prop_assert_eq!(error.kind(), ErrorKind::BadQuery, "{}", text);
        }
    }
}

#[test]
fn the_examples_of_the_documentation_run() {
    let docs = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/search.md")).unwrap();
    let mut count = 0;
    for line in docs.lines() {
        // Rows of the tables whose first cell is a query in backticks.
        let Some(rest) = line.strip_prefix("| `") else { continue };
        let Some((query, _)) = rest.split_once("` |") else { continue };
        let query = query.replace("\\|", "|");
        if let Err(error) = search(&query) {
            panic!("{query}: {error}");
        }
        count += 1;
    }
    assert!(count >= 30, "only {count} examples were found");
}

#[test]
fn errors_say_where_and_what_was_meant() {
    for (query, position, part) in [
        ("flie:x", 0, "did you mean \"file\"?"),
        ("a http://x", 2, "put quotes around"),
        ("pid:abc", 4, "is not a number"),
        ("class:proces", 6, "did you mean \"process\"?"),
        ("time:yesterday", 5, "how long ago"),
        ("ip:gpu", 3, "neither an address"),
        ("file:>5", 5, "only numbers and times have an order"),
        ("a AND", 5, "missing"),
        ("(a", 0, "not closed"),
        ("activity:destroy", 9, "known are"),
    ] {
        match search(query) {
            Err(LakeError::BadQuery { message, position: Some(at) }) => {
                assert_eq!(at, position, "{query}");
                assert!(message.contains(part), "{query}: {message}");
            }
            other => panic!("{query}: {other:?}"),
        }
    }
}

#[test]
fn every_column_is_a_field() {
    for column in picket_event::columns::COLUMNS {
        search(&format!("{}:*", column.name)).unwrap();
        search(&format!("NOT {}:*", column.name)).unwrap();
    }
}
