/*
 * One queue of the keeper: between its ring, which the kernel has the other end of, and the
 * memory that backends have (relay/rings.h).
 */
#ifndef URING_PUMP_H
#define URING_PUMP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "relay/rings.h"
#include "uring/ring.h"

struct pump {
	const struct relay_rings_map *map;
	uint32_t queue;
	struct ring ring;
	struct iovec iov[RELAY_RING_DEPTH][2];
	/* The request in an entry, known here alone; 0: none.  Uniques are never 0. */
	uint64_t commit[RELAY_RING_DEPTH];
	unsigned refused; /* commits that the kernel did not know */
	int err;	  /* the last command that failed for good */
};

/* The queue's part of the memory.  The ring is the caller's to make. */
void pump_init(struct pump *pump, const struct relay_rings_map *map, uint32_t queue);

/* Puts the registration of every entry into the ring. */
void pump_register(struct pump *pump);

/* Passes on what has completed: requests to backends.  Returns whether there was any. */
bool pump_requests(struct pump *pump);

/*
 * Puts a commit into the ring for each entry in which a request is known here and which says
 * ANSWERED: whatever the others say.
 */
void pump_answers(struct pump *pump);

#endif
