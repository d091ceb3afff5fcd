/*
 * The table of an upgrade, and the actions in it.  All on the main thread.
 *
 * Crash windows, by who dies when:
 *
 *   the candidate before it has come up    the old backend has noticed nothing
 *   the old backend before that            the next life waits for the candidate; if that does not
 *                                          come up it is the old command's
 *   the candidate after it has come up     the drain goes on, and the old command is started
 *   the candidate after it was taken       an ordinary death of an incarnation; the next one is the
 *                                          old command's
 *   who has asked                          nothing: it goes on
 */
#include "upgrade.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "dispatch.h"
#include "log.h"
#include "supervisor_life.h"

typedef enum upgrade_state action(struct upgrade *u);

static void say_why(struct upgrade *u, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void say_why(struct upgrade *u, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(u->why, sizeof(u->why), format, args);
	va_end(args);
}

static const char *name_of(const struct upgrade *u)
{
	return u->supervisor->name;
}

/* ---- actions -------------------------------------------------------------- */

static void watchers_stop(struct upgrade *u)
{
	loop_timer_stop(&u->timer);
	loop_io_stop(&u->packet);
}

/* Ends a candidate that is not the supervisor's.  It has touched nothing: nobody waits for its end. */
static void candidate_end(struct upgrade *u)
{
	watchers_stop(u);
	backend_kill(&u->backend);
	if (u->backend.away && u->channel < 0)
		way_daemons(&u->way, SIGKILL);
	backend_end(&u->backend);
	if (u->channel >= 0)
		close(u->channel);
	u->channel = -1;
}

static enum upgrade_state fail(struct upgrade *u, int outcome)
{
	u->outcome = outcome;
	log_error("%s: upgrade: %s; %s", name_of(u), u->why,
		  outcome == -ECANCELED ? "the old command goes on" : "the old command is started again");
	return UPGRADE_OVER;
}

static enum upgrade_state do_came(struct upgrade *u)
{
	watchers_stop(u);
	log_info("%s: upgrade: pid %d has come up", name_of(u), (int)u->backend.pid);
	return UPGRADE_READY;
}

static enum upgrade_state do_refused(struct upgrade *u)
{
	candidate_end(u);
	return fail(u, -ECANCELED);
}

static enum upgrade_state do_ended(struct upgrade *u)
{
	say_why(u, "the new backend %s before it had come up",
		backend_gone(&u->backend) ? u->backend.ending : "has closed its channel");
	return do_refused(u);
}

static enum upgrade_state do_late(struct upgrade *u)
{
	say_why(u, "the new backend, pid %d, did not %s within %u.%03u s", (int)u->backend.pid,
		u->channel < 0 ? "come to mount" : "come up", u->timeout_ms / 1000, u->timeout_ms % 1000);
	return do_refused(u);
}

/* The old one is ending already: there is no way back to it but a new life. */
static enum upgrade_state do_ended_ready(struct upgrade *u)
{
	say_why(u, "the new backend %s while the old one was being ended for it", u->backend.ending);
	candidate_end(u);
	return fail(u, -EHOSTDOWN);
}

static enum upgrade_state do_take(struct upgrade *u)
{
	struct supervisor *s = u->supervisor;

	s->way = &u->way;
	life_take(s, &u->backend, u->channel, u->via);
	u->channel = -1;
	return UPGRADE_TAKING;
}

static enum upgrade_state do_serves(struct upgrade *u)
{
	u->supervisor->command = &u->command;
	log_info("%s: upgrade: done", name_of(u));
	return UPGRADE_OVER;
}

static enum upgrade_state do_lost(struct upgrade *u)
{
	say_why(u, "the new backend had come up, and then: %s", u->supervisor->problem);
	return fail(u, -EHOSTDOWN);
}

static enum upgrade_state do_stop(struct upgrade *u)
{
	say_why(u, "the mount ends");
	candidate_end(u);
	return fail(u, -ECANCELED);
}

/* Its life is the supervisor's to end. */
static enum upgrade_state do_stop_taking(struct upgrade *u)
{
	say_why(u, "the mount ends");
	return fail(u, -EHOSTDOWN);
}

/* ---- the table ------------------------------------------------------------ */

static action *const table[UPGRADE_STATES][UPGRADE_EVENTS] = {
	[UPGRADE_STARTING] = {
		[UPGRADE_CAME] = do_came,
		[UPGRADE_REFUSED] = do_refused,
		[UPGRADE_ENDED] = do_ended,
		[UPGRADE_LATE] = do_late,
		[UPGRADE_STOP] = do_stop,
	},
	[UPGRADE_READY] = {
		[UPGRADE_ENDED] = do_ended_ready,
		[UPGRADE_PLACE] = do_take,
		[UPGRADE_STOP] = do_stop,
	},
	[UPGRADE_TAKING] = {
		[UPGRADE_SERVES] = do_serves,
		[UPGRADE_LOST] = do_lost,
		[UPGRADE_STOP] = do_stop_taking,
	},
};

static void over(struct upgrade *u)
{
	struct supervisor *s = u->supervisor;
	bool taken = u->outcome == 0;

	s->upgrade = NULL;
	/* A failed one's way has led to an incarnation that is gone, or is ending: what ends it is not the way. */
	if (!taken)
		s->way = s->old_way;
	u->on_over(u);
	/* It has waited for the candidate, if nothing else. */
	if (!taken && s->state == SUPERVISOR_BACKOFF && !loop_timer_active(&s->timer))
		supervisor_event(s, SUPERVISOR_TIMEOUT);
}

void upgrade_event(struct upgrade *u, enum upgrade_event event)
{
	action *act = table[u->state][event];

	if (!act)
		return;
	u->state = act(u);
	if (u->state == UPGRADE_OVER)
		over(u);
	else if (event == UPGRADE_CAME)
		/* The old one is drained; where none is, its place is free. */
		supervisor_event(u->supervisor, SUPERVISOR_RESTART);
}

bool upgrade_awaited(const struct upgrade *upgrade)
{
	return upgrade && upgrade->state == UPGRADE_STARTING;
}

bool upgrade_take(struct upgrade *upgrade)
{
	if (!upgrade || upgrade->state != UPGRADE_READY)
		return false;
	upgrade_event(upgrade, UPGRADE_PLACE);
	return true;
}

/* ---- what the candidate says ---------------------------------------------- */

bool upgrade_first_check(struct session *session, const void *packet, uint32_t size, char *why, size_t why_size)
{
	const struct fuse_out_header *header = packet;
	const struct relay_hello *hello = (const void *)(header + 1);

	if (size < sizeof(*header)) {
		snprintf(why, why_size, "the new backend has said something that is shorter than a header");
	} else if (header->unique == 0 && header->error == RELAY_NOTIFY_HELLO) {
		if (size != sizeof(*header) + sizeof(*hello) || hello->version != RELAY_WIRE_VERSION)
			snprintf(why, why_size, "the new backend is linked with another version of librelay");
		else if (!session->native)
			snprintf(why, why_size, "the new backend is linked with librelay, and the old one was not");
		else
			return true;
	} else if (relay_unique_slot(header->unique) != DISPATCH_INIT_SLOT) {
		snprintf(why, why_size, "the new backend has said something else than an answer to INIT");
	} else {
		/* It is agreed already: nobody is told. */
		return session_init_answer(session, packet, size, false, why, why_size) == 0;
	}
	return false;
}

static void on_closed_late(struct loop_timer *timer)
{
	upgrade_event((struct upgrade *)((char *)timer - offsetof(struct upgrade, timer)), UPGRADE_ENDED);
}

/* How a process ends is known when it has: it does so now, or is not waited for. */
static void on_channel_end(struct upgrade *u)
{
	struct supervisor *s = u->supervisor;

	loop_io_stop(&u->packet);
	if (u->backend.away)
		upgrade_event(u, UPGRADE_ENDED);
	else
		loop_timer_start(s->loop, &u->timer, s->end_ms, on_closed_late);
}

static void on_packet(struct loop_io *io, unsigned events)
{
	struct upgrade *u = (struct upgrade *)((char *)io - offsetof(struct upgrade, packet));
	_Alignas(8) uint8_t packet[512];
	ssize_t n = recv(u->channel, packet, sizeof(packet), MSG_PEEK | MSG_DONTWAIT | MSG_TRUNC);

	(void)events;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0)
		on_channel_end(u);
	else if ((size_t)n <= sizeof(packet) &&
		 upgrade_first_check(u->supervisor->session, packet, (uint32_t)n, u->why, sizeof(u->why)))
		upgrade_event(u, UPGRADE_CAME);
	else
		upgrade_event(u, UPGRADE_REFUSED);
}

static void on_late(struct loop_timer *timer)
{
	upgrade_event((struct upgrade *)((char *)timer - offsetof(struct upgrade, timer)), UPGRADE_LATE);
}

static void on_candidate_end(struct backend *backend)
{
	if (backend_gone(backend))
		upgrade_event((struct upgrade *)((char *)backend - offsetof(struct upgrade, backend)), UPGRADE_ENDED);
}

/* The channel is prepared, and this one's from here on. */
static void channel_begin(struct upgrade *u, int channel)
{
	struct supervisor *s = u->supervisor;
	int err = dispatch_init_send(s->dispatch, channel, s->incarnation + 1);

	u->channel = channel;
	/* Its end is seen there. */
	if (err)
		log_warning("%s: upgrade: pid %d does not take INIT: %s", name_of(u), (int)u->backend.pid, strerror(-err));
	loop_io_start(s->loop, &u->packet, channel, LOOP_READ, on_packet);
}

bool upgrade_awaits(const struct upgrade *upgrade, const char *token)
{
	return upgrade && upgrade->state == UPGRADE_STARTING && upgrade->channel < 0 &&
	       way_token_is(&upgrade->way, token);
}

void upgrade_come_in(struct upgrade *u, int channel, enum way_via via)
{
	u->via = via;
	way_furnish(&u->way);
	life_channel_prepare(channel);
	channel_begin(u, channel);
}

int upgrade_begin(struct upgrade *u, struct supervisor *s)
{
	int channel, err;

	u->supervisor = s;
	u->state = UPGRADE_STARTING;
	u->channel = -1;
	u->via = WAY_VIA_FD;
	backend_init(&u->backend, s->loop, on_candidate_end);
	err = life_run(s, &u->backend, &u->command, &u->way, &channel);
	if (err) {
		say_why(u, "%s: cannot be executed: %s", u->command.argv[0], strerror(-err));
		return err;
	}
	log_info("%s: upgrade: pid %d is starting", name_of(u), (int)u->backend.pid);
	s->upgrade = u;
	s->old_way = s->way;
	loop_timer_start(s->loop, &u->timer, u->timeout_ms, on_late);
	if (channel >= 0)
		channel_begin(u, channel);
	return 0;
}
