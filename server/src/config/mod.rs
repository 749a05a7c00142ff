//! The server's configuration file: TOML, unknown keys refused, every error with line and column.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// What `picket-server run --config F` reads. Every key has a default, so that an empty file is a whole configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServerConfig {
    /// Where everything that must survive a restart lives: CA, SQLite state, lake. Relative paths start at the file's folder.
    pub state_dir: PathBuf,
    /// The agent port.
    pub agents: AgentsConfig,
    /// The API port.
    pub api: ApiConfig,
    /// The server's own certificates.
    pub tls: TlsConfig,
    /// Enrolment of devices.
    pub enrolment: EnrolmentConfig,
    /// Events: log, table, queries.
    pub lake: LakeSection,
    /// Prometheus metrics.
    pub metrics: MetricsConfig,
    /// The server's own log.
    pub log: LogConfig,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            state_dir: PathBuf::from("/var/lib/picket-server"),
            agents: AgentsConfig::default(),
            api: ApiConfig::default(),
            tls: TlsConfig::default(),
            enrolment: EnrolmentConfig::default(),
            lake: LakeSection::default(),
            metrics: MetricsConfig::default(),
            log: LogConfig::default(),
        }
    }
}

/// `[agents]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AgentsConfig {
    /// Address of the agent port.
    pub listen: SocketAddr,
    /// Connections at once. One idle agent costs about 45 KB.
    pub connections_max: usize,
    /// Connections at once from one address; many agents may share one behind a gateway.
    pub connections_per_address_max: usize,
    /// A peer that has not finished its handshake by then is cut off.
    pub handshake_timeout_ms: u64,
    /// Unacknowledged batches an agent may have on its way.
    pub batches_in_flight_max: u32,
    /// Sustained events a second that one device may store. A device above it is slowed down, then told to come back later.
    pub events_per_second_max: u32,
    /// A session without any message for so long is ended.
    pub silence_max_s: u64,
    /// A host that said no goodbye and has not been heard for so long is silent: a finding.
    pub silent_after_s: u64,
    /// After a restart of the server hosts have so long to come back: an agent that has not reached its server for a while tries once a minute.
    pub restart_grace_s: u64,
}

impl Default for AgentsConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 9443),
            connections_max: 20_000,
            connections_per_address_max: 4_096,
            handshake_timeout_ms: 10_000,
            batches_in_flight_max: 8,
            events_per_second_max: 500_000,
            silence_max_s: 60,
            silent_after_s: 30,
            restart_grace_s: 90,
        }
    }
}

/// `[api]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ApiConfig {
    /// Address of the API port.
    pub listen: SocketAddr,
    /// Connections at once.
    pub connections_max: usize,
    /// Connections at once from one address.
    pub connections_per_address_max: usize,
    /// A peer that has not finished its handshake by then is cut off.
    pub handshake_timeout_ms: u64,
    /// Calls in progress at once; the next one is told to come back.
    pub calls_max: usize,
    /// Life of an API token.
    pub token_lifetime_s: u64,
    /// Life of a one-time sign-in code.
    pub sign_in_code_lifetime_s: u64,
}

impl Default for ApiConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 8443),
            connections_max: 2_000,
            connections_per_address_max: 256,
            handshake_timeout_ms: 10_000,
            calls_max: 512,
            token_lifetime_s: 30 * 24 * 3600,
            sign_in_code_lifetime_s: 3600,
        }
    }
}

/// `[tls]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsConfig {
    /// DNS names and addresses under which agents and people reach this server. `localhost`, the loopback addresses and the host's own name are
    /// always included.
    pub names: Vec<String>,
    /// Life of the server's own certificates; a new one is made at two thirds of it without a restart.
    pub certificate_lifetime_s: u64,
}

impl Default for TlsConfig {
    fn default() -> Self {
        Self { names: Vec::new(), certificate_lifetime_s: 90 * 24 * 3600 }
    }
}

/// `[enrolment]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EnrolmentConfig {
    /// Life of a device's certificate; the device renews it at half of that.
    pub certificate_lifetime_s: u64,
    /// Enrolment attempts a second from one address that may fail, sustained; those that succeed are not counted.
    pub attempts_per_second_per_address: u32,
    /// Enrolment attempts a second from everywhere, sustained.
    pub attempts_per_second: u32,
}

impl Default for EnrolmentConfig {
    fn default() -> Self {
        Self { certificate_lifetime_s: 14 * 24 * 3600, attempts_per_second_per_address: 5, attempts_per_second: 200 }
    }
}

/// `[lake]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LakeSection {
    /// Size at which a segment of the write-ahead log is closed.
    pub segment_bytes: u64,
    /// Events wait at most so long in the log before they are written to the table.
    pub flush_interval_s: u64,
    /// Events are written to the table at the latest when so many are in memory.
    pub tail_rows_max: usize,
    /// Whole days older than that are deleted; 0 keeps all.
    pub retention_days: u32,
    /// The oldest whole days are deleted when the table is larger; 0 is no limit.
    pub retention_bytes: u64,
    /// Rewrite closed days, sorted.
    pub compaction: bool,
    /// Below so much free disk nothing is accepted any more, so that the server can still work.
    pub disk_free_bytes_min: u64,
    /// Memory of one query's operators; a query that needs more ends with an error.
    pub query_memory_bytes: usize,
    /// Longest time of one query.
    pub query_timeout_s: u64,
    /// Rows that one query may answer.
    pub query_rows_max: usize,
    /// Queries at once; the next one waits.
    pub queries_max: usize,
}

impl Default for LakeSection {
    fn default() -> Self {
        Self {
            segment_bytes: 128 << 20,
            flush_interval_s: 30,
            tail_rows_max: 500_000,
            retention_days: 90,
            retention_bytes: 0,
            compaction: true,
            disk_free_bytes_min: 1 << 30,
            query_memory_bytes: 512 << 20,
            query_timeout_s: 300,
            query_rows_max: 100_000,
            queries_max: 4,
        }
    }
}

/// `[metrics]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MetricsConfig {
    /// Serve metrics at all.
    pub enabled: bool,
    /// Plain HTTP without a login, so loopback only.
    pub listen: SocketAddr,
}

impl Default for MetricsConfig {
    fn default() -> Self {
        Self { enabled: true, listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9464) }
    }
}

/// `[log]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// Lines for people or JSON for machines.
    pub format: LogFormat,
    /// As `info` or `info,picket_server::gateway=debug`.
    pub filter: String,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { format: LogFormat::Text, filter: "info".to_owned() }
    }
}

/// Form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One object a line.
    Json,
}

/// Why a configuration was refused.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It is not TOML, has a key that nobody knows, or a value of the wrong type.
    #[error("{path}: line {line}, column {column}: {message}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
        /// What is wrong there.
        message: String,
    },
    /// A value is out of bounds.
    #[error("{path}: {key}: {message}")]
    Value {
        /// The file.
        path: PathBuf,
        /// Dotted key.
        key: &'static str,
        /// What is allowed.
        message: &'static str,
    },
}

impl ServerConfig {
    /// Reads and checks a file.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        Self::parse(&text, path)
    }

    /// Checks a text as if it stood in `path`.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let mut config: Self = toml::from_str(text).map_err(|error| {
            let (line, column) = position(text, error.span().map_or(0, |span| span.start));
            ConfigError::Parse { path: path.to_owned(), line, column, message: error.message().to_owned() }
        })?;
        config.check(path)?;
        if config.state_dir.is_relative() {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            config.state_dir = folder.join(&config.state_dir);
        }
        Ok(config)
    }

    fn check(&self, path: &Path) -> Result<(), ConfigError> {
        let bounds: [(&'static str, bool, &'static str); 15] = [
            ("agents.connections_max", self.agents.connections_max >= 1, "at least 1"),
            ("agents.connections_per_address_max", self.agents.connections_per_address_max >= 1, "at least 1"),
            ("agents.handshake_timeout_ms", (100..=60_000).contains(&self.agents.handshake_timeout_ms), "between 100 and 60000"),
            ("agents.batches_in_flight_max", (1..=64).contains(&self.agents.batches_in_flight_max), "between 1 and 64"),
            ("agents.events_per_second_max", self.agents.events_per_second_max >= 1, "at least 1"),
            ("agents.silence_max_s", self.agents.silence_max_s >= 1, "at least 1"),
            ("agents.silent_after_s", (1..=3_600).contains(&self.agents.silent_after_s), "between a second and an hour"),
            ("api.calls_max", self.api.calls_max >= 1, "at least 1"),
            ("api.token_lifetime_s", (60..=366 * 24 * 3600).contains(&self.api.token_lifetime_s), "between a minute and a year"),
            ("tls.certificate_lifetime_s", (3..=825 * 24 * 3600).contains(&self.tls.certificate_lifetime_s), "between 3 seconds and 825 days"),
            ("enrolment.certificate_lifetime_s", (2..=366 * 24 * 3600).contains(&self.enrolment.certificate_lifetime_s), "between 2 seconds and a year"),
            ("lake.segment_bytes", self.lake.segment_bytes >= 1 << 20, "at least 1 MiB"),
            ("lake.queries_max", self.lake.queries_max >= 1, "at least 1"),
            ("lake.tail_rows_max", self.lake.tail_rows_max >= 10_000, "at least 10000"),
            // Whoever can reach the metrics can count hosts and their events without a token.
            ("metrics.listen", self.metrics.listen.ip().is_loopback(), "a loopback address; put a proxy with a login before it where others must read it"),
        ];
        for (key, holds, message) in bounds {
            if !holds {
                return Err(ConfigError::Value { path: path.to_owned(), key, message });
            }
        }
        Ok(())
    }
}

/// Line and column, both from 1, of a byte offset.
fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
    (line, column)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<ServerConfig, ConfigError> {
        ServerConfig::parse(text, Path::new("/etc/picket/server.toml"))
    }

    #[test]
    fn an_empty_file_is_the_defaults() {
        assert_eq!(parse("").unwrap(), ServerConfig::default());
    }

    #[test]
    fn the_sample_has_every_key_with_its_default() {
        let sample = include_str!("../../picket-server.toml");
        assert_eq!(parse(sample).unwrap(), ServerConfig::default());
        let of_the_sample: toml::Table = toml::from_str(sample).unwrap();
        assert_eq!(of_the_sample, toml::Table::try_from(ServerConfig::default()).unwrap());
    }

    #[test]
    fn an_unknown_key_is_refused_with_line_and_column() {
        let error = parse("state_dir = \"x\"\n[api]\n  lisen = \"127.0.0.1:1\"\n").unwrap_err().to_string();
        assert!(error.starts_with("/etc/picket/server.toml: line 3, column 3: unknown field `lisen`"), "{error}");
    }

    #[test]
    fn a_wrong_type_names_its_place() {
        let error = parse("[lake]\ncompaction = 3\n").unwrap_err().to_string();
        assert!(error.contains("line 2, column 14"), "{error}");
    }

    #[test]
    fn metrics_stay_on_loopback() {
        let error = parse("[metrics]\nlisten = \"0.0.0.0:9464\"\n").unwrap_err().to_string();
        assert!(error.contains("metrics.listen"), "{error}");
    }

    #[test]
    fn a_relative_state_folder_starts_at_the_file() {
        assert_eq!(parse("state_dir = \"state\"").unwrap().state_dir, Path::new("/etc/picket/state"));
    }
}
