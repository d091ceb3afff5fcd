/*
 * Rings without a keeper on the dispatch rig: the test plays the kernel, which puts requests
 * there, and the backend, which claims them.
 */
#ifndef TESTS_RINGS_PLAY_H
#define TESTS_RINGS_PLAY_H

#include "lib/dispatch_rig.h"

#define RINGS_QUEUES 2u
#define RINGS_ENTRIES (RINGS_QUEUES * RELAY_RING_DEPTH)

/* The memory and the eventfds.  Returns 0 or a negative errno; the rig uses them from now on. */
int rings_play_init(struct dispatch_rig *rig, struct rings *rings);
void rings_play_deinit(struct rings *rings);

/* The first backend, up to its GO. */
bool rings_play_serve(struct dispatch_rig *rig);

/* A LOOKUP in an entry. */
void rings_play_lookup(const struct rings *rings, uint32_t entry, uint64_t unique, uint32_t pid);
/* The backend has claimed it, and copied it to the slot, which it leaves in this state. */
void rings_play_take(struct dispatch_rig *rig, uint32_t entry, uint32_t slot, uint32_t state);

uint32_t rings_play_state(const struct rings *rings, uint32_t entry);
/* relayd's kicks since the last call. */
unsigned rings_play_kicks(void);
/* The error of the reply in an entry. */
int rings_play_error(const struct rings *rings, uint32_t entry);

#endif
