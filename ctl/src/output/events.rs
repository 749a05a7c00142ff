//! OCSF events as rows for people: one line each, as wide as the terminal, printed as they come.

use comfy_table::{ColumnConstraint, ContentArrangement, Row, Table, Width};
use serde_json::Value;

use super::table::{pad, plain};
use super::{Output, clean};
use crate::error::CtlError;
use crate::when;

/// A column: heading, least and best width, and whether it goes first on a narrow terminal.
struct Shape {
    heading: &'static str,
    least: u16,
    best: u16,
    spare: bool,
    cell: fn(&Value, bool) -> String,
}

/// The least widths and their gaps are 80 columns together, without the spare ones.
const SHAPES: &[Shape] = &[
    Shape { heading: "TIME", least: 14, best: 14, spare: false, cell: time },
    Shape { heading: "HOST", least: 6, best: 10, spare: true, cell: |event, _| text(event, "/device/hostname") },
    Shape { heading: "ACTIVITY", least: 7, best: 8, spare: false, cell: |event, _| activity(event) },
    Shape { heading: "PROCESS", least: 12, best: 20, spare: false, cell: |event, _| process(event, "/actor/process") },
    Shape { heading: "USER", least: 6, best: 14, spare: false, cell: |event, _| user(event) },
    Shape { heading: "OBJECT", least: 12, best: 70, spare: false, cell: |event, _| object(event) },
    Shape { heading: "COMMAND LINE", least: 12, best: 120, spare: false, cell: |event, _| command_line(event) },
    Shape { heading: "PARENT", least: 10, best: 16, spare: false, cell: |event, _| process(event, "/actor/process/parent_process") },
];

/// Spaces behind each column.
const GAP: u16 = 1;

/// Prints rows with one set of widths from the first to the last.
pub(crate) struct EventTable {
    columns: Vec<(&'static Shape, Option<u16>)>,
    dated: bool,
    headed: bool,
}

impl EventTable {
    /// For this output; `dated` where rows may be of several days.
    pub(crate) fn new(output: &Output, dated: bool) -> Self {
        Self { columns: fit(output.width), dated, headed: false }
    }

    /// Prints these events, with the headings before the first.
    pub(crate) fn print(&mut self, output: &Output, events: &[Value]) -> Result<(), CtlError> {
        if events.is_empty() {
            return Ok(());
        }
        output.block(&self.render(events))
    }

    fn render(&mut self, events: &[Value]) -> String {
        let mut table = plain();
        if !std::mem::replace(&mut self.headed, true) {
            add(&mut table, self.columns.iter().map(|(shape, _)| shape.heading.to_owned()));
        }
        for event in events {
            add(&mut table, self.columns.iter().map(|(shape, width)| path_end(clean(&(shape.cell)(event, self.dated)), *width)));
        }
        pad(&mut table, GAP);
        for ((shape, width), column) in self.columns.iter().zip(table.column_iter_mut()) {
            // Without a width nothing is cut, and short cells still line up.
            column.set_constraint(width.map_or(ColumnConstraint::LowerBoundary(Width::Fixed(shape.best.min(24) + GAP)), |width| {
                ColumnConstraint::Absolute(Width::Fixed(width + GAP))
            }));
        }
        let arrangement = if self.columns.iter().any(|(_, width)| width.is_some()) { ContentArrangement::Dynamic } else { ContentArrangement::Disabled };
        table.set_content_arrangement(arrangement);
        table.to_string()
    }
}

/// A path that does not fit keeps its end, which tells more than its beginning.
fn path_end(text: String, width: Option<u16>) -> String {
    let (Some(width), true) = (width.map(usize::from), text.starts_with('/')) else { return text };
    let length = text.chars().count();
    // A command line is cut at its end, like other text.
    if length <= width || text.contains(' ') {
        return text;
    }
    std::iter::once('…').chain(text.chars().skip(length + 1 - width)).collect()
}

fn add(table: &mut Table, cells: impl Iterator<Item = String>) {
    let mut row = Row::from(cells.collect::<Vec<_>>());
    row.max_height(1);
    table.add_row(row);
}

/// Which columns, and how wide each: their least, then equal shares of what is left over, the modest ones served first.
fn fit(width: Option<u16>) -> Vec<(&'static Shape, Option<u16>)> {
    let Some(width) = width else { return SHAPES.iter().map(|shape| (shape, None)).collect() };
    let least = |kept: &[&Shape]| kept.iter().map(|shape| shape.least + GAP).sum::<u16>();
    let mut kept: Vec<&Shape> = SHAPES.iter().collect();
    if least(&kept) > width {
        kept.retain(|shape| !shape.spare);
    }
    let mut left = width.saturating_sub(least(&kept));
    let mut columns: Vec<(&Shape, Option<u16>)> = kept.into_iter().map(|shape| (shape, Some(shape.least))).collect();
    let mut modest_first: Vec<&mut (&Shape, Option<u16>)> = columns.iter_mut().collect();
    modest_first.sort_by_key(|(shape, _)| shape.best - shape.least);
    let mut sharing = u16::try_from(modest_first.len()).unwrap_or(u16::MAX);
    for (shape, width) in modest_first {
        let more = (shape.best - shape.least).min(left / sharing.max(1));
        *width = Some(shape.least + more);
        left -= more;
        sharing -= 1;
    }
    columns
}

fn text(event: &Value, pointer: &str) -> String {
    match event.pointer(pointer) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        _ => String::new(),
    }
}

fn number(event: &Value, pointer: &str) -> i64 {
    event.pointer(pointer).and_then(|value| value.as_i64().or_else(|| value.as_str()?.parse().ok())).unwrap_or_default()
}

fn time(event: &Value, dated: bool) -> String {
    when::event_time(number(event, "/time"), dated)
}

/// One word for what was done, else OCSF's own.
fn activity(event: &Value) -> String {
    let word = match (number(event, "/class_uid"), number(event, "/activity_id")) {
        (1007, 1) if number(event, "/launch_type_id") == 2 => "fork",
        (1007, 1) => "exec",
        (1007, 2) => "exit",
        (1001, 1) => "create",
        (1001, 2) => "read",
        (1001, 3) => "write",
        (1001, 4) => "delete",
        (1001, 5) => "rename",
        (1001, 14) => "open",
        (4001, 1) if number(event, "/connection_info/direction_id") == 1 => "accept",
        (4001, 1) => "connect",
        (4001, 2) => "close",
        (4001, 4) => "net fail",
        (4001, 5) => "refused",
        (4001, 6) => "traffic",
        _ if event.pointer("/picket/loss").is_some() => "LOSS",
        _ => return text(event, "/activity_name").to_lowercase(),
    };
    word.to_owned()
}

/// `name(pid)`.
fn process(event: &Value, pointer: &str) -> String {
    let (name, pid) = (text(event, &format!("{pointer}/name")), text(event, &format!("{pointer}/pid")));
    if pid.is_empty() { name } else { format!("{name}({pid})") }
}

/// The user, and where the process runs: `alice slurm:99#3`.
fn user(event: &Value) -> String {
    let name = text(event, "/actor/process/user/name");
    let name = if name.is_empty() { text(event, "/actor/process/user/uid") } else { name };
    format!("{name} {}", surroundings(event)).trim().to_owned()
}

/// The container, and the training job with its rank, where there is one.
fn surroundings(event: &Value) -> String {
    let mut parts = Vec::new();
    let (name, uid) = (text(event, "/actor/process/container/name"), text(event, "/actor/process/container/uid"));
    if !name.is_empty() || !uid.is_empty() {
        parts.push(if name.is_empty() { uid.chars().take(12).collect() } else { name });
    }
    let job = text(event, "/picket/job/uid");
    if !job.is_empty() {
        let rank = text(event, "/picket/job/rank");
        let rank = if rank.is_empty() { rank } else { format!("#{rank}") };
        parts.push(format!("{}:{job}{rank}", text(event, "/picket/job/scheduler")));
    }
    parts.join(" ")
}

/// What it was done to: a path, an address, a process.
fn object(event: &Value) -> String {
    match number(event, "/class_uid") {
        1001 => {
            let (from, to) = (text(event, "/file/path"), text(event, "/file_result/path"));
            if to.is_empty() { from } else { format!("{from} → {to}") }
        }
        4001 => flow(event),
        1007 if number(event, "/activity_id") == 2 => format!("{} exit {}", process(event, "/process"), text(event, "/exit_code")),
        1007 => {
            let path = text(event, "/process/file/path");
            if path.is_empty() || number(event, "/launch_type_id") == 2 { process(event, "/process") } else { path }
        }
        _ => text(event, "/message"),
    }
}

fn endpoint(event: &Value, pointer: &str) -> String {
    let (address, port) = (text(event, &format!("{pointer}/ip")), text(event, &format!("{pointer}/port")));
    if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") }
}

/// The far end, with the bytes where they are known; the own one of who waits for others.
fn flow(event: &Value) -> String {
    if number(event, "/activity_id") == 7 {
        return format!("on {}", endpoint(event, "/dst_endpoint"));
    }
    let inbound = number(event, "/connection_info/direction_id") == 1;
    let address = endpoint(event, if inbound { "/src_endpoint" } else { "/dst_endpoint" });
    let arrow = if inbound { "←" } else { "→" };
    let (from_source, to_source) = (number(event, "/traffic/bytes_out"), number(event, "/traffic/bytes_in"));
    // OCSF counts from source to destination; a row speaks of the process on this host.
    match if inbound { (to_source, from_source) } else { (from_source, to_source) } {
        (0, 0) => format!("{arrow} {address}"),
        (sent, received) => format!("{arrow} {address} sent {} got {}", bytes(sent.unsigned_abs()), bytes(received.unsigned_abs())),
    }
}

/// Powers of 1024, one digit.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut unit = 0;
    let mut tenths = count.saturating_mul(10);
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    let name = UNITS.get(unit).copied().unwrap_or_default();
    if unit == 0 { format!("{count} {name}") } else { format!("{}.{} {name}", tenths / 10, tenths % 10) }
}

/// Of what was started where something was, else of who acted.
fn command_line(event: &Value) -> String {
    let started = if number(event, "/class_uid") == 1007 { text(event, "/process/cmd_line") } else { String::new() };
    if started.is_empty() { text(event, "/actor/process/cmd_line") } else { started }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::output::Format;

    fn output(width: Option<u16>) -> Output {
        Output { format: Format::Table, width, terminal: false }
    }

    fn read() -> Value {
        json!({
            "time": 1_700_000_000_123_i64, "class_uid": 1001, "activity_id": 14, "device": {"hostname": "gpu01"},
            "actor": {"process": {"name": "python3", "pid": 4711, "cmd_line": "python3 train.py --resume", "user": {"name": "alice", "uid": "1000"},
                "container": {"uid": "0123456789abcdef"}, "parent_process": {"name": "bash", "pid": 4700}}},
            "picket": {"job": {"scheduler": "slurm", "uid": "99", "rank": 3}},
            "file": {"path": "/srv/models/llama/model-00001-of-00030.safetensors"}
        })
    }

    #[test]
    fn a_row_says_who_did_what_to_which_object() {
        let text = EventTable::new(&output(None), false).render(&[read()]);
        for part in [
            "22:13:20.123",
            "gpu01",
            "open",
            "python3(4711)",
            "alice",
            "0123456789ab slurm:99#3",
            "/srv/models/llama/model-00001-of-00030.safetensors",
            "python3 train.py --resume",
            "bash(4700)",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn rows_fit_every_width() {
        for width in [40_u16, 80, 100, 120, 200, 400] {
            let mut table = EventTable::new(&output(Some(width)), true);
            let text = table.render(&[read(), read()]);
            let longest = text.lines().map(|line| line.trim_end().chars().count()).max().unwrap();
            assert!(width < 80 || longest <= usize::from(width), "{longest} in {width}:\n{text}");
            assert_eq!(text.lines().count(), 3);
            assert_eq!(table.render(&[read()]).lines().count(), 1, "headings come once");
        }
    }

    #[test]
    fn a_path_that_does_not_fit_keeps_its_end() {
        assert_eq!(path_end("/srv/models/a.safetensors".to_owned(), Some(14)), "…a.safetensors");
        assert_eq!(path_end("/srv/a.pt".to_owned(), Some(14)), "/srv/a.pt");
        assert_eq!(path_end("/usr/bin/python3 train.py --epochs 3".to_owned(), Some(14)), "/usr/bin/python3 train.py --epochs 3");
        assert_eq!(path_end("/srv/models/a.safetensors".to_owned(), None), "/srv/models/a.safetensors");
    }

    #[test]
    fn eighty_columns_keep_process_parent_user_object_and_command_line() {
        let headings: Vec<_> = fit(Some(80)).iter().map(|(shape, _)| shape.heading).collect();
        for heading in ["TIME", "ACTIVITY", "PROCESS", "USER", "OBJECT", "COMMAND LINE", "PARENT"] {
            assert!(headings.contains(&heading), "{headings:?}");
        }
    }

    #[test]
    fn flows_name_the_far_end_and_the_bytes() {
        let out = json!({"class_uid": 4001, "activity_id": 2, "connection_info": {"direction_id": 2}, "src_endpoint": {"ip": "10.0.0.1", "port": 5}, "dst_endpoint": {"ip": "2001:db8::1", "port": 443}, "traffic": {"bytes_out": 1536, "bytes_in": 10}});
        assert_eq!(object(&out), "→ [2001:db8::1]:443 sent 1.5 KiB got 10 B");
        let inbound = json!({"class_uid": 4001, "activity_id": 1, "connection_info": {"direction_id": 1}, "src_endpoint": {"ip": "10.0.0.9", "port": 5}, "dst_endpoint": {"ip": "10.0.0.1", "port": 22}, "traffic": {"bytes_out": 10, "bytes_in": 1536}});
        assert_eq!((activity(&inbound), object(&inbound)), ("accept".to_owned(), "← 10.0.0.9:5 sent 1.5 KiB got 10 B".to_owned()));
        let waits = json!({"class_uid": 4001, "activity_id": 7, "activity_name": "Listen", "connection_info": {"direction_id": 1}, "src_endpoint": {"ip": "0.0.0.0", "port": 0}, "dst_endpoint": {"ip": "127.0.0.1", "port": 8123}});
        assert_eq!((activity(&waits), object(&waits)), ("listen".to_owned(), "on 127.0.0.1:8123".to_owned()));
    }

    #[test]
    fn bytes_read_well() {
        for (count, text) in [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (14_388_000_000, "13.3 GiB"), (u64::MAX, "1638.3 PiB")] {
            assert_eq!(bytes(count), text);
        }
    }

    #[test]
    fn an_unknown_kind_shows_its_own_words() {
        let event = json!({"class_uid": 9999, "activity_name": "Detect", "message": "something new"});
        assert_eq!((activity(&event), object(&event)), ("detect".to_owned(), "something new".to_owned()));
    }
}
