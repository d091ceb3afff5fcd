/*
 * FUSE over io_uring whose rings belong to another process than the one that
 * answers, or to the one that answers, for comparison.
 *
 * All that a backend needs to go on after another is in one memfd and in the
 * rings, whose descriptors it inherits:
 *
 *   slots     per entry the header and the payload buffer that the kernel fills.
 *             The kernel knows them by the addresses that their owner, the
 *             process that registered them, has them at.
 *   journal   per entry what the backend has taken from the slot and what it has
 *             published. The slot alone is not enough: the reply goes where the
 *             request was.
 *   rings     SQ and CQ themselves are memory that survives the backend, so a CQE
 *             that it has not consumed and an SQE that it has published are safe.
 *             With LANE_SEALED two queues of the memfd are in their place.
 *
 * There is one queue per possible processor, as the kernel demands.
 */
#ifndef RESEARCH_LANE_H
#define RESEARCH_LANE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "mount.h"
#include "uring/ring.h"
#include "tinyfs.h"

#define LANE_QUEUES 64 /* possible processors that are provided for */
#define LANE_DEPTH 16  /* entries per queue: a power of two */
#define LANE_ARG 256   /* bytes of a request's variable part that the journal keeps */

/* The kernel's struct fuse_uring_req_header, which older headers lack. */
struct lane_header {
	char in_out[128];
	char op_in[128];
	uint64_t flags;
	uint64_t commit_id;
	uint32_t payload_size;
	uint32_t padding;
	uint64_t reserved;
};

/* The kernel's struct fuse_uring_cmd_req: in the SQE from byte 48 on. */
struct lane_command {
	uint64_t flags;
	uint64_t commit_id;
	uint16_t qid;
	uint8_t padding[6];
};

enum { LANE_REGISTER = 1, LANE_COMMIT_AND_FETCH = 2 };

/* Who owns the rings and registers the entries. */
enum lane_owner {
	LANE_DEV,     /* no ring: read(2) and write(2) on /dev/fuse */
	LANE_BACKEND, /* each backend its own, as libfuse does it */
	LANE_SQPOLL,  /* the keeper; its SQPOLL thread submits what the backend writes */
	LANE_PUMP,    /* the keeper; threads of its own submit it when the backend kicks them */
	LANE_SEALED,  /* the keeper; its threads alone see the ring, and pass on what is in it */
};

/* Where a backend dies if lane_shared.crash says so. */
enum lane_crash {
	LANE_CRASH_TAKEN = 1,	/* request copied, CQE not consumed */
	LANE_CRASH_CONSUMED,	/* CQE consumed, not answered */
	LANE_CRASH_OVERWRITTEN, /* reply's data where the request was */
	LANE_CRASH_ANSWERED,	/* SQE complete, not published */
	LANE_CRASH_PUBLISHED,	/* the kernel may have the answer */
	LANE_CRASH_END,
};

/* The journal of one entry. */
struct lane_entry {
	uint64_t taken;	   /* commit_id of the request of which in and arg are the copy */
	uint64_t answered; /* commit_id of the request whose commit is in the SQ once its tail is past `at` */
	uint32_t at;
	struct fuse_in_header in;
	char arg[LANE_ARG];
	struct iovec iov[2]; /* the slot, at its owner's addresses */
};

struct lane_queue {
	struct io_uring_params params;
	int ring_fd;
	int kick_fd;  /* eventfd that the pump waits for */
	int event_fd; /* LANE_SEALED: eventfd that the backend waits for */
	bool owned;   /* the ring is there */
	struct lane_entry entry[LANE_DEPTH];
	/* LANE_SEALED: what the backend has in the place of CQ and SQ */
	unsigned int in_head, in_tail, out_head, out_tail;
	struct io_uring_cqe in[LANE_DEPTH];
	uint8_t out[LANE_DEPTH];
};

/* What the processes of an experiment tell each other; each field has one writer, or is counted atomically. */
struct lane_shared {
	uint64_t base;			      /* where the owner has the memfd */
	int backend;			      /* pid of the backend, 0 while there is none */
	unsigned int crash;		      /* enum lane_crash: the backend that gets there dies, once; 0 for none */
	bool hold;			      /* take requests, answer none */
	uint64_t taken;			      /* requests taken from a slot */
	uint64_t recovered;		      /* of those: answered by a later backend than the one that took them */
	uint64_t unread;		      /* CQEs that a dead backend had left in the ring */
	uint64_t refused;		      /* commits that the kernel did not know: sent twice, or gone */
	uint64_t failed;		      /* CQEs with any other error */
	uint64_t forgets, interrupts, others; /* read from /dev/fuse by the keeper */
	uint64_t given_up;		      /* requests that the keeper answered EINTR, there being no backend */
	uint64_t interrupted;		      /* the request that the last INTERRUPT was for */
	struct lane_queue queue[LANE_QUEUES];
};

struct lane {
	struct mount_point *mount;
	enum lane_owner owner;
	unsigned int idle_ms; /* SQPOLL: sq_thread_idle */
	bool sq_thread_each;  /* SQPOLL: a thread per queue, on its processor; else one for all */
	bool pinned;	      /* the backend's thread of a queue stays on that queue's processor */
	bool fresh_map;	      /* backends map the memory elsewhere than the owner has it */
	bool blind_owner;     /* the keeper makes its own mapping of the slots unreadable */
	unsigned int queues;
	int mem_fd;
	int go_fd; /* eventfd: one token per backend that may be started */
	struct lane_shared *shared;
	char *slots;
};

/* Makes the memory. The mount stays the caller's. */
int lane_init(struct lane *l, struct mount_point *m, enum lane_owner owner);
void lane_fini(struct lane *l);

/*
 * Makes the ring of queue q in the calling thread, which becomes its owner, and
 * registers the entries that no earlier owner's requests are in. *r is its mapping.
 */
int lane_own(struct lane *l, unsigned int q, struct ring *r);

/* Maps the memory once more at another address and drops the mapping that came by fork. */
int lane_map_again(struct lane *l);

/* Takes the slots' mapping in this process away from itself, and from the kernel that copies in its name. */
int lane_blind(struct lane *l);

/* Serves queue q with its ring until the mount goes away. Recovers first what a dead backend left. */
int lane_serve(struct lane *l, unsigned int q);

/*
 * Answers the request `unique` with an error, in the keeper and only while there
 * is no backend: the journal then has the backend's part. Returns 1 if the request
 * was in a slot, 0 if not.
 */
int lane_give_up(struct lane *l, uint64_t unique, int error);

/* Makes the ring of queue q, and submits for the backend, until the process ends. */
int lane_pump(struct lane *l, unsigned int q);

/* ---- between own.c and serve.c ---- */

#define LANE_HEADER_STRIDE 4096u /* bytes of a slot before its payload */
#define LANE_SLOT (LANE_HEADER_STRIDE + TINYFS_MAX_IO)

size_t lane_shared_size(void);

static inline size_t lane_slot_offset(unsigned int q, unsigned int e)
{
	return ((size_t)q * LANE_DEPTH + e) * LANE_SLOT;
}

static inline struct lane_header *lane_slot(const struct lane *l, unsigned int q, unsigned int e)
{
	return (struct lane_header *)(l->slots + lane_slot_offset(q, e));
}

static inline char *lane_payload(const struct lane *l, unsigned int q, unsigned int e)
{
	return l->slots + lane_slot_offset(q, e) + LANE_HEADER_STRIDE;
}

/* Maps what the backend has for a ring. */
int lane_map_ring(struct lane *l, struct ring *r, unsigned int q);

/* Fills in where the answer of entry e is published by lane_publish(). */
void lane_fill_commit(const struct lane *l, struct ring *r, unsigned int q, unsigned int e, uint64_t commit_id);

/* Fills in the next SQE. There is always one: an entry has at most one command. */
struct lane_command *lane_fill(struct ring *r, unsigned int q, unsigned int e, uint32_t op);
void lane_publish_register(const struct lane *l, struct ring *r, unsigned int q, unsigned int e);

static inline void lane_publish(struct ring *r)
{
	ring_store(r->sq_tail, *r->sq_tail + 1);
}

/* Lets the kernel, or the thread that submits, see what was published. */
int lane_submit(const struct lane *l, const struct ring *r, unsigned int q);

/* Copies the request out of the slot. A process dying here leaves the CQE, or the slot, for the next. */
void lane_take(struct lane *l, unsigned int q, unsigned int e);

static inline void lane_count(uint64_t *counter)
{
	__atomic_add_fetch(counter, 1, __ATOMIC_RELAXED);
}

#endif
