//! What the kernel side tells, decoded: plain integers and byte strings, nothing interpreted. Kernel bytes become these through checked
//! reads only; a record that does not fit its kind is a [`DecodeError`], counted by the sensor, never a panic.

use std::net::SocketAddr;

/// One record from the ring buffer or from a start-up iterator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Nanoseconds since boot (`CLOCK_BOOTTIME`).
    pub time_boot_ns: u64,
    /// CPU that wrote it.
    pub cpu: u32,
    /// `EVENT_F_*`: what was cut or could not be read.
    pub flags: RecordFlags,
    /// Who was current. For flows the owner captured in process context; all zero where it is unknown.
    pub task: Task,
    /// The rest.
    pub body: Body,
}

/// Bits of [`Record::flags`], equal to `EVENT_F_*` in `bpf/event.h` (a test compares them).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecordFlags(pub u16);

impl RecordFlags {
    /// Arguments did not fit.
    pub const ARGS_CUT: Self = Self(1);
    /// A path did not fit or was deeper than the walk.
    pub const PATH_CUT: Self = Self(1 << 1);
    /// The file has no name in the tree any more, or never had one.
    pub const PATH_DETACHED: Self = Self(1 << 2);
    /// User memory could not be read (swapped, or unmapped by its owner).
    pub const USER_FAULT: Self = Self(1 << 3);
    /// From an iterator at start.
    pub const PREEXISTING: Self = Self(1 << 4);

    /// True when every bit of `other` is set here.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// The current task when the record was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Task {
    /// Thread group id in the host's pid namespace: the "pid" of user space.
    pub pid: u32,
    /// Thread id.
    pub tid: u32,
    /// The group leader's `start_boottime`, ns since boot: with `pid` the identity of the process on this boot.
    pub start_boot_ns: u64,
    /// Parent's thread group id.
    pub parent_pid: u32,
    /// Parent's group leader `start_boottime`.
    pub parent_start_boot_ns: u64,
    /// Real uid in the initial user namespace.
    pub uid: u32,
    /// Effective uid.
    pub euid: u32,
    /// Real gid.
    pub gid: u32,
    /// Login uid, `u32::MAX` where unset.
    pub auid: u32,
    /// Id (inode) of its cgroup in the v2 hierarchy.
    pub cgroup_id: u64,
    /// `comm` without trailing NULs, lossy UTF-8.
    pub comm: String,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// A process copied itself (threads are left out).
    Fork(Fork),
    /// A process got a new image; also one that existed before the sensor.
    Exec(Box<Exec>),
    /// The last thread of a process ended.
    Exit(Exit),
    /// A watched file was opened, closed after writing, renamed or unlinked.
    File(Box<File>),
    /// A TCP connection changed state.
    Flow(Flow),
}

/// `task` is the parent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fork {
    /// The child's thread group id.
    pub child_pid: u32,
    /// The child's start.
    pub child_start_boot_ns: u64,
}

/// `task` is the process with its new image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exec {
    /// Arguments, NUL-separated as in the process's memory.
    pub args: Vec<u8>,
    /// Number of arguments, also when `args` was cut.
    pub argc: u32,
    /// Selected `NAME=value` pairs, NUL-separated: preload variables and job ids only.
    pub environment: Vec<u8>,
    /// Executable as the kernel resolved it.
    pub exe_path: Vec<u8>,
    /// Its inode.
    pub exe_inode: u64,
    /// Its device (`major << 20 | minor`).
    pub exe_device: u32,
    /// Working directory.
    pub cwd: Vec<u8>,
    /// Effective capabilities.
    pub capabilities: u64,
    /// Namespace inode numbers.
    pub mnt_ns: u32,
    /// Pid namespace.
    pub pid_ns: u32,
    /// Network namespace.
    pub net_ns: u32,
    /// User namespace.
    pub user_ns: u32,
    /// Pid in its own pid namespace.
    pub ns_pid: u32,
    /// Session leader's pid in the host's namespace (`setsid`).
    pub session_pid: u32,
    /// Session leader's start.
    pub session_start_boot_ns: u64,
    /// Controlling terminal as (major, minor), (0, 0) where there is none.
    pub tty: (u16, u16),
}

/// `task` is the process that ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// The kernel's `exit_code`: `status << 8 | signal`.
    pub code: u32,
}

/// Which file activity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileOp {
    /// Opened; `File::created` tells whether this open made it.
    Open,
    /// Last close of a description that was open for writing.
    CloseWrite,
    /// Renamed; `File::new_path` is the result.
    Rename,
    /// A name was removed.
    Unlink,
}

/// A watched file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// What was done.
    pub op: FileOp,
    /// True where this open created the file (`FMODE_CREATED`).
    pub created: bool,
    /// `f_flags`.
    pub open_flags: u32,
    /// `f_mode`: bit 0 read, bit 1 write.
    pub mode_bits: u32,
    /// Path as resolved from the opened file, never from the user's pointer.
    pub path: Vec<u8>,
    /// Path after a rename.
    pub new_path: Vec<u8>,
    /// Inode.
    pub inode: u64,
    /// Device.
    pub device: u32,
    /// `i_mode`.
    pub i_mode: u16,
    /// Owner.
    pub owner_uid: u32,
    /// `i_size` at the time.
    pub size: u64,
    /// Id of the watch that matched, as given to [`crate::Sensor::set_watches`]; 0 where the name's extension matched.
    pub watch_id: u32,
}

/// State of a TCP flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowOp {
    /// Established from here.
    Connect,
    /// Accepted here.
    Accept,
    /// Ended.
    Close,
    /// Never came up: `SYN_SENT` → `CLOSE`.
    Fail,
    /// A flow that existed before the sensor.
    Existing,
}

/// A TCP flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    /// What happened.
    pub op: FlowOp,
    /// This host's end.
    pub local: SocketAddr,
    /// The peer's end.
    pub remote: SocketAddr,
    /// Bytes acknowledged by the peer.
    pub bytes_sent: u64,
    /// Bytes received.
    pub bytes_received: u64,
    /// Socket cookie: the flow's identity.
    pub cookie: u64,
    /// When it was established, ns since boot; 0 where unknown.
    pub established_boot_ns: u64,
    /// True where this host accepted it.
    pub inbound: bool,
    /// `sk_err` on `Fail` and `Close`: 111 refused, 110 timed out, 113 no route; 0 none.
    pub error: u32,
}

/// A record that is not what its header claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Shorter than its kind needs.
    #[error("record of kind {kind} is {len} bytes, shorter than its fixed part")]
    Short {
        /// Kind in the header.
        kind: u16,
        /// Length of the record.
        len: usize,
    },
    /// A kind this build does not know.
    #[error("record of unknown kind {0}")]
    Kind(u16),
    /// A length field points past the record's end.
    #[error("record of kind {kind} claims {claimed} bytes of text in {len}")]
    Lengths {
        /// Kind in the header.
        kind: u16,
        /// Bytes claimed.
        claimed: usize,
        /// Bytes there.
        len: usize,
    },
    /// An operation that its kind does not have.
    #[error("record of kind {kind} has unknown operation {operation}")]
    Operation {
        /// Kind in the header.
        kind: u16,
        /// The operation.
        operation: u8,
    },
}
