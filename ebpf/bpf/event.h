/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What crosses from the kernel to user space: the one definition of every record, used by the probes and, through a test that compares
 * each offset, by the decoder in src/layout.rs. Plain integers in host byte order, no pointers, no bit fields, no implicit padding.
 *
 * A record is a fixed part, then text. Paths are components from the leaf to the root, each ended by NUL, without slashes: the order in
 * which the kernel's tree is walked.
 */
#pragma once

enum event_kind {
	EVENT_FORK = 1,
	EVENT_EXEC = 2,
	EVENT_EXIT = 3,
	EVENT_ACTION = 4,
	EVENT_FILE = 16,
	EVENT_FLOW = 32,
	EVENT_DNS = 33,
	EVENT_SOCKET = 34,
	EVENT_INODE = 48, /* from the loader's own iterator only */
};

/* event_header.flags */
#define EVENT_F_ARGS_CUT (1 << 0)
#define EVENT_F_PATH_CUT (1 << 1)
#define EVENT_F_PATH_DETACHED (1 << 2)
#define EVENT_F_USER_FAULT (1 << 3)
#define EVENT_F_PREEXISTING (1 << 4)
/* Of an exec: the executable never had a name (memfd), has none any more, was given by a descriptor. */
#define EVENT_F_EXE_MEMFD (1 << 12)
#define EVENT_F_EXE_DELETED (1 << 13)
#define EVENT_F_EXE_BY_DESCRIPTOR (1 << 14)

enum event_file_op {
	EVENT_FILE_OPEN = 1,
	EVENT_FILE_CLOSE_WRITE = 2,
	EVENT_FILE_RENAME = 3,
	EVENT_FILE_UNLINK = 4,
	EVENT_FILE_USE = 5,    /* bytes so far, and by what */
	EVENT_FILE_CHANGE = 6, /* attributes or size, by event_file_change */
	EVENT_FILE_LINK = 7,
};

/* event_file.change */
enum event_file_change {
	EVENT_CHANGE_MODE = 1,
	EVENT_CHANGE_OWNER = 2,
	EVENT_CHANGE_TIMES = 3,
	EVENT_CHANGE_XATTR = 4, /* access control lists among them */
	EVENT_CHANGE_SIZE = 5,  /* truncated or extended */
	EVENT_CHANGE_SPACE = 6, /* allocated, punched, collapsed */
};

/* event_file.methods */
#define EVENT_METHOD_MMAP (1 << 0)
#define EVENT_METHOD_MMAP_WRITE (1 << 1) /* shared and writable: what is written through it is not counted */
#define EVENT_METHOD_SENDFILE (1 << 2)
#define EVENT_METHOD_SPLICE (1 << 3)
#define EVENT_METHOD_COPY (1 << 4)
#define EVENT_METHOD_DIRECT (1 << 5)
#define EVENT_METHOD_IO_URING (1 << 6)
#define EVENT_METHOD_HANDLE (1 << 7)
#define EVENT_METHOD_COMPAT (1 << 8)

enum event_flow_op {
	EVENT_FLOW_CONNECT = 1,
	EVENT_FLOW_ACCEPT = 2,
	EVENT_FLOW_CLOSE = 3,
	EVENT_FLOW_FAIL = 4,
	EVENT_FLOW_EXISTING = 5,
	EVENT_FLOW_TRAFFIC = 6, /* still up; bytes so far */
	EVENT_FLOW_LISTEN = 7,  /* waits for peers at its local end; existing ones carry EVENT_F_PREEXISTING */
};

/* event_flow.app */
enum event_app { EVENT_APP_UNKNOWN = 0, EVENT_APP_QUIC = 1 };

enum event_dns_op { EVENT_DNS_QUERY = 1, EVENT_DNS_RESPONSE = 2 };
/* What a process does to others, to itself or to the kernel; with the meaning of values[], and of texts where there are any.
 * A - is a value that is not used. */
enum event_action_op {
	ACTION_PTRACE = 1,          /* target; request, -, address, data */
	ACTION_READ_MEMORY = 2,     /* process_vm_readv; target; first address there, bytes in all */
	ACTION_WRITE_MEMORY = 3,    /* process_vm_writev; likewise */
	ACTION_TAKE_DESCRIPTOR = 4, /* pidfd_getfd; target; descriptor there, -, descriptor here; path of the file */
	ACTION_PROC_OPEN = 5,       /* target; f_mode; name below /proc/PID */
	ACTION_SIGNAL = 6,          /* target; signal, -, si_code */
	ACTION_SET_IDS = 16,        /* before: euid << 32 | uid, egid << 32 | gid, capabilities; after: likewise; 1 where those before are known */
	ACTION_MAP = 32,            /* address, bytes, protection, flags, inode, device, i_mode << 32 | owner, enum event_map_origin; path */
	ACTION_SETNS = 48,          /* flags; then the namespaces it is in: mnt, pid, net, user */
	ACTION_UNSHARE = 49,        /* likewise */
	ACTION_MOUNT = 50,          /* flags; type, source, target as the caller gave them */
	ACTION_UMOUNT = 51,         /* flags; target */
	ACTION_PIVOT_ROOT = 52,     /* -; new root, put old */
	ACTION_CHROOT = 53,         /* -; folder */
	ACTION_OPEN_TREE = 54,      /* flags; path */
	ACTION_MOVE_MOUNT = 55,     /* flags; from, to */
	ACTION_MOUNT_SETATTR = 56,  /* flags; path */
	ACTION_MEMFD = 57,          /* flags, inode; name */
	ACTION_CLOCK_SET = 64,      /* clock, seconds, nanoseconds */
	ACTION_CLOCK_STEP = 65,     /* clock, the time after it: seconds, nanoseconds or microseconds, modes */
	ACTION_MODULE_LOAD = 72,    /* -; name */
	ACTION_MODULE_UNLOAD = 73,  /* -; name */
	ACTION_BPF_LOAD = 74,       /* id, type, tag; name */
	ACTION_RING_SUBMIT = 80,    /* opcode; count is the number since the last such record */
};

enum event_map_origin {
	MAP_ORIGIN_ANONYMOUS = 1,
	MAP_ORIGIN_MEMFD = 2,
	MAP_ORIGIN_DELETED = 3,
	MAP_ORIGIN_WRITABLE_PLACE = 4,
};

/* What losses are counted by. */
enum event_class { CLASS_PROCESS = 0, CLASS_FILE = 1, CLASS_NETWORK = 2, CLASSES = 3 };

/* Keys of picket_counters. */
enum counter {
	COUNTER_PRODUCED = 0,
	COUNTER_DROPPED = 3,
	COUNTER_MAP_FULL = 6,
	COUNTER_LIMITED = 9, /* one process asked for more than its share */
	COUNTER_SHED = 12, /* left out to save time: see watch_config.shed */
	COUNTER_ERROR = 15,
	COUNTER_E_SCRATCH = COUNTER_ERROR, /* the per-CPU buffer was not there: cannot happen, counted all the same */
	COUNTER_E_ARGUMENTS,               /* arguments not readable at exec */
	COUNTER_E_ENVIRONMENT,             /* environment not readable, or longer than the scan */
	COUNTER_E_PATH,                    /* a path component not readable */
	COUNTER_E_FILE,                    /* an opened file not readable through its descriptor */
	COUNTER_E_WALK,                    /* a directory deeper than the walk for watches */
	COUNTER_E_NAME,                    /* a rename or unlink whose object was not found */
	COUNTER_E_OWNER,                   /* a flow whose owner is unknown */
	COUNTER_E_TARGET,                  /* the process that a call named was not found */
	COUNTER_E_REPEAT,                  /* repeated actions held back: told by the count of a later record, if one comes */
	COUNTER_E_PACKET,                  /* a packet whose headers are not readable */
	COUNTERS,
};

/* Limits: text is cut there, and the record says so. Who chooses the length is any unprivileged process. */
#define ARGS_MAX 4096
#define ENVIRONMENT_MAX 2048
#define ENVIRONMENT_STRINGS 256
#define ENVIRONMENT_NAME 24
#define PATH_MAX_BYTES 4096
#define COMPONENT_MAX 256
#define COMPONENTS_MAX 64
#define EXTENSION_MAX 16
#define EXEC_DATA 16384
#define FILE_DATA 8192
#define ACTION_DATA 8192
#define ACTION_TEXTS 3
#define ACTION_VALUES 8
#define DNS_MESSAGE_MAX 4096
#define SOCKET_DATA 8192
#define SOCKET_NAME 32

struct event_task {
	__u32 pid;
	__u32 tid;
	__u64 start_boot_ns;
	__u64 parent_start_boot_ns;
	__u32 parent_pid;
	__u32 uid;
	__u32 euid;
	__u32 gid;
	__u32 auid;
	__u32 reserved;
	__u64 cgroup_id;
	char comm[16];
};

struct event_header {
	__u16 kind;
	__u16 flags;
	__u32 cpu;
	__u64 time_boot_ns;
	struct event_task task;
};

struct event_fork {
	struct event_header header;
	__u64 child_start_boot_ns;
	__u32 child_pid;
	__u32 reserved;
};

struct event_exit {
	struct event_header header;
	__u32 code;
	__u32 reserved;
};

struct event_exec {
	struct event_header header;
	__u64 exe_inode;
	__u64 capabilities;
	__u64 session_start_boot_ns;
	__u32 exe_device;
	__u32 argc;
	__u32 mnt_ns;
	__u32 pid_ns;
	__u32 net_ns;
	__u32 user_ns;
	__u32 ns_pid;
	__u32 session_pid;
	__u16 tty_major;
	__u16 tty_minor;
	__u16 args_len;
	__u16 environment_len;
	__u16 exe_len;
	__u16 cwd_len;
	__u32 used; /* bytes of data in use; args, environment, exe, cwd, in this order */
};

struct event_file {
	struct event_header header;
	__u64 inode;
	__u64 size;
	__u32 device;
	__u32 owner_uid;
	__u32 watch_id;
	__u32 open_flags;
	__u32 mode_bits;
	__u16 i_mode;
	__u8 op;
	__u8 created;
	__u16 path_len;
	__u16 new_path_len;
	__u32 used; /* path, new path */
	__u64 bytes_read;    /* by this process through this description, where op is a use or the end of one */
	__u64 bytes_written;
	__u16 methods;
	__u8 change;
	__u8 until_end; /* nothing more will come */
	__u32 reserved;
};

struct event_flow {
	struct event_header header;
	__u64 bytes_sent;
	__u64 bytes_received;
	__u64 cookie;
	__u64 established_boot_ns;
	__u8 local[16];
	__u8 remote[16];
	__u16 local_port;
	__u16 remote_port;
	__u16 family; /* 2 or 10 */
	__u8 op;
	__u8 inbound;
	__u32 error;
	__u8 protocol; /* 6 or 17 */
	__u8 app;
	__u16 merged; /* the remote end stands for several peers, of one process that had too many */
};

/* A DNS message of this host's resolver, whole or its beginning; the flow says whose and with whom. */
struct event_dns {
	struct event_flow flow;
	__u32 message_bytes; /* on the wire */
	__u16 used;          /* here */
	__u8 op;
	__u8 reserved;
};

enum event_socket_op { EVENT_SOCKET_LOCAL = 1, EVENT_SOCKET_SPECIAL = 2 };

/* event_socket.name */
enum event_socket_name { EVENT_SOCKET_UNNAMED = 0, EVENT_SOCKET_PATH = 1, EVENT_SOCKET_ABSTRACT = 2 };

/* A local socket was connected to one with a listed name, or a socket was made that is neither local nor for TCP or UDP. */
struct event_socket {
	struct event_header header;
	__u64 inode; /* of the socket's file, zero where it has none */
	__u64 cookie;
	__u32 device;
	__u32 owner_uid;
	__u16 i_mode;
	__u16 family;
	__u16 type;
	__u16 protocol;
	__u8 op;
	__u8 name;
	__u16 name_len; /* components, or the bytes of an abstract name */
	__u32 used;
};

struct event_action {
	struct event_header header;
	struct event_task target; /* all zero where the action has none, or it was not found */
	__u64 values[ACTION_VALUES];
	__u16 op;
	__u16 call; /* number of the system call, 0 where it was none */
	__s32 result;
	__u32 count; /* actions that this record stands for */
	__u16 text_len[ACTION_TEXTS];
	__u16 reserved;
	__u32 used; /* texts: a path, or text ended by NUL */
};

/* One of the loader's own descriptors, as the kernel sees it: pointers are identities here, never dereferenced. */
struct event_inode {
	__u64 inode_ptr;
	__u64 super_ptr;
	__u64 mount_ptr;
	__u64 inode;
	__u32 fd;
	__u32 device;
};
