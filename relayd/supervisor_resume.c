/*
 * A backend after the death of the relayd that had it, and what the keeper has of one.
 *
 * A process dying in the midst of this leaves what it found: what was ended is ended, and
 * whatever goes on is found to go on.
 */
#include "dispatch.h"
#include "fdstore.h"
#include "log.h"
#include "supervisor_life.h"

/* It has everything there is: what the dead relayd had to do with its requests is nothing. */
static bool may_go_on(const struct supervisor *s, const struct supervisor_left *left)
{
	return left->state == SUPERVISOR_SERVING && left->channel >= 0 && direct_is(&s->dispatch->direct) &&
	       !backend_gone(&s->backend) && dispatch_idle(s->dispatch);
}

static void left_go_on(struct supervisor *s)
{
	s->serving_ns = dispatch_now_ns();
	s->backend.answered = true;
	s->state = SUPERVISOR_SERVING;
	dispatch_channel_resume(s->dispatch, s->channel, true);
	log_info("%s: incarnation %u, pid %d, was served on by nobody, and goes on", s->name, s->incarnation,
		 (int)s->backend.pid);
}

/* Whatever it was in the midst of, it ends as one that is to be replaced. */
static void left_end(struct supervisor *s)
{
	s->wanted = true;
	s->state = SUPERVISOR_DRAINING;
	atomic_store(&s->dispatch->died_ns, dispatch_now_ns());
	if (s->channel >= 0)
		dispatch_channel_resume(s->dispatch, s->channel, false);
	log_info("%s: incarnation %u, pid %d, has to be replaced: the relayd that it had has died", s->name,
		 s->incarnation, (int)s->backend.pid);
	life_cut(s);
	if (s->backend.child)
		backend_kill(&s->backend);
	loop_timer_start(s->loop, &s->timer, s->end_ms, life_on_timer);
	if (life_over(s))
		supervisor_event(s, SUPERVISOR_DIED);
}

void supervisor_resume(struct supervisor *s, const struct supervisor_left *left)
{
	const bool any = left->channel >= 0 || left->first >= 0 || left->server >= 0;

	life_backend_own(s);
	s->incarnation = left->incarnation;
	s->served = left->served;
	s->via = left->via;
	s->kernel_ready = s->session->init_size > 0;
	s->channel = left->channel;
	s->begun = left->channel >= 0;
	s->drained = left->channel < 0;
	life_sweep_begin(s);
	if (any)
		backend_resume(&s->backend, left->child, left->first, left->server);
	if (any && may_go_on(s, left)) {
		left_go_on(s);
	} else if (any) {
		life_fail_later(s);
		left_end(s);
	} else {
		life_fail_later(s);
		dispatch_channel_end(s->dispatch, false);
		supervisor_event(s, SUPERVISOR_START);
	}
}

void supervisor_put_all(const struct supervisor *s)
{
	if (s->backend.first.pidfd >= 0 && s->backend.first.pid)
		fdstore_put(s->mount, "first", s->backend.first.pidfd);
	if (s->backend.server.pidfd >= 0 && s->backend.server.pid)
		fdstore_put(s->mount, "server", s->backend.server.pidfd);
	if (s->channel >= 0)
		fdstore_put(s->mount, "chan", s->channel);
}
