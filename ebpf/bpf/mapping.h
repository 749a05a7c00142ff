/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Bodies of the mapping probes; see mapping.bpf.c. */
#pragma once
#include "action.h"

#define PROT_EXEC 4
#define MAP_ANONYMOUS 0x20
#define S_IWOTH 0002
#define MAP_WALK_MAX 32
/* Once a process and file: a process that maps the same file again after an hour is told again. */
#define MAP_WINDOW_NS (3600 * SECOND_NS)

/* Can anybody else have put this file there? A directory above it, up to the root of its file system, that everybody may write to. */
static __always_inline bool map__in_writable_place(struct dentry *dentry)
{
	int i;

	for (i = 0; i < MAP_WALK_MAX; i++) {
		struct dentry *parent = BPF_CORE_READ(dentry, d_parent);

		if (parent == dentry)
			return false;
		if (BPF_CORE_READ(parent, d_inode, i_mode) & S_IWOTH)
			return true;
		dentry = parent;
	}
	return true; /* deeper than any installed library: rather too much than too little */
}

static __always_inline u32 map__origin(struct file *file)
{
	struct dentry *dentry = BPF_CORE_READ(file, f_path.dentry);

	if (dentry__unhashed(dentry) || !BPF_CORE_READ(file, f_inode, i_nlink))
		return dentry__is_memfd(dentry) ? MAP_ORIGIN_MEMFD : MAP_ORIGIN_DELETED;
	return map__in_writable_place(dentry) ? MAP_ORIGIN_WRITABLE_PLACE : 0;
}

/* file: NULL for anonymous memory. */
static __always_inline int map__executable(struct call *call, struct file *file, u64 address, u64 bytes, u64 protection, u64 flags)
{
	u32 origin = file ? map__origin(file) : MAP_ORIGIN_ANONYMOUS;
	struct action_scratch *scratch;
	struct inode *inode;
	u64 *values;

	if (!origin)
		return 0;
	scratch = action__begin(ACTION_MAP, call);
	if (!scratch)
		return 0;
	values = scratch->event.values;
	inode = file ? BPF_CORE_READ(file, f_inode) : NULL;
	if (!repeat__due(&scratch->event, (u64)inode, 1, MAP_WINDOW_NS, 0))
		return action__drop(scratch);
	values[0] = address;
	values[1] = bytes;
	values[2] = protection;
	values[3] = flags;
	values[7] = origin;
	if (file) {
		values[4] = BPF_CORE_READ(inode, i_ino);
		values[5] = BPF_CORE_READ(inode, i_sb, s_dev);
		values[6] = (u64)BPF_CORE_READ(inode, i_mode) << 32 | BPF_CORE_READ(inode, i_uid.val);
		action__file_path(scratch, file);
	}
	return action__end(scratch);
}

/* An address may look negative; an error lies in the last page. */
static __always_inline bool call__failed(struct call *call)
{
	return (u64)call->result >= -4095UL;
}

static __always_inline int map__mmap(struct call *call)
{
	struct file *file = NULL;

	if (!(call__argument(call, 2) & PROT_EXEC) || call__failed(call))
		return 0;
	if (!(call__argument(call, 3) & MAP_ANONYMOUS)) {
		file = task__file(call->task, call__argument(call, 4));
		if (!file) {
			counter__add(COUNTER_E_FILE);
			return 0;
		}
	}
	return map__executable(call, file, call->result, call__argument(call, 1), call__argument(call, 2), call__argument(call, 3));
}

static long map__found(struct task_struct *task, struct vm_area_struct *area, void *context)
{
	*(u64 *)context = (u64)area->vm_file;
	return 0;
}

static __always_inline int map__mprotect(struct call *call)
{
	u64 file = 0;

	if (!(call__argument(call, 2) & PROT_EXEC) || call->result < 0)
		return 0;
	if (bpf_find_vma(call->task, call__argument(call, 0), map__found, &file, 0)) {
		counter__add(COUNTER_E_FILE); /* another thread changes the map right now, or has removed the area */
		return 0;
	}
	return map__executable(call, (struct file *)file, call__argument(call, 0), call__argument(call, 1), call__argument(call, 2), 0);
}
