/*
 * The rings: memory that the kernel, the keeper, the backend and relayd share in the lane
 * `uring`, where requests come by FUSE over io_uring.
 *
 * A sealed memfd:
 *
 *   relay_rings | relay_ring_queue[queues] | of each entry a header's page and a payload
 *
 * There is a queue per possible processor, as the kernel demands, and RELAY_RING_DEPTH
 * entries in each.  An entry takes one request at a time.  Whose it is says its state word,
 * and nothing else: there is no list that a dead process could leave half linked.
 *
 *   KERNEL    nobody's but the kernel's, which may be filling it
 *   REQUEST   the keeper has published a whole request
 *   TAKEN     a backend, or relayd, has claimed it; the request stays as it was until the
 *             reply is whole in the journal
 *   ANSWERED  the reply is whole where the request was; the keeper gives it to the kernel
 *
 *   KERNEL -(keeper)-> REQUEST -(backend, relayd)-> TAKEN -(who has it)-> ANSWERED -(keeper)-> KERNEL
 *
 * What a death leaves: of a backend, REQUEST and ANSWERED as they are, and TAKEN.  That is
 * in a slot of the journal too, or its claimer has died before it had copied it: then it
 * is REQUEST again (relayd/dispatch_rings.c).  The keeper must not die.
 *
 * The keeper believes a backend nothing but that a state word says ANSWERED, and only of
 * entries in which it knows a request.
 */
#ifndef RELAY_RINGS_H
#define RELAY_RINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "relay/wire.h"

#define RELAY_RINGS_MAGIC 0x31474e495259524cULL /* "LRYRING1" */
#define RELAY_RINGS_VERSION 1u

/* As many as the state words that fill a cache line. */
#define RELAY_RING_DEPTH 16u
#define RELAY_RING_QUEUES_MAX 1024u
/* Any request but its header, and any reply; the kernel wants at least what max_pages says. */
#define RELAY_RING_PAYLOAD (RELAY_MAX_REQUEST > RELAY_MAX_REPLY ? RELAY_MAX_REQUEST : RELAY_MAX_REPLY)

enum relay_ring_state {
	RELAY_RING_KERNEL = 0,
	RELAY_RING_REQUEST = 1,
	RELAY_RING_TAKEN = 2,
	RELAY_RING_ANSWERED = 3,
};

struct relay_rings {
	uint64_t magic;
	uint32_t version;
	uint32_t header_size; /* sizeof(struct relay_rings) */
	uint32_t queue_size;  /* sizeof(struct relay_ring_queue) */
	uint32_t queues;
	uint32_t depth; /* RELAY_RING_DEPTH */
	uint32_t reserved;
	uint64_t size; /* of the whole */
	uint8_t pad[24];
	/* Requests that found nobody waiting at their queue: who is about to wait looks at the others' (rings.c). */
	_Alignas(64) _Atomic uint32_t strays;
};
static_assert(sizeof(struct relay_rings) == 128, "rings header");

struct relay_ring_queue {
	_Alignas(64) _Atomic uint32_t state[RELAY_RING_DEPTH]; /* enum relay_ring_state */
	_Alignas(64) _Atomic uint32_t wake;		       /* a futex: counted up for each wake-up */
	_Atomic uint32_t waiters;			       /* who sleep there, or are about to */
};
static_assert(sizeof(struct relay_ring_queue) == 128, "ring queue");

/* The kernel's struct fuse_uring_req_header, which older headers lack. */
struct relay_ring_header {
	uint8_t in_out[128]; /* fuse_in_header, then fuse_out_header */
	uint8_t op_in[128];  /* the operation's structure */
	uint64_t flags;
	uint64_t commit_id; /* the request's unique */
	uint32_t payload_size;
	uint32_t padding;
	uint64_t reserved;
};
static_assert(sizeof(struct relay_ring_header) == 288, "the kernel's struct fuse_uring_req_header");

struct relay_rings_map {
	struct relay_rings *rings; /* the mapping; NULL: none */
	uint64_t size;
	uint32_t queues; /* a copy: the header may be scribbled on later */
};

/* An entry's number over all queues. */
#define RELAY_NO_ENTRY UINT32_MAX

uint64_t relay_rings_size(uint32_t queues);

/* Makes the memory.  Returns its descriptor, close-on-exec, or a negative errno. */
int relay_rings_make(uint32_t queues);

/*
 * Maps it, after checking its header and its seals, as relay_journal_map() does.
 * Returns 0 or a negative errno: -EPROTO for memory that is not of this kind.
 */
int relay_rings_map(struct relay_rings_map *map, int fd);
void relay_rings_unmap(struct relay_rings_map *map);

static inline uint32_t relay_rings_entries(const struct relay_rings_map *map)
{
	return map->queues * RELAY_RING_DEPTH;
}

static inline struct relay_ring_queue *relay_ring_queue(const struct relay_rings_map *map, uint32_t queue)
{
	return (struct relay_ring_queue *)(map->rings + 1) + queue;
}

static inline _Atomic uint32_t *relay_ring_state(const struct relay_rings_map *map, uint32_t entry)
{
	return &relay_ring_queue(map, entry / RELAY_RING_DEPTH)->state[entry % RELAY_RING_DEPTH];
}

/*
 * The unique of a request of which an INTERRUPT was heard before it was copied from its entry: it
 * comes by /dev/fuse, and nothing says which of the two is first.
 */
_Atomic uint64_t *relay_ring_interrupted(const struct relay_rings_map *map, uint32_t entry);
struct relay_ring_header *relay_ring_header(const struct relay_rings_map *map, uint32_t entry);
uint8_t *relay_ring_payload(const struct relay_rings_map *map, uint32_t entry);

/* Claims an entry: REQUEST to TAKEN.  False: somebody else has. */
bool relay_ring_claim(const struct relay_rings_map *map, uint32_t entry);

/* Whether some entry of the queue is in REQUEST. */
bool relay_ring_pending(const struct relay_rings_map *map, uint32_t queue);

/*
 * Copies the request of a claimed entry to `to`, in the form that /dev/fuse gives it, but
 * with unique 0 in its header; *unique gets the kernel's.  Everything is read once: other
 * processes can write there.
 * Returns its size, or -EPROTO if what is there cannot be one.
 */
ssize_t relay_ring_copy(const struct relay_rings_map *map, uint32_t entry, void *to, uint32_t capacity,
			uint64_t *unique);

/*
 * Puts a reply of `size` bytes into an entry that the caller has claimed, and publishes
 * ANSWERED.  The keeper is to be kicked afterwards: a process dying before that leaves it
 * to relayd, which kicks for all.  A reply that does not fit becomes EIO.
 */
void relay_ring_answer(const struct relay_rings_map *map, uint32_t entry, const struct fuse_out_header *out,
		       const void *payload);

/* Kicks the keeper: `fd` is the queue's eventfd. */
void relay_ring_kick(int fd);

/*
 * There are requests in the queue: wakes one who waits there or, if there is nobody,
 * elsewhere.  After the state words were published.
 */
void relay_ring_wake(const struct relay_rings_map *map, uint32_t queue);

#endif
