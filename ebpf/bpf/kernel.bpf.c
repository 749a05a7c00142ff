// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * What is asked of the kernel as a whole: modules, BPF programs, the clock, and what io_uring is used for.
 *
 * Hooks: tp_btf/module_load and module_free; bpf(2) and the calls that set a clock (fexit/__x64_sys_*, or behind the dispatcher); tp_btf/io_uring_submit_req (io_uring_submit_sqe
 * before 6.4), which runs for every submission by whatever way, the kernel's polling thread included. Rejected: init_module's calls (a module's name
 * stands in its file); a record for each submission (millions a second). An io_uring submission costs one look-up and one addition.
 *
 * Kernels: 5.15 and later with BTF; io_uring sums from 6.0.
 *
 * Cannot see: a module that was loaded before the sensor; BPF programs that the agent itself loads (left out); what a submission was about (see the
 * file and network probes); steps of the clock by a virtual machine's host.
 *
 * What an unprivileged process can do: fill the table of sums with processes that use many operations (counted as map_full, class process).
 */
#include "kernel.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

SEC("tp_btf/module_load")
int BPF_PROG(module_load, struct module *module)
{
	return kernel__module(ACTION_MODULE_LOAD, module);
}

SEC("tp_btf/module_free")
int BPF_PROG(module_free, struct module *module)
{
	return kernel__module(ACTION_MODULE_UNLOAD, module);
}

CALL_FUNCTION(bpf, kernel__bpf)
CALL_FUNCTION(clock_settime, kernel__clock)
CALL_FUNCTION(settimeofday, kernel__clock)
CALL_FUNCTION(clock_adjtime, kernel__clock)
CALL_FUNCTION(adjtimex, kernel__clock)
CALL_DISPATCHED(sys_exit_bpf, kernel__bpf)
CALL_DISPATCHED(sys_exit_clock, kernel__clock)

SEC("tp_btf/io_uring_submit_req")
int BPF_PROG(io_uring_submit, struct io_kiocb *request)
{
	return kernel__submitted(request);
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(sched_process_exit_rings, struct task_struct *task)
{
	return kernel__task_exit(task);
}

SEC("iter/bpf_map_elem")
int sweep_rings(struct bpf_iter__bpf_map_elem *ctx)
{
	struct ring_key *key = ctx->key;
	struct ring_sum *sum = ctx->value;

	if (!key || !sum)
		return 0;
	return kernel__sweep(key, sum);
}
