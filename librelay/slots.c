/*
 * Freeing slots, and waiting for a free one, in memory that several processes share.
 *
 * The futex is the journal's `freed`, which is only ever counted up, and nobody touches it
 * while nobody starves: a slot is then freed by two stores.  A process dying while it
 * starves leaves `starving` too high, and frees cost a system call until the next
 * incarnation has put it right (handshake.c).
 */
#include "slots.h"

#include <limits.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

struct fuse_in_header *relay_slot_request(const struct relay_journal_map *map, uint32_t index)
{
	uint64_t at = relay_slot_place(map->large, map->small, index).request;

	return (struct fuse_in_header *)((uint8_t *)map->journal + at);
}

void relay_slot_free(const struct relay_journal_map *map, uint32_t index)
{
	struct fuse_in_header *header = relay_slot_request(map, index);

	/*
	 * A process dying between the two leaves a slot whose request is void: whatever its
	 * state says, it is to be freed.
	 */
	__atomic_store_n(&header->unique, 0, __ATOMIC_RELEASE);
	/* Sequentially consistent: who starves has said so before it looked, or sees this. */
	atomic_store(&relay_slot_at(map, index)->state, RELAY_SLOT_FREE);
	if (atomic_load(&map->journal->starving))
		relay_slots_wake(map);
}

void relay_slots_starve(const struct relay_journal_map *map)
{
	atomic_fetch_add(&map->journal->starving, 1);
}

uint32_t relay_slots_ticket(const struct relay_journal_map *map)
{
	return atomic_load(&map->journal->freed);
}

void relay_slots_wait(const struct relay_journal_map *map, uint32_t ticket)
{
	syscall(SYS_futex, &map->journal->freed, FUTEX_WAIT, ticket, NULL, NULL, 0);
}

void relay_slots_sated(const struct relay_journal_map *map)
{
	atomic_fetch_sub(&map->journal->starving, 1);
}

void relay_slots_wake(const struct relay_journal_map *map)
{
	atomic_fetch_add(&map->journal->freed, 1);
	syscall(SYS_futex, &map->journal->freed, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}
