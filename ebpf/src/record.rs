//! What the kernel side tells, decoded: plain integers and byte strings, nothing interpreted. Kernel bytes become these through checked
//! reads only; a record that does not fit its kind is a [`DecodeError`], counted by the sensor, never a panic.

mod network;

pub use network::{Dns, Flow, FlowOp, FlowProtocol, Socket, SocketOp};

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

    /// The executable of an exec never had a name: a memfd.
    pub const EXE_MEMFD: Self = Self(1 << 12);
    /// The executable of an exec has no name any more.
    pub const EXE_DELETED: Self = Self(1 << 13);
    /// The executable was given by a descriptor (`fexecve`).
    pub const EXE_BY_DESCRIPTOR: Self = Self(1 << 14);

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
    /// A process did something to another, to itself or to the kernel.
    Action(Box<Action>),
    /// A watched file was opened, closed after writing, renamed or unlinked.
    File(Box<File>),
    /// A flow began, moved bytes or ended, or a socket waits for peers.
    Flow(Flow),
    /// A DNS message was sent or received.
    Dns(Box<Dns>),
    /// A local socket with a listed name was connected to, or a socket of another kind was made.
    Socket(Box<Socket>),
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

/// What an [`Action`] is, with the meaning of its values (- is one not used) and texts. Numbers are those of `bpf/event.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum ActionOp {
    /// `ptrace`: target; request, -, address, data. Who asks to be traced acts, and its parent is the target.
    Ptrace = 1,
    /// `process_vm_readv`: target; first address there, bytes.
    ReadMemory = 2,
    /// `process_vm_writev`: target; first address there, bytes.
    WriteMemory = 3,
    /// `pidfd_getfd`: target; descriptor there, -, descriptor here; path of the file.
    TakeDescriptor = 4,
    /// Open of a file in another process's `/proc` folder: target; `f_mode`; its name there.
    ProcOpen = 5,
    /// A signal to an excluded process (the agent): target; signal, -, `si_code`.
    Signal = 6,
    /// The set*id family and `capset`: before, `euid << 32 | uid`, `egid << 32 | gid`, effective capabilities; after, likewise; 1 where those before are known.
    SetIds = 16,
    /// Memory made executable: address, bytes, protection, flags of mmap, inode, device, `i_mode << 32 | owner`, [`MapOrigin`]; path.
    Map = 32,
    /// `setns`: flags; then its namespaces: mount, pid of its children, network, user.
    Setns = 48,
    /// `unshare` of namespaces: likewise.
    Unshare = 49,
    /// `mount`: flags; type, source, target as the caller gave them.
    Mount = 50,
    /// `umount2`: flags; target.
    Umount = 51,
    /// `pivot_root`: -; new root, where the old one goes.
    PivotRoot = 52,
    /// `chroot`: -; folder.
    Chroot = 53,
    /// `open_tree` that clones: flags; path.
    OpenTree = 54,
    /// `move_mount`: flags; from, to.
    MoveMount = 55,
    /// `mount_setattr`: flags; path.
    MountSetattr = 56,
    /// `memfd_create`: flags, inode; name.
    Memfd = 57,
    /// `clock_settime`, `settimeofday`: clock, seconds, nanoseconds.
    ClockSet = 64,
    /// `clock_adjtime`, `adjtimex` that step: clock, the time after it (seconds, nanoseconds or microseconds), modes.
    ClockStep = 65,
    /// A module was loaded: -; name.
    ModuleLoad = 72,
    /// A module goes: -; name.
    ModuleUnload = 73,
    /// A BPF program was loaded: id, type, tag; name.
    BpfLoad = 74,
    /// Submissions to io_uring: opcode; `count` is the number since the last such record.
    RingSubmit = 80,
}

impl ActionOp {
    /// Every operation with its name in `bpf/event.h`.
    pub(crate) const ALL: [(Self, &'static str); 24] = [
        (Self::Ptrace, "ACTION_PTRACE"),
        (Self::ReadMemory, "ACTION_READ_MEMORY"),
        (Self::WriteMemory, "ACTION_WRITE_MEMORY"),
        (Self::TakeDescriptor, "ACTION_TAKE_DESCRIPTOR"),
        (Self::ProcOpen, "ACTION_PROC_OPEN"),
        (Self::Signal, "ACTION_SIGNAL"),
        (Self::SetIds, "ACTION_SET_IDS"),
        (Self::Map, "ACTION_MAP"),
        (Self::Setns, "ACTION_SETNS"),
        (Self::Unshare, "ACTION_UNSHARE"),
        (Self::Mount, "ACTION_MOUNT"),
        (Self::Umount, "ACTION_UMOUNT"),
        (Self::PivotRoot, "ACTION_PIVOT_ROOT"),
        (Self::Chroot, "ACTION_CHROOT"),
        (Self::OpenTree, "ACTION_OPEN_TREE"),
        (Self::MoveMount, "ACTION_MOVE_MOUNT"),
        (Self::MountSetattr, "ACTION_MOUNT_SETATTR"),
        (Self::Memfd, "ACTION_MEMFD"),
        (Self::ClockSet, "ACTION_CLOCK_SET"),
        (Self::ClockStep, "ACTION_CLOCK_STEP"),
        (Self::ModuleLoad, "ACTION_MODULE_LOAD"),
        (Self::ModuleUnload, "ACTION_MODULE_UNLOAD"),
        (Self::BpfLoad, "ACTION_BPF_LOAD"),
        (Self::RingSubmit, "ACTION_RING_SUBMIT"),
    ];

    pub(crate) fn from_number(number: u16) -> Option<Self> {
        Self::ALL.iter().map(|(op, _)| *op).find(|op| *op as u16 == number)
    }

    /// True where text 0 is a path of the kernel's, not a text of the caller's.
    pub(crate) const fn has_path(self) -> bool {
        matches!(self, Self::TakeDescriptor | Self::Map)
    }
}

/// Where executable memory came from, see [`ActionOp::Map`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum MapOrigin {
    /// No file.
    Anonymous = 1,
    /// A file that never had a name.
    Memfd = 2,
    /// A file that has no name any more.
    Deleted = 3,
    /// A file below a directory that everybody may write to.
    WritablePlace = 4,
}

impl MapOrigin {
    pub(crate) const ALL: [(Self, &'static str); 4] = [
        (Self::Anonymous, "MAP_ORIGIN_ANONYMOUS"),
        (Self::Memfd, "MAP_ORIGIN_MEMFD"),
        (Self::Deleted, "MAP_ORIGIN_DELETED"),
        (Self::WritablePlace, "MAP_ORIGIN_WRITABLE_PLACE"),
    ];

    /// Of a value of an [`Action`].
    #[must_use]
    pub fn from_value(value: u64) -> Option<Self> {
        Self::ALL.iter().map(|(origin, _)| *origin).find(|origin| *origin as u64 == value)
    }
}

/// `task` is the process that acted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action {
    /// What it did.
    pub op: ActionOp,
    /// Number of the system call on `x86_64`, 0 where it was none.
    pub call: u16,
    /// What the call returned: not negative, or minus the error.
    pub result: i32,
    /// Actions that this record stands for: repetitions are held back and told by the next record.
    pub count: u32,
    /// The other process; `None` where there is none or it was not found.
    pub target: Option<Task>,
    /// By operation.
    pub values: [u64; 8],
    /// By operation; empty where there is none.
    pub texts: [Vec<u8>; 3],
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
    /// Bytes moved so far by this process, or at the end where it did not write.
    Use,
    /// Something about it was changed other than by writing.
    Change(FileChange),
    /// A further name was made: `File::path` is the one it had, `File::new_path` the new one.
    Link,
}

/// What [`FileOp::Change`] changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileChange {
    /// Permissions.
    Mode,
    /// Owner or group.
    Owner,
    /// Times of access or modification.
    Times,
    /// An extended attribute, access control lists among them.
    ExtendedAttribute,
    /// Truncated or extended.
    Size,
    /// Space allocated, punched or collapsed.
    Space,
}

/// Ways of using a file. Bits, equal to `EVENT_METHOD_*` in `bpf/event.h` (a test compares them).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileMethods(pub u16);

impl FileMethods {
    /// Mapped into memory: bytes read are the pages that page faults made reachable.
    pub const MMAP: Self = Self(1);
    /// Mapped shared and writable: what is written so is not counted.
    pub const MMAP_WRITE: Self = Self(1 << 1);
    /// By sendfile.
    pub const SENDFILE: Self = Self(1 << 2);
    /// By splice.
    pub const SPLICE: Self = Self(1 << 3);
    /// By `copy_file_range`.
    pub const COPY: Self = Self(1 << 4);
    /// Opened with `O_DIRECT`.
    pub const DIRECT: Self = Self(1 << 5);
    /// Through `io_uring`.
    pub const IO_URING: Self = Self(1 << 6);
    /// Opened by a file handle, without a path.
    pub const HANDLE: Self = Self(1 << 7);
    /// Opened through the 32-bit system call entry.
    pub const COMPAT: Self = Self(1 << 8);

    /// True when every bit of `other` is set here.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
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
    /// Bytes that this process read through this description: on [`FileOp::Use`] and [`FileOp::CloseWrite`].
    pub bytes_read: u64,
    /// Bytes that it wrote.
    pub bytes_written: u64,
    /// How it was opened and used, as far as known.
    pub methods: FileMethods,
    /// False where a [`FileOp::Use`] tells what there was so far and more may come.
    pub until_end: bool,
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
