// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * TCP flows: connected, accepted, failed, closed, with owner and payload bytes both ways.
 *
 * Hooks: tp_btf/inet_sock_set_state for every change of state, whatever call or ring caused it; the exit of accept(2), through the dispatcher, for the
 * owner of an inbound flow. The owner of an outbound flow is taken at SYN_SENT, in the context of the caller, and stays with the
 * flow: a close from a soft interrupt, by a child, or long after its process ended still names it. Rejected: kprobes on tcp_v4_connect and
 * inet_csk_accept (not on every kernel); cgroup hooks (no close, no bytes); polling sock_diag (misses short flows).
 *
 * Kernels: 5.15 and later.
 *
 * Cannot see: the owner of a flow accepted through io_uring or the 32-bit socketcall, or that no process accepted (counted); sockets passed to
 * another process keep their first owner; MPTCP subflows show as TCP; bytes until the close.
 *
 * What an unprivileged process can do: open more flows than the agent reads (dropped, counted) or than picket_flows holds (the oldest lose their
 * owner, counted). It cannot choose addresses, bytes or owner.
 */
#include "network.h"
#include "syscalls.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(inet_sock_set_state, struct sock *sk, int old, int new)
{
	return network__state(sk, old, new);
}

SEC("tp_btf/sys_exit")
int BPF_PROG(sys_exit_accept, struct pt_regs *regs, long ret)
{
	return ret < 0 ? 0 : network__accept(ret);
}
