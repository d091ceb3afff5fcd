/*
 * What a backend can do to this: it can write anything, anywhere in the memory, at any
 * moment.  So each word of it is read once, a state word only says whether a request that
 * is known here was answered, and the request's number is copied when the kernel has put it
 * there.  A backend that is quicker than that, and changes it, has the kernel refuse the
 * commit, or answer another request of its queue.
 */
#include "uring/pump.h"

#include <errno.h>

#include "uring/commands.h"

/* An entry that is registered anew costs the kernel memory until the end: not for ever. */
#define REFUSED_MAX RELAY_RING_DEPTH

static uint32_t entry_number(const struct pump *p, uint32_t i)
{
	return p->queue * RELAY_RING_DEPTH + i;
}

void pump_init(struct pump *p, const struct relay_rings_map *map, uint32_t queue)
{
	*p = (struct pump){.map = map, .queue = queue};
	for (uint32_t i = 0; i < RELAY_RING_DEPTH; i++) {
		p->iov[i][0].iov_base = relay_ring_header(map, entry_number(p, i));
		p->iov[i][0].iov_len = sizeof(struct relay_ring_header);
		p->iov[i][1].iov_base = relay_ring_payload(map, entry_number(p, i));
		p->iov[i][1].iov_len = RELAY_RING_PAYLOAD;
	}
}

static void entry_register(struct pump *p, uint32_t i)
{
	command_fill(&p->ring, p->queue, i, COMMAND_REGISTER, 0, p->iov[i]);
}

void pump_register(struct pump *p)
{
	for (uint32_t i = 0; i < RELAY_RING_DEPTH; i++)
		entry_register(p, i);
}

static void request_pass(struct pump *p, uint32_t i)
{
	const struct relay_ring_header *header = relay_ring_header(p->map, entry_number(p, i));

	p->commit[i] = *(const volatile uint64_t *)&header->commit_id;
	atomic_store(relay_ring_state(p->map, entry_number(p, i)), RELAY_RING_REQUEST);
}

bool pump_requests(struct pump *p)
{
	uint32_t head = *p->ring.cq_head, tail = ring_load(p->ring.cq_tail);
	bool any = false;

	for (; head != tail; head++) {
		const struct io_uring_cqe *cqe = &p->ring.cqes[head & p->ring.cq_mask];
		uint32_t i = (uint32_t)cqe->user_data % RELAY_RING_DEPTH;

		if (cqe->res == 0) {
			request_pass(p, i);
			any = true;
		} else if (cqe->res == -ENOENT && p->refused < REFUSED_MAX) {
			p->refused++;
			entry_register(p, i);
		} else {
			/* The connection has ended, or this entry has. */
			p->err = cqe->res;
		}
		ring_store(p->ring.cq_head, head + 1);
	}
	return any;
}

void pump_answers(struct pump *p)
{
	for (uint32_t i = 0; i < RELAY_RING_DEPTH; i++) {
		_Atomic uint32_t *state = relay_ring_state(p->map, entry_number(p, i));

		if (!p->commit[i] || atomic_load(state) != RELAY_RING_ANSWERED)
			continue;
		/* Before the commit, with which the kernel may fill it anew. */
		atomic_store(state, RELAY_RING_KERNEL);
		command_fill(&p->ring, p->queue, i, COMMAND_COMMIT_AND_FETCH, p->commit[i], NULL);
		p->commit[i] = 0;
	}
}
