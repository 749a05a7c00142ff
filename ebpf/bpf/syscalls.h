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
enum syscall_slot {
	SLOT_NONE = 0,
	SLOT_OPEN,
	SLOT_RENAME,
	SLOT_UNLINK,
	SLOT_LINK,
	SLOT_ACCEPT,
	SLOT_PTRACE,
	SLOT_MEMORY,
	SLOT_DESCRIPTOR,
	SLOT_IDS,
	SLOT_NAMESPACES,
	SLOT_MOUNTS,
	SLOT_MEMFD,
	SLOT_MMAP,
	SLOT_MPROTECT,
	SLOT_BPF,
	SLOT_CLOCK,
	SLOT_CHANGE,
	SLOT_RECEIVE,
	SLOT_CONNECT,
	SLOT_SOCKET,
	SLOT_HOLDERS,
	SLOT_CLOSE = SLOT_HOLDERS,
	SLOT_DUP,
	SLOT_READ,
	SLOT_WRITE,
	SLOT_MOVE,
	SLOT_HELD_MMAP,
	SLOTS,
};

#define TS_COMPAT 2 /* thread_info.status: the call came through the 32-bit entry */
#define SYSCALLS 512
#define COMPAT(slot) ((slot) << 8) /* of the i386 call of this number; the other half is the x86-64 one's */

static const volatile u16 syscall_slots[SYSCALLS] = {
	[0] = SLOT_READ, /* read */
	[1] = SLOT_WRITE, /* write */
	[2] = SLOT_OPEN, /* open */
	[3] = SLOT_CLOSE | COMPAT(SLOT_READ), /* close; i386 read */
	[4] = COMPAT(SLOT_WRITE), /* i386 write */
	[5] = COMPAT(SLOT_OPEN), /* i386 open */
	[6] = COMPAT(SLOT_CLOSE), /* i386 close */
	[8] = COMPAT(SLOT_OPEN), /* i386 creat */
	[9] = SLOT_MMAP | COMPAT(SLOT_LINK), /* mmap; i386 link */
	[10] = SLOT_MPROTECT | COMPAT(SLOT_UNLINK), /* i386 unlink */
	[15] = COMPAT(SLOT_CHANGE), /* i386 chmod */
	[16] = COMPAT(SLOT_CHANGE), /* i386 lchown16 */
	[17] = SLOT_READ, /* pread64 */
	[18] = SLOT_WRITE, /* pwrite64 */
	[19] = SLOT_READ, /* readv */
	[20] = SLOT_WRITE, /* writev */
	[21] = COMPAT(SLOT_MOUNTS),
	[23] = COMPAT(SLOT_IDS),
	[26] = COMPAT(SLOT_PTRACE),
	[30] = COMPAT(SLOT_CHANGE), /* i386 utime */
	[32] = SLOT_DUP, /* dup */
	[33] = SLOT_DUP, /* dup2 */
	[38] = COMPAT(SLOT_RENAME), /* i386 rename */
	[40] = SLOT_MOVE, /* sendfile */
	[41] = SLOT_SOCKET | COMPAT(SLOT_DUP), /* socket, i386 dup */
	[42] = SLOT_CONNECT, /* connect */
	[43] = SLOT_ACCEPT, /* accept */
	[46] = COMPAT(SLOT_IDS),
	[47] = SLOT_RECEIVE, /* recvmsg */
	[52] = COMPAT(SLOT_MOUNTS),
	[55] = COMPAT(SLOT_DUP), /* i386 fcntl */
	[61] = COMPAT(SLOT_MOUNTS),
	[63] = COMPAT(SLOT_DUP), /* i386 dup2 */
	[70] = COMPAT(SLOT_IDS),
	[71] = COMPAT(SLOT_IDS),
	[72] = SLOT_DUP, /* fcntl */
	[76] = SLOT_CHANGE, /* truncate */
	[77] = SLOT_CHANGE, /* ftruncate */
	[79] = COMPAT(SLOT_CLOCK),
	[82] = SLOT_RENAME, /* rename */
	[85] = SLOT_OPEN, /* creat */
	[86] = SLOT_LINK, /* link */
	[87] = SLOT_UNLINK, /* unlink */
	[90] = SLOT_CHANGE, /* chmod */
	[91] = SLOT_CHANGE, /* fchmod */
	[92] = SLOT_CHANGE | COMPAT(SLOT_CHANGE), /* chown; i386 truncate */
	[93] = SLOT_CHANGE | COMPAT(SLOT_CHANGE), /* fchown; i386 ftruncate */
	[94] = SLOT_CHANGE | COMPAT(SLOT_CHANGE), /* lchown; i386 fchmod */
	[95] = COMPAT(SLOT_CHANGE), /* i386 fchown16 */
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
	[132] = SLOT_CHANGE, /* utime */
	[145] = COMPAT(SLOT_READ), /* i386 readv */
	[146] = COMPAT(SLOT_WRITE), /* i386 writev */
	[155] = SLOT_MOUNTS, /* pivot_root */
	[159] = SLOT_CLOCK, /* adjtimex */
	[161] = SLOT_MOUNTS, /* chroot */
	[164] = SLOT_CLOCK | COMPAT(SLOT_IDS), /* settimeofday */
	[165] = SLOT_MOUNTS, /* mount */
	[166] = SLOT_MOUNTS, /* umount2 */
	[170] = COMPAT(SLOT_IDS),
	[180] = COMPAT(SLOT_READ), /* i386 pread64 */
	[181] = COMPAT(SLOT_WRITE), /* i386 pwrite64 */
	[182] = COMPAT(SLOT_CHANGE), /* i386 chown16 */
	[185] = COMPAT(SLOT_IDS),
	[187] = COMPAT(SLOT_MOVE), /* i386 sendfile */
	[188] = SLOT_CHANGE, /* setxattr */
	[189] = SLOT_CHANGE, /* lsetxattr */
	[190] = SLOT_CHANGE, /* fsetxattr */
	[192] = COMPAT(SLOT_MMAP), /* i386 mmap2 */
	[193] = COMPAT(SLOT_CHANGE), /* i386 truncate64 */
	[194] = COMPAT(SLOT_CHANGE), /* i386 ftruncate64 */
	[197] = SLOT_CHANGE, /* removexattr */
	[198] = SLOT_CHANGE | COMPAT(SLOT_CHANGE), /* lremovexattr; i386 lchown */
	[199] = SLOT_CHANGE, /* fremovexattr */
	[203] = COMPAT(SLOT_IDS),
	[204] = COMPAT(SLOT_IDS),
	[207] = COMPAT(SLOT_CHANGE), /* i386 fchown */
	[208] = COMPAT(SLOT_IDS),
	[210] = COMPAT(SLOT_IDS),
	[212] = COMPAT(SLOT_CHANGE), /* i386 chown */
	[213] = COMPAT(SLOT_IDS),
	[214] = COMPAT(SLOT_IDS),
	[217] = COMPAT(SLOT_MOUNTS),
	[221] = COMPAT(SLOT_DUP), /* i386 fcntl64 */
	[226] = COMPAT(SLOT_CHANGE), /* i386 setxattr */
	[227] = SLOT_CLOCK | COMPAT(SLOT_CHANGE), /* i386 lsetxattr */
	[228] = COMPAT(SLOT_CHANGE), /* i386 fsetxattr */
	[235] = SLOT_CHANGE | COMPAT(SLOT_CHANGE), /* utimes; i386 removexattr */
	[236] = COMPAT(SLOT_CHANGE), /* i386 lremovexattr */
	[237] = COMPAT(SLOT_CHANGE), /* i386 fremovexattr */
	[239] = COMPAT(SLOT_MOVE), /* i386 sendfile64 */
	[257] = SLOT_OPEN, /* openat */
	[260] = SLOT_CHANGE, /* fchownat */
	[261] = SLOT_CHANGE, /* futimesat */
	[263] = SLOT_UNLINK, /* unlinkat */
	[264] = SLOT_RENAME | COMPAT(SLOT_CLOCK), /* renameat */
	[265] = SLOT_LINK, /* linkat */
	[268] = SLOT_CHANGE, /* fchmodat */
	[271] = COMPAT(SLOT_CHANGE), /* i386 utimes */
	[272] = SLOT_NAMESPACES, /* unshare */
	[275] = SLOT_MOVE, /* splice */
	[280] = SLOT_CHANGE, /* utimensat */
	[285] = SLOT_CHANGE, /* fallocate */
	[288] = SLOT_ACCEPT, /* accept4 */
	[292] = SLOT_DUP, /* dup3 */
	[295] = SLOT_READ | COMPAT(SLOT_OPEN), /* preadv; i386 openat */
	[296] = SLOT_WRITE, /* pwritev */
	[298] = COMPAT(SLOT_CHANGE), /* i386 fchownat */
	[299] = COMPAT(SLOT_CHANGE), /* i386 futimesat */
	[301] = COMPAT(SLOT_UNLINK), /* i386 unlinkat */
	[302] = COMPAT(SLOT_RENAME), /* i386 renameat */
	[303] = COMPAT(SLOT_LINK), /* i386 linkat */
	[304] = SLOT_OPEN, /* open_by_handle_at */
	[305] = SLOT_CLOCK, /* clock_adjtime */
	[306] = COMPAT(SLOT_CHANGE), /* i386 fchmodat */
	[308] = SLOT_NAMESPACES, /* setns */
	[310] = SLOT_MEMORY | COMPAT(SLOT_NAMESPACES), /* process_vm_readv */
	[311] = SLOT_MEMORY, /* process_vm_writev */
	[313] = COMPAT(SLOT_MOVE), /* i386 splice */
	[316] = SLOT_RENAME, /* renameat2 */
	[319] = SLOT_MEMFD, /* memfd_create */
	[320] = COMPAT(SLOT_CHANGE), /* i386 utimensat */
	[321] = SLOT_BPF,
	[324] = COMPAT(SLOT_CHANGE), /* i386 fallocate */
	[326] = SLOT_MOVE, /* copy_file_range */
	[327] = SLOT_READ, /* preadv2 */
	[328] = SLOT_WRITE, /* pwritev2 */
	[329] = SLOT_MPROTECT, /* pkey_mprotect */
	[330] = COMPAT(SLOT_DUP), /* i386 dup3 */
	[333] = COMPAT(SLOT_READ), /* i386 preadv */
	[334] = COMPAT(SLOT_WRITE), /* i386 pwritev */
	[342] = COMPAT(SLOT_OPEN), /* i386 open_by_handle_at */
	[343] = COMPAT(SLOT_CLOCK),
	[346] = COMPAT(SLOT_NAMESPACES),
	[347] = COMPAT(SLOT_MEMORY),
	[348] = COMPAT(SLOT_MEMORY),
	[353] = COMPAT(SLOT_RENAME), /* i386 renameat2 */
	[356] = COMPAT(SLOT_MEMFD),
	[357] = COMPAT(SLOT_BPF),
	[359] = COMPAT(SLOT_SOCKET), /* i386 socket */
	[362] = COMPAT(SLOT_CONNECT), /* i386 connect */
	[364] = COMPAT(SLOT_ACCEPT), /* i386 accept4; socketcall's own accept stays unseen */
	[372] = COMPAT(SLOT_RECEIVE), /* i386 recvmsg */
	[377] = COMPAT(SLOT_MOVE), /* i386 copy_file_range */
	[378] = COMPAT(SLOT_READ), /* i386 preadv2 */
	[379] = COMPAT(SLOT_WRITE), /* i386 pwritev2 */
	[380] = COMPAT(SLOT_MPROTECT),
	[404] = COMPAT(SLOT_CLOCK),
	[405] = COMPAT(SLOT_CLOCK),
	[412] = COMPAT(SLOT_CHANGE), /* i386 utimensat_time64 */
	[428] = SLOT_MOUNTS | COMPAT(SLOT_MOUNTS), /* open_tree */
	[429] = SLOT_MOUNTS | COMPAT(SLOT_MOUNTS), /* move_mount */
	[437] = SLOT_OPEN | COMPAT(SLOT_OPEN), /* openat2 */
	[438] = SLOT_DESCRIPTOR | COMPAT(SLOT_DESCRIPTOR), /* pidfd_getfd */
	[442] = SLOT_MOUNTS | COMPAT(SLOT_MOUNTS), /* mount_setattr */
	[452] = SLOT_CHANGE | COMPAT(SLOT_CHANGE), /* fchmodat2 */
	[463] = SLOT_CHANGE | COMPAT(SLOT_CHANGE), /* setxattrat */
	[466] = SLOT_CHANGE | COMPAT(SLOT_CHANGE), /* removexattrat */
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

static __always_inline u64 syscall__second_argument(struct task_struct *task, struct pt_regs *regs)
{
	return syscall__is_compat(task) ? (u32)regs->cx : regs->si;
}

static __always_inline u64 syscall__third_argument(struct task_struct *task, struct pt_regs *regs)
{
	return syscall__is_compat(task) ? (u32)regs->dx : regs->dx;
}

static __always_inline u64 syscall__fourth_argument(struct task_struct *task, struct pt_regs *regs)
{
	return syscall__is_compat(task) ? (u32)regs->si : regs->r10;
}

static __always_inline u64 syscall__fifth_argument(struct task_struct *task, struct pt_regs *regs)
{
	return syscall__is_compat(task) ? (u32)regs->di : regs->r8;
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

#define MAP_ANONYMOUS_BIT 0x20

/* How a call of SLOT_OPEN opened. */
static __always_inline u32 syscall__open_methods(struct task_struct *task, struct pt_regs *regs)
{
	bool compat = syscall__is_compat(task);
	u32 handle = regs->orig_ax == (compat ? 342 : 304) ? EVENT_METHOD_HANDLE : 0;

	return handle | (compat ? EVENT_METHOD_COMPAT : 0);
}

static __always_inline u32 syscall__move_method(struct task_struct *task, struct pt_regs *regs)
{
	switch (regs->orig_ax) {
	case 275: /* splice */
		return EVENT_METHOD_SPLICE;
	case 313:
		return EVENT_METHOD_SPLICE;
	case 326: /* copy_file_range */
	case 377:
		return EVENT_METHOD_COPY;
	default:
		return EVENT_METHOD_SENDFILE;
	}
}

/* What a call of SLOT_CHANGE changes: enum event_file_change, of the x86-64 call and, four bits up, of the i386 one. */
static const volatile u8 syscall_changes[SYSCALLS] = {
	[15] = EVENT_CHANGE_MODE << 4,
	[16] = EVENT_CHANGE_OWNER << 4,
	[30] = EVENT_CHANGE_TIMES << 4,
	[76] = EVENT_CHANGE_SIZE,
	[77] = EVENT_CHANGE_SIZE,
	[90] = EVENT_CHANGE_MODE,
	[91] = EVENT_CHANGE_MODE,
	[92] = EVENT_CHANGE_OWNER | EVENT_CHANGE_SIZE << 4,
	[93] = EVENT_CHANGE_OWNER | EVENT_CHANGE_SIZE << 4,
	[94] = EVENT_CHANGE_OWNER | EVENT_CHANGE_MODE << 4,
	[95] = EVENT_CHANGE_OWNER << 4,
	[132] = EVENT_CHANGE_TIMES,
	[182] = EVENT_CHANGE_OWNER << 4,
	[188] = EVENT_CHANGE_XATTR,
	[189] = EVENT_CHANGE_XATTR,
	[190] = EVENT_CHANGE_XATTR,
	[193] = EVENT_CHANGE_SIZE << 4,
	[194] = EVENT_CHANGE_SIZE << 4,
	[197] = EVENT_CHANGE_XATTR,
	[198] = EVENT_CHANGE_XATTR | EVENT_CHANGE_OWNER << 4,
	[199] = EVENT_CHANGE_XATTR,
	[207] = EVENT_CHANGE_OWNER << 4,
	[212] = EVENT_CHANGE_OWNER << 4,
	[226] = EVENT_CHANGE_XATTR << 4,
	[227] = EVENT_CHANGE_XATTR << 4,
	[228] = EVENT_CHANGE_XATTR << 4,
	[235] = EVENT_CHANGE_TIMES | EVENT_CHANGE_XATTR << 4,
	[236] = EVENT_CHANGE_XATTR << 4,
	[237] = EVENT_CHANGE_XATTR << 4,
	[260] = EVENT_CHANGE_OWNER,
	[261] = EVENT_CHANGE_TIMES,
	[268] = EVENT_CHANGE_MODE,
	[271] = EVENT_CHANGE_TIMES << 4,
	[280] = EVENT_CHANGE_TIMES,
	[285] = EVENT_CHANGE_SPACE,
	[298] = EVENT_CHANGE_OWNER << 4,
	[299] = EVENT_CHANGE_TIMES << 4,
	[306] = EVENT_CHANGE_MODE << 4,
	[320] = EVENT_CHANGE_TIMES << 4,
	[324] = EVENT_CHANGE_SPACE << 4,
	[412] = EVENT_CHANGE_TIMES << 4,
	[452] = EVENT_CHANGE_MODE | EVENT_CHANGE_MODE << 4,
	[463] = EVENT_CHANGE_XATTR | EVENT_CHANGE_XATTR << 4,
	[466] = EVENT_CHANGE_XATTR | EVENT_CHANGE_XATTR << 4,
};

static __always_inline u32 syscall__change(struct task_struct *task, u64 number)
{
	u32 both;

	number &= ~0x40000000ULL;
	if (number >= SYSCALLS)
		return 0;
	both = syscall_changes[number];
	return syscall__is_compat(task) ? both >> 4 : both & 15;
}
