/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The file record and the open probe; see file.bpf.c. */
#pragma once
#include "holders.h"
#include "procfs.h"
#include "watch.h"

/* Slots of file_scratch: one for each program, since another task's program may run in the middle of one. */
enum file_slot { FILE_SLOT_OPEN, FILE_SLOT_OPEN_ROOT, FILE_SLOT_CLOSE, FILE_SLOT_TASK, FILE_SLOT_SWEEP, FILE_SLOT_RENAME, FILE_SLOT_UNLINK, FILE_SLOT_REUSE, FILE_SLOT_REUSE_ROOT, FILE_SLOT_USE, FILE_SLOT_RING, FILE_SLOTS };

struct file_scratch {
	struct event_file event;
	char data[FILE_DATA + COMPONENT_MAX];
	struct path_sink sink;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, FILE_SLOTS);
	__type(key, u32);
	__type(value, struct file_scratch);
} file_scratch SEC(".maps");

static __always_inline struct file_scratch *file__scratch(u32 slot)
{
	struct file_scratch *scratch = bpf_map_lookup_elem(&file_scratch, &slot);

	if (!scratch) {
		counter__add(COUNTER_E_SCRATCH);
		return NULL;
	}
	scratch->event.created = 0;
	scratch->event.open_flags = 0;
	scratch->event.mode_bits = 0;
	scratch->event.path_len = 0;
	scratch->event.new_path_len = 0;
	scratch->event.bytes_read = 0;
	scratch->event.bytes_written = 0;
	scratch->event.methods = 0;
	scratch->event.change = 0;
	scratch->event.until_end = 0;
	scratch->event.reserved = 0;
	MEMORY(scratch->sink.used) = 0;
	MEMORY(scratch->sink.flags) = 0;
	return scratch;
}

/* What the fields of an open file are, in one read where they lie close together. */
struct file_view {
	struct inode *inode;
	struct dentry *dentry;
	struct vfsmount *mnt;
	u32 mode;
	u32 flags;
};

#define FILE_SPAN 96

static __always_inline int file__view(struct file_view *view, struct file *file)
{
	char raw[FILE_SPAN] __attribute__((aligned(8)));

	if (bpf_core_field_offset(struct file, f_path) + 16 <= FILE_SPAN && bpf_core_field_offset(struct file, f_inode) + 8 <= FILE_SPAN &&
	    bpf_core_field_offset(struct file, f_mode) + 4 <= FILE_SPAN && bpf_core_field_offset(struct file, f_flags) + 4 <= FILE_SPAN) {
		if (bpf_probe_read_kernel(raw, sizeof(raw), file))
			return -1;
		view->mode = *(u32 *)(raw + bpf_core_field_offset(struct file, f_mode));
		view->flags = *(u32 *)(raw + bpf_core_field_offset(struct file, f_flags));
		view->inode = *(struct inode **)(raw + bpf_core_field_offset(struct file, f_inode));
		view->mnt = *(struct vfsmount **)(raw + bpf_core_field_offset(struct file, f_path) + bpf_core_field_offset(struct path, mnt));
		view->dentry = *(struct dentry **)(raw + bpf_core_field_offset(struct file, f_path) + bpf_core_field_offset(struct path, dentry));
		return 0;
	}
	view->mode = BPF_CORE_READ(file, f_mode);
	view->flags = BPF_CORE_READ(file, f_flags);
	view->inode = BPF_CORE_READ(file, f_inode);
	view->mnt = BPF_CORE_READ(file, f_path.mnt);
	view->dentry = BPF_CORE_READ(file, f_path.dentry);
	return 0;
}

/* The file behind a descriptor of the current task. */
static __always_inline struct file *fd__file(struct task_struct *task, u64 fd)
{
	struct fdtable *table = task->files->fdt;
	struct file **slots = table->fd;
	struct file *file = NULL;

	if (fd >= table->max_fds)
		return NULL;
	bpf_probe_read_kernel(&file, sizeof(file), slots + fd);
	return file;
}

/* Appends a path to the record in a slot; the bytes appended. */
__noinline u32 file__path(u32 slot, u64 dentry, u64 mnt)
{
	struct file_scratch *scratch = bpf_map_lookup_elem(&file_scratch, &slot);

	if (!scratch)
		return 0;
	return path__append(scratch->data, FILE_DATA, &scratch->sink, (struct dentry *)dentry, (struct vfsmount *)mnt);
}

static __always_inline void file__attributes(struct event_file *event, struct watch_subject *subject, u32 watch_id, u8 op)
{
	/* BPF_CORE_READ relocates every member in its first argument: only the kernel's types may be named there. */
	struct inode *inode = subject->inode;
	struct super_block *super = subject->super;

	event->op = op;
	event->watch_id = watch_id;
	event->inode = subject->number;
	event->owner_uid = subject->owner_uid;
	event->i_mode = subject->mode;
	event->size = BPF_CORE_READ(inode, i_size);
	event->device = BPF_CORE_READ(super, s_dev);
}

static __always_inline void file__submit(struct file_scratch *scratch)
{
	u32 used = MEMORY(scratch->sink.used);

	if (used > FILE_DATA)
		used = FILE_DATA;
	scratch->event.used = used;
	scratch->event.header.flags |= MEMORY(scratch->sink.flags);
	ring__output(&scratch->event, sizeof(scratch->event) + (used & (2 * FILE_DATA - 1)), CLASS_FILE);
}

/* Path and identity of an open description, whatever is done with it. */
static __always_inline void file__describe(struct file_scratch *scratch, struct file_view *view, struct watch_subject *subject, u32 watch_id, u8 op, u32 slot)
{
	struct event_file *event = &scratch->event;

	file__attributes(event, subject, watch_id, op);
	event->open_flags = view->flags;
	event->mode_bits = view->mode & (FMODE_READ | FMODE_WRITE);
	event->path_len = file__path(slot, (u64)view->dentry, (u64)view->mnt);
	if (dentry__unhashed(view->dentry))
		MEMORY(scratch->sink.flags) |= EVENT_F_PATH_DETACHED;
}

/* The decision on an open file, with what was read on the way. Looked at once for each caller. */
static __noinline bool file__judge(struct file *file, struct file_view *view, struct watch_subject *subject, struct dentry_view *name, u32 *id)
{
	struct watch_config *config = watch__config();
	struct watch_verdict verdict;

	name->low = name->high = name->name_hash_len = 0;
	*id = 0;

	if (file__view(view, file))
		goto unreadable;
	if (view->mode & FMODE_PATH) /* a name, not its content */
		return false;
	if (!config || dentry__view(name, view->dentry, true))
		goto unreadable;
	/* Most opens end here. */
	if (!super__is_watched(config, name->super) && !extension__listed(config, name))
		return false;
	if (inode__view(subject, view->inode))
		goto unreadable;
	if ((subject->mode & S_IFMT) != S_IFREG)
		return false;
	verdict = watch__judge(config, subject, name);
	*id = verdict.id;
	return verdict.matched;

unreadable:
	counter__add(COUNTER_E_FILE);
	return false;
}

#include "device.h"
#include "writers.h"

/* A file that was just opened: recorded where it is watched. The descriptor is negative where it is not known (yet). */
static __always_inline int file__opened(struct file *file, s64 fd, u32 methods, u32 slot)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct watch_subject subject;
	struct watch_verdict verdict;
	struct file_scratch *scratch;
	struct dentry_view name;
	struct file_view view;

	verdict.matched = file__judge(file, &view, &subject, &name, &verdict.id);
	if (!verdict.matched && proc__listed(name.low, name.high))
		return proc__opened((u64)view.inode, (u64)view.dentry, view.mode & (FMODE_READ | FMODE_WRITE));
	if (!verdict.matched && device__named(name.low, name.high, name.name_hash_len >> 32))
		return device__opened(&view, methods, slot);
	if (!verdict.matched || own__is_current())
		return 0;
	if (!verdict.id && !(view.mode & FMODE_WRITE) && watch__sheds()) {
		counter__add(COUNTER_SHED + CLASS_FILE);
		return 0;
	}
	description__begins((u64)file, task->tgid, slot == FILE_SLOT_OPEN ? FILE_SLOT_REUSE : FILE_SLOT_REUSE_ROOT);
	scratch = file__scratch(slot);
	if (!scratch)
		return 0;
	header__begin(&scratch->event.header, EVENT_FILE, task);
	file__describe(scratch, &view, &subject, verdict.id, EVENT_FILE_OPEN, slot);
	/* An unnamed temporary file is always new; the kernel sets FMODE_CREATED only where a name was made. */
	scratch->event.created = (view.mode & FMODE_CREATED) || (view.flags & O_TMPFILE_BIT);
	scratch->event.methods = methods | (view.flags & O_DIRECT_BIT ? EVENT_METHOD_DIRECT : 0);
	holder__mark(task->tgid);
	if (fd >= 0)
		descriptor__note(task, fd, (u64)file);
	if (view.mode & FMODE_WRITE)
		writer__opened(file, &view, &scratch->event.header.task, verdict.id);
	file__submit(scratch);
	return 0;
}

/* The descriptor that an open call returned. */
static __always_inline int file__open(struct task_struct *task, long fd, u32 methods)
{
	struct file *file = fd__file(task, fd);

	if (file)
		return file__opened(file, fd, methods, FILE_SLOT_OPEN);
	counter__add(COUNTER_E_FILE); /* closed by another thread before the call returned */
	return 0;
}
