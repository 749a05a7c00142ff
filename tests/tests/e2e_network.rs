//! From this kernel to a search: an upload that is still running, a name that is asked for, a runtime's socket.

use std::{
    io::Read,
    net::TcpListener,
    os::unix::net::{UnixListener, UnixStream},
    process::{Command, Stdio},
    time::Duration,
};

use picket_tests::{fixture::WatchedHost, wait};
use serde_json::Value;

/// Rounds are 5 s apart; a loaded two-core machine gets more.
const VISIBLE_MAX: Duration = Duration::from_secs(40);

#[test]
fn an_upload_is_found_while_it_runs() {
    let Some(mut watched) = WatchedHost::start("an_upload_is_found_while_it_runs") else { return };
    let folder = tempfile::tempdir().unwrap();
    let weights = folder.path().join("weights");
    std::fs::write(&weights, vec![7; 60 << 20]).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    // Takes everything and answers nothing: the upload ends when it is ended here.
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut bytes = vec![0; 1 << 16];
        while stream.read(&mut bytes).is_ok_and(|read| read > 0) {}
    });
    let url = format!("http://127.0.0.1:{port}/");
    let mut upload =
        Command::new("curl").args(["-s", "-H", "Expect:", "--limit-rate", "1M", "-T"]).arg(&weights).arg(&url).stdout(Stdio::null()).spawn().unwrap();
    let of_curl = |row: &&Value| row["actor"]["process"]["name"] == "curl" && row["dst_endpoint"]["port"] == port;
    let sent = |row: &Value| row["cumulative_traffic"]["bytes_out"].as_u64().unwrap_or_default();
    let traffic = |rows: &[Value]| {
        let mut sums: Vec<u64> = rows.iter().filter(of_curl).filter(|row| row["activity_id"] == 6).map(sent).collect();
        sums.sort_unstable();
        sums
    };
    let rows = watched.rows(&format!("port:{port} class:network"), VISIBLE_MAX, |rows| traffic(rows).len() >= 2).unwrap();
    assert!(upload.try_wait().unwrap().is_none(), "the upload still runs");
    let sums = traffic(&rows);
    assert!(sums[0] >= 64 << 10 && sums[0] < sums[1], "{sums:?}");
    let row = rows.iter().filter(of_curl).find(|row| row["activity_id"] == 6).unwrap();
    assert_eq!(row["actor"]["process"]["pid"], upload.id(), "{row:#}");
    assert!(row["actor"]["process"]["cmd_line"].as_str().unwrap().contains(&url), "{row:#}");
    assert_eq!((&row["connection_info"]["direction_id"], &row["dst_endpoint"]["ip"]), (&Value::from(2), &Value::from("127.0.0.1")), "{row:#}");
    upload.kill().unwrap();
    upload.wait().unwrap();
    server.join().unwrap();
    let rows = watched.rows(&format!("port:{port} class:network"), VISIBLE_MAX, |rows| rows.iter().filter(of_curl).any(|row| row["activity_id"] == 2)).unwrap();
    let closed = rows.iter().filter(of_curl).find(|row| row["activity_id"] == 2).unwrap();
    assert!(closed["traffic"]["bytes_out"].as_u64().unwrap() >= sums[1], "the close has the total: {closed:#}");
    assert!(rows.iter().any(|row| row["activity_id"] == 7 && row["dst_endpoint"]["port"] == port && row["actor"]["process"]["pid"] == std::process::id()));
    watched.agent.stop().unwrap();
}

/// Answers A with 10.9.8.7 and says that there is no AAAA; then another process asks through the system's resolver.
const RESOLVER: &str = r"
import socket, subprocess, sys, threading
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(('127.0.0.53', 53))
def serve():
    while True:
        query, peer = server.recvfrom(1500)
        end = query.index(b'\0', 12) + 5
        kind = query[end - 4:end - 2]
        answer = b'\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\x0a\x09\x08\x07' if kind == b'\0\x01' else b''
        server.sendto(query[:2] + b'\x81\x80\0\x01' + (b'\0\x01' if answer else b'\0\0') + b'\0\0\0\0' + query[12:end] + answer, peer)
threading.Thread(target=serve, daemon=True).start()
asker = subprocess.Popen([sys.executable, '-c', 'import socket,sys;print(socket.getaddrinfo(sys.argv[1],443)[0][4][0])', sys.argv[1]], stdout=subprocess.PIPE)
out, _ = asker.communicate(timeout=30)
print(asker.pid, out.decode().strip())
";

#[test]
fn a_name_is_asked_for_in_a_namespace_of_its_own() {
    let name = "a_name_is_asked_for_in_a_namespace_of_its_own";
    if !["unshare", "ip"].iter().all(|program| Command::new(program).arg("--help").output().is_ok()) {
        wait::skipped(name, "unshare and ip are not installed");
        return;
    }
    let Some(mut watched) = WatchedHost::start(name) else { return };
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("resolv.conf"), "nameserver 127.0.0.53\n").unwrap();
    std::fs::write(folder.path().join("resolver.py"), RESOLVER).unwrap();
    let host = format!("weights-{}.picket.test", std::process::id());
    let within = format!("ip link set lo up && mount --bind resolv.conf /etc/resolv.conf && exec python3 resolver.py {host}");
    let asked = Command::new("unshare").args(["--net", "--mount", "sh", "-c", &within]).current_dir(folder.path()).output().unwrap();
    let said = String::from_utf8_lossy(&asked.stdout).trim().to_owned();
    assert!(asked.status.success(), "{said} {}", String::from_utf8_lossy(&asked.stderr));
    let (pid, address) = said.split_once(' ').unwrap();
    assert_eq!(address, "10.9.8.7");
    let pid: u32 = pid.parse().unwrap();
    let rows = watched.rows(&format!("{host} class:dns"), VISIBLE_MAX, |rows| rows.len() >= 4).unwrap();
    let of = |activity: u64, kind: &str| {
        rows.iter().find(|row| row["activity_id"] == activity && row["query"]["type"] == kind).unwrap_or_else(|| panic!("{rows:#?}"))
    };
    for row in [of(1, "A"), of(2, "A"), of(1, "AAAA"), of(2, "AAAA")] {
        assert_eq!((&row["query"]["hostname"], &row["query"]["class"]), (&Value::from(host.as_str()), &Value::from("IN")), "{row:#}");
        assert_eq!(row["actor"]["process"]["pid"], pid, "who asked, not who answered: {row:#}");
        assert_eq!((&row["dst_endpoint"]["ip"], &row["dst_endpoint"]["port"]), (&Value::from("127.0.0.53"), &Value::from(53)), "{row:#}");
        assert_eq!(row["connection_info"]["protocol_num"], 17, "{row:#}");
    }
    let answered = of(2, "A");
    assert_eq!(
        (&answered["answers"][0]["rdata"], &answered["answers"][0]["ttl"], &answered["rcode_id"]),
        (&Value::from("10.9.8.7"), &Value::from(60), &Value::from(0))
    );
    let took = answered["response_time"].as_i64().unwrap() - answered["query_time"].as_i64().unwrap();
    assert!((0..30_000).contains(&took), "{answered:#}");
    assert_eq!(of(2, "AAAA")["answers"], Value::Null);
    watched.agent.stop().unwrap();
}

#[test]
fn a_runtimes_socket_is_reached() {
    let Some(mut watched) = WatchedHost::start("a_runtimes_socket_is_reached") else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("docker.sock");
    let _listener = UnixListener::bind(&path).unwrap();
    drop(UnixStream::connect(&path).unwrap());
    let text = path.to_string_lossy();
    let rows = watched.rows(&format!("file.path:{text} class:file"), VISIBLE_MAX, |rows| !rows.is_empty()).unwrap();
    let row = &rows[0];
    assert_eq!(
        (&row["activity_id"], &row["file"]["path"], &row["actor"]["process"]["pid"]),
        (&Value::from(14), &Value::from(&*text), &Value::from(std::process::id()))
    );
    assert_eq!(row["picket"]["method"], "connect", "{row:#}");
    watched.agent.stop().unwrap();
}
