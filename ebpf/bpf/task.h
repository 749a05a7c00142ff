/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Who: the fields of event_task, read from a task that the verifier knows (no copy through a helper, about 1 ns a field). */
#pragma once
#include "ring.h"

static __always_inline void task__identify(struct event_task *out, struct task_struct *task)
{
	struct task_struct *leader = task->group_leader;
	struct task_struct *parent = task->real_parent;
	const struct cred *cred = task->cred;

	out->pid = task->tgid;
	out->tid = task->pid;
	out->start_boot_ns = leader->start_boottime;
	out->parent_pid = parent->tgid;
	out->parent_start_boot_ns = parent->group_leader->start_boottime;
	/* The kernel's own numbers: those of the initial user namespace, whatever a container sees. */
	out->uid = cred->uid.val;
	out->euid = cred->euid.val;
	out->gid = cred->gid.val;
	out->auid = bpf_core_field_exists(task->loginuid) ? task->loginuid.val : (u32)-1;
	out->reserved = 0;
	out->cgroup_id = task->cgroups->dfl_cgrp->kn->id;
	bpf_probe_read_kernel(out->comm, sizeof(out->comm), task->comm);
}

static __always_inline void header__fill(struct event_header *header, u16 kind)
{
	header->kind = kind;
	header->flags = 0;
	header->cpu = bpf_get_smp_processor_id();
	header->time_boot_ns = bpf_ktime_get_boot_ns();
}

static __always_inline void header__begin(struct event_header *header, u16 kind, struct task_struct *task)
{
	header__fill(header, kind);
	task__identify(&header->task, task);
}
