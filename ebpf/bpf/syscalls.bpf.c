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
#define COMPAT(slot) ((slot) << 4) /* of the i386 call of this number; the other half is the x86-64 one's */

static const volatile u8 slots[NUMBERS] = {
	[2] = SLOT_OPEN,
	[3] = SLOT_CLOSE,
	[5] = COMPAT(SLOT_OPEN),
	[6] = COMPAT(SLOT_CLOSE),
	[8] = COMPAT(SLOT_OPEN), /* creat */
	[9] = COMPAT(SLOT_LINK),
	[10] = COMPAT(SLOT_UNLINK),
	[33] = SLOT_DUP2,
	[38] = COMPAT(SLOT_RENAME),
	[43] = SLOT_ACCEPT,
	[63] = COMPAT(SLOT_DUP2),
	[82] = SLOT_RENAME,
	[85] = SLOT_OPEN, /* creat */
	[86] = SLOT_LINK,
	[87] = SLOT_UNLINK,
	[257] = SLOT_OPEN, /* openat */
	[263] = SLOT_UNLINK, /* unlinkat */
	[264] = SLOT_RENAME, /* renameat */
	[265] = SLOT_LINK, /* linkat */
	[288] = SLOT_ACCEPT, /* accept4 */
	[292] = SLOT_DUP2, /* dup3 */
	[295] = COMPAT(SLOT_OPEN), /* openat */
	[301] = COMPAT(SLOT_UNLINK), /* unlinkat */
	[302] = COMPAT(SLOT_RENAME), /* renameat */
	[303] = COMPAT(SLOT_LINK), /* linkat */
	[304] = SLOT_OPEN, /* open_by_handle_at */
	[316] = SLOT_RENAME, /* renameat2 */
	[330] = COMPAT(SLOT_DUP2), /* dup3 */
	[342] = COMPAT(SLOT_OPEN), /* open_by_handle_at */
	[353] = COMPAT(SLOT_RENAME), /* renameat2 */
	[364] = COMPAT(SLOT_ACCEPT), /* accept4; socketcall's own accept stays unseen */
	[437] = SLOT_OPEN | COMPAT(SLOT_OPEN), /* openat2 */
};

static __always_inline u32 syscall__slot(u64 number)
{
	u32 both;

	number &= ~0x40000000ULL; /* x32 */
	if (number >= NUMBERS)
		return SLOT_NONE;
	both = slots[number];
	if (!both)
		return SLOT_NONE;
	return syscall__is_compat() ? both >> 4 : both & 15;
}

/* With a constant slot the kernel patches a direct jump: no table read, no retpoline. */
#define JUMP(map, slot) case slot: bpf_tail_call_static(ctx, &map, slot); break

SEC("tp_btf/sys_enter")
int BPF_PROG(sys_enter, struct pt_regs *regs, long number)
{
	switch (syscall__slot(number)) {
	JUMP(picket_on_enter, SLOT_CLOSE);
	JUMP(picket_on_enter, SLOT_DUP2);
	JUMP(picket_on_enter, SLOT_RENAME);
	JUMP(picket_on_enter, SLOT_UNLINK);
	JUMP(picket_on_enter, SLOT_LINK);
	}
	return 0;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(sys_exit, struct pt_regs *regs, long ret)
{
	switch (syscall__slot(regs->orig_ax)) {
	JUMP(picket_on_exit, SLOT_OPEN);
	JUMP(picket_on_exit, SLOT_RENAME);
	JUMP(picket_on_exit, SLOT_UNLINK);
	JUMP(picket_on_exit, SLOT_LINK);
	JUMP(picket_on_exit, SLOT_ACCEPT);
	}
	return 0;
}
