// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The better hooks, where the kernel has trampolines on its functions (fentry and fexit): the same records, without any cost for the system
 * calls that are none of ours, with io_uring and nfsd, and with the exact moment of the last close.
 *
 * Hooks: fexit/do_filp_open, which newer kernels (seen on 7.2) call do_file_open (every open by path, the ring's as well), and fexit/file_open_root
 * (open_by_handle_at): the opened file itself, typed.
 * fentry/locks_remove_file: called once for each description, when its last reference goes. fentry and fexit of vfs_rename, vfs_unlink,
 * vfs_link: the dentries; likewise notify_change (mode, owner, times, size), vfs_setxattr, vfs_removexattr, vfs_set_acl and vfs_remove_acl (6.2 and later),
 * vfs_fallocate, in the calls that ask for such a change alone. filemap_map_pages and filemap_fault: pages of a mapping, where the tracepoints
 * in them are not there yet (before 6.11). fexit/inet_csk_accept: the accepted socket. Rejected: the LSM hooks behind them (need lsm=…,bpf; they
 * see refused calls too), kprobes (10 times the cost), static functions such as __fput (may be inlined).
 *
 * Kernels: 5.15 and later with BTF and CONFIG_FUNCTION_TRACER; each falls back on its own to the hooks in file.bpf.c and network.bpf.c.
 *
 * Cannot see: what file.bpf.c cannot, but for io_uring; opens by the kernel for exec (left out: the exec record names them).
 * An unprivileged process can do what it can to those.
 */
#include "file.h"
#include "names.h"
#include "network.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define FMODE_EXEC_FLAG 0x20 /* __FMODE_EXEC, among the open flags */

#define PF_IO_WORKER 0x10
#define CALL_IO_URING_ENTER 426 /* the same number for every caller */

/* By which way the current task opens: the threads of a ring make no call of their own. */
static __always_inline u32 open_methods(void)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(task);

	if (task->flags & PF_IO_WORKER)
		return EVENT_METHOD_IO_URING;
	if (task->flags & PF_KTHREAD)
		return 0;
	return regs->orig_ax == CALL_IO_URING_ENTER ? EVENT_METHOD_IO_URING : syscall__open_methods(task, regs);
}

static __always_inline int opened(struct file *file, u32 slot)
{
	struct watch_config *config = watch__config();

	/* An error pointer lies in the last page. */
	if ((u64)file >= -4095UL || !file)
		return 0;
	if (file->f_flags & FMODE_EXEC_FLAG)
		return 0;
	if (config && quick__is_unwatched(config, file))
		return 0;
	return file__opened(file, -1, open_methods(), slot);
}

SEC("fexit/do_filp_open")
int BPF_PROG(do_filp_open, int dfd, void *name, void *flags, struct file *ret)
{
	return opened(ret, FILE_SLOT_OPEN);
}

SEC("fexit/do_file_open")
int BPF_PROG(do_file_open, int dfd, void *name, void *flags, struct file *ret)
{
	return opened(ret, FILE_SLOT_OPEN);
}

SEC("fexit/file_open_root")
int BPF_PROG(file_open_root, void *root, void *name, int flags, umode_t mode, struct file *ret)
{
	return opened(ret, FILE_SLOT_OPEN_ROOT);
}

SEC("fentry/locks_remove_file")
int BPF_PROG(locks_remove_file, struct file *file)
{
	return file__released(file);
}

#define VM_FAULT_NOPAGE 0x100

static __always_inline struct address_space *faulting(struct vm_fault *fault)
{
	return fault->vma->vm_file->f_mapping;
}

SEC("fexit/filemap_map_pages")
int BPF_PROG(filemap_map_pages, struct vm_fault *fault, unsigned long first, unsigned long last, int ret)
{
	return last < first || !(ret & VM_FAULT_NOPAGE) ? 0 : usage__faulted(faulting(fault), last - first + 1);
}

SEC("fentry/filemap_fault")
int BPF_PROG(filemap_fault, struct vm_fault *fault)
{
	return usage__faulted(faulting(fault), 1);
}

SEC("fentry/vfs_rename")
int BPF_PROG(vfs_rename, struct renamedata *data)
{
	return naming__renaming(data);
}

SEC("fexit/vfs_rename")
int BPF_PROG(vfs_rename_done, struct renamedata *data, int ret)
{
	return naming__end(ret, FILE_SLOT_RENAME);
}

SEC("fentry/vfs_unlink")
int BPF_PROG(vfs_unlink, void *idmap, struct inode *folder, struct dentry *dentry)
{
	return naming__of(NAMING_UNLINK, dentry);
}

SEC("fexit/vfs_unlink")
int BPF_PROG(vfs_unlink_done, void *idmap, struct inode *folder, struct dentry *dentry, void *delegated, int ret)
{
	return naming__end(ret, FILE_SLOT_UNLINK);
}

SEC("fentry/vfs_link")
int BPF_PROG(vfs_link, struct dentry *dentry)
{
	return naming__of(NAMING_LINK, dentry);
}

SEC("fexit/vfs_link")
int BPF_PROG(vfs_link_done, struct dentry *dentry, void *idmap, struct inode *folder, struct dentry *made, void *delegated, int ret)
{
	return naming__end(ret, FILE_SLOT_UNLINK);
}

SEC("fentry/notify_change")
int BPF_PROG(notify_change, void *idmap, struct dentry *dentry)
{
	return naming__changing(dentry);
}

SEC("fexit/notify_change")
int BPF_PROG(notify_change_done, void *idmap, struct dentry *dentry, void *attributes, void *delegated, int ret)
{
	return naming__change_done(dentry, ret);
}

SEC("fentry/vfs_setxattr")
int BPF_PROG(vfs_setxattr, void *idmap, struct dentry *dentry)
{
	return naming__changing(dentry);
}

SEC("fexit/vfs_setxattr")
int BPF_PROG(vfs_setxattr_done, void *idmap, struct dentry *dentry, void *name, void *value, u64 size, int flags, int ret)
{
	return naming__change_done(dentry, ret);
}

SEC("fentry/vfs_removexattr")
int BPF_PROG(vfs_removexattr, void *idmap, struct dentry *dentry)
{
	return naming__changing(dentry);
}

SEC("fexit/vfs_removexattr")
int BPF_PROG(vfs_removexattr_done, void *idmap, struct dentry *dentry, void *name, int ret)
{
	return naming__change_done(dentry, ret);
}

SEC("fentry/vfs_set_acl")
int BPF_PROG(vfs_set_acl, void *idmap, struct dentry *dentry)
{
	return naming__changing(dentry);
}

SEC("fexit/vfs_set_acl")
int BPF_PROG(vfs_set_acl_done, void *idmap, struct dentry *dentry, void *name, void *acl, int ret)
{
	return naming__change_done(dentry, ret);
}

SEC("fentry/vfs_remove_acl")
int BPF_PROG(vfs_remove_acl, void *idmap, struct dentry *dentry)
{
	return naming__changing(dentry);
}

SEC("fexit/vfs_remove_acl")
int BPF_PROG(vfs_remove_acl_done, void *idmap, struct dentry *dentry, void *name, int ret)
{
	return naming__change_done(dentry, ret);
}

SEC("fentry/vfs_fallocate")
int BPF_PROG(vfs_fallocate, struct file *file)
{
	return naming__changing(file->f_path.dentry);
}

SEC("fexit/vfs_fallocate")
int BPF_PROG(vfs_fallocate_done, struct file *file, int mode, s64 offset, s64 bytes, int ret)
{
	return naming__change_done(file->f_path.dentry, ret);
}

/* Since 6.10; before, with two arguments more. The loader tries the longer one first: it is refused where the function is shorter. */
SEC("fexit/inet_csk_accept")
int BPF_PROG(inet_csk_accept, struct sock *listener, void *argument, struct sock *ret)
{
	return network__accepted(ret);
}

SEC("fexit/inet_csk_accept")
int BPF_PROG(inet_csk_accept_before_6_10, struct sock *listener, int flags, void *error, bool kernel, struct sock *ret)
{
	return network__accepted(ret);
}
