/*
 * FUSE's own commands on a ring, which older kernel headers lack.
 */
#ifndef URING_COMMANDS_H
#define URING_COMMANDS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/uio.h>

#include "uring/ring.h"

/* The kernel's struct fuse_uring_cmd_req: in the SQE from byte 48 on. */
struct command {
	uint64_t flags;
	uint64_t commit_id;
	uint16_t qid;
	uint8_t padding[6];
};
_Static_assert(sizeof(struct command) == 24, "the kernel's struct fuse_uring_cmd_req");

enum { COMMAND_REGISTER = 1, COMMAND_COMMIT_AND_FETCH = 2 };

/*
 * Puts the next SQE into the ring, where there is always one: an entry has at most one
 * command.  iov, of two, is for a registration: the entry's header and its payload.
 */
static inline void command_fill(struct ring *r, uint32_t queue, uint32_t entry, uint32_t op, uint64_t commit_id,
				const struct iovec *iov)
{
	struct ring_sqe *s = &r->sqes[*r->sq_tail & r->sq_mask];
	struct command command = {.commit_id = commit_id, .qid = (uint16_t)queue};

	memset(s, 0, sizeof(*s));
	s->sqe.opcode = IORING_OP_URING_CMD;
	s->sqe.flags = IOSQE_FIXED_FILE; /* file 0: /dev/fuse */
	s->sqe.cmd_op = op;
	s->sqe.user_data = entry;
	s->sqe.addr = (uint64_t)(uintptr_t)iov;
	s->sqe.len = iov ? 2 : 0;
	memcpy((char *)s + offsetof(struct io_uring_sqe, addr3), &command, sizeof(command));
	ring_store(r->sq_tail, *r->sq_tail + 1);
}

#endif
