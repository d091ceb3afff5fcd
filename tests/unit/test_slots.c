/*
 * Freeing slots, and waiting for one across processes.
 */
#include <criterion/criterion.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include "journal.h"
#include "slots.h"

static struct journal journal;

static void setup(void)
{
	cr_assert_eq(journal_init(&journal, 2, 2), 0);
}

static void teardown(void)
{
	journal_deinit(&journal);
}

TestSuite(slots, .init = setup, .fini = teardown, .timeout = 60);

Test(slots, a_free_slot_has_no_unique)
{
	for (uint32_t slot = 0; slot < 4; slot++) {
		struct fuse_in_header *header = relay_slot_request(&journal.map, slot);

		cr_expect_eq((void *)header, journal_request(&journal, slot));
		header->unique = 7;
		atomic_store(&relay_slot_at(&journal.map, slot)->state, RELAY_SLOT_APPLIED);
		relay_slot_free(&journal.map, slot);
		cr_expect_eq(header->unique, 0);
		cr_expect_eq(atomic_load(&relay_slot_at(&journal.map, slot)->state), RELAY_SLOT_FREE);
	}
	cr_expect_eq(atomic_load(&journal.map.journal->freed), 0, "nobody waits: nobody is woken");
}

static bool slot_is_free(uint32_t slot)
{
	return atomic_load(&relay_slot_at(&journal.map, slot)->state) == RELAY_SLOT_FREE;
}

/* Waits as relay_slots_wait() says, until the slot is free. */
static void wait_for_slot(uint32_t slot)
{
	relay_slots_starve(&journal.map);
	for (;;) {
		uint32_t ticket = relay_slots_ticket(&journal.map);

		if (slot_is_free(slot))
			break;
		relay_slots_wait(&journal.map, ticket);
	}
	relay_slots_sated(&journal.map);
}

Test(slots, who_starves_sees_each_slot_that_another_process_frees)
{
	for (int round = 0; round < 200; round++) {
		int status;
		pid_t child;

		atomic_store(&relay_slot_at(&journal.map, 0)->state, RELAY_SLOT_READING);
		child = fork();
		cr_assert_geq(child, 0);
		if (child == 0) {
			wait_for_slot(0);
			_exit(0);
		}
		/* At any moment of its: half of the times it waits already. */
		while (round % 2 && !atomic_load(&journal.map.journal->starving))
			sched_yield();
		relay_slot_free(&journal.map, 1);
		relay_slot_free(&journal.map, 0);
		cr_assert_eq(waitpid(child, &status, 0), child);
		cr_assert_eq(status, 0);
		cr_assert_eq(atomic_load(&journal.map.journal->starving), 0);
	}
}

Test(slots, a_ticket_from_before_a_wake_does_not_wait)
{
	uint32_t ticket = relay_slots_ticket(&journal.map);

	relay_slots_wake(&journal.map);
	relay_slots_wait(&journal.map, ticket);
}
