/*
 * What a dead backend had read goes back to the kernel, and is found to its slot when it
 * comes again, in whatever company.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "lib/direct_play.h"
#include "lib/stuck.h"
#include "slots.h"

static struct dispatch_rig rig;

static void setup(void)
{
	cr_assert_eq(rig_init(&rig), 0);
	cr_assert(direct_serve(&rig));
}

static void teardown(void)
{
	stuck_end();
	rig_deinit(&rig);
}

TestSuite(dispatch_resend, .init = setup, .fini = teardown, .timeout = 60);

/* A LOOKUP that the backend has begun with. */
static struct direct_request lookup_applying(uint32_t slot, const char *name)
{
	struct direct_request request;

	cr_assert_neq(fake_kernel_lookup(&rig.kernel, name), 0);
	cr_assert(direct_read(&rig, slot, &request));
	direct_state(&rig, &request, RELAY_SLOT_APPLYING);
	return request;
}

static struct relay_slot *slot_at(uint32_t slot)
{
	return relay_slot_at(&rig.journal.map, slot);
}

static void die(void)
{
	cr_assert(rig_backend_die(&rig, false));
	cr_assert(direct_kernel_gets_resend(&rig));
	cr_expect_not(fcntl(rig.kernel.device, F_GETFL) & O_NONBLOCK);
}

static void begin_and_go(void)
{
	cr_assert(direct_begin_next(&rig));
	cr_assert(direct_go(&rig));
	cr_expect_not(fcntl(rig.kernel.device, F_GETFL) & O_NONBLOCK);
}

static void forget_send(void)
{
	const struct fuse_forget_in in = {.nlookup = 1};

	cr_assert_neq(fake_kernel_request(&rig.kernel, FUSE_FORGET, &in, sizeof(in)), 0);
}

static void interrupt_send(uint64_t unique)
{
	struct {
		struct fuse_in_header header;
		struct fuse_interrupt_in in;
	} packet = {
		.header = {.len = sizeof(packet), .opcode = FUSE_INTERRUPT, .unique = unique | 1},
		.in = {.unique = unique},
	};

	cr_assert(fake_kernel_send(&rig.kernel, &packet, sizeof(packet)));
}

/* The given LOOKUP is that one, which is answered. */
static void answered(const struct direct_request *request, uint64_t channel)
{
	cr_assert_neq(channel, 0);
	cr_expect_eq(slot_at(relay_unique_slot(channel))->unique, request->unique | FUSE_UNIQUE_RESEND);
	fake_backend_reply(&rig.backend, channel, ENOENT, NULL, 0);
	cr_expect(fake_kernel_gets_error(&rig.kernel, request->unique | FUSE_UNIQUE_RESEND, ENOENT));
}

Test(dispatch_resend, it_comes_again_and_is_given_from_its_slot)
{
	struct direct_request request = lookup_applying(1, "a");
	uint64_t channel;

	die();
	direct_kernel_resends(&rig, &request);
	begin_and_go();
	channel = direct_gets(&rig, FUSE_LOOKUP);
	cr_expect_eq(relay_unique_slot(channel), 1);
	cr_expect_eq(atomic_load(&slot_at(1)->state), RELAY_SLOT_APPLYING);
	cr_expect(direct_gets_message(&rig, RELAY_GO));
	answered(&request, channel);
}

Test(dispatch_resend, the_order_does_not_matter)
{
	struct direct_request a = lookup_applying(0, "a"), b = lookup_applying(1, "b"), c = lookup_applying(2, "c");
	uint64_t channel[3];

	die();
	interrupt_send(b.unique);
	direct_kernel_resends(&rig, &c);
	forget_send();
	direct_kernel_resends(&rig, &b);
	interrupt_send(c.unique | FUSE_UNIQUE_RESEND);
	direct_kernel_resends(&rig, &a);
	begin_and_go();
	/* The first slots were looked at last. */
	for (unsigned i = 0; i < 3; i++) {
		channel[i] = direct_gets(&rig, FUSE_LOOKUP);
		cr_assert_neq(channel[i], 0);
		cr_expect_eq(relay_unique_slot(channel[i]), 2 - i);
		if (i < 2)
			cr_expect_eq(fake_backend_gets(&rig.backend, FUSE_INTERRUPT), channel[i] | 1);
	}
	cr_expect_neq(direct_gets(&rig, FUSE_FORGET), 0);
	cr_expect(direct_gets_message(&rig, RELAY_GO));
	answered(&c, channel[0]);
	answered(&b, channel[1]);
	answered(&a, channel[2]);
}

Test(dispatch_resend, new_requests_are_left_to_the_backend)
{
	struct direct_request request = lookup_applying(0, "a"), fresh;

	die();
	direct_kernel_resends(&rig, &request);
	fake_kernel_lookup(&rig.kernel, "new");
	begin_and_go();
	cr_expect_neq(direct_gets(&rig, FUSE_LOOKUP), 0);
	cr_expect(direct_gets_message(&rig, RELAY_GO));
	cr_expect(direct_read(&rig, 3, &fresh));
	cr_expect_eq(fresh.unique, rig.kernel.unique);
}

Test(dispatch_resend, one_whose_caller_was_killed_does_not_come)
{
	struct direct_request request;
	uint64_t fresh, channel;

	lookup_applying(0, "a");
	request = lookup_applying(1, "b");

	die();
	direct_kernel_resends(&rig, &request);
	fresh = fake_kernel_lookup(&rig.kernel, "new");
	begin_and_go();
	cr_expect_eq(relay_unique_slot(direct_gets(&rig, FUSE_LOOKUP)), 1);
	/* It told that no more come again. */
	channel = direct_gets(&rig, FUSE_LOOKUP);
	cr_assert_neq(channel, 0);
	cr_expect_eq(slot_at(relay_unique_slot(channel))->unique, fresh);
	cr_expect_eq(atomic_load(&slot_at(0)->state), RELAY_SLOT_FREE);
	cr_expect(direct_gets_message(&rig, RELAY_GO));
	cr_expect_eq(dispatch_inflight(&rig.dispatch), 2);
}

Test(dispatch_resend, when_none_comes_all_were_killed)
{
	lookup_applying(0, "a");
	lookup_applying(1, "b");
	die();
	cr_expect_eq(dispatch_inflight(&rig.dispatch), 2, "until the rollback");
	begin_and_go();
	cr_expect(direct_gets_message(&rig, RELAY_GO));
	cr_expect_eq(dispatch_inflight(&rig.dispatch), 0);
}

Test(dispatch_resend, the_kernels_copy_is_the_one_that_is_given)
{
	struct direct_request request = lookup_applying(1, "a");

	die();
	((char *)journal_request(&rig.journal, 1))[sizeof(struct fuse_in_header)] = 'b';
	direct_kernel_resends(&rig, &request);
	begin_and_go();
	cr_expect_eq(((char *)journal_request(&rig.journal, 1))[sizeof(struct fuse_in_header)], 'a');
}

Test(dispatch_resend, a_slot_that_lies_about_its_unique_is_given_up)
{
	struct direct_request request = lookup_applying(1, "a");
	struct fuse_in_header *header = journal_request(&rig.journal, 1);
	uint64_t channel;

	header->opcode = FUSE_UNLINK;
	die();
	direct_kernel_resends(&rig, &request);
	begin_and_go();
	channel = direct_gets(&rig, FUSE_LOOKUP);
	cr_expect_neq(relay_unique_slot(channel), 1, "it is as new");
	cr_expect_eq(atomic_load(&slot_at(relay_unique_slot(channel))->state), RELAY_SLOT_TAKEN);
	answered(&request, channel);
	cr_assert(rig_inflight(&rig, 0));
}

Test(dispatch_resend, forgets_do_not_come_again_and_wait)
{
	struct direct_request forget;

	forget_send();
	cr_assert(direct_read(&rig, 0, &forget));
	die();
	begin_and_go();
	cr_expect_eq(relay_unique_slot(direct_gets(&rig, FUSE_FORGET)), 0);
	cr_expect(direct_gets_message(&rig, RELAY_GO));
}

Test(dispatch_resend, a_second_death_at_each_step_loses_nothing)
{
	struct direct_request request = lookup_applying(0, "a");
	uint64_t channel;

	die();
	cr_assert(rig_backend_begin(&rig));
	die();
	cr_assert(direct_begin_next(&rig));
	die();
	direct_kernel_resends(&rig, &request);
	cr_assert(direct_begin_next(&rig));
	cr_assert_eq(dispatch_redo(&rig.dispatch, 3, false), 0);
	cr_assert_neq(direct_gets(&rig, FUSE_LOOKUP), 0);
	die();
	direct_kernel_resends(&rig, &request);
	begin_and_go();
	channel = direct_gets(&rig, FUSE_LOOKUP);
	cr_expect(direct_gets_message(&rig, RELAY_GO));
	fake_backend_store(&rig.backend, channel, EPERM);
	cr_assert(rig_backend_die(&rig, false));
	cr_expect(fake_kernel_gets_error(&rig.kernel, request.unique | FUSE_UNIQUE_RESEND, EPERM));
	cr_expect(direct_kernel_gets_resend(&rig));
	cr_expect_eq(dispatch_inflight(&rig.dispatch), 0);
}

Test(dispatch_resend, what_nobody_has_seen_is_the_kernels_alone)
{
	struct direct_request request = lookup_applying(0, "a");
	uint64_t fresh;

	/* The one that ends the drain is read, and its backend dies before it is sent. */
	die();
	fresh = fake_kernel_lookup(&rig.kernel, "new");
	cr_assert(direct_begin_next(&rig));
	fake_backend_end(&rig.backend);
	dispatch_drain(&rig.dispatch);
	cr_expect_eq(dispatch_inflight(&rig.dispatch), 1);
	die();
	cr_expect_eq(dispatch_inflight(&rig.dispatch), 0);
	cr_expect_neq(fresh, request.unique);
}

Test(dispatch_resend, a_full_journal_waits_for_slots)
{
	struct direct_request requests[RIG_LARGE];
	uint64_t channel;
	bool waited;

	for (unsigned i = 0; i < RIG_LARGE - 1; i++)
		requests[i] = lookup_applying(i, "a");
	die();
	forget_send();
	forget_send();
	direct_kernel_resends(&rig, &requests[0]);
	cr_assert(direct_begin_next(&rig));
	/* There is a slot for one of the FORGETs. */
	cr_expect_eq(dispatch_redo(&rig.dispatch, 3, false), 1);
	channel = direct_gets(&rig, FUSE_FORGET);
	cr_assert_neq(channel, 0);
	cr_expect(fake_backend_quiet(&rig.backend));
	atomic_store(&rig.dispatch.watched, true);
	fake_backend_reply(&rig.backend, channel, 0, NULL, 0);
	cr_assert(rig_wait(&rig, DISPATCH_PROGRESS));
	cr_expect_eq(dispatch_redo(&rig.dispatch, 3, false), 0);
	cr_expect_neq(direct_gets(&rig, FUSE_LOOKUP), 0);
	cr_expect_neq(direct_gets(&rig, FUSE_FORGET), 0);
	cr_expect_eq(dispatch_gate_open(&rig.dispatch, &waited), 0);
	cr_expect(waited);
	cr_expect(direct_gets_message(&rig, RELAY_GO));
}

Test(dispatch_resend, without_a_slot_to_read_into_all_wait_in_the_journal)
{
	for (unsigned i = 0; i < RIG_LARGE; i++)
		lookup_applying(i, "a");
	cr_assert(rig_backend_die(&rig, false));
	cr_expect(fake_kernel_quiet(&rig.kernel), "none is taken back");
	begin_and_go();
	for (unsigned i = 0; i < RIG_LARGE; i++)
		cr_expect_neq(direct_gets(&rig, FUSE_LOOKUP), 0);
	cr_expect(direct_gets_message(&rig, RELAY_GO));
}

Test(dispatch_resend, a_caller_that_was_dying_before_is_answered_first)
{
	struct direct_request request;

	stuck_begin();
	rig.kernel.pid = (uint32_t)stuck.pid;
	request = lookup_applying(0, "a");
	kill(stuck.pid, SIGKILL);
	cr_assert(rig_backend_die(&rig, false));
	cr_expect(fake_kernel_gets_error(&rig.kernel, request.unique, EINTR));
	cr_expect(direct_kernel_gets_resend(&rig));
	begin_and_go();
	cr_expect(direct_gets_message(&rig, RELAY_GO));
	cr_expect_eq(dispatch_inflight(&rig.dispatch), 0);
}

Test(dispatch_resend, a_caller_that_was_killed_a_moment_too_early_is_found)
{
	struct direct_request other = lookup_applying(0, "b"), request;

	stuck_begin();
	rig.kernel.pid = (uint32_t)stuck.pid;
	request = lookup_applying(1, "a");
	die();
	dispatch_sweep(&rig.dispatch);
	cr_expect(fake_kernel_quiet(&rig.kernel));
	kill(stuck.pid, SIGKILL);
	direct_kernel_resends(&rig, &other);
	direct_kernel_resends(&rig, &request);
	dispatch_sweep(&rig.dispatch);
	cr_expect(fake_kernel_gets_error(&rig.kernel, request.unique | FUSE_UNIQUE_RESEND, EINTR));
	cr_expect(direct_kernel_gets_resend(&rig), "the other one is given back");
	dispatch_sweep(&rig.dispatch);
	cr_expect(fake_kernel_quiet(&rig.kernel), "once");
	direct_kernel_resends(&rig, &other);
	begin_and_go();
	cr_expect_eq(relay_unique_slot(direct_gets(&rig, FUSE_LOOKUP)), 0);
	cr_expect(direct_gets_message(&rig, RELAY_GO));
	cr_expect_eq(dispatch_inflight(&rig.dispatch), 1);
}

/* ---- somebody who wants relayd to wait ------------------------------------------ */

static _Atomic bool clearing;

static void *flag_clear(void *arg)
{
	while (atomic_load(&clearing))
		fcntl(rig.kernel.device, F_SETFL, 0);
	return arg;
}

Test(dispatch_resend, a_read_that_waits_nevertheless_is_interrupted)
{
	struct direct_request request = lookup_applying(0, "a");
	pthread_t thread;

	die();
	cr_assert(direct_begin_next(&rig));
	atomic_store(&clearing, true);
	cr_assert_eq(pthread_create(&thread, NULL, flag_clear, NULL), 0);
	/* Nothing comes: each of these would wait for ever. */
	for (unsigned i = 0; i < 20; i++)
		dispatch_drain_all(&rig.dispatch);
	atomic_store(&clearing, false);
	pthread_join(thread, NULL);
	cr_assert(direct_kernel_resends(&rig, &request));
	cr_assert(direct_go(&rig));
	cr_expect_neq(direct_gets(&rig, FUSE_LOOKUP), 0);
}
