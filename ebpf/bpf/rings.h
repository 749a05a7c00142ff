/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Files opened and used through io_uring, which makes no system call for them.
 *
 * Hook: io_uring_complete, when a request has its result: an opened file is found by its descriptor, or in the ring's own table where it got no
 * descriptor; bytes go to the file that the request still holds. The thread that submits for a polled ring, and the ring's workers, are
 * threads of the process that made it. Rejected: io_uring_submit_req (shows the name that was asked for, in user memory).
 *
 * Kernels: 6.0 and later; the tracepoint shows the result itself since 6.13, and its parts before (the programs of that name). Before 6.0 it shows no request
 * and does not attach. A ring that is not used pays nothing.
 * Cannot see: completions that a ring suppresses on success (IOSQE_CQE_SKIP_SUCCESS).
 */
#pragma once

enum ring_opcode { RING_READV = 1, RING_WRITEV = 2, RING_READ_FIXED = 4, RING_WRITE_FIXED = 5, RING_OPENAT = 18, RING_READ = 22, RING_WRITE = 23, RING_OPENAT2 = 28 };

#define RING_SLOT_ALLOCATED 0xffffffff /* IORING_FILE_INDEX_ALLOC: the result tells which */

static __always_inline struct file *ring__table_file(struct io_ring_ctx *ring, u32 index)
{
	struct io_ring_ctx___fixed *before = (void *)ring;
	struct io_rsrc_node **nodes, *node = NULL;
	struct io_fixed_file *file;

	if (!bpf_core_field_exists(ring->file_table.data)) {
		file = BPF_CORE_READ(before, file_table.files);
		return file && index < BPF_CORE_READ(before, nr_user_files) ? (struct file *)(BPF_CORE_READ(file + index, file_ptr) & ~7UL) : NULL;
	}
	nodes = BPF_CORE_READ(ring, file_table.data.nodes);
	if (index >= BPF_CORE_READ(ring, file_table.data.nr) || bpf_probe_read_kernel(&node, sizeof(node), nodes + index) || !node)
		return NULL;
	return (struct file *)(BPF_CORE_READ(node, file_ptr) & ~7UL);
}

static __always_inline int ring__opened(struct io_ring_ctx *ring, struct io_kiocb *request, s32 result)
{
	struct io_open *asked = (void *)request; /* laid over the request's first part */
	u8 opcode = BPF_CORE_READ(request, opcode);
	struct file *file;
	u32 slot;

	if ((opcode != RING_OPENAT && opcode != RING_OPENAT2) || result < 0)
		return 0;
	slot = BPF_CORE_READ(asked, file_slot);
	if (!slot)
		return file__open(bpf_get_current_task_btf(), result, EVENT_METHOD_IO_URING);
	file = ring__table_file(ring, slot == RING_SLOT_ALLOCATED ? (u32)result : slot - 1);
	if (!file) {
		counter__add(COUNTER_E_FILE);
		return 0;
	}
	return file__opened(file, -1, EVENT_METHOD_IO_URING, FILE_SLOT_RING);
}

static __always_inline int ring__moved(struct io_kiocb *request, s32 result)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct use *use;
	bool written;

	if (result <= 0 || !holders__may_include(task->tgid))
		return 0;
	switch (BPF_CORE_READ(request, opcode)) {
	case RING_READ:
	case RING_READV:
	case RING_READ_FIXED:
		written = false;
		break;
	case RING_WRITE:
	case RING_WRITEV:
	case RING_WRITE_FIXED:
		written = true;
		break;
	default:
		return 0;
	}
	use = use__of(task, BPF_CORE_READ(request, file));
	if (!use)
		return 0;
	__sync_fetch_and_add(written ? &use->bytes_written : &use->bytes_read, result);
	use->methods |= EVENT_METHOD_IO_URING;
	return 0;
}
