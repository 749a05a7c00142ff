//! What was done: one variant an OCSF class.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::{EventClass, Process, Timestamp};

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
        }
    }

    /// OCSF `activity_id` within the class.
    #[must_use]
    pub const fn activity_id(&self) -> i32 {
        match self {
            Self::Process(activity) => match activity.kind {
                ProcessActivityKind::Launch(_) => 1,
                ProcessActivityKind::Terminate { .. } => 2,
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
        }
    }
}

/// OCSF Process Activity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProcessActivity {
    /// What happened to the process.
    pub kind: ProcessActivityKind,
    /// The process that was launched or ended. The actor is its parent on fork; on exec and exit it is the process itself, whose
    /// parent stands in `process.parent`.
    pub process: Process,
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

/// OCSF File System Activity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FileSystemActivity {
    /// What was done.
    pub kind: FileActivityKind,
    /// How it was opened.
    pub access: Access,
    /// The file, by its path before the activity.
    pub file: File,
    /// Its new name, for `Rename`.
    pub file_result: Option<File>,
}

/// OCSF `activity_id` of File System Activity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum FileActivityKind {
    /// 1: made by this open.
    Create = 1,
    /// 3: closed after it was open for writing.
    Update = 3,
    /// 4
    Delete = 4,
    /// 5
    Rename = 5,
    /// 14
    Open = 14,
}

impl FileActivityKind {
    /// From the `activity_id`.
    #[must_use]
    pub const fn from_id(id: i32) -> Option<Self> {
        Some(match id {
            1 => Self::Create,
            3 => Self::Update,
            4 => Self::Delete,
            5 => Self::Rename,
            14 => Self::Open,
            _ => return None,
        })
    }
}

/// How a file was opened. Bits as OCSF has no finer word than `access_mask`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access(pub u8);

impl Access {
    /// For reading (an `mmap` reads through such an open).
    pub const READ: Self = Self(1);
    /// For writing.
    pub const WRITE: Self = Self(2);
    /// Truncated on open.
    pub const TRUNCATE: Self = Self(4);
    /// Past the page cache.
    pub const DIRECT: Self = Self(8);

    /// True when every bit of `other` is set here.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// OCSF `file`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// As the kernel resolved it from the opened file, in the host's root where that can be told.
    pub path: String,
    /// Inode number.
    pub inode: u64,
    /// Kernel device number (`major << 20 | minor`).
    pub device: u32,
    /// Size at the time, where the kernel told it.
    pub size_bytes: Option<u64>,
    /// Type and permission bits (`i_mode`).
    pub mode: u16,
    /// Owner.
    pub owner_uid: u32,
    /// model, dataset, code, credential, registry; empty where nothing registered it.
    pub asset_class: String,
}

/// OCSF Network Activity: one end of one flow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NetworkActivity {
    /// What happened.
    pub kind: NetworkActivityKind,
    /// Who spoke first.
    pub direction: Direction,
    /// Protocol above IP.
    pub transport: Transport,
    /// The end that spoke first.
    pub src: Endpoint,
    /// The other end.
    pub dst: Endpoint,
    /// Bytes this host sent (acknowledged by the peer, TCP), so far.
    pub bytes_out: u64,
    /// Bytes this host received, so far.
    pub bytes_in: u64,
    /// Identity of the flow on this host for its whole life: the socket cookie.
    pub flow_uid: u64,
    /// How long it has lived, in nanoseconds; 0 at open.
    pub duration_ns: u64,
}

/// OCSF `activity_id` of Network Activity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum NetworkActivityKind {
    /// 1: connected or accepted.
    Open = 1,
    /// 2
    Close = 2,
    /// 4: never came up (no answer, unreachable).
    Fail = 4,
    /// 5: the peer refused.
    Refuse = 5,
    /// 6: bytes so far of a flow that is still up.
    Traffic = 6,
}

impl NetworkActivityKind {
    /// From the `activity_id`.
    #[must_use]
    pub const fn from_id(id: i32) -> Option<Self> {
        Some(match id {
            1 => Self::Open,
            2 => Self::Close,
            4 => Self::Fail,
            5 => Self::Refuse,
            6 => Self::Traffic,
            _ => return None,
        })
    }
}

/// OCSF `connection_info.direction_id`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Direction {
    /// 0
    #[default]
    Unknown = 0,
    /// 1: accepted here.
    Inbound = 1,
    /// 2: connected from here.
    Outbound = 2,
}

impl Direction {
    /// From the `direction_id`.
    #[must_use]
    pub const fn from_id(id: i32) -> Option<Self> {
        Some(match id {
            0 => Self::Unknown,
            1 => Self::Inbound,
            2 => Self::Outbound,
            _ => return None,
        })
    }
}

/// Protocol above IP, by its IANA number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Transport {
    /// 6
    #[default]
    Tcp = 6,
    /// 17
    Udp = 17,
}

impl Transport {
    /// From the IANA number.
    #[must_use]
    pub const fn from_number(id: i32) -> Option<Self> {
        Some(match id {
            6 => Self::Tcp,
            17 => Self::Udp,
            _ => return None,
        })
    }
}

/// OCSF `network_endpoint`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Address; an IPv4-mapped IPv6 address is written as IPv4.
    pub ip: IpAddr,
    /// Port.
    pub port: u16,
}

/// Events that were not kept: how many, of which class, between when and when, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SensorLoss {
    /// Why.
    pub cause: LossCause,
    /// Class of the lost events, where one class was lost.
    pub class: Option<EventClass>,
    /// How many; `None` where nobody could count (the sensor did not run).
    pub count: Option<u64>,
    /// First moment at which something may be missing.
    pub since: Timestamp,
    /// Last one.
    pub until: Timestamp,
    /// One sentence for the analyst.
    pub message: String,
}

/// Why events were lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum LossCause {
    /// The kernel's ring buffer was full.
    RingFull = 1,
    /// The agent's queue before the spool was full.
    QueueFull = 2,
    /// The spool used all the disk it may use.
    SpoolFull = 3,
    /// The disk refused a write (full, error).
    DiskError = 4,
    /// The agent did not run, or was killed with events in memory.
    AgentDown = 5,
    /// A stored frame could not be read back.
    SpoolCorrupt = 6,
    /// Shed to stay inside the budget.
    Budget = 7,
    /// The server refused it (malformed, over a limit).
    Refused = 8,
    /// A kernel map had no room.
    MapFull = 9,
}

impl LossCause {
    /// Every cause, by number.
    pub const ALL: [Self; 9] =
        [Self::RingFull, Self::QueueFull, Self::SpoolFull, Self::DiskError, Self::AgentDown, Self::SpoolCorrupt, Self::Budget, Self::Refused, Self::MapFull];

    /// From its number on the wire.
    #[must_use]
    pub fn from_id(id: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|cause| *cause as u32 == id)
    }

    /// From the name used in events and columns.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|cause| cause.name() == name)
    }

    /// The name used in events and columns.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::RingFull => "ring_full",
            Self::QueueFull => "queue_full",
            Self::SpoolFull => "spool_full",
            Self::DiskError => "disk_error",
            Self::AgentDown => "agent_down",
            Self::SpoolCorrupt => "spool_corrupt",
            Self::Budget => "budget",
            Self::Refused => "refused",
            Self::MapFull => "map_full",
        }
    }
}

/// The sensor itself: started, stopped, or what it can see.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SensorState {
    /// Which.
    pub kind: SensorStateKind,
    /// The capability report, or the reason of a stop, as JSON (the agent's own words; shown, never interpreted by the server).
    pub report: serde_json::Value,
}

/// What a [`SensorState`] tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum SensorStateKind {
    /// The agent started.
    Started = 1,
    /// The agent stopped in order.
    Stopped = 2,
    /// Probes attached and not, with reasons.
    Capabilities = 3,
}

impl SensorStateKind {
    /// From its number on the wire.
    #[must_use]
    pub const fn from_id(id: i32) -> Option<Self> {
        Some(match id {
            1 => Self::Started,
            2 => Self::Stopped,
            3 => Self::Capabilities,
            _ => return None,
        })
    }
}
