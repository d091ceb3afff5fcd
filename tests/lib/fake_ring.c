/* See fake_ring.h. */
#include "lib/fake_ring.h"

#include <string.h>

#include "uring/commands.h"

void fake_ring_init(struct fake_ring *fake, struct ring *ring)
{
	*fake = (struct fake_ring){.ring = ring};
	*ring = (struct ring){
		.fd = -1,
		.sq_entries = FAKE_RING_ENTRIES,
		.sq_mask = FAKE_RING_ENTRIES - 1,
		.cq_mask = FAKE_RING_ENTRIES - 1,
		.sq_head = &fake->sq_head,
		.sq_tail = &fake->sq_tail,
		.sq_flags = &fake->sq_flags,
		.cq_head = &fake->cq_head,
		.cq_tail = &fake->cq_tail,
		.sqes = fake->sqes,
		.cqes = fake->cqes,
	};
}

void fake_ring_complete(struct fake_ring *fake, uint64_t user_data, int32_t result)
{
	fake->cqes[fake->cq_tail & fake->ring->cq_mask] =
		(struct io_uring_cqe){.user_data = user_data, .res = result};
	fake->cq_tail++;
}

bool fake_ring_submitted(struct fake_ring *fake, struct fake_command *command)
{
	const struct ring_sqe *s = &fake->sqes[fake->sq_head & fake->ring->sq_mask];
	struct command body;

	if (fake->sq_head == fake->sq_tail)
		return false;
	memcpy(&body, (const char *)s + offsetof(struct io_uring_sqe, addr3), sizeof(body));
	*command = (struct fake_command){
		.op = s->sqe.cmd_op,
		.queue = body.qid,
		.user_data = s->sqe.user_data,
		.commit_id = body.commit_id,
		.addr = s->sqe.addr,
		.len = s->sqe.len,
	};
	fake->sq_head++;
	return true;
}
