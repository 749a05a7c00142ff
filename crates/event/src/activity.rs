//! What was done: one variant an OCSF class.

use serde::{Deserialize, Serialize};

use crate::{
    ComplianceFinding, DetectionFinding, DnsActivity, EventClass, FileSystemActivity, GpuState, KernelActivity, KernelExtensionActivity, MemoryActivity,
    ModuleActivity, NetworkActivity, Process, ProcessMethod, ScanActivity, SensorLoss, SensorState, SensorStateKind,
};

/// The body of an event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "class")]
#[expect(clippy::large_enum_variant, reason = "process activities are about half of all events: a box would cost each an allocation")]
pub enum Activity {
    /// OCSF Process Activity (1007).
    Process(ProcessActivity),
    /// OCSF File System Activity (1001).
    File(FileSystemActivity),
    /// OCSF Network Activity (4001).
    Network(NetworkActivity),
    /// OCSF Event Log Activity (1008): events that this sensor could not keep.
    Loss(SensorLoss),
    /// OCSF Event Log Activity (1008) for start and stop, Device Config State (5002) for the capability report.
    Sensor(SensorState),
    /// OCSF Memory Activity (1004).
    Memory(Box<MemoryActivity>),
    /// OCSF Module Activity (1005).
    Module(Box<ModuleActivity>),
    /// OCSF Kernel Extension Activity (1002).
    KernelExtension(Box<KernelExtensionActivity>),
    /// OCSF Kernel Activity (1003).
    Kernel(Box<KernelActivity>),
    /// OCSF DNS Activity (4003).
    Dns(Box<DnsActivity>),
    /// OCSF Scan Activity (6007).
    Scan(Box<ScanActivity>),
    /// OCSF Detection Finding (2004).
    Finding(Box<DetectionFinding>),
    /// OCSF Compliance Finding (2003).
    Compliance(Box<ComplianceFinding>),
    /// OCSF Device Inventory Info (5001).
    Gpu(Box<GpuState>),
}

impl Activity {
    /// The OCSF class.
    #[must_use]
    pub const fn class(&self) -> EventClass {
        match self {
            Self::Process(_) => EventClass::ProcessActivity,
            Self::File(_) => EventClass::FileSystemActivity,
            Self::Network(_) => EventClass::NetworkActivity,
            Self::Loss(_) => EventClass::EventLogActivity,
            Self::Sensor(state) => match state.kind {
                SensorStateKind::Started | SensorStateKind::Stopped => EventClass::EventLogActivity,
                SensorStateKind::Capabilities => EventClass::DeviceConfigState,
            },
            Self::Memory(_) => EventClass::MemoryActivity,
            Self::Module(_) => EventClass::ModuleActivity,
            Self::KernelExtension(_) => EventClass::KernelExtensionActivity,
            Self::Kernel(_) => EventClass::KernelActivity,
            Self::Dns(_) => EventClass::DnsActivity,
            Self::Scan(_) => EventClass::ScanActivity,
            Self::Finding(_) => EventClass::DetectionFinding,
            Self::Compliance(_) => EventClass::ComplianceFinding,
            Self::Gpu(_) => EventClass::DeviceInventoryInfo,
        }
    }

    /// OCSF `activity_id` within the class.
    #[must_use]
    pub const fn activity_id(&self) -> i32 {
        match self {
            Self::Process(activity) => match activity.kind {
                ProcessActivityKind::Launch(_) => 1,
                ProcessActivityKind::Terminate { .. } => 2,
                ProcessActivityKind::Open => 3,
                ProcessActivityKind::Inject => 4,
                ProcessActivityKind::SetUserId => 5,
            },
            Self::File(activity) => activity.kind as i32,
            Self::Network(activity) => activity.kind as i32,
            Self::Loss(_) => 99,
            Self::Sensor(state) => match state.kind {
                SensorStateKind::Started => 6,
                SensorStateKind::Stopped => 7,
                // Discovery "Log": a state that was read, not asked for.
                SensorStateKind::Capabilities => 1,
            },
            Self::Memory(activity) => activity.kind as i32,
            // Load.
            Self::Module(_) => 1,
            Self::KernelExtension(activity) => activity.kind as i32,
            // Invoke.
            Self::Kernel(_) => 4,
            Self::Dns(activity) => activity.kind as i32,
            Self::Scan(activity) => activity.kind as i32,
            Self::Finding(finding) => finding.kind as i32,
            Self::Compliance(finding) => finding.kind as i32,
            // Collect.
            Self::Gpu(_) => 2,
        }
    }
}

/// OCSF Process Activity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProcessActivity {
    /// What happened to the process.
    pub kind: ProcessActivityKind,
    /// The process that was launched, ended, reached for or changed. The actor is its parent on fork; on exec and exit it is the process itself,
    /// whose parent stands in `process.parent`; else it is who did it, and where rights change, who the process was before.
    pub process: Process,
    /// By which way; [`ProcessMethod::None`] for launches and exits.
    pub method: ProcessMethod,
}

/// OCSF `activity_id` of Process Activity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProcessActivityKind {
    /// 1
    Launch(LaunchType),
    /// 2
    Terminate {
        /// Exit status (0–255) where it exited.
        exit_code: i32,
        /// Signal that ended it, 0 where it exited.
        signal: i32,
    },
    /// 3: another process was attached to, looked into or taken a descriptor from.
    Open,
    /// 4: code or registers of another process were changed.
    Inject,
    /// 5: user, group or capabilities changed.
    SetUserId,
}

/// OCSF `launch_type_id`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum LaunchType {
    /// 2: a copy of its parent.
    Fork = 2,
    /// 3: a new image in the same process.
    Exec = 3,
}
