/*
 * A mount's change to another command, as a transaction.
 *
 * The new command is started beside the backend that serves: it is the candidate.  It is sent
 * INIT, and has come up when it has said the first thing that a backend says:
 *
 *   librelay  HELLO.  It waits for WELCOME then, and with that for the journal, the state and
 *             what was kept.
 *   others    the answer to INIT, which must agree with what the kernel was told.  It waits for
 *             requests then.
 *
 * Either stays unread on its channel, and the backend that serves is drained.  When that
 * one is certainly gone the candidate becomes the next incarnation, whose carrier reads that first
 * packet as if it had just come: so it has given its place to nobody, and two never work on one
 * store.
 *
 * Whenever something goes wrong the old command is what is started next: before the drain,
 * nothing has happened to the backend that serves; after it, an ordinary recovery begins.
 * relayd dying here leaves a candidate whose channel has ended, which ends it.
 */
#ifndef RELAYD_UPGRADE_H
#define RELAYD_UPGRADE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backend.h"
#include "launch.h"
#include "loop.h"
#include "way.h"

struct session;
struct supervisor;

enum upgrade_state {
	UPGRADE_STARTING, /* the candidate runs and has not come up; what served before serves */
	UPGRADE_READY,	  /* it has come up; the old backend is being drained, or ends otherwise */
	UPGRADE_TAKING,	  /* it is the present incarnation, and has not served yet */
	UPGRADE_OVER,	  /* it serves, or it has failed: see the outcome */
	UPGRADE_STATES,
};

enum upgrade_event {
	UPGRADE_CAME,	 /* it has come up */
	UPGRADE_REFUSED, /* what it has said is not good: see the reason */
	UPGRADE_ENDED,	 /* it has ended, or its channel has */
	UPGRADE_LATE,	 /* the time that it has to come up is over */
	UPGRADE_PLACE,	 /* the old backend is gone: the place is free */
	UPGRADE_SERVES,	 /* the incarnation that it has become serves */
	UPGRADE_LOST,	 /* that incarnation has ended before it served */
	UPGRADE_STOP,	 /* the mount ends */
	UPGRADE_EVENTS,
};

struct upgrade {
	struct supervisor *supervisor;
	struct launch_command command; /* the new one */
	struct way way;		       /* its own */
	uint32_t timeout_ms;	       /* to come up */

	enum upgrade_state state;
	struct backend backend; /* until it is the supervisor's */
	int channel;		/* likewise; -1: none */
	enum way_via via;
	struct loop_io packet; /* the first one has come */
	struct loop_timer timer;

	/*
	 * 0; -ECANCELED: the candidate did not come up, and what served before goes on; -EHOSTDOWN:
	 * the old backend had been ended for it already, and the old command is started again.
	 */
	int outcome;
	char why[320];

	/*
	 * It is OVER, and nothing of it is the supervisor's; the callee frees what it owns.  If it has
	 * succeeded the supervisor's command and way are this one's: they have to stay.
	 */
	void (*on_over)(struct upgrade *upgrade);
};

/*
 * Starts the candidate; command, way, timeout_ms and on_over are set, the rest is zero.  The
 * supervisor, which has a command and has served, has no other upgrade.
 * Returns 0, or a negative errno of starting it with a sentence in why: nothing has begun.
 */
int upgrade_begin(struct upgrade *upgrade, struct supervisor *supervisor);

void upgrade_event(struct upgrade *upgrade, enum upgrade_event event);

/* Whether the supervisor has to wait with the next life: the candidate may come up yet. */
bool upgrade_awaited(const struct upgrade *upgrade);
/* The next life begins: true if it is the candidate's, which is the supervisor's backend now. */
bool upgrade_take(struct upgrade *upgrade);

/*
 * Whether the first packet that a candidate has sent is what its kind of backend says first; else with a
 * sentence in why.  packet is aligned as the kernel's structures are.
 */
bool upgrade_first_check(struct session *session, const void *packet, uint32_t size, char *why, size_t why_size);

/* As those of the supervisor, for a candidate that mounts by itself. */
bool upgrade_awaits(const struct upgrade *upgrade, const char *token);
void upgrade_come_in(struct upgrade *upgrade, int channel, enum way_via via);

#endif
