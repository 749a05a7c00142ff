/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Bodies of the iterators; see iterators.bpf.c. */
#pragma once
#include "exec.h"
#include "sockets.h"

static __always_inline int iterate__process(struct seq_file *seq, struct task_struct *task)
{
	struct exec_scratch *scratch;
	u32 used;

	if (!task || task->pid != task->tgid)
		return 0;
	scratch = exec__scratch();
	if (!scratch)
		return 0;
	exec__begin(scratch, task);
	scratch->event.header.flags |= EVENT_F_PREEXISTING;
	scratch->event.exe_inode = 0;
	scratch->event.exe_device = 0;
	scratch->event.exe_len = 0;
	scratch->event.cwd_len = 0;
	if (task->mm) /* not a kernel thread */
		exec__files(scratch, task);
	used = exec__finish(scratch);
	bpf_seq_write(seq, &scratch->event, sizeof(scratch->event) + (used & (2 * EXEC_DATA - 1)));
	return 0;
}

static __always_inline int iterate__own_file(struct seq_file *seq, struct task_struct *task, u32 fd, struct file *file)
{
	struct event_inode event = {};

	/* The reader of an iterator is its current task: the loader, whatever pid namespace it is in. */
	if (!task || !file || task->pid != task->tgid || task->tgid != (u32)(bpf_get_current_pid_tgid() >> 32))
		return 0;
	event.inode_ptr = (u64)file->f_inode;
	event.super_ptr = (u64)file->f_inode->i_sb;
	event.mount_ptr = (u64)file->f_path.mnt;
	event.inode = file->f_inode->i_ino;
	event.device = file->f_inode->i_sb->s_dev;
	event.fd = fd;
	bpf_seq_write(seq, &event, sizeof(event));
	return 0;
}

static __always_inline int iterate__socket(struct seq_file *seq, u64 session, struct sock *sk, struct flow *flow)
{
	struct event_flow event = {};
	u8 state = BPF_CORE_READ(sk, __sk_common.skc_state);

	if (state != TCP_ESTABLISHED && state != TCP_CLOSE_WAIT && state != TCP_LISTEN)
		return 0;
	flow__fill(&event, sk, flow, state == TCP_LISTEN ? EVENT_FLOW_LISTEN : EVENT_FLOW_EXISTING);
	if (flow) {
		flow->told_boot_ns = event.header.time_boot_ns;
		flow->told_sent = event.bytes_sent;
		flow->told_received = event.bytes_received;
	}
	event.header.flags |= EVENT_F_PREEXISTING;
	bpf_seq_write(seq, &event, sizeof(event));
	return 0;
}

/* A datagram socket: its owner is remembered; a bound one without a peer waits for some. */
static __always_inline int iterate__held_datagrams(struct seq_file *seq, struct task_struct *task, struct sock *sk)
{
	u64 cookie = bpf_get_socket_cookie(sk);
	struct event_flow event = {};

	if (bpf_map_lookup_elem(&picket_sockets, &cookie))
		return 0; /* seen with an earlier descriptor, or made since the probes run */
	socket__created(cookie, task);
	header__begin(&event.header, EVENT_FLOW, task);
	event.header.flags |= EVENT_F_PREEXISTING;
	event.op = EVENT_FLOW_LISTEN;
	event.protocol = IPPROTO_UDP;
	event.cookie = cookie;
	flow__addresses(&event, sk);
	if (event.local_port && !event.remote_port && !task__is_own(task))
		bpf_seq_write(seq, &event, sizeof(event));
	return 0;
}

/* What is known of a stream socket that a task holds; the first holder is taken for the owner. */
static __always_inline struct flow *iterate__flow(u64 key, struct task_struct *task, struct sock *sk)
{
	struct flow fresh = {}, *known = bpf_map_lookup_elem(&picket_flows, &key);

	if (known && known->owner.pid)
		return known;
	task__identify(&fresh.owner, task);
	fresh.excluded = task__is_own(task);
	fresh.cookie = bpf_get_socket_cookie(sk);
	if (known) {
		fresh.inbound = known->inbound;
		fresh.established_boot_ns = known->established_boot_ns;
	}
	bpf_map_update_elem(&picket_flows, &key, &fresh, BPF_ANY);
	return bpf_map_lookup_elem(&picket_flows, &key);
}

/* A socket with the process that holds it. */
static __always_inline int iterate__held_socket(struct seq_file *seq, u64 session, struct task_struct *task, struct file *file)
{
	struct socket *socket;
	struct flow *known;
	struct sock *sk;

	if (!task || !file || task->pid != task->tgid)
		return 0;
	socket = bpf_sock_from_file(file);
	if (!socket)
		return 0;
	sk = socket->sk;
	if (!sk || (sk->__sk_common.skc_family != AF_INET && sk->__sk_common.skc_family != AF_INET6))
		return 0;
	if (sk->sk_protocol == IPPROTO_UDP)
		return iterate__held_datagrams(seq, task, sk);
	if (sk->sk_protocol != IPPROTO_TCP)
		return 0;
	known = iterate__flow((u64)sk, task, sk);
	if (!known || known->session == session)
		return 0; /* seen with an earlier descriptor */
	known->session = session;
	if (known->excluded)
		return 0;
	return iterate__socket(seq, session, sk, known);
}

/*
 * Who holds a flow now: a socket that was inherited or passed on, and closed by the one that opened it, belongs to who keeps it. Two walks:
 * the first marks the flows that their owner still holds, the second gives the others to the first holder. The owner's bytes are not told
 * apart from a holder's who shares the socket with it.
 */
static __always_inline int iterate__holder(struct task_struct *task, struct file *file)
{
	struct traffic *traffic = traffic__state();
	struct socket *socket;
	struct flow *flow;
	u64 key;

	if (!traffic || !task || !file || task->pid != task->tgid)
		return 0;
	socket = bpf_sock_from_file(file);
	if (!socket)
		return 0;
	key = (u64)socket->sk;
	flow = bpf_map_lookup_elem(&picket_flows, &key);
	if (!flow || flow->walk == traffic->walk)
		return 0;
	if (traffic->pass == 1) {
		if (flow->owner.pid == (u32)task->tgid && flow->owner.start_boot_ns == task->start_boottime)
			flow->walk = traffic->walk;
		return 0;
	}
	task__identify(&flow->owner, task);
	flow->excluded = task__is_own(task);
	flow->walk = traffic->walk;
	return 0;
}

/* Sockets that no descriptor holds: known to the kernel alone. */
static __always_inline int iterate__orphan_socket(struct seq_file *seq, u64 session, struct sock_common *common)
{
	struct tcp_sock *tcp;
	u64 key = (u64)common;

	if (!common || bpf_map_lookup_elem(&picket_flows, &key))
		return 0;
	tcp = bpf_skc_to_tcp_sock(common); /* none for the kernel's shortened sockets */
	if (!tcp)
		return 0;
	return iterate__socket(seq, session, (struct sock *)tcp, NULL);
}
