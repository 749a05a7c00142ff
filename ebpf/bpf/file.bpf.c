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
#include "names.h"
#include "quick.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

SEC("tp_btf/sys_exit")
int BPF_PROG(sys_exit_open, struct pt_regs *regs, long ret)
{
	struct task_struct *task = bpf_get_current_task_btf();

	return ret < 0 || quick__descriptor_is_unwatched(task, ret) ? 0 : file__open(task, ret);
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

SEC("iter/bpf_map_elem")
int sweep_writers(struct bpf_iter__bpf_map_elem *ctx)
{
	struct writer *writer = ctx->value;
	u64 *key = ctx->key;

	if (!key || !writer)
		return 0;
	return writer__sweep(*key, writer);
}

SEC("tp_btf/sys_exit")
int BPF_PROG(sys_exit_naming, struct pt_regs *regs, long ret)
{
	return naming__call_ended(regs, ret);
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
