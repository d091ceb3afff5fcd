/* See lane.h. */
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "lane.h"

_Static_assert(sizeof(struct lane_header) == 288, "the kernel's struct fuse_uring_req_header");
_Static_assert(sizeof(struct lane_command) == 24, "the kernel's struct fuse_uring_cmd_req");

size_t lane_shared_size(void)
{
	return (sizeof(struct lane_shared) + 4095) & ~(size_t)4095;
}

static size_t memory_size(const struct lane *l)
{
	return lane_shared_size() + (size_t)l->queues * LANE_DEPTH * LANE_SLOT;
}

static int map_memory(struct lane *l)
{
	void *at = mmap(NULL, memory_size(l), PROT_READ | PROT_WRITE, MAP_SHARED, l->mem_fd, 0);

	if (at == MAP_FAILED)
		return -errno;
	l->shared = at;
	l->slots = (char *)at + lane_shared_size();
	return 0;
}

int lane_init(struct lane *l, struct mount_point *m, enum lane_owner owner)
{
	int err;

	memset(l, 0, sizeof(*l));
	l->mount = m;
	l->owner = owner;
	l->idle_ms = 1;
	l->pinned = owner != LANE_DEV;
	l->queues = get_nprocs_conf();
	if (l->queues > LANE_QUEUES)
		return -E2BIG;
	l->mem_fd = memfd_create("uring-research", 0);
	if (l->mem_fd < 0)
		return -errno;
	if (ftruncate(l->mem_fd, memory_size(l)) < 0) {
		err = -errno;
		goto err_mem;
	}
	l->go_fd = eventfd(0, EFD_SEMAPHORE);
	if (l->go_fd < 0) {
		err = -errno;
		goto err_mem;
	}
	err = map_memory(l);
	if (err)
		goto err_go;
	for (unsigned int q = 0; q < l->queues; q++)
		l->shared->queue[q].kick_fd = -1;
	return 0;
err_go:
	close(l->go_fd);
err_mem:
	close(l->mem_fd);
	return err;
}

void lane_fini(struct lane *l)
{
	munmap(l->shared, memory_size(l));
	close(l->go_fd);
	close(l->mem_fd);
}

int lane_map_again(struct lane *l)
{
	void *inherited = l->shared;
	int err = map_memory(l);

	if (!err)
		munmap(inherited, memory_size(l));
	return err;
}

int lane_blind(struct lane *l)
{
	return mprotect(l->slots, memory_size(l) - lane_shared_size(), PROT_NONE) < 0 ? -errno : 0;
}

int lane_map_ring(struct lane *l, struct ring *r, unsigned int q)
{
	struct lane_queue *queue = &l->shared->queue[q];

	if (l->owner != LANE_SEALED)
		return ring_map(r, queue->ring_fd, &queue->params);
	*r = (struct ring){
		.fd = -1,
		.cq_head = &queue->in_head,
		.cq_tail = &queue->in_tail,
		.cq_mask = LANE_DEPTH - 1,
		.cqes = queue->in,
		.sq_head = &queue->out_head,
		.sq_tail = &queue->out_tail,
		.sq_mask = LANE_DEPTH - 1,
	};
	return 0;
}

struct lane_command *lane_fill(struct ring *r, unsigned int q, unsigned int e, uint32_t op)
{
	struct ring_sqe *s = &r->sqes[*r->sq_tail & r->sq_mask];
	struct lane_command *command = (void *)((char *)s + offsetof(struct io_uring_sqe, addr3));

	memset(s, 0, sizeof(*s));
	s->sqe.opcode = IORING_OP_URING_CMD;
	s->sqe.flags = IOSQE_FIXED_FILE; /* file 0: /dev/fuse */
	s->sqe.cmd_op = op;
	s->sqe.user_data = e;
	command->qid = q;
	return command;
}

void lane_fill_commit(const struct lane *l, struct ring *r, unsigned int q, unsigned int e, uint64_t commit_id)
{
	if (l->owner == LANE_SEALED)
		l->shared->queue[q].out[*r->sq_tail & r->sq_mask] = e;
	else
		lane_fill(r, q, e, LANE_COMMIT_AND_FETCH)->commit_id = commit_id;
}

void lane_publish_register(const struct lane *l, struct ring *r, unsigned int q, unsigned int e)
{
	struct io_uring_sqe *sqe = &r->sqes[*r->sq_tail & r->sq_mask].sqe;
	const struct lane_entry *j = &l->shared->queue[q].entry[e];

	lane_fill(r, q, e, LANE_REGISTER);
	sqe->addr = l->shared->base + ((const char *)j->iov - (const char *)l->shared);
	sqe->len = 2;
	lane_publish(r);
}

int lane_submit(const struct lane *l, const struct ring *r, unsigned int q)
{
	static const uint64_t one = 1;
	unsigned int n = *r->sq_tail - ring_load(r->sq_head);

	if (!n)
		return 0;
	if (l->owner == LANE_SQPOLL)
		return ring_enter(r, 0, 0, IORING_ENTER_SQ_WAKEUP);
	if (l->owner == LANE_PUMP || l->owner == LANE_SEALED)
		return write(l->shared->queue[q].kick_fd, &one, sizeof(one)) < 0 ? -errno : 0;
	return ring_enter(r, n, 0, 0);
}

void lane_take(struct lane *l, unsigned int q, unsigned int e)
{
	struct lane_entry *j = &l->shared->queue[q].entry[e];
	const struct lane_header *h = lane_slot(l, q, e);
	size_t len = h->payload_size < LANE_ARG ? h->payload_size : LANE_ARG;

	memcpy(&j->in, h->in_out, sizeof(j->in));
	memcpy(j->arg, lane_payload(l, q, e), len);
	j->arg[LANE_ARG - 1] = '\0';
	__atomic_store_n(&j->taken, h->commit_id, __ATOMIC_RELEASE);
	lane_count(&l->shared->taken);
}
