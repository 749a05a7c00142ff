// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Sockets beside TCP and UDP: connections to the local sockets of container runtimes, by which a process commands the host; raw, packet and
 * other sockets, whose traffic no probe of flows sees; and what rings do with sockets.
 *
 * Hooks: the exits of connect(2) and socket(2) through the dispatcher, 32-bit callers too; tp_btf/io_uring_complete, in the process whose ring it is. Rejected:
 * cgroup/connect_unix (6.7 and later, and it shows the caller's pointer, not the socket that was reached); lsm/unix_stream_connect (not on every kernel).
 * The name is the peer's: what it was bound with, and what its file is called now. A rename, a link or a bind mount does not hide it.
 *
 * Kernels: 5.15 and later; what rings do since 6.0, by the parts of a result before 6.13.
 *
 * Cannot see: datagrams sent to a local socket without connecting, descriptors of a connected socket that come from another process
 * (that one is told), the 32-bit socketcall, direct descriptors of rings, RDMA verbs.
 *
 * What an unprivileged process can do: bind a socket with a listed name of its own and connect to it (told with its path), as often as it likes: records that
 * do not fit are counted.
 */
#include "endpoint.h"
#include "syscalls.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

SEC("tp_btf/sys_exit")
int BPF_PROG(sys_exit_connect, struct pt_regs *regs, long ret)
{
	struct task_struct *task = bpf_get_current_task_btf();

	if (ret)
		return 0;
	return endpoint__connected(ENDPOINT_CALL, fd__sock(task, syscall__first_argument(task, regs)));
}

SEC("tp_btf/sys_exit")
int BPF_PROG(sys_exit_socket, struct pt_regs *regs, long ret)
{
	struct sock *sk = ret < 0 ? NULL : fd__sock(bpf_get_current_task_btf(), ret);

	return sk ? endpoint__made(ENDPOINT_CALL, sk) : 0;
}

SEC("tp_btf/io_uring_complete")
int BPF_PROG(io_uring_complete, void *ring, struct io_kiocb *request, struct io_uring_cqe *cqe)
{
	return endpoint__ring(request, cqe->res);
}

/* Before 6.13. The last argument is used so that a kernel with fewer, which shows no request, refuses it. */
SEC("tp_btf/io_uring_complete")
int BPF_PROG(io_uring_parts, void *ring, struct io_kiocb *request, u64 user_data, int result, unsigned int flags, u64 extra1, u64 extra2)
{
	asm volatile("" : : "r"(extra2));
	return endpoint__ring(request, result);
}
