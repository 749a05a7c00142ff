/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What all objects share: the ring, the counters, the excluded thread groups. The loader hands every object the same maps by name.
 *
 * One ring, not one a CPU: memory stays the same whatever the number of CPUs, and records keep their order. It is drained on a timer, so
 * no record wakes anybody (measured: 10 times cheaper for the consumer). A full ring drops the newest record and counts it; any process
 * can cause that by doing more than the agent can read, which is why drops are counted for each class and CPU.
 */
#pragma once
#include "core.h"

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 8 << 20); /* the loader sets the configured size */
} picket_ring SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, COUNTERS);
	__type(key, u32);
	__type(value, u64);
} picket_counters SEC(".maps");

/* Records that the agent has taken out, by class. Written by the loader only; with the counters it tells the next run what a killed one lost. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, u64[CLASSES]);
} picket_consumed SEC(".maps");

/* Thread groups whose own activity is not recorded: the agent's own. Only the agent can write here. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, u32);
	__type(value, u32);
} picket_own SEC(".maps");

static __always_inline void counter__add(u32 key)
{
	u64 *value = bpf_map_lookup_elem(&picket_counters, &key);

	/* Atomic although per CPU: a soft interrupt may count in the middle of an addition. */
	if (value)
		__sync_fetch_and_add(value, 1);
}

static __always_inline bool own__is_current(void)
{
	u32 tgid = bpf_get_current_pid_tgid() >> 32;

	return bpf_map_lookup_elem(&picket_own, &tgid) != NULL;
}

/*
 * The last eighth of the ring is for process records alone. Anybody can open watched files or connections in a loop; the records that say who it
 * is are few, every other record leans on them, and they must still find room then. What is refused here counts as dropped like in a full ring.
 */
#define RING_RESERVE_SHIFT 3

static __always_inline bool ring__has_room(u32 class)
{
	u64 size;

	if (class == CLASS_PROCESS)
		return true;
	size = bpf_ringbuf_query(&picket_ring, BPF_RB_RING_SIZE);
	return bpf_ringbuf_query(&picket_ring, BPF_RB_AVAIL_DATA) <= size - (size >> RING_RESERVE_SHIFT);
}

static __always_inline void ring__output(void *record, u64 len, u32 class)
{
	if (!ring__has_room(class) || bpf_ringbuf_output(&picket_ring, record, len, BPF_RB_NO_WAKEUP))
		counter__add(COUNTER_DROPPED + class);
	else
		counter__add(COUNTER_PRODUCED + class);
}
