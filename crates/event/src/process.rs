//! OCSF `process`, `actor`, and what Picket's extension adds to them.

use serde::{Deserialize, Serialize};

use crate::{ProcessUid, Timestamp, numbered::numbered};

/// Who did it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Actor {
    /// The acting process.
    pub process: Process,
}

/// A process as it was when the event happened.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Process {
    /// Boot, pid namespace, pid, start time.
    pub uid: ProcessUid,
    /// Thread group id in the host's pid namespace.
    pub pid: u32,
    /// Acting thread, 0 where it does not matter.
    pub tid: u32,
    /// `comm` of the group leader (kernel, at most 15 bytes) or the base name of the executable.
    pub name: String,
    /// Executable as the kernel resolved it; empty for kernel threads.
    pub path: String,
    /// Inode of the executable: a renamed or replaced file keeps its own.
    pub exe_inode: u64,
    /// Kernel device number (`major << 20 | minor`) of the executable's file system.
    pub exe_device: u32,
    /// What is unusual about the executable.
    pub exe_flags: ExeFlags,
    /// Arguments joined by spaces.
    pub cmd_line: String,
    /// Working directory at exec.
    pub working_directory: String,
    /// Whose rights it has.
    pub user: User,
    /// When it started.
    pub created_time: Timestamp,
    /// Effective capabilities, bit n is `CAP_n`.
    pub capabilities: u64,
    /// Inode numbers of its namespaces.
    pub namespaces: Namespaces,
    /// Control group path (v2), empty where unknown.
    pub cgroup: String,
    /// Controlling terminal, as `pts/3`; empty where there is none.
    pub tty: String,
    /// Selected environment: preload variables and job ids only, in the order of their names.
    pub environment: Vec<(String, String)>,
    /// The nearest session leader, job step or container init: one id for everything that one launch started.
    pub exec_tree: ProcessUid,
    /// What kind of work it does.
    pub role: ProcessRole,
    /// Its container.
    pub container: Option<Container>,
    /// Its training job.
    pub job: Option<Job>,
    /// Its parent at the time.
    pub parent: Option<ParentProcess>,
}

/// What is unusual about an executable. Bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExeFlags(pub u8);

impl ExeFlags {
    /// It lives in memory alone: `memfd_create`, or a file system of memory without a name.
    pub const MEMFD: Self = Self(1);
    /// It had no name any more when it was executed.
    pub const DELETED: Self = Self(1 << 1);
    /// It lies where anybody can write.
    pub const WRITABLE_PLACE: Self = Self(1 << 2);

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

numbered! {
    /// By which way a process reached for another, for memory, or for other rights.
    #[derive(Default)]
    ProcessMethod {
        /// None in particular: launches and exits.
        #[default]
        None = 0 "",
        /// `ptrace`
        Ptrace = 1 "ptrace",
        /// `process_vm_readv`
        ProcessVmRead = 2 "process_vm_readv",
        /// `process_vm_writev`
        ProcessVmWrite = 3 "process_vm_writev",
        /// `/proc/PID/mem`
        ProcMem = 4 "proc_mem",
        /// `/proc/PID/environ`
        ProcEnviron = 5 "proc_environ",
        /// `/proc/PID/fd`, `root`, `cwd` or `exe`
        ProcFd = 6 "proc_fd",
        /// `/proc/PID/maps`, `smaps` or `pagemap`
        ProcMaps = 7 "proc_maps",
        /// `pidfd_getfd`
        Pidfd = 8 "pidfd_getfd",
        /// `process_madvise`, `process_mrelease`
        ProcessMadvise = 9 "process_madvise",
        /// `kcmp`
        Kcmp = 10 "kcmp",
        /// `setuid`, `setreuid`, `setresuid`, `setfsuid`
        Setuid = 11 "setuid",
        /// `setgid` and its kin
        Setgid = 12 "setgid",
        /// `capset`
        Capset = 13 "capset",
        /// Rights that came with a set-user-ID or privileged file.
        ExecPrivileged = 14 "exec_privileged",
        /// Rights that changed without any system call that changes them.
        Credentials = 15 "credentials",
        /// `mmap`
        Mmap = 16 "mmap",
        /// `mprotect`, `pkey_mprotect`
        Mprotect = 17 "mprotect",
    }
}

/// What a row says of the parent, so that lineage needs no join.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParentProcess {
    /// Identity.
    pub uid: ProcessUid,
    /// Thread group id.
    pub pid: u32,
    /// Name.
    pub name: String,
    /// Executable.
    pub path: String,
    /// Arguments joined by spaces.
    pub cmd_line: String,
}

impl ParentProcess {
    /// True when this is what [`From<&Process>`] makes of that process.
    #[must_use]
    pub fn is_of(&self, process: &Process) -> bool {
        self.uid == process.uid && self.pid == process.pid && self.name == process.name && self.path == process.path && self.cmd_line == process.cmd_line
    }
}

impl From<&Process> for ParentProcess {
    fn from(process: &Process) -> Self {
        Self { uid: process.uid.clone(), pid: process.pid, name: process.name.clone(), path: process.path.clone(), cmd_line: process.cmd_line.clone() }
    }
}

/// OCSF `user`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// Real uid.
    pub uid: u32,
    /// Effective uid.
    pub euid: u32,
    /// Real gid.
    pub gid: u32,
    /// Login uid that survives `su` and `sudo`; `u32::MAX` where nobody logged in.
    pub auid: u32,
    /// Name of the real uid on this host, empty where it has none.
    pub name: String,
}

impl Default for User {
    fn default() -> Self {
        Self { uid: 0, euid: 0, gid: 0, auid: u32::MAX, name: String::new() }
    }
}

/// Namespace inode numbers, 0 where unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespaces {
    /// Mount namespace.
    pub mnt: u32,
    /// Pid namespace.
    pub pid: u32,
    /// Network namespace.
    pub net: u32,
    /// User namespace.
    pub user: u32,
}

impl Namespaces {
    /// Mount, pid, network, user.
    #[must_use]
    pub const fn as_array(self) -> [u32; 4] {
        [self.mnt, self.pid, self.net, self.user]
    }
}

impl From<[u32; 4]> for Namespaces {
    fn from([mnt, pid, net, user]: [u32; 4]) -> Self {
        Self { mnt, pid, net, user }
    }
}

/// OCSF `container`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    /// Full id of the runtime.
    pub uid: String,
    /// Name, where the runtime's files tell it.
    pub name: String,
    /// Image reference, where the runtime's files tell it.
    pub image: String,
    /// docker, containerd, cri-o, podman, apptainer.
    pub runtime: String,
    /// Kubernetes pod uid, where there is one.
    pub pod_uid: String,
    /// Its name, where the runtime's files tell it.
    #[serde(default)]
    pub pod_name: String,
    /// Its namespace, likewise.
    #[serde(default)]
    pub pod_namespace: String,
}

/// The training or batch job a process belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// slurm, kubernetes, ray, torchrun, mlflow, wandb.
    pub scheduler: String,
    /// The scheduler's id.
    pub uid: String,
    /// Step within the job, where there is one.
    pub step: String,
    /// Rank in the distributed world, where the environment tells it.
    pub rank: Option<u32>,
}

/// What kind of work a process does; data in `rules/` decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum ProcessRole {
    /// None of the others.
    #[default]
    Other = 0,
    /// Trains a model.
    Trainer = 1,
    /// Serves a model.
    Server = 2,
    /// A notebook kernel or its server.
    Notebook = 3,
    /// Schedules others.
    Orchestrator = 4,
    /// Installs packages.
    Installer = 5,
    /// Deploys code or models.
    Deployer = 6,
    /// Scans files.
    Scanner = 7,
    /// An interactive or scripted shell.
    Shell = 8,
}

impl ProcessRole {
    /// Every role, by number.
    pub const ALL: [Self; 9] =
        [Self::Other, Self::Trainer, Self::Server, Self::Notebook, Self::Orchestrator, Self::Installer, Self::Deployer, Self::Scanner, Self::Shell];

    /// The role of a number.
    #[must_use]
    pub fn from_id(id: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|role| *role as u32 == id)
    }

    /// The name used in events, rules and columns.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Other => "other",
            Self::Trainer => "trainer",
            Self::Server => "server",
            Self::Notebook => "notebook",
            Self::Orchestrator => "orchestrator",
            Self::Installer => "installer",
            Self::Deployer => "deployer",
            Self::Scanner => "scanner",
            Self::Shell => "shell",
        }
    }

    /// The role of a name; anything else is `Other`.
    #[must_use]
    pub fn from_name(name: &str) -> Self {
        Self::ALL.into_iter().find(|role| role.name() == name).unwrap_or_default()
    }
}
