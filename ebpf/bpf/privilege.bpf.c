// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * What a process changes about itself and its surroundings: ids and capabilities without an exec, namespaces, mounts, files in memory alone.
 *
 * Hooks: fentry/commit_creds, where every change passes; else the exits of the set*id family and of capset behind the dispatcher. setns, unshare, mount
 * and its kin, memfd_create: their functions alone (fexit/__x64_sys_*), or behind the dispatcher. Rejected: the entries of the set*id calls (a program on
 * any entry makes every call of every process pay); the mounts' own tree (the namespace's list moved in 6.8 and again after).
 *
 * Kernels: 5.15 and later with BTF; a call that a kernel does not have is left out.
 *
 * Cannot see: 32-bit callers where the functions are hooked (but their ids); the file-system ids (setfsuid) and the saved ones; behind the dispatcher the
 * ids before a thread's first such call, and a gain without any call, by a flaw of the kernel. Paths of mounts are the caller's words, read when the call has ended: a second
 * thread can have changed them; relative to whatever the caller's folder is.
 *
 * What an unprivileged process can do: in a user namespace of its own, all of it: 32 records a second for each kind, with counts.
 */
#include "privilege.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

SEC("fentry/commit_creds")
int BPF_PROG(commit_creds, struct cred *fresh)
{
	return privilege__commit(fresh);
}

CALL_FUNCTION(setns, privilege__namespace_call)
CALL_FUNCTION(unshare, privilege__namespace_call)
CALL_FUNCTION(mount, privilege__mounts)
CALL_FUNCTION(umount, privilege__mounts)
CALL_FUNCTION(pivot_root, privilege__mounts)
CALL_FUNCTION(chroot, privilege__mounts)
CALL_FUNCTION(open_tree, privilege__mounts)
CALL_FUNCTION(move_mount, privilege__mounts)
CALL_FUNCTION(mount_setattr, privilege__mounts)
CALL_FUNCTION(memfd_create, privilege__memfd)
CALL_DISPATCHED(sys_exit_ids, privilege__ids)
CALL_DISPATCHED(sys_exit_namespaces, privilege__namespace_call)
CALL_DISPATCHED(sys_exit_mounts, privilege__mounts)
CALL_DISPATCHED(sys_exit_memfd, privilege__memfd)
