/*
 * The repair pool: threads that bring a request and the present incarnation together
 * where that takes questions (ask.h): restore what the request needs, find out what came
 * of it in an earlier life, then send it or answer it.
 *
 * A slot is given to the pool by repair_put(), and is its until it is SENT, answered, or
 * WAITING again because the channel has ended.  Between requests the pool does an
 * incarnation's chores: sets locks again, puts modes back, and closes open files that the
 * kernel was not told of.
 *
 * A RENAME that an earlier incarnation may have applied is in doubt until its redo is
 * answered.  What cannot be restored before that is PARKED: nobody works on it, and
 * nobody waits for it.  It is taken up again whenever one of the doubts is gone; if all
 * RENAMEs in doubt wait for each other, the last to do so is given up.
 *
 * Nobody waits for the pool but repair_shut() and repair_deinit().
 */
#ifndef RELAYD_REPAIR_H
#define RELAYD_REPAIR_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "ask.h"
#include "restore.h"
#include "translate.h"

struct dispatch;

enum repair_chores {
	REPAIR_CHORES_DONE, /* or under way */
	REPAIR_CHORES_DUE,
	REPAIR_CHORES_PARKED, /* as a slot: until something is certain */
};

struct repair {
	struct dispatch *dispatch;
	struct restore restore;
	pthread_mutex_t lock; /* guards what follows */
	pthread_cond_t changed;
	struct repair_worker {
		struct repair *repair;
		pthread_t thread;
		struct ask ask;
		void *reply;   /* RELAY_MAX_REPLY bytes, owned */
		uint32_t slot; /* being worked on, with has_slot */
		bool has_slot;
		bool busy; /* with that, or with something else */
		bool started;
	} workers[ASK_MAX];
	uint32_t incarnation; /* that is or was served last */
	uint32_t ended;	      /* that whose channel ended last */
	uint32_t waiting;     /* slots in INFLIGHT_REPAIR that nobody works on */
	uint32_t doubts;      /* slots whose RENAME is in doubt */
	uint32_t parked;      /* of those, the ones in INFLIGHT_PARKED */
	uint32_t certain;     /* counts doubts that are gone */
	enum repair_chores chores;
	bool releases; /* translate->releases may have some */
	bool open;     /* `incarnation` is served */
	bool stop;
};

void repair_init(struct repair *repair, struct dispatch *dispatch, struct translate *translate);
/* Ends the threads; the channel has ended. */
void repair_deinit(struct repair *repair);

/*
 * The slot is to be repaired: it is in INFLIGHT_REPAIR from here on.  Never waits.  Threads
 * are started with the first.  Returns 0, or -EPIPE if no incarnation is served, or
 * -ENOMEM if there are no threads to be had; and then the slot is the caller's.
 */
int repair_put(struct repair *repair, uint32_t slot);

/* There may be open files to release: see translate_release_take().  Never waits. */
void repair_release(struct repair *repair);

/* The request in doubt (struct inflight's `doubt`) was answered, and its slot is about to be freed. */
void repair_certain(struct repair *repair, const void *request);

/*
 * A new incarnation serves, and the gate is shut: RENAMEs that wait for a redo are in doubt,
 * asks go to it, its chores are due, and those who poll are woken, so that they ask it.  Of
 * one that is served or has ended already it does nothing.
 */
void repair_open(struct repair *repair, uint32_t incarnation);

/*
 * The carrier: the channel of this incarnation has ended.  Asks return, and slots that no
 * thread works on are WAITING again; the others follow.  Waits for nothing.
 */
void repair_end(struct repair *repair, uint32_t incarnation);

/*
 * The same, of the incarnation that is served if any, and waits for the threads to see it:
 * the slots that the pool had are WAITING again when this returns.
 */
void repair_shut(struct repair *repair);

/* The carrier: a packet for an ask, of which `size` holds a header.  Returns false if it is for none. */
bool repair_reply(struct repair *repair, uint32_t slot, const void *reply, uint32_t size);

/* ---- repair_slot.c: one request ------------------------------------------ */

/*
 * A worker's slot.  Returns 0 when it is SENT or answered; -EPIPE if the channel has ended;
 * -EAGAIN if it hangs on a RENAME in doubt: then it is the worker's still.
 */
int repair_slot(struct repair_worker *worker);

#endif
