/*
 * Between two incarnations: what the dead one had stored is delivered, the rest is
 * given to the next, and what kills backends is given up.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>

#include "lib/dispatch_rig.h"
#include "lib/stuck.h"

static struct dispatch_rig rig;

static void setup(void)
{
	cr_assert_eq(rig_init(&rig), 0);
}

static void teardown(void)
{
	stuck_end();
	rig_deinit(&rig);
}

TestSuite(dispatch_redo, .init = setup, .fini = teardown, .timeout = 60);

/* A LOOKUP that the backend has. */
static uint64_t lookup(uint64_t *kernel)
{
	uint64_t channel;

	*kernel = fake_kernel_lookup(&rig.kernel, "x");
	channel = fake_backend_gets(&rig.backend, FUSE_LOOKUP);
	cr_assert_neq(channel, 0);
	return channel;
}

static void die_and_restart(bool own_fault)
{
	cr_assert(rig_backend_die(&rig, own_fault));
	cr_assert(rig_serve_next(&rig, true));
}

Test(dispatch_redo, a_request_without_a_reply_is_given_to_the_next)
{
	uint64_t kernel, channel;

	cr_assert(rig_serve(&rig, true));
	channel = lookup(&kernel);
	atomic_store(&fake_backend_slot(&rig.backend, channel)->state, RELAY_SLOT_APPLYING);
	die_and_restart(false);
	cr_expect_eq(fake_backend_gets(&rig.backend, FUSE_LOOKUP), channel, "with the same unique");
	cr_expect_eq(atomic_load(&fake_backend_slot(&rig.backend, channel)->state), RELAY_SLOT_APPLYING);
	fake_backend_reply(&rig.backend, channel, ENOENT, NULL, 0);
	cr_expect(fake_kernel_gets_error(&rig.kernel, kernel, ENOENT));
	cr_expect_eq(atomic_load(&rig.stats.redone), 1);
}

Test(dispatch_redo, a_stored_reply_is_delivered)
{
	uint64_t kernel, channel;

	cr_assert(rig_serve(&rig, true));
	channel = lookup(&kernel);
	fake_backend_store(&rig.backend, channel, ENOTDIR);
	cr_assert(rig_backend_die(&rig, false));
	cr_expect(fake_kernel_gets_error(&rig.kernel, kernel, ENOTDIR));
	cr_expect_eq(dispatch_inflight(&rig.dispatch), 0);
	cr_expect_eq(atomic_load(&rig.stats.resent), 1);
	cr_assert(rig_serve_next(&rig, true));
	lookup(&kernel);
	cr_expect_eq(atomic_load(&rig.stats.redone), 0);
}

Test(dispatch_redo, a_stored_reply_that_was_sent_too_is_delivered_once)
{
	uint64_t kernel, channel;

	cr_assert(rig_serve(&rig, true));
	channel = lookup(&kernel);
	fake_backend_store(&rig.backend, channel, ENOTDIR);
	fake_backend_reply(&rig.backend, channel, ENOTDIR, NULL, 0);
	cr_assert(rig_backend_die(&rig, false));
	cr_expect(fake_kernel_gets_error(&rig.kernel, kernel, ENOTDIR));
	cr_expect(fake_kernel_quiet(&rig.kernel));
	cr_expect_eq(atomic_load(&rig.stats.resent), 0);
}

Test(dispatch_redo, a_corrupted_stored_reply_is_eio)
{
	static const struct fuse_out_header corrupted[] = {
		{.len = 17, .error = -ENOENT},
		{.len = sizeof(struct fuse_out_header), .error = 1},
		{.len = sizeof(struct fuse_out_header), .error = -600},
		{.len = sizeof(struct fuse_out_header), .error = 0},
		{.len = sizeof(struct fuse_out_header), .error = -ENOENT, .unique = 3},
	};
	uint64_t kernel, channel;

	cr_assert(rig_serve(&rig, true));
	for (size_t i = 0; i < sizeof(corrupted) / sizeof(corrupted[0]); i++) {
		struct fuse_out_header *out;

		channel = lookup(&kernel);
		fake_backend_store(&rig.backend, channel, ENOENT);
		out = journal_reply(&rig.journal, relay_unique_slot(channel));
		*out = corrupted[i];
		out->unique += channel;
		cr_assert(rig_backend_die(&rig, false));
		cr_expect(fake_kernel_gets_error(&rig.kernel, kernel, EIO), "case %zu", i);
		cr_assert(rig_serve_next(&rig, true));
	}
}

Test(dispatch_redo, a_size_that_cannot_be_is_no_stored_reply)
{
	static const uint32_t sizes[] = {0, 15, RELAY_MAX_REPLY + 100, UINT32_MAX};
	uint64_t kernel, channel;

	cr_assert(rig_serve(&rig, true));
	channel = lookup(&kernel);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		fake_backend_store(&rig.backend, channel, ENOENT);
		fake_backend_slot(&rig.backend, channel)->reply_size = sizes[i];
		die_and_restart(false);
		cr_expect_eq(fake_backend_gets(&rig.backend, FUSE_LOOKUP), channel);
	}
	cr_expect(fake_kernel_quiet(&rig.kernel));
}

Test(dispatch_redo, a_forget_that_was_done_is_not_done_again)
{
	const struct fuse_forget_in in = {.nlookup = 1};
	uint64_t done, not_done;

	cr_assert(rig_serve(&rig, true));
	fake_kernel_request(&rig.kernel, FUSE_FORGET, &in, sizeof(in));
	done = fake_backend_gets(&rig.backend, FUSE_FORGET);
	fake_kernel_request(&rig.kernel, FUSE_FORGET, &in, sizeof(in));
	not_done = fake_backend_gets(&rig.backend, FUSE_FORGET);
	fake_backend_store(&rig.backend, done, 0);
	die_and_restart(false);
	cr_expect_eq(fake_backend_gets(&rig.backend, FUSE_FORGET), not_done);
	cr_expect(fake_backend_quiet(&rig.backend));
	cr_expect(fake_kernel_quiet(&rig.kernel));
}

Test(dispatch_redo, the_oldest_comes_first)
{
	uint64_t kernel[RIG_LARGE], channel[RIG_LARGE];

	cr_assert(rig_serve(&rig, true));
	for (unsigned i = 0; i < RIG_LARGE; i++)
		channel[i] = lookup(&kernel[i]);
	/* The first slot's next request is the youngest. */
	fake_backend_reply(&rig.backend, channel[0], ENOENT, NULL, 0);
	cr_assert(fake_kernel_gets_error(&rig.kernel, kernel[0], ENOENT));
	channel[0] = lookup(&kernel[0]);
	die_and_restart(false);
	for (unsigned i = 1; i <= RIG_LARGE; i++)
		cr_expect_eq(fake_backend_gets(&rig.backend, FUSE_LOOKUP), channel[i % RIG_LARGE]);
}

Test(dispatch_redo, after_a_death_of_its_own_they_come_one_by_one)
{
	uint64_t kernel[3], channel[3], waiter;

	cr_assert(rig_serve(&rig, true));
	fake_kernel_minimal(&rig.kernel, FUSE_SETLKW);
	waiter = fake_backend_gets(&rig.backend, FUSE_SETLKW);
	for (unsigned i = 0; i < 3; i++)
		channel[i] = lookup(&kernel[i]);
	cr_expect_not(dispatch_redo_suspects(&rig.dispatch));
	cr_assert(rig_backend_die(&rig, true));
	cr_expect(dispatch_redo_suspects(&rig.dispatch));
	cr_assert(rig_backend_begin(&rig));
	cr_assert(rig_backend_ready(&rig, true));
	atomic_store(&rig.dispatch.watched, true);
	cr_expect_eq(dispatch_redo(&rig.dispatch, 3, true), 1);
	/* What waits for others is no reason to wait. */
	cr_expect_eq(fake_backend_gets(&rig.backend, FUSE_SETLKW), waiter);
	for (unsigned i = 0; i < 3; i++) {
		cr_expect_eq(fake_backend_gets(&rig.backend, FUSE_LOOKUP), channel[i]);
		cr_expect_eq(dispatch_redo(&rig.dispatch, 3, true), 1, "it is not answered");
		cr_expect(fake_backend_quiet(&rig.backend));
		fake_backend_reply(&rig.backend, channel[i], ENOENT, NULL, 0);
		cr_assert(fake_kernel_gets_error(&rig.kernel, kernel[i], ENOENT));
		cr_assert(rig_wait(&rig, DISPATCH_PROGRESS));
		cr_expect_eq(dispatch_redo(&rig.dispatch, 3, true), i < 2);
	}
}

Test(dispatch_redo, what_has_killed_enough_is_answered_eio)
{
	uint64_t kernel[2], channel[2];

	cr_assert(rig_serve(&rig, true));
	channel[0] = lookup(&kernel[0]);
	for (unsigned i = 0; i < 2; i++) {
		die_and_restart(true);
		cr_assert_eq(fake_backend_gets(&rig.backend, FUSE_LOOKUP), channel[0]);
	}
	/* One that was there for one death alone lives on. */
	channel[1] = lookup(&kernel[1]);
	die_and_restart(true);
	cr_expect(fake_kernel_gets_error(&rig.kernel, kernel[0], EIO));
	cr_expect_eq(fake_backend_gets(&rig.backend, FUSE_LOOKUP), channel[1]);
	cr_expect_eq(atomic_load(&rig.stats.poisoned), 1);
}

Test(dispatch_redo, ten_kills_count_as_one_life)
{
	uint64_t kernel, channel;

	cr_assert(rig_serve(&rig, true));
	channel = lookup(&kernel);
	for (unsigned i = 0; i < 3 * DISPATCH_KILLS_PER_LIFE - 1; i++) {
		die_and_restart(false);
		cr_assert_eq(fake_backend_gets(&rig.backend, FUSE_LOOKUP), channel);
	}
	die_and_restart(false);
	cr_expect(fake_kernel_gets_error(&rig.kernel, kernel, EIO));
}

Test(dispatch_redo, a_full_channel_is_tried_again)
{
	static uint8_t body[sizeof(struct fuse_write_in) + RELAY_MAX_DATA];
	const int size = 36000; /* which the kernel doubles */
	struct fake_packet packet;
	unsigned got;

	cr_assert(rig_serve(&rig, true));
	for (unsigned i = 0; i < RIG_LARGE; i++) {
		cr_assert_neq(fake_kernel_request(&rig.kernel, FUSE_WRITE, body, sizeof(body)), 0);
		cr_assert(fake_backend_receive(&rig.backend, &packet));
	}
	cr_assert(rig_backend_die(&rig, false));
	cr_assert(rig_backend_begin(&rig));
	cr_assert(rig_backend_ready(&rig, true));
	/* Room for one such packet at a time. */
	cr_assert_eq(setsockopt(rig.backend.channel, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)), 0);
	for (got = 0; got < RIG_LARGE && dispatch_redo(&rig.dispatch, 3, false) == -EAGAIN; got++)
		cr_assert(fake_backend_receive(&rig.backend, &packet));
	cr_assert_eq(dispatch_redo(&rig.dispatch, 3, false), 0);
	for (; got < RIG_LARGE; got++)
		cr_assert(fake_backend_receive(&rig.backend, &packet));
	cr_expect(fake_backend_quiet(&rig.backend));
}

Test(dispatch_redo, a_backend_that_takes_nothing_holds_up_nobody_else)
{
	static uint8_t body[sizeof(struct fuse_write_in) + RELAY_MAX_DATA];
	const int size = 36000;

	cr_assert(rig_serve(&rig, true));
	cr_assert_eq(setsockopt(rig.backend.channel, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)), 0);
	for (unsigned i = 0; i < 2; i++)
		cr_assert_neq(fake_kernel_request(&rig.kernel, FUSE_WRITE, body, sizeof(body)), 0);
	/* The second one is being sent. */
	cr_assert(rig_inflight(&rig, 2));
	dispatch_sweep(&rig.dispatch);
	dispatch_gate_shut(&rig.dispatch);
	dispatch_sweep(&rig.dispatch);
	shutdown(rig.backend.channel, SHUT_RDWR);
	die_and_restart(false);
	for (unsigned i = 0; i < 2; i++)
		cr_expect_neq(fake_backend_gets(&rig.backend, FUSE_WRITE), 0);
}

Test(dispatch_redo, a_dying_backend_that_takes_nothing_is_survived)
{
	uint64_t kernel, channel;
	bool waited;

	cr_assert(rig_serve(&rig, true));
	channel = lookup(&kernel);
	cr_assert(rig_backend_die(&rig, false));
	cr_assert(rig_backend_begin(&rig));
	cr_assert(rig_backend_ready(&rig, true));
	fake_backend_end(&rig.backend);
	cr_expect_eq(dispatch_redo(&rig.dispatch, 3, false), 0);
	cr_assert_eq(dispatch_gate_open(&rig.dispatch, &waited), 0);
	cr_assert(rig_backend_die(&rig, false));
	cr_assert(rig_serve_next(&rig, true));
	cr_expect_eq(fake_backend_gets(&rig.backend, FUSE_LOOKUP), channel);
}

Test(dispatch_redo, nobody_waits_for_a_channel_that_was_filled_before_init)
{
	static const char packet[1000];

	cr_assert(rig_kernel_init(&rig));
	cr_assert_eq(fake_backend_init(&rig.backend), 0);
	while (send(rig.backend.channel, packet, sizeof(packet), MSG_DONTWAIT) > 0)
		;
	cr_expect_eq(dispatch_channel_begin(&rig.dispatch, rig.backend.channel, 1), -EAGAIN);
	close(rig.backend.channel);
	fake_backend_end(&rig.backend);
}

Test(dispatch_redo, a_dying_caller_is_let_go_and_nobody_else)
{
	uint64_t dying;

	cr_assert(rig_serve(&rig, true));
	stuck_begin();
	rig.kernel.pid = (uint32_t)stuck.pid;
	lookup(&dying);
	fake_kernel_minimal(&rig.kernel, FUSE_RELEASE);
	cr_assert_neq(fake_backend_gets(&rig.backend, FUSE_RELEASE), 0);
	rig.kernel.pid = (uint32_t)getpid();
	fake_kernel_lookup(&rig.kernel, "y");
	cr_assert_neq(fake_backend_gets(&rig.backend, FUSE_LOOKUP), 0);
	cr_assert(rig_backend_die(&rig, false));
	dispatch_sweep(&rig.dispatch);
	cr_expect(fake_kernel_quiet(&rig.kernel), "nobody is dying yet");
	kill(stuck.pid, SIGKILL);
	dispatch_sweep(&rig.dispatch);
	cr_expect(fake_kernel_gets_error(&rig.kernel, dying, EINTR));
	dispatch_sweep(&rig.dispatch);
	cr_expect(fake_kernel_quiet(&rig.kernel), "once");
	cr_expect_eq(dispatch_inflight(&rig.dispatch), 3, "its slot waits for the rollback");
	cr_expect_eq(atomic_load(&rig.stats.abandoned), 1);
	stuck_end();
	cr_assert(rig_serve_next(&rig, true));
	cr_expect_eq(dispatch_inflight(&rig.dispatch), 2);
	cr_expect_neq(fake_backend_gets(&rig.backend, FUSE_RELEASE), 0);
	cr_expect_neq(fake_backend_gets(&rig.backend, FUSE_LOOKUP), 0);
	cr_expect(fake_backend_quiet(&rig.backend));
}
