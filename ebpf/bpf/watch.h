/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Is this file watched? Decided here, in the kernel, so that an unwatched open costs about 100 ns and no record.
 *
 * 1. Its superblock holds no watch: no. 2. The verdict of its parent directory, cached. 3. On a miss a walk up the tree that compares inode
 * pointers with those of the watched roots. 4. The inode itself: a watched file, or a further name (hard link) of a file in a watched
 * tree. 5. The extension of its name, on any file system that stores files.
 *
 * Identity is the kernel's own pointer: the loader holds every watched root open, so its inode and superblock cannot be freed, and
 * st_dev aliasing (btrfs, overlayfs) does not matter. The walk never leaves the superblock, so a bind mount cannot go round it.
 * A cached verdict is keyed by the directory's dentry, inode, parent and name hash together: memory reused for another directory
 * does not match. A renamed directory raises the generation, which empties the cache. In front of all of it quick.h answers most opens of
 * files that are not watched by plain loads.
 *
 * What an unprivileged process can do: fill the cache (LRU: costs others a walk), nest deeper than WALK_MAX (counted; matched by
 * extension only), or hold a hard link made before the watch to a file whose other names are not in the dentry cache (the loader
 * registers the ones it finds when a watch is set).
 */
#pragma once
#include "path.h"
#include "task.h"

#define WALK_MAX 64
#define ALIASES_MAX 8
#define SUPERS_INLINE 4
#define ENDINGS 256

/* Written by the loader only. */
struct watch_config {
	u32 epoch;        /* raised with every change of the watches */
	u32 file_watches; /* single files are watched: look at every inode of a watched superblock */
	u64 super_count;
	u64 supers[SUPERS_INLINE]; /* the first of picket_supers: compared without a lookup */
	u64 endings[ENDINGS / 64]; /* bit set for the last two letters of each extension: most names need no lookup */
	u64 files; /* bit set for the inode of each watched file, by file__bit */
	u64 shed;  /* opens for reading of files that only an extension matched are counted, not told */
};

/* Written by the probes only. Apart from the configuration, so that neither side overwrites the other's. */
struct watch_state {
	u32 generation; /* raised with every renamed directory */
	u32 writers;    /* descriptions in picket_writers */
	u32 uses;       /* entries of picket_uses */
	u32 reserved;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct watch_state);
} picket_state SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct watch_config);
} picket_config SEC(".maps");

/* Watched roots: struct inode * → watch id. Written by the loader only. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, u64);
	__type(value, u32);
} picket_roots SEC(".maps");

/* Superblocks that hold a watched root: struct super_block * → the struct vfsmount * that the loader reached it by. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, u64);
	__type(value, u64);
} picket_supers SEC(".maps");

struct inode_key {
	u64 super_ptr;
	u64 inode;
};

/* Files of several names with one of them in a watched tree → watch id. Only read for i_nlink > 1. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct inode_key);
	__type(value, u32);
} picket_links SEC(".maps");

struct verdict_key {
	u64 dentry;
	u64 identity; /* its inode, parent and name, the generation and the epoch, mixed */
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct verdict_key);
	__type(value, u32);
} picket_verdicts SEC(".maps");

/*
 * What is surely not watched, by a number mixed from everything that the verdict depends on: one load without a helper answers most opens on
 * a watched file system. A slot taken by another falls back to the maps.
 */
#define UNWATCHED 8192
static u64 unwatched[UNWATCHED];

/* The low half of a pointer as a number: the verifier allows no other arithmetic on a pointer that it knows, and this one by exception. */
static __always_inline u32 pointer__low(const void *pointer)
{
	u64 low;

	asm volatile("r0 = %[pointer]\nw0 -= 0\n%[low] = r0" : [low] "=r"(low) : [pointer] "r"(pointer) : "r0");
	return low;
}

/* The bit of a watched file's inode, by the low half of its address, in watch_config.files. */
static __always_inline u32 file__bit(u32 inode)
{
	return inode * 0x9e3779b1U >> 26;
}

static __always_inline struct watch_config *watch__config(void)
{
	u32 zero = 0;

	return bpf_map_lookup_elem(&picket_config, &zero);
}

static __always_inline bool watch__sheds(void)
{
	struct watch_config *config = watch__config();

	return config && config->shed;
}

static __always_inline struct watch_state *watch__state(void)
{
	u32 zero = 0;

	return bpf_map_lookup_elem(&picket_state, &zero);
}

/* No verdict from before is used again. */
static __always_inline void watch__forget(void)
{
	struct watch_state *state = watch__state();

	if (state)
		__sync_fetch_and_add(&state->generation, 1);
}

/* What the filter needs of a dentry, in one read: a call of a helper costs more than all that is done with the bytes. */
struct dentry_view {
	struct dentry *parent;
	struct inode *inode;
	struct super_block *super;
	u64 name_hash_len;
	u64 low, high; /* the last 16 bytes of the name, zero before its start */
};

struct dentry___iname { /* before 6.15 */
	unsigned char d_iname[32];
} __attribute__((preserve_access_index));

struct dentry___alias { /* before 7.2 */
	union { struct hlist_node d_alias; } d_u;
} __attribute__((preserve_access_index));

/* The dentry that this node of an inode's list of names stands in. */
static __always_inline struct dentry *dentry__of_alias(struct hlist_node *node)
{
	if (bpf_core_field_exists(struct dentry, d_alias))
		return (void *)node - bpf_core_field_offset(struct dentry, d_alias);
	return (void *)node - bpf_core_field_offset(struct dentry___alias, d_u.d_alias);
}

#define DENTRY_SPAN 112
#define SHORT_NAME_MAX 32

static __always_inline u32 dentry__short_name_offset(void)
{
	if (bpf_core_field_exists(struct dentry, d_shortname))
		return bpf_core_field_offset(struct dentry, d_shortname);
	return bpf_core_field_offset(struct dentry___iname, d_iname);
}

/* The verifier has to see the bound at the load, wherever the compiler knew it before. */
static __always_inline u64 word__at(const char *words, u32 index)
{
	asm volatile("" : "+r"(index));
	index &= SHORT_NAME_MAX / 8 - 1;
	asm volatile("" : "+r"(index));
	return *(u64 *)(words + index * 8);
}

/* The last 16 bytes of a name that lies in the dentry itself: from whole words, shifted. */
static __always_inline void dentry__short_ending(struct dentry_view *view, const char *name, u32 len)
{
	u32 last = (len - 1) >> 3, used = (len - (last << 3)) * 8;
	u64 here = word__at(name, last);
	u64 before = last >= 1 ? word__at(name, last - 1) : 0;
	u64 first = last >= 2 ? word__at(name, last - 2) : 0;

	if (used >= 64) {
		view->high = here;
		view->low = before;
	} else {
		view->high = here << ((64 - used) & 63) | before >> (used & 63);
		view->low = before << ((64 - used) & 63) | first >> (used & 63);
	}
}

static __always_inline void dentry__long_ending(struct dentry_view *view, const unsigned char *name, u32 len)
{
	u64 words[2] = {};

	if (len >= EXTENSION_MAX) {
		bpf_probe_read_kernel(words, sizeof(words), name + len - EXTENSION_MAX);
	} else {
		/* Read to the end of the window: what lies before the name is cut off. */
		bpf_probe_read_kernel((char *)words + (EXTENSION_MAX - (len & (EXTENSION_MAX - 1))), len & (EXTENSION_MAX - 1), name);
	}
	view->low = words[0];
	view->high = words[1];
}

static __always_inline int dentry__view(struct dentry_view *view, struct dentry *dentry, bool ending)
{
	char raw[DENTRY_SPAN] __attribute__((aligned(8)));
	u32 short_name = dentry__short_name_offset(), len;
	const unsigned char *name;

	if (bpf_probe_read_kernel(raw, sizeof(raw), dentry))
		return -1;
	view->parent = *(struct dentry **)(raw + bpf_core_field_offset(struct dentry, d_parent));
	view->inode = *(struct inode **)(raw + bpf_core_field_offset(struct dentry, d_inode));
	view->super = *(struct super_block **)(raw + bpf_core_field_offset(struct dentry, d_sb));
	view->name_hash_len = *(u64 *)(raw + bpf_core_field_offset(struct dentry, d_name));
	view->low = 0;
	view->high = 0;
	if (!ending)
		return 0;
	len = view->name_hash_len >> 32;
	name = *(const unsigned char **)(raw + bpf_core_field_offset(struct dentry, d_name) + 8);
	if (name == (void *)dentry + short_name && len && len < SHORT_NAME_MAX)
		dentry__short_ending(view, raw + short_name, len);
	else
		dentry__long_ending(view, name, len);
	return 0;
}

#define NAME5(a, b, c, d, e) ((u64)(a) | (u64)(b) << 8 | (u64)(c) << 16 | (u64)(d) << 24 | (u64)(e) << 32)

/* A name that drivers give to accelerators: nvidia…, renderD… (DRM), accel…, kfd (AMD). Of at most 16 bytes, which are given as the filter has them. */
static __always_inline bool device__named(u64 low, u64 high, u32 len)
{
	u32 shift;
	u64 first;

	if (len < 3 || len > EXTENSION_MAX)
		return false;
	shift = (len > 8 ? EXTENSION_MAX - len : 8 - len) * 8 & 63;
	first = len <= 8 ? high >> shift : shift ? low >> shift | high << (64 - shift) : low;
	return (first & 0xffffffffffULL) == NAME5('n', 'v', 'i', 'd', 'i') || (first & 0xffffffffffULL) == NAME5('r', 'e', 'n', 'd', 'e') ||
	       (first & 0xffffffffffULL) == NAME5('a', 'c', 'c', 'e', 'l') || first == NAME5('k', 'f', 'd', 0, 0);
}

/* The id of the watched root at or above a dentry, 0 without one. A global function of plain numbers, like each one here that is not
 * static: the verifier looks at it once, not at every place it is called from, which is the difference between a second and a minute. */
__noinline u32 watch__walk(u64 from)
{
	struct dentry *dentry = (struct dentry *)from;
	int i;

	for (i = 0; i < WALK_MAX; i++) {
		u64 inode = (u64)BPF_CORE_READ(dentry, d_inode);
		u32 *id = bpf_map_lookup_elem(&picket_roots, &inode);
		struct dentry *parent;

		if (id)
			return *id;
		parent = BPF_CORE_READ(dentry, d_parent);
		if (parent == dentry)
			return 0;
		dentry = parent;
	}
	counter__add(COUNTER_E_WALK);
	return 0;
}

/* Odd multipliers keep the parts apart; kernel addresses are nobody's choice. */
static __always_inline u64 watch__age(struct watch_config *config, struct watch_state *state)
{
	return ((u64)state->generation << 32 | config->epoch) * 0x165667b19e3779f9ULL;
}

/* Low halves of addresses: what the quick way has. */
static __always_inline u64 directory__tag(u32 dentry, u32 inode, u32 parent, u64 name_hash_len, u64 age)
{
	u64 tag = ((u64)dentry << 32 | inode) * 0xff51afd7ed558ccdULL + parent * 0x9e3779b97f4a7c15ULL + name_hash_len * 0xc2b2ae3d27d4eb4fULL + age;

	return (tag ^ tag >> 33) | 1;
}

static __always_inline u64 links__tag(u32 inode, u64 number, u32 links, u64 age)
{
	u64 tag = ((u64)links << 32 | inode) * 0xd6e8feb86659fd93ULL + number * 0xc2b2ae3d27d4eb4fULL + age;

	return (tag ^ tag >> 33) | 1;
}

static __always_inline bool unwatched__has(u64 tag)
{
	return unwatched[tag >> 8 & (UNWATCHED - 1)] == tag;
}

static __always_inline void unwatched__note(u64 tag)
{
	unwatched[tag >> 8 & (UNWATCHED - 1)] = tag;
}

/* The verdict for everything directly in a directory. */
static __always_inline u32 watch__directory(struct watch_config *config, struct dentry *directory)
{
	struct watch_state *state = watch__state();
	struct verdict_key key;
	struct dentry_view view;
	u32 *cached, id;
	u64 age, tag;

	if (!state || dentry__view(&view, directory, false))
		return 0;
	age = watch__age(config, state);
	tag = directory__tag((u64)directory, (u64)view.inode, (u64)view.parent, view.name_hash_len, age);
	if (unwatched__has(tag))
		return 0;
	key.dentry = (u64)directory;
	key.identity = (u64)view.inode + (u64)view.parent * 0x9e3779b97f4a7c15ULL + view.name_hash_len * 0xc2b2ae3d27d4eb4fULL + age;
	cached = bpf_map_lookup_elem(&picket_verdicts, &key);
	if (cached) {
		id = *cached;
	} else {
		id = watch__walk((u64)directory);
		bpf_map_update_elem(&picket_verdicts, &key, &id, BPF_ANY);
	}
	if (!id)
		unwatched__note(tag);
	return id;
}

/* Another name of the same inode that is in a watched tree, among those in the dentry cache. */
__noinline u32 watch__aliases(u64 of)
{
	struct inode *inode = (struct inode *)of;
	struct hlist_node *node = BPF_CORE_READ(inode, i_dentry.first);
	int i;

	for (i = 0; i < ALIASES_MAX && node; i++) {
		struct dentry *dentry = dentry__of_alias(node);
		u32 id = watch__walk((u64)BPF_CORE_READ(dentry, d_parent));

		if (id)
			return id;
		node = BPF_CORE_READ(node, next);
	}
	return 0;
}

static __always_inline u32 watch__inode(struct watch_config *config, struct super_block *super, struct inode *inode, u64 number, u32 links)
{
	u64 pointer = (u64)inode;
	u32 *id;

	if (config->files >> file__bit(pointer) & 1) {
		id = bpf_map_lookup_elem(&picket_roots, &pointer);
		if (id)
			return *id;
	}
	if (links > 1) {
		struct inode_key key = { .super_ptr = (u64)super, .inode = number };
		struct watch_state *state = watch__state();
		u64 tag = links__tag(pointer, number, links, state ? watch__age(config, state) : 0);
		u32 alias;

		if (unwatched__has(tag))
			return 0;
		id = bpf_map_lookup_elem(&picket_links, &key);
		if (id)
			return *id;
		alias = watch__aliases((u64)inode);
		if (!alias && state)
			unwatched__note(tag);
		return alias;
	}
	return 0;
}

#include "extension.h"

/* File systems that store no files: a name with an extension there is not an artifact. */
static __always_inline bool super__is_pseudo(struct super_block *super)
{
	switch ((u32)BPF_CORE_READ(super, s_magic)) {
	case 0x9fa0:     /* proc */
	case 0x62656572: /* sysfs */
	case 0x27e0eb:   /* cgroup */
	case 0x63677270: /* cgroup2 */
	case 0x64626720: /* debugfs */
	case 0x74726163: /* tracefs */
	case 0x73636673: /* securityfs */
	case 0x1cd1:     /* devpts */
	case 0xcafe4a11: /* bpf */
	case 0x6e736673: /* nsfs */
	case 0x50495045: /* pipefs */
	case 0x534f434b: /* sockfs */
	case 0x09041934: /* anon_inode */
	case 0x62656570: /* configfs */
	case 0xf97cff8c: /* selinux */
		return true;
	default:
		return false;
	}
}

/* A file to decide on, each field read once. */
struct watch_subject {
	struct inode *inode;
	struct super_block *super;
	struct dentry *dentry;
	u64 number;
	u32 links;
	u32 owner_uid;
	u16 mode;
};

#define INODE_SPAN 80

static __always_inline int inode__view(struct watch_subject *subject, struct inode *inode)
{
	char raw[INODE_SPAN] __attribute__((aligned(8)));

	subject->inode = inode;
	if (bpf_core_field_offset(struct inode, i_nlink) + 4 <= INODE_SPAN && bpf_core_field_offset(struct inode, i_ino) + 8 <= INODE_SPAN &&
	    bpf_core_field_offset(struct inode, i_sb) + 8 <= INODE_SPAN && bpf_core_field_offset(struct inode, i_uid) + 4 <= INODE_SPAN) {
		if (bpf_probe_read_kernel(raw, sizeof(raw), inode))
			return -1;
		subject->mode = *(u16 *)(raw + bpf_core_field_offset(struct inode, i_mode));
		subject->owner_uid = *(u32 *)(raw + bpf_core_field_offset(struct inode, i_uid));
		subject->super = *(struct super_block **)(raw + bpf_core_field_offset(struct inode, i_sb));
		subject->number = *(u64 *)(raw + bpf_core_field_offset(struct inode, i_ino));
		subject->links = *(u32 *)(raw + bpf_core_field_offset(struct inode, i_nlink));
		return 0;
	}
	subject->mode = BPF_CORE_READ(inode, i_mode);
	subject->owner_uid = BPF_CORE_READ(inode, i_uid.val);
	subject->super = BPF_CORE_READ(inode, i_sb);
	subject->number = BPF_CORE_READ(inode, i_ino);
	subject->links = BPF_CORE_READ(inode, i_nlink);
	return 0;
}

struct watch_verdict {
	u32 id;
	bool matched;
};

static __always_inline bool super__is_watched(struct watch_config *config, struct super_block *super)
{
	u64 key = (u64)super;
	int i;

	for (i = 0; i < SUPERS_INLINE; i++)
		if (config->supers[i] == key)
			return true;
	return config->super_count > SUPERS_INLINE && bpf_map_lookup_elem(&picket_supers, &key) != NULL;
}

/* The decision. The name is given apart: a rename judges the place that a file left as well as where it is now. */
static __always_inline struct watch_verdict watch__judge(struct watch_config *config, struct watch_subject *subject, struct dentry_view *name)
{
	struct watch_verdict verdict = {};

	if (super__is_watched(config, subject->super)) {
		verdict.id = watch__directory(config, name->parent);
		if (!verdict.id)
			verdict.id = watch__inode(config, subject->super, subject->inode, subject->number, subject->links);
	}
	verdict.matched = verdict.id || (extension__listed(config, name) && !super__is_pseudo(subject->super));
	return verdict;
}
