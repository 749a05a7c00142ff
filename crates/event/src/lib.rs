//! The event model of Picket: what a host saw, in the words of OCSF 1.8.0.
//!
//! Every room speaks these types: the agent makes them from kernel records, `proto` carries them, the lake stores them as
//! columns, and every edge that a person or another tool sees shows them as OCSF JSON ([`ocsf`]). Plain data: no I/O, no
//! clock. One row answers "who did it" without a join: each activity carries its actor process and that process's parent.
//!
//! Constraints: an event is at most [`limits::EVENT_BYTES_MAX`] encoded; strings are cut at the limits in [`limits`] and the
//! cut is a flag ([`EventFlags`]), never silent.

mod activity;
mod clip;
pub mod columns;
pub mod dns;
mod file;
mod finding;
mod gpu;
mod host;
mod ids;
pub mod limits;
mod memory;
mod network;
mod numbered;
pub mod ocsf;
mod process;
pub mod rest;
pub mod row;
mod scan;
mod sensor;

pub use activity::{Activity, LaunchType, ProcessActivity, ProcessActivityKind};
pub use dns::{DnsActivity, DnsActivityKind, DnsAnswer};
pub use file::{Access, File, FileActivityKind, FileMethods, FileSystemActivity};
pub use finding::{
    Completeness, ComplianceFinding, ComplianceStatus, Confidence, DetectionFinding, Evidence, FindingActivityKind, FindingRule, RuleKind, Verdict,
};
pub use gpu::{GpuProcess, GpuState};
pub use host::Device;
pub use ids::{DeviceUid, EventClass, ProcessUid, Severity, Sha256, Sha256Error, SpoolUid, Timestamp};
pub use memory::{
    KernelActivity, KernelExtensionActivity, KernelExtensionActivityKind, KernelExtensionKind, MemoryActivity, MemoryActivityKind, ModuleActivity, Protection,
};
pub use network::{AppProtocol, Direction, Endpoint, NetworkActivity, NetworkActivityKind, Transport};
pub use process::{Actor, Container, ExeFlags, Job, Namespaces, ParentProcess, Process, ProcessMethod, ProcessRole, User};
pub use scan::{ScanActivity, ScanActivityKind, ScanCounts, ScanTrigger};
pub use sensor::{LossCause, SensorLoss, SensorState, SensorStateKind};

use serde::{Deserialize, Serialize};

/// One thing that happened on one host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// When it happened by the host's wall clock.
    pub time: Timestamp,
    /// OCSF severity; `Informational` for plain telemetry.
    pub severity: Severity,
    /// What was cut, guessed or unknown.
    pub flags: EventFlags,
    /// Who did it; absent only where no process did (loss, capability report).
    pub actor: Option<Actor>,
    /// What was done.
    pub activity: Activity,
}

/// What is not whole about an event. Bits, so that the wire and the lake carry one integer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventFlags(pub u32);

impl EventFlags {
    /// A command line was longer than the kernel record could hold.
    pub const CMD_LINE_CUT: Self = Self(1);
    /// A path was longer or deeper than the kernel could resolve.
    pub const PATH_CUT: Self = Self(1 << 1);
    /// The actor was not in the process table (started before the agent, or its record was lost); it was filled from the kernel record alone.
    pub const ACTOR_PARTIAL: Self = Self(1 << 2);
    /// The path belongs to a file that has no name any more, or never had one (deleted, memfd, lazily unmounted).
    pub const PATH_DETACHED: Self = Self(1 << 3);
    /// Observed by an iterator at start, not at the moment it happened.
    pub const PREEXISTING: Self = Self(1 << 4);
    /// Another text, the environment or a report was longer than its limit.
    pub const TEXT_CUT: Self = Self(1 << 5);
    /// No process is known: the file system told it, not a probe.
    pub const NO_PROCESS: Self = Self(1 << 6);

    /// Both sets together.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// True when every bit of `other` is set here.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// An event as the server keeps it: with the identity that the server vouches for.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredEvent {
    /// The device, from its certificate; never from a payload.
    pub device: std::sync::Arc<Device>,
    /// The life of the agent's spool that numbered the event.
    pub spool: SpoolUid,
    /// Position in that spool, from 1, without gaps.
    pub seq: u64,
    /// When the server received it.
    pub received: Timestamp,
    /// The event.
    pub event: Event,
}
