/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The quick no: most opens are of files that nobody watches, and are told so here by loads that the verifier checks, without a single
 * helper call (a helper that copies 8 bytes costs as much as all of this). Says no only where watch__judge would; anything else is
 * for the slower way, which also fills the table of what is unwatched.
 */
#pragma once
#include "procfs.h"
#include "watch.h"

#define DESCRIPTORS_INLINE 64

/* A slot of the table that lies in files_struct itself, where most processes' descriptors are: a typed pointer, unlike one read from memory.
 * The verifier takes constant offsets only, and the compiler must not see that these are a row. */
#define SLOT_AT(n) case n: file = files->fd_array[n]; asm volatile("" : "+r"(file)); break;
#define SLOTS_AT(n) SLOT_AT(n) SLOT_AT(n + 1) SLOT_AT(n + 2) SLOT_AT(n + 3) SLOT_AT(n + 4) SLOT_AT(n + 5) SLOT_AT(n + 6) SLOT_AT(n + 7)

static __always_inline struct file *files__inline(struct files_struct *files, u64 fd)
{
	struct file *file = NULL;

	switch (fd) {
	SLOTS_AT(0)
	SLOTS_AT(8)
	SLOTS_AT(16)
	SLOTS_AT(24)
	SLOTS_AT(32)
	SLOTS_AT(40)
	SLOTS_AT(48)
	SLOTS_AT(56)
	}
	return file;
}

/* The last 16 bytes of a short name, as dentry__short_ending has them. */
#define NAME_WORD(n) ({ u64 word = dentry->d_shortname.words[n]; asm volatile("" : "+r"(word)); word; })

static __always_inline void quick__ending(struct dentry_view *view, struct dentry *dentry, u32 len)
{
	u32 used = (len - 1) % 8 * 8 + 8;
	u64 here, before = 0, first = 0;

	switch ((len - 1) >> 3) {
	case 0: here = NAME_WORD(0); break;
	case 1: here = NAME_WORD(1); before = NAME_WORD(0); break;
	case 2: here = NAME_WORD(2); before = NAME_WORD(1); first = NAME_WORD(0); break;
	case 3: here = NAME_WORD(3); before = NAME_WORD(2); first = NAME_WORD(1); break;
	default: here = NAME_WORD(4); before = NAME_WORD(3); first = NAME_WORD(2); break;
	}
	view->high = here;
	view->low = before;
	if (used < 64) {
		view->high = here << (64 - used) | before >> used;
		view->low = before << (64 - used) | first >> used;
	}
}

/* True where no list of extensions has this name's, nor is it one of those that matter in /proc. */
static __always_inline bool quick__no_name(struct watch_config *config, struct dentry *dentry)
{
	struct dentry_view view;
	u32 len = dentry->d_name.len;
	const unsigned char *name = dentry->d_name.name;

	if (!bpf_core_field_exists(dentry->d_shortname) || !len || len > sizeof(union shortname_store) ||
	    (u64)name != (u64)dentry + bpf_core_field_offset(struct dentry, d_shortname))
		return false;
	quick__ending(&view, dentry, len);
	return !extension__listed(config, &view) && !proc__listed(view.low, view.high);
}

/* False where a character device's name is none of an accelerator. */
static __always_inline bool quick__device(struct dentry *dentry)
{
	struct dentry_view view;
	u32 len = dentry->d_name.len;
	const unsigned char *name = dentry->d_name.name;

	if (!bpf_core_field_exists(dentry->d_shortname) || !len || len > EXTENSION_MAX ||
	    (u64)name != (u64)dentry + bpf_core_field_offset(struct dentry, d_shortname))
		return len && len <= EXTENSION_MAX;
	quick__ending(&view, dentry, len);
	return device__named(view.low, view.high, len);
}

/* True where no watched root is above this directory: known from an earlier walk. */
static __always_inline bool quick__no_root(struct dentry *directory, u64 age)
{
	u64 name_hash_len = (u64)directory->d_name.len << 32 | directory->d_name.hash;

	return unwatched__has(directory__tag(pointer__low(directory), pointer__low(directory->d_inode), pointer__low(directory->d_parent), name_hash_len, age));
}

/* True where an opened file, a pointer that the verifier knows, is surely not watched. */
static __always_inline bool quick__is_unwatched(struct watch_config *config, struct file *file)
{
	struct inode *inode = file->f_inode;
	struct dentry *dentry = file->f_path.dentry;
	struct super_block *super = inode->i_sb;
	struct watch_state *state;
	u64 age;

	if (file->f_mode & FMODE_PATH)
		return true;
	if ((inode->i_mode & S_IFMT) != S_IFREG)
		return (inode->i_mode & S_IFMT) != S_IFCHR || !quick__device(dentry);
	if (!quick__no_name(config, dentry))
		return false;
	if (!super__is_watched(config, super))
		return true;
	if (config->files >> file__bit(pointer__low(inode)) & 1)
		return false;
	state = watch__state();
	if (!state)
		return false;
	age = watch__age(config, state);
	if (inode->i_nlink > 1 && !unwatched__has(links__tag(pointer__low(inode), inode->i_ino, inode->i_nlink, age)))
		return false;
	return quick__no_root(dentry->d_parent, age);
}

/* The same for a descriptor of the current task. */
static __always_inline bool quick__descriptor_is_unwatched(struct task_struct *task, u64 fd)
{
	struct watch_config *config = watch__config();
	struct files_struct *files = task->files;
	struct file *file;

	/* A table that has grown lies elsewhere. */
	if (!config || fd >= DESCRIPTORS_INLINE || (u64)files->fdt->fd != (u64)files + bpf_core_field_offset(struct files_struct, fd_array))
		return false;
	file = files__inline(files, fd);
	return file && quick__is_unwatched(config, file);
}
