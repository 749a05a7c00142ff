/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Bodies of the probes of other sockets; see endpoint.bpf.c. */
#pragma once
#include "network.h"
#include "path.h"

enum { AF_UNIX = 1, AF_NETLINK = 16, SOCK_RAW = 3, IPPROTO_ICMP = 1, IPPROTO_ICMPV6 = 58, IPPROTO_UDPLITE = 136, IPPROTO_MPTCP = 262 };
enum { IORING_OP_ACCEPT = 13, IORING_OP_CONNECT = 16, IORING_OP_SOCKET = 45 };

/* Last components of the names of local sockets that are worth a record, zero-padded. Written by the loader only. */
struct socket_name {
	u64 word[SOCKET_NAME / 8];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, struct socket_name);
	__type(value, u32);
} picket_socket_names SEC(".maps");

struct endpoint_scratch {
	struct event_socket event;
	char data[SOCKET_DATA];
	struct path_sink sink;
};

/* One for system calls, one for rings: a completion may run on the way out of a call. */
enum { ENDPOINT_CALL = 0, ENDPOINT_RING = 1 };

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2);
	__type(key, u32);
	__type(value, struct endpoint_scratch);
} picket_endpoint SEC(".maps");

/* For the verifier: the compiler has seen the bound already and would leave the mask out. */
#define BOUNDED(x, mask)                   \
	do {                               \
		asm volatile("" : "+r"(x)); \
		x &= (mask);               \
	} while (0)

static __always_inline bool socket_name__listed(struct socket_name *name)
{
	return name->word[0] && bpf_map_lookup_elem(&picket_socket_names, name) != NULL;
}

/* By the name that it was bound with, from the last slash on. The kernel keeps it, whatever becomes of the file. */
static __always_inline bool local__bound_name_listed(struct endpoint_scratch *scratch, char *path, u32 len)
{
	struct socket_name name = {};
	u32 start, i;

	if (len - 1 > 106)
		return false;
	__builtin_memset(scratch->data, 0, 128 + SOCKET_NAME);
	BOUNDED(len, 127);
	if (bpf_probe_read_kernel(scratch->data, len, path))
		return false;
	MEMORY(scratch->sink.start) = 0;
	for (i = 0; i < 107; i++)
		if (MEMORY(scratch->data[i]) == '/')
			MEMORY(scratch->sink.start) = i + 1;
	start = MEMORY(scratch->sink.start) & 127;
	if (start >= len || len - start >= SOCKET_NAME)
		return false;
	bpf_probe_read_kernel(&name, sizeof(name), &scratch->data[start]);
	return socket_name__listed(&name);
}

/* By the name that its file has now. */
static __always_inline bool local__file_listed(struct dentry *dentry)
{
	struct socket_name name = {};
	u32 len = BPF_CORE_READ(dentry, d_name.len);

	if (!len || len >= SOCKET_NAME)
		return false;
	BOUNDED(len, SOCKET_NAME - 1);
	bpf_probe_read_kernel(&name, len, BPF_CORE_READ(dentry, d_name.name));
	return socket_name__listed(&name);
}

static __always_inline struct endpoint_scratch *endpoint__scratch(u32 slot)
{
	struct endpoint_scratch *scratch = bpf_map_lookup_elem(&picket_endpoint, &slot);

	if (!scratch)
		counter__add(COUNTER_E_SCRATCH);
	return scratch;
}

static __always_inline void endpoint__begin(struct endpoint_scratch *scratch, struct sock *sk, u8 op)
{
	__builtin_memset(&scratch->event, 0, sizeof(scratch->event));
	header__begin(&scratch->event.header, EVENT_SOCKET, bpf_get_current_task_btf());
	scratch->event.op = op;
	scratch->event.family = BPF_CORE_READ(sk, __sk_common.skc_family);
	scratch->event.type = BPF_CORE_READ(sk, sk_type);
	scratch->event.protocol = BPF_CORE_READ(sk, sk_protocol);
	scratch->event.cookie = BPF_CORE_READ(sk, __sk_common.skc_cookie.counter);
	MEMORY(scratch->sink.used) = 0;
	MEMORY(scratch->sink.flags) = 0;
}

static __always_inline void endpoint__finish(struct endpoint_scratch *scratch)
{
	u32 used = MEMORY(scratch->sink.used);

	scratch->event.header.flags |= MEMORY(scratch->sink.flags);
	scratch->event.used = used;
	ring__output(&scratch->event, sizeof(scratch->event) + (used & (SOCKET_DATA - 1)), CLASS_NETWORK);
}

static __always_inline void local__file(struct endpoint_scratch *scratch, struct dentry *dentry, struct vfsmount *mnt)
{
	struct inode *inode = BPF_CORE_READ(dentry, d_inode);

	scratch->event.name = EVENT_SOCKET_PATH;
	scratch->event.inode = BPF_CORE_READ(inode, i_ino);
	scratch->event.device = BPF_CORE_READ(inode, i_sb, s_dev);
	scratch->event.i_mode = BPF_CORE_READ(inode, i_mode);
	scratch->event.owner_uid = BPF_CORE_READ(inode, i_uid.val);
	if (dentry__unhashed(dentry))
		MEMORY(scratch->sink.flags) |= EVENT_F_PATH_DETACHED;
	scratch->event.name_len = path__append(scratch->data, SOCKET_DATA, &scratch->sink, dentry, mnt);
}

static __always_inline bool local__listed(struct endpoint_scratch *scratch, struct dentry *dentry, char *path, u32 len)
{
	if (!dentry) /* abstract: after a NUL, and without one at its end */
		return local__bound_name_listed(scratch, path + 1, len - 1);
	return local__bound_name_listed(scratch, path, len - 1) || local__file_listed(dentry);
}

/* A local socket has a peer now: told where the peer's name is listed. */
static __always_inline int local__connected(u32 slot, struct sock *sk)
{
	struct unix_sock *peer = (struct unix_sock *)BPF_CORE_READ((struct unix_sock *)sk, peer);
	struct unix_address *address = peer ? BPF_CORE_READ(peer, addr) : NULL;
	struct endpoint_scratch *scratch;
	struct dentry *dentry;
	u32 len;
	char *path;

	if (!address || own__is_current())
		return 0;
	scratch = endpoint__scratch(slot);
	if (!scratch)
		return 0;
	path = (char *)address + bpf_core_field_offset(struct unix_address, name) + 2;
	len = BPF_CORE_READ(address, len) - 2;
	dentry = BPF_CORE_READ(peer, path.dentry);
	if (!local__listed(scratch, dentry, path, len))
		return 0;
	endpoint__begin(scratch, sk, EVENT_SOCKET_LOCAL);
	if (dentry) {
		local__file(scratch, dentry, BPF_CORE_READ(peer, path.mnt));
	} else {
		/* Still there from the comparison. */
		scratch->event.name = EVENT_SOCKET_ABSTRACT;
		scratch->event.name_len = len - 1;
		MEMORY(scratch->sink.used) = len - 1;
	}
	endpoint__finish(scratch);
	return 0;
}

/* A new socket: told where its traffic goes past the probes of TCP and UDP. */
static __always_inline int endpoint__made(u32 slot, struct sock *sk)
{
	u16 family = BPF_CORE_READ(sk, __sk_common.skc_family), type = BPF_CORE_READ(sk, sk_type), protocol = BPF_CORE_READ(sk, sk_protocol);
	struct endpoint_scratch *scratch;

	if (family == AF_UNIX || family == AF_NETLINK || own__is_current())
		return 0;
	if ((family == AF_INET || family == AF_INET6) && type != SOCK_RAW &&
	    (protocol == IPPROTO_TCP || protocol == IPPROTO_UDP || protocol == IPPROTO_MPTCP || protocol == IPPROTO_UDPLITE || protocol == IPPROTO_ICMP ||
	     protocol == IPPROTO_ICMPV6))
		return 0;
	scratch = endpoint__scratch(slot);
	if (!scratch)
		return 0;
	endpoint__begin(scratch, sk, EVENT_SOCKET_SPECIAL);
	endpoint__finish(scratch);
	return 0;
}

static __always_inline int endpoint__connected(u32 slot, struct sock *sk)
{
	if (!sk || BPF_CORE_READ(sk, __sk_common.skc_family) != AF_UNIX)
		return 0;
	return local__connected(slot, sk);
}

/* What a ring has done, in the process whose ring it is. A request that gives several results shows none of itself with the later ones. */
static __always_inline int endpoint__ring(struct io_kiocb *request, s32 result)
{
	struct task_struct *task = bpf_get_current_task_btf();
	u8 opcode = request ? BPF_CORE_READ(request, opcode) : IORING_OP_ACCEPT;
	struct socket *socket;
	struct flow *known;
	struct sock *sk;
	u64 key;

	if (result < 0)
		return 0;
	if (opcode == IORING_OP_CONNECT) {
		socket = BPF_CORE_READ(request, file, private_data);
		return endpoint__connected(ENDPOINT_RING, BPF_CORE_READ(socket, sk));
	}
	if (opcode != IORING_OP_ACCEPT && opcode != IORING_OP_SOCKET)
		return 0;
	sk = fd__sock(task, result);
	if (!sk)
		return 0;
	if (opcode == IORING_OP_SOCKET)
		return endpoint__made(ENDPOINT_RING, sk);
	/* Any result may be taken for a descriptor: a process that holds an accepted flow without an owner is its owner. */
	key = (u64)sk;
	known = bpf_map_lookup_elem(&picket_flows, &key);
	return known && known->inbound && !known->owner.pid ? network__accepted(sk) : 0;
}
