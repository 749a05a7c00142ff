/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What is known of a flow, and the flow record; shared by the probes and the iterators over sockets. */
#pragma once
#include "task.h"

enum { AF_INET = 2, AF_INET6 = 10, IPPROTO_TCP = 6, IPPROTO_UDP = 17, SOCK_DONE_BIT = 1 };
enum tcp_state { TCP_ESTABLISHED = 1, TCP_SYN_SENT = 2, TCP_SYN_RECV = 3, TCP_CLOSE = 7, TCP_CLOSE_WAIT = 8, TCP_LISTEN = 10 };

/* How bytes are told while a flow is up. Written by the loader before a round, and by a round for the loader. */
struct traffic {
	u64 bytes_min;  /* less than that since the last telling waits */
	u64 patience_ns; /* but not longer than this */
	u64 walk;       /* of the descriptor tables, see iterate__holder */
	u32 pass;
	u32 part;       /* of a round that would tell too many flows: those with cookie % parts == part */
	u32 parts;
	u32 counting;   /* tell nothing, count only */
	u32 due;        /* flows with something to tell */
	u32 unheld;     /* of them, those whose holder was never looked for */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct traffic);
} picket_traffic SEC(".maps");

struct flow {
	u64 established_boot_ns;
	u64 session; /* of the iterator that reported it last */
	u64 cookie;
	u64 told_boot_ns;
	u64 told_sent;
	u64 told_received;
	u64 walk; /* of the last walk that saw a holder */
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

static __always_inline struct traffic *traffic__state(void)
{
	u32 zero = 0;

	return bpf_map_lookup_elem(&picket_traffic, &zero);
}

/* Whether a flow that moved so many bytes since it was told last is told now. Concurrent rounds do not exist: one loader reads. */
static __always_inline bool traffic__due(struct traffic *traffic, u64 cookie, u64 moved, u64 told_boot_ns, bool held)
{
	if (!moved || (moved < traffic->bytes_min && bpf_ktime_get_boot_ns() - told_boot_ns < traffic->patience_ns))
		return false;
	traffic->due++;
	if (!held)
		traffic->unheld++;
	return !traffic->counting && (traffic->parts < 2 || cookie % traffic->parts == traffic->part);
}

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
	event->protocol = IPPROTO_TCP;
	event->cookie = BPF_CORE_READ(sk, __sk_common.skc_cookie.counter);
	event->error = BPF_CORE_READ(sk, sk_err);
	flow__addresses(event, sk);
	if (op != EVENT_FLOW_LISTEN)
		flow__bytes(event, sk);
	if (flow) {
		event->header.task = flow->owner;
		event->established_boot_ns = flow->established_boot_ns;
		event->inbound = flow->inbound;
	}
}

/* One entry of picket_flows, in a round. The socket may be gone and its memory another's: then the cookie differs. */
static __always_inline int flow__tell(struct traffic *traffic, u64 key, struct flow *flow)
{
	struct sock *sk = (struct sock *)key;
	struct event_flow event = {};
	u8 state = BPF_CORE_READ(sk, __sk_common.skc_state);
	u64 moved;

	if (flow->excluded || !flow->cookie || state == TCP_SYN_SENT || state == TCP_SYN_RECV || state == TCP_CLOSE || state == TCP_LISTEN)
		return 0;
	flow__bytes(&event, sk);
	moved = event.bytes_sent + event.bytes_received - flow->told_sent - flow->told_received;
	if ((s64)moved <= 0 || !traffic__due(traffic, flow->cookie, moved, flow->told_boot_ns, flow->walk))
		return 0;
	flow__fill(&event, sk, flow, EVENT_FLOW_TRAFFIC);
	if (event.cookie != flow->cookie)
		return 0;
	if (!flow->owner.pid)
		counter__add(COUNTER_E_OWNER);
	flow->told_boot_ns = event.header.time_boot_ns;
	flow->told_sent = event.bytes_sent;
	flow->told_received = event.bytes_received;
	ring__output(&event, sizeof(event), CLASS_NETWORK);
	return 0;
}
