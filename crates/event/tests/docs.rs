//! `docs/events.md` is what the code says. With `PICKET_UPDATE_DOCS=1` the test writes it.
#![expect(clippy::indexing_slicing, reason = "a test: reading JSON by index gives null where it has no such place")]

#[expect(dead_code, reason = "the docs show the full samples only")]
mod samples;

use std::{collections::BTreeSet, env, fmt::Write as _, fs, path::Path};

use picket_event::{
    columns::{COLUMNS, ColumnType},
    ocsf::{self, EXTENSION},
};
use serde_json::Value;

const HEAD: &str = "# Events

What a host saw, in the words of [OCSF](https://schema.ocsf.io/1.8.0/) 1.8.0. The API, exports, `picketctl … --format json` and `picket-agent run --stdout` show events as the JSON below; it
validates against the published schema. SQL and the search language see the same values as [columns](#columns). This page is generated from the code.

- Every activity carries its actor process and that process's parent, so that one row answers \"who did it\" without a join.
- A process is never known by its pid alone: `uid` is the boot, the pid namespace, the pid and the start time.
- What is empty or unknown is left out.
- Bytes of a flow are counted as OCSF defines: `bytes_out` from the source (the end that spoke first) to the destination, `bytes_in` back. Where this host accepted the connection, what it sent is
  `bytes_in`; `observation_point_id` says which end this host is.
- A flow that is still up reports its total so far as `cumulative_traffic`; one that ended reports it as `traffic`. The columns `traffic_bytes_in` and `traffic_bytes_out` hold both.
- Events that were not kept are events too: see [Loss](#event-log-activity-loss).
- A stand-alone agent (`--stdout`) has no server that vouches for identities: `device.uid`, `metadata.uid`, `metadata.sequence`, `metadata.logged_time` and `picket.spool_uid` are absent there.
";

fn render() -> String {
    let mut page = String::from(HEAD);
    page.push_str("\n## Kinds\n\n| class | activity | what |\n|---|---|---|\n");
    let samples = samples::full();
    let events: Vec<(&str, Value)> = samples.iter().map(|sample| (sample.name, ocsf::to_json(&sample.stored))).collect();
    for (name, json) in &events {
        let anchor = name.to_lowercase().replace(' ', "-").replace(|letter: char| !letter.is_ascii_alphanumeric() && letter != '-', "");
        writeln!(
            page,
            "| {} {} | [{} {}](#{anchor}) | {} |",
            json["class_uid"],
            text(&json["class_name"]),
            json["activity_id"],
            text(&json["activity_name"]),
            text(&json["message"])
        )
        .expect("text");
    }
    page.push_str(
        "\nThe first event is shown whole. The others leave out the parts that look the same in all: `device`, `metadata`, `actor`, and `picket.actor`.\n",
    );
    for (index, (name, json)) in events.into_iter().enumerate() {
        let mut shown = if index == 0 { json } else { own_parts(json) };
        // The same page whichever features of serde_json the rest of the build asks for.
        shown.sort_all_objects();
        writeln!(page, "\n### {name}\n\n```json\n{shown:#}\n```").expect("text");
    }
    page.push_str("\n## The extension `picket`\n\nWhat OCSF has no word for stands under one object, `picket`; no other key is outside the schema.\n\n| path | what |\n|---|---|\n");
    for (path, what) in EXTENSION {
        writeln!(page, "| `picket.{path}` | {what} |").expect("text");
    }
    columns(&mut page);
    page
}

fn columns(page: &mut String) {
    page.push_str("\n## Columns\n\nOf the table `events`: OCSF paths with `_` for `.`. A *needle* skips files on `=`; bare words of a search look in the *words* columns.\n");
    page.push_str("The partition column `day` is the day the server received the event (UTC). `message` holds only the sentence of a loss; that of every other event is made when it is shown.\n");
    page.push_str("\n| column | type | OCSF path | |\n|---|---|---|---|\n");
    for column in COLUMNS {
        let kind = match column.kind {
            ColumnType::Text => "text",
            ColumnType::Int => "int",
            ColumnType::Long => "long",
            ColumnType::Time => "time (µs)",
            ColumnType::TextList => "list of text",
        };
        let marks: Vec<&str> = [(column.needle, "needle"), (column.words, "words")].into_iter().filter_map(|(set, mark)| set.then_some(mark)).collect();
        writeln!(page, "| `{}` | {kind} | `{}` | {} |", column.name, column.ocsf, marks.join(", ")).expect("text");
    }
}

fn own_parts(mut event: Value) -> Value {
    if let Some(fields) = event.as_object_mut() {
        for common in ["device", "metadata", "actor"] {
            fields.remove(common);
        }
    }
    if let Some(fields) = event["picket"].as_object_mut() {
        fields.remove("actor");
    }
    event
}

fn text(value: &Value) -> &str {
    value.as_str().expect("text")
}

#[test]
fn events_page_is_what_the_code_says() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/events.md");
    let rendered = render();
    if env::var_os("PICKET_UPDATE_DOCS").is_some() {
        fs::write(&page, &rendered).expect("docs/events.md");
    }
    let written = fs::read_to_string(&page).expect("docs/events.md");
    assert!(written == rendered, "docs/events.md is out of step: run PICKET_UPDATE_DOCS=1 cargo test -p picket-event --test docs");
}

/// Every path that an event shows under `picket` is documented, and every documented path is shown by some event.
#[test]
fn extension_is_documented_both_ways() {
    let mut shown = BTreeSet::new();
    for mut sample in samples::full() {
        if let Some(container) = sample.stored.event.actor.as_mut().and_then(|actor| actor.process.container.as_mut()) {
            // A static pod, the one part that the samples do not have.
            container.pod_uid = "ab".repeat(16);
        }
        leaves("", &ocsf::to_json(&sample.stored)["picket"], &mut shown);
    }
    // Whole parts are documented as one.
    let documented: BTreeSet<&str> = EXTENSION.iter().map(|(path, _)| *path).collect();
    let covered = |path: &str| documented.iter().copied().find(|known| path == *known || path.strip_prefix(known).is_some_and(|below| below.starts_with('.')));
    let unknown: Vec<_> = shown.iter().filter(|path| covered(path).is_none()).collect();
    assert_eq!(unknown, Vec::<&String>::new(), "shown and not documented");
    let used: BTreeSet<&str> = shown.iter().filter_map(|path| covered(path)).collect();
    assert_eq!(used, documented, "documented and never shown");
}

fn leaves(path: &str, value: &Value, found: &mut BTreeSet<String>) {
    match value.as_object() {
        Some(fields) => fields.iter().for_each(|(key, value)| leaves(&if path.is_empty() { key.clone() } else { format!("{path}.{key}") }, value, found)),
        None => {
            found.insert(path.to_owned());
        }
    }
}
