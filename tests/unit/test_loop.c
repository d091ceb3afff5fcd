/*
 * The event loop: watchers fire, stop, and may stop or free themselves.
 */
#include <criterion/criterion.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "loop.h"

static struct loop *loop;
static int calls;

static void setup(void)
{
	cr_assert_eq(loop_new(&loop), 0);
	calls = 0;
}

static void teardown(void)
{
	loop_free(loop);
}

TestSuite(loop, .init = setup, .fini = teardown, .timeout = 20);

static double now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static void on_timer_break(struct loop_timer *timer)
{
	calls++;
	cr_expect_not(loop_timer_active(timer));
	loop_break(loop);
}

Test(loop, timer_fires_once_and_not_too_early)
{
	struct loop_timer timer = {0};
	struct timespec busy = {.tv_nsec = 30000000};
	double begin;

	/* The loop's own idea of the time is old by now. */
	nanosleep(&busy, NULL);
	begin = now_ms();
	loop_timer_start(loop, &timer, 20, on_timer_break);
	cr_assert(loop_timer_active(&timer));
	loop_run(loop);
	cr_expect_geq(now_ms() - begin, 19.0);
	cr_expect_eq(calls, 1);
}

static void on_timer_again(struct loop_timer *timer)
{
	if (++calls < 3)
		loop_timer_start(loop, timer, 1, on_timer_again);
	else
		loop_break(loop);
}

Test(loop, timer_set_again_from_its_callback_repeats)
{
	struct loop_timer timer = {0};

	loop_timer_start(loop, &timer, 1, on_timer_again);
	loop_run(loop);
	cr_expect_eq(calls, 3);
}

static void on_timer_never(struct loop_timer *timer)
{
	(void)timer;
	cr_assert_fail("a stopped timer has fired");
}

Test(loop, stopped_timer_does_not_fire)
{
	struct loop_timer never = {0}, timer = {0};

	loop_timer_stop(&never);
	loop_timer_start(loop, &never, 1, on_timer_never);
	loop_timer_start(loop, &timer, 20, on_timer_break);
	loop_timer_stop(&never);
	loop_run(loop);
	cr_expect_eq(calls, 1);
}

struct heap_io {
	struct loop_io io;
	int fd;
};

static void on_io_free(struct loop_io *io, unsigned events)
{
	struct heap_io *heap = (struct heap_io *)io;

	calls++;
	cr_expect_eq(events, (unsigned)LOOP_READ);
	loop_io_stop(io);
	close(heap->fd);
	free(heap);
	loop_break(loop);
}

Test(loop, watcher_may_be_freed_from_its_callback)
{
	struct heap_io *heap = calloc(1, sizeof(*heap));
	int fds[2];

	cr_assert_eq(pipe(fds), 0);
	heap->fd = fds[0];
	loop_io_start(loop, &heap->io, fds[0], LOOP_READ, on_io_free);
	cr_assert_eq(write(fds[1], "x", 1), 1);
	loop_run(loop);
	cr_expect_eq(calls, 1);
	close(fds[1]);
}

static unsigned last_events;

static void on_io_events(struct loop_io *io, unsigned events)
{
	(void)io;
	last_events = events;
	loop_break(loop);
}

Test(loop, starting_again_changes_the_events)
{
	struct loop_io io = {0};
	int fds[2];

	cr_assert_eq(pipe(fds), 0);
	loop_io_start(loop, &io, fds[1], LOOP_READ, on_io_events);
	loop_io_start(loop, &io, fds[1], LOOP_WRITE, on_io_events);
	loop_run(loop);
	cr_expect_eq(last_events, (unsigned)LOOP_WRITE);
	loop_io_stop(&io);
	loop_io_stop(&io);
	close(fds[0]);
	close(fds[1]);
}

static void on_signal_break(struct loop_signal *watcher, int number)
{
	(void)watcher;
	calls += number == SIGUSR1;
	loop_break(loop);
}

Test(loop, signal_is_told)
{
	struct loop_signal watcher = {0};

	loop_signal_start(loop, &watcher, SIGUSR1, on_signal_break);
	raise(SIGUSR1);
	loop_run(loop);
	cr_expect_eq(calls, 1);
	loop_signal_stop(&watcher);
}

static void on_wake_break(struct loop_wake *wake)
{
	(void)wake;
	calls++;
	loop_break(loop);
}

static void *thread_wake(void *arg)
{
	loop_wake_send(arg);
	return NULL;
}

Test(loop, another_thread_wakes_it)
{
	struct loop_wake wake = {0};
	pthread_t thread;

	loop_wake_start(loop, &wake, on_wake_break);
	cr_assert_eq(pthread_create(&thread, NULL, thread_wake, &wake), 0);
	loop_run(loop);
	pthread_join(thread, NULL);
	cr_expect_eq(calls, 1);
	loop_wake_stop(&wake);
}

Test(loop, several_wakes_become_one)
{
	struct loop_timer timer = {0};
	struct loop_wake wake = {0};

	loop_wake_start(loop, &wake, on_wake_break);
	loop_wake_send(&wake);
	loop_wake_send(&wake);
	loop_run(loop);
	loop_timer_start(loop, &timer, 5, on_timer_break);
	loop_run(loop);
	cr_expect_eq(calls, 2);
	loop_wake_stop(&wake);
}

Test(loop, break_before_run_returns_at_once)
{
	loop_break(loop);
	loop_run(loop);
}
