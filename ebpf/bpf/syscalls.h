/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What a system call is dispatched to, and its arguments as the raw tracepoints show them, 64-bit and 32-bit callers alike.
 *
 * Only exits are dispatched: a program on the entry as well would make every system call of every process pay twice, and at the exit the
 * arguments are still in the registers. What has to be seen before a call changes it is seen in its middle (names.h) or remembered (writers.h).
 */
#pragma once
#include "core.h"

/* From SLOT_HOLDERS on: only for processes that hold, or may hold, a watched file. */
enum syscall_slot { SLOT_NONE = 0, SLOT_OPEN, SLOT_RENAME, SLOT_UNLINK, SLOT_LINK, SLOT_ACCEPT, SLOT_HOLDERS, SLOT_CLOSE = SLOT_HOLDERS, SLOT_DUP, SLOTS };

#define TS_COMPAT 2 /* thread_info.status: the call came through the 32-bit entry */
#define SYSCALLS 512
#define COMPAT(slot) ((slot) << 8) /* of the i386 call of this number; the other half is the x86-64 one's */

static const volatile u16 syscall_slots[SYSCALLS] = {
	[2] = SLOT_OPEN,
	[3] = SLOT_CLOSE,
	[5] = COMPAT(SLOT_OPEN),
	[6] = COMPAT(SLOT_CLOSE),
	[8] = COMPAT(SLOT_OPEN), /* creat */
	[9] = COMPAT(SLOT_LINK),
	[10] = COMPAT(SLOT_UNLINK),
	[32] = SLOT_DUP,
	[33] = SLOT_DUP, /* dup2 */
	[38] = COMPAT(SLOT_RENAME),
	[41] = COMPAT(SLOT_DUP),
	[43] = SLOT_ACCEPT,
	[55] = COMPAT(SLOT_DUP), /* fcntl */
	[63] = COMPAT(SLOT_DUP), /* dup2 */
	[72] = SLOT_DUP, /* fcntl */
	[82] = SLOT_RENAME,
	[85] = SLOT_OPEN, /* creat */
	[86] = SLOT_LINK,
	[87] = SLOT_UNLINK,
	[221] = COMPAT(SLOT_DUP), /* fcntl64 */
	[257] = SLOT_OPEN, /* openat */
	[263] = SLOT_UNLINK, /* unlinkat */
	[264] = SLOT_RENAME, /* renameat */
	[265] = SLOT_LINK, /* linkat */
	[288] = SLOT_ACCEPT, /* accept4 */
	[292] = SLOT_DUP, /* dup3 */
	[295] = COMPAT(SLOT_OPEN), /* openat */
	[301] = COMPAT(SLOT_UNLINK), /* unlinkat */
	[302] = COMPAT(SLOT_RENAME), /* renameat */
	[303] = COMPAT(SLOT_LINK), /* linkat */
	[304] = SLOT_OPEN, /* open_by_handle_at */
	[316] = SLOT_RENAME, /* renameat2 */
	[330] = COMPAT(SLOT_DUP), /* dup3 */
	[342] = COMPAT(SLOT_OPEN), /* open_by_handle_at */
	[353] = COMPAT(SLOT_RENAME), /* renameat2 */
	[364] = COMPAT(SLOT_ACCEPT), /* accept4; socketcall's own accept stays unseen */
	[437] = SLOT_OPEN | COMPAT(SLOT_OPEN), /* openat2 */
};

static __always_inline bool syscall__is_compat(struct task_struct *task)
{
	return task->thread_info.status & TS_COMPAT;
}

static __always_inline u32 syscall__slot(struct task_struct *task, u64 number)
{
	u32 both;

	number &= ~0x40000000ULL; /* x32 */
	if (number >= SYSCALLS)
		return SLOT_NONE;
	both = syscall_slots[number];
	if (!both)
		return SLOT_NONE;
	return syscall__is_compat(task) ? both >> 8 : both & 0xff;
}

static __always_inline u64 syscall__first_argument(struct task_struct *task, struct pt_regs *regs)
{
	return syscall__is_compat(task) ? (u32)regs->bx : regs->di;
}

#define F_DUPFD 0
#define F_DUPFD_CLOEXEC 1030

/* A call of SLOT_DUP whose result is a descriptor: fcntl does many things. */
static __always_inline bool syscall__duplicates(struct task_struct *task, struct pt_regs *regs)
{
	bool compat = syscall__is_compat(task);
	u64 number = regs->orig_ax;
	u32 command = compat ? regs->cx : regs->si;

	if (compat ? number != 55 && number != 221 : number != 72)
		return true;
	return command == F_DUPFD || command == F_DUPFD_CLOEXEC;
}
