/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Who a thread is, remembered from one call that changes it to the next. */
#pragma once
#include "core.h"

struct identity {
	u64 user;  /* euid << 32 | uid */
	u64 group; /* egid << 32 | gid */
	u64 capabilities;
};

/* Who a thread was after its last such call. An exec starts anew (process.h). A thread pushed out of here is told again without its ids before. */
struct thread_key {
	u64 start_boot_ns;
	u64 thread;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct thread_key);
	__type(value, struct identity);
} picket_identities SEC(".maps");

static __always_inline void identity__forget(struct task_struct *task)
{
	struct thread_key key = { .start_boot_ns = task->start_boottime, .thread = task->pid };

	bpf_map_delete_elem(&picket_identities, &key);
}
