/*
 * The life of a mount's backends: a table of state x event.
 *
 * The supervisor owns the backend: its process (pidfd), its channel, and when to
 * start the next.  It drives the dispatch, which moves the requests.  All on the
 * main thread.
 */
#ifndef RELAYD_SUPERVISOR_H
#define RELAYD_SUPERVISOR_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "backoff.h"
#include "launch.h"
#include "loop.h"
#include "output.h"

struct dispatch;
struct session;
struct stats;

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

enum supervisor_event {
	SUPERVISOR_START,    /* start a backend, or take the one that attached */
	SUPERVISOR_HELLO,    /* it is linked with librelay */
	SUPERVISOR_READY,    /* its answer to INIT is good */
	SUPERVISOR_REFUSED,  /* it is not */
	SUPERVISOR_PROGRESS, /* it has answered a request */
	SUPERVISOR_CLOSED,   /* the channel has ended, the process has not */
	SUPERVISOR_DIED,     /* the process has ended and the channel is drained */
	SUPERVISOR_TIMEOUT,  /* the state's deadline, or the backoff, is over */
	SUPERVISOR_RESTART,  /* a person wants another incarnation */
	SUPERVISOR_STOP,     /* the mount ends */
	SUPERVISOR_EVENTS,
};

struct supervisor {
	const char *name; /* the mount's */
	struct loop *loop;
	struct dispatch *dispatch;
	struct session *session;
	struct stats *stats;
	const struct launch_command *command; /* NULL: backends attach themselves */
	const char *directory;
	struct output *output; /* where the command prints to */
	unsigned lives;
	uint32_t init_ms; /* how long a backend may take to answer INIT */
	uint32_t end_ms;  /* and to end when it is asked to */

	enum supervisor_state state;
	uint32_t incarnation;
	pid_t pid;	/* 0: no backend */
	int pidfd;	/* -1: none */
	int channel;	/* -1: none */
	bool child;	/* ours to wait for */
	bool exited;	/* the process has ended */
	bool drained;	/* the channel has */
	bool own_fault; /* it died by its own doing */
	bool wanted;	/* we ended it ourselves */
	bool stopping;	/* the mount ends */
	bool served;	/* some incarnation has reached SERVING */
	bool single;	/* the redo goes one by one: a request may be what kills */
	uint64_t serving_ns; /* when this one did; 0: not yet */
	struct backoff backoff;
	char problem[256];
	unsigned exit_status; /* that goes with the problem */
	char ending[64];      /* how the last backend ended */

	bool kernel_ready; /* the kernel's INIT has come: backends can be sent theirs */

	struct loop_io on_exit;
	struct loop_timer timer; /* the state's deadline, or the backoff */
	struct loop_timer sweep;

	/* The state or the incarnation has changed; STOPPED with `stopping`: all is over. */
	void (*on_change)(struct supervisor *supervisor);
};

/* "SERVING"; "?" for a number that is no state. */
const char *supervisor_state_name(enum supervisor_state state);
/* Case is ignored.  Returns 0 or -EINVAL. */
int supervisor_state_parse(const char *name, enum supervisor_state *state);

/*
 * Everything but the fields above on_change starts out zero; the descriptors -1.
 * Starts the first backend if there is a command.
 * Returns 0, or -ENOEXEC with a sentence in problem.
 */
int supervisor_launch(struct supervisor *supervisor);

void supervisor_event(struct supervisor *supervisor, enum supervisor_event event);

/* Takes what dispatch_events_take() gave. */
void supervisor_dispatched(struct supervisor *supervisor, unsigned events);

/*
 * Makes channel, which is taken over on success, the next incarnation.
 * Returns 0, -EBUSY while a backend lives, -EINVAL if relayd starts the backends
 * itself, -ESRCH if the process is gone.
 */
int supervisor_attach(struct supervisor *supervisor, int channel, pid_t pid);

#endif
