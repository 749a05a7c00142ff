// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Files: open, close after write, rename, unlink of watched files.
 *
 * Hooks: the exits of the system calls, reached through the dispatcher in syscalls.bpf.c, and the end of tasks. Opens are judged by the
 * file that the call returned, looked up through its descriptor. Rejected: reading the path argument at entry (another thread can change it
 * after we read it); fentry/security_file_open for opens (sees refused opens as well, and no more successful ones than this, save io_uring).
 * For the choice behind close, rename and unlink see writers.h and names.h; for the filter watch.h.
 *
 * Kernels: 5.15 and later with BTF; what is optional attaches on its own.
 *
 * Cannot see: opens through io_uring, by kernel threads and by nfsd; O_PATH opens (they give no content); reads after the open; opens of
 * descriptors that another thread closes before the call returns (counted).
 *
 * What an unprivileged process can do: open more than the agent reads (dropped, counted), name files with listed extensions (each open a record:
 * the ring bounds it). It cannot hide an open of a watched file by its name, by links or by mounts; hard links see watch.h.
 */
#include "file.h"
#include "dispatch.h"
#include "names.h"
#include "rings.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

SEC("tp_btf/sys_exit")
int BPF_PROG(sys_exit_open, struct pt_regs *regs, long ret)
{
	struct task_struct *task = bpf_get_current_task_btf();

	return ret < 0 || quick__descriptor_is_unwatched(task, ret) ? 0 : file__open(task, ret, syscall__open_methods(task, regs));
}

SEC("tp_btf/sys_exit")
int BPF_PROG(sys_exit_close, struct pt_regs *regs, long ret)
{
	struct task_struct *task = bpf_get_current_task_btf();

	return descriptor__closed(task, syscall__first_argument(task, regs));
}

SEC("tp_btf/sys_exit")
int BPF_PROG(sys_exit_dup, struct pt_regs *regs, long ret)
{
	struct task_struct *task = bpf_get_current_task_btf();

	return ret < 0 || !syscall__duplicates(task, regs) ? 0 : descriptor__duplicated(task, ret);
}

SEC("tp_btf/sys_exit")
int BPF_PROG(sys_exit_receive, struct pt_regs *regs, long ret)
{
	return ret < 0 ? 0 : holder__received(bpf_get_current_task_btf(), regs);
}

SEC("tp_btf/sched_process_fork")
int BPF_PROG(sched_process_fork_files, struct task_struct *parent, struct task_struct *child)
{
	return holder__forked(parent->tgid, child->tgid);
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(sched_process_exit_files, struct task_struct *task)
{
	return holders__may_include(task->tgid) ? file__task_exit(task) : 0;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(sys_exit_read, struct pt_regs *regs, long ret)
{
	struct task_struct *task = bpf_get_current_task_btf();

	return ret <= 0 ? 0 : usage__moved(task, syscall__first_argument(task, regs), ret, false, 0);
}

SEC("tp_btf/sys_exit")
int BPF_PROG(sys_exit_write, struct pt_regs *regs, long ret)
{
	struct task_struct *task = bpf_get_current_task_btf();

	return ret <= 0 ? 0 : usage__moved(task, syscall__first_argument(task, regs), ret, true, 0);
}

/* From one descriptor into another: either may be of a watched file. */
SEC("tp_btf/sys_exit")
int BPF_PROG(sys_exit_move, struct pt_regs *regs, long ret)
{
	struct task_struct *task = bpf_get_current_task_btf();
	u64 first = syscall__first_argument(task, regs), second = syscall__second_argument(task, regs);
	u32 method = syscall__move_method(task, regs);

	if (ret <= 0)
		return 0;
	if (method == EVENT_METHOD_SENDFILE) { /* into the first, from the second */
		usage__moved(task, second, ret, false, method);
		return usage__moved(task, first, ret, true, method);
	}
	usage__moved(task, first, ret, false, method);
	return usage__moved(task, syscall__third_argument(task, regs), ret, true, method);
}

SEC("tp_btf/sys_exit")
int BPF_PROG(sys_exit_held_mmap, struct pt_regs *regs, long ret)
{
	struct task_struct *task = bpf_get_current_task_btf();
	u64 flags = syscall__fourth_argument(task, regs);

	if ((u64)ret < -4095UL && !(flags & MAP_ANONYMOUS_BIT))
		usage__mapped(task, (u32)syscall__fifth_argument(task, regs), syscall__third_argument(task, regs), flags);
	bpf_tail_call_static(ctx, &picket_on_exit, SLOT_MMAP); /* a mapping is of interest for other reasons as well */
	return 0;
}

SEC("tp_btf/mm_filemap_map_pages")
int BPF_PROG(mm_filemap_map_pages, struct address_space *mapping, unsigned long first, unsigned long last)
{
	return last < first ? 0 : usage__faulted(mapping, last - first + 1);
}

SEC("tp_btf/mm_filemap_fault")
int BPF_PROG(mm_filemap_fault, struct address_space *mapping, unsigned long index)
{
	return usage__faulted(mapping, 1);
}

SEC("tp_btf/io_uring_complete")
int BPF_PROG(io_uring_complete_open, struct io_ring_ctx *ring, void *request, struct io_uring_cqe *cqe)
{
	return ring__opened(ring, request, cqe->res);
}

SEC("tp_btf/io_uring_complete")
int BPF_PROG(io_uring_complete_bytes, struct io_ring_ctx *ring, void *request, struct io_uring_cqe *cqe)
{
	return ring__moved(request, cqe->res);
}

/* Before 6.13. The last argument is used so that a kernel with fewer, which shows no request, refuses it. */
SEC("tp_btf/io_uring_complete")
int BPF_PROG(io_uring_parts_open, void *ring, void *request, u64 user_data, int result, unsigned int flags, u64 extra1, u64 extra2)
{
	asm volatile("" : : "r"(extra2));
	return ring__opened(ring, request, result);
}

SEC("tp_btf/io_uring_complete")
int BPF_PROG(io_uring_parts_bytes, void *ring, void *request, u64 user_data, int result, unsigned int flags, u64 extra1, u64 extra2)
{
	asm volatile("" : : "r"(extra2));
	return ring__moved(request, result);
}

SEC("iter/bpf_map_elem")
int sweep_uses(struct bpf_iter__bpf_map_elem *ctx)
{
	struct use_key *key = ctx->key;

	return key ? use__sweep(key) : 0;
}

SEC("iter/bpf_map_elem")
int sweep_writers(struct bpf_iter__bpf_map_elem *ctx)
{
	u64 *key = ctx->key;

	return key ? writer__sweep(*key) : 0;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(sys_exit_naming, struct pt_regs *regs, long ret)
{
	return naming__call_ended(regs, ret);
}

SEC("tp_btf/sys_exit")
int BPF_PROG(sys_exit_change, struct pt_regs *regs, long ret)
{
	return naming__current() ? naming__end(ret, FILE_SLOT_RENAME) : 0;
}

SEC("tp_btf/inode_set_ctime_to_ts")
int BPF_PROG(inode_set_ctime_to_ts, struct inode *inode)
{
	return naming__changed(inode);
}

SEC("tp_btf/ctime_xchg_skip")
int BPF_PROG(ctime_xchg_skip, struct inode *inode)
{
	return naming__changed(inode);
}

SEC("tp_btf/ctime_ns_xchg")
int BPF_PROG(ctime_ns_xchg, struct inode *inode)
{
	return naming__changed(inode);
}
