/*
 * The journal: makes the sealed memfd, and owns its slots while they are
 * relayd's (FREE, READING, TAKEN).  relay/wire.h has the layout.
 */
#ifndef RELAYD_JOURNAL_H
#define RELAYD_JOURNAL_H

#include <stdbool.h>
#include <stdint.h>

#include "relay/wire.h"

struct journal {
	int fd; /* owned: handed to backends */
	struct relay_journal_map map;
	bool locked; /* its pages are locked in memory */
};

/*
 * Makes a journal with so many slots; every page is there before this returns.
 * Returns 0 or a negative errno: -ENOMEM where memory is short.
 */
int journal_init(struct journal *journal, uint32_t large, uint32_t small);
/*
 * With what an earlier relayd has left behind fd, which is taken over on success.  Returns 0,
 * -EPROTO if it is no journal with so many slots, or another negative errno.
 */
int journal_resume(struct journal *journal, int fd, uint32_t large, uint32_t small);
void journal_deinit(struct journal *journal);

static inline uint32_t journal_slots(const struct journal *journal)
{
	return journal->map.large + journal->map.small;
}

void *journal_request(const struct journal *journal, uint32_t slot);
uint32_t journal_request_capacity(const struct journal *journal, uint32_t slot);
void *journal_reply(const struct journal *journal, uint32_t slot);
uint32_t journal_reply_capacity(const struct journal *journal, uint32_t slot);

/* FREE to READING: what an earlier request left is void from here on. */
void journal_slot_claim(struct journal *journal, uint32_t slot);

/* READING to TAKEN: the request of `size` bytes is whole. */
void journal_slot_publish(struct journal *journal, uint32_t slot, uint64_t unique, uint64_t channel_unique,
			  uint32_t opcode, uint32_t size);

/*
 * A slot that a backend had claimed is relayd's from here on, and is described as
 * journal_slot_publish() does.  READING becomes TAKEN; any other state stays.
 */
void journal_slot_adopt(struct journal *journal, uint32_t slot, uint64_t unique, uint64_t channel_unique,
			uint32_t opcode, uint32_t size);

/* The state that the slot says; a backend can have written any number there. */
uint32_t journal_slot_state(const struct journal *journal, uint32_t slot);
/* Whether it says that a backend has read a request into it by itself.  Good for counting only. */
bool journal_slot_claimed(const struct journal *journal, uint32_t slot);
/* The same, or that it is about to: the unique in the request buffer tells whether it has. */
bool journal_slot_begun(const struct journal *journal, uint32_t slot);
/* The number of the request that a backend was told is interrupted while it was in this slot; 0: none. */
uint64_t journal_slot_interrupted(const struct journal *journal, uint32_t slot);

/* To FREE, from any state, with the unique in its request's header 0. */
void journal_slot_free(struct journal *journal, uint32_t slot);

/*
 * The size of the stored reply if the slot says APPLIED and the size can be
 * true, else 0.
 */
uint32_t journal_slot_stored(const struct journal *journal, uint32_t slot);

#endif
