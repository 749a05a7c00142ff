/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Processes that may hold a watched file: those that opened one, and their children. A process that never did pays one load for a call on
 * a descriptor. The table is indexed by the low bits of the process id: processes that share a slot with a holder pay a little more, and
 * nothing else.
 *
 * What an unprivileged process can do: mark itself and its children by opening a watched file, at its own cost; fill picket_held (counted: ends of
 * files of the processes beyond are then found by the sweep).
 */
#pragma once
#include "ring.h"

#define HOLDERS 16384

struct holders { u32 marks[HOLDERS]; };

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct holders);
} picket_holders SEC(".maps");

/* The marked processes: their marks are taken away when they end. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, u32);
	__type(value, u32);
} picket_held SEC(".maps");

static __always_inline u32 *holders__slot(u32 tgid)
{
	u32 zero = 0;
	struct holders *holders = bpf_map_lookup_elem(&picket_holders, &zero);

	return holders ? &holders->marks[tgid & (HOLDERS - 1)] : NULL;
}

static __always_inline bool holders__may_include(u32 tgid)
{
	u32 *slot = holders__slot(tgid);

	return slot && *slot;
}

static __always_inline void holder__mark(u32 tgid)
{
	u32 *slot = holders__slot(tgid), one = 1;

	if (!slot || bpf_map_lookup_elem(&picket_held, &tgid))
		return;
	/* Of two threads that come here at once, one marks. */
	if (bpf_map_update_elem(&picket_held, &tgid, &one, BPF_NOEXIST) == 0)
		__sync_fetch_and_add(slot, 1);
	else if (!bpf_map_lookup_elem(&picket_held, &tgid))
		counter__add(COUNTER_MAP_FULL + CLASS_FILE);
}

/* A child holds what its parent holds. */
static __always_inline int holder__forked(u32 parent, u32 child)
{
	if (parent != child && holders__may_include(parent) && bpf_map_lookup_elem(&picket_held, &parent))
		holder__mark(child);
	return 0;
}

static __always_inline void holder__ended(u32 tgid)
{
	u32 *slot = holders__slot(tgid);

	if (slot && bpf_map_delete_elem(&picket_held, &tgid) == 0)
		__sync_fetch_and_add(slot, -1);
}
