//! From this kernel to the analyst's terminal: what a user does with an artifact shows up in `picketctl events tail` and `search`, each
//! row naming the process, its command line, its parent and its user; `hosts` shows the host and its sensor; `sql` reads the same events.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that meets a surprise ends there")]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    path::Path,
    process::{Child, Command},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use picket_tests::{
    fixture::{Deployment, ServerOptions, WatchedHost},
    host_load::write_safetensors,
    wait,
};
use serde_json::Value;

/// Longest wait for an event that just happened. The aim is a second; a loaded two-core machine gets more.
const VISIBLE_MAX: Duration = Duration::from_secs(20);

/// Rows of `picketctl events tail` as they come.
struct Tail {
    child: Child,
    rows: Arc<Mutex<Vec<Value>>>,
}

impl Tail {
    fn start(deployment: &Deployment, query: &str) -> Self {
        let mut child = deployment.ctl.tail(query).unwrap();
        let output = child.stdout.take().unwrap();
        let rows = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&rows);
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if let Ok(row) = serde_json::from_str(&line) {
                    shared.lock().unwrap().push(row);
                }
            }
        });
        Self { child, rows }
    }

    fn wait_for(&self, what: &str, matches: impl Fn(&Value) -> bool) -> Value {
        wait::until(what, VISIBLE_MAX, || Ok(self.rows.lock().unwrap().iter().find(|row| matches(row)).cloned())).unwrap_or_else(|error| {
            let rows = self.rows.lock().unwrap();
            let seen: Vec<_> = rows.iter().map(|row| row["message"].to_string()).collect();
            panic!("{error:#}; tail gave {} rows: {}", rows.len(), seen.join("\n"))
        })
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn file_row(row: &Value, activity: u64, path: &Path) -> bool {
    row["class_uid"] == 1001 && row["activity_id"] == activity && row["file"]["path"] == *path.to_string_lossy()
}

/// Who did it, in one row: process, command line, parent with its command line, user.
fn names_its_actor(row: &Value, program: &str, command: &str) {
    let process = &row["actor"]["process"];
    assert_eq!(process["name"], program, "{row:#}");
    assert!(process["cmd_line"].as_str().unwrap_or_default().contains(command), "{row:#}");
    assert!(process["pid"].as_u64().unwrap_or_default() > 1, "{row:#}");
    assert!(!process["uid"].as_str().unwrap_or_default().is_empty(), "{row:#}");
    assert_eq!(process["user"]["name"], "root", "{row:#}");
    let parent = &process["parent_process"];
    assert!(!parent["name"].as_str().unwrap_or_default().is_empty(), "{row:#}");
    assert!(!parent["cmd_line"].as_str().unwrap_or_default().is_empty(), "{row:#}");
    assert!(!row["picket"]["exec_tree_id"].as_str().unwrap_or_default().is_empty(), "{row:#}");
}

#[test]
fn an_artifact_is_copied_read_by_mmap_and_removed() {
    let Some(mut watched) = WatchedHost::start("an_artifact_is_copied_read_by_mmap_and_removed") else { return };
    let tail = Tail::start(&watched.deployment, "class:file");
    std::thread::sleep(Duration::from_millis(500));
    let outside = tempfile::tempdir().unwrap();
    let original = outside.path().join("base.safetensors");
    write_safetensors(&original, 1 << 20).unwrap();
    let copy = watched.models.join("stolen-weights.safetensors");
    let began = Instant::now();
    run(Command::new("cp").arg(&original).arg(&copy));
    let read = tail.wait_for("cp opens the original", |row| file_row(row, 14, &original));
    eprintln!("cp seen in tail after {} ms", began.elapsed().as_millis());
    names_its_actor(&read, "cp", "base.safetensors");
    let created = tail.wait_for("cp creates the copy", |row| file_row(row, 1, &copy));
    names_its_actor(&created, "cp", "stolen-weights.safetensors");
    assert_eq!(created["picket"]["asset_class"], "model", "{created:#}");
    let written = tail.wait_for("the copy is closed after writing", |row| file_row(row, 3, &copy));
    assert!(written["file"]["size"].as_u64().unwrap_or_default() > 1 << 20, "{written:#}");

    let script = "import mmap, sys\nwith open(sys.argv[1], 'rb') as f:\n    m = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ)\n    print(sum(m[::4096]))";
    run(Command::new("python3").args(["-c", script]).arg(&copy));
    let mapped = tail.wait_for("python opens the copy", |row| file_row(row, 14, &copy) && row["actor"]["process"]["cmd_line"].to_string().contains("mmap"));
    assert!(mapped["actor"]["process"]["name"].as_str().unwrap_or_default().starts_with("python"), "{mapped:#}");

    run(Command::new("rm").arg(&copy));
    let removed = tail.wait_for("rm deletes the copy", |row| file_row(row, 4, &copy));
    names_its_actor(&removed, "rm", "stolen-weights.safetensors");

    let ctl = &watched.deployment.ctl;
    let found = ctl.search("stolen-weights.safetensors class:file", 100).unwrap();
    for activity in [1, 3, 14, 4] {
        assert!(found.iter().any(|row| file_row(row, activity, &copy)), "search finds activity {activity}: {found:#?}");
    }
    // Whoever launched them is found by the same words.
    let launches = ctl.search("process.cmd_line:*stolen-weights* class:process", 100);
    let launches = launches.or_else(|_| ctl.search("stolen-weights class:process", 100)).unwrap();
    assert!(launches.iter().any(|row| row["activity_id"] == 1 && row["process"]["name"] == "cp"), "{launches:#?}");
    let counted = ctl.number(&format!("SELECT count(*) FROM files WHERE path = '{}'", copy.display())).unwrap();
    assert_eq!(counted, found.iter().filter(|row| row["file"]["path"] == *copy.to_string_lossy()).count() as u64, "sql and search see the same events");
    watched.agent.stop().unwrap();
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn curl_against_a_local_listener() {
    let Some(mut watched) = WatchedHost::start("curl_against_a_local_listener") else { return };
    let tail = Tail::start(&watched.deployment, "class:network");
    std::thread::sleep(Duration::from_millis(500));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0_u8; 4096];
        let read = stream.read(&mut request).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2000\r\nConnection: close\r\n\r\n").unwrap();
        stream.write_all(&[b'x'; 2000]).unwrap();
        read
    });
    let url = format!("http://127.0.0.1:{port}/weights");
    run(Command::new("curl").args(["-s", "-o", "/dev/null", &url]));
    let requested = server.join().unwrap();
    let outbound = |row: &Value, activity: u64| {
        row["class_uid"] == 4001 && row["activity_id"] == activity && row["dst_endpoint"]["port"] == port && row["connection_info"]["direction_id"] == 2
    };
    let opened = tail.wait_for("curl connects", |row| outbound(row, 1));
    names_its_actor(&opened, "curl", &url);
    assert_eq!(opened["dst_endpoint"]["ip"], "127.0.0.1", "{opened:#}");
    let closed = tail.wait_for("curl closes", |row| outbound(row, 2));
    assert!(closed["traffic"]["bytes_in"].as_u64().unwrap_or_default() >= 2_000, "{closed:#}");
    assert_eq!(closed["traffic"]["bytes_out"].as_u64().unwrap_or_default(), requested as u64, "{closed:#}");
    let accepted = tail.wait_for("this process accepts", |row| {
        row["class_uid"] == 4001 && row["activity_id"] == 1 && row["connection_info"]["direction_id"] == 1 && row["dst_endpoint"]["port"] == port
    });
    assert_eq!(accepted["actor"]["process"]["pid"], std::process::id(), "{accepted:#}");
    let found = watched.deployment.ctl.search(&format!("port:{port}"), 50).unwrap();
    assert!(found.len() >= 3, "{found:#?}");
    watched.agent.stop().unwrap();
}

#[test]
fn the_host_shows_its_kernel_probes_drops_spool_and_cost() {
    let Some(mut watched) = WatchedHost::start("the_host_shows_its_kernel_probes_drops_spool_and_cost") else { return };
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let heartbeat = |text: &str| text.contains("rss_bytes") || text.contains("rssBytes");
    let text = wait::until("a heartbeat", Duration::from_secs(30), || {
        let text = watched.as_listed()?;
        Ok(heartbeat(&text).then_some(text))
    })
    .unwrap();
    let hosts: Value = serde_json::from_str(&text).unwrap_or_else(|_| Value::Array(text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()));
    let text = hosts.to_string();
    assert!(text.contains(release.trim()), "the kernel: {text}");
    for word in ["probes", "attached", "spool", "cpu", "rss", "events"] {
        assert!(text.to_lowercase().contains(word), "{word}: {text}");
    }
    let uid = find_key(&hosts, &["device_uid", "deviceUid"]).and_then(|uid| uid.as_str().map(str::to_owned)).unwrap();
    let shown = watched.deployment.ctl.text(&["hosts", "show", &uid]).unwrap();
    for word in [release.trim(), "sched_process_exec", "spool"] {
        assert!(shown.to_lowercase().contains(word), "{word} in:\n{shown}");
    }
    let missing = watched.deployment.ctl.output(&["hosts", "show", "no-such-host"]).unwrap();
    assert_eq!(missing.status.code(), Some(3), "an unknown host exits with 3");
    let status = watched.agent.status().unwrap();
    assert!(status.to_string().contains("probes"), "{status}");
    watched.agent.stop().unwrap();
}

/// The value of the first of `names` anywhere within.
fn find_key<'a>(value: &'a Value, names: &[&str]) -> Option<&'a Value> {
    match value {
        Value::Object(object) => names.iter().find_map(|name| object.get(*name)).or_else(|| object.values().find_map(|value| find_key(value, names))),
        Value::Array(list) => list.iter().find_map(|value| find_key(value, names)),
        _ => None,
    }
}

#[test]
fn sql_is_read_only() {
    let deployment = Deployment::start(&ServerOptions::default()).unwrap();
    assert_eq!(deployment.ctl.number("SELECT count(*) FROM events").unwrap(), 0);
    let target = deployment.folder().join("out.csv");
    for statement in [
        "DROP TABLE events".to_owned(),
        "DELETE FROM events".to_owned(),
        "INSERT INTO events SELECT * FROM events".to_owned(),
        "CREATE TABLE t AS SELECT 1".to_owned(),
        format!("COPY (SELECT 1) TO '{}'", target.display()),
        "CREATE EXTERNAL TABLE x STORED AS CSV LOCATION '/etc/passwd'".to_owned(),
        "SET datafusion.execution.batch_size = 1".to_owned(),
        "SELECT * FROM '/etc/passwd'".to_owned(),
    ] {
        let output = deployment.ctl.output(&["sql", &statement]).unwrap();
        assert!(!output.status.success(), "{statement} was run: {}", String::from_utf8_lossy(&output.stdout));
    }
    assert!(!target.exists());
    assert_eq!(deployment.ctl.number("SELECT count(*) FROM events").unwrap(), 0);
}
