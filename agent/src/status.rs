//! The status socket: a connection gets one JSON object and is closed. Root's alone (0600 in a 0700 folder); it takes no input.

use std::{
    fs::DirBuilder,
    io::{self, Read},
    os::unix::{
        fs::{DirBuilderExt, PermissionsExt},
        net::UnixStream,
    },
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use serde_json::Value;
use tokio::{io::AsyncWriteExt, net::UnixListener};

use crate::state::AgentState;

const WRITE_MAX: Duration = Duration::from_secs(5);
const READ_MAX: Duration = Duration::from_secs(10);
const STATUS_BYTES_MAX: u64 = 4 << 20;

/// The listening socket; its file goes with it.
pub(crate) struct StatusSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl StatusSocket {
    /// Takes the place of one that a killed agent left behind. The spool's lock has made sure that no other agent runs.
    pub(crate) fn bind(path: &Path) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        Ok(Self { listener, path: path.to_path_buf() })
    }

    /// Answers for ever.
    pub(crate) async fn serve(self, state: Arc<AgentState>) {
        loop {
            match self.listener.accept().await {
                Ok((mut stream, _)) => {
                    let text = format!("{}\n", state.status());
                    // One at a time: whoever does not read is cut off.
                    let _ = tokio::time::timeout(WRITE_MAX, stream.write_all(text.as_bytes())).await;
                }
                Err(error) => {
                    tracing::warn!(%error, "the status socket");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
    }
}

impl Drop for StatusSocket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Asks a running agent.
pub(crate) fn ask(path: &Path) -> anyhow::Result<Value> {
    use anyhow::Context;
    let stream = UnixStream::connect(path).with_context(|| format!("no agent answers at {} (is it running, and are you root?)", path.display()))?;
    stream.set_read_timeout(Some(READ_MAX))?;
    let mut text = String::new();
    stream.take(STATUS_BYTES_MAX).read_to_string(&mut text)?;
    serde_json::from_str(&text).context("the agent's answer is no JSON")
}

/// For people.
pub(crate) fn table(status: &Value) -> String {
    let text = |pointer: &str| match status.pointer(pointer) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => String::new(),
        Some(other) => other.to_string(),
    };
    let number = |pointer: &str| status.pointer(pointer).and_then(Value::as_f64).unwrap_or(0.0);
    let mebibytes = |pointer: &str| number(pointer) / f64::from(1 << 20);
    let list = |pointer: &str| status.pointer(pointer).and_then(Value::as_array).cloned().unwrap_or_default();
    let field = |value: &Value, name: &str| value.get(name).map_or_else(String::new, |value| value.as_str().map_or_else(|| value.to_string(), str::to_owned));
    let mut lines = vec![
        format!("agent      {} (pid {}, up {} s)", text("/agent_version"), text("/pid"), text("/uptime_s")),
        format!("server     {} {} {}", text("/link/state"), text("/link/server"), text("/link/last_error")),
        format!("device     {}", text("/link/device_uid")),
        format!("kernel     {}", text("/capabilities/kernel")),
        format!("events     {} ({} waiting)", text("/events_total"), text("/spool/events")),
        format!("spool      {:.1} of {:.0} MiB", mebibytes("/spool/bytes"), mebibytes("/spool/bytes_max")),
        format!(
            "cpu        {:.1} % of one CPU (budget {:.1} %, shedding level {})",
            number("/budget/cpu_percent"),
            number("/budget/cpu_percent_max"),
            text("/budget/shedding_level")
        ),
        format!("memory     {:.1} of {:.0} MiB", mebibytes("/budget/rss_bytes"), mebibytes("/budget/memory_bytes_max")),
        format!("processes  {}", text("/processes")),
        format!(
            "config     {} {} {}",
            text("/config/file"),
            list("/config/restart_needed").iter().map(Value::to_string).collect::<Vec<_>>().join(" "),
            text("/config/error")
        ),
    ];
    lines.push("losses".to_owned());
    let losses = list("/losses");
    if losses.is_empty() {
        lines.push("  none".to_owned());
    }
    lines.extend(losses.iter().map(|loss| format!("  {:<14} class {:<5} {}", field(loss, "cause"), field(loss, "class_uid"), field(loss, "count"))));
    lines.push("probes".to_owned());
    let attached = |value: &Value, name: &str| if value.get(name).and_then(Value::as_bool).unwrap_or(false) { "yes" } else { "NO" };
    lines.extend(
        list("/capabilities/probes")
            .iter()
            .map(|probe| format!("  {:<4} {:<20} {} {}", attached(probe, "attached"), field(probe, "name"), field(probe, "hook"), field(probe, "reason"))),
    );
    lines.push("watches".to_owned());
    lines.extend(
        list("/capabilities/watches")
            .iter()
            .map(|watch| format!("  {:<4} {:<10} {} {}", attached(watch, "active"), field(watch, "asset_class"), field(watch, "path"), field(watch, "reason"))),
    );
    lines.into_iter().map(|line| format!("{}\n", line.trim_end())).collect()
}
