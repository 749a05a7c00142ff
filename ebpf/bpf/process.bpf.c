// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Process life: fork, exec, exit of thread groups.
 *
 * Hooks: the scheduler's tracepoints with BTF arguments (tp_btf/sched_process_*). Rejected: syscall exits of clone and execve (they see no
 * fork of the kernel's own helpers, and execve's arguments are the user's, before the kernel resolved the file); kprobes and fentry
 * on internal functions (not on every kernel); the proc connector (no arguments, and user space is too late for short lives).
 *
 * Kernels: 5.15 and later with BTF. exit moved in 6.16 to before the memory is released; nothing here depends on it.
 *
 * Cannot see: threads (by choice); a process that never runs exec shows as fork with its parent's image; arguments that a
 * process rewrites after exec; an environment beyond ENVIRONMENT_STRINGS strings (counted).
 *
 * What an unprivileged process can do: choose arguments, environment, names and directories of any length (cut and flagged), fork and
 * exec faster than the agent reads (dropped and counted). It cannot choose ids, times, the executable's path or the parent.
 */
#include "process.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

SEC("tp_btf/sched_process_fork")
int BPF_PROG(sched_process_fork, struct task_struct *parent, struct task_struct *child)
{
	return process__fork(parent, child);
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(sched_process_exec, struct task_struct *task, pid_t old_pid, struct linux_binprm *binprm)
{
	return process__exec(task, binprm);
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(sched_process_exit, struct task_struct *task)
{
	return process__exit(task);
}
