//! Typed identifiers: a pid is never an identity, a string never a bare id.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Nanoseconds since the Unix epoch, UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// Whole milliseconds, the unit of OCSF `time`.
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// Whole microseconds, the unit of the lake's `time` column.
    #[must_use]
    pub const fn as_micros(self) -> i64 {
        self.0.div_euclid(1_000)
    }
}

/// The identity that the server gave a device at enrolment; a UUIDv7.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DeviceUid(pub Uuid);

/// One life of an agent's spool: made when the spool is created, changed when it is wiped or found rolled back. Sequence numbers
/// are unique within it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SpoolUid(pub Uuid);

macro_rules! uuid_text {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::parse_str(text).map(Self)
            }
        }
    };
}
uuid_text!(DeviceUid);
uuid_text!(SpoolUid);

/// Which process, once and for ever: boot, pid namespace, pid and start time. A pid alone is reused within seconds on a busy host.
///
/// Text form: `<boot id, 8 hex>-<pid namespace, hex>-<pid, decimal>-<start time since boot in ns, hex>`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ProcessUid(pub String);

impl ProcessUid {
    /// Builds the identity from the kernel's numbers. `boot` is the first eight hex digits of the boot id, `pid` the thread group id in
    /// the host's pid namespace, `start_boot_ns` the group leader's `start_boottime`.
    #[must_use]
    pub fn new(boot: &str, pid_ns: u32, pid: u32, start_boot_ns: u64) -> Self {
        Self(format!("{boot}-{pid_ns:x}-{pid}-{start_boot_ns:x}"))
    }

    /// The text form.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ProcessUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// OCSF `severity_id`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Severity {
    /// 0
    Unknown = 0,
    /// 1
    #[default]
    Informational = 1,
    /// 2
    Low = 2,
    /// 3
    Medium = 3,
    /// 4
    High = 4,
    /// 5
    Critical = 5,
    /// 6
    Fatal = 6,
}

impl Severity {
    /// The OCSF caption.
    #[must_use]
    pub const fn caption(self) -> &'static str {
        match self {
            Self::Unknown => "Unknown",
            Self::Informational => "Informational",
            Self::Low => "Low",
            Self::Medium => "Medium",
            Self::High => "High",
            Self::Critical => "Critical",
            Self::Fatal => "Fatal",
        }
    }

    /// From `severity_id`; anything the schema does not name is `Unknown`.
    #[must_use]
    pub const fn from_id(id: i32) -> Self {
        match id {
            1 => Self::Informational,
            2 => Self::Low,
            3 => Self::Medium,
            4 => Self::High,
            5 => Self::Critical,
            6 => Self::Fatal,
            _ => Self::Unknown,
        }
    }
}

/// OCSF classes that Picket writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventClass {
    /// 1007
    ProcessActivity,
    /// 1001
    FileSystemActivity,
    /// 4001
    NetworkActivity,
    /// 1008: what the sensor lost, started or stopped.
    EventLogActivity,
    /// 5002: what the sensor can see on this host.
    DeviceConfigState,
}

impl EventClass {
    /// Every class, in the order of their ids.
    pub const ALL: [Self; 5] = [Self::FileSystemActivity, Self::ProcessActivity, Self::EventLogActivity, Self::NetworkActivity, Self::DeviceConfigState];

    /// OCSF `class_uid`.
    #[must_use]
    pub const fn uid(self) -> i32 {
        match self {
            Self::FileSystemActivity => 1001,
            Self::ProcessActivity => 1007,
            Self::EventLogActivity => 1008,
            Self::NetworkActivity => 4001,
            Self::DeviceConfigState => 5002,
        }
    }

    /// The class of a `class_uid`.
    #[must_use]
    pub fn from_uid(uid: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.uid() == uid)
    }

    /// OCSF `class_name`, the caption.
    #[must_use]
    pub const fn caption(self) -> &'static str {
        match self {
            Self::FileSystemActivity => "File System Activity",
            Self::ProcessActivity => "Process Activity",
            Self::EventLogActivity => "Event Log Activity",
            Self::NetworkActivity => "Network Activity",
            Self::DeviceConfigState => "Device Config State",
        }
    }

    /// OCSF `category_uid`.
    #[must_use]
    pub const fn category_uid(self) -> i32 {
        self.uid() / 1000
    }
}
