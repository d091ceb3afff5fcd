/*
 * Freeing slots, and waiting for a free one: relayd and the backend that reads /dev/fuse
 * by itself both do the first, so that those who wait may be in another process.
 */
#ifndef RELAY_SLOTS_H
#define RELAY_SLOTS_H

#include "relay/wire.h"

/* The request buffer of a slot; index < large + small. */
struct fuse_in_header *relay_slot_request(const struct relay_journal_map *map, uint32_t index);

/* To FREE, from any state, and wakes those who wait for one. */
void relay_slot_free(const struct relay_journal_map *map, uint32_t index);

/*
 * Waiting, for a thread that found no slot:
 *
 *     relay_slots_starve(map);
 *     for (;;) {
 *         ticket = relay_slots_ticket(map);
 *         look again: what was freed before the ticket was had is seen here
 *         relay_slots_wait(map, ticket);
 *     }
 *     relay_slots_sated(map);
 *
 * relay_slots_wait() returns at the latest when a slot is freed, or relay_slots_wake() is
 * called, after the ticket was had; it may return for nothing.
 */
void relay_slots_starve(const struct relay_journal_map *map);
uint32_t relay_slots_ticket(const struct relay_journal_map *map);
void relay_slots_wait(const struct relay_journal_map *map, uint32_t ticket);
void relay_slots_sated(const struct relay_journal_map *map);

/* Has all who wait look again. */
void relay_slots_wake(const struct relay_journal_map *map);

#endif
