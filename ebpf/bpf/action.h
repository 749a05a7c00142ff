/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The action record: what a process does to others, to itself or to the kernel. Built by the probes of access, privilege, mapping and kernel.
 *
 * Whoever repeats an action fast is told by counts: a process gets so many records of a kind in a window of time, and the first one of the next
 * window stands for those held back. What is held back is counted (COUNTER_E_REPEAT) at once, so that an end before the next record is no silent gap.
 */
#pragma once
#include "path.h"
#include "syscalls.h"
#include "task.h"

#define PIDTYPE_SLOT_BYTES 16 /* struct hlist_node in task_struct.pid_links */

struct action_scratch {
	struct event_action event;
	char data[ACTION_DATA + COMPONENT_MAX];
	struct path_sink sink;
	u32 slot;
	u32 taken;
};

/*
 * A program that stands on a function can be interrupted by another task that runs another one: a record is built in the first slot of the CPU
 * that is free. All of them taken is counted.
 */
#define ACTION_SLOTS 4

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, ACTION_SLOTS);
	__type(key, u32);
	__type(value, struct action_scratch);
} picket_action SEC(".maps");

struct repeat_key {
	u64 actor_start_boot_ns;
	u64 object;
	u32 actor;
	u32 op;
};

struct repeat {
	u64 window_begin;
	u64 bytes;
	u32 told;
	u32 held;
};

/* An unprivileged user who fills this with many processes makes counts start anew: more records, not fewer. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct repeat_key);
	__type(value, struct repeat);
} picket_repeats SEC(".maps");

#define SECOND_NS 1000000000ULL

/* A system call that has ended, by a 64-bit or a 32-bit caller. */
struct call {
	struct task_struct *task;
	struct pt_regs *regs;
	s64 result;
	u32 number; /* the one of x86-64 */
	bool compat;
};

/* The x86-64 numbers of those i386 calls that the dispatcher hands on. From 424 on they are the same. */
static __always_inline u32 call__number(u32 compat)
{
	switch (compat) {
	case 21: return 165;  /* mount */
	case 23: case 213: return 105; /* setuid, setuid32 */
	case 26: return 101;  /* ptrace */
	case 46: case 214: return 106; /* setgid, setgid32 */
	case 52: return 166;  /* umount2 */
	case 61: return 161;  /* chroot */
	case 70: case 203: return 113; /* setreuid, setreuid32 */
	case 71: case 204: return 114; /* setregid, setregid32 */
	case 79: return 164;  /* settimeofday */
	case 124: return 159; /* adjtimex */
	case 125: return 10;  /* mprotect */
	case 164: case 208: return 117; /* setresuid, setresuid32 */
	case 170: case 210: return 119; /* setresgid, setresgid32 */
	case 185: return 126; /* capset */
	case 192: return 9;   /* mmap2 */
	case 217: return 155; /* pivot_root */
	case 264: case 404: return 227; /* clock_settime, clock_settime64 */
	case 310: return 272; /* unshare */
	case 343: case 405: return 305; /* clock_adjtime, clock_adjtime64 */
	case 346: return 308; /* setns */
	case 347: return 310; /* process_vm_readv */
	case 348: return 311; /* process_vm_writev */
	case 356: return 319; /* memfd_create */
	case 357: return 321; /* bpf */
	case 380: return 329; /* pkey_mprotect */
	}
	return compat;
}

/* Arguments are read at the exit: the kernel keeps them in the saved registers, but the one that holds the result. */
static __always_inline void call__of(struct call *call, struct pt_regs *regs, s64 result)
{
	call->task = bpf_get_current_task_btf();
	call->regs = regs;
	call->result = result;
	call->compat = syscall__is_compat(call->task);
	call->number = call->compat ? call__number(regs->orig_ax) : regs->orig_ax & ~0x40000000UL;
}

static __always_inline u64 call__argument(struct call *call, u32 index)
{
	struct pt_regs *regs = call->regs;

	switch (index) {
	case 0: return call->compat ? (u32)regs->bx : regs->di;
	case 1: return call->compat ? (u32)regs->cx : regs->si;
	case 2: return call->compat ? (u32)regs->dx : regs->dx;
	case 3: return call->compat ? (u32)regs->si : regs->r10;
	default: return call->compat ? (u32)regs->di : regs->r8;
	}
}

/*
 * The two ways to see the end of a system call. The function of that call alone, where the kernel has trampolines: no other call pays. Else the dispatcher
 * in syscalls.bpf.c, which every call passes anyway where files are seen by it.
 */
#define CALL_FUNCTION(name, body)                                    \
	SEC("fexit/__x64_sys_" #name)                                \
	int BPF_PROG(function_##name, struct pt_regs *regs, long ret) \
	{                                                            \
		struct call call;                                    \
		call__of(&call, regs, ret);                          \
		return body(&call);                                  \
	}

#define CALL_DISPATCHED(name, body)                                  \
	SEC("tp_btf/sys_exit")                                       \
	int BPF_PROG(name, struct pt_regs *regs, long ret)           \
	{                                                            \
		struct call call;                                    \
		call__of(&call, regs, ret);                          \
		return body(&call);                                  \
	}

static __always_inline struct file *task__file(struct task_struct *task, u64 fd)
{
	struct fdtable *table = task->files->fdt;
	struct file **slot, *file = NULL;

	if (fd >= BPF_CORE_READ(table, max_fds))
		return NULL;
	slot = BPF_CORE_READ(table, fd);
	bpf_probe_read_kernel(&file, sizeof(file), &slot[fd]);
	return file;
}

/* How many records in a window are due to this process for this kind of action on this object, and whether this one is among them. */
static __always_inline bool repeat__due(struct event_action *event, u64 object, u32 limit, u64 window_ns, u64 bytes)
{
	struct repeat_key key = {
		.actor_start_boot_ns = event->header.task.start_boot_ns,
		.object = object,
		.actor = event->header.task.pid,
		.op = event->op,
	};
	u64 now = event->header.time_boot_ns;
	struct repeat *repeat = bpf_map_lookup_elem(&picket_repeats, &key);

	if (!repeat) {
		struct repeat fresh = { .window_begin = now, .told = 1 };

		if (bpf_map_update_elem(&picket_repeats, &key, &fresh, BPF_ANY))
			counter__add(COUNTER_MAP_FULL + CLASS_PROCESS);
		return true;
	}
	if (now - repeat->window_begin >= window_ns) {
		event->count += repeat->held;
		event->values[1] += repeat->bytes; /* zero but where the action has bytes there */
		repeat->window_begin = now;
		repeat->told = 1;
		repeat->held = 0;
		repeat->bytes = 0;
		return true;
	}
	if (repeat->told < limit) {
		repeat->told++;
		return true;
	}
	repeat->held++;
	repeat->bytes += bytes;
	counter__add(COUNTER_E_REPEAT);
	return false;
}

static __always_inline void action__fill(struct event_action *event, u16 op, struct task_struct *task)
{
	__builtin_memset(event, 0, sizeof(*event));
	header__begin(&event->header, EVENT_ACTION, task);
	event->op = op;
	event->count = 1;
}

/* A scratch with a fresh record of the current task, to be given back by action__end or action__drop; NULL where its doings are left out. */
static __always_inline struct action_scratch *action__begin(u16 op, struct call *call)
{
	struct action_scratch *scratch = NULL;
	u32 slot;

	if (own__is_current())
		return NULL;
	for (slot = 0; slot < ACTION_SLOTS; slot++) {
		u32 key = slot;

		scratch = bpf_map_lookup_elem(&picket_action, &key);
		if (scratch && !__sync_val_compare_and_swap(&scratch->taken, 0, 1))
			break;
		scratch = NULL;
	}
	if (!scratch) {
		counter__add(COUNTER_E_SCRATCH);
		return NULL;
	}
	scratch->slot = slot;
	action__fill(&scratch->event, op, call->task);
	scratch->event.call = call->number;
	scratch->event.result = call->result;
	MEMORY(scratch->sink.used) = 0;
	MEMORY(scratch->sink.flags) = 0;
	return scratch;
}

static __always_inline int action__drop(struct action_scratch *scratch)
{
	scratch->taken = 0;
	return 0;
}

static __always_inline int action__end(struct action_scratch *scratch)
{
	u32 used = MEMORY(scratch->sink.used);

	if (used > ACTION_DATA)
		used = ACTION_DATA;
	scratch->event.used = used;
	scratch->event.header.flags |= MEMORY(scratch->sink.flags);
	ring__output(&scratch->event, sizeof(scratch->event) + (used & (2 * ACTION_DATA - 1)), CLASS_PROCESS);
	return action__drop(scratch);
}

/* A record without texts. */
static __always_inline void action__send(struct event_action *event)
{
	ring__output(event, sizeof(*event), CLASS_PROCESS);
}

/* A string of the caller, as it is when the call has ended: another thread can have changed it meanwhile. Text is cut at 1 KiB. */
#define CALLER_TEXT_MAX 1024

static __always_inline void action__caller_text(struct action_scratch *scratch, u32 index, u64 from)
{
	u32 at = MEMORY(scratch->sink.used);
	long len;

	if (!from || at > ACTION_DATA - CALLER_TEXT_MAX || index >= ACTION_TEXTS)
		return;
	len = bpf_probe_read_user_str(&scratch->data[at & (ACTION_DATA - 1)], CALLER_TEXT_MAX, (void *)from);
	if (len <= 0) {
		MEMORY(scratch->sink.flags) |= EVENT_F_USER_FAULT;
		counter__add(COUNTER_E_ARGUMENTS);
		return;
	}
	if (len == CALLER_TEXT_MAX)
		MEMORY(scratch->sink.flags) |= EVENT_F_PATH_CUT;
	scratch->event.text_len[index] = len;
	MEMORY(scratch->sink.used) = at + len;
}

/* Global: verified once, see watch__walk. */
__noinline u32 action__path(u32 slot, u64 dentry, u64 mnt)
{
	struct action_scratch *scratch = bpf_map_lookup_elem(&picket_action, &slot);

	if (!scratch)
		return 0;
	return path__append(scratch->data, ACTION_DATA, &scratch->sink, (struct dentry *)dentry, (struct vfsmount *)mnt);
}

/* The path of a file as text 0; the name alone where it is in no tree. */
static __always_inline void action__file_path(struct action_scratch *scratch, struct file *file)
{
	struct dentry *dentry = BPF_CORE_READ(file, f_path.dentry);

	scratch->event.text_len[0] = action__path(scratch->slot, (u64)dentry, (u64)BPF_CORE_READ(file, f_path.mnt));
	if (!scratch->event.text_len[0]) {
		u32 before = MEMORY(scratch->sink.used);

		path__append_name(scratch->data, ACTION_DATA, &scratch->sink, (const char *)BPF_CORE_READ(dentry, d_name.name));
		scratch->event.text_len[0] = MEMORY(scratch->sink.used) - before;
	}
	if (dentry__unhashed(dentry))
		MEMORY(scratch->sink.flags) |= EVENT_F_PATH_DETACHED;
}

/* The same fields as task__identify, of a task that the verifier does not know. */
static __always_inline void task__describe(struct event_task *out, struct task_struct *task)
{
	out->pid = BPF_CORE_READ(task, tgid);
	out->tid = BPF_CORE_READ(task, pid);
	out->start_boot_ns = BPF_CORE_READ(task, group_leader, start_boottime);
	out->parent_pid = BPF_CORE_READ(task, real_parent, tgid);
	out->parent_start_boot_ns = BPF_CORE_READ(task, real_parent, group_leader, start_boottime);
	out->uid = BPF_CORE_READ(task, cred, uid.val);
	out->euid = BPF_CORE_READ(task, cred, euid.val);
	out->gid = BPF_CORE_READ(task, cred, gid.val);
	out->auid = bpf_core_field_exists(task->loginuid) ? BPF_CORE_READ(task, loginuid.val) : (u32)-1;
	out->cgroup_id = BPF_CORE_READ(task, cgroups, dfl_cgrp, kn, id);
	BPF_CORE_READ_STR_INTO(&out->comm, task, comm);
}

/* The first task of a struct pid, NULL where it has ended. */
static __always_inline struct task_struct *pid__task(struct pid *pid, u32 type)
{
	u64 first = 0;

	bpf_probe_read_kernel(&first, sizeof(first), (void *)((u64)pid + bpf_core_field_offset(struct pid, tasks) + type * sizeof(u64)));
	if (!first)
		return NULL;
	return (void *)(first - bpf_core_field_offset(struct task_struct, pid_links) - type * PIDTYPE_SLOT_BYTES);
}

#define RADIX_DEPTH_MAX 8

/* The thread that the current task calls by this number: a walk down the radix tree of its pid namespace, under the lock that every program holds. */
static __always_inline struct task_struct *task__numbered(u32 number)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct pid *pid = BPF_CORE_READ(task, thread_pid);
	u64 slots = bpf_core_field_offset(struct xa_node, slots), mask = bpf_core_field_size(struct xa_node, slots) / 8 - 1;
	u64 upid = bpf_core_field_offset(struct pid, numbers) + (u64)BPF_CORE_READ(pid, level) * bpf_core_type_size(struct upid);
	struct upid *innermost = (void *)((u64)pid + upid);
	u64 entry = (u64)BPF_CORE_READ(innermost, ns, idr.idr_rt.xa_head);
	int i;

	for (i = 0; i < RADIX_DEPTH_MAX; i++) {
		struct xa_node *node = (void *)(entry - 2);
		u64 next = 0;

		if ((entry & 3) != 2 || entry <= 4096)
			break;
		bpf_probe_read_kernel(&next, sizeof(next), (void *)((u64)node + slots + ((number >> (BPF_CORE_READ(node, shift) & 31)) & mask) * 8));
		entry = next;
	}
	if (!entry || entry & 3)
		return NULL;
	innermost = (void *)(entry + upid);
	if (BPF_CORE_READ(innermost, nr) != number)
		return NULL;
	return pid__task((struct pid *)entry, 0);
}
