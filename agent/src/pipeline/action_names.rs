//! Names for the numbers of an action: calls, flags, signals, operations of `io_uring`, types of BPF programs.

use picket_ebpf::record::{Action, ActionOp};
use picket_event::ProcessMethod;

use super::text;

pub(super) const NR_MMAP: u16 = 9;
const NR_SETTIMEOFDAY: u16 = 164;
const NR_ADJTIMEX: u16 = 159;
const NR_CAPSET: u16 = 126;
const NR_SET_GID: [u16; 3] = [106, 114, 119];

/// The call that changed ids.
pub(super) fn ids_method(call: u16) -> ProcessMethod {
    match call {
        NR_CAPSET => ProcessMethod::Capset,
        0 => ProcessMethod::Credentials,
        call if NR_SET_GID.contains(&call) => ProcessMethod::Setgid,
        _ => ProcessMethod::Setuid,
    }
}

/// A file of another process's `/proc` folder.
pub(super) fn proc_method(name: &str) -> ProcessMethod {
    match name {
        "mem" => ProcessMethod::ProcMem,
        "environ" => ProcessMethod::ProcEnviron,
        "maps" | "smaps" | "smaps_rollup" | "numa_maps" | "pagemap" => ProcessMethod::ProcMaps,
        _ => ProcessMethod::ProcFd,
    }
}

/// What the action is called: the system call, or what stands for it.
pub(super) fn operation(action: &Action) -> &'static str {
    match action.op {
        ActionOp::Ptrace => "ptrace",
        ActionOp::ReadMemory => "process_vm_readv",
        ActionOp::WriteMemory => "process_vm_writev",
        ActionOp::TakeDescriptor => "pidfd_getfd",
        ActionOp::ProcOpen => "open",
        ActionOp::Signal => "kill",
        ActionOp::SetIds => "setresuid",
        ActionOp::Map => "mmap",
        ActionOp::Setns => "setns",
        ActionOp::Unshare => "unshare",
        ActionOp::Mount => "mount",
        ActionOp::Umount => "umount",
        ActionOp::PivotRoot => "pivot_root",
        ActionOp::Chroot => "chroot",
        ActionOp::OpenTree => "open_tree",
        ActionOp::MoveMount => "move_mount",
        ActionOp::MountSetattr => "mount_setattr",
        ActionOp::Memfd => "memfd_create",
        ActionOp::ClockSet if action.call == NR_SETTIMEOFDAY => "settimeofday",
        ActionOp::ClockSet => "clock_settime",
        ActionOp::ClockStep if action.call == NR_ADJTIMEX => "adjtimex",
        ActionOp::ClockStep => "clock_adjtime",
        ActionOp::ModuleLoad => "init_module",
        ActionOp::ModuleUnload => "delete_module",
        ActionOp::BpfLoad => "bpf",
        ActionOp::RingSubmit => "io_uring",
    }
}

/// One line that says what a person wants to know; words of the caller stay as they came, but for bytes that are no text.
pub(super) fn detail(action: &Action) -> String {
    let [first, second, third, ..] = action.values;
    let [one, two, three] = [text::text(&action.texts[0]), text::text(&action.texts[1]), text::text(&action.texts[2])];
    let mut line = match action.op {
        ActionOp::Setns | ActionOp::Unshare => namespaces(first),
        ActionOp::Mount => format!("{two} on {three} type {one} flags {first:#x}"),
        ActionOp::PivotRoot | ActionOp::MoveMount => format!("{one} to {two}"),
        ActionOp::Umount | ActionOp::Chroot | ActionOp::OpenTree | ActionOp::MountSetattr | ActionOp::Memfd => one,
        ActionOp::Signal => signal(first),
        ActionOp::ClockSet | ActionOp::ClockStep => format!("clock {first} is now {second}.{third}"),
        ActionOp::RingSubmit => ring_operation(first),
        ActionOp::Ptrace => format!("request {first}"),
        ActionOp::ReadMemory | ActionOp::WriteMemory => format!("address {first:#x}"),
        ActionOp::TakeDescriptor => format!("descriptor {first}"),
        ActionOp::ProcOpen | ActionOp::SetIds | ActionOp::Map | ActionOp::ModuleLoad | ActionOp::ModuleUnload | ActionOp::BpfLoad => String::new(),
    };
    if action.result < 0 {
        line.push_str(&format!(" refused: error {}", action.result.unsigned_abs()));
    }
    line
}

/// `CLONE_NEW*`.
fn namespaces(flags: u64) -> String {
    const NAMES: [(u64, &str); 8] = [
        (0x80, "time"),
        (0x2_0000, "mnt"),
        (0x200_0000, "cgroup"),
        (0x400_0000, "uts"),
        (0x800_0000, "ipc"),
        (0x1000_0000, "user"),
        (0x2000_0000, "pid"),
        (0x4000_0000, "net"),
    ];
    let names: Vec<&str> = NAMES.iter().filter(|(bit, _)| flags & bit != 0).map(|(_, name)| *name).collect();
    if names.is_empty() { "any".to_owned() } else { names.join(" ") }
}

fn signal(number: u64) -> String {
    let name = match number {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        6 => "SIGABRT",
        9 => "SIGKILL",
        10 => "SIGUSR1",
        11 => "SIGSEGV",
        12 => "SIGUSR2",
        15 => "SIGTERM",
        18 => "SIGCONT",
        19 => "SIGSTOP",
        20 => "SIGTSTP",
        _ => return format!("signal {number}"),
    };
    name.to_owned()
}

/// `IORING_OP_*` of 6.18; a later one by its number.
fn ring_operation(opcode: u64) -> String {
    const NAMES: [&str; 62] = [
        "NOP",
        "READV",
        "WRITEV",
        "FSYNC",
        "READ_FIXED",
        "WRITE_FIXED",
        "POLL_ADD",
        "POLL_REMOVE",
        "SYNC_FILE_RANGE",
        "SENDMSG",
        "RECVMSG",
        "TIMEOUT",
        "TIMEOUT_REMOVE",
        "ACCEPT",
        "ASYNC_CANCEL",
        "LINK_TIMEOUT",
        "CONNECT",
        "FALLOCATE",
        "OPENAT",
        "CLOSE",
        "FILES_UPDATE",
        "STATX",
        "READ",
        "WRITE",
        "FADVISE",
        "MADVISE",
        "SEND",
        "RECV",
        "OPENAT2",
        "EPOLL_CTL",
        "SPLICE",
        "PROVIDE_BUFFERS",
        "REMOVE_BUFFERS",
        "TEE",
        "SHUTDOWN",
        "RENAMEAT",
        "UNLINKAT",
        "MKDIRAT",
        "SYMLINKAT",
        "LINKAT",
        "MSG_RING",
        "FSETXATTR",
        "SETXATTR",
        "FGETXATTR",
        "GETXATTR",
        "SOCKET",
        "URING_CMD",
        "SEND_ZC",
        "SENDMSG_ZC",
        "READ_MULTISHOT",
        "WAITID",
        "FUTEX_WAIT",
        "FUTEX_WAKE",
        "FUTEX_WAITV",
        "FIXED_FD_INSTALL",
        "FTRUNCATE",
        "BIND",
        "LISTEN",
        "RECV_ZC",
        "EPOLL_WAIT",
        "READV_FIXED",
        "WRITEV_FIXED",
    ];
    usize::try_from(opcode).ok().and_then(|index| NAMES.get(index)).map_or_else(|| format!("opcode {opcode}"), |name| (*name).to_owned())
}

/// `enum bpf_prog_type`.
pub(super) fn bpf_type(number: u64) -> String {
    const NAMES: [&str; 33] = [
        "unspec",
        "socket_filter",
        "kprobe",
        "sched_cls",
        "sched_act",
        "tracepoint",
        "xdp",
        "perf_event",
        "cgroup_skb",
        "cgroup_sock",
        "lwt_in",
        "lwt_out",
        "lwt_xmit",
        "sock_ops",
        "sk_skb",
        "cgroup_device",
        "sk_msg",
        "raw_tracepoint",
        "cgroup_sock_addr",
        "lwt_seg6local",
        "lirc_mode2",
        "sk_reuseport",
        "flow_dissector",
        "cgroup_sysctl",
        "raw_tracepoint_writable",
        "cgroup_sockopt",
        "tracing",
        "struct_ops",
        "ext",
        "lsm",
        "sk_lookup",
        "syscall",
        "netfilter",
    ];
    usize::try_from(number).ok().and_then(|index| NAMES.get(index)).map_or_else(|| format!("type {number}"), |name| (*name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_the_names_of_the_kernels_headers() {
        assert_eq!(
            [ring_operation(0), ring_operation(18), ring_operation(28), ring_operation(61), ring_operation(99)].join(" "),
            "NOP OPENAT OPENAT2 WRITEV_FIXED opcode 99"
        );
        assert_eq!([bpf_type(1), bpf_type(26), bpf_type(29), bpf_type(32), bpf_type(77)].join(" "), "socket_filter tracing lsm netfilter type 77");
        assert_eq!(namespaces(0x4002_0000), "mnt net");
        assert_eq!(namespaces(0), "any");
        assert_eq!([signal(9), signal(19), signal(40)].join(" "), "SIGKILL SIGSTOP signal 40");
        assert_eq!(
            [ids_method(117), ids_method(119), ids_method(126), ids_method(0)],
            [ProcessMethod::Setuid, ProcessMethod::Setgid, ProcessMethod::Capset, ProcessMethod::Credentials]
        );
        assert_eq!(
            [proc_method("mem"), proc_method("environ"), proc_method("smaps")],
            [ProcessMethod::ProcMem, ProcessMethod::ProcEnviron, ProcessMethod::ProcMaps]
        );
    }
}
