/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Another process's memory, environment and map opened through /proc, seen where every open is (file.h). By the inode's own reference to its process, not by
 * a name: a /proc mounted elsewhere, of another pid namespace, or reached by links is the same. The name is compared first, as two words that
 * the filter has loaded anyway: other opens pay nothing.
 *
 * Not told: reads of /proc files that everybody reads of everybody (stat, status, cmdline); root, cwd, exe and fd, whose open is an open of the file behind.
 */
#pragma once
#include "action.h"

#define PROC_SUPER_MAGIC 0x9fa0

/* A name of at most 8 bytes, as the first word of a name and as the last one. */
#define NAME3(a, b, c) ((u64)(a) | (u64)(b) << 8 | (u64)(c) << 16)
#define PROC_MEM NAME3('m', 'e', 'm')
#define PROC_MAPS (NAME3('m', 'a', 'p') | (u64)'s' << 24)
#define PROC_SMAPS (NAME3('s', 'm', 'a') | (u64)'p' << 24 | (u64)'s' << 32)
#define PROC_ENVIRON (NAME3('e', 'n', 'v') | (u64)'i' << 24 | (u64)'r' << 32 | (u64)'o' << 40 | (u64)'n' << 48)
#define PROC_PAGEMAP (NAME3('p', 'a', 'g') | (u64)'e' << 24 | (u64)'m' << 32 | (u64)'a' << 40 | (u64)'p' << 48)
#define AT_END(word, len) ((word) << (64 - 8 * (len)))

/* The last 16 bytes of a name, zero before its start. */
static __always_inline bool proc__listed(u64 low, u64 high)
{
	return !low && (high == AT_END(PROC_MEM, 3) || high == AT_END(PROC_MAPS, 4) || high == AT_END(PROC_SMAPS, 5) || high == AT_END(PROC_ENVIRON, 7) || high == AT_END(PROC_PAGEMAP, 7));
}

/* Global: verified once, see watch__walk. */
__noinline int proc__opened(u64 inode_at, u64 dentry_at, u32 mode)
{
	struct task_struct *task = bpf_get_current_task_btf(), *target;
	struct inode *inode = (void *)inode_at;
	struct dentry *dentry = (void *)dentry_at;
	struct proc_inode *proc = (void *)(inode_at - bpf_core_field_offset(struct proc_inode, vfs_inode));
	struct call call = { .task = task };
	struct action_scratch *scratch;
	struct pid *pid;
	u64 name = 0;
	long len;

	if (BPF_CORE_READ(inode, i_sb, s_magic) != PROC_SUPER_MAGIC)
		return 0;
	pid = BPF_CORE_READ(proc, pid);
	target = pid ? pid__task(pid, 0) : NULL;
	if (!target || BPF_CORE_READ(target, tgid) == task->tgid)
		return 0; /* its own, or of none: a file of another part of /proc */
	scratch = action__begin(ACTION_PROC_OPEN, &call);
	if (!scratch)
		return 0;
	task__describe(&scratch->event.target, target);
	scratch->event.values[0] = mode;
	len = bpf_probe_read_kernel_str(scratch->data, 16, (const void *)BPF_CORE_READ(dentry, d_name.name));
	if (len > 0) {
		name = *(u64 *)scratch->data;
		scratch->event.text_len[0] = len;
		MEMORY(scratch->sink.used) = len;
	}
	if (!repeat__due(&scratch->event, scratch->event.target.start_boot_ns ^ (u64)scratch->event.target.pid << 40 ^ name, 1, SECOND_NS, 0))
		return action__drop(scratch);
	return action__end(scratch);
}
