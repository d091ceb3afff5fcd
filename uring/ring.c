/* See ring.h. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "ring.h"

int ring_create(unsigned int entries, struct io_uring_params *p)
{
	int fd;

	p->flags |= IORING_SETUP_SQE128;
	fd = syscall(__NR_io_uring_setup, entries, p);
	if (fd < 0)
		return -errno;
	if (fcntl(fd, F_SETFD, 0) < 0) {
		int err = -errno;

		close(fd);
		return err;
	}
	return fd;
}

int ring_map(struct ring *r, int fd, const struct io_uring_params *p)
{
	size_t sq_size = p->sq_off.array + p->sq_entries * sizeof(unsigned int);
	size_t cq_size = p->cq_off.cqes + p->cq_entries * sizeof(struct io_uring_cqe);
	char *at;

	memset(r, 0, sizeof(*r));
	r->fd = fd;
	r->setup = p->flags;
	r->sq_entries = p->sq_entries;
	/* IORING_FEAT_SINGLE_MMAP, 5.4 on: both rings are in one mapping */
	r->rings_size = sq_size > cq_size ? sq_size : cq_size;
	r->sqes_size = p->sq_entries * sizeof(struct ring_sqe);
	at = mmap(NULL, r->rings_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, IORING_OFF_SQ_RING);
	if (at == MAP_FAILED)
		return -errno;
	r->rings_at = at;
	r->sqes = mmap(NULL, r->sqes_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, IORING_OFF_SQES);
	if (r->sqes == MAP_FAILED) {
		int err = -errno;

		munmap(r->rings_at, r->rings_size);
		return err;
	}
	r->sq_head = (unsigned int *)(at + p->sq_off.head);
	r->sq_tail = (unsigned int *)(at + p->sq_off.tail);
	r->sq_flags = (unsigned int *)(at + p->sq_off.flags);
	r->sq_mask = *(unsigned int *)(at + p->sq_off.ring_mask);
	r->cq_head = (unsigned int *)(at + p->cq_off.head);
	r->cq_tail = (unsigned int *)(at + p->cq_off.tail);
	r->cq_mask = *(unsigned int *)(at + p->cq_off.ring_mask);
	r->cqes = (struct io_uring_cqe *)(at + p->cq_off.cqes);
	return 0;
}

void ring_unmap(struct ring *r)
{
	munmap(r->sqes, r->sqes_size);
	munmap(r->rings_at, r->rings_size);
}

void ring_identity(struct ring *r, const struct io_uring_params *p)
{
	unsigned int *array = (unsigned int *)((char *)r->rings_at + p->sq_off.array);

	for (unsigned int i = 0; i < p->sq_entries; i++)
		array[i] = i;
}

int ring_enter(const struct ring *r, unsigned int submit, unsigned int wait, unsigned int flags)
{
	int n;

	do {
		n = syscall(__NR_io_uring_enter, r->fd, submit, wait, flags, NULL, 0);
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

int ring_register(int fd, unsigned int opcode, const void *arg, unsigned int n)
{
	return syscall(__NR_io_uring_register, fd, opcode, arg, n) < 0 ? -errno : 0;
}
