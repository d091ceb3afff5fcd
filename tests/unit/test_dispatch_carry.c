/*
 * The carrier between two ends: neither keeps it from the other, and it sleeps when both do.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "lib/dispatch_rig.h"

static struct dispatch_rig rig;
static uint8_t write_body[sizeof(struct fuse_write_in) + RELAY_MAX_DATA];

static void setup(void)
{
	cr_assert_eq(rig_init(&rig), 0);
}

static void teardown(void)
{
	rig_deinit(&rig);
}

TestSuite(dispatch_carry, .init = setup, .fini = teardown, .timeout = 60);

/* Serves on a channel that is full with one WRITE in it: that fits as it is, but not with what the kernel adds. */
static void serve_narrowly(bool hello)
{
	const int size = (int)(sizeof(struct fuse_in_header) + sizeof(write_body)) / 2 + 100; /* which the kernel doubles */

	cr_assert(rig_serve(&rig, hello));
	cr_assert_eq(setsockopt(rig.backend.channel, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)), 0);
}

/* Has it filled, and a request held. */
static void fill(bool hello, uint64_t *first, uint64_t *held)
{
	serve_narrowly(hello);
	*first = fake_kernel_request(&rig.kernel, FUSE_WRITE, write_body, sizeof(write_body));
	*held = fake_kernel_request(&rig.kernel, FUSE_WRITE, write_body, sizeof(write_body));
	cr_assert(*first && *held && rig_inflight(&rig, 2));
}

/* The backend takes a WRITE and answers it. */
static void write_answer(uint64_t unique)
{
	uint64_t channel = fake_backend_gets(&rig.backend, FUSE_WRITE);

	cr_assert_neq(channel, 0);
	cr_assert(fake_backend_reply(&rig.backend, channel, ENOSPC, NULL, 0));
	cr_expect(fake_kernel_gets_error(&rig.kernel, unique, ENOSPC));
}

/* There are slots for them. */
static void two_more(void)
{
	fake_kernel_lookup(&rig.kernel, "x");
	fake_kernel_lookup(&rig.kernel, "y");
}

/* How often the carrier has slept: the test's own thread is told apart by its number. */
static unsigned long sleeps(void)
{
	char path[64], line[100];
	unsigned long count = 0;
	clockid_t clock;
	FILE *status;

	/* The number of a thread is in the id of its clock: pthread_getcpuclockid(3). */
	cr_assert_eq(pthread_getcpuclockid(rig.dispatch.carrier, &clock), 0);
	snprintf(path, sizeof(path), "/proc/self/task/%d/status", ~(clock >> 3));
	status = fopen(path, "r");
	cr_assert(status, "%s", path);
	while (fgets(line, sizeof(line), status) && sscanf(line, "voluntary_ctxt_switches: %lu", &count) != 1)
		;
	fclose(status);
	return count;
}

/* It comes to rest, or the test never ends. */
static void comes_to_rest(void)
{
	unsigned long before;

	do {
		before = sleeps();
		usleep(20 * 1000);
	} while (sleeps() != before);
}

Test(dispatch_carry, a_full_channel_does_not_keep_replies_from_the_kernel)
{
	uint64_t lookup, channel, first, held;

	serve_narrowly(false);
	lookup = fake_kernel_lookup(&rig.kernel, "x");
	channel = fake_backend_gets(&rig.backend, FUSE_LOOKUP);
	cr_assert_neq(channel, 0);
	first = fake_kernel_request(&rig.kernel, FUSE_WRITE, write_body, sizeof(write_body));
	held = fake_kernel_request(&rig.kernel, FUSE_WRITE, write_body, sizeof(write_body));
	cr_assert(rig_inflight(&rig, 3));
	cr_assert(fake_backend_reply(&rig.backend, channel, ENOENT, NULL, 0));
	cr_expect(fake_kernel_gets_error(&rig.kernel, lookup, ENOENT));
	write_answer(first);
	write_answer(held);
}

Test(dispatch_carry, what_comes_behind_a_full_channel_is_left_with_the_kernel)
{
	uint64_t first, held, unique, channel;

	fill(false, &first, &held);
	two_more();
	comes_to_rest();
	cr_expect_eq(dispatch_inflight(&rig.dispatch), 2);
	write_answer(first);
	write_answer(held);
	for (unsigned i = 0; i < 2; i++) {
		channel = fake_backend_gets(&rig.backend, FUSE_LOOKUP);
		cr_assert_neq(channel, 0, "in order");
		cr_assert(fake_backend_reply(&rig.backend, channel, ENOENT, NULL, 0));
		unique = rig.kernel.unique - 2 + 2 * i;
		cr_expect(fake_kernel_gets_error(&rig.kernel, unique, ENOENT));
	}
}

Test(dispatch_carry, a_backend_that_dies_while_something_is_held_has_not_got_it)
{
	uint64_t first, held;

	fill(true, &first, &held);
	cr_assert(rig_backend_die(&rig, false));
	cr_expect_eq(dispatch_inflight(&rig.dispatch), 2);
	cr_assert(rig_serve_next(&rig, true));
	cr_expect_eq(atomic_load(&rig.stats.redone), 1, "the first was sent, the second is new");
	write_answer(first);
	write_answer(held);
}

Test(dispatch_carry, a_backend_that_dies_with_a_full_channel_has_its_replies_taken)
{
	uint64_t lookup, channel;

	serve_narrowly(false);
	lookup = fake_kernel_lookup(&rig.kernel, "x");
	channel = fake_backend_gets(&rig.backend, FUSE_LOOKUP);
	for (unsigned i = 0; i < 2; i++)
		cr_assert_neq(fake_kernel_request(&rig.kernel, FUSE_WRITE, write_body, sizeof(write_body)), 0);
	cr_assert(rig_inflight(&rig, 3));
	cr_assert(fake_backend_reply(&rig.backend, channel, ENOENT, NULL, 0));
	cr_assert(rig_backend_die(&rig, false));
	cr_expect(fake_kernel_gets_error(&rig.kernel, lookup, ENOENT));
	cr_expect_eq(dispatch_inflight(&rig.dispatch), 2);
}

Test(dispatch_carry, an_answer_to_a_notification_waits_for_room)
{
	struct fuse_notify_retrieve_in in = {.size = 0};
	uint64_t first, held, lookup, channel;

	serve_narrowly(false);
	first = fake_kernel_request(&rig.kernel, FUSE_WRITE, write_body, sizeof(write_body));
	cr_assert(rig_inflight(&rig, 1));
	held = fake_kernel_request(&rig.kernel, FUSE_NOTIFY_REPLY, &in, sizeof(in));
	lookup = fake_kernel_lookup(&rig.kernel, "x");
	write_answer(first);
	cr_expect_eq(fake_backend_gets(&rig.backend, FUSE_NOTIFY_REPLY), held);
	channel = fake_backend_gets(&rig.backend, FUSE_LOOKUP);
	cr_assert(fake_backend_reply(&rig.backend, channel, ENOENT, NULL, 0));
	cr_expect(fake_kernel_gets_error(&rig.kernel, lookup, ENOENT));
}

Test(dispatch_carry, an_idle_mount_wakes_nobody)
{
	uint64_t unique, channel;

	cr_assert(rig_serve(&rig, false));
	comes_to_rest();
	for (unsigned i = 0; i < 100; i++) {
		unique = fake_kernel_lookup(&rig.kernel, "x");
		channel = fake_backend_gets(&rig.backend, FUSE_LOOKUP);
		cr_assert(fake_backend_reply(&rig.backend, channel, ENOENT, NULL, 0));
		cr_assert(fake_kernel_gets_error(&rig.kernel, unique, ENOENT));
	}
	comes_to_rest();
	/* And while a backend takes its time, or takes nothing. */
	fake_kernel_lookup(&rig.kernel, "x");
	cr_assert_neq(fake_backend_gets(&rig.backend, FUSE_LOOKUP), 0);
	comes_to_rest();
}

Test(dispatch_carry, a_full_channel_and_a_full_journal_wake_nobody)
{
	uint64_t first, held;

	fill(false, &first, &held);
	two_more();
	comes_to_rest();
	write_answer(first);
	write_answer(held);
	for (unsigned i = 0; i < 2 + RIG_LARGE; i++)
		fake_kernel_lookup(&rig.kernel, "z");
	cr_assert(rig_inflight(&rig, RIG_LARGE));
	comes_to_rest();
}
