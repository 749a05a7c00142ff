//! One GPU of a host, as its driver tells it.

use serde::{Deserialize, Serialize};

/// OCSF Device Inventory Info (5001): one GPU and who uses it now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuState {
    /// The driver's identity of the device, as `GPU-5b1f…`.
    pub uuid: String,
    /// Product name.
    pub name: String,
    /// Place in the driver's list, the minor number of `/dev/nvidiaN`.
    pub index: u32,
    /// Version of the driver.
    pub driver_version: String,
    /// Memory in use.
    pub memory_used_bytes: u64,
    /// All memory.
    pub memory_total_bytes: u64,
    /// Share of time that a kernel ran, in percent.
    pub utilization_percent: Option<u8>,
    /// Whether it is divided into instances.
    pub mig_enabled: Option<bool>,
    /// Identities of its instances.
    pub mig_devices: Vec<String>,
    /// Who uses it.
    pub processes: Vec<GpuProcess>,
}

/// A process on a GPU.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuProcess {
    /// Thread group id in the host's pid namespace.
    pub pid: u32,
    /// Identity, where the process table knows it.
    pub uid: String,
    /// Memory it holds, where the driver tells it.
    pub memory_bytes: Option<u64>,
}
