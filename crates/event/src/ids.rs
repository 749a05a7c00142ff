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
    /// 1001
    FileSystemActivity,
    /// 1002
    KernelExtensionActivity,
    /// 1003
    KernelActivity,
    /// 1004
    MemoryActivity,
    /// 1005
    ModuleActivity,
    /// 1007
    ProcessActivity,
    /// 1008: what the sensor lost, started or stopped.
    EventLogActivity,
    /// 2003
    ComplianceFinding,
    /// 2004
    DetectionFinding,
    /// 4001
    NetworkActivity,
    /// 4003
    DnsActivity,
    /// 5001: a GPU and who uses it.
    DeviceInventoryInfo,
    /// 5002: what the sensor can see on this host.
    DeviceConfigState,
    /// 6007
    ScanActivity,
}

impl EventClass {
    /// Every class, in the order of their ids.
    pub const ALL: [Self; 14] = [
        Self::FileSystemActivity,
        Self::KernelExtensionActivity,
        Self::KernelActivity,
        Self::MemoryActivity,
        Self::ModuleActivity,
        Self::ProcessActivity,
        Self::EventLogActivity,
        Self::ComplianceFinding,
        Self::DetectionFinding,
        Self::NetworkActivity,
        Self::DnsActivity,
        Self::DeviceInventoryInfo,
        Self::DeviceConfigState,
        Self::ScanActivity,
    ];

    /// OCSF `class_uid`.
    #[must_use]
    pub const fn uid(self) -> i32 {
        match self {
            Self::FileSystemActivity => 1001,
            Self::KernelExtensionActivity => 1002,
            Self::KernelActivity => 1003,
            Self::MemoryActivity => 1004,
            Self::ModuleActivity => 1005,
            Self::ProcessActivity => 1007,
            Self::EventLogActivity => 1008,
            Self::ComplianceFinding => 2003,
            Self::DetectionFinding => 2004,
            Self::NetworkActivity => 4001,
            Self::DnsActivity => 4003,
            Self::DeviceInventoryInfo => 5001,
            Self::DeviceConfigState => 5002,
            Self::ScanActivity => 6007,
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
            Self::KernelExtensionActivity => "Kernel Extension Activity",
            Self::KernelActivity => "Kernel Activity",
            Self::MemoryActivity => "Memory Activity",
            Self::ModuleActivity => "Module Activity",
            Self::ProcessActivity => "Process Activity",
            Self::EventLogActivity => "Event Log Activity",
            Self::ComplianceFinding => "Compliance Finding",
            Self::DetectionFinding => "Detection Finding",
            Self::NetworkActivity => "Network Activity",
            Self::DnsActivity => "DNS Activity",
            Self::DeviceInventoryInfo => "Device Inventory Info",
            Self::DeviceConfigState => "Device Config State",
            Self::ScanActivity => "Scan Activity",
        }
    }

    /// OCSF `category_uid`.
    #[must_use]
    pub const fn category_uid(self) -> i32 {
        self.uid() / 1000
    }
}

/// SHA-256 of a file's content; its text form is lower-case hex.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sha256(pub [u8; 32]);

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not 64 hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a SHA-256 is written as 64 hex digits")]
pub struct Sha256Error;

impl FromStr for Sha256 {
    type Err = Sha256Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        if !rest.is_empty() || pairs.len() != 32 {
            return Err(Sha256Error);
        }
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok()).ok_or(Sha256Error);
        let mut bytes = [0; 32];
        for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
            *byte = (digit(*high)? << 4) | digit(*low)?;
        }
        Ok(Self(bytes))
    }
}

impl Serialize for Sha256 {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Sha256 {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}
