// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The dispatcher: one program on the exit of every system call, which jumps to the probe of that call.
 *
 * Hook: the raw tracepoint with BTF arguments. Rejected: one on the entry as well (see syscalls.h); one perf tracepoint a call (tp/syscalls): any
 * of them makes every call take the kernel's traced path, which is over half of what this costs, an open then costs more, it needs tracefs
 * mounted, and does not see 32-bit callers, whose entry (int 0x80) every process may use. A table lookup in read-only data and a tail call
 * add a few ns to each call; calls on descriptors are for processes that hold a watched file alone.
 *
 * Kernels: 5.15 and later. Cannot see: io_uring, which is no system call. An unprivileged process can only call.
 */
#include "syscalls.h"
#include "dispatch.h"
#include "holders.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* With a constant slot the kernel patches a direct jump: no table read, no retpoline. */
#define JUMP(map, slot) case slot: bpf_tail_call_static(ctx, &map, slot); break

SEC("tp_btf/sys_exit")
int BPF_PROG(sys_exit, struct pt_regs *regs, long ret)
{
	struct task_struct *task = bpf_get_current_task_btf();
	u32 slot = syscall__slot(task, regs->orig_ax);

	if (slot >= SLOT_HOLDERS && !holders__may_include(task->tgid))
		return 0;
	if (slot == SLOT_MMAP && holders__may_include(task->tgid))
		slot = SLOT_HELD_MMAP;
	switch (slot) {
	JUMP(picket_on_exit, SLOT_OPEN);
	JUMP(picket_on_exit, SLOT_RENAME);
	JUMP(picket_on_exit, SLOT_UNLINK);
	JUMP(picket_on_exit, SLOT_LINK);
	JUMP(picket_on_exit, SLOT_ACCEPT);
	JUMP(picket_on_exit, SLOT_PTRACE);
	JUMP(picket_on_exit, SLOT_MEMORY);
	JUMP(picket_on_exit, SLOT_DESCRIPTOR);
	JUMP(picket_on_exit, SLOT_IDS);
	JUMP(picket_on_exit, SLOT_NAMESPACES);
	JUMP(picket_on_exit, SLOT_MOUNTS);
	JUMP(picket_on_exit, SLOT_MEMFD);
	case SLOT_HELD_MMAP: /* goes on to SLOT_MMAP by itself */
		bpf_tail_call_static(ctx, &picket_on_exit, SLOT_HELD_MMAP);
	JUMP(picket_on_exit, SLOT_MMAP);
	JUMP(picket_on_exit, SLOT_MPROTECT);
	JUMP(picket_on_exit, SLOT_BPF);
	JUMP(picket_on_exit, SLOT_CLOCK);
	JUMP(picket_on_exit, SLOT_CHANGE);
	JUMP(picket_on_exit, SLOT_RECEIVE);
	JUMP(picket_on_exit, SLOT_CONNECT);
	JUMP(picket_on_exit, SLOT_SOCKET);
	JUMP(picket_on_exit, SLOT_READ);
	JUMP(picket_on_exit, SLOT_WRITE);
	JUMP(picket_on_exit, SLOT_CLOSE);
	JUMP(picket_on_exit, SLOT_DUP);
	JUMP(picket_on_exit, SLOT_MOVE);
	}
	return 0;
}
