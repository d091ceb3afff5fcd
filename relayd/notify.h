/*
 * Notifications from a backend to the kernel.  The kernel may make the writer of
 * one wait for a page or a directory that is locked until some request is
 * answered, so they have a thread of their own: the carrier must go on.
 */
#ifndef RELAYD_NOTIFY_H
#define RELAYD_NOTIFY_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "log.h"

struct notification;

/* What waits at most: a backend that sends faster than the kernel takes is told so by a log line. */
#define NOTIFY_BYTES ((size_t)64 << 20)
/* On a mount of another user than relayd's. */
#define NOTIFY_USER_BYTES ((size_t)4 << 20)

struct notify {
	const char *name; /* the mount's, for the log */
	int fd;		  /* /dev/fuse, the session's */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct notification *first, **last;
	size_t bytes; /* queued */
	size_t limit; /* of them; before anything is queued */
	struct log_limit refused; /* the thread's */
	pthread_t thread;
	bool started;
	bool stop;
};

void notify_init(struct notify *notify, const char *name, int fd);
/* Ends the thread.  What is queued is dropped: the mount is gone. */
void notify_deinit(struct notify *notify);

/* Checks a whole packet.  Returns 0, or -EPROTO if it is no notification that a backend may send. */
int notify_check(const void *packet, uint32_t size);

/*
 * Queues one whole notification (fuse_out_header first, unique 0), after notify_check().
 * Returns 0, -EPROTO, -ENOSPC if too much is queued, or -ENOMEM.
 */
int notify_put(struct notify *notify, const void *packet, uint32_t size);

#endif
