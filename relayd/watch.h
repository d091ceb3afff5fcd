/*
 * How long a backend has held its requests.
 *
 * Nothing is noted on the path of a request: the main thread looks at the slots once in a
 * while, and what it finds there again has been there since.  So a request counts from the
 * first look that has found it, one look later than it came at most.  Only time in which
 * relayd looked counts: a machine that slept, or a frozen container, holds nothing.
 *
 * All of it is the main thread's.  In the direct lane it goes by what the journal says, which
 * a backend can falsify: it then evades the deadline of its own mount.
 */
#ifndef RELAYD_WATCH_H
#define RELAYD_WATCH_H

#include <stdbool.h>
#include <stdint.h>

struct dispatch;

struct watch_entry {
	uint64_t number;  /* the kernel's, of the request that was found in this slot; 0: none */
	uint64_t held_ns; /* for how long */
};

struct watch {
	uint64_t limit_ns; /* 0: requests have no deadline, and nothing is looked at */
	struct watch_entry *entries; /* one per slot, and the last for what nobody reads */
	uint64_t looked_ns; /* 0: not in this life */
	uint64_t answered;  /* at the last look, by the backend itself */
	bool hung;	    /* the present incarnation is ended for what it holds */
	uint64_t blamed;    /* the number of the request that it is ended for; 0: it reads none */
};

/* A backend that is past the deadline. */
struct watch_hang {
	uint32_t opcode;
	uint64_t unique; /* 0: requests wait to be read, and it reads none */
	uint64_t nodeid;
	uint64_t held_ns;
	unsigned others; /* further requests that are past it */
};

/* For so many slots.  Returns 0 or -ENOMEM. */
int watch_init(struct watch *watch, uint32_t slots);
void watch_deinit(struct watch *watch);

/* Another incarnation: it has held nothing yet. */
void watch_begin(struct dispatch *dispatch);

/*
 * Looks.  Returns true if the incarnation holds a request for longer than the limit, which is told
 * once: the oldest is blamed, as the others may be waiting for that one in the backend.
 * Otherwise *next_ns is when the next could be past it; UINT64_MAX: none is held.
 */
bool watch_look(struct dispatch *dispatch, uint64_t now_ns, struct watch_hang *hang, uint64_t *next_ns);

#endif
