/*
 * The namespace gate: never both sides inside, nobody kept out for ever.
 */
#include <criterion/criterion.h>
#include <sched.h>
#include <stdatomic.h>

#include "namegate.h"

static struct namegate gate;

static void setup(void)
{
	namegate_init(&gate);
}

static void teardown(void)
{
	namegate_deinit(&gate);
}

TestSuite(namegate, .init = setup, .fini = teardown, .timeout = 60);

struct visitor {
	pthread_t thread;
	bool walks;
	_Atomic bool inside;
	_Atomic bool ended;
	bool let_in;
};

static void *visitor_main(void *arg)
{
	struct visitor *visitor = arg;

	visitor->let_in = visitor->walks ? namegate_walk_begin(&gate) : namegate_change_begin(&gate);
	atomic_store(&visitor->inside, visitor->let_in);
	atomic_store(&visitor->ended, true);
	return NULL;
}

/* Until the visitor waits at the gate. */
static void visitor_start(struct visitor *visitor, bool walks)
{
	const struct namegate_side *side = walks ? &gate.walks : &gate.changes;
	unsigned waiting;

	*visitor = (struct visitor){.walks = walks};
	pthread_mutex_lock(&gate.lock);
	waiting = side->waiting;
	pthread_mutex_unlock(&gate.lock);
	cr_assert_eq(pthread_create(&visitor->thread, NULL, visitor_main, visitor), 0);
	for (bool there = false; !there && !atomic_load(&visitor->ended); sched_yield()) {
		pthread_mutex_lock(&gate.lock);
		there = side->waiting > waiting;
		pthread_mutex_unlock(&gate.lock);
	}
}

static void visitor_end(struct visitor *visitor)
{
	pthread_join(visitor->thread, NULL);
	if (visitor->let_in && visitor->walks)
		namegate_walk_end(&gate);
	else if (visitor->let_in)
		namegate_change_end(&gate);
}

Test(namegate, one_side_may_be_many)
{
	cr_expect(namegate_walk_begin(&gate));
	cr_expect(namegate_walk_begin(&gate));
	cr_expect_not(namegate_change_try(&gate));
	namegate_walk_end(&gate);
	cr_expect_not(namegate_change_try(&gate));
	namegate_walk_end(&gate);
	cr_expect(namegate_change_try(&gate));
	cr_expect(namegate_change_begin(&gate));
	namegate_change_end(&gate);
	namegate_change_end(&gate);
	cr_expect(namegate_walk_begin(&gate));
	namegate_walk_end(&gate);
}

Test(namegate, who_waits_goes_before_newcomers_of_the_other_side)
{
	struct visitor change, walk;

	cr_assert(namegate_walk_begin(&gate));
	visitor_start(&change, false);
	cr_expect_not(atomic_load(&change.ended));
	visitor_start(&walk, true);
	cr_expect_not(atomic_load(&walk.ended), "a walk does not pass a change that waits");
	namegate_walk_end(&gate);
	pthread_join(change.thread, NULL);
	cr_expect(change.let_in);
	cr_expect_not(atomic_load(&walk.ended));
	cr_expect_not(namegate_change_try(&gate), "nor a change a walk");
	namegate_change_end(&gate);
	visitor_end(&walk);
	cr_expect(walk.let_in);
}

Test(namegate, those_who_wait_are_let_in_together)
{
	struct visitor walks[4], change;

	cr_assert(namegate_change_begin(&gate));
	for (unsigned i = 0; i < 4; i++)
		visitor_start(&walks[i], true);
	visitor_start(&change, false);
	namegate_change_end(&gate);
	/* All four are inside before one of them leaves. */
	for (unsigned i = 0; i < 4; i++) {
		pthread_join(walks[i].thread, NULL);
		cr_expect(walks[i].let_in);
	}
	cr_expect_not(atomic_load(&change.ended));
	for (unsigned i = 0; i < 4; i++)
		namegate_walk_end(&gate);
	visitor_end(&change);
	cr_expect(change.let_in);
}

Test(namegate, the_end_of_the_channel_sends_all_away)
{
	struct visitor walk, change;

	cr_assert(namegate_change_begin(&gate));
	visitor_start(&walk, true);
	visitor_start(&change, false);
	namegate_shut(&gate);
	namegate_open(&gate); /* at once: who waited is not let in all the same */
	pthread_join(walk.thread, NULL);
	pthread_join(change.thread, NULL);
	cr_expect_not(walk.let_in);
	cr_expect_not(change.let_in);
	/* The change that was inside is over with the channel. */
	cr_expect(namegate_walk_begin(&gate));
	namegate_walk_end(&gate);
	namegate_shut(&gate);
	cr_expect_not(namegate_walk_begin(&gate));
	cr_expect_not(namegate_change_begin(&gate));
	cr_expect_not(namegate_change_try(&gate));
}

static _Atomic int walking, changing, both;

static void *crowd_main(void *arg)
{
	bool walks = arg != NULL;
	_Atomic int *mine = walks ? &walking : &changing, *theirs = walks ? &changing : &walking;

	for (int i = 0; i < 20000; i++) {
		if (!(walks ? namegate_walk_begin(&gate) : namegate_change_begin(&gate)))
			return NULL;
		atomic_fetch_add(mine, 1);
		if (atomic_load(theirs))
			atomic_fetch_add(&both, 1);
		atomic_fetch_sub(mine, 1);
		if (walks)
			namegate_walk_end(&gate);
		else
			namegate_change_end(&gate);
	}
	return NULL;
}

Test(namegate, a_crowd_gets_through_and_never_meets)
{
	pthread_t threads[6];

	for (unsigned i = 0; i < 6; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, crowd_main, i % 2 ? &gate : NULL), 0);
	for (unsigned i = 0; i < 6; i++)
		pthread_join(threads[i], NULL);
	cr_expect_eq(both, 0);
	cr_expect_eq(gate.walks.inside + gate.changes.inside + gate.walks.waiting + gate.changes.waiting, 0);
}
