/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Bodies of the access probes; see access.bpf.c. */
#pragma once
#include "action.h"
#include "holders.h"

enum { NR_PROCESS_VM_READV = 310 };
enum { PTRACE_TRACEME = 0, PTRACE_PEEKTEXT = 1, PTRACE_PEEKDATA = 2, PTRACE_POKETEXT = 4, PTRACE_POKEDATA = 5, PTRACE_POKEUSR = 6, PTRACE_SETREGS = 13, PTRACE_SETFPREGS = 15, PTRACE_ATTACH = 16, PTRACE_SETREGSET = 0x4205, PTRACE_SEIZE = 0x4206 };
enum { PIDTYPE_TGID = 1 };

#define REPEATS_PER_TARGET 1

static __always_inline bool ptrace__matters(u64 request)
{
	switch (request) {
	case PTRACE_TRACEME:
	case PTRACE_PEEKTEXT:
	case PTRACE_PEEKDATA:
	case PTRACE_POKETEXT:
	case PTRACE_POKEDATA:
	case PTRACE_POKEUSR:
	case PTRACE_SETREGS:
	case PTRACE_SETFPREGS:
	case PTRACE_ATTACH:
	case PTRACE_SETREGSET:
	case PTRACE_SEIZE:
		return true;
	}
	return false; /* those that only steer a tracee that was already told of */
}

static __always_inline void access__target(struct event_action *event, struct task_struct *target)
{
	if (target)
		task__describe(&event->target, target);
	else
		counter__add(COUNTER_E_TARGET);
}

/* A record a second for one target and one kind of request; ESRCH and the like are no access. */
static __always_inline int access__tell(struct action_scratch *scratch, u64 request)
{
	struct event_action *event = &scratch->event;

	if (event->target.pid && event->target.pid == event->header.task.pid && event->target.start_boot_ns == event->header.task.start_boot_ns)
		return action__drop(scratch); /* itself */
	if (!repeat__due(event, event->target.start_boot_ns ^ ((u64)event->target.pid << 40) ^ (request << 32), REPEATS_PER_TARGET, SECOND_NS, event->values[1]))
		return action__drop(scratch);
	return action__end(scratch);
}

static __always_inline int access__ptrace(struct call *call)
{
	struct task_struct *task = call->task;
	struct action_scratch *scratch;
	struct event_action *event;

	if (!ptrace__matters(call__argument(call, 0)))
		return 0;
	scratch = action__begin(ACTION_PTRACE, call);
	if (!scratch)
		return 0;
	event = &scratch->event;
	event->values[0] = call__argument(call, 0);
	event->values[2] = call__argument(call, 2);
	event->values[3] = call__argument(call, 3);
	/* The one who asks to be traced is the target of its parent's doing, and the one who acts. */
	access__target(event, call__argument(call, 0) == PTRACE_TRACEME ? task->real_parent : task__numbered(call__argument(call, 1)));
	return access__tell(scratch, call__argument(call, 0));
}

static __always_inline int access__memory(struct call *call, u16 op)
{
	struct action_scratch *scratch = action__begin(op, call);
	struct event_action *event;
	u64 remote = 0;

	if (!scratch)
		return 0;
	event = &scratch->event;
	/* The first word of the first vector: half as long from a 32-bit caller. */
	if (bpf_probe_read_user(&remote, call->compat ? 4 : 8, (void *)call__argument(call, 3)))
		event->header.flags |= EVENT_F_USER_FAULT;
	event->values[0] = remote;
	event->values[1] = call->result > 0 ? call->result : 0;
	access__target(event, task__numbered(call__argument(call, 0)));
	return access__tell(scratch, 0);
}

/* The process behind a pidfd: 6.9 moved it from the file to the inode. Taken only where it looks like one. */
static __always_inline struct task_struct *pidfd__task(struct file *file)
{
	struct pid *pid = BPF_CORE_READ(file, private_data);
	struct upid *outermost;
	struct task_struct *task;

	if (!pid)
		pid = BPF_CORE_READ(file, f_inode, i_private);
	if (!pid)
		return NULL;
	outermost = (void *)((u64)pid + bpf_core_field_offset(struct pid, numbers));
	task = pid__task(pid, PIDTYPE_TGID);
	if (!task || BPF_CORE_READ(task, tgid) != BPF_CORE_READ(outermost, nr))
		return NULL;
	return task;
}

static __always_inline int access__descriptor(struct call *call)
{
	struct task_struct *task = call->task;
	struct action_scratch *scratch = action__begin(ACTION_TAKE_DESCRIPTOR, call);
	struct event_action *event;
	struct file *file;

	if (call->result >= 0)
		holder__mark(task->tgid); /* what it took may be of a watched file */
	if (!scratch)
		return 0;
	event = &scratch->event;
	event->values[0] = call__argument(call, 1);
	event->values[2] = call->result;
	file = task__file(task, call__argument(call, 0));
	access__target(event, file ? pidfd__task(file) : NULL);
	if (call->result >= 0) {
		file = task__file(task, call->result);
		if (file)
			action__file_path(scratch, file);
	}
	return access__tell(scratch, call__argument(call, 1));
}

static __always_inline int access__read(struct call *call)
{
	return access__memory(call, ACTION_READ_MEMORY);
}

static __always_inline int access__write(struct call *call)
{
	return access__memory(call, ACTION_WRITE_MEMORY);
}

static __always_inline int access__memory_call(struct call *call)
{
	return call->number == NR_PROCESS_VM_READV ? access__read(call) : access__write(call);
}

#define SIGCHLD 17

/* A signal that a process sends to the agent. The kernel's own (timers, ended children, faults) are no attack. */
static __always_inline int access__signal(int signal, struct kernel_siginfo *info, struct task_struct *target, int result)
{
	struct event_action event;
	u32 group = target->tgid;
	int code = 0;

	if (!bpf_map_lookup_elem(&picket_own, &group) || signal == SIGCHLD || own__is_current())
		return 0;
	if ((u64)info == 1)
		return 0; /* SEND_SIG_PRIV: from the kernel */
	if ((u64)info > 1)
		code = BPF_CORE_READ(info, si_code);
	if (code > 0)
		return 0;
	action__fill(&event, ACTION_SIGNAL, bpf_get_current_task_btf());
	task__describe(&event.target, target);
	event.values[0] = signal;
	event.values[1] = 0;
	event.values[2] = (s64)code;
	event.result = result;
	if (repeat__due(&event, signal, 4, SECOND_NS, 0))
		action__send(&event);
	return 0;
}
