/*
 * The life of a mount's backends: a table of state x event.
 */
#ifndef RELAYD_SUPERVISOR_H
#define RELAYD_SUPERVISOR_H

#include <stdbool.h>
#include <stdint.h>

enum supervisor_state {
	SUPERVISOR_STOPPED,   /* no backend, and none will be started by itself */
	SUPERVISOR_STARTING,  /* a backend runs; it has not said a word */
	SUPERVISOR_RESTORING, /* it has said HELLO; its INIT is outstanding */
	SUPERVISOR_REDOING,   /* it gets what earlier incarnations had not answered */
	SUPERVISOR_SERVING,   /* requests flow */
	SUPERVISOR_DRAINING,  /* it is to end; what is in flight is being answered */
	SUPERVISOR_BACKOFF,   /* it died; the next is started after a delay */
	SUPERVISOR_FAILED,    /* no use in starting another: see the problem */
	SUPERVISOR_STATES,
};

/* "SERVING"; "?" for a number that is no state. */
const char *supervisor_state_name(enum supervisor_state state);
/* Case is ignored.  Returns 0 or -EINVAL. */
int supervisor_state_parse(const char *name, enum supervisor_state *state);

#endif
