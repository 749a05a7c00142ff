// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The dispatcher: one program on the entry and one on the exit of every system call, which jumps to the probe of that call.
 *
 * Hook: the raw tracepoints with BTF arguments. Rejected: one perf tracepoint a call (tp/syscalls): the same cost (any of them makes every call
 * take the kernel's traced path, about 15 ns), needs tracefs mounted, and does not see 32-bit callers at all. A table lookup in read-only data
 * and a tail call add a few ns to each call.
 *
 * Kernels: 5.15 and later. Cannot see: io_uring, which is no system call. An unprivileged process can only call.
 */
#include "syscalls.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, SLOTS);
	__type(key, u32);
	__type(value, u32);
} picket_on_enter SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, SLOTS);
	__type(key, u32);
	__type(value, u32);
} picket_on_exit SEC(".maps");

#define NUMBERS 512

/* x86-64 */
static const volatile u8 slots[NUMBERS] = {
	[2] = SLOT_OPEN, [85] = SLOT_OPEN, [257] = SLOT_OPEN, [304] = SLOT_OPEN, [437] = SLOT_OPEN, /* open creat openat open_by_handle_at openat2 */
	[3] = SLOT_CLOSE,
	[33] = SLOT_DUP2, [292] = SLOT_DUP2, /* dup2 dup3 */
	[82] = SLOT_RENAME, [264] = SLOT_RENAME, [316] = SLOT_RENAME, /* rename renameat renameat2 */
	[87] = SLOT_UNLINK, [263] = SLOT_UNLINK,                      /* unlink unlinkat */
	[86] = SLOT_LINK, [265] = SLOT_LINK,                          /* link linkat */
	[43] = SLOT_ACCEPT, [288] = SLOT_ACCEPT,                      /* accept accept4 */
};

/* i386 */
static const volatile u8 compat_slots[NUMBERS] = {
	[5] = SLOT_OPEN, [8] = SLOT_OPEN, [295] = SLOT_OPEN, [342] = SLOT_OPEN, [437] = SLOT_OPEN,
	[6] = SLOT_CLOSE,
	[63] = SLOT_DUP2, [330] = SLOT_DUP2,
	[38] = SLOT_RENAME, [302] = SLOT_RENAME, [353] = SLOT_RENAME,
	[10] = SLOT_UNLINK, [301] = SLOT_UNLINK,
	[9] = SLOT_LINK, [303] = SLOT_LINK,
	[364] = SLOT_ACCEPT, /* socketcall's own accept stays unseen */
};

static __always_inline u32 syscall__slot(u64 number)
{
	number &= ~0x40000000ULL; /* x32 */
	if (number >= NUMBERS)
		return SLOT_NONE;
	return syscall__is_compat() ? compat_slots[number] : slots[number];
}

SEC("tp_btf/sys_enter")
int BPF_PROG(sys_enter, struct pt_regs *regs, long number)
{
	u32 slot = syscall__slot(number);

	if (slot != SLOT_NONE)
		bpf_tail_call(ctx, &picket_on_enter, slot);
	return 0;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(sys_exit, struct pt_regs *regs, long ret)
{
	u32 slot = syscall__slot(regs->orig_ax);

	if (slot != SLOT_NONE)
		bpf_tail_call(ctx, &picket_on_exit, slot);
	return 0;
}
