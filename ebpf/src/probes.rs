//! The table of probes: what each sees, and the hooks it is tried on, best first.

use crate::objects::Object;

/// How a program is reached.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Hook {
    /// A tracepoint of this name, with BTF arguments.
    Tracepoint(&'static str),
    /// The dispatcher on system call exit, at this slot of `enum syscall_slot`.
    Exit(u32),
    /// The entry of a kernel function.
    Entry(&'static str),
    /// The return of a kernel function.
    Return(&'static str),
    /// A program that another probe attached: it sees this as well.
    Attached,
    /// The root control group, which every process is under.
    Group,
}

/// One program of a probe.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) program: &'static str,
    pub(crate) hook: Hook,
    /// Without it the probe still sees something.
    pub(crate) optional: bool,
}

/// One way to see.
#[derive(Debug)]
pub(crate) struct Variant {
    pub(crate) object: Object,
    /// As shown to people.
    pub(crate) hook: &'static str,
    pub(crate) parts: &'static [Part],
    /// Its objects show themselves at the change-time tracepoints ([`NAMING`]).
    pub(crate) naming: bool,
}

/// What one probe sees, by the first variant that this kernel takes.
#[derive(Debug)]
pub(crate) struct Probe {
    pub(crate) name: &'static str,
    pub(crate) variants: &'static [Variant],
}

/// Where the objects of a rename, unlink or link show themselves: the change-time tracepoints of 6.13 and later.
pub(crate) const NAMING: [&str; 3] = ["inode_set_ctime_to_ts", "ctime_xchg_skip", "ctime_ns_xchg"];

/// The iterators with their kinds.
pub(crate) const ITERATORS: [(&str, &str); 5] = [
    ("iterate_processes", "task"),
    ("iterate_own_files", "task_file"),
    ("iterate_held_sockets", "task_file"),
    ("iterate_holders", "task_file"),
    ("iterate_orphan_sockets", "tcp"),
];

/// The iterators that tell the bytes of flows while they are up, each with the map it goes through.
pub(crate) const TELLERS: [(&str, &str); 2] = [("tell_flows", "picket_flows"), ("tell_datagrams", "picket_datagrams")];

// `enum syscall_slot`.
const SLOT_OPEN: u32 = 1;
const SLOT_RENAME: u32 = 2;
const SLOT_UNLINK: u32 = 3;
const SLOT_LINK: u32 = 4;
const SLOT_ACCEPT: u32 = 5;
const SLOT_CHANGE: u32 = 17;
const SLOT_RECEIVE: u32 = 18;
const SLOT_CONNECT: u32 = 19;
const SLOT_SOCKET: u32 = 20;
const SLOT_CLOSE: u32 = 21;
const SLOT_DUP: u32 = 22;
const SLOT_READ: u32 = 23;
const SLOT_WRITE: u32 = 24;
const SLOT_MOVE: u32 = 25;
const SLOT_HELD_MMAP: u32 = 26;

pub(crate) const fn part(program: &'static str, hook: Hook) -> Part {
    Part { program, hook, optional: false }
}

pub(crate) const fn optional(program: &'static str, hook: Hook) -> Part {
    Part { program, hook, optional: true }
}

pub(crate) const fn variant(object: Object, hook: &'static str, parts: &'static [Part]) -> Variant {
    Variant { object, hook, parts, naming: false }
}

const fn naming(hook: &'static str, parts: &'static [Part]) -> Variant {
    Variant { object: Object::File, hook, parts, naming: true }
}

/// Every probe of files and flows, and of the life of processes, but the dispatchers and the sweep.
pub(crate) const PROBES: &[Probe] = &[
    Probe {
        name: "process_fork",
        variants: &[variant(Object::Process, "tp_btf/sched_process_fork", &[part("sched_process_fork", Hook::Tracepoint("sched_process_fork"))])],
    },
    Probe {
        name: "process_exec",
        variants: &[variant(Object::Process, "tp_btf/sched_process_exec", &[part("sched_process_exec", Hook::Tracepoint("sched_process_exec"))])],
    },
    Probe {
        name: "process_exit",
        variants: &[variant(Object::Process, "tp_btf/sched_process_exit", &[part("sched_process_exit", Hook::Tracepoint("sched_process_exit"))])],
    },
    Probe {
        name: "file_open",
        variants: &[
            variant(
                Object::Functions,
                "fexit/do_filp_open; fexit/file_open_root",
                &[part("do_filp_open", Hook::Return("do_filp_open")), part("file_open_root", Hook::Return("file_open_root"))],
            ),
            variant(
                Object::Functions,
                "fexit/do_file_open; fexit/file_open_root",
                &[part("do_file_open", Hook::Return("do_file_open")), part("file_open_root", Hook::Return("file_open_root"))],
            ),
            variant(Object::File, "tp_btf/sys_exit: open creat openat openat2 open_by_handle_at", &[part("sys_exit_open", Hook::Exit(SLOT_OPEN))]),
        ],
    },
    Probe {
        name: "file_close_write",
        variants: &[
            variant(Object::Functions, "fentry/locks_remove_file", &[part("locks_remove_file", Hook::Entry("locks_remove_file"))]),
            variant(
                Object::File,
                "tp_btf/sys_exit: close dup dup2 dup3 fcntl; tp_btf/sched_process_exit",
                &[part("sys_exit_close", Hook::Exit(SLOT_CLOSE)), part("sys_exit_dup", Hook::Exit(SLOT_DUP))],
            ),
        ],
    },
    Probe {
        name: "file_holders",
        variants: &[variant(
            Object::File,
            "tp_btf/sched_process_fork; tp_btf/sched_process_exit; tp_btf/sys_exit: recvmsg pidfd_getfd",
            &[
                optional("sys_exit_receive", Hook::Exit(SLOT_RECEIVE)),
                part("sched_process_fork_files", Hook::Tracepoint("sched_process_fork")),
                part("sched_process_exit_files", Hook::Tracepoint("sched_process_exit")),
            ],
        )],
    },
    Probe {
        name: "file_bytes",
        variants: &[variant(
            Object::File,
            "tp_btf/sys_exit: read write pread pwrite readv writev preadv pwritev sendfile splice copy_file_range mmap",
            &[
                part("sys_exit_read", Hook::Exit(SLOT_READ)),
                part("sys_exit_write", Hook::Exit(SLOT_WRITE)),
                part("sys_exit_move", Hook::Exit(SLOT_MOVE)),
                part("sys_exit_held_mmap", Hook::Exit(SLOT_HELD_MMAP)),
            ],
        )],
    },
    Probe {
        name: "file_pages",
        variants: &[
            variant(
                Object::File,
                "tp_btf/mm_filemap_map_pages; tp_btf/mm_filemap_fault",
                &[part("mm_filemap_map_pages", Hook::Tracepoint("mm_filemap_map_pages")), part("mm_filemap_fault", Hook::Tracepoint("mm_filemap_fault"))],
            ),
            variant(
                Object::Functions,
                "fexit/filemap_map_pages; fentry/filemap_fault",
                &[part("filemap_map_pages", Hook::Return("filemap_map_pages")), part("filemap_fault", Hook::Entry("filemap_fault"))],
            ),
        ],
    },
    Probe {
        name: "file_ring_open",
        variants: &[
            variant(Object::Functions, "fexit/do_filp_open", &[part("do_filp_open", Hook::Attached)]),
            variant(Object::Functions, "fexit/do_file_open", &[part("do_file_open", Hook::Attached)]),
            variant(Object::File, "tp_btf/io_uring_complete", &[part("io_uring_complete_open", Hook::Tracepoint("io_uring_complete"))]),
            variant(Object::File, "tp_btf/io_uring_complete", &[part("io_uring_parts_open", Hook::Tracepoint("io_uring_complete"))]),
        ],
    },
    Probe {
        name: "file_ring_bytes",
        variants: &[
            variant(Object::File, "tp_btf/io_uring_complete", &[part("io_uring_complete_bytes", Hook::Tracepoint("io_uring_complete"))]),
            variant(Object::File, "tp_btf/io_uring_complete", &[part("io_uring_parts_bytes", Hook::Tracepoint("io_uring_complete"))]),
        ],
    },
    Probe {
        name: "file_change",
        variants: &[
            variant(
                Object::Functions,
                "fentry, fexit/notify_change vfs_setxattr vfs_removexattr vfs_set_acl vfs_remove_acl vfs_fallocate",
                &[
                    part("notify_change_done", Hook::Return("notify_change")),
                    part("notify_change", Hook::Entry("notify_change")),
                    part("vfs_setxattr_done", Hook::Return("vfs_setxattr")),
                    part("vfs_setxattr", Hook::Entry("vfs_setxattr")),
                    part("vfs_removexattr_done", Hook::Return("vfs_removexattr")),
                    part("vfs_removexattr", Hook::Entry("vfs_removexattr")),
                    optional("vfs_set_acl_done", Hook::Return("vfs_set_acl")),
                    optional("vfs_set_acl", Hook::Entry("vfs_set_acl")),
                    optional("vfs_remove_acl_done", Hook::Return("vfs_remove_acl")),
                    optional("vfs_remove_acl", Hook::Entry("vfs_remove_acl")),
                    part("vfs_fallocate_done", Hook::Return("vfs_fallocate")),
                    part("vfs_fallocate", Hook::Entry("vfs_fallocate")),
                ],
            ),
            naming(
                "tp_btf/sys_exit: chmod chown utimes setxattr removexattr truncate fallocate; tp_btf/inode_set_ctime_to_ts ctime_xchg_skip ctime_ns_xchg",
                &[part("sys_exit_change", Hook::Exit(SLOT_CHANGE))],
            ),
        ],
    },
    Probe {
        name: "file_rename",
        variants: &[
            variant(
                Object::Functions,
                "fentry, fexit/vfs_rename",
                &[part("vfs_rename_done", Hook::Return("vfs_rename")), part("vfs_rename", Hook::Entry("vfs_rename"))],
            ),
            naming(
                "tp_btf/sys_exit: rename renameat renameat2; tp_btf/inode_set_ctime_to_ts ctime_xchg_skip ctime_ns_xchg",
                &[part("sys_exit_naming", Hook::Exit(SLOT_RENAME))],
            ),
        ],
    },
    Probe {
        name: "file_unlink",
        variants: &[
            variant(
                Object::Functions,
                "fentry, fexit/vfs_unlink",
                &[part("vfs_unlink_done", Hook::Return("vfs_unlink")), part("vfs_unlink", Hook::Entry("vfs_unlink"))],
            ),
            naming(
                "tp_btf/sys_exit: unlink unlinkat; tp_btf/inode_set_ctime_to_ts ctime_xchg_skip ctime_ns_xchg",
                &[part("sys_exit_naming", Hook::Exit(SLOT_UNLINK))],
            ),
        ],
    },
    Probe {
        name: "file_link",
        variants: &[
            variant(Object::Functions, "fentry, fexit/vfs_link", &[part("vfs_link_done", Hook::Return("vfs_link")), part("vfs_link", Hook::Entry("vfs_link"))]),
            naming(
                "tp_btf/sys_exit: link linkat; tp_btf/inode_set_ctime_to_ts ctime_xchg_skip ctime_ns_xchg",
                &[part("sys_exit_naming", Hook::Exit(SLOT_LINK))],
            ),
        ],
    },
    Probe {
        name: "tcp_state",
        variants: &[variant(Object::Network, "tp_btf/inet_sock_set_state", &[part("inet_sock_set_state", Hook::Tracepoint("inet_sock_set_state"))])],
    },
    Probe {
        name: "tcp_accept",
        variants: &[
            // The one with more arguments first: the verifier refuses it where the function has fewer, but not the other way round.
            variant(Object::Functions, "fexit/inet_csk_accept", &[part("inet_csk_accept_before_6_10", Hook::Return("inet_csk_accept"))]),
            variant(Object::Functions, "fexit/inet_csk_accept", &[part("inet_csk_accept", Hook::Return("inet_csk_accept"))]),
            variant(Object::Network, "tp_btf/sys_exit: accept accept4", &[part("sys_exit_accept", Hook::Exit(SLOT_ACCEPT))]),
        ],
    },
    Probe {
        name: "udp_flow",
        variants: &[variant(
            Object::Datagram,
            "cgroup_skb/egress, ingress; cgroup/sock_create, sock_release",
            &[part("sock_create", Hook::Group), part("sock_release", Hook::Group), part("packet_egress", Hook::Group), part("packet_ingress", Hook::Group)],
        )],
    },
    Probe {
        name: "udp_bind",
        variants: &[variant(Object::Datagram, "cgroup/post_bind4, post_bind6", &[part("post_bind4", Hook::Group), part("post_bind6", Hook::Group)])],
    },
    Probe { name: "local_connect", variants: &[variant(Object::Endpoint, "tp_btf/sys_exit: connect", &[part("sys_exit_connect", Hook::Exit(SLOT_CONNECT))])] },
    Probe { name: "special_socket", variants: &[variant(Object::Endpoint, "tp_btf/sys_exit: socket", &[part("sys_exit_socket", Hook::Exit(SLOT_SOCKET))])] },
    Probe {
        name: "ring_socket",
        variants: &[
            variant(Object::Endpoint, "tp_btf/io_uring_complete", &[part("io_uring_complete", Hook::Tracepoint("io_uring_complete"))]),
            variant(Object::Endpoint, "tp_btf/io_uring_complete", &[part("io_uring_parts", Hook::Tracepoint("io_uring_complete"))]),
        ],
    },
];
