/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Close after write: the end of an open file description that could write a watched file.
 *
 * Hook: there is no tracepoint on the release of a description, so each watched one opened for writing is remembered by its address, and
 * looked at (1) at the exit of close(2) and of dup2 over it, by what is remembered of the process's descriptors; (2) when the last user of a
 * descriptor table ends; (3) by a sweep that the loader runs a few times a second over the remembered ones only, which finds every other end:
 * close_range, close-on-exec, an unmapped shared mapping, a descriptor that was inherited, in flight over a Unix socket or registered with
 * io_uring. Rejected: a program on the entry of calls, where the description still stands (every call of every process pays for it). Rejected: fanotify (merges, knows no process), locks and page-cache tracepoints (fire only with locks or dirty pages).
 *
 * (1) and (2) are reported before the call returns, by the process that closes; (1) knows no path of a file that lost its last name meanwhile. (3) is reported up to one sweep later in the name of the
 * process that opened the file, without open flags that changed since. Where the process that closes moved no byte and the one that opened did,
 * the report is in the name of that one. An address used again for a new description ends the old one.
 *
 * One end is one report, and its bytes are in it: whoever reports claims the entry first, copies it and deletes it before the report, since the
 * address may serve a new watched description by the time that is written. An open that meets an entry between claim and deletion waits a
 * little; where it still stands then, the end of the new one cannot be told (counted as a full map). What a process did through a description that
 * could write is not told as a use of its own while the entry of that description stands (usage.h).
 *
 * Cannot see: descriptions opened before the sensor, and those whose entry found the map full (counted).
 * What an unprivileged process can do: hold many descriptions open (bounded by the map, counted), or delay the report by a second thread
 * that uses the descriptor at the instant of the close: the sweep then reports it.
 */
#pragma once

struct writer {
	struct inode *inode;
	struct dentry *dentry;
	struct vfsmount *mnt;
	u64 number;
	u32 generation; /* of the inode: the next one with this number has another; 0 where the file system keeps none */
	u32 name_hash;
	u32 watch_id;
	u32 flags;
	u32 mode;
	u32 references; /* descriptors of an ending table counted so far */
	u32 claimed;	/* somebody reports the end */
	u32 reserved;
	struct event_task opener;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, u64);
	__type(value, struct writer);
} picket_writers SEC(".maps");

#define DESCRIPTORS_MAX 256
#define TAKEN_WAIT_MAX 128

/* Copies of entries that were taken out of a map to be reported, by file slot. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, FILE_SLOTS);
	__type(key, u32);
	__type(value, struct writer);
} taken_writers SEC(".maps");

/* References to a description; 0 once it is released. Counted from zero with a sign for "dead" since 6.13. */
static __always_inline s64 file__references(struct file *file)
{
	if (bpf_core_field_exists(file->f_ref)) {
		s64 count = BPF_CORE_READ(file, f_ref.refcnt.counter);

		return count < 0 ? 0 : count + 1;
	}
	return BPF_CORE_READ((struct file___counted *)file, f_count.counter);
}

/* What stands at its address is the description that was remembered, and not another one in its memory. */
static __always_inline bool writer__stands(struct writer *writer, struct file *file)
{
	struct file_view view;

	return file__view(&view, file) == 0 && view.inode == writer->inode && ((view.mode ^ writer->mode) & (FMODE_READ | FMODE_WRITE)) == 0;
}

static __always_inline bool writer__lives(struct writer *writer, struct file *file)
{
	return file__references(file) > 0 && writer__stands(writer, file);
}

/* What the one that reports an end knows of the description. */
enum end {
	END_ALIVE,    /* it stands: this is called right before its release */
	END_RELEASED, /* it was looked at, and is gone */
	END_REUSED,   /* another one was opened at its address */
};

/* True for the one that may report the end: a call that closes and the sweep may both see it. The memory of an entry that was seen released
 * may serve another one since: it is looked at once more. */
static __always_inline bool writer__claim(struct writer *writer, struct file *file, enum end end)
{
	if (__sync_val_compare_and_swap(&writer->claimed, 0, 1))
		return false;
	if (end != END_RELEASED || !writer__lives(writer, file))
		return true;
	MEMORY(writer->claimed) = 0;
	return false;
}

static __always_inline struct writer *writer__copy(struct writer *writer, u32 slot)
{
	struct writer *copy = bpf_map_lookup_elem(&taken_writers, &slot);

	if (copy)
		*copy = *writer;
	return copy;
}

/* Takes a claimed entry out of the map. */
static __always_inline struct writer *writer__take(u64 key, struct writer *writer, u32 slot)
{
	struct writer *taken = writer__copy(writer, slot);
	struct watch_state *state = watch__state();

	if (bpf_map_delete_elem(&picket_writers, &key) == 0 && state)
		__sync_fetch_and_add(&state->writers, -1);
	return taken;
}

/* What tells the file from the next one in the same memory. A frame of its own, for the stack of its callers. */
static __noinline void writer__identify(struct writer *writer, struct file_view *view)
{
	struct inode *inode = view->inode;
	struct dentry *dentry = view->dentry;

	writer->inode = inode;
	writer->dentry = dentry;
	writer->mnt = view->mnt;
	writer->number = BPF_CORE_READ(inode, i_ino);
	writer->generation = BPF_CORE_READ(inode, i_generation);
	writer->name_hash = BPF_CORE_READ(dentry, d_name.hash);
}

/*
 * The name that a released description had, or another one of the same file (one without a name was linked into place since). A removed file's
 * inode and its number serve the next one within microseconds; without a generation only the name that it was opened by can be trusted.
 */
static __always_inline struct dentry *writer__name(struct writer *writer)
{
	struct dentry *dentry = writer->dentry;
	struct inode *inode = writer->inode;
	struct hlist_node *alias;

	if (BPF_CORE_READ(inode, i_ino) != writer->number || BPF_CORE_READ(inode, i_generation) != writer->generation)
		return NULL;
	if (BPF_CORE_READ(dentry, d_inode) != inode) {
		alias = BPF_CORE_READ(inode, i_dentry.first);
		if (!alias)
			return NULL;
		dentry = dentry__of_alias(alias);
		if (BPF_CORE_READ(dentry, d_inode) != inode)
			return NULL;
	}
	return writer->generation || BPF_CORE_READ(dentry, d_name.hash) == writer->name_hash ? dentry : NULL;
}

/* Reports on a description from what was remembered; true content of the inode only while it is surely the same. */
static __always_inline void writer__report(struct writer *writer, struct file_scratch *scratch, bool alive, u8 op, u32 slot)
{
	struct event_file *event = &scratch->event;
	struct watch_subject subject = {};
	struct dentry *dentry = writer->dentry;

	event->op = op;
	event->watch_id = writer->watch_id;
	event->open_flags = writer->flags;
	event->mode_bits = writer->mode & (FMODE_READ | FMODE_WRITE);
	event->inode = writer->number;
	event->owner_uid = 0;
	event->i_mode = 0;
	event->size = 0;
	event->device = 0;
	event->path_len = 0;
	/* After the release nothing holds the dentry: it is used only while it still names the same inode. */
	if (!alive) {
		dentry = writer__name(writer);
		if (!dentry) {
			MEMORY(scratch->sink.flags) |= EVENT_F_PATH_DETACHED;
			file__submit(scratch);
			return;
		}
	}
	if (inode__view(&subject, writer->inode) == 0)
		file__attributes(event, &subject, writer->watch_id, op);
	event->path_len = file__path(slot, (u64)dentry, (u64)writer->mnt);
	if (dentry__unhashed(dentry))
		MEMORY(scratch->sink.flags) |= EVENT_F_PATH_DETACHED;
	file__submit(scratch);
}

#include "quick.h"
#include "usage.h"

/* The end of a description that was open for writing, with what the process in the header did through it. */
static __always_inline void writer__ended(u64 key, struct writer *writer, struct file_scratch *scratch, enum end end, u32 slot)
{
	struct writer *taken;

	if (!writer__claim(writer, (struct file *)key, end))
		return;
	/* First: a use without a writer is told on its own. */
	use__ends_with(&scratch->event, key);
	scratch->event.until_end = 1;
	taken = writer__take(key, writer, slot);
	if (taken)
		writer__report(taken, scratch, end == END_ALIVE, EVENT_FILE_CLOSE_WRITE, slot);
}

/* The end of a description that nobody was seen ending: in the name of its opener. */
static __always_inline void writer__ended_unseen(u64 key, struct writer *writer, enum end end, u32 slot)
{
	struct file_scratch *scratch = file__scratch(slot);

	if (!scratch)
		return;
	header__fill(&scratch->event.header, EVENT_FILE);
	scratch->event.header.task = writer->opener;
	writer__ended(key, writer, scratch, end, slot);
}

/* The end of a description by the current task. */
static __always_inline void writer__ended_by(u64 key, struct writer *writer, struct task_struct *task, enum end end, u32 slot)
{
	struct file_scratch *scratch = file__scratch(slot);

	if (!scratch)
		return;
	header__begin(&scratch->event.header, EVENT_FILE, task);
	if (!use__exists(key, task->tgid) && use__exists(key, writer->opener.pid))
		scratch->event.header.task = writer->opener;
	writer__ended(key, writer, scratch, end, slot);
}

/* A watched file was opened at this address: what stood there before is over. Somebody else may be about to take it out. */
static __noinline void description__begins(u64 key, u32 tgid, u32 slot)
{
	struct writer *writer = bpf_map_lookup_elem(&picket_writers, &key);

	if (writer)
		writer__ended_unseen(key, writer, END_REUSED, slot);
	for (u32 round = 0; writer && round < TAKEN_WAIT_MAX; round++)
		writer = bpf_map_lookup_elem(&picket_writers, &key);
	use__over(key, tgid, END_REUSED, slot);
}

/* A frame of its own: the verifiers before 6.13 count 512 bytes of stack for a program and what it calls, and the caller calls the judge as well. */
static __noinline void writer__opened(struct file *file, struct file_view *view, struct event_task *opener, u32 watch_id)
{
	u64 key = (u64)file;
	struct watch_state *state = watch__state();
	struct writer writer = { .watch_id = watch_id, .flags = view->flags, .mode = view->mode };

	writer__identify(&writer, view);
	writer.opener = *opener;
	if (bpf_map_update_elem(&picket_writers, &key, &writer, BPF_NOEXIST)) {
		counter__add(COUNTER_MAP_FULL + CLASS_FILE);
		return;
	}
	if (state)
		__sync_fetch_and_add(&state->writers, 1);
}

static __always_inline bool descriptions__any(void)
{
	struct watch_state *state = watch__state();

	return state && (state->writers || state->uses);
}

/* What a descriptor of a process stood for, when the description is gone already. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, u64);
	__type(value, u64);
} picket_descriptors SEC(".maps");

static __always_inline u64 descriptor__key(struct task_struct *task, u64 fd)
{
	return (u64)task->tgid << 32 | (u32)fd;
}

static __always_inline void descriptor__note(struct task_struct *task, u64 fd, u64 file)
{
	u64 key = descriptor__key(task, fd);

	bpf_map_update_elem(&picket_descriptors, &key, &file, BPF_ANY);
}

/* A description that lost one of its descriptors: over, where that was the last. */
static __always_inline void description__left(struct task_struct *task, u64 key)
{
	struct writer *writer = bpf_map_lookup_elem(&picket_writers, &key);

	if (!writer)
		use__left(task, key);
	else if (!writer__lives(writer, (struct file *)key)) /* else others hold it: the last one, or the sweep, reports */
		writer__ended_by(key, writer, task, END_RELEASED, FILE_SLOT_CLOSE);
}

/* close(2) is over. Another thread may have opened a file with the same descriptor since: then that one is remembered already. */
static __always_inline int descriptor__closed(struct task_struct *task, u64 fd)
{
	u64 key = descriptor__key(task, fd), *known = bpf_map_lookup_elem(&picket_descriptors, &key), file;

	if (!known)
		return 0;
	file = *known;
	if ((u64)fd__file(task, fd) == file)
		return 0;
	bpf_map_delete_elem(&picket_descriptors, &key);
	description__left(task, file);
	return 0;
}

/* A descriptor was made from another one, perhaps over a third. */
static __always_inline int descriptor__duplicated(struct task_struct *task, u64 fd)
{
	u64 key = descriptor__key(task, fd), *known = bpf_map_lookup_elem(&picket_descriptors, &key);
	u64 file = (u64)fd__file(task, fd), before = known ? *known : 0;

	if (file == before)
		return 0;
	if (bpf_map_lookup_elem(&picket_writers, &file))
		descriptor__note(task, fd, file);
	else if (before)
		bpf_map_delete_elem(&picket_descriptors, &key);
	if (before)
		description__left(task, before);
	return 0;
}

struct table_walk {
	bool again; /* the second round: what the process did through descriptions that others hold */
	bool needed;
};

/* One descriptor of a table that ends: reported once every reference to its description was seen in this table. */
static long writer__table_entry(u64 fd, struct table_walk *walk)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct file *file = fd__file(task, fd);
	u64 key = (u64)file;
	struct writer *writer;

	if (!file)
		return fd >= task->files->fdt->max_fds;
	writer = walk->again ? NULL : bpf_map_lookup_elem(&picket_writers, &key);
	if (writer && writer__lives(writer, file)) {
		writer->references++;
		if (file__references(file) == writer->references)
			writer__ended_by(key, writer, task, END_ALIVE, FILE_SLOT_TASK);
		else
			walk->needed = true;
		return 0;
	}
	use__over(key, task->tgid, END_ALIVE, FILE_SLOT_USE);
	return 0;
}

/* A task that ends, perhaps as the last user of its descriptor table. bpf_loop is of 5.17: before, the sweep alone reports. Beyond DESCRIPTORS_MAX
 * the sweep reports. */
static __always_inline int file__task_exit(struct task_struct *task)
{
	struct files_struct *files = task->files;
	struct signal_struct *signal = task->signal;
	struct table_walk walk = {};

	if (files && files->count.counter == 1 && descriptions__any()) {
		bpf_loop(DESCRIPTORS_MAX, writer__table_entry, &walk, 0);
		walk.again = true;
		if (walk.needed)
			bpf_loop(DESCRIPTORS_MAX, writer__table_entry, &walk, 0);
	}
	if (signal->live.counter == 0)
		holder__ended(task->tgid);
	return 0;
}

/* One remembered description, looked at by the loader's sweep: what stands in the map now, not when the iterator came by. */
static __always_inline int writer__sweep(u64 key)
{
	struct writer *writer = bpf_map_lookup_elem(&picket_writers, &key);

	if (writer && !writer__lives(writer, (struct file *)key))
		writer__ended_unseen(key, writer, END_RELEASED, FILE_SLOT_SWEEP);
	return 0;
}

/* The last reference to a description goes, whoever held it. */
static __always_inline int file__released(struct file *file)
{
	struct task_struct *task;
	struct writer *writer;
	u64 key = (u64)file;

	if (!descriptions__any())
		return 0;
	task = bpf_get_current_task_btf();
	writer = bpf_map_lookup_elem(&picket_writers, &key);
	if (writer && !writer__stands(writer, file)) /* neither its end was seen, nor the opening of this one */
		writer__ended_unseen(key, writer, END_REUSED, FILE_SLOT_CLOSE);
	else if (writer && (task->flags & PF_KTHREAD)) /* put off to a worker: its opener is who is known */
		writer__ended_unseen(key, writer, END_ALIVE, FILE_SLOT_CLOSE);
	else if (writer)
		writer__ended_by(key, writer, task, END_ALIVE, FILE_SLOT_CLOSE);
	use__over(key, task->tgid, END_ALIVE, FILE_SLOT_USE);
	return 0;
}
