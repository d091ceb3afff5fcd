/*
 * The event loop, on libev.  This file keeps libev's types and macros to itself:
 * the watchers of loop.h have room for libev's, at their beginning, so that a
 * libev watcher is found from ours and ours from libev's by a cast.
 *
 * The loop is made after the daemon's last fork(): libev's descriptors would be
 * shared with the parent otherwise.  Nothing here survives a crash of relayd.
 */
#include "loop.h"

#include <assert.h>
#include <errno.h>
#include <ev.h>
#include <stdlib.h>

static_assert(sizeof(struct ev_io) <= sizeof(struct loop_storage), "ev_io");
static_assert(sizeof(struct ev_timer) <= sizeof(struct loop_storage), "ev_timer");
static_assert(sizeof(struct ev_signal) <= sizeof(struct loop_storage), "ev_signal");
static_assert(sizeof(struct ev_async) <= sizeof(struct loop_storage), "ev_async");
static_assert(offsetof(struct loop_io, ev) == 0 && offsetof(struct loop_timer, ev) == 0, "cast");
static_assert(offsetof(struct loop_signal, ev) == 0 && offsetof(struct loop_wake, ev) == 0, "cast");

struct loop {
	struct ev_loop *ev;
	bool broken;
};

int loop_new(struct loop **out)
{
	struct loop *loop = calloc(1, sizeof(*loop));

	if (!loop)
		return -ENOMEM;
	loop->ev = ev_loop_new(EVFLAG_AUTO | EVFLAG_NOENV);
	if (!loop->ev) {
		free(loop);
		return -ENOMEM;
	}
	*out = loop;
	return 0;
}

void loop_free(struct loop *loop)
{
	if (!loop)
		return;
	ev_loop_destroy(loop->ev);
	free(loop);
}

void loop_run(struct loop *loop)
{
	/* One reference of our own: libev would return as soon as no watcher is active. */
	ev_ref(loop->ev);
	while (!loop->broken)
		ev_run(loop->ev, 0);
	ev_unref(loop->ev);
	loop->broken = false;
}

void loop_break(struct loop *loop)
{
	loop->broken = true;
	ev_break(loop->ev, EVBREAK_ALL);
}

/* Our own bookkeeping is done before the callback: the callback may free the watcher. */
static void on_ev_io(struct ev_loop *ev_loop, struct ev_io *ev, int revents)
{
	struct loop_io *io = (struct loop_io *)ev;
	unsigned events = 0;

	(void)ev_loop;
	if (revents & EV_READ)
		events |= LOOP_READ;
	if (revents & EV_WRITE)
		events |= LOOP_WRITE;
	/* libev stops a watcher whose descriptor turns out to be bad; whoever reads from it sees why. */
	if (revents & EV_ERROR) {
		io->loop = NULL;
		events |= LOOP_READ | LOOP_WRITE;
	}
	io->on_ready(io, events);
}

void loop_io_start(struct loop *loop, struct loop_io *io, int fd, unsigned events,
		   void (*on_ready)(struct loop_io *io, unsigned events))
{
	struct ev_io *ev = (struct ev_io *)&io->ev;
	int wanted = 0;

	loop_io_stop(io);
	if (events & LOOP_READ)
		wanted |= EV_READ;
	if (events & LOOP_WRITE)
		wanted |= EV_WRITE;
	ev_io_init(ev, on_ev_io, fd, wanted);
	io->loop = loop;
	io->on_ready = on_ready;
	ev_io_start(loop->ev, ev);
}

void loop_io_stop(struct loop_io *io)
{
	if (!io->loop)
		return;
	ev_io_stop(io->loop->ev, (struct ev_io *)&io->ev);
	io->loop = NULL;
}

static void on_ev_timer(struct ev_loop *ev_loop, struct ev_timer *ev, int revents)
{
	struct loop_timer *timer = (struct loop_timer *)ev;

	(void)ev_loop;
	(void)revents;
	timer->loop = NULL;
	timer->on_timer(timer);
}

void loop_timer_start(struct loop *loop, struct loop_timer *timer, uint64_t ms,
		      void (*on_timer)(struct loop_timer *timer))
{
	struct ev_timer *ev = (struct ev_timer *)&timer->ev;

	loop_timer_stop(timer);
	ev_timer_init(ev, on_ev_timer, (double)ms / 1000.0, 0.0);
	timer->loop = loop;
	timer->on_timer = on_timer;
	/* libev counts from when it last looked at the clock, which a long callback makes too early. */
	ev_now_update(loop->ev);
	ev_timer_start(loop->ev, ev);
}

void loop_timer_stop(struct loop_timer *timer)
{
	if (!timer->loop)
		return;
	ev_timer_stop(timer->loop->ev, (struct ev_timer *)&timer->ev);
	timer->loop = NULL;
}

static void on_ev_signal(struct ev_loop *ev_loop, struct ev_signal *ev, int revents)
{
	struct loop_signal *signal = (struct loop_signal *)ev;

	(void)ev_loop;
	(void)revents;
	signal->on_signal(signal, ev->signum);
}

void loop_signal_start(struct loop *loop, struct loop_signal *signal, int number,
		       void (*on_signal)(struct loop_signal *signal, int number))
{
	struct ev_signal *ev = (struct ev_signal *)&signal->ev;

	loop_signal_stop(signal);
	ev_signal_init(ev, on_ev_signal, number);
	signal->loop = loop;
	signal->on_signal = on_signal;
	ev_signal_start(loop->ev, ev);
}

void loop_signal_stop(struct loop_signal *signal)
{
	if (!signal->loop)
		return;
	ev_signal_stop(signal->loop->ev, (struct ev_signal *)&signal->ev);
	signal->loop = NULL;
}

static void on_ev_wake(struct ev_loop *ev_loop, struct ev_async *ev, int revents)
{
	struct loop_wake *wake = (struct loop_wake *)ev;

	(void)ev_loop;
	(void)revents;
	wake->on_wake(wake);
}

void loop_wake_start(struct loop *loop, struct loop_wake *wake, void (*on_wake)(struct loop_wake *wake))
{
	struct ev_async *ev = (struct ev_async *)&wake->ev;

	loop_wake_stop(wake);
	ev_async_init(ev, on_ev_wake);
	wake->loop = loop;
	wake->on_wake = on_wake;
	ev_async_start(loop->ev, ev);
}

void loop_wake_stop(struct loop_wake *wake)
{
	if (!wake->loop)
		return;
	ev_async_stop(wake->loop->ev, (struct ev_async *)&wake->ev);
	wake->loop = NULL;
}

void loop_wake_send(struct loop_wake *wake)
{
	ev_async_send(wake->loop->ev, (struct ev_async *)&wake->ev);
}
