/*
 * The journal that relayd makes, and the moves of its slots.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "journal.h"

static struct journal journal;

static void setup(void)
{
	cr_assert_eq(journal_init(&journal, 3, 5), 0);
}

static void teardown(void)
{
	journal_deinit(&journal);
}

TestSuite(journal, .init = setup, .fini = teardown, .timeout = 60);

Test(journal, it_can_be_mapped_by_a_backend_and_not_be_cut)
{
	struct relay_journal_map map;

	cr_expect_eq(journal_slots(&journal), 8);
	cr_expect_eq(fcntl(journal.fd, F_GET_SEALS) & (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL),
		     F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
	cr_expect_neq(ftruncate(journal.fd, 0), 0);
	cr_expect_neq(ftruncate(journal.fd, 1 << 30), 0);
	cr_expect(fcntl(journal.fd, F_GETFD) & FD_CLOEXEC);
	cr_assert_eq(relay_journal_map(&map, journal.fd), 0);
	cr_expect_eq(map.large, 3);
	cr_expect_eq(map.small, 5);
	for (uint32_t slot = 0; slot < 8; slot++)
		cr_expect_eq(atomic_load(&relay_slot_at(&map, slot)->state), RELAY_SLOT_FREE);
	relay_journal_unmap(&map);
}

Test(journal, every_page_is_there)
{
	struct stat st;

	cr_assert_eq(fstat(journal.fd, &st), 0);
	cr_expect_eq((uint64_t)st.st_size, journal.map.size);
	cr_expect_geq((uint64_t)st.st_blocks * 512, journal.map.size);
}

Test(journal, buffers_lie_within_it_and_apart)
{
	const char *base = (const char *)journal.map.journal;
	const char *end = base;

	for (uint32_t slot = 0; slot < journal_slots(&journal); slot++) {
		const char *request = journal_request(&journal, slot), *reply = journal_reply(&journal, slot);

		cr_expect_geq(request, end);
		cr_expect_geq(reply, request + journal_request_capacity(&journal, slot));
		end = reply + journal_reply_capacity(&journal, slot);
		cr_expect_leq(end, base + journal.map.size);
		/* The last bytes can be written. */
		memset((char *)journal_reply(&journal, slot) + journal_reply_capacity(&journal, slot) - 1, 0, 1);
	}
	cr_expect_geq(journal_request_capacity(&journal, 0), RELAY_MAX_REQUEST);
	cr_expect_geq(journal_reply_capacity(&journal, 0), RELAY_MAX_REPLY);
}

Test(journal, a_slot_says_what_has_become_of_it)
{
	struct relay_slot *slot = relay_slot_at(&journal.map, 4);

	slot->unique = 99;
	slot->pre_size = 7;
	slot->reply_size = 16;
	atomic_store(&slot->undo_count, 3);
	journal_slot_claim(&journal, 4);
	cr_expect_eq(atomic_load(&slot->state), RELAY_SLOT_READING);
	cr_expect_eq(slot->unique, 0, "nobody has seen the request whole");
	cr_expect_eq(slot->pre_size, 0);
	cr_expect_eq(slot->reply_size, 0);
	cr_expect_eq(atomic_load(&slot->undo_count), 0, "nothing of the request before is undone");
	journal_slot_publish(&journal, 4, 10, 20, FUSE_MKDIR, 50);
	cr_expect_eq(atomic_load(&slot->state), RELAY_SLOT_TAKEN);
	cr_expect_eq(slot->unique, 10);
	cr_expect_eq(slot->channel_unique, 20);
	cr_expect_eq(slot->opcode, FUSE_MKDIR);
	cr_expect_eq(slot->request_size, 50);
	journal_slot_free(&journal, 4);
	cr_expect_eq(atomic_load(&slot->state), RELAY_SLOT_FREE);
}

Test(journal, only_a_whole_reply_is_stored)
{
	struct relay_slot *slot = relay_slot_at(&journal.map, 1);
	const uint32_t capacity = journal_reply_capacity(&journal, 1);

	slot->reply_size = 16;
	for (uint32_t state = 0; state < 10; state++) {
		atomic_store(&slot->state, state);
		cr_expect_eq(journal_slot_stored(&journal, 1), state == RELAY_SLOT_APPLIED ? 16 : 0);
	}
	atomic_store(&slot->state, RELAY_SLOT_APPLIED);
	for (uint32_t size = 0; size < 16; size++) {
		slot->reply_size = size;
		cr_expect_eq(journal_slot_stored(&journal, 1), 0);
	}
	slot->reply_size = capacity;
	cr_expect_eq(journal_slot_stored(&journal, 1), capacity);
	slot->reply_size = capacity + 1;
	cr_expect_eq(journal_slot_stored(&journal, 1), 0);
	slot->reply_size = UINT32_MAX;
	cr_expect_eq(journal_slot_stored(&journal, 1), 0);
}
