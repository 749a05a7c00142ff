/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Processes that may hold a watched file: those that opened one, their children, and those that were handed any descriptor over a Unix
 * socket or took one by pidfd_getfd. A process that never did pays one load for a call on
 * a descriptor. The table is indexed by the low bits of the process id: processes that share a slot with a holder pay a little more, and
 * nothing else.
 *
 * What an unprivileged process can do: mark itself and its children by opening a watched file, at its own cost; fill picket_held (counted: ends of
 * files of the processes beyond are then found by the sweep); change the control length of a message from a second thread while it is received,
 * which hides that it was handed one.
 */
#pragma once
#include "ring.h"
#include "syscalls.h"

#define HOLDERS 16384

struct holders { u32 marks[HOLDERS]; };

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct holders);
} picket_holders SEC(".maps");

/* The marked processes: their marks are taken away when they end. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, u32);
	__type(value, u32);
} picket_held SEC(".maps");

static __always_inline u32 *holders__slot(u32 tgid)
{
	u32 zero = 0;
	struct holders *holders = bpf_map_lookup_elem(&picket_holders, &zero);

	return holders ? &holders->marks[tgid & (HOLDERS - 1)] : NULL;
}

static __always_inline bool holders__may_include(u32 tgid)
{
	u32 *slot = holders__slot(tgid);

	return slot && *slot;
}

static __always_inline void holder__mark(u32 tgid)
{
	u32 *slot = holders__slot(tgid), one = 1;

	if (!slot || bpf_map_lookup_elem(&picket_held, &tgid))
		return;
	/* Of two threads that come here at once, one marks. */
	if (bpf_map_update_elem(&picket_held, &tgid, &one, BPF_NOEXIST) == 0)
		__sync_fetch_and_add(slot, 1);
	else if (!bpf_map_lookup_elem(&picket_held, &tgid))
		counter__add(COUNTER_MAP_FULL + CLASS_FILE);
}

/* A child holds what its parent holds. */
static __always_inline int holder__forked(u32 parent, u32 child)
{
	if (parent != child && holders__may_include(parent) && bpf_map_lookup_elem(&picket_held, &parent))
		holder__mark(child);
	return 0;
}

static __always_inline void holder__ended(u32 tgid)
{
	u32 *slot = holders__slot(tgid);

	if (slot && bpf_map_delete_elem(&picket_held, &tgid) == 0)
		__sync_fetch_and_add(slot, -1);
}

#define SOCKET_LEVEL 1
#define SOCKET_RIGHTS 1

/* The message that was received carries descriptors: struct msghdr and cmsghdr of the caller's ABI, as the kernel has just filled them in. */
static __always_inline bool message__has_rights(struct task_struct *task, u64 message)
{
	struct { u64 control, len; } native = {};
	struct { u32 control, len; } compat = {};
	u64 control;
	u32 kind[2] = {};
	u32 header = 8;

	if (syscall__is_compat(task)) {
		if (bpf_probe_read_user(&compat, sizeof(compat), (void *)message + 16) || compat.len < 16)
			return false;
		control = compat.control;
		header = 4;
	} else {
		if (bpf_probe_read_user(&native, sizeof(native), (void *)message + 32) || native.len < 20)
			return false;
		control = native.control;
	}
	return bpf_probe_read_user(kind, sizeof(kind), (void *)control + header) == 0 && kind[0] == SOCKET_LEVEL && kind[1] == SOCKET_RIGHTS;
}

/* recvmsg brought a message, perhaps with a descriptor; for pidfd_getfd see access.h. */
static __always_inline int holder__received(struct task_struct *task, struct pt_regs *regs)
{
	if (message__has_rights(task, syscall__second_argument(task, regs)))
		holder__mark(task->tgid);
	return 0;
}
