/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Bodies of the iterators; see iterators.bpf.c. */
#pragma once
#include "exec.h"
#include "flow.h"

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

	/* Listening ones too, with no operation: they tell which of the others were accepted. */
	if (state != TCP_ESTABLISHED && state != TCP_CLOSE_WAIT && state != TCP_LISTEN)
		return 0;
	flow__fill(&event, sk, flow, state == TCP_LISTEN ? 0 : EVENT_FLOW_EXISTING);
	event.header.flags |= EVENT_F_PREEXISTING;
	bpf_seq_write(seq, &event, sizeof(event));
	return 0;
}

/* A socket with the process that holds it: the first holder is taken for the owner. */
static __always_inline int iterate__held_socket(struct seq_file *seq, u64 session, struct task_struct *task, struct file *file)
{
	struct flow fresh = {}, *known;
	struct socket *socket;
	struct sock *sk;
	u64 key;

	if (!task || !file || task->pid != task->tgid)
		return 0;
	socket = bpf_sock_from_file(file);
	if (!socket)
		return 0;
	sk = socket->sk;
	key = (u64)sk;
	if (!sk || sk->sk_protocol != IPPROTO_TCP || (sk->__sk_common.skc_family != AF_INET && sk->__sk_common.skc_family != AF_INET6))
		return 0;
	known = bpf_map_lookup_elem(&picket_flows, &key);
	if (known && known->session == session)
		return 0; /* seen with an earlier descriptor */
	if (!known || !known->owner.pid) {
		u32 tgid = task->tgid;

		task__identify(&fresh.owner, task);
		fresh.excluded = bpf_map_lookup_elem(&picket_own, &tgid) != NULL;
		if (known) {
			fresh.inbound = known->inbound;
			fresh.established_boot_ns = known->established_boot_ns;
		}
		bpf_map_update_elem(&picket_flows, &key, &fresh, BPF_ANY);
		known = bpf_map_lookup_elem(&picket_flows, &key);
		if (!known)
			return 0;
	}
	known->session = session;
	if (known->excluded)
		return 0;
	return iterate__socket(seq, session, sk, known);
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
