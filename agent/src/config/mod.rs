//! The configuration: one TOML file, unknown keys refused, every error with its line and column.

mod error;
mod reload;
mod scan;
mod values;

use std::path::{Path, PathBuf};

use serde::Deserialize;

pub(crate) use error::ConfigError;
pub(crate) use reload::{ConfigWatch, watch};
pub(crate) use scan::ScanConfig;
pub(crate) use values::{AssetClass, Backend};

/// A configuration larger than this is a mistake (a log file passed as one).
const CONFIG_BYTES_MAX: u64 = 1 << 20;

/// Everything that can be set. `agent/picket-agent.toml` shows it with the defaults, which a test compares.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// Identity and spool; 0700.
    #[serde(deserialize_with = "values::absolute_path")]
    pub(crate) state_dir: PathBuf,
    /// The status socket; 0700.
    #[serde(deserialize_with = "values::absolute_path")]
    pub(crate) run_dir: PathBuf,
    /// Roles of the admin's own, before the built-in ones.
    #[serde(deserialize_with = "values::optional_path")]
    pub(crate) roles_file: Option<PathBuf>,
    pub(crate) server: ServerConfig,
    pub(crate) sensor: SensorConfig,
    pub(crate) network: NetworkConfig,
    pub(crate) extensions: ExtensionsConfig,
    pub(crate) watch: Vec<WatchConfig>,
    pub(crate) processes: ProcessesConfig,
    pub(crate) spool: SpoolConfig,
    pub(crate) budget: BudgetConfig,
    pub(crate) posture: PostureConfig,
    pub(crate) gpu: GpuConfig,
    pub(crate) scan: ScanConfig,
}

/// Where events go.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ServerConfig {
    /// Overrides the address given at enrolment.
    #[serde(deserialize_with = "values::server_url")]
    pub(crate) url: Option<url::Url>,
    /// The server takes a host that says nothing for `agents.silent_after_s` (30 s) for silent.
    #[serde(deserialize_with = "values::heartbeat_seconds")]
    pub(crate) heartbeat_seconds: u64,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self { url: None, heartbeat_seconds: 10 }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct SensorConfig {
    pub(crate) backend: Backend,
    #[serde(deserialize_with = "values::ring_bytes")]
    pub(crate) ring_bytes: u32,
    #[serde(deserialize_with = "values::drain_interval_ms")]
    pub(crate) drain_interval_ms: u64,
    #[serde(deserialize_with = "values::queue_bytes_max")]
    pub(crate) queue_bytes_max: usize,
    #[serde(deserialize_with = "values::absolute_path")]
    pub(crate) pin_dir: PathBuf,
    #[serde(deserialize_with = "values::environment")]
    pub(crate) environment: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct NetworkConfig {
    /// How often the bytes of flows that are up are told; 0 never.
    #[serde(deserialize_with = "values::traffic_interval_seconds")]
    pub(crate) traffic_interval_seconds: u64,
    /// A flow that moved less since it was told last waits, at most a minute.
    pub(crate) traffic_bytes_min: u64,
    #[serde(deserialize_with = "values::dns_ports")]
    pub(crate) dns_ports: Vec<u16>,
    #[serde(deserialize_with = "values::local_sockets")]
    pub(crate) local_sockets: Vec<String>,
}

impl Default for NetworkConfig {
    fn default() -> Self {
        let kernel = picket_ebpf::NetworkConfig::default();
        Self {
            traffic_interval_seconds: kernel.traffic_interval.as_secs(),
            traffic_bytes_min: kernel.traffic_bytes_min,
            dns_ports: kernel.dns_ports,
            local_sockets: kernel.local_sockets,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ExtensionsConfig {
    #[serde(deserialize_with = "values::extensions")]
    pub(crate) model: Vec<String>,
    #[serde(deserialize_with = "values::extensions")]
    pub(crate) dataset: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WatchConfig {
    #[serde(deserialize_with = "values::absolute_path")]
    pub(crate) path: PathBuf,
    pub(crate) asset_class: AssetClass,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ProcessesConfig {
    #[serde(deserialize_with = "values::entries_max")]
    pub(crate) entries_max: usize,
    #[serde(deserialize_with = "values::seconds")]
    pub(crate) exited_grace_seconds: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct SpoolConfig {
    #[serde(deserialize_with = "values::spool_bytes_max")]
    pub(crate) bytes_max: u64,
    #[serde(deserialize_with = "values::segment_bytes")]
    pub(crate) segment_bytes: u64,
    /// An eighth of `bytes_max` where it is not given.
    #[serde(deserialize_with = "values::reserve_bytes")]
    pub(crate) reserve_bytes: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct BudgetConfig {
    /// Of all CPUs of the host; 0 measures and never sheds.
    #[serde(deserialize_with = "values::percent")]
    pub(crate) cpu_percent: f64,
    /// Resident; more for as long as `over_seconds` sheds like too much CPU.
    #[serde(deserialize_with = "values::memory_bytes_max")]
    pub(crate) memory_bytes_max: u64,
    /// The probes' own run time counts too. Measuring it costs each run of a probe two clock reads.
    pub(crate) measure_probes: bool,
    /// How long the mean must be over before something is shed.
    #[serde(deserialize_with = "values::seconds")]
    pub(crate) over_seconds: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct PostureConfig {
    /// How often the host is looked at; 0 never.
    #[serde(deserialize_with = "values::seconds_or_never")]
    pub(crate) every_seconds: u64,
    /// Checks of the admin's own.
    #[serde(deserialize_with = "values::optional_path")]
    pub(crate) checks_dir: Option<PathBuf>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct GpuConfig {
    /// How often the driver is asked; 0 never.
    #[serde(deserialize_with = "values::seconds_or_never")]
    pub(crate) sample_seconds: u64,
    /// How often a device is told at least.
    #[serde(deserialize_with = "values::seconds")]
    pub(crate) tell_seconds: u64,
}

impl Default for PostureConfig {
    fn default() -> Self {
        Self { every_seconds: 3_600, checks_dir: None }
    }
}

impl Default for GpuConfig {
    fn default() -> Self {
        Self { sample_seconds: 30, tell_seconds: 300 }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            state_dir: "/var/lib/picket-agent".into(),
            run_dir: "/run/picket-agent".into(),
            roles_file: None,
            server: ServerConfig::default(),
            sensor: SensorConfig::default(),
            network: NetworkConfig::default(),
            extensions: ExtensionsConfig::default(),
            watch: Vec::new(),
            processes: ProcessesConfig::default(),
            spool: SpoolConfig::default(),
            budget: BudgetConfig::default(),
            posture: PostureConfig::default(),
            gpu: GpuConfig::default(),
            scan: ScanConfig::default(),
        }
    }
}

impl Default for SensorConfig {
    fn default() -> Self {
        Self {
            backend: Backend::Auto,
            ring_bytes: 8 << 20,
            drain_interval_ms: 5,
            queue_bytes_max: 8 << 20,
            pin_dir: "/sys/fs/bpf/picket".into(),
            environment: picket_ebpf::DEFAULT_ENVIRONMENT.map(String::from).to_vec(),
        }
    }
}

impl Default for ExtensionsConfig {
    fn default() -> Self {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Self {
            model: owned(&[
                ".safetensors",
                ".gguf",
                ".ggml",
                ".pt",
                ".pth",
                ".ckpt",
                ".pkl",
                ".pickle",
                ".joblib",
                ".onnx",
                ".h5",
                ".hdf5",
                ".keras",
                ".pb",
                ".tflite",
                ".engine",
                ".mar",
                ".nemo",
                ".bin",
            ]),
            dataset: owned(&[".parquet", ".arrow", ".tfrecord", ".npy", ".npz"]),
        }
    }
}

impl Default for ProcessesConfig {
    fn default() -> Self {
        Self { entries_max: 16_384, exited_grace_seconds: 10 }
    }
}

impl Default for SpoolConfig {
    fn default() -> Self {
        Self { bytes_max: 512 << 20, segment_bytes: 8 << 20, reserve_bytes: None }
    }
}

impl Default for BudgetConfig {
    fn default() -> Self {
        Self { cpu_percent: 2.0, memory_bytes_max: 128 << 20, measure_probes: true, over_seconds: 60 }
    }
}

impl Config {
    /// Reads and checks a file.
    pub(crate) fn read(path: &Path) -> Result<Self, ConfigError> {
        let io = |source| ConfigError::Read { path: path.to_path_buf(), source };
        if std::fs::metadata(path).map_err(io)?.len() > CONFIG_BYTES_MAX {
            return Err(ConfigError::TooLarge { path: path.to_path_buf(), bytes_max: CONFIG_BYTES_MAX });
        }
        Self::parse(&std::fs::read_to_string(path).map_err(io)?, path)
    }

    /// Checks the content of `path`.
    pub(crate) fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let config: Self = toml::from_str(text).map_err(|error| ConfigError::at(path, text, &error))?;
        let invalid = |message: String| ConfigError::Invalid { path: path.to_path_buf(), message };
        let extensions = config.extensions.model.len() + config.extensions.dataset.len();
        if extensions > 64 {
            return Err(invalid(format!("[extensions] lists {extensions} names, the kernel holds 64")));
        }
        if config.watch.len() > 256 {
            return Err(invalid(format!("{} watches, at most 256 are kept", config.watch.len())));
        }
        if let Some(twice) = config.watch.iter().enumerate().find_map(|(at, watch)| config.watch.iter().skip(at + 1).find(|other| other.path == watch.path)) {
            return Err(invalid(format!("{} is watched twice", twice.path.display())));
        }
        if config.spool.reserve_bytes.is_some_and(|reserve| reserve >= config.spool.bytes_max / 2) {
            return Err(invalid("[spool] reserve_bytes must be less than half of bytes_max".to_owned()));
        }
        Ok(config)
    }

    /// Where the spool is.
    pub(crate) fn spool(&self) -> picket_spool::SpoolConfig {
        let SpoolConfig { bytes_max, segment_bytes, reserve_bytes } = self.spool;
        picket_spool::SpoolConfig { dir: self.state_dir.join("spool"), bytes_max, segment_bytes, reserve_bytes: reserve_bytes.unwrap_or(bytes_max / 8) }
    }

    /// Where the status can be asked.
    pub(crate) fn status_socket(&self) -> PathBuf {
        self.run_dir.join("status.sock")
    }

    /// What the kernel side is loaded with.
    pub(crate) fn kernel(&self, pinned: bool) -> picket_ebpf::SensorConfig {
        picket_ebpf::SensorConfig {
            ring_bytes: self.sensor.ring_bytes,
            own_pids: vec![std::process::id()],
            // Without a spool nothing is shed, so there is nothing to measure for.
            measure_run_time: pinned && self.budget.measure_probes,
            extensions: self.extensions.model.iter().chain(&self.extensions.dataset).cloned().collect(),
            environment: self.sensor.environment.clone(),
            network: picket_ebpf::NetworkConfig {
                traffic_interval: std::time::Duration::from_secs(self.network.traffic_interval_seconds),
                traffic_bytes_min: self.network.traffic_bytes_min,
                dns_ports: self.network.dns_ports.clone(),
                local_sockets: self.network.local_sockets.clone(),
                ..picket_ebpf::NetworkConfig::default()
            },
            pin_dir: pinned.then(|| self.sensor.pin_dir.clone()),
            ..picket_ebpf::SensorConfig::default()
        }
    }

    /// What cannot be changed without a restart, where `new` changes it.
    pub(crate) fn restart_needed(&self, new: &Self) -> Vec<&'static str> {
        let mut needed = Vec::new();
        let mut compare = |name, same: bool| {
            if !same {
                needed.push(name);
            }
        };
        compare("state_dir", self.state_dir == new.state_dir);
        compare("run_dir", self.run_dir == new.run_dir);
        compare("sensor", self.sensor == new.sensor);
        compare("network", self.network == new.network);
        compare("extensions", self.extensions == new.extensions);
        compare("processes", self.processes == new.processes);
        compare("spool", self.spool == new.spool);
        compare("gpu", self.gpu == new.gpu);
        compare("posture", self.posture == new.posture);
        compare("server", self.server == new.server);
        let started = |scan: &ScanConfig| (scan.enabled, scan.program.clone(), scan.yara.clone());
        compare("scan", started(&self.scan) == started(&new.scan));
        needed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        Config::parse(text, Path::new("agent.toml")).expect_err(text).to_string()
    }

    #[test]
    fn the_sample_is_the_defaults() {
        let sample = include_str!("../../picket-agent.toml");
        assert_eq!(Config::parse(sample, Path::new("picket-agent.toml")).unwrap(), Config::default());
        // Every line that is commented out is a key that exists.
        let uncommented: String = sample.lines().map(|line| format!("{}\n", line.strip_prefix("#: ").unwrap_or(line))).collect();
        let config = Config::parse(&uncommented, Path::new("picket-agent.toml")).unwrap();
        assert_eq!(config.watch.len(), 2);
        assert!(config.server.url.is_some() && config.roles_file.is_some() && config.posture.checks_dir.is_some());
    }

    #[test]
    fn errors_name_line_and_column() {
        assert_eq!(refused("\n[sensor]\nring_bites = 1\n").split(": ").next(), Some("agent.toml:3:1"));
        assert!(refused("[sensor]\nring_bytes = 3000\n").starts_with("agent.toml:2:14: "), "{}", refused("[sensor]\nring_bytes = 3000\n"));
        assert!(refused("state_dir = \"relative\"\n").contains("agent.toml:1:13: "));
        assert!(refused("[[watch]]\npath = \"/x\"\nasset_class = \"modell\"\n").starts_with("agent.toml:3:15: "));
        assert!(refused("[server]\nurl = \"http://x\"\n").contains("https"));
        assert!(refused("[extensions]\nmodel = [\"pt\"]\n").starts_with("agent.toml:2:"));
        assert!(refused("a = ").starts_with("agent.toml:1:"));
    }

    #[test]
    fn what_the_kernel_cannot_hold_is_refused() {
        let many: Vec<String> = (0..65).map(|number| format!("\".x{number}\"")).collect();
        assert!(refused(&format!("[extensions]\nmodel = [{}]\n", many.join(","))).contains("64"));
        assert!(refused("[[watch]]\npath=\"/a\"\nasset_class=\"model\"\n[[watch]]\npath=\"/a\"\nasset_class=\"code\"\n").contains("watched twice"));
    }

    #[test]
    fn only_watches_roles_and_budget_change_while_running() {
        let old = Config::default();
        let mut new = Config { roles_file: Some("/etc/roles.toml".into()), ..Config::default() };
        new.budget.over_seconds = 5;
        new.watch.push(WatchConfig { path: "/srv".into(), asset_class: AssetClass::Model });
        assert_eq!(old.restart_needed(&new), Vec::<&str>::new());
        new.spool.bytes_max += 1;
        assert_eq!(old.restart_needed(&new), vec!["spool"]);
    }
}
