//! The probes around the process: what it does to others, to itself and to the kernel.

use crate::objects::Object;
use crate::probes::{Hook, Probe, optional, part, variant};

// `enum syscall_slot`.
const SLOT_PTRACE: u32 = 6;
const SLOT_MEMORY: u32 = 7;
const SLOT_DESCRIPTOR: u32 = 8;
const SLOT_IDS: u32 = 9;
const SLOT_NAMESPACES: u32 = 10;
const SLOT_MOUNTS: u32 = 11;
const SLOT_MEMFD: u32 = 12;
const SLOT_MMAP: u32 = 13;
const SLOT_MPROTECT: u32 = 14;
const SLOT_BPF: u32 = 15;
const SLOT_CLOCK: u32 = 16;

/// Every one is on its own: what a kernel or a container's limits refuse takes nothing else down.
pub(crate) const ACTIONS: &[Probe] = &[
    Probe {
        name: "process_trace",
        variants: &[
            variant(Object::Access, "fexit/__x64_sys: ptrace", &[part("function_ptrace", Hook::Return("__x64_sys_ptrace"))]),
            variant(Object::Access, "tp_btf/sys_exit: ptrace", &[part("sys_exit_ptrace", Hook::Exit(SLOT_PTRACE))]),
        ],
    },
    Probe {
        name: "process_memory",
        variants: &[
            variant(
                Object::Access,
                "fexit/__x64_sys: process_vm_readv process_vm_writev",
                &[
                    part("function_process_vm_readv", Hook::Return("__x64_sys_process_vm_readv")),
                    part("function_process_vm_writev", Hook::Return("__x64_sys_process_vm_writev")),
                ],
            ),
            variant(Object::Access, "tp_btf/sys_exit: process_vm_readv process_vm_writev", &[part("sys_exit_memory", Hook::Exit(SLOT_MEMORY))]),
        ],
    },
    Probe {
        name: "process_descriptor",
        variants: &[
            variant(Object::Access, "fexit/__x64_sys: pidfd_getfd", &[part("function_pidfd_getfd", Hook::Return("__x64_sys_pidfd_getfd"))]),
            variant(Object::Access, "tp_btf/sys_exit: pidfd_getfd", &[part("sys_exit_descriptor", Hook::Exit(SLOT_DESCRIPTOR))]),
        ],
    },
    Probe {
        name: "agent_signal",
        variants: &[variant(Object::Access, "tp_btf/signal_generate", &[part("signal_generate", Hook::Tracepoint("signal_generate"))])],
    },
    Probe {
        name: "process_ids",
        variants: &[
            variant(Object::Privilege, "fentry/commit_creds", &[part("commit_creds", Hook::Entry("commit_creds"))]),
            variant(
                Object::Privilege,
                "tp_btf/sys_exit: setuid setgid setreuid setregid setresuid setresgid capset",
                &[part("sys_exit_ids", Hook::Exit(SLOT_IDS))],
            ),
        ],
    },
    Probe {
        name: "namespace_change",
        variants: &[
            variant(
                Object::Privilege,
                "fexit/__x64_sys: setns unshare",
                &[part("function_setns", Hook::Return("__x64_sys_setns")), part("function_unshare", Hook::Return("__x64_sys_unshare"))],
            ),
            variant(Object::Privilege, "tp_btf/sys_exit: setns unshare", &[part("sys_exit_namespaces", Hook::Exit(SLOT_NAMESPACES))]),
        ],
    },
    Probe {
        name: "mount_change",
        variants: &[
            variant(
                Object::Privilege,
                "fexit/__x64_sys: mount umount pivot_root chroot open_tree move_mount mount_setattr",
                &[
                    part("function_mount", Hook::Return("__x64_sys_mount")),
                    part("function_umount", Hook::Return("__x64_sys_umount")),
                    part("function_pivot_root", Hook::Return("__x64_sys_pivot_root")),
                    part("function_chroot", Hook::Return("__x64_sys_chroot")),
                    optional("function_open_tree", Hook::Return("__x64_sys_open_tree")),
                    optional("function_move_mount", Hook::Return("__x64_sys_move_mount")),
                    optional("function_mount_setattr", Hook::Return("__x64_sys_mount_setattr")),
                ],
            ),
            variant(
                Object::Privilege,
                "tp_btf/sys_exit: mount umount pivot_root chroot open_tree move_mount mount_setattr",
                &[part("sys_exit_mounts", Hook::Exit(SLOT_MOUNTS))],
            ),
        ],
    },
    Probe {
        name: "memory_file",
        variants: &[
            variant(Object::Privilege, "fexit/__x64_sys: memfd_create", &[part("function_memfd_create", Hook::Return("__x64_sys_memfd_create"))]),
            variant(Object::Privilege, "tp_btf/sys_exit: memfd_create", &[part("sys_exit_memfd", Hook::Exit(SLOT_MEMFD))]),
        ],
    },
    Probe {
        name: "executable_mapping",
        variants: &[
            variant(Object::Mapping, "fexit/__x64_sys: mmap", &[part("function_mmap", Hook::Return("__x64_sys_mmap"))]),
            variant(Object::Mapping, "tp_btf/sys_exit: mmap", &[part("sys_exit_mmap", Hook::Exit(SLOT_MMAP))]),
        ],
    },
    Probe {
        name: "executable_protection",
        variants: &[
            variant(
                Object::Mapping,
                "fexit/__x64_sys: mprotect pkey_mprotect",
                &[part("function_mprotect", Hook::Return("__x64_sys_mprotect")), optional("function_pkey_mprotect", Hook::Return("__x64_sys_pkey_mprotect"))],
            ),
            variant(Object::Mapping, "tp_btf/sys_exit: mprotect pkey_mprotect", &[part("sys_exit_mprotect", Hook::Exit(SLOT_MPROTECT))]),
        ],
    },
    Probe {
        name: "kernel_module",
        variants: &[variant(
            Object::Kernel,
            "tp_btf/module_load, module_free",
            &[part("module_load", Hook::Tracepoint("module_load")), part("module_free", Hook::Tracepoint("module_free"))],
        )],
    },
    Probe {
        name: "bpf_program",
        variants: &[
            variant(Object::Kernel, "fexit/__x64_sys: bpf", &[part("function_bpf", Hook::Return("__x64_sys_bpf"))]),
            variant(Object::Kernel, "tp_btf/sys_exit: bpf", &[part("sys_exit_bpf", Hook::Exit(SLOT_BPF))]),
        ],
    },
    Probe {
        name: "clock_change",
        variants: &[
            variant(
                Object::Kernel,
                "fexit/__x64_sys: clock_settime settimeofday clock_adjtime adjtimex",
                &[
                    part("function_clock_settime", Hook::Return("__x64_sys_clock_settime")),
                    part("function_settimeofday", Hook::Return("__x64_sys_settimeofday")),
                    part("function_clock_adjtime", Hook::Return("__x64_sys_clock_adjtime")),
                    part("function_adjtimex", Hook::Return("__x64_sys_adjtimex")),
                ],
            ),
            variant(Object::Kernel, "tp_btf/sys_exit: clock_settime settimeofday clock_adjtime adjtimex", &[part("sys_exit_clock", Hook::Exit(SLOT_CLOCK))]),
        ],
    },
    Probe {
        name: "io_uring",
        variants: &[
            variant(
                Object::Kernel,
                "tp_btf/io_uring_submit_req",
                &[
                    part("io_uring_submit", Hook::Tracepoint("io_uring_submit_req")),
                    optional("sched_process_exit_rings", Hook::Tracepoint("sched_process_exit")),
                ],
            ),
            variant(
                Object::Kernel,
                "tp_btf/io_uring_submit_sqe",
                &[
                    part("io_uring_submit", Hook::Tracepoint("io_uring_submit_sqe")),
                    optional("sched_process_exit_rings", Hook::Tracepoint("sched_process_exit")),
                ],
            ),
        ],
    },
];
