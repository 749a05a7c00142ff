/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Bodies of the network probes; see network.bpf.c. */
#pragma once
#include "flow.h"

static __always_inline void flow__emit(struct sock *sk, struct flow *flow, u8 op)
{
	struct event_flow event = {};

	if (flow && flow->excluded)
		return;
	if (!flow || !flow->owner.pid)
		counter__add(COUNTER_E_OWNER);
	flow__fill(&event, sk, flow, op);
	ring__output(&event, sizeof(event), CLASS_NETWORK);
}

static __always_inline void flow__own(struct flow *flow, struct task_struct *task)
{
	task__identify(&flow->owner, task);
	flow->excluded = own__is_current();
}

/* connect(2): in the caller's context, before the SYN leaves. */
static __always_inline void flow__connecting(u64 key, u64 cookie)
{
	struct flow flow = {};

	flow.cookie = cookie;
	flow__own(&flow, bpf_get_current_task_btf());
	if (bpf_map_update_elem(&picket_flows, &key, &flow, BPF_ANY))
		counter__add(COUNTER_MAP_FULL + CLASS_NETWORK);
}

/* listen(2), in the caller's context. */
static __always_inline void flow__listening(struct sock *sk)
{
	struct flow flow = {};

	flow__own(&flow, bpf_get_current_task_btf());
	flow__emit(sk, &flow, EVENT_FLOW_LISTEN);
}

static __always_inline void flow__established(struct sock *sk, u64 key, u64 cookie, int old)
{
	struct flow *known = bpf_map_lookup_elem(&picket_flows, &key);
	struct flow fresh = {};

	if (old == TCP_SYN_SENT) {
		if (known)
			known->told_boot_ns = known->established_boot_ns = bpf_ktime_get_boot_ns();
		flow__emit(sk, known, EVENT_FLOW_CONNECT);
		return;
	}
	/* Accepted by the kernel, for whoever calls accept(2): nobody's yet. */
	fresh.inbound = 1;
	fresh.cookie = cookie;
	fresh.told_boot_ns = fresh.established_boot_ns = bpf_ktime_get_boot_ns();
	if (bpf_map_update_elem(&picket_flows, &key, &fresh, BPF_ANY))
		counter__add(COUNTER_MAP_FULL + CLASS_NETWORK);
}

static __always_inline void flow__closed(struct sock *sk, u64 key, int old)
{
	struct flow *known = bpf_map_lookup_elem(&picket_flows, &key);

	if (old == TCP_SYN_SENT)
		flow__emit(sk, known, EVENT_FLOW_FAIL);
	else if (old != TCP_LISTEN && old != TCP_SYN_RECV && old != TCP_CLOSE)
		flow__emit(sk, known, EVENT_FLOW_CLOSE);
	bpf_map_delete_elem(&picket_flows, &key);
}

static __always_inline int network__state(struct sock *sk, int old, int new)
{
	u64 key = (u64)sk;

	if (sk->sk_protocol != IPPROTO_TCP)
		return 0;
	switch (new) {
	case TCP_SYN_SENT:
		/* The helper gives the socket its cookie, if it has none yet. */
		flow__connecting(key, bpf_get_socket_cookie(sk));
		break;
	case TCP_ESTABLISHED:
		flow__established(sk, key, bpf_get_socket_cookie(sk), old);
		break;
	case TCP_LISTEN:
		bpf_get_socket_cookie(sk);
		flow__listening(sk);
		break;
	case TCP_CLOSE:
		flow__closed(sk, key, old);
		break;
	}
	return 0;
}

/* The socket behind a descriptor that accept(2) has just returned. */
static __always_inline struct sock *fd__sock(struct task_struct *task, u64 fd)
{
	struct fdtable *table = task->files->fdt;
	struct file **slots = table->fd;
	struct file *file = NULL;
	struct socket *socket;

	if (fd >= table->max_fds)
		return NULL;
	bpf_probe_read_kernel(&file, sizeof(file), slots + fd);
	if (!file || (BPF_CORE_READ(file, f_inode, i_mode) & S_IFMT) != S_IFSOCK)
		return NULL;
	socket = BPF_CORE_READ(file, private_data);
	return BPF_CORE_READ(socket, sk);
}

static __always_inline int network__accepted(struct sock *sk)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct flow flow = {}, *known;
	u64 key = (u64)sk;
	u16 family;

	if (!sk || BPF_CORE_READ(sk, sk_protocol) != IPPROTO_TCP)
		return 0;
	family = BPF_CORE_READ(sk, __sk_common.skc_family);
	if (family != AF_INET && family != AF_INET6)
		return 0;
	known = bpf_map_lookup_elem(&picket_flows, &key);
	if (known) {
		flow.told_boot_ns = flow.established_boot_ns = known->established_boot_ns;
		flow.cookie = known->cookie;
	}
	flow.inbound = 1;
	flow__own(&flow, task);
	flow__emit(sk, &flow, EVENT_FLOW_ACCEPT);
	/* Closed already: told, without an owner; an entry would never go. */
	if (known && bpf_map_update_elem(&picket_flows, &key, &flow, BPF_ANY))
		counter__add(COUNTER_MAP_FULL + CLASS_NETWORK);
	return 0;
}

static __always_inline int network__accept(long fd)
{
	return network__accepted(fd__sock(bpf_get_current_task_btf(), fd));
}
