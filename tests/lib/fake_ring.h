/*
 * A ring without io_uring: the test is the kernel.
 */
#ifndef TESTS_FAKE_RING_H
#define TESTS_FAKE_RING_H

#include <stdbool.h>
#include <stdint.h>

#include "relay/rings.h"
#include "uring/ring.h"

#define FAKE_RING_ENTRIES (2 * RELAY_RING_DEPTH)

struct fake_ring {
	struct ring *ring;
	unsigned int sq_head, sq_tail, sq_flags, cq_head, cq_tail;
	struct ring_sqe sqes[FAKE_RING_ENTRIES];
	struct io_uring_cqe cqes[FAKE_RING_ENTRIES];
};

/* A command that was submitted. */
struct fake_command {
	uint32_t op;
	uint32_t queue;
	uint64_t user_data;
	uint64_t commit_id;
	uint64_t addr;
	uint32_t len;
};

/* Makes *ring one whose other end this is. */
void fake_ring_init(struct fake_ring *fake, struct ring *ring);
/* A command has completed. */
void fake_ring_complete(struct fake_ring *fake, uint64_t user_data, int32_t result);
/* Takes the next command.  Returns false if there is none. */
bool fake_ring_submitted(struct fake_ring *fake, struct fake_command *command);

#endif
