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
enum syscall_slot { SLOT_NONE = 0, SLOT_OPEN, SLOT_RENAME, SLOT_UNLINK, SLOT_LINK, SLOT_ACCEPT, SLOT_PTRACE, SLOT_MEMORY, SLOT_DESCRIPTOR, SLOT_IDS, SLOT_NAMESPACES, SLOT_MOUNTS, SLOT_MEMFD, SLOT_MMAP, SLOT_MPROTECT, SLOT_BPF, SLOT_CLOCK, SLOT_HOLDERS, SLOT_CLOSE = SLOT_HOLDERS, SLOT_DUP, SLOTS };

#define TS_COMPAT 2 /* thread_info.status: the call came through the 32-bit entry */
#define SYSCALLS 512
#define COMPAT(slot) ((slot) << 8) /* of the i386 call of this number; the other half is the x86-64 one's */

static const volatile u16 syscall_slots[SYSCALLS] = {
	[2] = SLOT_OPEN,
	[3] = SLOT_CLOSE,
	[5] = COMPAT(SLOT_OPEN),
	[6] = COMPAT(SLOT_CLOSE),
	[8] = COMPAT(SLOT_OPEN), /* creat */
	[9] = COMPAT(SLOT_LINK) | SLOT_MMAP,
	[10] = COMPAT(SLOT_UNLINK) | SLOT_MPROTECT,
	[21] = COMPAT(SLOT_MOUNTS),
	[23] = COMPAT(SLOT_IDS),
	[26] = COMPAT(SLOT_PTRACE),
	[32] = SLOT_DUP,
	[33] = SLOT_DUP, /* dup2 */
	[38] = COMPAT(SLOT_RENAME),
	[41] = COMPAT(SLOT_DUP),
	[43] = SLOT_ACCEPT,
	[46] = COMPAT(SLOT_IDS),
	[52] = COMPAT(SLOT_MOUNTS),
	[55] = COMPAT(SLOT_DUP), /* fcntl */
	[61] = COMPAT(SLOT_MOUNTS),
	[63] = COMPAT(SLOT_DUP), /* dup2 */
	[70] = COMPAT(SLOT_IDS),
	[71] = COMPAT(SLOT_IDS),
	[72] = SLOT_DUP, /* fcntl */
	[79] = COMPAT(SLOT_CLOCK),
	[82] = SLOT_RENAME,
	[85] = SLOT_OPEN, /* creat */
	[86] = SLOT_LINK,
	[87] = SLOT_UNLINK,
	[101] = SLOT_PTRACE,
	[105] = SLOT_IDS, /* setuid */
	[106] = SLOT_IDS, /* setgid */
	[113] = SLOT_IDS, /* setreuid */
	[114] = SLOT_IDS, /* setregid */
	[117] = SLOT_IDS, /* setresuid */
	[119] = SLOT_IDS, /* setresgid */
	[124] = COMPAT(SLOT_CLOCK),
	[125] = COMPAT(SLOT_MPROTECT),
	[126] = SLOT_IDS, /* capset */
	[155] = SLOT_MOUNTS, /* pivot_root */
	[159] = SLOT_CLOCK, /* adjtimex */
	[161] = SLOT_MOUNTS, /* chroot */
	[164] = SLOT_CLOCK | COMPAT(SLOT_IDS), /* settimeofday */
	[165] = SLOT_MOUNTS, /* mount */
	[166] = SLOT_MOUNTS, /* umount2 */
	[170] = COMPAT(SLOT_IDS),
	[185] = COMPAT(SLOT_IDS),
	[192] = COMPAT(SLOT_MMAP),
	[203] = COMPAT(SLOT_IDS),
	[204] = COMPAT(SLOT_IDS),
	[208] = COMPAT(SLOT_IDS),
	[210] = COMPAT(SLOT_IDS),
	[213] = COMPAT(SLOT_IDS),
	[214] = COMPAT(SLOT_IDS),
	[217] = COMPAT(SLOT_MOUNTS),
	[221] = COMPAT(SLOT_DUP), /* fcntl64 */
	[227] = SLOT_CLOCK, /* clock_settime */
	[257] = SLOT_OPEN, /* openat */
	[263] = SLOT_UNLINK, /* unlinkat */
	[264] = SLOT_RENAME | COMPAT(SLOT_CLOCK), /* renameat */
	[265] = SLOT_LINK, /* linkat */
	[272] = SLOT_NAMESPACES, /* unshare */
	[288] = SLOT_ACCEPT, /* accept4 */
	[292] = SLOT_DUP, /* dup3 */
	[295] = COMPAT(SLOT_OPEN), /* openat */
	[301] = COMPAT(SLOT_UNLINK), /* unlinkat */
	[302] = COMPAT(SLOT_RENAME), /* renameat */
	[303] = COMPAT(SLOT_LINK), /* linkat */
	[304] = SLOT_OPEN, /* open_by_handle_at */
	[305] = SLOT_CLOCK, /* clock_adjtime */
	[308] = SLOT_NAMESPACES, /* setns */
	[310] = SLOT_MEMORY | COMPAT(SLOT_NAMESPACES), /* process_vm_readv */
	[311] = SLOT_MEMORY, /* process_vm_writev */
	[316] = SLOT_RENAME, /* renameat2 */
	[319] = SLOT_MEMFD, /* memfd_create */
	[321] = SLOT_BPF,
	[329] = SLOT_MPROTECT, /* pkey_mprotect */
	[330] = COMPAT(SLOT_DUP), /* dup3 */
	[342] = COMPAT(SLOT_OPEN), /* open_by_handle_at */
	[343] = COMPAT(SLOT_CLOCK),
	[346] = COMPAT(SLOT_NAMESPACES),
	[347] = COMPAT(SLOT_MEMORY),
	[348] = COMPAT(SLOT_MEMORY),
	[353] = COMPAT(SLOT_RENAME), /* renameat2 */
	[356] = COMPAT(SLOT_MEMFD),
	[357] = COMPAT(SLOT_BPF),
	[364] = COMPAT(SLOT_ACCEPT), /* accept4; socketcall's own accept stays unseen */
	[380] = COMPAT(SLOT_MPROTECT),
	[404] = COMPAT(SLOT_CLOCK),
	[405] = COMPAT(SLOT_CLOCK),
	[428] = SLOT_MOUNTS | COMPAT(SLOT_MOUNTS), /* open_tree */
	[429] = SLOT_MOUNTS | COMPAT(SLOT_MOUNTS), /* move_mount */
	[437] = SLOT_OPEN | COMPAT(SLOT_OPEN), /* openat2 */
	[438] = SLOT_DESCRIPTOR | COMPAT(SLOT_DESCRIPTOR), /* pidfd_getfd */
	[442] = SLOT_MOUNTS | COMPAT(SLOT_MOUNTS), /* mount_setattr */
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
