/*
 * The repair pool: threads that bring a request and the present incarnation together
 * where that takes questions (ask.h): restore what the request needs, find out what came
 * of it in an earlier life, then send it or answer it.
 *
 * A slot is given to the pool by repair_put(), in INFLIGHT_REPAIR, and is its until it is
 * SENT, answered, or WAITING again because the channel has ended.
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

struct repair {
	struct dispatch *dispatch;
	struct restore restore;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct repair_worker {
		struct repair *repair;
		pthread_t thread;
		struct ask ask;
		void *reply; /* RELAY_MAX_REPLY bytes */
		uint32_t slot; /* being worked on, while busy */
		bool busy;
		bool started;
	} workers[ASK_MAX];
	uint32_t waiting; /* slots in INFLIGHT_REPAIR that nobody works on */
	bool open;  /* the present incarnation serves */
	bool stop;
	bool locks; /* the locks of earlier incarnations are to be set again */
};

int repair_init(struct repair *repair, struct dispatch *dispatch, struct translate *translate);
/* Ends the threads; the channel has ended. */
void repair_deinit(struct repair *repair);

/*
 * The slot, whose inflight is INFLIGHT_REPAIR, is to be repaired.  Never waits.  Threads are
 * started with the first.  Returns 0 or a negative errno, and then the slot is the caller's.
 */
int repair_put(struct repair *repair, uint32_t slot);

/* A new incarnation serves: asks go to it; its locks are set again. */
void repair_open(struct repair *repair, uint32_t incarnation);

/*
 * The channel has ended: asks return, and the slots that the pool had are WAITING again when
 * this returns.  Waits only for the threads to see it.
 */
void repair_shut(struct repair *repair);

/* The replier: a packet for an ask.  Returns false if it is for none. */
bool repair_reply(struct repair *repair, uint32_t slot, const void *reply, uint32_t size);

#endif
