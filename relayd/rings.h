/*
 * relayd's part of a mount's rings (lane `uring`): the memory, and the keeper, a process
 * that owns them (uring/keeper.c).  What is in the memory is dispatch_rings.c's.
 */
#ifndef RELAYD_RINGS_H
#define RELAYD_RINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "loop.h"
#include "relay/rings.h"

struct rings {
	struct relay_rings_map map; /* .rings NULL: there are none */
	int fd;			    /* the memory */
	int device;		    /* the session's */
	int *kicks;		    /* by queue: the eventfd that the keeper waits for, for backends to write to */
	uint32_t kick_count;
	int keeper; /* the socket; -1: there is none */
	int pidfd;
	bool registered;
	struct loop_io on_end;
};

/* What is missing here for FUSE over io_uring, in words; NULL: nothing that can be seen from outside of the kernel. */
const char *rings_missing(void);

/* None yet. */
void rings_init(struct rings *rings);

/*
 * Makes the memory and starts the keeper, which makes the rings for the connection of
 * `device`.  Waits for it.
 * Returns 0, or a negative errno with a sentence in why.
 */
int rings_start(struct rings *rings, int device, char *why, size_t why_size);

/*
 * Has the keeper register with the kernel, which has had the answer to INIT.  Without that
 * the mount serves nothing.  Returns 0 or a negative errno.
 */
int rings_register(struct rings *rings);

/* Tells when the keeper has ended, which it does not do by itself. */
void rings_watch(struct rings *rings, struct loop *loop, void (*on_end)(struct loop_io *io, unsigned events));

/*
 * Has the keeper look for answers in all queues.  Any thread may call it, and it does not
 * wait.
 */
void rings_kick(const struct rings *rings);

/* Ends the keeper, and all that waits in the rings. */
void rings_end(struct rings *rings);

static inline bool rings_are(const struct rings *rings)
{
	return rings->map.rings != NULL;
}

#endif
