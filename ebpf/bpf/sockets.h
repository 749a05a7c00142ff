/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Datagram sockets and their flows: what is known of them, shared by the probes and the iterators. */
#pragma once
#include "flow.h"

enum { DNS_PORTS = 8 };

/* Written by the loader. */
struct network_config {
	u16 dns_ports[DNS_PORTS]; /* 0: none */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct network_config);
} picket_network SEC(".maps");

struct socket_owner {
	struct event_task owner; /* who sent last, or else who made it */
	u64 excluded;
};

/* Cookie → owner, for as long as the socket has a descriptor. LRU: a flood of sockets costs the oldest their owner, counted with their next flow. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, u64);
	__type(value, struct socket_owner);
} picket_sockets SEC(".maps");

struct datagram_key {
	u64 cookie; /* of the socket; of the process's start where peers are merged */
	u8 remote[16];
	u16 remote_port;
	u16 reserved;
	u32 reserved_2;
};

struct datagram {
	u64 first_boot_ns;
	u64 last_ns; /* by the coarse clock, which is read for every packet */
	u64 sent;
	u64 received;
	u64 told_boot_ns;
	u64 told_sent;
	u64 told_received;
	u32 packets;
	u32 untold; /* packets that no DNS record told */
	u8 local[16];
	u16 local_port;
	u8 family;
	u8 inbound;
	u8 app;
	u8 merged;
	u8 opened; /* a record told that it began */
	u8 reserved;
	struct event_task owner;
};

/* Not LRU: a full map refuses the newest flow and counts it, instead of forgetting one that grew for hours. Rounds make room. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct datagram_key);
	__type(value, struct datagram);
} picket_datagrams SEC(".maps");

/* Without a packet for so long a flow is over; its next packet begins another. */
#define DATAGRAM_IDLE_NS 60000000000ULL

static __always_inline struct network_config *network__config(void)
{
	u32 zero = 0;

	return bpf_map_lookup_elem(&picket_network, &zero);
}

/* own__is_current for programs that have no helper for the current id. */
static __always_inline bool task__is_own(struct task_struct *task)
{
	u32 tgid = task->tgid;

	return bpf_map_lookup_elem(&picket_own, &tgid) != NULL;
}

static __always_inline void socket__created(u64 cookie, struct task_struct *task)
{
	struct socket_owner socket = {};

	task__identify(&socket.owner, task);
	socket.excluded = task__is_own(task);
	if (bpf_map_update_elem(&picket_sockets, &cookie, &socket, BPF_ANY))
		counter__add(COUNTER_MAP_FULL + CLASS_NETWORK);
}

/* A socket that was inherited or handed over belongs to who uses it. */
static __always_inline void socket__sent_by(struct socket_owner *socket, struct task_struct *task)
{
	if (socket->owner.pid == (u32)task->tgid || (task->flags & PF_KTHREAD))
		return;
	task__identify(&socket->owner, task);
	socket->excluded = task__is_own(task);
}

static __always_inline void datagram__emit(struct datagram_key *key, struct datagram *flow, u8 op)
{
	struct event_flow event = {};

	header__fill(&event.header, EVENT_FLOW);
	event.header.task = flow->owner;
	event.op = op;
	event.protocol = IPPROTO_UDP;
	event.app = flow->app;
	event.merged = flow->merged;
	event.inbound = flow->inbound;
	event.family = flow->family;
	event.cookie = key->cookie;
	event.established_boot_ns = flow->first_boot_ns;
	event.bytes_sent = flow->sent;
	event.bytes_received = flow->received;
	__builtin_memcpy(event.local, flow->local, 16);
	__builtin_memcpy(event.remote, key->remote, 16);
	event.local_port = flow->local_port;
	event.remote_port = key->remote_port;
	flow->told_boot_ns = event.header.time_boot_ns;
	flow->told_sent = event.bytes_sent;
	flow->told_received = event.bytes_received;
	ring__output(&event, sizeof(event), CLASS_NETWORK);
}

/* One entry of picket_datagrams, in a round: over, still growing, or neither. */
static __always_inline int datagram__tell(struct traffic *traffic, struct datagram_key *key, struct datagram *flow)
{
	struct datagram_key at = *key;
	u64 moved = flow->sent + flow->received - flow->told_sent - flow->told_received;
	bool over = bpf_ktime_get_ns() - flow->last_ns > DATAGRAM_IDLE_NS;

	if (!over && !flow->merged)
		over = !bpf_map_lookup_elem(&picket_sockets, &at.cookie) && flow->owner.pid;
	if (over) {
		if (traffic->counting)
			return 0;
		/* An exchange that DNS records told whole needs no second telling. */
		if (flow->untold)
			datagram__emit(&at, flow, EVENT_FLOW_CLOSE);
		bpf_map_delete_elem(&picket_datagrams, &at);
		return 0;
	}
	if (!flow->untold || !traffic__due(traffic, at.cookie, moved, flow->told_boot_ns, true))
		return 0;
	datagram__emit(&at, flow, EVENT_FLOW_TRAFFIC);
	return 0;
}
