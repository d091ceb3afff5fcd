/*
 * The lane `uring` from relayd's side: what becomes of an entry of the rings when the backend
 * that had claimed it is dead, and where a reply goes.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "lib/direct_play.h"
#include "lib/rings_play.h"
#include "lib/stuck.h"

static struct dispatch_rig rig;
static struct rings rings;

static void setup(void)
{
	cr_assert_eq(rig_init(&rig), 0);
	cr_assert_eq(rings_play_init(&rig, &rings), 0);
}

static void teardown(void)
{
	stuck_end();
	rig_deinit(&rig);
	rings_play_deinit(&rings);
}

TestSuite(dispatch_rings, .init = setup, .fini = teardown, .timeout = 60);

static bool is_offered(uint64_t kernel)
{
	rig.dispatch.direct.wanted = true;
	cr_assert_eq(dispatch_start(&rig.dispatch), 0);
	cr_assert_neq(fake_kernel_init_request(&rig.kernel, kernel), 0);
	cr_assert(rig_wait(&rig, DISPATCH_KERNEL_INIT));
	cr_assert(direct_begin_next(&rig));
	return dispatch_is_uring(&rig.dispatch);
}

/* ---- which lane ------------------------------------------------------------------ */

Test(dispatch_rings, the_kernel_is_told_where_all_can)
{
	cr_expect(is_offered(FUSE_OVER_IO_URING));
	cr_expect_eq(rig.backend.queues, RINGS_QUEUES);
	cr_expect(rig.session.answer.flags2 & FUSE_OVER_IO_URING >> 32);
}

Test(dispatch_rings, a_kernel_that_does_not_offer_it_is_not_told)
{
	cr_expect_not(is_offered(0));
	cr_expect_eq(rig.backend.queues, 0);
	cr_expect_not(rig.session.answer.flags2 & FUSE_OVER_IO_URING >> 32);
}

Test(dispatch_rings, without_a_keeper_the_kernel_is_not_told)
{
	rings_end(&rings);
	cr_expect_not(is_offered(FUSE_OVER_IO_URING));
}

Test(dispatch_rings, a_backend_that_cannot_is_not_given_them)
{
	rig.dispatch.direct.wanted = true;
	cr_assert_eq(dispatch_start(&rig.dispatch), 0);
	cr_assert_neq(fake_kernel_init_request(&rig.kernel, FUSE_OVER_IO_URING), 0);
	cr_assert(rig_wait(&rig, DISPATCH_KERNEL_INIT));
	cr_assert(rig_backend_begin(&rig));
	rig.backend.serves_rings = false;
	cr_assert(rig_backend_ready(&rig, true));
	cr_expect_not(dispatch_is_uring(&rig.dispatch));
}

Test(dispatch_rings, a_later_backend_that_cannot_is_refused)
{
	struct fake_packet packet;

	cr_assert(rings_play_serve(&rig));
	cr_assert(rig_backend_die(&rig, false));
	cr_assert(rig_backend_begin(&rig));
	rig.backend.serves_rings = false;
	cr_expect_not(fake_backend_hello(&rig.backend));
	cr_expect_not(fake_backend_receive(&rig.backend, &packet), "its channel has ended");
}

/* ---- a dead backend's entries -------------------------------------------------------- */

Test(dispatch_rings, what_was_claimed_and_not_copied_is_anybodys_again)
{
	cr_assert(rings_play_serve(&rig));
	rings_play_lookup(&rings, 1, 42, 0);
	cr_assert(relay_ring_claim(&rings.map, 1));
	cr_assert(rig_backend_die(&rig, false));
	cr_expect_eq(rings_play_state(&rings, 1), RELAY_RING_REQUEST);
	cr_expect_eq(dispatch_inflight(&rig.dispatch), 0);
}

Test(dispatch_rings, what_was_copied_is_given_to_the_next_and_answered_in_its_entry)
{
	uint64_t unique;

	cr_assert(rings_play_serve(&rig));
	rings_play_lookup(&rings, RELAY_RING_DEPTH + 2, 44, 0);
	rings_play_take(&rig, RELAY_RING_DEPTH + 2, 0, RELAY_SLOT_READING);
	cr_assert(rig_backend_die(&rig, false));
	cr_expect_eq(rings_play_state(&rings, RELAY_RING_DEPTH + 2), RELAY_RING_TAKEN);
	cr_assert(direct_begin_next(&rig));
	cr_assert(direct_go(&rig));
	unique = direct_gets(&rig, FUSE_LOOKUP);
	cr_assert_neq(unique, 0);
	rings_play_kicks();
	cr_assert(fake_backend_reply(&rig.backend, unique, ENOENT, NULL, 0));
	cr_assert(rig_inflight(&rig, 0));
	cr_expect_eq(rings_play_state(&rings, RELAY_RING_DEPTH + 2), RELAY_RING_ANSWERED);
	cr_expect_eq(rings_play_error(&rings, RELAY_RING_DEPTH + 2), ENOENT);
	cr_expect_eq(rings_play_kicks(), 1);
	cr_expect(fake_kernel_quiet(&rig.kernel), "nothing goes by /dev/fuse, nor is anything to come again");
}

Test(dispatch_rings, a_stored_reply_goes_to_its_entry)
{
	struct direct_request request = {.unique = 46, .slot = 1};

	cr_assert(rings_play_serve(&rig));
	rings_play_lookup(&rings, 3, 46, 0);
	rings_play_take(&rig, 3, 1, RELAY_SLOT_TAKEN);
	direct_store(&rig, &request, EACCES);
	cr_assert(rig_backend_die(&rig, false));
	cr_expect_eq(rings_play_state(&rings, 3), RELAY_RING_ANSWERED);
	cr_expect_eq(rings_play_error(&rings, 3), EACCES);
	cr_expect_eq(dispatch_inflight(&rig.dispatch), 0);
}

Test(dispatch_rings, what_was_answered_is_not_answered_again_but_kicked_for)
{
	struct direct_request request = {.unique = 48, .slot = 1};
	const struct fuse_out_header out = {.len = sizeof(out), .error = -EPERM, .unique = 48};

	cr_assert(rings_play_serve(&rig));
	rings_play_lookup(&rings, 3, 48, 0);
	rings_play_take(&rig, 3, 1, RELAY_SLOT_TAKEN);
	direct_store(&rig, &request, EACCES);
	/* It dies before the kick. */
	relay_ring_answer(&rings.map, 3, &out, NULL);
	rings_play_kicks();
	cr_assert(rig_backend_die(&rig, false));
	cr_expect_eq(rings_play_error(&rings, 3), EPERM);
	cr_expect_geq(rings_play_kicks(), 1);
	cr_expect_eq(dispatch_inflight(&rig.dispatch), 0);
}

Test(dispatch_rings, a_keeper_that_does_not_listen_holds_nobody_up)
{
	cr_assert(rings_play_serve(&rig));
	for (unsigned i = 0; i < 10000; i++)
		rings_kick(&rings);
	cr_expect_geq(rings_play_kicks(), 1);
}

Test(dispatch_rings, nobody_is_counted_who_died_asleep)
{
	cr_assert(rings_play_serve(&rig));
	atomic_store(&relay_ring_queue(&rings.map, 1)->waiters, 7);
	cr_assert(rig_backend_die(&rig, false));
	cr_expect_eq(atomic_load(&relay_ring_queue(&rings.map, 1)->waiters), 0);
}

/* ---- callers ---------------------------------------------------------------------------- */

Test(dispatch_rings, a_caller_that_dies_is_let_go)
{
	cr_assert(rings_play_serve(&rig));
	cr_assert(rig_backend_die(&rig, false));
	stuck_begin();
	rings_play_lookup(&rings, 5, 50, (uint32_t)stuck.pid);
	rings_play_lookup(&rings, 6, 52, 0);
	dispatch_sweep(&rig.dispatch);
	cr_expect_eq(rings_play_state(&rings, 5), RELAY_RING_REQUEST);
	kill(stuck.pid, SIGKILL);
	dispatch_sweep(&rig.dispatch);
	cr_expect_eq(rings_play_state(&rings, 5), RELAY_RING_ANSWERED);
	cr_expect_eq(rings_play_error(&rings, 5), EINTR);
	cr_expect_eq(rings_play_state(&rings, 6), RELAY_RING_REQUEST);
}

Test(dispatch_rings, so_is_one_whose_request_was_copied)
{
	cr_assert(rings_play_serve(&rig));
	stuck_begin();
	rings_play_lookup(&rings, 5, 54, (uint32_t)stuck.pid);
	rings_play_take(&rig, 5, 0, RELAY_SLOT_TAKEN);
	cr_assert(rig_backend_die(&rig, false));
	kill(stuck.pid, SIGKILL);
	dispatch_sweep(&rig.dispatch);
	cr_expect_eq(rings_play_error(&rings, 5), EINTR);
	cr_expect_eq(rings_play_state(&rings, 5), RELAY_RING_ANSWERED);
}

Test(dispatch_rings, a_backend_that_waits_for_itself_is_answered)
{
	cr_assert(rings_play_serve(&rig));
	rings_play_lookup(&rings, 5, 56, (uint32_t)getpid());
	fake_backend_end(&rig.backend);
	cr_assert(rig_wait(&rig, DISPATCH_DRAINED));
	dispatch_gate_shut(&rig.dispatch);
	cr_expect(dispatch_look(&rig.dispatch), "there is something that it would have to answer");
	rig.dispatch.gone = getpid();
	dispatch_salvage(&rig.dispatch);
	dispatch_sweep(&rig.dispatch);
	cr_expect_eq(rings_play_error(&rings, 5), EINTR);
	dispatch_channel_end(&rig.dispatch, false);
	close(rig.backend.channel);
	rig.backend.channel = -1;
}

Test(dispatch_rings, what_nobody_serves_in_time_fails)
{
	cr_assert(rings_play_serve(&rig));
	cr_assert(rig_backend_die(&rig, false));
	rings_play_lookup(&rings, 5, 58, 0);
	rings_play_lookup(&rings, RELAY_RING_DEPTH, 60, 0);
	dispatch_fail_begin(&rig.dispatch);
	cr_expect_eq(rings_play_state(&rings, 5), RELAY_RING_ANSWERED);
	cr_expect_eq(rings_play_error(&rings, 5), ENOTCONN);
	cr_expect_eq(rings_play_error(&rings, RELAY_RING_DEPTH), ENOTCONN);
	dispatch_fail_end(&rig.dispatch);
}

Test(dispatch_rings, an_interrupt_that_was_heard_before_the_copy_is_not_lost)
{
	cr_assert(rings_play_serve(&rig));
	rings_play_lookup(&rings, 5, 62, 0);
	atomic_store(relay_ring_interrupted(&rings.map, 5), 62);
	rings_play_take(&rig, 5, 0, RELAY_SLOT_READING);
	rings_play_lookup(&rings, 6, 64, 0);
	atomic_store(relay_ring_interrupted(&rings.map, 6), 62);
	rings_play_take(&rig, 6, 1, RELAY_SLOT_READING);
	cr_assert(rig_backend_die(&rig, false));
	cr_expect(atomic_load(&rig.dispatch.inflight[0].interrupted));
	cr_expect_not(atomic_load(&rig.dispatch.inflight[1].interrupted), "another request's");
}
