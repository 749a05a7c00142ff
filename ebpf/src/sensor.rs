//! What the agent holds: configuration in, records, states and counters out.

use std::path::PathBuf;

use crate::record::Record;

/// Names of environment variables that leave the kernel by default: what can preload code, and what names a job. Nothing else of a
/// process's environment is ever read into a record.
pub const DEFAULT_ENVIRONMENT: [&str; 24] = [
    "LD_PRELOAD",
    "LD_AUDIT",
    "LD_LIBRARY_PATH",
    "PYTHONPATH",
    "PYTHONSTARTUP",
    "SLURM_JOB_ID",
    "SLURM_STEP_ID",
    "SLURM_PROCID",
    "SLURM_JOB_NAME",
    "RANK",
    "LOCAL_RANK",
    "WORLD_SIZE",
    "TORCHELASTIC_RUN_ID",
    "RAY_JOB_ID",
    "MLFLOW_RUN_ID",
    "WANDB_RUN_ID",
    "KUBERNETES_POD_NAME",
    "POD_NAME",
    "POD_NAMESPACE",
    "POD_UID",
    "HOSTNAME",
    "CUDA_VISIBLE_DEVICES",
    "OMPI_COMM_WORLD_RANK",
    "PBS_JOBID",
];

/// File name extensions that make an open worth a record on any file system that stores files.
pub const DEFAULT_EXTENSIONS: [&str; 24] = [
    ".safetensors", ".gguf", ".ggml", ".pt", ".pth", ".ckpt", ".bin", ".pkl", ".pickle", ".joblib", ".onnx", ".npy", ".npz", ".h5", ".hdf5", ".keras", ".pb", ".tflite", ".engine",
    ".mar", ".nemo", ".parquet", ".arrow", ".ipynb",
];

/// What a sensor is loaded with.
#[derive(Clone, Debug)]
pub struct SensorConfig {
    /// Size of the ring buffer: a power of two of at least one page. 8 MiB holds about 40,000 records of usual size.
    pub ring_bytes: u32,
    /// Thread groups whose own activity is not recorded, the agent's first. At most 64.
    pub own_pids: Vec<u32>,
    /// Lower-case extensions with their dot, at most 64 of at most 15 bytes.
    pub extensions: Vec<String>,
    /// Names of environment variables to keep, at most 64 of at most 23 bytes.
    pub environment: Vec<String>,
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
            pin_dir: None,
        }
    }
}

/// Something to watch: a directory (the whole tree below it, on its file system) or one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchSpec {
    /// Id that records carry; from 1.
    pub id: u32,
    /// Absolute path; symbolic links are followed.
    pub path: PathBuf,
}

/// What became of a [`WatchSpec`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchState {
    /// As given.
    pub id: u32,
    /// As given.
    pub path: PathBuf,
    /// True where the kernel matches it now.
    pub active: bool,
    /// Why not, or what the watch does not see; empty where there is nothing to say.
    pub reason: String,
}

/// One probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeState {
    /// What it sees: `process_exec`, `file_open`, …
    pub name: String,
    /// The kernel hook in use, or the last one tried.
    pub hook: String,
    /// True where it runs.
    pub attached: bool,
    /// Why not; empty where it is attached.
    pub reason: String,
}

/// What the running kernel offers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KernelSupport {
    /// `/sys/kernel/btf/vmlinux` is there.
    pub btf: bool,
    /// Active security modules; empty where securityfs is not mounted.
    pub lsms: Vec<String>,
    /// `uname -r`.
    pub release: String,
}

/// Classes that losses are counted by. The discriminant is the index into the arrays of [`Counters`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Fork, exec, exit.
    Process = 0,
    /// File activity.
    File = 1,
    /// Flows.
    Network = 2,
}

/// Counted since load. Arrays are indexed by [`Class`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Records written to the ring.
    pub produced: [u64; 3],
    /// Records that found the ring full.
    pub dropped: [u64; 3],
    /// Records handed out by [`Sensor::drain`].
    pub consumed: [u64; 3],
    /// State that found its map full, so that later records know less (an owner, an open file).
    pub map_full: [u64; 3],
    /// Failures by cause; only causes that happened.
    pub errors: Vec<(String, u64)>,
    /// `dropped`, for each possible CPU.
    pub dropped_per_cpu: Vec<[u64; 3]>,
}

/// What one [`Sensor::drain`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drained {
    /// Records handed out.
    pub records: u64,
    /// Bytes of the ring consumed.
    pub bytes: usize,
    /// Records that were not what their header claims.
    pub decode_errors: u64,
    /// True where the limit ended the call, not the end of the ring.
    pub more: bool,
}

/// Why there is no sensor, or why it could not answer.
#[derive(Debug, thiserror::Error)]
pub enum SensorError {
    /// The configuration asks for what the maps cannot hold.
    #[error("sensor configuration: {0}")]
    Misuse(String),
    /// This kernel or this process cannot load any probe.
    #[error("{0}")]
    Unsupported(String),
    /// A map could not be read or written.
    #[error("{what}: {reason}")]
    Map {
        /// What was attempted.
        what: &'static str,
        /// What the kernel or the loader said.
        reason: String,
    },
    /// A system call failed.
    #[error("{what}: {source}")]
    Io {
        /// What was attempted.
        what: &'static str,
        /// The error.
        #[source]
        source: std::io::Error,
    },
}

/// The loaded probes and maps. Dropping it detaches them; [`Sensor::detach`] also removes the pinned counters.
pub struct Sensor {
    probes: Vec<ProbeState>,
}

impl Sensor {
    /// Loads every probe that this kernel takes.
    ///
    /// # Errors
    /// Only where nothing at all can load, with what to do about it.
    pub fn load(_config: &SensorConfig) -> Result<Self, SensorError> {
        Err(SensorError::Unsupported("the probes of this build are not linked yet".into()))
    }

    /// Every probe, attached or not.
    #[must_use]
    pub fn probes(&self) -> &[ProbeState] {
        &self.probes
    }

    /// What this kernel offers.
    #[must_use]
    pub fn kernel(&self) -> KernelSupport {
        KernelSupport::default()
    }

    /// Replaces the set of watches. A watch that stays misses no open meanwhile.
    pub fn set_watches(&mut self, _watches: &[WatchSpec]) -> Vec<WatchState> {
        Vec::new()
    }

    /// Hands out what is in the ring, at most `bytes_max` of it. Never waits.
    pub fn drain(&mut self, _handle: &mut dyn FnMut(Record), _bytes_max: usize) -> Drained {
        Drained::default()
    }

    /// The counters now.
    ///
    /// # Errors
    /// When a map cannot be read.
    pub fn counters(&self) -> Result<Counters, SensorError> {
        Ok(Counters::default())
    }

    /// Counters left behind by an earlier run on this boot that did not end in order: `produced - consumed` records were lost with it.
    #[must_use]
    pub fn previous(&self) -> Option<Counters> {
        None
    }

    /// Every process that exists now, as [`crate::record::Body::Exec`] with `PREEXISTING`.
    ///
    /// # Errors
    /// When the iterator cannot run.
    pub fn processes(&mut self) -> Result<Vec<Record>, SensorError> {
        Ok(Vec::new())
    }

    /// Every established TCP socket, as [`crate::record::FlowOp::Existing`].
    ///
    /// # Errors
    /// When the iterator cannot run.
    pub fn flows(&mut self) -> Result<Vec<Record>, SensorError> {
        Ok(Vec::new())
    }

    /// CPU time that the probes used, where `kernel.bpf_stats_enabled` is on.
    #[must_use]
    pub fn run_time_ns(&self) -> Option<u64> {
        None
    }

    /// Detaches every probe and removes what is pinned.
    pub fn detach(&mut self) {
        self.probes.clear();
    }
}
