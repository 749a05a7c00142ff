//! What is scanned on this host, and what that may cost.

use std::path::PathBuf;

use serde::Deserialize;

use super::values;

/// See the module.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ScanConfig {
    pub(crate) enabled: bool,
    /// `picket-scanner`; beside this program where not given.
    #[serde(deserialize_with = "values::optional_path")]
    pub(crate) program: Option<PathBuf>,
    /// Rules beside the built-in ones: files, or folders of `.yar` files. Read by the scanner's user, not by root.
    #[serde(deserialize_with = "values::absolute_paths")]
    pub(crate) yara: Vec<PathBuf>,
    /// How long a file must not have changed.
    #[serde(deserialize_with = "values::quiet_ms")]
    pub(crate) quiet_ms: u64,
    /// Of one file; what was not read then is told.
    #[serde(deserialize_with = "values::scan_seconds")]
    pub(crate) time_seconds_max: u64,
    /// Of one CPU, on average.
    #[serde(deserialize_with = "values::cpu_percent")]
    pub(crate) cpu_percent: f64,
    #[serde(deserialize_with = "values::bytes_per_second")]
    pub(crate) bytes_per_second_max: u64,
    /// Between scans of all watched trees; 0 never.
    #[serde(deserialize_with = "values::rescan_hours")]
    pub(crate) rescan_hours: u64,
}

impl Default for ScanConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            program: None,
            yara: Vec::new(),
            quiet_ms: 1_000,
            time_seconds_max: 60,
            cpu_percent: 25.0,
            bytes_per_second_max: 200 << 20,
            rescan_hours: 24,
        }
    }
}
