/*
 * What a backend has held for how long, from look to look, and whom that counts against.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "lib/direct_play.h"
#include "slots.h"

#define MS 1000000ull
#define LIMIT (1000 * MS)

static struct dispatch_rig rig;
static struct watch_hang hang;
static uint64_t next, now = 5000 * MS;

static void setup(void)
{
	cr_assert_eq(rig_init(&rig), 0);
	rig.dispatch.watch.limit_ns = LIMIT;
}

static void teardown(void)
{
	rig_deinit(&rig);
}

TestSuite(watch, .init = setup, .fini = teardown, .timeout = 60);

/* A look so much later. */
static bool look(uint64_t ms)
{
	now += ms * MS;
	return watch_look(&rig.dispatch, now, &hang, &next);
}

static uint64_t lookup_given(const char *name)
{
	uint64_t unique = fake_kernel_lookup(&rig.kernel, name);

	cr_assert_neq(fake_backend_gets(&rig.backend, FUSE_LOOKUP), 0);
	return unique;
}

Test(watch, nothing_is_held_and_nothing_is_to_come)
{
	cr_assert(rig_serve(&rig, false));
	cr_expect_not(look(0));
	cr_expect_not(look(1000));
	cr_expect_not(look(1000));
	cr_expect_eq(next, UINT64_MAX);
}

Test(watch, what_is_answered_in_time_is_not_held)
{
	uint64_t channel;

	cr_assert(rig_serve(&rig, false));
	for (unsigned i = 0; i < 5; i++) {
		cr_assert_neq(fake_kernel_lookup(&rig.kernel, "x"), 0);
		channel = fake_backend_gets(&rig.backend, FUSE_LOOKUP);
		cr_expect_not(look(600));
		cr_expect_eq(next, LIMIT);
		fake_backend_reply(&rig.backend, channel, ENOENT, NULL, 0);
		cr_assert(rig_inflight(&rig, 0));
	}
}

Test(watch, it_counts_from_the_first_look_and_the_oldest_is_blamed)
{
	uint64_t first;

	cr_assert(rig_serve(&rig, false));
	first = lookup_given("a");
	lookup_given("b");
	cr_expect_not(look(0));
	cr_expect_not(look(999));
	cr_expect_eq(next, 1 * MS);
	cr_expect(look(1));
	cr_expect_eq(hang.opcode, FUSE_LOOKUP);
	cr_expect_eq(hang.unique, first);
	cr_expect_eq(hang.nodeid, FUSE_ROOT_ID);
	cr_expect_eq(hang.held_ns, LIMIT);
	cr_expect_eq(hang.others, 1);
	/* It is told once. */
	cr_expect_not(look(1));
}

Test(watch, a_time_in_which_nobody_looked_does_not_count)
{
	cr_assert(rig_serve(&rig, false));
	rig.dispatch.watch.limit_ns = 10 * LIMIT;
	lookup_given("a");
	cr_expect_not(look(0));
	cr_expect_not(look(3600 * 1000));
	cr_expect_eq(next, 8 * LIMIT);
}

Test(watch, what_may_wait_has_no_deadline)
{
	cr_assert(rig_serve(&rig, false));
	cr_assert_neq(fake_kernel_minimal(&rig.kernel, FUSE_SETLKW), 0);
	cr_assert_neq(fake_backend_gets(&rig.backend, FUSE_SETLKW), 0);
	cr_expect_not(look(0));
	cr_expect_not(look(2000));
	cr_expect_eq(next, UINT64_MAX);
}

Test(watch, the_blamed_one_alone_is_given_up_after_so_many_lives)
{
	uint64_t hangs;

	cr_assert(rig_serve(&rig, false));
	hangs = lookup_given("hangs");
	lookup_given("innocent");
	for (unsigned life = 0; life < 3; life++) {
		cr_expect_not(look(0));
		cr_assert(look(1000));
		cr_expect_eq(hang.unique, hangs);
		cr_assert(rig_backend_die(&rig, false));
		cr_assert(rig_serve_next(&rig, false));
		if (life == 0)
			cr_expect_not(dispatch_redo_suspects(&rig.dispatch), "others need not wait for it");
	}
	cr_expect(fake_kernel_gets_error(&rig.kernel, hangs, EIO));
	cr_assert_neq(fake_backend_gets(&rig.backend, FUSE_LOOKUP), 0);
	cr_expect(fake_backend_quiet(&rig.backend));
	cr_expect_eq(dispatch_inflight(&rig.dispatch), 1);
	cr_expect_eq(rig.dispatch.inflight[1].kills, 0);
}

Test(watch, what_a_backend_has_read_by_itself_is_looked_at_too)
{
	struct direct_request request;

	cr_assert(direct_serve(&rig));
	cr_assert_neq(fake_kernel_lookup(&rig.kernel, "a"), 0);
	/* From the moment at which it is read. */
	cr_assert(direct_read(&rig, 2, &request));
	cr_expect_not(look(0));
	direct_state(&rig, &request, RELAY_SLOT_APPLYING);
	cr_expect(look(1000));
	cr_expect_eq(hang.unique, request.unique);
	cr_assert(rig_backend_die(&rig, false));
	cr_expect_eq(rig.dispatch.inflight[2].hangs, 1);
}

Test(watch, another_request_in_the_same_slot_is_another)
{
	struct direct_request request;

	cr_assert(direct_serve(&rig));
	for (unsigned i = 0; i < 3; i++) {
		cr_assert_neq(fake_kernel_lookup(&rig.kernel, "a"), 0);
		cr_assert(direct_read(&rig, 0, &request));
		cr_expect_not(look(700));
		relay_slot_free(&rig.journal.map, 0);
	}
}

Test(watch, a_backend_that_reads_nothing_hangs)
{
	cr_assert(direct_serve(&rig));
	cr_assert_neq(fake_kernel_lookup(&rig.kernel, "a"), 0);
	cr_expect_not(look(0));
	cr_expect_not(look(500));
	cr_expect(look(500));
	cr_expect_eq(hang.unique, 0);
	cr_expect_eq(rig.dispatch.watch.blamed, 0);
}

Test(watch, a_backend_that_answers_others_reads)
{
	struct relay_count *count;

	cr_assert(direct_serve(&rig));
	count = &rig.journal.map.journal->counts[FUSE_GETATTR];
	cr_assert_neq(fake_kernel_lookup(&rig.kernel, "a"), 0);
	for (unsigned i = 0; i < 5; i++) {
		cr_expect_not(look(700));
		atomic_fetch_add(&count->count, 1);
	}
}
