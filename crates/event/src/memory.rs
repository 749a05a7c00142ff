//! OCSF Memory Activity, Module Activity, Kernel Extension Activity and Kernel Activity: what a process does to another's memory, to its own
//! code and to the kernel.

use serde::{Deserialize, Serialize};

use crate::{File, Process, ProcessMethod, numbered::numbered};

/// OCSF Memory Activity (1004).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MemoryActivity {
    /// What was done.
    pub kind: MemoryActivityKind,
    /// By which way.
    pub method: ProcessMethod,
    /// Whose memory; `None` where it is the actor's own.
    pub process: Option<Process>,
    /// First address, 0 where unknown.
    pub base_address: u64,
    /// Bytes, 0 where unknown.
    pub size_bytes: u64,
    /// Permissions asked for.
    pub permissions: Protection,
}

numbered! {
    /// OCSF `activity_id` of Memory Activity.
    MemoryActivityKind {
        /// 7: another process's memory was read.
        Read = 7 "Read",
        /// 8: another process's memory was written.
        Write = 8 "Write",
        /// 9: memory that is anonymous or comes from a writable place became executable.
        Map = 9 "Map View",
    }
}

/// Permissions of a mapping, as `PROT_` bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Protection(pub u32);

impl Protection {
    /// `PROT_READ`
    pub const READ: Self = Self(1);
    /// `PROT_WRITE`
    pub const WRITE: Self = Self(2);
    /// `PROT_EXEC`
    pub const EXEC: Self = Self(4);

    /// True when every bit of `other` is set here.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// OCSF Module Activity (1005), always Load: a file became code of the actor from a place that is no home of libraries (writable, memfd, deleted).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModuleActivity {
    /// The file.
    pub file: File,
    /// Where it was mapped, 0 where unknown.
    pub base_address: u64,
    /// Bytes mapped, 0 where unknown.
    pub size_bytes: u64,
    /// Permissions asked for.
    pub permissions: Protection,
}

/// OCSF Kernel Extension Activity (1002).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelExtensionActivity {
    /// Loaded or unloaded.
    pub kind: KernelExtensionActivityKind,
    /// What was loaded.
    pub extension: KernelExtensionKind,
    /// Name of the module or BPF program.
    pub name: String,
    /// File it came from, where the kernel told it.
    pub path: String,
    /// Program type, as `kprobe`; empty for a module.
    pub bpf_type: String,
    /// The program's tag in hex; empty for a module.
    pub bpf_tag: String,
    /// The program's id, 0 for a module.
    pub bpf_id: u32,
}

numbered! {
    /// OCSF `activity_id` of Kernel Extension Activity.
    KernelExtensionActivityKind {
        /// 1
        Load = 1 "Load",
        /// 2
        Unload = 2 "Unload",
    }
}

numbered! {
    /// What extends the kernel.
    KernelExtensionKind {
        /// A kernel module.
        Module = 1 "module",
        /// A BPF program.
        BpfProgram = 2 "bpf_program",
    }
}

/// OCSF Kernel Activity (1003), always Invoke: a system call that changes what others can see or do, or a sum of many.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KernelActivity {
    /// Name of the system call, or `io_uring`: setns, unshare, mount, umount, `pivot_root`, kill, `clock_settime`, …
    pub operation: String,
    /// How often, where calls are summed; else 1.
    pub count: u64,
    /// A short text: flags, target, opcode.
    pub detail: String,
    /// The process it was done to, where there is one besides the actor.
    pub process: Option<Process>,
}
