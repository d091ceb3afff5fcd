/*
 * A preload library that has a FUSE program end by SIGKILL at exact points of the
 * requests it serves, so that a filesystem which knows nothing of tests has the
 * crash points of librelay/crash.h:
 *
 *   received  its read() of the channel gave it a request
 *   applied   it is about to write the reply: the store has changed
 *   sent      the reply is written
 *
 * $RELAY_CRASH_FILE has the plan, in the same lines: "MKDIR applied 2".  The channel
 * is whatever descriptor is a SOCK_SEQPACKET socket, however the program got it.
 *
 * Requests are received by read() or splice(), replies are sent by write(), writev(),
 * or vmsplice() and splice().  What is spliced is known before: the head of a request
 * by a look at the socket, which other threads have to wait for, and a reply's by its
 * first vmsplice().
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "crash.h"
#include "relay/fuse_abi.h"
#include "relay/opcodes.h"

/* What each request not yet answered was, by its place; places are taken and given back. */
#define REQUESTS 1024u
struct request {
	uint64_t unique; /* 0: free */
	uint32_t opcode;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t splice_lock = PTHREAD_MUTEX_INITIALIZER;
static struct request requests[REQUESTS];
static _Thread_local uint64_t spliced_unique;

static void *next_function(const char *name)
{
	void *function = dlsym(RTLD_NEXT, name);

	if (!function) {
		fprintf(stderr, "crash_preload: there is no %s()\n", name);
		abort();
	}
	return function;
}

/* The real function of that name and type. */
#define NEXT(name)                                                                                                     \
	({                                                                                                             \
		static __typeof__(name) *next_##name;                                                                  \
		if (!next_##name)                                                                                      \
			next_##name = (__typeof__(name) *)next_function(#name);                                        \
		next_##name;                                                                                           \
	})

static bool is_channel(int fd)
{
	socklen_t size = sizeof(int);
	int saved = errno;
	int type = 0;
	bool is;

	is = getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_SEQPACKET;
	errno = saved;
	return is;
}

static void crash_at(uint32_t opcode, const char *point)
{
	const struct relay_op *op = relay_op_get(opcode);

	if (op)
		relay_internal_crash_point(op->name, point);
}

static void request_received(const struct fuse_in_header *head)
{
	const struct relay_op *op = relay_op_get(head->opcode);

	if (op && op->reply != RELAY_REPLY_NEVER) {
		pthread_mutex_lock(&lock);
		for (unsigned i = 0; i < REQUESTS; i++)
			if (!requests[i].unique) {
				requests[i] = (struct request){head->unique, head->opcode};
				break;
			}
		pthread_mutex_unlock(&lock);
	}
	crash_at(head->opcode, "received");
}

/* The opcode that a reply is to, or -1; it is answered with this. */
static int64_t request_answered(uint64_t unique)
{
	int64_t opcode = -1;

	pthread_mutex_lock(&lock);
	for (unsigned i = 0; i < REQUESTS && unique; i++)
		if (requests[i].unique == unique) {
			opcode = requests[i].opcode;
			requests[i].unique = 0;
			break;
		}
	pthread_mutex_unlock(&lock);
	return opcode;
}

static uint64_t reply_unique(const struct iovec *parts, int count)
{
	struct fuse_out_header head;

	if (count < 1 || parts[0].iov_len < sizeof(head))
		return 0;
	memcpy(&head, parts[0].iov_base, sizeof(head));
	return head.unique;
}

ssize_t read(int fd, void *bytes, size_t size)
{
	ssize_t got = NEXT(read)(fd, bytes, size);

	if (got >= (ssize_t)sizeof(struct fuse_in_header) && is_channel(fd))
		request_received(bytes);
	return got;
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
	int64_t opcode = is_channel(fd) ? request_answered(reply_unique(parts, count)) : -1;
	ssize_t done;

	if (opcode >= 0)
		crash_at((uint32_t)opcode, "applied");
	done = NEXT(writev)(fd, parts, count);
	if (opcode >= 0)
		crash_at((uint32_t)opcode, "sent");
	return done;
}

ssize_t write(int fd, const void *bytes, size_t size)
{
	const struct iovec whole = {(void *)bytes, size};

	if (size >= sizeof(struct fuse_out_header) && is_channel(fd))
		return writev(fd, &whole, 1);
	return NEXT(write)(fd, bytes, size);
}

ssize_t vmsplice(int fd, const struct iovec *parts, size_t count, unsigned flags)
{
	uint64_t unique = reply_unique(parts, (int)count);

	if (unique)
		spliced_unique = unique;
	return NEXT(vmsplice)(fd, parts, count, flags);
}

static ssize_t splice_request(int in, int out, size_t size, unsigned flags)
{
	struct fuse_in_header head;
	ssize_t got;

	pthread_mutex_lock(&splice_lock);
	got = recv(in, &head, sizeof(head), MSG_PEEK);
	if (got == (ssize_t)sizeof(head))
		got = NEXT(splice)(in, NULL, out, NULL, size, flags);
	else if (got > 0)
		got = -1;
	pthread_mutex_unlock(&splice_lock);
	if (got > 0)
		request_received(&head);
	return got;
}

ssize_t splice(int in, off64_t *in_offset, int out, off64_t *out_offset, size_t size, unsigned flags)
{
	int64_t opcode;
	ssize_t done;

	if (is_channel(in))
		return splice_request(in, out, size, flags);
	opcode = is_channel(out) ? request_answered(spliced_unique) : -1;
	if (opcode >= 0)
		crash_at((uint32_t)opcode, "applied");
	done = NEXT(splice)(in, in_offset, out, out_offset, size, flags);
	if (opcode >= 0)
		crash_at((uint32_t)opcode, "sent");
	return done;
}
