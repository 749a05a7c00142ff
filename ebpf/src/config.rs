//! What a sensor is loaded with, and what it may be.

use std::path::PathBuf;
use std::time::Duration;

use crate::defaults::{DEFAULT_ENVIRONMENT, DEFAULT_EXTENSIONS};
use crate::layout::{ENVIRONMENT_NAME, EXTENSION_MAX};
use crate::sensor::SensorError;
use crate::traffic::NetworkConfig;

/// What a sensor is loaded with.
#[derive(Clone, Debug)]
pub struct SensorConfig {
    /// Size of the ring buffer: a power of two of at least 64 KiB. 8 MiB holds about 40,000 records of usual size.
    pub ring_bytes: u32,
    /// Thread groups whose own activity is not recorded, the agent's first. At most 64.
    pub own_pids: Vec<u32>,
    /// Lower-case extensions with their dot, at most 64 of at most 15 bytes.
    pub extensions: Vec<String>,
    /// Names of environment variables to keep, at most 64 of at most 23 bytes.
    pub environment: Vec<String>,
    /// How bytes of flows are told while they are up, and which ports speak DNS.
    pub network: NetworkConfig,
    /// How often remembered descriptions are looked at for ends that no call showed (see `bpf/writers.h`): such an end is told so much later.
    pub sweep_interval: Duration,
    /// The kernel measures how long the probes run: two clock reads a run of every program on the host. Where the right to ask for it is missing,
    /// nothing is measured.
    pub measure_run_time: bool,
    /// Folder in a bpf file system where the counters outlive a killed agent; `None` keeps nothing.
    pub pin_dir: Option<PathBuf>,
}

impl Default for SensorConfig {
    fn default() -> Self {
        Self {
            ring_bytes: 8 << 20,
            own_pids: vec![std::process::id()],
            extensions: DEFAULT_EXTENSIONS.map(String::from).to_vec(),
            environment: DEFAULT_ENVIRONMENT.map(String::from).to_vec(),
            network: NetworkConfig::default(),
            sweep_interval: Duration::from_millis(250),
            measure_run_time: false,
            pin_dir: None,
        }
    }
}

impl SensorConfig {
    pub(crate) fn check(&self) -> Result<(), SensorError> {
        let misuse = |text: String| Err(SensorError::Misuse(text));
        if !self.ring_bytes.is_power_of_two() || self.ring_bytes < 64 << 10 {
            return misuse(format!("ring_bytes {} is not a power of two of at least 65536", self.ring_bytes));
        }
        if self.own_pids.len() > 64 || self.extensions.len() > 64 || self.environment.len() > 64 {
            return misuse("own_pids, extensions and environment hold at most 64 each".into());
        }
        for extension in &self.extensions {
            let rest = extension.strip_prefix('.').unwrap_or_default();
            if rest.is_empty()
                || extension.len() >= EXTENSION_MAX
                || rest.contains('.')
                || extension.bytes().any(|byte| byte.is_ascii_uppercase() || byte == b'/')
            {
                return misuse(format!("extension {extension:?} is not a dot and at most 14 lower-case characters without another dot"));
            }
        }
        self.network.check().map_err(SensorError::Misuse)?;
        for name in &self.environment {
            if name.is_empty() || name.len() >= ENVIRONMENT_NAME || name.contains(['=', '\0']) {
                return misuse(format!("environment name {name:?} is not 1 to 23 bytes without '='"));
            }
        }
        Ok(())
    }
}
