/* What a process does with sockets through a ring alone: no connect, accept, socket or send call is made.
 * `ring connect PORT BYTES`, `ring accept PORT once|many`, `ring local PATH`, `ring raw`. Prints a line when ready. */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/io_uring.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

static int ring;
static struct io_uring_params params;
static unsigned char *queue, *results;
static struct io_uring_sqe *entries;

static void die(const char *what)
{
	perror(what);
	exit(2);
}

static void begin(void)
{
	ring = syscall(SYS_io_uring_setup, 8, &params);
	if (ring < 0)
		die("io_uring_setup");
	queue = mmap(0, params.sq_off.array + params.sq_entries * 4, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring, IORING_OFF_SQ_RING);
	results = mmap(0, params.cq_off.cqes + params.cq_entries * sizeof(struct io_uring_cqe), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring, IORING_OFF_CQ_RING);
	entries = mmap(0, params.sq_entries * sizeof(struct io_uring_sqe), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring, IORING_OFF_SQES);
	if (queue == MAP_FAILED || results == MAP_FAILED || entries == MAP_FAILED)
		die("mmap");
}

static int result(void)
{
	unsigned *head = (unsigned *)(results + params.cq_off.head), *tail = (unsigned *)(results + params.cq_off.tail), mask = *(unsigned *)(results + params.cq_off.ring_mask);
	int res;

	while (__atomic_load_n(tail, __ATOMIC_ACQUIRE) == *head)
		if (syscall(SYS_io_uring_enter, ring, 0, 1, IORING_ENTER_GETEVENTS, 0, 0) < 0)
			die("io_uring_enter");
	res = ((struct io_uring_cqe *)(results + params.cq_off.cqes))[*head & mask].res;
	__atomic_store_n(head, *head + 1, __ATOMIC_RELEASE);
	if (res < 0) {
		errno = -res;
		die("result");
	}
	return res;
}

static int act(unsigned char opcode, int fd, const void *address, unsigned len, unsigned long long offset, unsigned short priority)
{
	unsigned *tail = (unsigned *)(queue + params.sq_off.tail), mask = *(unsigned *)(queue + params.sq_off.ring_mask), at = *tail & mask;
	struct io_uring_sqe *entry = &entries[at];

	memset(entry, 0, sizeof(*entry));
	entry->opcode = opcode;
	entry->fd = fd;
	entry->addr = (unsigned long)address;
	entry->len = len;
	entry->off = offset;
	entry->ioprio = priority;
	((unsigned *)(queue + params.sq_off.array))[at] = at;
	__atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
	if (syscall(SYS_io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS, 0, 0) < 0)
		die("io_uring_enter");
	return result();
}

/* socket(2) as a ring has it: the family stands for the descriptor, the type for the offset, the protocol for the length. */
static int make(int family, int type, int protocol)
{
	return act(IORING_OP_SOCKET, family, 0, protocol, type, 0);
}

int main(int argc, char **argv)
{
	static char bytes[65536];
	struct sockaddr_in there = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(argc > 2 ? atoi(argv[2]) : 0) };
	struct sockaddr_un local = { .sun_family = AF_UNIX };
	int fd, left;

	begin();
	if (!strcmp(argv[1], "connect")) {
		fd = make(AF_INET, SOCK_STREAM, 0);
		act(IORING_OP_CONNECT, fd, &there, 0, sizeof(there), 0);
		for (left = atoi(argv[3]); left > 0;)
			left -= act(IORING_OP_SEND, fd, bytes, left < (int)sizeof(bytes) ? left : (int)sizeof(bytes), 0, 0);
	} else if (!strcmp(argv[1], "accept")) {
		int many = !strcmp(argv[3], "many"), on = 1;

		fd = socket(AF_INET, SOCK_STREAM, 0);
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
		if (bind(fd, (void *)&there, sizeof(there)) || listen(fd, 4))
			die("listen");
		puts("ready");
		fflush(stdout);
		fd = act(IORING_OP_ACCEPT, fd, 0, 0, 0, many ? IORING_ACCEPT_MULTISHOT : 0);
		if (act(IORING_OP_RECV, fd, bytes, sizeof(bytes), 0, 0) <= 0)
			return 1;
	} else if (!strcmp(argv[1], "local")) {
		fd = make(AF_UNIX, SOCK_STREAM, 0);
		strncpy(local.sun_path, argv[2], sizeof(local.sun_path) - 1);
		act(IORING_OP_CONNECT, fd, &local, 0, sizeof(local), 0);
	} else if (!strcmp(argv[1], "raw")) {
		make(AF_INET, SOCK_RAW, 1);
	}
	puts("done");
	return 0;
}
