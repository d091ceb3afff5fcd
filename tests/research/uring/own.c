/*
 * The owner's part of lane.h: it makes the rings and registers the entries. Who
 * does that is the task for which the kernel copies requests and replies, and
 * with whose death its entries go.
 */
#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "lane.h"

static void fill_iov(struct lane *l, unsigned int q, unsigned int e)
{
	struct lane_entry *j = &l->shared->queue[q].entry[e];
	char *slot = (char *)(uintptr_t)(l->shared->base + lane_shared_size() + lane_slot_offset(q, e));

	j->iov[0] = (struct iovec){slot, sizeof(struct lane_header)};
	j->iov[1] = (struct iovec){slot + LANE_HEADER_STRIDE, TINYFS_MAX_IO};
}

/* Whoever has the ring may send commands to /dev/fuse, and nothing else in the owner's name. */
static int restrict_ring(int fd)
{
	static const struct io_uring_restriction rules[] = {
		{.opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = IORING_OP_URING_CMD},
		{.opcode = IORING_RESTRICTION_SQE_FLAGS_REQUIRED, .sqe_flags = IOSQE_FIXED_FILE},
	};
	int err = ring_register(fd, IORING_REGISTER_RESTRICTIONS, rules, 2);

	return err ? err : ring_register(fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
}

static int create_ring(struct lane *l, unsigned int q)
{
	struct lane_queue *queue = &l->shared->queue[q];
	struct io_uring_params *p = &queue->params;
	int err;

	memset(p, 0, sizeof(*p));
	p->flags = IORING_SETUP_CQSIZE | IORING_SETUP_SUBMIT_ALL;
	p->cq_entries = 2 * LANE_DEPTH;
	if (l->owner != LANE_BACKEND)
		p->flags |= IORING_SETUP_R_DISABLED;
	if (l->owner == LANE_SQPOLL) {
		p->flags |= IORING_SETUP_SQPOLL;
		p->sq_thread_idle = l->idle_ms;
		if (l->sq_thread_each) {
			p->flags |= IORING_SETUP_SQ_AFF;
			p->sq_thread_cpu = q;
		} else if (q > 0) {
			p->flags |= IORING_SETUP_ATTACH_WQ;
			p->wq_fd = l->shared->queue[0].ring_fd;
		}
	}
	queue->ring_fd = ring_create(LANE_DEPTH, p);
	if (queue->ring_fd < 0)
		return queue->ring_fd;
	err = ring_register(queue->ring_fd, IORING_REGISTER_FILES, &l->mount->fd, 1);
	if (!err && (l->owner == LANE_PUMP || l->owner == LANE_SEALED)) {
		queue->kick_fd = eventfd(0, 0);
		queue->event_fd = eventfd(0, 0);
		err = queue->kick_fd < 0 || queue->event_fd < 0 ? -errno : 0;
	}
	if (!err && l->owner == LANE_SEALED) /* a CQE kicks as the backend does */
		err = ring_register(queue->ring_fd, IORING_REGISTER_EVENTFD, &queue->kick_fd, 1);
	if (!err && l->owner != LANE_BACKEND)
		err = restrict_ring(queue->ring_fd);
	return err;
}

int lane_own(struct lane *l, unsigned int q, struct ring *r)
{
	struct lane_queue *queue = &l->shared->queue[q];
	int err = create_ring(l, q);

	if (err)
		return err;
	err = ring_map(r, queue->ring_fd, &queue->params);
	if (err)
		return err;
	ring_identity(r, &queue->params);
	l->shared->base = (uintptr_t)l->shared;
	for (unsigned int e = 0; e < LANE_DEPTH; e++) {
		uint64_t last = lane_slot(l, q, e)->commit_id;

		fill_iov(l, q, e);
		if (!last) {
			lane_publish_register(l, r, q, e);
			continue;
		}
		/*
		 * An earlier owner's ring is gone with its CQEs and SQEs. The slot has what
		 * nobody took; and what was published may not have reached the kernel. So
		 * lane_serve() publishes it again: the kernel refuses what it already has,
		 * and then the entry is registered.
		 */
		if (last != queue->entry[e].taken)
			lane_take(l, q, e);
		queue->entry[e].answered = 0;
	}
	err = l->owner == LANE_PUMP || l->owner == LANE_SEALED ? ring_enter(r, LANE_DEPTH, 0, 0) : lane_submit(l, r, q);
	while (err >= 0 && ring_load(r->sq_head) != *r->sq_tail)
		sched_yield();
	__atomic_store_n(&queue->owned, true, __ATOMIC_RELEASE);
	return err < 0 ? err : 0;
}

/*
 * The backend writes SQEs and kicks. The kernel fills slots and posts CQEs as this
 * thread's task work, which interrupts and restarts the read(2): it returns for
 * kicks alone.
 */
static int pump_shared(struct lane_queue *queue, const struct ring *r)
{
	uint64_t kicks;

	while (read(queue->kick_fd, &kicks, sizeof(kicks)) == sizeof(kicks) || errno == EINTR)
		ring_enter(r, LANE_DEPTH, 0, 0);
	return -errno;
}

/* Passes CQEs on. There is room: an entry has at most one. Returns whether any was for the backend. */
static bool pass_requests(struct lane *l, struct ring *r, unsigned int q)
{
	struct lane_queue *queue = &l->shared->queue[q];
	unsigned int tail = ring_load(r->cq_tail);
	bool any = false;

	for (unsigned int head = *r->cq_head; head != tail; head++) {
		const struct io_uring_cqe *cqe = &r->cqes[head & r->cq_mask];

		if (cqe->res == -ENOENT) {
			lane_count(&l->shared->refused);
			lane_publish_register(l, r, q, cqe->user_data);
		} else {
			queue->in[queue->in_tail % LANE_DEPTH] = *cqe;
			ring_store(&queue->in_tail, queue->in_tail + 1);
			any = true;
		}
		ring_store(r->cq_head, head + 1);
	}
	return any;
}

/* Passes answers on. Whatever the backend wrote, an entry and a request of this queue are all that it can name. */
static void pass_answers(struct lane *l, struct ring *r, unsigned int q)
{
	struct lane_queue *queue = &l->shared->queue[q];
	unsigned int n = ring_load(&queue->out_tail) - queue->out_head;

	for (n = n < LANE_DEPTH ? n : LANE_DEPTH; n > 0; n--) {
		unsigned int e = queue->out[queue->out_head % LANE_DEPTH] % LANE_DEPTH;

		lane_fill(r, q, e, LANE_COMMIT_AND_FETCH)->commit_id = queue->entry[e].taken;
		lane_publish(r);
		ring_store(&queue->out_head, queue->out_head + 1);
	}
}

/*
 * The backend has memory and two eventfds, and no part in the ring: its kicks and
 * the ring's CQEs alike make the read(2) return.
 */
static int pump_sealed(struct lane *l, struct ring *r, unsigned int q)
{
	static const uint64_t one = 1;
	struct lane_queue *queue = &l->shared->queue[q];
	uint64_t kicks;

	do {
		bool any = pass_requests(l, r, q);

		pass_answers(l, r, q);
		if (*r->sq_tail != ring_load(r->sq_head))
			ring_enter(r, LANE_DEPTH, 0, 0);
		if (any && write(queue->event_fd, &one, sizeof(one)) < 0)
			return -errno;
	} while (read(queue->kick_fd, &kicks, sizeof(kicks)) == sizeof(kicks) || errno == EINTR);
	return -errno;
}

int lane_pump(struct lane *l, unsigned int q)
{
	struct ring r;
	int err = lane_own(l, q, &r);

	if (err)
		return err;
	return l->owner == LANE_SEALED ? pump_sealed(l, &r, q) : pump_shared(&l->shared->queue[q], &r);
}
