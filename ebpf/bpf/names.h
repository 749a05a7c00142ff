/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Rename, unlink, link and changes: which dentry a successful call moved, removed or changed.
 *
 * The call's own arguments are user memory that another thread can rewrite, so they are never read. In the middle of the call, which the
 * saved registers name, the kernel shows the objects it works on, to one of these hooks (the loader takes the first that attaches):
 * 1. fentry and fexit of vfs_rename, vfs_unlink, vfs_link, and of what changes attributes and sizes: the dentries themselves, for io_uring and nfsd as well (functions.bpf.c).
 * 2. The change-time tracepoints of 6.13+ (inode_set_ctime_to_ts, ctime_xchg_skip, ctime_ns_xchg): every file system sets the
 *    change time of the file that it renames or unlinks; its names are then read from the inode. Neither: the probe reports that it
 *    is not attached. Rejected: the arguments (racy), ext4's own unlink tracepoint (one file system), fanotify (no process, merges).
 *
 * A candidate is a name as it was before the change. At the call's exit, when it succeeded, the candidate whose dentry has moved was
 * renamed; the one whose dentry has lost its inode or its place was unlinked.
 *
 * Cannot see: by which mount the caller came, so that a path begins at the watch's mount, or at that of the working directory; io_uring
 * renames and unlinks (hook 2 only); file systems that do not set change times themselves (NFS, FUSE: hook 2 only); the fourth
 * and later names of one inode (hook 2). A success without a candidate found is counted.
 * What an unprivileged process can do: have more than NAMING_MAX calls sleep at once (the oldest are forgotten, counted at their exit).
 */
#pragma once
#include "syscalls.h"

enum naming_call { NAMING_RENAME = 1, NAMING_UNLINK = 2, NAMING_LINK = 3, NAMING_CHANGE = 4 };

#define CANDIDATES_MAX 4
#define NAMING_MAX 512

struct candidate {
	struct dentry *dentry;
	struct dentry *parent;
	struct watch_subject subject;
	u64 size;
	u64 name_hash_len;
	u32 device;
	u32 watch_id;
	u32 matched;
	u32 reserved;
	char name[COMPONENT_MAX];
};

struct naming {
	u32 call;
	u32 count;
	u32 depth; /* calls within calls: overlayfs renames a file of the layer below */
	u32 early; /* shown before the change (hook 1), not in its middle */
	u64 inode, dentry; /* on their way to naming__add: a global function takes numbers, and a typed pointer becomes one in a map */
	struct candidate candidate[CANDIDATES_MAX];
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, NAMING_MAX);
	__type(key, u32);
	__type(value, struct naming);
} picket_naming SEC(".maps");

/* The zeroed value that a call starts with. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct naming);
} naming_blank SEC(".maps");

static __always_inline int naming__begin(u32 call)
{
	u32 tid = bpf_get_current_pid_tgid(), zero = 0;
	struct naming *blank = bpf_map_lookup_elem(&naming_blank, &zero), *naming;

	if (!blank || bpf_map_update_elem(&picket_naming, &tid, blank, BPF_ANY)) {
		counter__add(COUNTER_MAP_FULL + CLASS_FILE);
		return 0;
	}
	naming = bpf_map_lookup_elem(&picket_naming, &tid);
	if (naming)
		naming->call = call;
	return 0;
}

static __always_inline struct naming *naming__current(void)
{
	u32 tid = bpf_get_current_pid_tgid();

	return bpf_map_lookup_elem(&picket_naming, &tid);
}

/* The bound stays where the verifier of 6.1 sees it, though the compiler knows it already. */
static __always_inline struct candidate *naming__candidate(struct naming *naming, u32 index)
{
	asm volatile("" : "+r"(index));
	index &= CANDIDATES_MAX - 1;
	asm volatile("" : "+r"(index));
	return &naming->candidate[index];
}

/* Remembers one name of an inode. */
__noinline u32 naming__add(u64 of, u64 name)
{
	struct inode *inode = (struct inode *)of;
	struct dentry *dentry = (struct dentry *)name;
	struct naming *naming = naming__current();
	u32 at = naming ? naming->count : CANDIDATES_MAX, i;
	struct candidate *candidate;
	struct watch_config *config = watch__config();
	struct super_block *super;
	struct dentry_view view;
	struct watch_verdict verdict;

	/* Out of the tree already: a name unlinked earlier, whose file somebody still holds open. */
	if (!naming || at >= CANDIDATES_MAX || !config || dentry__unhashed(dentry) || dentry__view(&view, dentry, true))
		return 0;
	for (i = 0; i < CANDIDATES_MAX; i++) /* seen already: the change time is set more than once */
		if (i < at && naming->candidate[i].dentry == dentry)
			return 0;
	candidate = naming__candidate(naming, at);
	if (inode__view(&candidate->subject, inode))
		return 0;
	if (naming->call == NAMING_UNLINK && !naming->early)
		candidate->subject.links++; /* the count is without this name already */
	super = candidate->subject.super;
	candidate->dentry = dentry;
	candidate->parent = view.parent;
	candidate->name_hash_len = view.name_hash_len;
	candidate->size = BPF_CORE_READ(inode, i_size);
	candidate->device = BPF_CORE_READ(super, s_dev);
	bpf_probe_read_kernel_str(candidate->name, sizeof(candidate->name), BPF_CORE_READ(dentry, d_name.name));
	verdict = watch__judge(config, &candidate->subject, &view);
	candidate->watch_id = verdict.id;
	candidate->matched = verdict.matched;
	naming->count = at + 1;
	return 1;
}

static __always_inline void naming__pass(struct naming *naming, struct inode *inode, struct dentry *dentry)
{
	MEMORY(naming->inode) = (u64)inode;
	MEMORY(naming->dentry) = (u64)dentry;
	naming__add(MEMORY(naming->inode), MEMORY(naming->dentry));
}

/* Which naming call the current task is in, 0 for none. */
static __always_inline u32 naming__call(struct task_struct *task)
{
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(task);

	switch (syscall__slot(task, regs->orig_ax)) {
	case SLOT_RENAME:
		return NAMING_RENAME;
	case SLOT_UNLINK:
		return NAMING_UNLINK;
	case SLOT_LINK:
		return NAMING_LINK;
	case SLOT_CHANGE:
		return NAMING_CHANGE;
	default:
		return 0;
	}
}

/* The change time of an inode is being set: in the middle of a call that renames, removes or links it, or for any other reason. */
static __always_inline int naming__changed(struct inode *inode)
{
	struct task_struct *task = bpf_get_current_task_btf();
	u32 call = task->flags & PF_KTHREAD ? 0 : naming__call(task);
	struct hlist_node *node;
	struct naming *naming;
	u16 kind;
	int i;

	if (!call)
		return 0;
	kind = inode->i_mode & S_IFMT;
	if (kind == S_IFDIR && call != NAMING_RENAME)
		return 0;
	naming = naming__current();
	if (!naming || naming->call != call) {
		naming__begin(call);
		naming = naming__current();
		if (!naming)
			return 0;
	}
	node = inode->i_dentry.first;
	for (i = 0; i < (call == NAMING_CHANGE ? 1 : CANDIDATES_MAX - 1) && node; i++) {
		naming__pass(naming, inode, dentry__of_alias(node));
		node = BPF_CORE_READ(node, next);
	}
	return 0;
}

/* A mount through which a dentry is reachable: the path's beginning. */
static __always_inline struct vfsmount *naming__mount(struct task_struct *task, struct super_block *super)
{
	struct fs_struct *fs = task->fs;
	struct vfsmount *mnt;
	u64 key = (u64)super, *known = bpf_map_lookup_elem(&picket_supers, &key);
	struct mount *first = NULL;

	if (known && *known)
		return (struct vfsmount *)*known;
	mnt = BPF_CORE_READ(fs, pwd.mnt);
	if (BPF_CORE_READ(mnt, mnt_sb) == super)
		return mnt;
	mnt = BPF_CORE_READ(fs, root.mnt);
	if (BPF_CORE_READ(mnt, mnt_sb) == super)
		return mnt;
	/* 6.17+: a plain list. Before, the path starts at the file system's root and is flagged. */
	if (bpf_core_field_exists(first->mnt_next_for_sb)) {
		first = BPF_CORE_READ(super, s_mounts);
		if (first)
			return (void *)first + bpf_core_field_offset(struct mount, mnt);
	}
	return mnt;
}

static __always_inline void naming__report(struct candidate *candidate, struct task_struct *task, u8 op, u32 slot)
{
	struct vfsmount *mnt = naming__mount(task, candidate->subject.super);
	struct file_scratch *scratch = file__scratch(slot);
	struct event_file *event;

	if (!scratch)
		return;
	event = &scratch->event;
	header__begin(&event->header, EVENT_FILE, task);
	event->op = op;
	event->watch_id = candidate->watch_id;
	event->inode = candidate->subject.number;
	event->owner_uid = candidate->subject.owner_uid;
	event->i_mode = candidate->subject.mode;
	event->size = candidate->size;
	event->device = candidate->device;
	if (op == EVENT_FILE_CHANGE) {
		struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(task);
		struct inode *inode = candidate->subject.inode; /* the caller may hold it no more, the cache does */

		event->change = syscall__change(task, regs->orig_ax);
		event->i_mode = BPF_CORE_READ(inode, i_mode);
		event->owner_uid = BPF_CORE_READ(inode, i_uid.val);
		event->size = BPF_CORE_READ(inode, i_size);
	}
	path__append_name(scratch->data, FILE_DATA, &scratch->sink, candidate->name);
	event->path_len = MEMORY(scratch->sink.used);
	event->path_len += file__path(slot, (u64)candidate->parent, (u64)mnt);
	if (op == EVENT_FILE_RENAME || op == EVENT_FILE_LINK)
		event->new_path_len = file__path(slot, (u64)candidate->dentry, (u64)mnt);
	file__submit(scratch);
}

/* A file that has a name in a watched tree and one more: from now on known by its inode. */
static __always_inline bool naming__linked(struct candidate *candidate)
{
	struct inode_key key = { .super_ptr = (u64)candidate->subject.super, .inode = candidate->subject.number };
	struct watch_config *config = watch__config();
	u32 id = candidate->watch_id;

	if (!config || !super__is_watched(config, candidate->subject.super))
		return true;
	if (!id)
		id = watch__aliases((u64)candidate->subject.inode);
	if (id && bpf_map_update_elem(&picket_links, &key, &id, BPF_ANY))
		counter__add(COUNTER_MAP_FULL + CLASS_FILE);
	return true;
}

/* A new name of a watched file, or a file's new name in a watched place: the newest name of an inode is its first. */
static __always_inline void naming__link_made(struct candidate *candidate, struct task_struct *task, u32 slot)
{
	struct watch_config *config = watch__config();
	struct inode *inode = candidate->subject.inode;
	struct hlist_node *newest = BPF_CORE_READ(inode, i_dentry.first);
	struct dentry *made = dentry__of_alias(newest);
	struct dentry_view name;
	struct watch_verdict verdict;

	if (!config || !newest || made == candidate->dentry || dentry__view(&name, made, true))
		return;
	verdict = watch__judge(config, &candidate->subject, &name);
	if (!candidate->watch_id)
		candidate->watch_id = verdict.id;
	if ((!candidate->matched && !verdict.matched) || own__is_current())
		return;
	candidate->dentry = made;
	naming__report(candidate, task, EVENT_FILE_LINK, slot);
}

/* Judges one candidate after the call succeeded. Returns true where it was the object. */
__noinline u32 naming__settle(u32 index, u32 slot)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct naming *naming = naming__current();
	struct candidate *candidate;
	struct watch_config *config = watch__config();
	struct dentry_view now;
	struct watch_verdict verdict;

	if (!naming)
		return false;
	candidate = naming__candidate(naming, index);
	if (naming->call == NAMING_LINK) {
		if (index == 0)
			naming__link_made(candidate, task, slot);
		return naming__linked(candidate);
	}
	if (naming->call == NAMING_CHANGE) {
		if (candidate->matched && !own__is_current())
			naming__report(candidate, task, EVENT_FILE_CHANGE, slot);
		return true;
	}
	if (!config || dentry__view(&now, candidate->dentry, true))
		return false;
	if (naming->call == NAMING_UNLINK) {
		if (now.inode == candidate->subject.inode && !dentry__unhashed(candidate->dentry))
			return false;
		if (candidate->matched && !own__is_current())
			naming__report(candidate, task, EVENT_FILE_UNLINK, slot);
		return true;
	}
	if (now.inode != candidate->subject.inode || (now.parent == candidate->parent && now.name_hash_len == candidate->name_hash_len))
		return false;
	if ((candidate->subject.mode & S_IFMT) == S_IFDIR)
		watch__forget(); /* every verdict below it may be different now */
	verdict = watch__judge(config, &candidate->subject, &now);
	if (verdict.id)
		candidate->watch_id = verdict.id;
	if (verdict.id && candidate->subject.links > 1) { /* its other names are watched from now on */
		naming__linked(candidate);
		watch__forget();
	}
	if ((verdict.matched || candidate->matched) && !own__is_current())
		naming__report(candidate, task, EVENT_FILE_RENAME, slot);
	return true;
}

static __always_inline int naming__end(long ret, u32 slot)
{
	struct naming *naming = naming__current();
	u32 tid = bpf_get_current_pid_tgid(), i;
	bool found = false;

	if (!naming)
		return 0;
	if (naming->depth) {
		naming->depth--;
		return 0;
	}
	if (ret == 0) {
		for (i = 0; i < CANDIDATES_MAX; i++)
			if (i < naming->count && naming__settle(i, slot))
				found = true;
		if (!found)
			counter__add(COUNTER_E_NAME);
	}
	bpf_map_delete_elem(&picket_naming, &tid);
	return 0;
}

#define AT_REMOVEDIR 0x200

static __always_inline bool naming__removes_directory(struct task_struct *task, struct pt_regs *regs)
{
	bool compat = syscall__is_compat(task);

	return regs->orig_ax == (compat ? 301 : 263) && (regs->dx & AT_REMOVEDIR);
}

/* The exit of a call whose objects the change-time tracepoints showed. */
static __always_inline int naming__call_ended(struct pt_regs *regs, long ret)
{
	if (naming__current())
		return naming__end(ret, FILE_SLOT_RENAME);
	if (ret == 0 && !naming__removes_directory(bpf_get_current_task_btf(), regs))
		counter__add(COUNTER_E_NAME);
	return 0;
}

/* A call on a dentry begins, inside the kernel. */
static __always_inline struct naming *naming__within(u32 call)
{
	struct naming *naming = naming__current();

	if (naming) {
		naming->depth++;
		return NULL;
	}
	naming__begin(call);
	naming = naming__current();
	if (naming)
		naming->early = 1;
	return naming;
}

static __always_inline int naming__of(u32 call, struct dentry *dentry)
{
	struct naming *naming = naming__within(call);

	if (naming)
		naming__pass(naming, dentry->d_inode, dentry);
	return 0;
}

/* Attributes, extended ones or the size of a file, in the calls that ask for their change: not in a write, nor in an open that empties. */
static __always_inline bool naming__is_change(struct dentry *dentry)
{
	struct task_struct *task = bpf_get_current_task_btf();

	return !(task->flags & PF_KTHREAD) && naming__call(task) == NAMING_CHANGE && (dentry->d_inode->i_mode & S_IFMT) != S_IFDIR;
}

static __always_inline int naming__changing(struct dentry *dentry)
{
	return naming__is_change(dentry) ? naming__of(NAMING_CHANGE, dentry) : 0;
}

static __always_inline int naming__change_done(struct dentry *dentry, int ret)
{
	return naming__is_change(dentry) ? naming__end(ret, FILE_SLOT_RENAME) : 0;
}

static __always_inline int naming__renaming(struct renamedata *data)
{
	struct naming *naming = naming__within(NAMING_RENAME);

	if (!naming)
		return 0;
	naming__pass(naming, data->old_dentry->d_inode, data->old_dentry);
	if (data->flags & RENAME_EXCHANGE)
		naming__pass(naming, data->new_dentry->d_inode, data->new_dentry);
	return 0;
}
