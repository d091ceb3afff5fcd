/*
 * Both ends of the channels that this process has made, from relay_open() to
 * relay_mount(), and which of its descriptors are channels.
 */
#ifndef RELAY_OPENED_H
#define RELAY_OPENED_H

#include <stdbool.h>
#include <sys/types.h>

struct relay_opened {
	struct relay_opened *next;
	dev_t dev; /* of the caller's end */
	ino_t ino;
	int peer; /* relayd's end, owned */
};

/*
 * Makes a channel.  flags are O_CLOEXEC and O_NONBLOCK of open(2), for the caller's
 * end.  Returns that end, or a negative errno.
 */
int relay_internal_opened_new(int flags);

/*
 * Takes the other end of fd, or of a duplicate of it, out of the table.  Returns
 * NULL if fd is not of relay_internal_opened_new(), or was taken already.
 */
struct relay_opened *relay_internal_opened_take(int fd);

/* Puts it back. */
void relay_internal_opened_put(struct relay_opened *opened);

/* Closes relayd's end here, which relayd has, and frees it. */
void relay_internal_opened_free(struct relay_opened *opened);

/* The same for one that relayd has never had: the caller's end is no channel any more. */
void relay_internal_opened_discard(struct relay_opened *opened);

/*
 * If fd is a channel made by this process, or by one that it was forked from, with
 * relayd's end given away or not.  Async-signal-safe; keeps errno.  Of the channels
 * that relayd has, the last 64 are known.
 */
bool relay_internal_is_channel(int fd);

/* If this process, or one that it was forked from, has made a channel at all. */
bool relay_internal_has_channels(void);

#endif
