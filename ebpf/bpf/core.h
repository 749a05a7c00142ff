/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The kernel's types, written by hand: only the fields that a probe touches. Offsets are fixed up when an object is loaded, from the
 * running kernel's BTF, so the order and the gaps here mean nothing. A name after three underscores is a flavour of the type before them.
 */
#pragma once

typedef unsigned char __u8;
typedef unsigned short __u16;
typedef unsigned int __u32;
typedef unsigned long long __u64;
typedef signed char __s8;
typedef short __s16;
typedef int __s32;
typedef long long __s64;
typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;
typedef __s32 s32;
typedef __s64 s64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u64 __be64;
typedef __u32 __wsum;
typedef __u16 __sum16;
typedef _Bool bool;
typedef int pid_t;
typedef unsigned int uid_t;
typedef unsigned long size_t;
typedef unsigned short umode_t;
typedef __u32 dev_t;
typedef unsigned int fmode_t;
typedef long long loff_t;
#define true 1
#define false 0
#define NULL ((void *)0)
#define __VMLINUX_H__ 1 /* bpf_tracing.h: pt_regs has the kernel's names */

enum { BPF_MAP_TYPE_HASH = 1, BPF_MAP_TYPE_ARRAY = 2, BPF_MAP_TYPE_PROG_ARRAY = 3, BPF_MAP_TYPE_PERCPU_ARRAY = 6, BPF_MAP_TYPE_LRU_HASH = 9, BPF_MAP_TYPE_RINGBUF = 27 };
enum { BPF_ANY = 0, BPF_NOEXIST = 1, BPF_F_NO_PREALLOC = 1, BPF_RB_NO_WAKEUP = 1, BPF_RB_AVAIL_DATA = 0, BPF_RB_RING_SIZE = 1 };

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

typedef struct { uid_t val; } kuid_t;
typedef struct { uid_t val; } kgid_t;
typedef struct { int counter; } atomic_t;
typedef struct { long counter; } atomic_long_t;
typedef struct { s64 counter; } atomic64_t;
typedef struct { atomic64_t refcnt; } file_ref_t;
/* {u32 cap[2]} before 6.3, {u64 val} after: never name what is inside. */
struct kernel_cap_struct { };
typedef struct kernel_cap_struct kernel_cap_t;

struct hlist_node { struct hlist_node *next; };
struct hlist_head { struct hlist_node *first; };
struct hlist_bl_node { struct hlist_bl_node *next, **pprev; };
struct list_head { struct list_head *next, *prev; };
struct qstr { union { struct { u32 hash; u32 len; }; u64 hash_len; }; const unsigned char *name; };
struct mount;
struct super_block { dev_t s_dev; unsigned long s_magic; struct dentry *s_root; struct mount *s_mounts; };
struct inode {
	umode_t i_mode;
	kuid_t i_uid;
	struct super_block *i_sb;
	unsigned long i_ino;
	unsigned int i_nlink;
	void *i_private;
	u32 i_generation;
	loff_t i_size;
	struct hlist_head i_dentry;
};
union shortname_store { unsigned char string[40]; unsigned long words[5]; };
struct dentry {
	struct hlist_bl_node d_hash;
	union shortname_store d_shortname;
	struct dentry *d_parent;
	struct qstr d_name;
	struct inode *d_inode;
	struct super_block *d_sb;
	struct hlist_node d_alias; /* in a union without a name */
};
struct vfsmount { struct dentry *mnt_root; struct super_block *mnt_sb; };
struct mount { struct mount *mnt_parent; struct dentry *mnt_mountpoint; struct vfsmount mnt; struct mount *mnt_next_for_sb; };
struct path { struct vfsmount *mnt; struct dentry *dentry; };
struct file { fmode_t f_mode; struct inode *f_inode; struct address_space *f_mapping; unsigned int f_flags; struct path f_path; void *private_data; file_ref_t f_ref; };
struct file___counted { atomic_long_t f_count; }; /* before 6.13 */
struct fdtable { unsigned int max_fds; struct file **fd; unsigned long *open_fds; };
struct files_struct { atomic_t count; struct fdtable *fdt; struct file *fd_array[64]; };
struct fs_struct { struct path root; struct path pwd; };
struct ns_common { unsigned int inum; };
struct user_namespace { struct ns_common ns; };
struct mnt_namespace { struct ns_common ns; };
struct xarray { void *xa_head; };
struct xa_node { unsigned char shift; void *slots[64]; };
struct idr { struct xarray idr_rt; };
struct pid_namespace { struct idr idr; struct ns_common ns; };
struct net { struct ns_common ns; };
struct nsproxy { struct mnt_namespace *mnt_ns; struct pid_namespace *pid_ns_for_children; struct net *net_ns; };
struct cred { kuid_t uid; kgid_t gid; kuid_t euid; kgid_t egid; kernel_cap_t cap_effective; struct user_namespace *user_ns; };
struct mm_struct { unsigned long arg_start, arg_end, env_start, env_end; struct file *exe_file; };
struct kernfs_node { u64 id; };
struct cgroup { struct kernfs_node *kn; };
struct css_set { struct cgroup *dfl_cgrp; };
struct upid { int nr; struct pid_namespace *ns; };
struct pid { unsigned int level; struct hlist_head tasks[4]; struct upid numbers[1]; };
struct tty_driver { int major; int minor_start; };
struct tty_struct { int index; struct tty_driver *driver; };
struct signal_struct { atomic_t live; int nr_threads; unsigned int flags; int group_exit_code; struct pid *pids[4]; struct tty_struct *tty; };
struct thread_info { u32 status; };
struct task_struct {
	struct thread_info thread_info;
	pid_t pid;
	pid_t tgid;
	u64 start_boottime;
	int exit_code;
	unsigned int flags;
	struct task_struct *real_parent;
	struct task_struct *group_leader;
	struct mm_struct *mm;
	const struct cred *real_cred;
	const struct cred *cred;
	struct fs_struct *fs;
	struct files_struct *files;
	struct nsproxy *nsproxy;
	struct css_set *cgroups;
	struct signal_struct *signal;
	struct pid *thread_pid;
	struct hlist_node pid_links[4];
	kuid_t loginuid;
	char comm[16];
};
struct linux_binprm { int argc; const char *fdpath; };
struct vm_area_struct { struct file *vm_file; };
struct vm_fault { struct vm_area_struct *vma; };
struct bpf_prog_aux { u32 id; char name[16]; };
enum bpf_prog_type { BPF_PROG_TYPE_UNSPEC };
struct bpf_prog { enum bpf_prog_type type; u8 tag[8]; struct bpf_prog_aux *aux; };
struct module { char name[56]; };
struct kernel_siginfo { int si_code; };
struct proc_inode { struct pid *pid; struct inode vfs_inode; };
struct renamedata { struct dentry *old_dentry; struct dentry *new_dentry; unsigned int flags; };

struct in6_addr { union { u8 u6_addr8[16]; __be32 u6_addr32[4]; } in6_u; };
struct sock_common {
	union { struct { __be32 skc_daddr; __be32 skc_rcv_saddr; }; };
	union { struct { __be16 skc_dport; __u16 skc_num; }; };
	unsigned short skc_family;
	volatile unsigned char skc_state;
	struct in6_addr skc_v6_daddr;
	struct in6_addr skc_v6_rcv_saddr;
	unsigned long skc_flags;
	atomic64_t skc_cookie;
};
struct socket { struct file *file; struct sock *sk; short type; };
struct sock { struct sock_common __sk_common; u16 sk_type; u16 sk_protocol; struct socket *sk_socket; int sk_err; };
struct sockaddr_un { u16 sun_family; char sun_path[108]; };
struct unix_address { int len; struct sockaddr_un name[1]; };
struct unix_sock { struct sock sk; struct unix_address *addr; struct path path; struct sock *peer; };
struct inet_sock { struct sock sk; __be16 inet_sport; };
struct tcp_sock { u64 bytes_received; u64 bytes_sent; u64 bytes_acked; u64 bytes_retrans; };

struct pt_regs { unsigned long r15, r14, r13, r12, bp, bx, r11, r10, r9, r8, ax, cx, dx, si, di, orig_ax, ip, cs, flags, sp, ss; };

struct seq_file { };
struct bpf_iter_meta { struct seq_file *seq; u64 session_id; u64 seq_num; };
struct bpf_iter__task { struct bpf_iter_meta *meta; struct task_struct *task; };
struct bpf_iter__task_file { struct bpf_iter_meta *meta; struct task_struct *task; u32 fd; struct file *file; };
struct bpf_iter__tcp { struct bpf_iter_meta *meta; struct sock_common *sk_common; uid_t uid; };
struct bpf_map { u32 id; };
struct bpf_iter__bpf_map_elem { struct bpf_iter_meta *meta; struct bpf_map *map; void *key; void *value; };
struct timespec64 { s64 tv_sec; long tv_nsec; };

struct address_space { struct inode *host; };
struct io_kiocb { struct file *file; u8 opcode; };
struct io_open { struct file *file; int dfd; u32 file_slot; };
struct io_rsrc_node { unsigned long file_ptr; };
struct io_rsrc_data { unsigned int nr; struct io_rsrc_node **nodes; };
struct io_file_table { struct io_rsrc_data data; };
struct io_ring_ctx { struct io_file_table file_table; };
/* Before 6.13. */
struct io_fixed_file { unsigned long file_ptr; };
struct io_file_table___fixed { struct io_fixed_file *files; };
struct io_ring_ctx___fixed { struct io_file_table___fixed file_table; unsigned int nr_user_files; };
struct io_uring_cqe { u64 user_data; s32 res; u32 flags; };

#pragma clang attribute pop

/* The contexts of programs on a control group: user-space interface, never relocated. */
struct bpf_sock {
	__u32 bound_dev_if, family, type, protocol, mark, priority, src_ip4, src_ip6[4], src_port;
	__be16 dst_port;
	__u16 : 16;
	__u32 dst_ip4, dst_ip6[4], state;
	__s32 rx_queue_mapping;
};
struct __sk_buff {
	__u32 len, pkt_type, mark, queue_mapping, protocol, vlan_present, vlan_tci, vlan_proto, priority, ingress_ifindex, ifindex, tc_index, cb[5], hash, tc_classid;
	__u32 data, data_end, napi_id, family, remote_ip4, local_ip4, remote_ip6[4], local_ip6[4], remote_port, local_port, data_meta;
	union { void *flow_keys; __u64 : 64; } __attribute__((aligned(8)));
	__u64 tstamp;
	__u32 wire_len, gso_segs;
	union { struct bpf_sock *sk; __u64 : 64; } __attribute__((aligned(8)));
};

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

#include "event.h"

/* The compiler may not keep this in a register: the verifier then sees the same state on every turn of a loop and prunes it; with the
 * value in a register each turn doubles the states until the million-instruction limit refuses the program. */
#define MEMORY(x) (*(volatile typeof(x) *)&(x))

#define SIGNAL_GROUP_EXIT 4
#define S_IFMT 0170000
#define S_IFREG 0100000
#define S_IFDIR 0040000
#define S_IFCHR 0020000
#define S_IFSOCK 0140000
#define FMODE_READ 1
#define FMODE_WRITE 2
#define FMODE_PATH (1 << 14)
#define FMODE_CREATED (1 << 20)
#define O_TMPFILE_BIT 020000000
#define O_DIRECT_BIT 040000
#define PF_KTHREAD 0x00200000
#define RENAME_EXCHANGE 2
