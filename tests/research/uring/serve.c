/*
 * The backend's part of lane.h: it takes requests, answers them, and goes on
 * where another was killed.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "lane.h"

/* Dies here if that was asked for: the place of death in an experiment. */
static void crash_point(struct lane *l, enum lane_crash point)
{
	unsigned int want = point;

	if (__atomic_load_n(&l->shared->crash, __ATOMIC_RELAXED) == want &&
	    __atomic_compare_exchange_n(&l->shared->crash, &want, 0, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
		kill(getpid(), SIGKILL);
}

static bool holding(const struct lane *l)
{
	return __atomic_load_n(&l->shared->hold, __ATOMIC_RELAXED);
}

/*
 * Answers the request that was taken, with an error if there is one. A process
 * dying before the tail moves leaves a slot half overwritten, and the journal
 * from which it is answered again; one dying after it has answered.
 */
static void answer(struct lane *l, struct ring *r, unsigned int q, unsigned int e, int error)
{
	struct lane_entry *j = &l->shared->queue[q].entry[e];
	struct lane_header *h = lane_slot(l, q, e);
	struct fuse_out_header out = {.unique = j->in.unique};
	int n = error ? error : tinyfs_answer(&j->in, h->op_in, j->arg, lane_payload(l, q, e));

	out.error = n < 0 ? n : 0;
	out.len = sizeof(out) + (n < 0 ? 0 : n);
	crash_point(l, LANE_CRASH_OVERWRITTEN);
	h->payload_size = n < 0 ? 0 : n;
	memcpy(h->in_out, &out, sizeof(out));
	lane_fill_commit(l, r, q, e, j->taken);
	j->at = *r->sq_tail;
	__atomic_store_n(&j->answered, j->taken, __ATOMIC_RELEASE);
	crash_point(l, LANE_CRASH_ANSWERED);
	lane_publish(r);
	crash_point(l, LANE_CRASH_PUBLISHED);
}

/*
 * Takes the CQE at the head, and with it the request, and answers it if it shall.
 * The head moves between the two. A process dying before that leaves a CQE whose
 * slot is as the kernel filled it; dying after it, a request that the journal has.
 * Were the head to move last, the next backend could take the slot while the
 * kernel fills it anew.
 */
static void consume(struct lane *l, struct ring *r, unsigned int q, bool answer_it)
{
	unsigned int head = *r->cq_head;
	const struct io_uring_cqe *cqe = &r->cqes[head & r->cq_mask];
	unsigned int e = cqe->user_data % LANE_DEPTH;
	int res = cqe->res;

	if (res == 0)
		lane_take(l, q, e);
	crash_point(l, LANE_CRASH_TAKEN);
	ring_store(r->cq_head, head + 1);
	if (res == 0) {
		crash_point(l, LANE_CRASH_CONSUMED);
		if (answer_it)
			answer(l, r, q, e, 0);
	} else if (res == -ENOENT) {
		/* an answer that the kernel has already, or no longer waits for */
		lane_count(&l->shared->refused);
		lane_publish_register(l, r, q, e);
	} else {
		lane_count(&l->shared->failed);
	}
}

/*
 * Brings the journal up to date with what a dead backend left: all that the
 * kernel has delivered is taken, and what is not `answered` was not published.
 *
 * An answer whose place in the SQ was never reached by the tail is struck out
 * before anything else is published: that would move the tail over the place. A
 * process dying here leaves the same case, with fewer to strike out.
 */
static void collect(struct lane *l, struct ring *r, unsigned int q)
{
	struct lane_queue *queue = &l->shared->queue[q];
	unsigned int tail = ring_load(r->cq_tail);

	for (unsigned int e = 0; e < LANE_DEPTH; e++)
		if (queue->entry[e].at == *r->sq_tail)
			queue->entry[e].answered = 0;
	while (*r->cq_head != tail) {
		consume(l, r, q, false);
		lane_count(&l->shared->unread);
	}
}

static void recover(struct lane *l, struct ring *r, unsigned int q)
{
	const struct lane_entry *entry = l->shared->queue[q].entry;

	collect(l, r, q);
	for (unsigned int e = 0; e < LANE_DEPTH && !holding(l); e++) {
		if (entry[e].taken != entry[e].answered) {
			answer(l, r, q, e, 0);
			lane_count(&l->shared->recovered);
		}
	}
}

/* Publishes what was answered and waits for the next requests, in one system call where that can be. */
static int submit_and_wait(const struct lane *l, const struct ring *r, unsigned int q)
{
	unsigned int flags = IORING_ENTER_GETEVENTS;
	uint64_t events;
	int err;

	switch (l->owner) {
	case LANE_BACKEND:
		return ring_enter(r, *r->sq_tail - ring_load(r->sq_head), 1, flags);
	case LANE_SQPOLL:
		/* the tail's store before the flag's load: pairs with the SQPOLL thread going to sleep */
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
		if (ring_load(r->sq_flags) & IORING_SQ_NEED_WAKEUP)
			flags |= IORING_ENTER_SQ_WAKEUP;
		break;
	default:
		err = lane_submit(l, r, q);
		if (err < 0)
			return err;
	}
	if (*r->cq_head != ring_load(r->cq_tail) && flags == IORING_ENTER_GETEVENTS)
		return 0;
	if (l->owner == LANE_SEALED)
		return read(l->shared->queue[q].event_fd, &events, sizeof(events)) < 0 && errno != EINTR ? -errno : 0;
	return ring_enter(r, 0, 1, flags);
}

int lane_serve(struct lane *l, unsigned int q)
{
	struct ring r;
	int err = lane_map_ring(l, &r, q);

	if (err)
		return err;
	recover(l, &r, q);
	for (;;) {
		unsigned int tail;

		err = submit_and_wait(l, &r, q);
		if (err < 0)
			return err;
		tail = ring_load(r.cq_tail);
		while (*r.cq_head != tail) {
			int res = r.cqes[*r.cq_head & r.cq_mask].res;

			if (res == -ENOTCONN || res == -ECONNABORTED)
				return 0;
			consume(l, &r, q, !holding(l));
		}
	}
}

/* Publishes an error for the request if it is in queue q. Returns whether it is. */
static int give_up(struct lane *l, unsigned int q, uint64_t unique, int error)
{
	const struct lane_queue *queue = &l->shared->queue[q];
	struct ring r;
	int err = lane_map_ring(l, &r, q), found = 0;

	if (err)
		return err;
	collect(l, &r, q);
	for (unsigned int e = 0; e < LANE_DEPTH && !found; e++) {
		if (queue->entry[e].taken != unique || queue->entry[e].answered == unique)
			continue;
		answer(l, &r, q, e, error);
		found = 1;
	}
	err = found ? lane_submit(l, &r, q) : 0;
	if (l->owner != LANE_SEALED)
		ring_unmap(&r);
	return err < 0 ? err : found;
}

int lane_give_up(struct lane *l, uint64_t unique, int error)
{
	int found = 0;

	for (unsigned int q = 0; q < l->queues && !found; q++)
		found = give_up(l, q, unique, error);
	return found;
}
