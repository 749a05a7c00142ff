/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Arguments and numbers of system calls as the raw tracepoints show them, 64-bit and 32-bit callers alike. */
#pragma once
#include "core.h"

/* What a call is dispatched to. */
enum syscall_slot { SLOT_NONE = 0, SLOT_OPEN, SLOT_CLOSE, SLOT_RENAME, SLOT_UNLINK, SLOT_LINK, SLOT_ACCEPT, SLOT_DUP2, SLOTS };

#define TS_COMPAT 2 /* thread_info.status: the call came through the 32-bit entry */

static __always_inline bool syscall__is_compat(void)
{
	struct task_struct *task = bpf_get_current_task_btf();

	return task->thread_info.status & TS_COMPAT;
}

static __always_inline u64 syscall__first_argument(struct pt_regs *regs)
{
	return syscall__is_compat() ? (u32)regs->bx : regs->di;
}

static __always_inline u64 syscall__second_argument(struct pt_regs *regs)
{
	return syscall__is_compat() ? (u32)regs->cx : regs->si;
}
