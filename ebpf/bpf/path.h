/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The path of a dentry, by walking the kernel's own tree up to the root of the mount namespace: what the user passed is never looked at,
 * so symbolic links, relative names, bind mounts and a second thread that rewrites the string change nothing.
 *
 * Bounds: COMPONENTS_MAX steps, PATH_MAX_BYTES bytes; beyond them the record carries EVENT_F_PATH_CUT and the components nearest the
 * leaf. An unprivileged process can nest directories deeper than that: the name and its nearest directories still show.
 * A tree that no longer hangs in the namespace (lazily unmounted, or a pseudo file system) sets EVENT_F_PATH_DETACHED.
 */
#pragma once
#include "ring.h"

/* Where a walk writes. Lives in a map, see MEMORY(). */
struct path_sink {
	u32 used;   /* bytes of the record's data in use */
	u32 flags;  /* EVENT_F_* found on the way */
	u32 start;  /* where the path in progress began */
};

static __always_inline struct mount *mount__of(struct vfsmount *mnt)
{
	return (void *)mnt - bpf_core_field_offset(struct mount, mnt);
}

static __always_inline bool dentry__unhashed(struct dentry *dentry)
{
	return BPF_CORE_READ(dentry, d_hash.pprev) == NULL;
}

/* Of a file that is in no tree: does its name say that it never was? A deleted file of a like name passes for one, which helps nobody. */
static __always_inline bool dentry__is_memfd(struct dentry *dentry)
{
	u64 name = 0;

	bpf_probe_read_kernel(&name, 6, BPF_CORE_READ(dentry, d_name.name));
	return name == 0x3a64666d656dULL; /* "memfd:" */
}

/* Appends the components of (dentry, mnt) to data, size a power of two. Returns the bytes appended. */
static __always_inline u32 path__append(char *data, u32 size, struct path_sink *sink, struct dentry *dentry, struct vfsmount *mnt)
{
	struct mount *mount = mount__of(mnt);
	struct dentry *root = BPF_CORE_READ(mnt, mnt_root);
	int i;

	MEMORY(sink->start) = MEMORY(sink->used);
	for (i = 0; i < COMPONENTS_MAX; i++) {
		struct dentry *parent = BPF_CORE_READ(dentry, d_parent);
		u32 at;
		long len;

		if (dentry == root || dentry == parent) {
			struct mount *above = BPF_CORE_READ(mount, mnt_parent);

			if (dentry != root) {
				MEMORY(sink->flags) |= EVENT_F_PATH_DETACHED;
				break;
			}
			if (above == mount)
				break;
			dentry = BPF_CORE_READ(mount, mnt_mountpoint);
			mount = above;
			root = BPF_CORE_READ(mount, mnt.mnt_root);
			continue;
		}
		at = MEMORY(sink->used);
		if (at - MEMORY(sink->start) > PATH_MAX_BYTES - COMPONENT_MAX || at > size - COMPONENT_MAX) {
			MEMORY(sink->flags) |= EVENT_F_PATH_CUT;
			break;
		}
		len = bpf_probe_read_kernel_str(&data[at & (size - 1)], COMPONENT_MAX, BPF_CORE_READ(dentry, d_name.name));
		if (len <= 0) {
			MEMORY(sink->flags) |= EVENT_F_PATH_CUT;
			counter__add(COUNTER_E_PATH);
			break;
		}
		MEMORY(sink->used) = at + len;
		dentry = parent;
	}
	if (i == COMPONENTS_MAX)
		MEMORY(sink->flags) |= EVENT_F_PATH_CUT;
	return MEMORY(sink->used) - MEMORY(sink->start);
}

/* A name that the tree does not hold any more, then the directory it was in. */
static __always_inline void path__append_name(char *data, u32 size, struct path_sink *sink, const char *name)
{
	u32 at = MEMORY(sink->used);
	long len;

	if (at > size - COMPONENT_MAX) {
		MEMORY(sink->flags) |= EVENT_F_PATH_CUT;
		return;
	}
	len = bpf_probe_read_kernel_str(&data[at & (size - 1)], COMPONENT_MAX, name);
	if (len > 0)
		MEMORY(sink->used) = at + len;
}
