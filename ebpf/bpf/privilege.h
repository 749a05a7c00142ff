/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Bodies of the privilege probes; see privilege.bpf.c. */
#pragma once
#include "action.h"
#include "identity.h"

static __always_inline void identity__of(struct identity *out, const struct cred *cred)
{
	out->user = (u64)BPF_CORE_READ(cred, euid.val) << 32 | BPF_CORE_READ(cred, uid.val);
	out->group = (u64)BPF_CORE_READ(cred, egid.val) << 32 | BPF_CORE_READ(cred, gid.val);
	out->capabilities = 0;
	/* Raw: the type inside changed in 6.3, its eight bytes did not. */
	bpf_probe_read_kernel(&out->capabilities, sizeof(out->capabilities), (const void *)cred + bpf_core_field_offset(struct cred, cap_effective));
}

static __always_inline bool identity__equal(struct identity *a, struct identity *b)
{
	return a->user == b->user && a->group == b->group && a->capabilities == b->capabilities;
}

static __always_inline void identity__tell(struct event_action *event, struct identity *before, struct identity *after)
{
	event->values[0] = before->user;
	event->values[1] = before->group;
	event->values[2] = before->capabilities;
	event->values[3] = after->user;
	event->values[4] = after->group;
	event->values[5] = after->capabilities;
}

#define REPEATS_PER_SECOND 32

/* At the exit the old ids are gone: they are those after the thread's last call, if it made one. */
static __always_inline int privilege__ids(struct call *call)
{
	struct task_struct *task = call->task;
	struct thread_key key = { .start_boot_ns = task->start_boottime, .thread = task->pid };
	struct identity *before, after;
	struct action_scratch *scratch;

	if (call->result < 0)
		return 0;
	identity__of(&after, task->cred);
	before = bpf_map_lookup_elem(&picket_identities, &key);
	if (before && identity__equal(before, &after))
		return 0;
	scratch = action__begin(ACTION_SET_IDS, call);
	if (!scratch)
		return 0;
	scratch->event.values[6] = before != NULL;
	identity__tell(&scratch->event, before ? before : &after, &after);
	bpf_map_update_elem(&picket_identities, &key, &after, BPF_ANY);
	if (!repeat__due(&scratch->event, after.user, REPEATS_PER_SECOND, SECOND_NS, 0))
		return action__drop(scratch);
	return action__end(scratch);
}

enum { NR_EXECVE = 59, NR_UNSHARE_CREDENTIALS = 272, NR_SETNS_CREDENTIALS = 308, NR_EXECVEAT = 322, NR_COMPAT_EXECVE = 11, NR_COMPAT_EXECVEAT = 358 };

/* Where every change of ids passes, also one that no system call asked for. Exec and namespaces have records of their own. */
static __always_inline int privilege__commit(const struct cred *fresh)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(task);
	struct identity before, after;
	struct event_action event;
	u32 number = 0;

	if (own__is_current())
		return 0;
	identity__of(&before, task->cred);
	identity__of(&after, fresh);
	if (identity__equal(&before, &after))
		return 0;
	if (!(task->flags & PF_KTHREAD)) {
		bool compat = syscall__is_compat(task);

		number = regs->orig_ax;
		if (compat ? number == NR_COMPAT_EXECVE || number == NR_COMPAT_EXECVEAT : number == NR_EXECVE || number == NR_EXECVEAT)
			return 0;
		if (compat)
			number = call__number(number);
		if (number == NR_UNSHARE_CREDENTIALS || number == NR_SETNS_CREDENTIALS)
			return 0;
	}
	action__fill(&event, ACTION_SET_IDS, task);
	event.call = number;
	event.values[6] = 1;
	identity__tell(&event, &before, &after);
	/* The record's own ids are those after it, as where the call's exit is seen. */
	event.header.task.uid = after.user;
	event.header.task.euid = after.user >> 32;
	event.header.task.gid = after.group;
	if (repeat__due(&event, after.user, REPEATS_PER_SECOND, SECOND_NS, 0))
		action__send(&event);
	return 0;
}

enum { NR_PIVOT_ROOT = 155, NR_CHROOT = 161, NR_MOUNT = 165, NR_UMOUNT2 = 166, NR_SETNS = 308, NR_OPEN_TREE = 428, NR_MOVE_MOUNT = 429, NR_MOUNT_SETATTR = 442 };

/* CLONE_NEW*: time, mount, cgroup, UTS, IPC, user, pid, network. */
#define NAMESPACE_FLAGS 0x7e020080UL
#define OPEN_TREE_CLONE 1

static __always_inline int privilege__namespaces(struct call *call, u16 op)
{
	struct task_struct *task = call->task;
	u64 flags = op == ACTION_SETNS ? call__argument(call, 1) : call__argument(call, 0);
	struct action_scratch *scratch;
	struct nsproxy *proxy;
	u64 *values;

	/* unshare of file tables and the like changes no namespace. */
	if (call->result < 0 || (op == ACTION_UNSHARE && !(flags & NAMESPACE_FLAGS)))
		return 0;
	scratch = action__begin(op, call);
	if (!scratch)
		return 0;
	values = scratch->event.values;
	values[0] = (u32)flags;
	proxy = task->nsproxy;
	if (proxy) {
		values[1] = proxy->mnt_ns->ns.inum;
		values[2] = proxy->pid_ns_for_children->ns.inum;
		values[3] = proxy->net_ns->ns.inum;
	}
	values[4] = task->cred->user_ns->ns.inum;
	if (!repeat__due(&scratch->event, 0, REPEATS_PER_SECOND, SECOND_NS, 0))
		return action__drop(scratch);
	return action__end(scratch);
}

static __always_inline int privilege__memfd(struct call *call)
{
	struct action_scratch *scratch;
	struct file *file;

	if (call->result < 0)
		return 0;
	scratch = action__begin(ACTION_MEMFD, call);
	if (!scratch)
		return 0;
	scratch->event.values[0] = call__argument(call, 1);
	file = task__file(call->task, call->result);
	if (file)
		scratch->event.values[1] = BPF_CORE_READ(file, f_inode, i_ino);
	if (!repeat__due(&scratch->event, 0, REPEATS_PER_SECOND, SECOND_NS, 0))
		return action__drop(scratch);
	action__caller_text(scratch, 0, call__argument(call, 0));
	return action__end(scratch);
}

/* Up to three strings of the caller, and the flags. */
static __always_inline int privilege__mount(struct call *call, u16 op, u64 flags, u64 first, u64 second, u64 third)
{
	struct action_scratch *scratch;

	if (call->result < 0)
		return 0;
	scratch = action__begin(op, call);
	if (!scratch)
		return 0;
	scratch->event.values[0] = flags;
	if (!repeat__due(&scratch->event, 0, REPEATS_PER_SECOND, SECOND_NS, 0))
		return action__drop(scratch);
	action__caller_text(scratch, 0, first);
	action__caller_text(scratch, 1, second);
	action__caller_text(scratch, 2, third);
	return action__end(scratch);
}

static __always_inline int privilege__mounts(struct call *call)
{
	switch (call->number) {
	case NR_MOUNT:
		return privilege__mount(call, ACTION_MOUNT, call__argument(call, 3), call__argument(call, 2), call__argument(call, 0), call__argument(call, 1));
	case NR_UMOUNT2:
		return privilege__mount(call, ACTION_UMOUNT, call__argument(call, 1), call__argument(call, 0), 0, 0);
	case NR_PIVOT_ROOT:
		return privilege__mount(call, ACTION_PIVOT_ROOT, 0, call__argument(call, 0), call__argument(call, 1), 0);
	case NR_CHROOT:
		return privilege__mount(call, ACTION_CHROOT, 0, call__argument(call, 0), 0, 0);
	case NR_OPEN_TREE: /* without the flag it only opens */
		return call__argument(call, 2) & OPEN_TREE_CLONE ? privilege__mount(call, ACTION_OPEN_TREE, call__argument(call, 2), call__argument(call, 1), 0, 0) : 0;
	case NR_MOVE_MOUNT:
		return privilege__mount(call, ACTION_MOVE_MOUNT, call__argument(call, 4), call__argument(call, 1), call__argument(call, 3), 0);
	case NR_MOUNT_SETATTR:
		return privilege__mount(call, ACTION_MOUNT_SETATTR, call__argument(call, 2), call__argument(call, 1), 0, 0);
	}
	return 0;
}

static __always_inline int privilege__namespace_call(struct call *call)
{
	return privilege__namespaces(call, call->number == NR_SETNS ? ACTION_SETNS : ACTION_UNSHARE);
}
