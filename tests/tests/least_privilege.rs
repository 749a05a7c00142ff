//! What the programs keep for themselves: no listening port on the agent, few capabilities after its probes are loaded, and no file of
//! either state folder that another user could read, keys least of all.
#![expect(clippy::unwrap_used, reason = "a test that meets a surprise ends there")]

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use picket_tests::{
    binaries::can_trace,
    fixture::{AgentOptions, Deployment, ServerOptions},
    wait,
};

/// Capabilities that the running agent may hold, by their numbers: DAC_READ_SEARCH (executables and /proc of others), SYS_PTRACE (their
/// links in /proc), PERFMON and BPF (iterators and maps).
const KEPT: u64 = 1 << 2 | 1 << 19 | 1 << 38 | 1 << 39;

/// Every file and folder below, links not followed.
fn below(folder: &Path) -> Vec<PathBuf> {
    let mut found = vec![folder.to_path_buf()];
    let mut next = 0;
    while let Some(path) = found.get(next).cloned() {
        next += 1;
        if path.symlink_metadata().is_ok_and(|metadata| metadata.is_dir()) {
            found.extend(fs::read_dir(&path).into_iter().flatten().flatten().map(|entry| entry.path()));
        }
    }
    found
}

/// Paths that group or others may read, write or enter although no parent within `root` keeps them out.
fn open_to_others(root: &Path) -> Vec<String> {
    let closed = |path: &Path| path.symlink_metadata().is_ok_and(|metadata| metadata.permissions().mode() & 0o077 == 0);
    let reachable = |path: &Path| !path.ancestors().take_while(|ancestor| ancestor.starts_with(root)).any(closed);
    below(root).iter().filter(|path| reachable(path)).map(|path| path.display().to_string()).collect()
}

/// Keys are closed on their own account as well, whatever folder they are moved to.
fn open_keys(root: &Path) -> Vec<String> {
    let is_key = |path: &Path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        path.is_file() && (name.contains("key") || fs::read(path).is_ok_and(|bytes| bytes.windows(11).any(|window| window == b"PRIVATE KEY")))
    };
    below(root)
        .iter()
        .filter(|path| is_key(path) && path.metadata().is_ok_and(|metadata| metadata.mode() & 0o177 != 0))
        .map(|path| path.display().to_string())
        .collect()
}

#[test]
fn nobody_else_can_read_the_servers_state() {
    let deployment = Deployment::start(&ServerOptions::default()).unwrap();
    deployment.enrol("any").unwrap();
    let state = deployment.server.state();
    assert!(below(&state).len() > 5, "{:?}", below(&state));
    assert_eq!(open_to_others(&state), Vec::<String>::new());
    assert_eq!(open_keys(&state), Vec::<String>::new());
    // A secret in a log would outlive every permission.
    let token = deployment.server.enrol_token().unwrap();
    let secret = token.split('.').nth(2).unwrap();
    let code = deployment.server.sign_in_code().unwrap();
    let code = code.split('.').nth(2).unwrap();
    let log = deployment.server.log();
    assert!(!log.contains(secret) && !log.contains(code) && !log.contains("PRIVATE KEY"), "the log holds a secret");
}

#[test]
fn the_agent_keeps_little_power_and_no_open_door() {
    if let Some(reason) = can_trace() {
        return wait::skipped("the_agent_keeps_little_power_and_no_open_door", &reason);
    }
    let deployment = Deployment::start(&ServerOptions::default()).unwrap();
    let mut agent = deployment.agent(deployment.server.agent_address(), &AgentOptions::default()).unwrap();
    agent.run().unwrap();
    let pid = agent.pid().unwrap();
    wait::until("capabilities are dropped", Duration::from_secs(10), || {
        let kept = capabilities(pid)?;
        if kept & !KEPT == 0 { Ok(Some(())) } else { anyhow::bail!("effective capabilities {kept:#x}") }
    })
    .unwrap();
    assert_eq!(status_field(pid, "NoNewPrivs:"), "1");
    assert_eq!(listening(pid), Vec::<String>::new());
    assert_eq!(open_to_others(&agent.state()), Vec::<String>::new());
    assert_eq!(open_keys(&agent.state()), Vec::<String>::new());
    let run = agent.state().with_file_name("run");
    assert_eq!(open_to_others(&run), Vec::<String>::new());
    agent.stop().unwrap();
}

fn status_field(pid: u32, name: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned()
}

/// Of every thread together: one that kept more would be enough for an intruder.
fn capabilities(pid: u32) -> anyhow::Result<u64> {
    let mut all = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let status = fs::read_to_string(thread?.path().join("status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap_or("0");
        all |= u64::from_str_radix(line.trim(), 16)?;
    }
    Ok(all)
}

/// Sockets of the process that listen on TCP.
fn listening(pid: u32) -> Vec<String> {
    let links = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    let own: Vec<String> = links
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .filter_map(|link| link.to_string_lossy().strip_prefix("socket:[").and_then(|rest| rest.strip_suffix(']')).map(str::to_owned))
        .collect();
    let tables = ["tcp", "tcp6"].map(|table| fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap_or_default());
    let rows = tables.iter().flat_map(|table| table.lines().skip(1));
    rows.filter(|row| {
        let fields: Vec<_> = row.split_whitespace().collect();
        // State 0A is LISTEN; field 9 is the inode.
        fields.get(3) == Some(&"0A") && fields.get(9).is_some_and(|inode| own.iter().any(|socket| socket == inode))
    })
    .map(str::to_owned)
    .collect()
}
