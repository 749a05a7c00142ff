/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Bodies of the kernel probes; see kernel.bpf.c. */
#pragma once
#include "action.h"

enum { NR_ADJTIMEX = 159, NR_SETTIMEOFDAY = 164, NR_CLOCK_SETTIME = 227, NR_CLOCK_ADJTIME = 305, NR_BPF = 321 };
enum { BPF_PROG_LOAD = 5, ADJ_SETOFFSET = 0x0100 };

struct pair {
	s64 first;
	s64 second;
};

/* struct timex: its modes are the first word; its time, which the call has set to what it is now, stands after nine longs. */
#define TIMEX_TIME 72

static __always_inline int kernel__clock(struct call *call)
{
	bool set = call->number == NR_SETTIMEOFDAY || call->number == NR_CLOCK_SETTIME;
	bool named = call->number == NR_CLOCK_SETTIME || call->number == NR_CLOCK_ADJTIME;
	u64 from = named ? call__argument(call, 1) : call__argument(call, 0);
	struct action_scratch *scratch;
	struct pair time = {};
	u32 modes = 0;
	u64 *values;

	if (call->result < 0 || !from)
		return 0;
	if (!set) {
		/* Clocks are trimmed all day: only a step matters. */
		if (bpf_probe_read_user(&modes, sizeof(modes), (void *)from) || !(modes & ADJ_SETOFFSET))
			return 0;
		from += TIMEX_TIME;
	}
	scratch = action__begin(set ? ACTION_CLOCK_SET : ACTION_CLOCK_STEP, call);
	if (!scratch)
		return 0;
	/* A 32-bit caller's old times have another shape: told without it. */
	if (call->compat || bpf_probe_read_user(&time, sizeof(time), (void *)from))
		scratch->event.header.flags |= EVENT_F_USER_FAULT;
	values = scratch->event.values;
	values[0] = named ? call__argument(call, 0) : 0;
	values[1] = time.first;
	values[2] = call->number == NR_SETTIMEOFDAY ? time.second * 1000 : time.second;
	values[3] = modes;
	return action__end(scratch);
}

static __always_inline int kernel__bpf(struct call *call)
{
	struct action_scratch *scratch;
	struct bpf_prog *program;
	struct file *file;
	u64 *values;
	long len;

	if ((u32)call__argument(call, 0) != BPF_PROG_LOAD || call->result < 0)
		return 0;
	scratch = action__begin(ACTION_BPF_LOAD, call);
	if (!scratch)
		return 0;
	file = task__file(call->task, call->result);
	program = file ? BPF_CORE_READ(file, private_data) : NULL;
	if (!program) {
		counter__add(COUNTER_E_FILE);
		return action__end(scratch);
	}
	values = scratch->event.values;
	values[0] = BPF_CORE_READ(program, aux, id);
	values[1] = BPF_CORE_READ(program, type);
	BPF_CORE_READ_INTO(&values[2], program, tag);
	len = bpf_probe_read_kernel_str(scratch->data, 16, (const void *)BPF_CORE_READ(program, aux) + bpf_core_field_offset(struct bpf_prog_aux, name));
	if (len > 0) {
		scratch->event.text_len[0] = len;
		MEMORY(scratch->sink.used) = len;
	}
	return action__end(scratch);
}

/* Contiguous: the record, then the name. */
struct module_record {
	struct event_action event;
	char name[56];
};

static __always_inline int kernel__module(u16 op, struct module *module)
{
	struct module_record record;
	long len;

	__builtin_memset(&record.name, 0, sizeof(record.name));
	action__fill(&record.event, op, bpf_get_current_task_btf());
	len = bpf_probe_read_kernel_str(record.name, sizeof(record.name), module->name);
	record.event.text_len[0] = len > 0 ? len : 0;
	record.event.used = sizeof(record.name);
	ring__output(&record, sizeof(record), CLASS_PROCESS);
	return 0;
}

/* Submissions to io_uring, summed for each process and operation. */
struct ring_key {
	u64 start_boot_ns;
	u32 pid;
	u32 opcode; /* RING_ANY: the process has submitted something */
};

struct ring_sum {
	struct event_task owner;
	u64 told_boot_ns;
	u64 count;
	u64 told;
};

#define RING_ANY 0xffff
#define RING_OPCODES 128
#define RING_EVERY_NS (5 * SECOND_NS)

/* Not an LRU: a sum that is pushed out would be lost unseen. Full means that further operations are counted as such. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 2048);
	__type(key, struct ring_key);
	__type(value, struct ring_sum);
} picket_rings SEC(".maps");

static __always_inline void ring_sum__tell(struct ring_sum *sum, u32 opcode)
{
	struct event_action event;
	u64 count = sum->count, fresh = count - sum->told;

	if (!fresh)
		return;
	__builtin_memset(&event, 0, sizeof(event));
	header__fill(&event.header, EVENT_ACTION);
	event.header.task = sum->owner;
	event.op = ACTION_RING_SUBMIT;
	event.values[0] = opcode;
	event.count = fresh;
	sum->told = count;
	sum->told_boot_ns = event.header.time_boot_ns;
	action__send(&event);
}

static __always_inline int kernel__submitted(struct io_kiocb *request)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct ring_key key = { .start_boot_ns = task->group_leader->start_boottime, .pid = task->tgid, .opcode = request->opcode };
	struct ring_sum *sum = bpf_map_lookup_elem(&picket_rings, &key);
	u32 opcode = key.opcode;

	if (!sum) {
		struct ring_sum fresh = {};

		if (own__is_current())
			return 0;
		task__identify(&fresh.owner, task);
		key.opcode = RING_ANY;
		bpf_map_update_elem(&picket_rings, &key, &fresh, BPF_NOEXIST);
		key.opcode = opcode;
		if (bpf_map_update_elem(&picket_rings, &key, &fresh, BPF_NOEXIST))
			goto full;
		sum = bpf_map_lookup_elem(&picket_rings, &key);
		if (!sum)
			goto full;
	}
	__sync_fetch_and_add(&sum->count, 1);
	/* The first at once; later ones when they are read out, or here where nobody reads. */
	if (!sum->told || bpf_ktime_get_boot_ns() - sum->told_boot_ns > RING_EVERY_NS)
		ring_sum__tell(sum, opcode);
	return 0;
full:
	counter__add(COUNTER_MAP_FULL + CLASS_PROCESS);
	return 0;
}

static long ring_sum__end(u64 opcode, struct ring_key *key)
{
	struct ring_sum *sum;

	key->opcode = opcode;
	sum = bpf_map_lookup_elem(&picket_rings, key);
	if (sum) {
		ring_sum__tell(sum, opcode);
		bpf_map_delete_elem(&picket_rings, key);
	}
	return 0;
}

/* bpf_loop is of 5.17; io_uring's tracepoint with a request is of 6.0. */
static __always_inline int kernel__task_exit(struct task_struct *task)
{
	struct ring_key key = { .start_boot_ns = task->group_leader->start_boottime, .pid = task->tgid, .opcode = RING_ANY };

	if (task->signal->live.counter != 0 || bpf_map_delete_elem(&picket_rings, &key))
		return 0;
	bpf_loop(RING_OPCODES, ring_sum__end, &key, 0);
	return 0;
}

/* What was submitted since the last record, where the process then fell silent. Run by the loader every few seconds. */
static __always_inline int kernel__sweep(struct ring_key *key, struct ring_sum *sum)
{
	if (key->opcode < RING_OPCODES)
		ring_sum__tell(sum, key->opcode);
	return 0;
}
