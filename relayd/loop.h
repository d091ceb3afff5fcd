/*
 * The event loop of relayd's control plane.  loop.c is the only file that
 * includes <ev.h>.  Everything here belongs to the main thread, except
 * loop_wake_send().
 *
 * A watcher is embedded in its owner, which keeps it in place while started.
 * Stopping a watcher that is not started does nothing; a watcher may be stopped
 * or freed from its own callback.
 */
#ifndef RELAYD_LOOP_H
#define RELAYD_LOOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct loop;

enum loop_events {
	LOOP_READ = 1,
	LOOP_WRITE = 2,
};

/* Room for any of libev's watchers; loop.c asserts that it suffices. */
struct loop_storage {
	uint64_t words[10];
};

struct loop_io {
	struct loop_storage ev;
	struct loop *loop; /* NULL: not started */
	void (*on_ready)(struct loop_io *io, unsigned events);
};

struct loop_timer {
	struct loop_storage ev;
	struct loop *loop;
	void (*on_timer)(struct loop_timer *timer);
};

struct loop_signal {
	struct loop_storage ev;
	struct loop *loop;
	void (*on_signal)(struct loop_signal *signal, int number);
};

/* A wake-up that other threads may send; several become one. */
struct loop_wake {
	struct loop_storage ev;
	struct loop *loop;
	void (*on_wake)(struct loop_wake *wake);
};

/* Returns 0 or -ENOMEM. */
int loop_new(struct loop **out);
void loop_free(struct loop *loop);
/* Runs until loop_break(). */
void loop_run(struct loop *loop);
void loop_break(struct loop *loop);

/* Starts with new events if it was started already. fd stays the caller's. */
void loop_io_start(struct loop *loop, struct loop_io *io, int fd, unsigned events,
		   void (*on_ready)(struct loop_io *io, unsigned events));
void loop_io_stop(struct loop_io *io);

/* Fires once, in `ms` milliseconds from now; set again from its callback to repeat. */
void loop_timer_start(struct loop *loop, struct loop_timer *timer, uint64_t ms,
		      void (*on_timer)(struct loop_timer *timer));
void loop_timer_stop(struct loop_timer *timer);
static inline bool loop_timer_active(const struct loop_timer *timer)
{
	return timer->loop != NULL;
}

void loop_signal_start(struct loop *loop, struct loop_signal *signal, int number,
		       void (*on_signal)(struct loop_signal *signal, int number));
void loop_signal_stop(struct loop_signal *signal);

void loop_wake_start(struct loop *loop, struct loop_wake *wake, void (*on_wake)(struct loop_wake *wake));
void loop_wake_stop(struct loop_wake *wake);
/* From any thread. */
void loop_wake_send(struct loop_wake *wake);

#endif
