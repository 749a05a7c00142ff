//! Runs the real `picketctl` with a configuration of its own.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::binaries::program;

/// A signed-in command line.
#[derive(Clone, Debug)]
pub struct Ctl {
    program: PathBuf,
    config: PathBuf,
}

impl Ctl {
    /// Signs in at `url` with a one-time code; the configuration is kept in `folder`.
    pub fn login(url: &str, code: &str, folder: &Path) -> Result<Self> {
        let ctl = Self { program: program("picketctl")?, config: folder.join("picketctl.toml") };
        let code_file = folder.join("sign-in.code");
        std::fs::write(&code_file, code).context("write the sign-in code")?;
        let output = ctl.command().args(["login", url, "--code-file"]).arg(&code_file).output().context("run picketctl login")?;
        if !output.status.success() {
            bail!("picketctl login: {}: {}", output.status, String::from_utf8_lossy(&output.stderr));
        }
        Ok(ctl)
    }

    /// A command with its configuration set and its output captured.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.env("PICKET_CONFIG", &self.config).env("NO_COLOR", "1").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs to the end, whatever its exit code.
    pub fn output(&self, arguments: &[&str]) -> Result<Output> {
        self.command().args(arguments).output().with_context(|| format!("run picketctl {arguments:?}"))
    }

    /// Standard output of a run that succeeded.
    pub fn text(&self, arguments: &[&str]) -> Result<String> {
        let output = self.output(arguments)?;
        if !output.status.success() {
            bail!("picketctl {arguments:?}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr));
        }
        String::from_utf8(output.stdout).context("picketctl prints UTF-8")
    }

    /// One JSON value a line.
    pub fn lines(&self, arguments: &[&str]) -> Result<Vec<Value>> {
        let text = self.text(arguments)?;
        text.lines().filter(|line| !line.trim().is_empty()).map(|line| serde_json::from_str(line).with_context(|| format!("line {line:?}"))).collect()
    }

    /// Events that match, newest first, as OCSF JSON.
    pub fn search(&self, query: &str, limit: usize) -> Result<Vec<Value>> {
        self.lines(&["events", "search", query, "--format", "jsonl", "--limit", &limit.to_string()])
    }

    /// A follower of new events; the caller reads its standard output and ends it.
    pub fn tail(&self, query: &str) -> Result<Child> {
        self.command().args(["events", "tail", query, "--format", "jsonl"]).spawn().context("run picketctl events tail")
    }

    /// Rows of a query, one object a row.
    pub fn sql(&self, query: &str) -> Result<Vec<Value>> {
        self.lines(&["sql", query, "--format", "jsonl", "--limit", "100000", "--timeout", "120"])
    }

    /// The one number that a query gives.
    pub fn number(&self, query: &str) -> Result<u64> {
        let rows = self.sql(query)?;
        let row = rows.first().with_context(|| format!("{query}: no row"))?;
        let value = row
            .as_object()
            .and_then(|row| row.values().next())
            .or_else(|| row.as_array().and_then(|row| row.first()))
            .with_context(|| format!("{query}: {row}"))?;
        match value {
            Value::Null => Ok(0),
            Value::String(text) => text.parse().with_context(|| format!("{query}: {text}")),
            other => other.as_u64().with_context(|| format!("{query}: {other}")),
        }
    }
}
