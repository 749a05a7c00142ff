// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * What was there before the sensor, and what the loader's own descriptors are to the kernel. Each runs when the loader reads it.
 *
 * Hooks: BPF iterators. Rejected: /proc (slower by 10 to 50 times, racy, and shows no inode pointers); sock_diag (one network namespace at a time,
 * no owner). Arguments and environment of other tasks are not readable from here (user memory of another address space); the loader completes
 * them from /proc and checks the process's start.
 *
 * Kernels: 5.15 and later. Cannot see: sockets without a descriptor in other network namespaces than the loader's.
 * An unprivileged process can hold many descriptors, which makes the walk longer: it runs at start and after losses only.
 */
#include "iterators.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

SEC("iter/task")
int iterate_processes(struct bpf_iter__task *ctx)
{
	return iterate__process(ctx->meta->seq, ctx->task);
}

SEC("iter/task_file")
int iterate_own_files(struct bpf_iter__task_file *ctx)
{
	return iterate__own_file(ctx->meta->seq, ctx->task, ctx->fd, ctx->file);
}

SEC("iter/task_file")
int iterate_held_sockets(struct bpf_iter__task_file *ctx)
{
	return iterate__held_socket(ctx->meta->seq, ctx->meta->session_id, ctx->task, ctx->file);
}

SEC("iter/task_file")
int iterate_holders(struct bpf_iter__task_file *ctx)
{
	return iterate__holder(ctx->task, ctx->file);
}

SEC("iter/bpf_map_elem")
int tell_flows(struct bpf_iter__bpf_map_elem *ctx)
{
	struct traffic *traffic = traffic__state();
	struct flow *flow = ctx->value;
	u64 *key = ctx->key;

	return key && flow && traffic ? flow__tell(traffic, *key, flow) : 0;
}

SEC("iter/bpf_map_elem")
int tell_datagrams(struct bpf_iter__bpf_map_elem *ctx)
{
	struct traffic *traffic = traffic__state();
	struct datagram_key *key = ctx->key;
	struct datagram *flow = ctx->value;

	return key && flow && traffic ? datagram__tell(traffic, key, flow) : 0;
}

SEC("iter/tcp")
int iterate_orphan_sockets(struct bpf_iter__tcp *ctx)
{
	return iterate__orphan_socket(ctx->meta->seq, ctx->meta->session_id, ctx->sk_common);
}
