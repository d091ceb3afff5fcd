/*
 * One life of a backend: how it begins, how its channel comes to it, and how its end is
 * found out.  What follows from that is the table's to say (supervisor.c).
 */
#include "supervisor_life.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "dispatch.h"
#include "fdstore.h"
#include "log.h"
#include "stats.h"

/*
 * How often callers that are dying are looked for while no backend is there; and,
 * while one serves and has requests, whether it is dying without an end.
 */
#define SWEEP_MS 50u
#define LOOK_MS 1000u
/* Room for several of the longest packets in each direction. */
#define CHANNEL_BUFFER (4 << 20)

static void on_sweep(struct loop_timer *timer);

void life_on_timer(struct loop_timer *timer)
{
	struct supervisor *s = (struct supervisor *)((char *)timer - offsetof(struct supervisor, timer));

	supervisor_event(s, SUPERVISOR_TIMEOUT);
}

/*
 * Whether the life is over.  What attached by itself may have become a daemon since,
 * so that its pid is nobody's: there the end of the channel is all that can be
 * known.  The kernel closes it when the last thread that shares it has left its last
 * system call.  The same goes for a daemon of which nothing but the channel is known.
 */
bool life_over(const struct supervisor *s)
{
	return s->drained && (!s->backend.child || backend_gone(&s->backend) || (s->backend.away && s->begun));
}

/* From here on applications wait. */
void life_pause_begin(struct supervisor *s)
{
	if (s->serving_ns && atomic_load(&s->dispatch->died_ns) == 0)
		atomic_store(&s->dispatch->died_ns, dispatch_now_ns());
}

/* Stops the flow of requests to a backend that is gone or going. */
void life_cut(struct supervisor *s)
{
	life_pause_begin(s);
	/*
	 * First the socket, so that a send that waits for room ends; what was received
	 * stays readable.  One that attached has to close its end itself: see life_over().
	 */
	if (s->channel >= 0)
		shutdown(s->channel, s->backend.child ? SHUT_RDWR : SHUT_WR);
	dispatch_gate_shut(s->dispatch);
}

static void hang_tell(struct supervisor *s, const struct watch_hang *hang)
{
	unsigned long long held_ms = hang->held_ns / 1000000;

	if (hang->unique)
		snprintf(s->problem, sizeof(s->problem),
			 "the backend hangs: %s, unique %llu, nodeid %llu, was not answered for %llu.%03llu s, and "
			 "%u more requests",
			 dispatch_opcode_name(hang->opcode), (unsigned long long)hang->unique,
			 (unsigned long long)hang->nodeid, held_ms / 1000, held_ms % 1000, hang->others);
	else
		snprintf(s->problem, sizeof(s->problem), "the backend hangs: it has read no request for %llu.%03llu s",
			 held_ms / 1000, held_ms % 1000);
	supervisor_event(s, SUPERVISOR_HUNG);
}

/* Whether it holds a request for too long; and when that could be, in the next `ms`. */
static void hang_look(struct supervisor *s, uint64_t ms)
{
	struct watch_hang hang;
	uint64_t next_ns;

	if (!s->dispatch->watch.limit_ns)
		return;
	if (watch_look(s->dispatch, dispatch_now_ns(), &hang, &next_ns))
		hang_tell(s, &hang);
	else if (next_ns / 1000000 < ms)
		loop_timer_start(s->loop, &s->sweep, next_ns / 1000000 + 1, on_sweep);
}

static void on_sweep(struct loop_timer *timer)
{
	struct supervisor *s = (struct supervisor *)((char *)timer - offsetof(struct supervisor, sweep));
	bool serving = s->state == SUPERVISOR_SERVING;

	loop_timer_start(s->loop, &s->sweep, serving ? LOOK_MS : SWEEP_MS, on_sweep);
	if (serving) {
		if (dispatch_look(s->dispatch) && backend_dying(&s->backend))
			life_cut(s);
		else
			hang_look(s, LOOK_MS);
		return;
	}
	if (s->state == SUPERVISOR_REDOING)
		hang_look(s, SWEEP_MS);
	/* Nobody reads any more, and it may wait for just that. */
	if (direct_is(&s->dispatch->direct) && s->dispatch->gone && backend_dying(&s->backend))
		dispatch_salvage(s->dispatch);
	dispatch_sweep(s->dispatch);
	if (s->dispatch->failing)
		dispatch_fail_waiting(s->dispatch);
	/* What the backend has answered by itself nobody has told of. */
	if (s->state == SUPERVISOR_DRAINING && direct_is(&s->dispatch->direct))
		supervisor_event(s, SUPERVISOR_PROGRESS);
}

void life_sweep_begin(struct supervisor *s)
{
	loop_timer_start(s->loop, &s->sweep, SWEEP_MS, on_sweep);
}

static void on_down(struct loop_timer *timer)
{
	struct supervisor *s = (struct supervisor *)((char *)timer - offsetof(struct supervisor, down));

	log_error("%s: no backend has served for %u.%03u s: requests are answered with errors until one does", s->name,
		  s->fail_after_ms / 1000, s->fail_after_ms % 1000);
	s->failing = true;
	/* One that is being given what waits comes first; its end is another matter: life_end(). */
	if (s->state != SUPERVISOR_REDOING)
		dispatch_fail_begin(s->dispatch);
}

void life_fail_later(struct supervisor *s)
{
	if (s->fail_after_ms && !s->failing && !s->stopping)
		loop_timer_start(s->loop, &s->down, s->fail_after_ms, on_down);
}

void life_fail_end(struct supervisor *s)
{
	loop_timer_stop(&s->down);
	dispatch_fail_end(s->dispatch);
	if (s->failing)
		log_warning("%s: a backend serves again: %llu requests were answered with errors so far", s->name,
			    (unsigned long long)atomic_load(&s->stats->failed));
	s->failing = false;
}

/* A daemon that has not brought a channel, and of which no process is left, will not come. */
static void daemon_look(struct supervisor *s)
{
	if (s->backend.away && s->channel < 0 && !way_daemons(s->way, 0))
		backend_give_up(&s->backend);
}

static void on_backend_end(struct backend *backend)
{
	struct supervisor *s = (struct supervisor *)((char *)backend - offsetof(struct supervisor, backend));

	if (!backend->child)
		return; /* its channel tells */
	output_drain(s->output);
	daemon_look(s);
	/* Something of it may still hold the channel's other end: a child that it left behind. */
	if (backend_gone(backend) || backend->server.ended)
		life_cut(s);
	if (life_over(s))
		supervisor_event(s, SUPERVISOR_DIED);
}

void life_backend_own(struct supervisor *s)
{
	s->backend.loop = s->loop;
	s->backend.on_end = on_backend_end;
}

/* The channel has ended: DIED follows when the process has too. */
void life_drained(struct supervisor *s)
{
	s->drained = true;
	life_cut(s);
	if (!backend_gone(&s->backend))
		s->dispatch->gone = s->backend.pid;
	supervisor_event(s, life_over(s) ? SUPERVISOR_DIED : SUPERVISOR_CLOSED);
}

/* Has the backend served.  One that is gone already is left to on_backend_end(). */
void life_channel_begin(struct supervisor *s)
{
	int err;

	err = dispatch_channel_begin(s->dispatch, s->channel, s->incarnation);
	s->begun = true;
	s->drained = err != 0;
	if (!err)
		return;
	log_warning("%s: incarnation %u, pid %d, does not take INIT: %s", s->name, s->incarnation,
		    (int)s->backend.pid, strerror(-err));
	/* What attached by itself has until the deadline to end. */
	if (!s->backend.child)
		return;
	if (life_over(s))
		supervisor_event(s, SUPERVISOR_DIED);
	else
		backend_kill(&s->backend);
}

/* Room for long packets.  As a user this is clamped to net.core.wmem_max, where one still fits. */
static void channel_enlarge(int channel)
{
	int size = CHANNEL_BUFFER;

	if (setsockopt(channel, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)) < 0)
		setsockopt(channel, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
}

void life_channel_prepare(int channel)
{
	const int on = 1;
	int flags = fcntl(channel, F_GETFL);

	channel_enlarge(channel);
	/* Who attached may have made it for polling: what was kept is told by sends that wait for room. */
	if (flags >= 0 && (flags & O_NONBLOCK))
		fcntl(channel, F_SETFL, flags & ~O_NONBLOCK);
	setsockopt(channel, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on));
}

/*
 * The channel, which is prepared, is the supervisor's from here on.  A process dying before it is
 * kept leaves a backend that was told nothing, and whose channel has ended; one dying after
 * it leaves a life that the next relayd knows of.
 */
static void channel_take(struct supervisor *s, int channel)
{
	s->channel = channel;
	fdstore_put(s->mount, "chan", channel);
	s->on_record(s);
	if (s->kernel_ready)
		life_channel_begin(s);
}

/* A new life with the process that s->backend has.  Its channel follows. */
static void life_begin(struct supervisor *s)
{
	s->wanted = s->begun = s->accused = false;
	s->drained = true; /* until the carrier has the channel */
	s->serving_ns = 0;
	s->exit_status = 0;
	s->incarnation++;
	if (s->incarnation > 1)
		atomic_fetch_add_explicit(&s->stats->restarts, 1, memory_order_relaxed);
	loop_timer_start(s->loop, &s->timer, s->init_ms, life_on_timer);
	log_info("%s: incarnation %u, pid %d, is starting", s->name, s->incarnation, (int)s->backend.pid);
}

/* `channel` is its end, -1 for one that mounts by itself. */
static int command_run(struct supervisor *s, struct backend *backend, const struct launch_command *command,
		       struct way *way, int channel)
{
	bool first = s->incarnation == 0 && s->first_streams;
	char **environment = NULL;
	struct launch launch = {
		.command = command,
		.directory = s->directory,
		.channel = channel,
		.input = first ? s->first_streams[0] : -1,
		.output = first ? s->first_streams[1] : s->output->write_fd,
		.error = first ? s->first_streams[2] : s->output->write_fd,
	};
	int err = 0;

	if (way && way->placed) {
		way_clear(way);
		err = way_token_renew(way);
	}
	if (!err && way) {
		environment = way_environment(way, s->environment ? s->environment : environ);
		err = environment ? 0 : -ENOMEM;
	}
	launch.environment = environment;
	if (!err)
		err = backend_start(backend, &launch);
	free(environment);
	return err;
}

int life_run(struct supervisor *s, struct backend *backend, const struct launch_command *command, struct way *way,
	     int *channel)
{
	int pair[2] = {-1, -1}, err;

	if (!(way && way->placed)) {
		if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
			return -errno;
		channel_enlarge(pair[1]);
		life_channel_prepare(pair[0]);
	}
	err = command_run(s, backend, command, way, pair[1]);
	if (pair[1] >= 0)
		close(pair[1]);
	if (err && pair[0] >= 0)
		close(pair[0]);
	*channel = err ? -1 : pair[0];
	return err;
}

/* Starts a process: on a new channel, or to come in by itself.  Returns 0 or a negative errno. */
int life_launch(struct supervisor *s)
{
	int channel, err;

	life_backend_own(s);
	err = life_run(s, &s->backend, s->command, s->way, &channel);
	if (err)
		return err;
	fdstore_put(s->mount, "first", s->backend.first.pidfd);
	life_begin(s);
	if (channel >= 0) {
		s->via = WAY_VIA_FD;
		channel_take(s, channel);
	} else {
		s->on_record(s);
	}
	return 0;
}

void life_take(struct supervisor *s, struct backend *backend, int channel, enum way_via via)
{
	life_backend_own(s);
	backend_move(&s->backend, backend);
	life_begin(s);
	s->via = via;
	s->channel = channel;
	s->begun = true;
	s->drained = false;
	supervisor_put_all(s);
	s->on_record(s);
	dispatch_channel_adopt(s->dispatch, channel, s->incarnation);
}

/* What a life leaves behind when it is over. */
void life_end(struct supervisor *s)
{
	loop_timer_stop(&s->timer);
	atomic_store(&s->dispatch->watched, false);
	dispatch_gate_shut(s->dispatch);
	dispatch_channel_end(s->dispatch, s->backend.own_fault && !s->wanted);
	if (s->failing)
		dispatch_fail_begin(s->dispatch);
	/* The requests that it had are the journal's by now: without a channel nothing is known of it. */
	fdstore_drop(s->mount, "chan");
	fdstore_drop(s->mount, "first");
	fdstore_drop(s->mount, "server");
	if (s->channel >= 0)
		close(s->channel);
	s->channel = -1;
	if (s->way)
		way_token_forget(s->way);
	if (s->wanted || s->stopping)
		log_info("%s: incarnation %u, pid %d, %s", s->name, s->incarnation, (int)s->backend.pid,
			 s->backend.ending);
	else
		log_warning("%s: incarnation %u, pid %d, %s; %u requests in flight", s->name, s->incarnation,
			    (int)s->backend.pid, s->backend.ending, dispatch_inflight(s->dispatch));
	backend_end(&s->backend);
}

/* ---- backends that come by themselves ---------------------------------- */

void supervisor_orphaned(struct supervisor *s)
{
	if (!s->backend.away)
		return;
	daemon_look(s);
	if (life_over(s))
		supervisor_event(s, SUPERVISOR_DIED);
}

bool supervisor_awaits(const struct supervisor *s, const char *token)
{
	return s->way && way_token_is(s->way, token) && s->state == SUPERVISOR_STARTING && s->channel < 0;
}

void supervisor_come_in(struct supervisor *s, int channel, enum way_via via)
{
	s->via = via;
	s->exit_status = 0;
	way_furnish(s->way);
	life_channel_prepare(channel);
	/* From here on it has the time that any backend has to answer INIT. */
	loop_timer_start(s->loop, &s->timer, s->init_ms, life_on_timer);
	channel_take(s, channel);
}

void supervisor_refuse(struct supervisor *s, const char *problem, unsigned exit_status)
{
	snprintf(s->problem, sizeof(s->problem), "%s", problem);
	s->accused = true;
	s->exit_status = exit_status;
}

int supervisor_attach(struct supervisor *s, int channel, pid_t pid, enum way_via via)
{
	int err;

	if (s->command)
		return -EINVAL;
	if (s->state != SUPERVISOR_STOPPED || s->stopping)
		return -EBUSY;
	life_backend_own(s);
	err = backend_take(&s->backend, pid, s->session->uid);
	if (err)
		return err;
	s->via = via;
	fdstore_put(s->mount, "first", s->backend.first.pidfd);
	life_begin(s);
	life_channel_prepare(channel);
	channel_take(s, channel);
	s->state = SUPERVISOR_STARTING;
	s->on_change(s);
	return 0;
}
