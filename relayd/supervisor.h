/*
 * The life of a mount's backends: a table of state x event.
 *
 * The supervisor owns the backend: its processes (backend.h), its channel, and when to
 * start the next.  It drives the dispatch, which moves the requests.  All on the
 * main thread.
 */
#ifndef RELAYD_SUPERVISOR_H
#define RELAYD_SUPERVISOR_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "backend.h"
#include "backoff.h"
#include "launch.h"
#include "loop.h"
#include "output.h"
#include "way.h"

struct dispatch;
struct session;
struct stats;
struct upgrade;

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
	SUPERVISOR_HUNG,     /* it holds a request past the deadline: see the problem */
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
	struct way *way;       /* how it comes in; NULL: it inherits its channel */
	char *const *environment; /* of the command; NULL: relayd's own */
	const int *first_streams; /* three descriptors for the first life; NULL: as the later ones */
	bool exit_ends;	       /* a backend that exits in order has ended its mount, as without relayd */
	unsigned lives;
	uint32_t init_ms; /* how long a backend may take to answer INIT */
	uint32_t end_ms;  /* and to end when it is asked to */
	uint32_t fail_after_ms; /* without one that serves for so long, applications get errors; 0: they wait */
	unsigned mount;	  /* as whose the channel and the pidfds are with the keeper (fdstore.h) */

	enum supervisor_state state;
	uint32_t incarnation;
	struct backend backend;
	int channel;	/* -1: none */
	enum way_via via; /* which way it came */
	bool begun;	/* INIT was sent on it */
	bool drained;	/* it has ended, or did not begin */
	bool wanted;	/* we ended it ourselves */
	bool stopping;	/* the mount ends */
	bool served;	/* some incarnation has reached SERVING */
	bool left;	/* it has exited in order, which ends the mount */
	bool single;	/* the redo goes one by one: a request may be what kills */
	uint64_t serving_ns; /* when this one did; 0: not yet */
	struct backoff backoff;
	char problem[256];
	bool accused;	/* problem says why the present life has to end */
	unsigned exit_status; /* that goes with the problem */

	struct upgrade *upgrade; /* to another command; NULL: none is under way */
	struct way *old_way;	 /* meanwhile: of the command that it is */

	bool kernel_ready; /* the kernel's INIT has come: backends can be sent theirs */

	struct loop_timer timer; /* the state's deadline, or the backoff */
	struct loop_timer sweep;
	struct loop_timer down; /* until applications get errors */
	bool failing;		/* they do, whenever no backend is being recovered to */

	/* What an heir of this relayd has to know has changed (supervisor_left). */
	void (*on_record)(struct supervisor *supervisor);
	/* The state or the incarnation has changed; STOPPED with `stopping`: all is over. */
	void (*on_change)(struct supervisor *supervisor);
};

/* "SERVING"; "?" for a number that is no state. */
const char *supervisor_state_name(enum supervisor_state state);
/* Case is ignored.  Returns 0 or -EINVAL. */
int supervisor_state_parse(const char *name, enum supervisor_state *state);

/*
 * Everything but the fields above `state` and on_change starts out zero; the channel -1.
 * Starts the first backend if there is a command.
 * Returns 0, or -ENOEXEC with a sentence in problem.
 */
int supervisor_launch(struct supervisor *supervisor);

/* What a relayd that has died has left of a supervisor.  Descriptors are taken over; -1: none. */
struct supervisor_left {
	enum supervisor_state state;
	uint32_t incarnation;
	enum way_via via;
	bool child;
	bool served;
	int channel;
	int first; /* pidfds */
	int server;
};

/*
 * Instead of supervisor_launch(), after dispatch_start().  A backend that reads by itself and has
 * all the requests there are is served on.  Any other is ended, since nobody knows which of its
 * replies the dead relayd had taken, and the next one is started.
 */
void supervisor_resume(struct supervisor *supervisor, const struct supervisor_left *left);

/* Another keeper is there, and has nothing yet. */
void supervisor_put_all(const struct supervisor *supervisor);

void supervisor_event(struct supervisor *supervisor, enum supervisor_event event);

/* Takes what dispatch_events_take() gave. */
void supervisor_dispatched(struct supervisor *supervisor, unsigned events);

/*
 * Makes channel, which is taken over on success, the next incarnation.
 * Returns 0, -EBUSY while a backend lives, -EINVAL if relayd starts the backends
 * itself, -ESRCH if the process is gone.
 */
int supervisor_attach(struct supervisor *supervisor, int channel, pid_t pid, enum way_via via);

/* Whether the present incarnation was started with this token, and has not brought its channel yet. */
bool supervisor_awaits(const struct supervisor *supervisor, const char *token);
/* The channel of the incarnation that is awaited; it is taken over. */
void supervisor_come_in(struct supervisor *supervisor, int channel, enum way_via via);
/* Why it cannot come in, for when it has ended. */
void supervisor_refuse(struct supervisor *supervisor, const char *problem, unsigned exit_status);

/* Some process that relayd had inherited has ended. */
void supervisor_orphaned(struct supervisor *supervisor);

#endif
