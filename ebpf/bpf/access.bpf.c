// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * One process reaches into another: ptrace, process_vm_readv and process_vm_writev, pidfd_getfd; and signals to the agent.
 *
 * Hooks: the functions of these calls alone (fexit/__x64_sys_*), or their exits behind the dispatcher (syscalls.bpf.c); the arguments are in the saved
 * registers, and the target is found in the kernel's table of processes, not through /proc. tp_btf/signal_generate for signals: one look-up for each
 * signal of the host. Rejected: lsm/ptrace_access_check (needs lsm=…,bpf, and sees every ps); perf tracepoints of the calls (measured: a second list of
 * callbacks for every call of every process, and blind to 32-bit callers).
 *
 * Kernels: 5.15 and later with BTF; pidfd_getfd since 5.6.
 *
 * Cannot see: 32-bit callers where the functions are hooked; an access whose target has ended before the call returned (counted); /proc/PID/root and fd
 * links, which open the file behind them.
 *
 * What an unprivileged process can do: trace and read its own children: a record a second for each target and kind of request, with counts.
 */
#include "access.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

CALL_FUNCTION(ptrace, access__ptrace)
CALL_FUNCTION(process_vm_readv, access__read)
CALL_FUNCTION(process_vm_writev, access__write)
CALL_FUNCTION(pidfd_getfd, access__descriptor)
CALL_DISPATCHED(sys_exit_ptrace, access__ptrace)
CALL_DISPATCHED(sys_exit_memory, access__memory_call)
CALL_DISPATCHED(sys_exit_descriptor, access__descriptor)

SEC("tp_btf/signal_generate")
int BPF_PROG(signal_generate, int signal, struct kernel_siginfo *info, struct task_struct *task, int group, int result)
{
	return access__signal(signal, info, task, result);
}
