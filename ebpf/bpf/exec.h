/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The parts of event_exec that do not depend on where the task comes from: the exec tracepoint or the iterator over all tasks. */
#pragma once
#include "path.h"
#include "task.h"

enum { PIDTYPE_PID = 0, PIDTYPE_TGID = 1, PIDTYPE_SID = 3 };

struct exec_scratch {
	struct event_exec event;
	char data[EXEC_DATA + ENVIRONMENT_MAX]; /* the verifier's slack: one piece past the end of the mask */
	struct path_sink sink;
	u64 cursor; /* into the environment */
	u32 strings;
	u64 name[ENVIRONMENT_NAME / 8];
};

/* One slot a program that builds a record: a program never runs twice at once on a CPU, two different ones may. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct exec_scratch);
} exec_scratch SEC(".maps");

static __always_inline struct exec_scratch *exec__scratch(void)
{
	u32 zero = 0;
	struct exec_scratch *scratch = bpf_map_lookup_elem(&exec_scratch, &zero);

	if (!scratch)
		counter__add(COUNTER_E_SCRATCH);
	return scratch;
}

static __always_inline void exec__namespaces(struct event_exec *event, struct task_struct *task)
{
	struct nsproxy *proxy = task->nsproxy;
	struct pid *pid = BPF_CORE_READ(task, thread_pid); /* a plain number: the verifier of 6.1 forbids sums with typed pointers */

	event->mnt_ns = 0;
	event->net_ns = 0;
	event->pid_ns = 0;
	event->ns_pid = 0;
	event->user_ns = task->cred->user_ns->ns.inum;
	if (proxy) { /* none in a task that is ending */
		event->mnt_ns = proxy->mnt_ns->ns.inum;
		event->net_ns = proxy->net_ns->ns.inum;
	}
	if (pid) {
		u64 at = (u64)pid + bpf_core_field_offset(struct pid, numbers) + (u64)BPF_CORE_READ(pid, level) * bpf_core_type_size(struct upid);
		struct upid *innermost = (void *)at;

		event->ns_pid = BPF_CORE_READ(innermost, nr);
		event->pid_ns = BPF_CORE_READ(innermost, ns, ns.inum);
	}
}

static __always_inline void exec__session(struct event_exec *event, struct task_struct *task)
{
	struct pid *session = task->signal->pids[PIDTYPE_SID];
	struct tty_struct *tty = task->signal->tty;

	event->session_pid = 0;
	event->session_start_boot_ns = 0;
	event->tty_major = 0;
	event->tty_minor = 0;
	if (session) {
		struct upid *outermost = (void *)session + bpf_core_field_offset(struct pid, numbers);
		struct hlist_node *link = session->tasks[PIDTYPE_TGID].first;

		event->session_pid = BPF_CORE_READ(outermost, nr);
		if (link) { /* none where the leader has ended */
			u64 at = (u64)link - bpf_core_field_offset(struct task_struct, pid_links) - PIDTYPE_TGID * sizeof(u64) * 2;
			struct task_struct *leader = (void *)at;

			event->session_start_boot_ns = BPF_CORE_READ(leader, start_boottime);
		}
	}
	if (tty) {
		event->tty_major = tty->driver->major;
		event->tty_minor = tty->driver->minor_start + tty->index;
	}
}

static __always_inline void exec__credentials(struct event_exec *event, struct task_struct *task)
{
	/* Raw: the type inside changed in 6.3, its eight bytes did not. */
	const void *at = (const void *)task->cred + bpf_core_field_offset(struct cred, cap_effective);

	event->capabilities = 0;
	bpf_probe_read_kernel(&event->capabilities, sizeof(event->capabilities), at);
}

/* Global: verified once, see watch__walk. */
__noinline u32 exec__path(u64 dentry, u64 mnt)
{
	struct exec_scratch *scratch = exec__scratch();

	if (!scratch)
		return 0;
	return path__append(scratch->data, EXEC_DATA, &scratch->sink, (struct dentry *)dentry, (struct vfsmount *)mnt);
}

/* Executable and working directory: by the kernel's own references, last in the record. */
static __always_inline void exec__files(struct exec_scratch *scratch, struct task_struct *task)
{
	struct event_exec *event = &scratch->event;
	struct file *exe = task->mm->exe_file;
	struct fs_struct *fs = task->fs;

	event->exe_inode = 0;
	event->exe_device = 0;
	event->exe_len = 0;
	event->cwd_len = 0;
	if (exe) {
		struct dentry *dentry = BPF_CORE_READ(exe, f_path.dentry);

		event->exe_inode = BPF_CORE_READ(exe, f_inode, i_ino);
		event->exe_device = BPF_CORE_READ(exe, f_inode, i_sb, s_dev);
		event->exe_len = exec__path((u64)dentry, (u64)BPF_CORE_READ(exe, f_path.mnt));
		if (event->exe_len == 0) { /* memfd: only the anonymous leaf has a name */
			path__append_name(scratch->data, EXEC_DATA, &scratch->sink, (const char *)BPF_CORE_READ(dentry, d_name.name));
			event->exe_len = MEMORY(scratch->sink.used) - MEMORY(scratch->sink.start);
		}
		if (dentry__unhashed(dentry))
			MEMORY(scratch->sink.flags) |= EVENT_F_PATH_DETACHED;
		if (dentry__unhashed(dentry) || !exe->f_inode->i_nlink)
			MEMORY(scratch->sink.flags) |= dentry__is_memfd(dentry) ? EVENT_F_EXE_MEMFD : EVENT_F_EXE_DELETED;
	}
	if (fs)
		event->cwd_len = exec__path((u64)BPF_CORE_READ(fs, pwd.dentry), (u64)BPF_CORE_READ(fs, pwd.mnt));
}

static __always_inline void exec__begin(struct exec_scratch *scratch, struct task_struct *task)
{
	struct event_exec *event = &scratch->event;

	header__begin(&event->header, EVENT_EXEC, task);
	MEMORY(scratch->sink.used) = 0;
	MEMORY(scratch->sink.flags) = 0;
	event->args_len = 0;
	event->environment_len = 0;
	event->argc = 0;
	exec__namespaces(event, task);
	exec__session(event, task);
	exec__credentials(event, task);
}

static __always_inline u32 exec__finish(struct exec_scratch *scratch)
{
	u32 used = MEMORY(scratch->sink.used);

	if (used > EXEC_DATA)
		used = EXEC_DATA;
	scratch->event.used = used;
	scratch->event.header.flags |= MEMORY(scratch->sink.flags);
	return used;
}
