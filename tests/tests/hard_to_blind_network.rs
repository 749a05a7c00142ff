//! Packets dropped by the host's own firewall, processes that hide in a network namespace, and a flood by a user without any right, against the real
//! agent and its server. The rest of docs/hardening.md is in hard_to_blind.rs.
#![expect(clippy::unwrap_used, reason = "a test that meets a surprise ends there")]

use std::{
    path::Path,
    process::{Command, Output},
    time::Duration,
};

use picket_tests::{
    binaries::can_trace,
    ctl::Ctl,
    fixture::{Agent, AgentOptions, Deployment, ServerOptions},
    wait,
};
use serde_json::Value;

/// Set in a run of a test inside a network namespace of its own.
const INSIDE: &str = "PICKET_TEST_IN_NAMESPACE";

/// Runs this test again in a new network namespace; true where this is that run.
fn inside_a_namespace(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        run(Command::new("ip").args(["link", "set", "lo", "up"]));
        return true;
    }
    let mut again = Command::new("unshare");
    again.arg("-n").arg(std::env::current_exe().unwrap()).args([test, "--exact", "--nocapture", "--test-threads=1"]).env(INSIDE, "1");
    let output = again.output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
    false
}

fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    output
}

fn installed(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok()
}

fn scene(extensions: Vec<String>) -> (Deployment, Agent) {
    let deployment = Deployment::start(&ServerOptions { flush_interval_s: 2, silent_after_s: 6, ..ServerOptions::default() }).unwrap();
    let mut agent = deployment.agent(deployment.server.agent_address(), &AgentOptions { heartbeat_seconds: 1, extensions, ..AgentOptions::default() }).unwrap();
    agent.run().unwrap();
    becomes(&deployment.ctl, "STATE_CONNECTED", &agent);
    (deployment, agent)
}

fn becomes(ctl: &Ctl, state: &str, agent: &Agent) {
    let found = wait::until(&format!("the host is {state}"), Duration::from_secs(90), || {
        let text = ctl.text(&["hosts", "list", "--format", "json"])?;
        if text.contains(&format!("\"{state}\"")) { Ok(Some(())) } else { anyhow::bail!("{text}") }
    });
    found.unwrap_or_else(|error| panic!("{error:#}\n{}", agent.log()));
}

/// Waits for a row that `holds`.
fn found(ctl: &Ctl, query: &str, holds: impl Fn(&Value) -> bool) {
    wait::until(query, Duration::from_secs(60), || {
        let rows = ctl.search(query, 100)?;
        if rows.iter().any(&holds) { Ok(Some(())) } else { anyhow::bail!("{rows:?}") }
    })
    .unwrap();
}

#[test]
fn a_firewall_that_drops_the_agents_packets_makes_it_silent_and_loses_nothing() {
    let test = "a_firewall_that_drops_the_agents_packets_makes_it_silent_and_loses_nothing";
    if let Some(reason) = can_trace() {
        return wait::skipped(test, &reason);
    }
    if !installed("nft") || !installed("ip") {
        return wait::skipped(test, "nft or ip is not installed");
    }
    if !inside_a_namespace(test) {
        return;
    }
    let (deployment, mut agent) = scene(Vec::new());
    let port = deployment.server.agent_address().port().to_string();
    run(Command::new("nft").args(["add table inet picket_test"]));
    run(Command::new("nft").args(["add chain inet picket_test input { type filter hook input priority 0; }"]));
    run(Command::new("nft").args(["add", "rule", "inet", "picket_test", "input", "tcp", "dport", &port, "drop"]));
    run(Command::new("nft").args(["add", "rule", "inet", "picket_test", "input", "tcp", "sport", &port, "drop"]));
    becomes(&deployment.ctl, "STATE_SILENT", &agent);
    let path = deployment.folder().join("meanwhile.safetensors");
    std::fs::write(&path, b"weights").unwrap();
    run(Command::new("nft").args(["delete table inet picket_test"]));
    becomes(&deployment.ctl, "STATE_CONNECTED", &agent);
    found(&deployment.ctl, &format!("class:file file.path:{}", path.display()), |_| true);
    agent.stop().unwrap();
}

#[test]
fn a_process_in_a_network_namespace_of_its_own_is_seen() {
    let test = "a_process_in_a_network_namespace_of_its_own_is_seen";
    if let Some(reason) = can_trace() {
        return wait::skipped(test, &reason);
    }
    if !installed("ip") {
        return wait::skipped(test, "ip is not installed");
    }
    let (deployment, mut agent) = scene(Vec::new());
    let path = deployment.folder().join("hidden.safetensors");
    std::fs::write(&path, vec![1; 70_000]).unwrap();
    let script = "import socket, subprocess, sys\n\
        subprocess.run(['ip', 'link', 'set', 'lo', 'up'], check=True)\n\
        listener = socket.create_server(('127.0.0.1', 0)); port = listener.getsockname()[1]\n\
        out = socket.create_connection(('127.0.0.1', port)); got, _ = listener.accept()\n\
        data = open(sys.argv[1], 'rb').read(); out.sendall(data); out.close()\n\
        n = 0\n\
        while chunk := got.recv(65536): n += len(chunk)\n\
        assert n == len(data); print(port)\n";
    let output = run(Command::new("unshare").args(["-n", "python3", "-c", script]).arg(&path));
    let port = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let by_python = |row: &Value| row["actor"]["process"]["name"].as_str().is_some_and(|name| name.starts_with("python"));
    found(&deployment.ctl, &format!("class:file file.path:{}", path.display()), by_python);
    let sent = |row: &Value| row["traffic"]["bytes_out"].as_u64().is_some_and(|bytes| bytes >= 70_000);
    found(&deployment.ctl, &format!("class:network port:{port}"), sent);
    agent.stop().unwrap();
}

/// 24 processes without any right that hold 900 descriptions each: more than the sensor's table of written files has entries (16,384).
const FLOOD: &str = "import os, sys, time\n\
    path = sys.argv[1]\n\
    os.setgroups([]); os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)\n\
    children = []\n\
    for _ in range(24):\n\
    \x20   pid = os.fork()\n\
    \x20   if pid == 0:\n\
    \x20       held = [os.open(path, os.O_WRONLY) for _ in range(900)]\n\
    \x20       time.sleep(6)\n\
    \x20       os._exit(0)\n\
    \x20   children.append(pid)\n\
    for pid in children: os.waitpid(pid, 0)\n";

#[test]
fn a_flood_by_a_user_without_rights_is_counted_and_survived() {
    let test = "a_flood_by_a_user_without_rights_is_counted_and_survived";
    if let Some(reason) = can_trace() {
        return wait::skipped(test, &reason);
    }
    let (deployment, mut agent) = scene(vec![".pkflood".to_owned()]);
    let folder = tempfile::tempdir().unwrap();
    nix::unistd::chown(folder.path(), Some(nix::unistd::Uid::from_raw(65_534)), None).unwrap();
    let path = folder.path().join("weights.pkflood");
    std::fs::write(&path, b"weights").unwrap();
    nix::unistd::chown(&path, Some(nix::unistd::Uid::from_raw(65_534)), None).unwrap();
    let pid = agent.pid().unwrap();
    run(Command::new("python3").args(["-c", FLOOD]).arg(&path).current_dir("/"));
    let losses = wait::until("the overflow is told", Duration::from_secs(60), || {
        let rows = deployment.ctl.search("activity:loss", 500)?;
        let full = rows.iter().filter(|row| row["status_code"] == "map_full" && row["count"].as_u64().is_some_and(|count| count > 0)).count();
        Ok((full > 0).then_some(full))
    });
    assert!(losses.is_ok(), "{losses:?}\n{}", agent.log());
    // It is still the same process, and sees what comes after.
    assert_eq!(agent.pid().unwrap(), pid);
    assert!(Path::new(&format!("/proc/{pid}")).exists());
    let after = folder.path().join("after.pkflood");
    std::fs::write(&after, b"x").unwrap();
    found(&deployment.ctl, &format!("class:file file.path:{}", after.display()), |_| true);
    agent.stop().unwrap();
}
