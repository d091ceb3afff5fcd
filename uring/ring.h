/*
 * One io_uring by its system calls: whoever has the descriptor can map it and
 * use it, also in another process than the one that made it.
 */
#ifndef URING_RING_H
#define URING_RING_H

#include <stdbool.h>
#include <stdint.h>

#include <linux/io_uring.h>

/* An SQE of a ring with IORING_SETUP_SQE128; FUSE's command begins at byte 48. */
struct ring_sqe {
	struct io_uring_sqe sqe;
	char more[64];
};

struct ring {
	int fd;
	unsigned int setup; /* IORING_SETUP_... that it was made with */
	unsigned int sq_entries;
	unsigned int sq_mask, cq_mask;
	unsigned int *sq_head, *sq_tail, *sq_flags;
	unsigned int *cq_head, *cq_tail;
	struct ring_sqe *sqes;
	struct io_uring_cqe *cqes;
	void *rings_at;
	size_t rings_size, sqes_size;
};

/*
 * Makes a ring of `entries` as p->flags say (IORING_SETUP_SQE128 is added) and
 * fills in *p, which ring_map() needs. The descriptor survives exec.
 */
int ring_create(unsigned int entries, struct io_uring_params *p);

/* Maps the ring behind fd into this process. *p is what ring_create() left. */
int ring_map(struct ring *r, int fd, const struct io_uring_params *p);
void ring_unmap(struct ring *r);

/* Fills the index array with 0, 1, 2...: done once, by the ring's maker. */
void ring_identity(struct ring *r, const struct io_uring_params *p);

/* Submits, waits and wakes as io_uring_enter(2) does; EINTR is tried again. */
int ring_enter(const struct ring *r, unsigned int submit, unsigned int wait, unsigned int flags);

int ring_register(int fd, unsigned int opcode, const void *arg, unsigned int n);

static inline unsigned int ring_load(const unsigned int *p)
{
	return __atomic_load_n(p, __ATOMIC_ACQUIRE);
}

static inline void ring_store(unsigned int *p, unsigned int value)
{
	__atomic_store_n(p, value, __ATOMIC_RELEASE);
}

#endif
