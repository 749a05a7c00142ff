/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Bodies of the process probes; see process.bpf.c. */
#pragma once
#include "exec.h"
#include "identity.h"

/* The names to keep, zero-padded. Written by the loader only. */
struct environment_name {
	u64 word[ENVIRONMENT_NAME / 8];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, struct environment_name);
	__type(value, u32);
} picket_environment SEC(".maps");

/* Groups of several threads that have just ended, by their leader's start. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, u64);
	__type(value, u32);
} exited_groups SEC(".maps");

static __always_inline int process__fork(struct task_struct *parent, struct task_struct *child)
{
	struct event_fork event = {};

	if (child->pid != child->tgid || own__is_current())
		return 0;
	header__begin(&event.header, EVENT_FORK, parent);
	event.child_pid = child->tgid;
	event.child_start_boot_ns = child->start_boottime;
	ring__output(&event, sizeof(event), CLASS_PROCESS);
	return 0;
}

static __always_inline int process__exit(struct task_struct *task)
{
	struct event_exit event = {};

	struct signal_struct *signal = task->signal;

	/* The group ends with its last thread, whichever that is: the leader may go first. */
	if (signal->live.counter != 0 || own__is_current())
		return 0;
	/* Two threads that end at once can both see nobody left. */
	if (signal->nr_threads > 1) {
		u64 group = task->group_leader->start_boottime;
		u32 seen = 1;

		if (bpf_map_update_elem(&exited_groups, &group, &seen, BPF_NOEXIST))
			return 0;
	}
	header__begin(&event.header, EVENT_EXIT, task);
	/* What wait() will tell. */
	event.code = signal->flags & SIGNAL_GROUP_EXIT ? signal->group_exit_code : task->group_leader->exit_code;
	ring__output(&event, sizeof(event), CLASS_PROCESS);
	return 0;
}

static __always_inline void exec__arguments(struct exec_scratch *scratch, struct mm_struct *mm)
{
	u64 from = mm->arg_start, len = mm->arg_end - from;

	if (mm->arg_end <= from)
		return;
	if (len > ARGS_MAX) {
		len = ARGS_MAX;
		MEMORY(scratch->sink.flags) |= EVENT_F_ARGS_CUT;
	}
	if (bpf_probe_read_user(scratch->data, len, (void *)from)) {
		MEMORY(scratch->sink.flags) |= EVENT_F_USER_FAULT;
		counter__add(COUNTER_E_ARGUMENTS);
		return;
	}
	scratch->event.args_len = len;
	MEMORY(scratch->sink.used) = len;
}

/*
 * The bytes of three words up to the first '=', the rest zero, without a branch a byte. A word minus 0x01.. borrows into the high bit of
 * every byte that was zero; the lowest such bit is exact, and it is the only one used.
 */
static __always_inline bool environment__name(u64 *word)
{
	const u64 ones = 0x0101010101010101ULL, highs = 0x8080808080808080ULL;
	u64 found = 0;
	int i;

	for (i = 0; i < ENVIRONMENT_NAME / 8; i++) {
		u64 x = word[i] ^ (ones * '=');
		u64 hit = (x - ones) & ~x & highs;
		u64 below = ((hit & -hit) >> 7) - 1; /* all ones where there is no hit */

		word[i] = found ? 0 : word[i] & below;
		found |= hit;
	}
	return found != 0;
}

/* One string of the environment: kept when its name is listed. Returns false at the end of the block. */
static __always_inline bool environment__step(struct exec_scratch *scratch, u64 end)
{
	u64 at = MEMORY(scratch->cursor);
	u32 used = MEMORY(scratch->sink.used);
	char *out;
	long len;

	if (at >= end)
		return false;
	if (used > EXEC_DATA - ENVIRONMENT_MAX)
		return false;
	/* Straight into place: a string that is not kept is overwritten by the next one, and never sent. */
	out = &scratch->data[used & (EXEC_DATA - 1)];
	len = bpf_probe_read_user_str(out, ENVIRONMENT_MAX / 2, (void *)at);
	if (len <= 0) {
		MEMORY(scratch->sink.flags) |= EVENT_F_USER_FAULT;
		counter__add(COUNTER_E_ENVIRONMENT);
		return false;
	}
	/* What follows a shorter string is an older one: a name that reaches into it holds a NUL, which no listed name does. */
	bpf_probe_read_kernel(scratch->name, ENVIRONMENT_NAME, out);
	/* A string longer than the read: its rest looks like the next one. A hostile process can so show a pair that is only the tail of a
	 * value; it could as well have set the pair itself. */
	MEMORY(scratch->cursor) = at + len - (len == ENVIRONMENT_MAX / 2 ? 1 : 0);
	if (!environment__name(scratch->name) || !bpf_map_lookup_elem(&picket_environment, scratch->name))
		return true;
	if (len == ENVIRONMENT_MAX / 2)
		MEMORY(scratch->sink.flags) |= EVENT_F_ARGS_CUT;
	if (scratch->event.environment_len + len > ENVIRONMENT_MAX) {
		MEMORY(scratch->sink.flags) |= EVENT_F_ARGS_CUT;
		return false;
	}
	scratch->event.environment_len += len;
	MEMORY(scratch->sink.used) = used + len;
	return true;
}

static __always_inline void exec__environment(struct exec_scratch *scratch, struct mm_struct *mm)
{
	u64 end = mm->env_end;
	int i;

	MEMORY(scratch->cursor) = mm->env_start;
	for (i = 0; i < ENVIRONMENT_STRINGS; i++)
		if (!environment__step(scratch, end))
			return;
	if (MEMORY(scratch->cursor) < end)
		counter__add(COUNTER_E_ENVIRONMENT);
}

static __always_inline int process__exec(struct task_struct *task, struct linux_binprm *binprm)
{
	struct mm_struct *mm = task->mm;
	struct exec_scratch *scratch;
	u32 used;

	if (!mm || own__is_current())
		return 0;
	identity__forget(task);
	scratch = exec__scratch();
	if (!scratch)
		return 0;
	exec__begin(scratch, task);
	scratch->event.argc = binprm->argc;
	exec__arguments(scratch, mm);
	exec__environment(scratch, mm);
	exec__files(scratch, task);
	if (binprm->fdpath) /* execveat */
		MEMORY(scratch->sink.flags) |= EVENT_F_EXE_BY_DESCRIPTOR;
	used = exec__finish(scratch);
	/* Contiguous in the record: event, then data. */
	ring__output(&scratch->event, sizeof(scratch->event) + (used & (2 * EXEC_DATA - 1)), CLASS_PROCESS);
	return 0;
}
