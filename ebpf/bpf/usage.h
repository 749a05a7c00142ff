/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * How many bytes a process moved in and out of a watched file: summed here, told at the end of the description or of the process and, while
 * neither has ended, every few seconds by the loader's sweep. Never a record a read.
 *
 * Hooks: the exits of the calls that move bytes, for processes that may hold a watched file alone (holders.h); a file that such a process got by any
 * other way than an open (inherited, passed over a socket, opened before the sensor) is judged at its first use. Of a mapping the calls
 * show nothing: the page faults that make its pages reachable are counted (mm_filemap_map_pages, mm_filemap_fault), a page may be counted
 * again after it was taken away, and one mapped as part of a huge page is not. What is written through a shared mapping is not counted;
 * the record says that there was one. Rejected: f_pos (knows nothing of pread), the process's own I/O sums (all files together),
 * fentry of vfs_read (sendfile and splice do not pass it).
 *
 * Cannot see: what is done with descriptors that a process had before the sensor started, until it opens a watched file; bytes moved by tee
 * and vmsplice (they move pipes' bytes).
 * What an unprivileged process can do: use many descriptions at once (bounded by the map, counted).
 */
#pragma once

#define USE_TOLD_EVERY_NS 2000000000ULL

struct use_key {
	u64 file;
	u32 tgid;
	u32 reserved;
};

struct use {
	struct writer at; /* of whom and what; its opener is the process that uses it */
	u64 bytes_read, bytes_written;
	u64 told_read, told_written;
	u64 told_ns;
	u32 methods;
	u32 told_methods;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct use_key);
	__type(value, struct use);
} picket_uses SEC(".maps");

/* The zeroed value that a use starts with: too large for a program's stack. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct use);
} use_blank SEC(".maps");

/* Mapped files: { inode, tgid } → the description that was mapped. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, struct use_key);
	__type(value, u64);
} picket_mapped SEC(".maps");

static __always_inline void use__forget(struct use_key *key)
{
	struct watch_state *state = watch__state();

	if (bpf_map_delete_elem(&picket_uses, key) == 0 && state)
		__sync_fetch_and_add(&state->uses, -1);
}

static __always_inline void use__fill(struct event_file *event, struct use *use)
{
	event->bytes_read = use->bytes_read;
	event->bytes_written = use->bytes_written;
	event->methods |= use->methods;
}

static __always_inline struct file_scratch *use__record(struct use *use, bool until_end, u32 slot)
{
	struct file_scratch *scratch = file__scratch(slot);

	if (!scratch)
		return NULL;
	header__fill(&scratch->event.header, EVENT_FILE);
	scratch->event.header.task = use->at.opener;
	use__fill(&scratch->event, use);
	scratch->event.until_end = until_end;
	return scratch;
}

/* Tells what a use has come to that goes on. */
static __always_inline void use__tell(struct use *use, u32 slot)
{
	struct file_scratch *scratch = use__record(use, false, slot);

	if (!scratch)
		return;
	use->told_read = scratch->event.bytes_read;
	use->told_written = scratch->event.bytes_written;
	use->told_methods = scratch->event.methods;
	use->told_ns = bpf_ktime_get_boot_ns();
	writer__report(&use->at, scratch, true, EVENT_FILE_USE, slot);
}

static __always_inline bool use__exists(u64 file, u32 tgid)
{
	struct use_key key = { .file = file, .tgid = tgid };

	return bpf_map_lookup_elem(&picket_uses, &key) != NULL;
}

/* The use that ends together with a description opened for writing goes into the record of its close. */
static __always_inline void use__ends_with(struct event_file *event, u64 file)
{
	struct use_key key = { .file = file, .tgid = event->header.task.pid };
	struct use *use = bpf_map_lookup_elem(&picket_uses, &key);

	if (!use || !writer__claim(&use->at, (struct file *)file, END_ALIVE))
		return;
	use__fill(event, use);
	use__forget(&key);
}

/* A use begins, where the file is watched. */
static __noinline struct use *use__begin(struct task_struct *task, struct file *file, struct use_key *key)
{
	struct watch_state *state = watch__state();
	struct watch_subject subject;
	struct watch_verdict verdict;
	struct dentry_view name;
	struct file_view view;
	struct use *use;
	u32 zero = 0;

	verdict.matched = file__judge(file, &view, &subject, &name, &verdict.id);
	if (!verdict.matched || own__is_current())
		return NULL;
	use = bpf_map_lookup_elem(&use_blank, &zero);
	if (!use || bpf_map_update_elem(&picket_uses, key, use, BPF_NOEXIST)) {
		counter__add(COUNTER_MAP_FULL + CLASS_FILE);
		return NULL;
	}
	use = bpf_map_lookup_elem(&picket_uses, key);
	if (!use)
		return NULL;
	writer__identify(&use->at, &view);
	use->at.watch_id = verdict.id;
	use->at.flags = view.flags;
	use->at.mode = view.mode;
	task__identify(&use->at.opener, task);
	use->told_ns = bpf_ktime_get_boot_ns();
	if (view.flags & O_DIRECT_BIT)
		use->methods = EVENT_METHOD_DIRECT;
	if (state)
		__sync_fetch_and_add(&state->uses, 1);
	return use;
}

static __always_inline struct use *use__of(struct task_struct *task, struct file *file)
{
	struct use_key key = { .file = (u64)file, .tgid = task->tgid };
	struct use *use;

	if (!file)
		return NULL;
	use = bpf_map_lookup_elem(&picket_uses, &key);
	if (use && !MEMORY(use->at.claimed))
		return use;
	/* One that is being taken out is of the description that had this address before. */
	for (u32 round = 0; use && round < TAKEN_WAIT_MAX; round++)
		use = bpf_map_lookup_elem(&picket_uses, &key);
	return use__begin(task, file, &key);
}

/* Bytes went through a descriptor. */
static __always_inline int usage__moved(struct task_struct *task, u64 fd, u64 bytes, bool written, u32 methods)
{
	struct use *use;

	if (quick__descriptor_is_unwatched(task, fd))
		return 0;
	use = use__of(task, fd__file(task, fd));
	if (!use)
		return 0;
	__sync_fetch_and_add(written ? &use->bytes_written : &use->bytes_read, bytes);
	if (methods & ~use->methods)
		use->methods |= methods;
	return 0;
}

#define MAP_SHARED_BIT 1
#define PROT_WRITE_BIT 2

static __always_inline int usage__mapped(struct task_struct *task, u64 fd, u64 protection, u64 flags)
{
	struct file *file;
	struct use *use;

	if (quick__descriptor_is_unwatched(task, fd))
		return 0;
	file = fd__file(task, fd);
	use = use__of(task, file);
	if (use) {
		struct use_key key = { .file = (u64)use->at.inode, .tgid = task->tgid };
		u64 value = (u64)file;

		use->methods |= EVENT_METHOD_MMAP;
		if ((flags & MAP_SHARED_BIT) && (protection & PROT_WRITE_BIT))
			use->methods |= EVENT_METHOD_MMAP_WRITE;
		bpf_map_update_elem(&picket_mapped, &key, &value, BPF_ANY);
	}
	return 0;
}

/* Pages of a file became reachable for the current process. */
static __always_inline int usage__faulted(struct address_space *mapping, u64 pages)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct use_key key = {};
	struct use *use;
	u64 *file;

	if (!holders__may_include(task->tgid))
		return 0;
	key.file = (u64)mapping->host;
	key.tgid = task->tgid;
	file = bpf_map_lookup_elem(&picket_mapped, &key);
	if (!file)
		return 0;
	key.file = *file;
	use = bpf_map_lookup_elem(&picket_uses, &key);
	if (use)
		__sync_fetch_and_add(&use->bytes_read, pages << 12);
	return 0;
}

/* The end of what a process did through a description: taken out of the map before it is told, as an entry of a writer is. */
static __always_inline void use__ended(struct use_key *key, struct use *use, enum end end, u32 slot)
{
	struct file_scratch *scratch;
	struct writer *taken;

	if (!writer__claim(&use->at, (struct file *)key->file, end))
		return;
	scratch = use__record(use, true, slot);
	taken = writer__copy(&use->at, slot);
	use__forget(key);
	if (scratch && taken)
		writer__report(taken, scratch, end == END_ALIVE, EVENT_FILE_USE, slot);
}

/* A process is through with a description, whether or not others hold it. */
static __always_inline void use__over(u64 file, u32 tgid, enum end end, u32 slot)
{
	struct use_key key = { .file = file, .tgid = tgid };
	struct use *use = bpf_map_lookup_elem(&picket_uses, &key);

	if (!use)
		return;
	if (end == END_ALIVE && !writer__stands(&use->at, (struct file *)file))
		end = END_REUSED;
	use__ended(&key, use, end, slot);
}

/* A description that cannot write lost one of its descriptors in this process. */
static __always_inline void use__left(struct task_struct *task, u64 file)
{
	struct use_key key = { .file = file, .tgid = task->tgid };
	struct use *use = bpf_map_lookup_elem(&picket_uses, &key);

	if (use && !writer__lives(&use->at, (struct file *)file))
		use__ended(&key, use, END_RELEASED, FILE_SLOT_USE);
}

/* One use, looked at by the loader's sweep: its end, or what it has come to meanwhile. The end of a description that could write is told by
 * writer__sweep, with the sums of its opener: those of others follow in the next sweep. */
static __always_inline int use__sweep(struct use_key *at)
{
	struct use_key key = *at;
	struct use *use = bpf_map_lookup_elem(&picket_uses, &key);
	struct writer *writer;

	if (!use)
		return 0;
	if (!writer__lives(&use->at, (struct file *)key.file)) {
		writer = bpf_map_lookup_elem(&picket_writers, &key.file);
		if (!writer || writer->inode != use->at.inode)
			use__ended(&key, use, END_RELEASED, FILE_SLOT_SWEEP);
		return 0;
	}
	if (use->bytes_read == use->told_read && use->bytes_written == use->told_written && use->methods == use->told_methods)
		return 0;
	if (bpf_ktime_get_boot_ns() - use->told_ns >= USE_TOLD_EVERY_NS)
		use__tell(use, FILE_SLOT_SWEEP);
	return 0;
}
