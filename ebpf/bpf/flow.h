/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What is known of a TCP flow, and the flow record; shared by the probes and the iterators over existing sockets. */
#pragma once
#include "task.h"

enum { AF_INET = 2, AF_INET6 = 10, IPPROTO_TCP = 6, SOCK_DONE_BIT = 1 };
enum tcp_state { TCP_ESTABLISHED = 1, TCP_SYN_SENT = 2, TCP_SYN_RECV = 3, TCP_CLOSE = 7, TCP_CLOSE_WAIT = 8, TCP_LISTEN = 10 };

struct flow {
	u64 established_boot_ns;
	u64 session; /* of the iterator that reported it last */
	u32 inbound;
	u32 excluded; /* its owner is the agent */
	struct event_task owner;
};

/* struct sock * → what is known. Entries go when the socket closes, so an address used again starts anew. LRU: a flood of connections costs
 * the oldest flows their owner, counted when they close. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, u64);
	__type(value, struct flow);
} picket_flows SEC(".maps");

static __always_inline void flow__addresses(struct event_flow *event, struct sock *sk)
{
	event->family = BPF_CORE_READ(sk, __sk_common.skc_family);
	/* inet_sport, not skc_num: the kernel clears that one before it tells of the close. */
	event->local_port = __builtin_bswap16(BPF_CORE_READ((struct inet_sock *)sk, inet_sport));
	event->remote_port = __builtin_bswap16(BPF_CORE_READ(sk, __sk_common.skc_dport));
	if (event->family == AF_INET) {
		BPF_CORE_READ_INTO((u32 *)event->local, sk, __sk_common.skc_rcv_saddr);
		BPF_CORE_READ_INTO((u32 *)event->remote, sk, __sk_common.skc_daddr);
	} else {
		BPF_CORE_READ_INTO((struct in6_addr *)event->local, sk, __sk_common.skc_v6_rcv_saddr);
		BPF_CORE_READ_INTO((struct in6_addr *)event->remote, sk, __sk_common.skc_v6_daddr);
	}
}

/* Payload only: the kernel's counters include the SYN and FIN that take a sequence number each. */
static __always_inline void flow__bytes(struct event_flow *event, struct sock *sk)
{
	struct tcp_sock *tcp = (struct tcp_sock *)sk;
	u64 acked = BPF_CORE_READ(tcp, bytes_acked);
	u64 sent = BPF_CORE_READ(tcp, bytes_sent) - BPF_CORE_READ(tcp, bytes_retrans);
	u64 received = BPF_CORE_READ(tcp, bytes_received);

	event->bytes_sent = acked < sent ? acked : sent;
	/* SOCK_DONE: the peer's FIN came. */
	if (received && BPF_CORE_READ(sk, __sk_common.skc_flags) >> SOCK_DONE_BIT & 1)
		received--;
	event->bytes_received = received;
}

static __always_inline void flow__fill(struct event_flow *event, struct sock *sk, struct flow *flow, u8 op)
{
	header__fill(&event->header, EVENT_FLOW);
	event->op = op;
	event->cookie = BPF_CORE_READ(sk, __sk_common.skc_cookie.counter);
	event->error = BPF_CORE_READ(sk, sk_err);
	flow__addresses(event, sk);
	flow__bytes(event, sk);
	if (flow) {
		event->header.task = flow->owner;
		event->established_boot_ns = flow->established_boot_ns;
		event->inbound = flow->inbound;
	}
}
