/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Opens of accelerators: character devices with the names that drivers give them. By name and type, not by number: most of their numbers are
 * handed out when the driver is loaded, and a name is two words that the filter has loaded anyway, so that no other open pays for it. A process
 * is told once a minute for each device: one CUDA context opens the control device dozens of times.
 *
 * What an unprivileged process can do: nothing, making a device node takes CAP_MKNOD. Cannot see: a node that root made under another name, a
 * descriptor passed over a socket.
 */
#pragma once
#include "action.h"
#include "watch.h"

#define DEVICE_REPEAT_NS (60 * SECOND_NS)
/* Beside the numbers of actions. */
#define REPEAT_DEVICE 255

static __always_inline bool device__due(struct event_header *header, u64 inode)
{
	struct repeat_key key = { .actor_start_boot_ns = header->task.start_boot_ns, .object = inode, .actor = header->task.pid, .op = REPEAT_DEVICE };
	struct repeat fresh = { .window_begin = header->time_boot_ns, .told = 1 };
	struct repeat *repeat = bpf_map_lookup_elem(&picket_repeats, &key);

	if (repeat && header->time_boot_ns - repeat->window_begin < DEVICE_REPEAT_NS)
		return false;
	bpf_map_update_elem(&picket_repeats, &key, &fresh, BPF_ANY);
	return true;
}

/* A file with such a name was opened; it is told where it is a device. A frame of its own, as writer__opened has. */
static __noinline int device__opened(struct file_view *view, u32 methods, u32 slot)
{
	struct watch_subject subject;
	struct file_scratch *scratch;

	if (inode__view(&subject, view->inode) || (subject.mode & S_IFMT) != S_IFCHR || own__is_current())
		return 0;
	scratch = file__scratch(slot);
	if (!scratch)
		return 0;
	header__begin(&scratch->event.header, EVENT_FILE, bpf_get_current_task_btf());
	if (!device__due(&scratch->event.header, (u64)view->inode))
		return 0;
	file__describe(scratch, view, &subject, 0, EVENT_FILE_OPEN, slot);
	scratch->event.methods = methods;
	file__submit(scratch);
	return 0;
}
