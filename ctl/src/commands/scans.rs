//! `picketctl scans`: scans on hosts, through the server. What a scan did is told by its events; here they become one line a scan.

use jiff::{SignedDuration, Timestamp};
use picket_proto::v1;
use picket_proto::values::from_struct;
use serde_json::{Value, json};

use crate::cli::Scans;
use crate::connect::Session;
use crate::error::CtlError;
use crate::output::{Format, Grid, Output, bytes, clean};
use crate::when;

/// Events a call.
const PAGE: u32 = 1_000;
/// Events looked at before the answer is called partial: a host that downloads all day has one event a file.
const EVENTS_MAX: usize = 100_000;

/// Runs the command.
pub(super) async fn run(command: Scans, context: Option<&str>, output: &Output) -> Result<(), CtlError> {
    match command {
        Scans::Start { host, paths } => start(host, paths, context, output).await,
        Scans::List { since, host, limit, all } => {
            let since = when::parse(&since, Timestamp::now()).map_err(CtlError::Usage)?;
            let session = Session::open(context).await?;
            list(&session, since, host.as_deref(), limit, all, output).await
        }
        Scans::Show { id, since } => {
            let since = when::parse(&since, Timestamp::now()).map_err(CtlError::Usage)?;
            show(&Session::open(context).await?, &id, since, output).await
        }
    }
}

async fn start(host: String, paths: Vec<String>, context: Option<&str>, output: &Output) -> Result<(), CtlError> {
    let session = Session::open(context).await?;
    let request = v1::ScanHostRequest { host: host.clone(), paths };
    let started = session.hosts().scan(request).await.map_err(|status| session.failed(status))?.into_inner();
    if output.format != Format::Table {
        return output.json_line(&json!({ "command_uid": started.command_uid }));
    }
    output.line(&started.command_uid)?;
    output.note(&format!("{host} has taken the scan up; how far it is and what it found: picketctl scans show {}", started.command_uid));
    Ok(())
}

/// The newest events of one scan say how it stands.
struct Scan {
    event: Value,
}

impl Scan {
    fn text(&self, pointer: &str) -> String {
        self.event.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count that crossed the wire as a floating-point number")]
    fn number(&self, pointer: &str) -> u64 {
        self.event.pointer(pointer).and_then(Value::as_f64).map_or(0, |number| number as u64)
    }

    fn time(&self, pointer: &str) -> Option<Timestamp> {
        let milliseconds = self.number(pointer);
        (milliseconds > 0).then(|| i64::try_from(milliseconds).ok().and_then(|value| Timestamp::from_millisecond(value).ok())).flatten()
    }

    /// A scan's id is its host's own.
    fn key(&self) -> (String, String) {
        (self.text("/device/uid"), self.text("/scan/uid"))
    }

    fn is(&self, id: &str) -> bool {
        self.text("/scan/uid") == id || self.text("/command_uid") == id
    }

    fn json(&self) -> Value {
        let instant = |pointer: &str| self.time(pointer).map(|at| at.to_string());
        json!({
            "uid": self.text("/scan/uid"),
            "command_uid": self.text("/command_uid"),
            "host": self.text("/device/hostname"),
            "device_uid": self.text("/device/uid"),
            "name": self.text("/scan/name"),
            "trigger": self.text("/scan/type"),
            "state": self.text("/activity_name"),
            "since": instant("/start_time"),
            "until": instant("/end_time"),
            "files": self.number("/num_files"),
            "bytes": self.number("/picket/scan/bytes"),
            "detections": self.number("/num_detections"),
            "skipped": self.number("/num_skipped_items"),
            "trusted": self.number("/num_trusted_items"),
            "rules": self.text("/policy/version"),
            "message": self.text("/message"),
        })
    }
}

/// Events of a query from the newest on, until `enough`; false where there were more than are looked at.
async fn events(session: &Session, query: String, since: Timestamp, until: Option<Timestamp>, enough: &mut dyn FnMut(Value) -> bool) -> Result<bool, CtlError> {
    let mut request = v1::SearchRequest { query, since: Some(when::to_wire(since)), until: until.map(when::to_wire), limit: PAGE, cursor: String::new() };
    let (mut client, mut seen) = (session.events(), 0);
    while seen < EVENTS_MAX {
        let page = client.search(request.clone()).await.map_err(|status| session.failed(status))?.into_inner();
        seen += page.events.len();
        for event in page.events {
            if enough(from_struct(event)) {
                return Ok(true);
            }
        }
        if page.cursor.is_empty() {
            return Ok(!page.stats.is_some_and(|stats| stats.truncated));
        }
        if page.cursor == request.cursor {
            return Err(CtlError::Malformed("a cursor that leads to itself".to_owned()));
        }
        request.cursor = page.cursor;
    }
    Ok(false)
}

async fn list(session: &Session, since: Timestamp, host: Option<&str>, limit: usize, all: bool, output: &Output) -> Result<(), CtlError> {
    let query = match host {
        // As everywhere, a host is named by its uid or by its name.
        Some(host) => format!("class:scan {}:{}", if uuid::Uuid::try_parse(host).is_ok() { "device" } else { "host" }, quoted(host)),
        None => "class:scan".to_owned(),
    };
    let (mut scans, mut known): (Vec<Scan>, _) = (Vec::new(), std::collections::HashSet::new());
    let mut more = false;
    let whole = events(session, query, since, None, &mut |event| {
        let scan = Scan { event };
        // Every file that changes is a scan of its own.
        if (all || scan.text("/scan/type") != "File Changed") && known.insert(scan.key()) {
            more = scans.len() == limit;
            if !more {
                scans.push(scan);
            }
        }
        more
    })
    .await?;
    if output.format == Format::Table {
        output.block(&table(&scans).render(output))?;
    } else {
        output.json_list(scans.iter().map(Scan::json).collect())?;
    }
    if more {
        output.note(&format!("there are more than {limit}: --limit N"));
    } else if scans.is_empty() {
        output.note("no scans in that time; --since 7d looks further back, --all shows those of single files that changed");
    }
    if whole { Ok(()) } else { Err(CtlError::Partial(format!("not every event was looked at ({EVENTS_MAX}); narrow --since or name a --host"))) }
}

fn table(scans: &[Scan]) -> Grid {
    let now = Timestamp::now();
    let mut grid = Grid::new(&["SCAN", "HOST", "STARTED", "STATE", "TRIGGER", "FILES", "FINDINGS", "NOT WHOLE", "BYTES", "WHAT"]);
    for scan in scans {
        grid.row([
            scan.text("/scan/uid"),
            scan.text("/device/hostname"),
            when::ago(scan.time("/start_time"), now),
            scan.text("/activity_name"),
            scan.text("/scan/type"),
            scan.number("/num_files").to_string(),
            scan.number("/num_detections").to_string(),
            scan.number("/num_skipped_items").to_string(),
            bytes(scan.number("/picket/scan/bytes")),
            scan.text("/scan/name"),
        ]);
    }
    grid
}

async fn show(session: &Session, id: &str, since: Timestamp, output: &Output) -> Result<(), CtlError> {
    let mut found: Option<Scan> = None;
    let whole = events(session, "class:scan".to_owned(), since, None, &mut |event| {
        let scan = Scan { event };
        let hit = scan.is(id);
        if hit {
            found = Some(scan);
        }
        hit
    })
    .await?;
    let Some(scan) = found else {
        let looked = if whole { "since then" } else { "in the newest events" };
        return Err(CtlError::NotFound(format!("no scan {id} {looked}; one that was asked for a moment ago may not have begun, --since looks further back")));
    };
    let uid = scan.text("/scan/uid");
    // Findings lie between its start and its end by the clock of the same host, of which the events tell milliseconds.
    let begun = scan.time("/start_time").unwrap_or(since);
    let ended = scan.time("/end_time").and_then(|at| at.checked_add(SignedDuration::from_secs(1)).ok());
    let mut findings = Vec::new();
    let query = format!("class:finding device:{}", quoted(&scan.text("/device/uid")));
    let every = events(session, query, begun, ended, &mut |event| {
        if event.pointer("/picket/scan_uid").and_then(Value::as_str) == Some(uid.as_str()) {
            findings.push(event);
        }
        false
    })
    .await?;
    // Oldest first, as they were made.
    findings.reverse();
    if output.format == Format::Table {
        print(&scan, &findings, output)?;
    } else {
        let mut value = scan.json();
        if let Some(object) = value.as_object_mut() {
            object.insert("findings".to_owned(), Value::Array(findings));
        }
        output.json(&value)?;
    }
    if every { Ok(()) } else { Err(CtlError::Partial("not every finding was looked at; picketctl events search class:finding".to_owned())) }
}

fn print(scan: &Scan, findings: &[Value], output: &Output) -> Result<(), CtlError> {
    let facts = [
        ("scan", scan.text("/scan/uid")),
        ("command", scan.text("/command_uid")),
        ("host", scan.text("/device/hostname")),
        ("what", scan.text("/scan/name")),
        ("trigger", scan.text("/scan/type")),
        ("state", scan.text("/activity_name")),
        ("started", when::date(scan.time("/start_time"))),
        ("ended", when::date(scan.time("/end_time"))),
        ("judged", format!("{} files, {}", scan.number("/num_files"), bytes(scan.number("/picket/scan/bytes")))),
        ("known before", format!("{} files", scan.number("/num_trusted_items"))),
        ("not whole", format!("{} files", scan.number("/num_skipped_items"))),
        ("rules", scan.text("/policy/version")),
        ("message", scan.text("/message")),
    ];
    let shown = facts.iter().filter(|(_, value)| !value.is_empty());
    output.block(&shown.map(|(name, value)| format!("{name:<14}{}\n", clean(value))).collect::<String>())?;
    output.line("")?;
    if findings.is_empty() {
        output.note("no findings of this scan");
        return Ok(());
    }
    let mut grid = Grid::new(&["SEVERITY", "RULE", "VERDICT", "FILE", "TITLE"]);
    for event in findings {
        let cell = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        grid.row(["/severity", "/picket/rule/uid", "/picket/verdict", "/evidences/0/file/path", "/finding_info/title"].map(cell));
    }
    output.block(&grid.render(output))
}

/// A value of the search language that is looked for as it stands.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace(['"', '\\'], ""))
}
