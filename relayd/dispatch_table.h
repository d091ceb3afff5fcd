/*
 * relayd's own copy of what it relies on about the requests in flight: the journal's slots are
 * shared with the backend, which is not trusted to leave them alone.  In a memfd, so that a
 * relayd that dies leaves it to the next (dispatch_resume.c).
 */
#ifndef RELAYD_DISPATCH_TABLE_H
#define RELAYD_DISPATCH_TABLE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "cache.h"
#include "relay/opcodes.h"
#include "translate.h"

/* Raised with every change of struct inflight or of what its states mean. */
#define DISPATCH_TABLE_VERSION 1u

enum inflight_state {
	INFLIGHT_IDLE,
	INFLIGHT_READING,
	INFLIGHT_WAITING,   /* in the journal, not with the present incarnation */
	INFLIGHT_RESENT,    /* in the journal, and with the kernel, which sends it again (dispatch_direct.h) */
	INFLIGHT_REPAIR,    /* with the repair pool, which is the only one to move it on */
	INFLIGHT_PARKED,    /* there too, until something else is certain (repair.h) */
	INFLIGHT_SENT,	    /* with the present incarnation */
	INFLIGHT_ANSWERED,  /* its reply is on the way to the kernel */
	INFLIGHT_ABANDONED, /* the kernel has its answer; the slot waits for the rollback */
};

struct inflight {
	_Atomic uint32_t state;
	uint32_t opcode; /* from here to `interrupted` it is copied by slot_shrink() */
	uint32_t size;
	uint32_t pid;
	uint64_t unique; /* the kernel's */
	uint64_t channel_unique;
	uint64_t nodeid;
	uint64_t arrived_ns; /* CLOCK_MONOTONIC */
	struct relay_bounds bounds;
	unsigned lives; /* incarnations that died of their own while they had it */
	unsigned kills; /* incarnations that were killed while they had it */
	unsigned hangs; /* incarnations that were ended because they held it */
	bool no_reply;	/* FORGET: only the slot is to be freed */
	bool delivered; /* to an earlier incarnation: a redo */
	bool unwaited;	/* the kernel sent it for nobody who waits */
	bool forced;	/* its caller waits though it is dying: not given up */
	bool sent;	/* the present incarnation may have it */
	bool claimed;	/* it read it by itself: a reply in the journal has the kernel's unique */
	bool worked;	/* a repair thread has asked the present incarnation for it */
	bool renaming;	/* it is through the namespace gate, until it is answered */
	bool doubt;	/* a RENAME that may have been applied: restore_doubt() knows of it */
	uint64_t before; /* redo_before()'s */
	struct translate_note note;
	_Atomic bool interrupted;
	struct cache_note known;
};

struct dispatch_table {
	uint64_t magic;
	uint32_t version;
	uint32_t inflight_size; /* sizeof(struct inflight) */
	uint32_t slots;
	uint32_t reserved;
	uint64_t sequence; /* the carrier's, for channel uniques; the main thread's where backends read */
	struct inflight inflight[];
};

/* Makes an empty one.  Returns 0 or a negative errno. */
int dispatch_table_make(struct dispatch_table **table, int *fd, uint32_t slots);
/* Maps what another process has left.  fd stays the caller's.  Returns 0, -EPROTO, or another negative errno. */
int dispatch_table_map(struct dispatch_table **table, int fd, uint32_t slots);
void dispatch_table_unmap(struct dispatch_table *table);

#endif
