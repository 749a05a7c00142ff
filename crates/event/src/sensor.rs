//! The sensor's own events: what it lost, and what it is.

use serde::{Deserialize, Serialize};

use crate::{EventClass, Timestamp};

/// Events that were not kept: how many, of which class, between when and when, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SensorLoss {
    /// Why.
    pub cause: LossCause,
    /// Class of the lost events, where one class was lost.
    pub class: Option<EventClass>,
    /// How many; `None` where nobody could count (the sensor did not run).
    pub count: Option<u64>,
    /// The CPU that made the lost records, where they are counted by CPU. The kernel's buffer is one for all CPUs: this tells who found it full.
    pub cpu: Option<u32>,
    /// First moment at which something may be missing.
    pub since: Timestamp,
    /// Last one.
    pub until: Timestamp,
    /// When the sensor read again from the kernel what these losses had left unknown to it: the processes and flows that were there then.
    pub healed: Option<Timestamp>,
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
    /// A probe was not attached for a while: somebody detached its link, or the kernel did.
    ProbeDetached = 10,
    /// What the sensor needs was changed from outside: a map emptied or filled, the agent stopped or traced.
    SensorTampered = 11,
    /// A scan could not look at everything.
    Scan = 12,
    /// One process asked for more than its share.
    RateLimited = 13,
    /// The kernel left out runs of a probe, because another run of the same program was under way on that CPU. What is counted are runs, each of which
    /// may have been an event.
    ProbeMissed = 14,
}

impl LossCause {
    /// Every cause, by number.
    pub const ALL: [Self; 14] = [
        Self::RingFull,
        Self::QueueFull,
        Self::SpoolFull,
        Self::DiskError,
        Self::AgentDown,
        Self::SpoolCorrupt,
        Self::Budget,
        Self::Refused,
        Self::MapFull,
        Self::ProbeDetached,
        Self::SensorTampered,
        Self::Scan,
        Self::RateLimited,
        Self::ProbeMissed,
    ];

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
            Self::ProbeDetached => "probe_detached",
            Self::SensorTampered => "sensor_tampered",
            Self::Scan => "scan",
            Self::RateLimited => "rate_limited",
            Self::ProbeMissed => "probe_missed",
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
