/*
 * How long the next backend has to wait.
 */
#include <criterion/criterion.h>

#include "backoff.h"

Test(backoff, after_a_healthy_life_there_is_no_delay)
{
	struct backoff backoff = {0};

	for (unsigned i = 0; i < 10; i++)
		cr_expect_eq(backoff_delay(&backoff, true), 0);
}

Test(backoff, it_grows_to_its_bound_and_never_shrinks)
{
	struct backoff backoff = {0};
	uint32_t before, delay = backoff_delay(&backoff, false);

	cr_expect_eq(delay, 0, "the first one may have been an accident");
	for (unsigned i = 0; i < 40; i++) {
		before = delay;
		delay = backoff_delay(&backoff, false);
		cr_expect_geq(delay, before);
		cr_expect_leq(delay, 2 * before + BACKOFF_FIRST_MS);
		cr_expect_leq(delay, BACKOFF_LAST_MS);
	}
	cr_expect_eq(delay, BACKOFF_LAST_MS);
}

Test(backoff, a_healthy_life_ends_it)
{
	struct backoff backoff = {0};

	for (unsigned i = 0; i < 20; i++)
		backoff_delay(&backoff, false);
	cr_expect_eq(backoff_delay(&backoff, true), 0);
	cr_expect_eq(backoff_delay(&backoff, false), 0);
	cr_expect_eq(backoff_delay(&backoff, false), BACKOFF_FIRST_MS);
}
