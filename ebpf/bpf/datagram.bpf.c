// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * UDP: flows with owner and payload bytes both ways, QUIC among them; sockets that wait for datagrams; DNS messages, over TCP too.
 *
 * Hooks: programs on the root control group, which every socket of every network namespace is under. cgroup_skb/ingress and egress see each
 * packet once, with its socket, before fragments are cut and after they are joined; sock_create and sock_release, in the context of the
 * process, give a socket its owner and its end; post_bind4 and 6 a bound one. Rejected: sendmsg and recvmsg hooks (no length, and
 * nothing of a connected socket); tp_btf/sock_send_length (no peer, no payload, and every pipe-like socket pays); device-level tracepoints
 * (every packet several times on a host with bridges, and no receiving socket); a packet socket (one network namespace, no process).
 *
 * Every packet of every socket passes here: a TCP segment costs a protocol and a port comparison. All programs return 1: allow. They decide nothing.
 *
 * Kernels: 5.15 and later with a cgroup2 hierarchy mounted.
 *
 * Cannot see: packets that no socket sends or takes (forwarded, refused), of raw and packet sockets (their creation is told), behind IPv6
 * extension headers (counted); the owner of the kernel's own sockets (counted); DNS inside TLS or HTTPS; DNS messages that TCP splits in segments, beyond the first.
 *
 * What an unprivileged process can do: talk to more peers than PEERS_MAX in a window (told as one, marked), send DNS messages
 * beyond DNS_MESSAGES_MAX a second (counted), fill picket_datagrams together with others (counted). It chooses the payload: user space parses it as hostile bytes.
 */
#include "datagram.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

SEC("cgroup_skb/egress")
int packet_egress(struct __sk_buff *skb)
{
	network__packet(skb, true);
	return 1;
}

SEC("cgroup_skb/ingress")
int packet_ingress(struct __sk_buff *skb)
{
	network__packet(skb, false);
	return 1;
}

SEC("cgroup/sock_create")
int sock_create(struct bpf_sock *ctx)
{
	if (ctx->protocol == IPPROTO_UDP)
		socket__created(bpf_get_socket_cookie(ctx), bpf_get_current_task_btf());
	return 1;
}

SEC("cgroup/sock_release")
int sock_release(struct bpf_sock *ctx)
{
	u64 cookie;

	if (ctx->protocol == IPPROTO_UDP) {
		cookie = bpf_get_socket_cookie(ctx);
		bpf_map_delete_elem(&picket_sockets, &cookie);
	}
	return 1;
}

SEC("cgroup/post_bind4")
int post_bind4(struct bpf_sock *ctx)
{
	datagram__bound(ctx, AF_INET);
	return 1;
}

SEC("cgroup/post_bind6")
int post_bind6(struct bpf_sock *ctx)
{
	datagram__bound(ctx, AF_INET6);
	return 1;
}
