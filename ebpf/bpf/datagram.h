/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Bodies of the datagram probes; see datagram.bpf.c. */
#pragma once
#include "sockets.h"

enum { ETH_P_IP = 0x0800, ETH_P_IPV6 = 0x86DD, FRAGMENT_OFFSET = 0x1fff, UDP_HEADER = 8, QUIC_INITIAL_BYTES_MIN = 1200, QUIC_LOOK = 4 };

/* What one process may cause in a window. Beyond it DNS messages are counted, and flows with further peers told as one. */
enum { DNS_MESSAGES_MAX = 500, PEERS_MAX = 512 };
#define DNS_WINDOW_NS 1000000000ULL
#define PEERS_WINDOW_NS 10000000000ULL

struct rate {
	u64 messages_since;
	u64 peers_since;
	u32 messages;
	u32 peers; /* with the idle time of a flow: at most a fifth of picket_datagrams */
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, u32); /* thread group */
	__type(value, struct rate);
} picket_rates SEC(".maps");

/* Ends of a packet as this host sees them. */
struct ends {
	u8 local[16];
	u8 remote[16];
	u16 local_port;
	u16 remote_port;
	u32 payload; /* offset */
	u32 bytes;   /* of it */
	u8 family;
	u8 protocol;
};

static __always_inline struct rate *rate__of(u32 tgid)
{
	struct rate *rate = bpf_map_lookup_elem(&picket_rates, &tgid);
	struct rate fresh = {};
	u64 now = bpf_ktime_get_boot_ns();

	if (!rate) {
		fresh.messages_since = fresh.peers_since = now;
		bpf_map_update_elem(&picket_rates, &tgid, &fresh, BPF_NOEXIST);
		return bpf_map_lookup_elem(&picket_rates, &tgid);
	}
	if (now - rate->messages_since > DNS_WINDOW_NS) {
		rate->messages_since = now;
		rate->messages = 0;
	}
	if (now - rate->peers_since > PEERS_WINDOW_NS) {
		rate->peers_since = now;
		rate->peers = 0;
	}
	return rate;
}

static __always_inline void ends__ports(struct ends *ends, const u8 *header, bool egress)
{
	u16 from = header[0] << 8 | header[1], to = header[2] << 8 | header[3];

	ends->local_port = egress ? from : to;
	ends->remote_port = egress ? to : from;
}

/* The headers of a packet that begins with its network header. False where they are not those of UDP or TCP. */
static __always_inline bool ends__parse(struct ends *ends, struct __sk_buff *skb, bool egress)
{
	u8 header[48];
	u32 transport;

	if (skb->protocol == __builtin_bswap16(ETH_P_IP)) {
		if (bpf_skb_load_bytes(skb, 0, header, 28))
			return false;
		transport = (header[0] & 15) * 4;
		ends->family = AF_INET;
		ends->protocol = header[9];
		__builtin_memcpy(egress ? ends->local : ends->remote, header + 12, 4);
		__builtin_memcpy(egress ? ends->remote : ends->local, header + 16, 4);
		if (transport != 20) {
			if (transport < 20 || bpf_skb_load_bytes(skb, transport, header + 20, 8))
				return false;
		}
		ends__ports(ends, header + 20, egress);
	} else {
		if (skb->protocol != __builtin_bswap16(ETH_P_IPV6) || bpf_skb_load_bytes(skb, 0, header, 48))
			return false;
		/* An extension header hides the ports: such a packet is counted as unreadable. */
		transport = 40;
		ends->family = AF_INET6;
		ends->protocol = header[6];
		__builtin_memcpy(egress ? ends->local : ends->remote, header + 8, 16);
		__builtin_memcpy(egress ? ends->remote : ends->local, header + 24, 16);
		ends__ports(ends, header + 40, egress);
	}
	ends->payload = transport + UDP_HEADER;
	ends->bytes = skb->len > ends->payload ? skb->len - ends->payload : 0;
	return true;
}

static __always_inline bool dns__port(u16 port)
{
	struct network_config *config = network__config();
	int i;

	if (!config)
		return false;
	for (i = 0; i < DNS_PORTS; i++)
		if (port && config->dns_ports[i] == port)
			return true;
	return false;
}

static __always_inline void dns__fill(struct event_dns *event, struct ends *ends, struct event_task *owner, u64 cookie, bool egress)
{
	header__fill(&event->flow.header, EVENT_DNS);
	if (owner)
		event->flow.header.task = *owner;
	else
		__builtin_memset(&event->flow.header.task, 0, sizeof(event->flow.header.task));
	event->flow.bytes_sent = 0;
	event->flow.bytes_received = 0;
	event->flow.cookie = cookie;
	event->flow.established_boot_ns = 0;
	__builtin_memcpy(event->flow.local, ends->local, 16);
	__builtin_memcpy(event->flow.remote, ends->remote, 16);
	event->flow.local_port = ends->local_port;
	event->flow.remote_port = ends->remote_port;
	event->flow.family = ends->family;
	event->flow.op = 0;
	event->flow.inbound = 0;
	event->flow.error = 0;
	event->flow.protocol = ends->protocol;
	event->flow.app = 0;
	event->flow.merged = 0;
	event->message_bytes = ends->bytes;
	event->op = egress ? EVENT_DNS_QUERY : EVENT_DNS_RESPONSE;
	event->reserved = 0;
}

/*
 * Room in the ring for a message of at most `room` bytes, a power of two: the kernel takes constant sizes only. No copy in between. The length is 1 to `room`
 * already; the compiler knows and would leave a test out, and verifiers before 6.8 learn nothing from "not zero": they see the bounds in the arithmetic.
 */
#define DNS_RESERVE(room)														\
	do {																\
		struct event_dns *event;												\
		u32 below = len - 1;													\
																	\
		event = ring__has_room(CLASS_NETWORK) ? bpf_ringbuf_reserve(&picket_ring, sizeof(struct event_dns) + (room), 0) : NULL;	\
		if (!event) {														\
			counter__add(COUNTER_DROPPED + CLASS_NETWORK);									\
			return true;													\
		}															\
		dns__fill(event, ends, owner, cookie, egress);										\
		event->used = len;													\
		asm volatile("" : "+r"(below));												\
		if (bpf_skb_load_bytes(skb, ends->payload, event + 1, (below & ((room) - 1)) + 1)) {					\
			counter__add(COUNTER_E_PACKET);											\
			bpf_ringbuf_discard(event, BPF_RB_NO_WAKEUP);									\
			return true;													\
		}															\
		counter__add(COUNTER_PRODUCED + CLASS_NETWORK);										\
		bpf_ringbuf_submit(event, BPF_RB_NO_WAKEUP);										\
		return true;														\
	} while (0)

/* A message with one of the configured ports at the far end. False where it is not told: then it counts as any datagram. */
static __always_inline bool dns__emit(struct __sk_buff *skb, struct ends *ends, struct event_task *owner, u64 cookie, bool egress)
{
	struct rate *rate = rate__of(owner ? owner->pid : 0);
	u32 len = ends->bytes;

	if (!len)
		return false;
	if (!rate || rate->messages >= DNS_MESSAGES_MAX) {
		counter__add(COUNTER_LIMITED + CLASS_NETWORK);
		return false;
	}
	rate->messages++;
	if (len > DNS_MESSAGE_MAX)
		len = DNS_MESSAGE_MAX;
	if (len <= 128)
		DNS_RESERVE(128);
	if (len <= 512)
		DNS_RESERVE(512);
	if (len <= 2048)
		DNS_RESERVE(2048);
	DNS_RESERVE(DNS_MESSAGE_MAX);
}

/* The first packet of a QUIC connection: a long header with the fixed bit, a known or a greased version, padded as a client must. */
static __always_inline bool packet__is_quic(struct __sk_buff *skb, struct ends *ends)
{
	u8 head[5];
	u32 version;

	if (ends->bytes < QUIC_INITIAL_BYTES_MIN || bpf_skb_load_bytes(skb, ends->payload, head, sizeof(head)))
		return false;
	if ((head[0] & 0xc0) != 0xc0)
		return false;
	version = head[1] << 24 | head[2] << 16 | head[3] << 8 | head[4];
	return version == 1 || version == 0x6b3343cf || version >> 8 == 0xff0000 || (version & 0x0f0f0f0f) == 0x0a0a0a0a;
}

static __always_inline void datagram__add(struct datagram_key *key, struct ends *ends, struct socket_owner *socket, bool egress, bool merged)
{
	struct datagram fresh = {};

	fresh.first_boot_ns = fresh.told_boot_ns = bpf_ktime_get_boot_ns();
	fresh.last_ns = bpf_ktime_get_coarse_ns();
	__builtin_memcpy(fresh.local, ends->local, 16);
	fresh.local_port = ends->local_port;
	fresh.family = ends->family;
	fresh.inbound = !egress;
	fresh.merged = merged;
	if (socket)
		fresh.owner = socket->owner;
	else
		counter__add(COUNTER_E_OWNER);
	if (bpf_map_update_elem(&picket_datagrams, key, &fresh, BPF_NOEXIST))
		counter__add(COUNTER_MAP_FULL + CLASS_NETWORK);
}

/* The entry of a new flow. One process with very many peers has one entry for the rest of them. */
static __always_inline struct datagram *datagram__begin(struct datagram_key *key, struct ends *ends, struct socket_owner *socket, bool egress)
{
	struct rate *rate = rate__of(socket ? socket->owner.pid : 0);
	bool merged = !rate || rate->peers >= PEERS_MAX;
	struct datagram *known;

	if (merged) {
		__builtin_memset(key->remote, 0, sizeof(key->remote));
		key->remote_port = 0;
		key->cookie = socket ? socket->owner.start_boot_ns : 0;
		known = bpf_map_lookup_elem(&picket_datagrams, key);
		if (known)
			return known;
	} else {
		rate->peers++;
	}
	datagram__add(key, ends, socket, egress, merged);
	return bpf_map_lookup_elem(&picket_datagrams, key);
}

static __always_inline void datagram__count(struct __sk_buff *skb, struct ends *ends, struct datagram_key *key, struct datagram *flow, bool egress, bool told)
{
	flow->last_ns = bpf_ktime_get_coarse_ns();
	if (flow->packets < QUIC_LOOK && !flow->merged && packet__is_quic(skb, ends))
		flow->app = EVENT_APP_QUIC;
	flow->packets++;
	if (!told) {
		flow->untold++;
		if (!flow->opened) {
			flow->opened = 1;
			datagram__emit(key, flow, flow->inbound ? EVENT_FLOW_ACCEPT : EVENT_FLOW_CONNECT);
		}
	}
	__sync_fetch_and_add(egress ? &flow->sent : &flow->received, ends->bytes);
}

static __always_inline void datagram__packet(struct __sk_buff *skb, struct ends *ends, u64 cookie, bool egress)
{
	struct datagram_key key = { .cookie = cookie, .remote_port = ends->remote_port };
	struct task_struct *task = bpf_get_current_task_btf();
	bool is_dns = dns__port(ends->remote_port), told = false;
	struct socket_owner *socket;
	struct datagram *flow;

	__builtin_memcpy(key.remote, ends->remote, 16);
	flow = bpf_map_lookup_elem(&picket_datagrams, &key);
	/* The usual packet: of a flow that is known, by who sent the last. */
	if (flow && !is_dns && (!egress || flow->owner.pid == (u32)task->tgid)) {
		datagram__count(skb, ends, &key, flow, egress, false);
		return;
	}
	socket = bpf_map_lookup_elem(&picket_sockets, &cookie);
	/* The kernel's own senders have no entry: whoever is current when they send is a stranger. */
	if (egress && socket)
		socket__sent_by(socket, task);
	if (socket && socket->excluded)
		return;
	if (is_dns)
		told = dns__emit(skb, ends, socket ? &socket->owner : NULL, cookie, egress);
	if (!flow)
		flow = datagram__begin(&key, ends, socket, egress);
	if (!flow)
		return;
	if (egress && socket && flow->owner.pid != socket->owner.pid)
		flow->owner = socket->owner;
	datagram__count(skb, ends, &key, flow, egress, told);
}

/* A stream's segment that begins a DNS message: its two bytes of length, then the message, most often whole. */
static __always_inline void dns__segment(struct __sk_buff *skb, struct ends *ends, struct bpf_sock *sk, u64 cookie, bool egress)
{
	u64 key = (u64)sk;
	struct flow *flow = bpf_map_lookup_elem(&picket_flows, &key);
	u32 transport = ends->payload - UDP_HEADER;
	u8 field[2];
	u32 header;

	if (flow && flow->excluded)
		return;
	if (bpf_skb_load_bytes(skb, transport + 12, field, 1))
		return;
	header = (field[0] >> 4) * 4;
	ends->payload = transport + header;
	if (header < 20 || skb->len < ends->payload + 2 + 12) /* nothing, or no message's header */
		return;
	if (bpf_skb_load_bytes(skb, ends->payload, field, 2))
		return;
	ends->payload += 2;
	ends->bytes = skb->len - ends->payload;
	/* The middle of an earlier message looks like any length; a query's never exceeds its segment. */
	if (egress && (field[0] << 8 | field[1]) > ends->bytes)
		return;
	if ((field[0] << 8 | field[1]) < ends->bytes)
		ends->bytes = field[0] << 8 | field[1];
	dns__emit(skb, ends, flow ? &flow->owner : NULL, cookie, egress);
}

static __always_inline void network__packet(struct __sk_buff *skb, bool egress)
{
	struct bpf_sock *sk = skb->sk;
	struct ends ends = {};

	if (!sk)
		return;
	sk = bpf_sk_fullsock(sk);
	if (!sk)
		return;
	if (sk->protocol == IPPROTO_TCP) {
		/* The one comparison that every segment pays. */
		if (!dns__port(__builtin_bswap16(sk->dst_port)) || !ends__parse(&ends, skb, egress) || ends.protocol != IPPROTO_TCP)
			return;
		dns__segment(skb, &ends, sk, bpf_get_socket_cookie(skb), egress);
		return;
	}
	if (sk->protocol != IPPROTO_UDP)
		return;
	if (!ends__parse(&ends, skb, egress) || ends.protocol != IPPROTO_UDP) {
		counter__add(COUNTER_E_PACKET);
		return;
	}
	datagram__packet(skb, &ends, bpf_get_socket_cookie(skb), egress);
}

/* bind(2) of a datagram socket succeeded. */
static __always_inline void datagram__bound(struct bpf_sock *ctx, u16 family)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct event_flow event = {};
	struct rate *rate;

	if (ctx->protocol != IPPROTO_UDP || task__is_own(task))
		return;
	rate = rate__of(task->tgid);
	if (!rate || rate->peers >= PEERS_MAX) {
		counter__add(COUNTER_LIMITED + CLASS_NETWORK);
		return;
	}
	rate->peers++;
	header__begin(&event.header, EVENT_FLOW, task);
	event.op = EVENT_FLOW_LISTEN;
	event.protocol = IPPROTO_UDP;
	event.cookie = bpf_get_socket_cookie(ctx);
	event.family = family;
	event.local_port = ctx->src_port;
	if (family == AF_INET) {
		*(u32 *)event.local = ctx->src_ip4;
	} else {
		u32 *words = (u32 *)event.local;

		words[0] = ctx->src_ip6[0];
		words[1] = ctx->src_ip6[1];
		words[2] = ctx->src_ip6[2];
		words[3] = ctx->src_ip6[3];
	}
	ring__output(&event, sizeof(event), CLASS_NETWORK);
}
