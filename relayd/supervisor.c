/*
 * The supervisor's table, and the actions in it.
 *
 * An action does what the event asks in that state and returns the next state.
 * An event that a state has no row for is none of its business.  Whatever a
 * backend does, it ends up in DIED: there is one way out of every life, and the
 * next one begins only when its processes are certainly gone (backend.h; for one that
 * attached by itself, the end of its channel: life_over()), so that two incarnations
 * never work on one store.
 */
#include "supervisor.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "daemon.h"
#include "dispatch.h"
#include "fdstore.h"
#include "log.h"
#include "supervisor_life.h"
#include "upgrade.h"

/* How long a backend may take to answer what it has when it is to end. */
#define DRAIN_DEADLINE_MS 5000u
/* What an unmounting may take before a backend is started for what it still asks. */
#define LEAVE_MS 500u
/* When a full channel is tried again. */
#define FULL_MS 10u
/* What showing a backend that hangs may take before it is killed nevertheless. */
#define STACKS_MS 1000u
/*
 * How long a life that ended by its own doing must have served for the next to
 * begin at once.  One that was killed from outside need only have served.
 */
#define HEALTHY_FAULT_NS 1000000000u

typedef enum supervisor_state action(struct supervisor *s);

static const char *const state_names[] = {
	[SUPERVISOR_STOPPED] = "STOPPED",     [SUPERVISOR_STARTING] = "STARTING", [SUPERVISOR_RESTORING] = "RESTORING",
	[SUPERVISOR_REDOING] = "REDOING",     [SUPERVISOR_SERVING] = "SERVING",	  [SUPERVISOR_DRAINING] = "DRAINING",
	[SUPERVISOR_BACKOFF] = "BACKOFF",     [SUPERVISOR_FAILED] = "FAILED",
};

const char *supervisor_state_name(enum supervisor_state state)
{
	return (unsigned)state < SUPERVISOR_STATES ? state_names[state] : "?";
}

int supervisor_state_parse(const char *name, enum supervisor_state *state)
{
	for (unsigned i = 0; i < SUPERVISOR_STATES; i++) {
		if (strcasecmp(name, state_names[i]) == 0) {
			*state = (enum supervisor_state)i;
			return 0;
		}
	}
	return -EINVAL;
}

/* ---- actions ------------------------------------------------------------ */

static enum supervisor_state do_died(struct supervisor *s);

static enum supervisor_state backoff_begin(struct supervisor *s, uint32_t delay)
{
	log_warning("%s: the next backend is started in %u ms", s->name, delay);
	loop_timer_start(s->loop, &s->timer, delay, life_on_timer);
	return SUPERVISOR_BACKOFF;
}

static enum supervisor_state do_start(struct supervisor *s)
{
	int err;

	loop_timer_stop(&s->timer);
	/* Its coming up, or its end, is the next event. */
	if (upgrade_awaited(s->upgrade)) {
		log_warning("%s: the next backend is the new one, which is still starting", s->name);
		return SUPERVISOR_BACKOFF;
	}
	if (upgrade_take(s->upgrade))
		return SUPERVISOR_STARTING;
	if (!s->command)
		return SUPERVISOR_STOPPED; /* it comes back by itself: supervisor_attach() */
	err = life_launch(s);
	if (!err)
		return SUPERVISOR_STARTING;
	snprintf(s->problem, sizeof(s->problem), "%s: cannot be executed: %s", s->command->argv[0], strerror(-err));
	s->exit_status = EXIT_NO_BACKEND;
	log_error("%s: %s", s->name, s->problem);
	return s->served ? backoff_begin(s, backoff_delay(&s->backoff, false)) : SUPERVISOR_FAILED;
}

static enum supervisor_state do_hello(struct supervisor *s)
{
	(void)s;
	return SUPERVISOR_RESTORING;
}

/* Every request that waited is with the backend. */
static enum supervisor_state serving_begin(struct supervisor *s, bool waited)
{
	s->serving_ns = dispatch_now_ns();
	s->served = true;
	if (!waited) {
		/* Nobody waited: the pause is over now, not with a request that comes some day. */
		uint64_t died = atomic_exchange(&s->dispatch->died_ns, 0);

		if (died)
			stats_pause(s->stats, (s->serving_ns - died) / 1000);
	}
	life_fail_end(s);
	s->problem[0] = '\0';
	s->accused = false;
	s->exit_status = 0;
	log_info("%s: incarnation %u, pid %d, is serving", s->name, s->incarnation, (int)s->backend.pid);
	return SUPERVISOR_SERVING;
}

static enum supervisor_state do_redo(struct supervisor *s)
{
	bool waited = false;
	int left;

	/* In the direct lane what the kernel sends again may have to wait for slots. */
	atomic_store(&s->dispatch->watched, s->single || direct_is(&s->dispatch->direct));
	left = dispatch_redo(s->dispatch, s->lives, s->single);
	if (!left)
		left = dispatch_gate_open(s->dispatch, &waited);
	if (left < 0)
		loop_timer_start(s->loop, &s->timer, FULL_MS, life_on_timer);
	if (left)
		return SUPERVISOR_REDOING;
	loop_timer_stop(&s->timer);
	atomic_store(&s->dispatch->watched, false);
	return serving_begin(s, waited);
}

/* One of the requests may be what kills backends: then they go one by one. */
static enum supervisor_state do_ready(struct supervisor *s)
{
	loop_timer_stop(&s->timer);
	/* What comes from here on is for this one. */
	dispatch_fail_end(s->dispatch);
	s->single = dispatch_redo_suspects(s->dispatch);
	return do_redo(s);
}

/*
 * Kills the backend.  Its end comes as an event; where nothing is there to be killed (a
 * daemon that did not come) it is now.
 */
static enum supervisor_state life_kill(struct supervisor *s)
{
	if (backend_kill(&s->backend) && s->backend.child)
		return s->state;
	if (s->backend.child) {
		if (s->channel < 0)
			way_daemons(s->way, SIGKILL);
		backend_give_up(&s->backend);
		life_cut(s);
	}
	return life_over(s) ? do_died(s) : s->state;
}

static enum supervisor_state do_refuse(struct supervisor *s)
{
	/* problem was set by whoever held the answer against the first. */
	s->accused = true;
	if (!s->exit_status)
		s->exit_status = EXIT_BACKEND_ENDED;
	log_error("%s: incarnation %u: %s", s->name, s->incarnation, s->problem);
	return life_kill(s);
}

static enum supervisor_state do_kill_late(struct supervisor *s)
{
	/* What it was refused for when it came to mount is the better reason. */
	if (s->channel < 0 && s->exit_status)
		return do_refuse(s);
	snprintf(s->problem, sizeof(s->problem), "the backend, pid %d, did not %s within %u s%s", (int)s->backend.pid,
		 s->channel < 0 ? "come to mount" : "answer INIT", s->init_ms / 1000,
		 s->channel < 0 && way_missed(s->way) ? ": it has mounted by itself, where neither the preload library "
							"nor the stand-in for fusermount3 has reached it"
						      : "");
	return do_refuse(s);
}

/* Nothing new is sent; what is in flight is answered first. */
static enum supervisor_state do_drain(struct supervisor *s)
{
	s->wanted = true;
	life_pause_begin(s);
	dispatch_gate_shut(s->dispatch);
	dispatch_pause(s->dispatch);
	atomic_store(&s->dispatch->watched, true);
	loop_timer_start(s->loop, &s->timer, DRAIN_DEADLINE_MS, life_on_timer);
	/* Nothing may be in flight at all, and then no reply comes to say so. */
	dispatch_event(s->dispatch, DISPATCH_PROGRESS);
	return SUPERVISOR_DRAINING;
}

/* Without its channel it can serve nothing any more, but it may have something to finish. */
static enum supervisor_state do_closed(struct supervisor *s)
{
	loop_timer_start(s->loop, &s->timer, s->end_ms, life_on_timer);
	return SUPERVISOR_DRAINING;
}

static enum supervisor_state do_died(struct supervisor *s)
{
	uint64_t served = s->serving_ns ? dispatch_now_ns() - s->serving_ns : 0;
	bool healthy = served > (s->backend.own_fault ? HEALTHY_FAULT_NS : 0);
	uint32_t delay = backoff_delay(&s->backoff, healthy || s->wanted);

	s->left = s->exit_ends && s->served && !s->wanted && s->backend.in_order;
	life_end(s);
	if (s->stopping)
		return SUPERVISOR_STOPPED;
	/* An earlier life's end is not this one's. */
	if (!s->accused && !s->wanted)
		snprintf(s->problem, sizeof(s->problem), "the backend %s%s", s->backend.ending,
			 s->served ? "" : " before the mount answered");
	if (!s->command)
		return SUPERVISOR_STOPPED;
	/* The new one, or the old one again: neither has to be waited for because of what this one did. */
	if (s->upgrade) {
		upgrade_event(s->upgrade, UPGRADE_LOST);
		return do_start(s);
	}
	if (!s->served && !s->wanted) {
		if (!s->exit_status)
			s->exit_status = EXIT_BACKEND_ENDED;
		return SUPERVISOR_FAILED;
	}
	/* Whoever is told of it unmounts.  What was written and is not stored yet may need another life for that. */
	if (s->left)
		delay = LEAVE_MS;
	return delay ? backoff_begin(s, delay) : do_start(s);
}

/* The end of the channel is what asks a backend to end. */
static enum supervisor_state do_end(struct supervisor *s)
{
	s->wanted = true;
	atomic_store(&s->dispatch->watched, false);
	life_cut(s);
	if (life_over(s))
		return do_died(s);
	loop_timer_start(s->loop, &s->timer, s->end_ms, life_on_timer);
	return SUPERVISOR_DRAINING;
}

static enum supervisor_state do_end_drained(struct supervisor *s)
{
	if (s->drained || !dispatch_paused(s->dispatch) || dispatch_outstanding(s->dispatch) > 0)
		return s->state;
	return do_end(s);
}

static enum supervisor_state do_end_late(struct supervisor *s)
{
	log_warning("%s: incarnation %u, pid %d, does not end", s->name, s->incarnation, (int)s->backend.pid);
	/* One that attached may have others to serve when this mount is gone. */
	if (s->backend.child || !s->stopping)
		backend_kill(&s->backend);
	/* And may not be what it was then, so that it cannot be killed: it is cut off. */
	shutdown(s->channel, SHUT_RDWR);
	return s->state;
}

/*
 * It holds a request past the deadline, and is killed when the log has what it does.  Applications
 * are served until then, as far as it still does.  The timer is for one that cannot be looked
 * at, or not be killed: do_end_late().
 */
static enum supervisor_state do_hung(struct supervisor *s)
{
	s->wanted = s->accused = true;
	log_error("%s: incarnation %u, pid %d: %s", s->name, s->incarnation, (int)s->backend.pid, s->problem);
	if (backend_stacks_kill(&s->backend, s->name) < 0)
		backend_kill(&s->backend);
	loop_timer_start(s->loop, &s->timer, STACKS_MS, life_on_timer);
	return SUPERVISOR_DRAINING;
}

/* It has nothing yet that it could finish. */
static enum supervisor_state do_kill(struct supervisor *s)
{
	s->wanted = true;
	if (s->stopping && !s->backend.child)
		return do_end(s);
	return life_kill(s);
}

static enum supervisor_state do_stop(struct supervisor *s)
{
	loop_timer_stop(&s->timer);
	return SUPERVISOR_STOPPED;
}

/* ---- the table ---------------------------------------------------------- */

static action *const table[SUPERVISOR_STATES][SUPERVISOR_EVENTS] = {
	[SUPERVISOR_STOPPED] = {
		[SUPERVISOR_START] = do_start,
		[SUPERVISOR_RESTART] = do_start,
		[SUPERVISOR_STOP] = do_stop,
	},
	[SUPERVISOR_STARTING] = {
		[SUPERVISOR_HELLO] = do_hello,
		[SUPERVISOR_READY] = do_ready,
		[SUPERVISOR_REFUSED] = do_refuse,
		[SUPERVISOR_CLOSED] = do_closed,
		[SUPERVISOR_TIMEOUT] = do_kill_late,
		[SUPERVISOR_RESTART] = do_kill,
		[SUPERVISOR_STOP] = do_kill,
		[SUPERVISOR_DIED] = do_died,
	},
	[SUPERVISOR_RESTORING] = {
		[SUPERVISOR_READY] = do_ready,
		[SUPERVISOR_REFUSED] = do_refuse,
		[SUPERVISOR_CLOSED] = do_closed,
		[SUPERVISOR_TIMEOUT] = do_kill_late,
		[SUPERVISOR_RESTART] = do_kill,
		[SUPERVISOR_STOP] = do_kill,
		[SUPERVISOR_DIED] = do_died,
	},
	[SUPERVISOR_REDOING] = {
		[SUPERVISOR_PROGRESS] = do_redo,
		[SUPERVISOR_CLOSED] = do_closed,
		[SUPERVISOR_TIMEOUT] = do_redo,
		[SUPERVISOR_HUNG] = do_hung,
		[SUPERVISOR_RESTART] = do_kill,
		[SUPERVISOR_STOP] = do_kill,
		[SUPERVISOR_DIED] = do_died,
	},
	[SUPERVISOR_SERVING] = {
		[SUPERVISOR_CLOSED] = do_closed,
		[SUPERVISOR_HUNG] = do_hung,
		[SUPERVISOR_RESTART] = do_drain,
		[SUPERVISOR_STOP] = do_end,
		[SUPERVISOR_DIED] = do_died,
	},
	[SUPERVISOR_DRAINING] = {
		[SUPERVISOR_PROGRESS] = do_end_drained,
		[SUPERVISOR_TIMEOUT] = do_end_late,
		[SUPERVISOR_STOP] = do_end,
		[SUPERVISOR_DIED] = do_died,
	},
	[SUPERVISOR_BACKOFF] = {
		[SUPERVISOR_TIMEOUT] = do_start,
		[SUPERVISOR_RESTART] = do_start,
		[SUPERVISOR_STOP] = do_stop,
	},
	[SUPERVISOR_FAILED] = {
		[SUPERVISOR_RESTART] = do_start,
		[SUPERVISOR_STOP] = do_stop,
	},
};

void supervisor_event(struct supervisor *s, enum supervisor_event event)
{
	enum supervisor_state before = s->state;

	if (event == SUPERVISOR_STOP)
		s->stopping = true;
	if (event == SUPERVISOR_STOP && s->upgrade)
		upgrade_event(s->upgrade, UPGRADE_STOP);
	if (!table[s->state][event])
		return;
	s->state = table[s->state][event](s);
	if (s->state == SUPERVISOR_SERVING && s->upgrade)
		upgrade_event(s->upgrade, UPGRADE_SERVES);
	if ((before == SUPERVISOR_SERVING) != (s->state == SUPERVISOR_SERVING))
		life_sweep_begin(s);
	if (before == SUPERVISOR_SERVING && s->state != before)
		life_fail_later(s);
	if (s->stopping)
		loop_timer_stop(&s->down);
	if (s->state == SUPERVISOR_STOPPED && s->stopping)
		loop_timer_stop(&s->sweep);
	if (s->state != before || event == SUPERVISOR_DIED || event == SUPERVISOR_STOP) {
		log_debug("%s: %s, then %s", s->name, supervisor_state_name(before), supervisor_state_name(s->state));
		s->on_record(s);
		s->on_change(s);
	}
}

/* INIT is agreed: the rings are the kernel's from here on, or they are not needed. */
static int rings_settle(struct supervisor *s)
{
	struct rings *rings = s->dispatch->rings;
	int err;

	if (!rings || !rings_are(rings) || rings->registered)
		return 0;
	if (!s->session->native)
		log_warning("%s: the socket lane in place of uring: the backend is not linked with librelay", s->name);
	if (!s->session->rings) {
		rings_end(rings);
		return 0;
	}
	err = rings_register(rings);
	if (err)
		snprintf(s->problem, sizeof(s->problem), "the kernel does not take the rings: %s", strerror(-err));
	return err;
}

static void on_init_answered(struct supervisor *s)
{
	const struct dispatch *d = s->dispatch;
	int err, gone;

	gone = backend_follow(&s->backend, d->peer_pid);
	if (s->backend.server.pidfd >= 0 && s->backend.server.pid)
		fdstore_put(s->mount, "server", s->backend.server.pidfd);
	log_info("%s: incarnation %u, pid %d, came in by %s", s->name, s->incarnation, (int)s->backend.pid,
		 way_via_text(s->via));
	err = session_init_answer(s->session, d->init_reply, d->init_reply_size, atomic_load(&d->librelay),
				  s->problem, sizeof(s->problem));
	if (!err)
		err = rings_settle(s);
	supervisor_event(s, err ? SUPERVISOR_REFUSED : SUPERVISOR_READY);
	/* Nobody tells of its end, and what it has left behind may hold the channel. */
	if (gone < 0)
		life_cut(s);
}

void supervisor_dispatched(struct supervisor *s, unsigned events)
{
	/* In the order in which they can only have happened. */
	if (events & DISPATCH_KERNEL_INIT) {
		s->kernel_ready = true;
		/* Until the lane is decided nobody else sees the mount end. */
		life_sweep_begin(s);
		if (s->channel >= 0)
			life_channel_begin(s);
	}
	if (events & DISPATCH_HELLO)
		supervisor_event(s, SUPERVISOR_HELLO);
	if (events & DISPATCH_ANSWERED)
		on_init_answered(s);
	if (events & DISPATCH_PROGRESS)
		supervisor_event(s, SUPERVISOR_PROGRESS);
	if (events & DISPATCH_DRAINED)
		life_drained(s);
}

int supervisor_launch(struct supervisor *s)
{
	supervisor_event(s, SUPERVISOR_START);
	return s->state == SUPERVISOR_FAILED ? -ENOEXEC : 0;
}
