/*
 * The memory of the rings, and the moves that are made in it by more than one program.
 *
 * Sleeping.  Who waits for a queue counts itself in `waiters`, then takes the number in
 * `wake`, then looks once more, then sleeps until `wake` is another number.  Who publishes a
 * request does so first, then looks at `waiters`.  Both are sequentially consistent, so
 * either the one sees the request or the other sees the sleeper.  With `strays` it is the
 * same between a request that finds nobody at its queue and somebody at another queue who
 * is about to sleep.  A process dying asleep leaves `waiters` too high, which costs a
 * system call now and then until relayd has put it right.
 */
#include "relay/rings.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PAGE 4096u
#define ENTRY_SIZE (PAGE + RELAY_RING_PAYLOAD)
static_assert(RELAY_RING_PAYLOAD % PAGE == 0, "payloads begin on a page");

static uint64_t entries_at(uint32_t queues)
{
	uint64_t at = sizeof(struct relay_rings) + (uint64_t)queues * sizeof(struct relay_ring_queue);

	return (at + PAGE - 1) / PAGE * PAGE;
}

uint64_t relay_rings_size(uint32_t queues)
{
	return entries_at(queues) + (uint64_t)queues * RELAY_RING_DEPTH * ENTRY_SIZE;
}

int relay_rings_make(uint32_t queues)
{
	const struct relay_rings header = {
		.magic = RELAY_RINGS_MAGIC,
		.version = RELAY_RINGS_VERSION,
		.header_size = sizeof(struct relay_rings),
		.queue_size = sizeof(struct relay_ring_queue),
		.queues = queues,
		.depth = RELAY_RING_DEPTH,
		.size = relay_rings_size(queues),
	};
	int err = 0;
	int fd;

	if (queues == 0 || queues > RELAY_RING_QUEUES_MAX)
		return -E2BIG;
	fd = memfd_create("relayd-rings", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return -errno;
	if (ftruncate(fd, (off_t)header.size) < 0)
		err = -errno;
	else if (pwrite(fd, &header, sizeof(header), 0) != (ssize_t)sizeof(header))
		err = -EIO;
	else if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		err = -errno;
	if (!err)
		return fd;
	close(fd);
	return err;
}

/* Of a copy: what is checked is what is used. */
static int header_check(const struct relay_rings *header, uint64_t size)
{
	if (header->magic != RELAY_RINGS_MAGIC || header->version != RELAY_RINGS_VERSION)
		return -EPROTO;
	if (header->header_size != sizeof(*header) || header->queue_size != sizeof(struct relay_ring_queue) ||
	    header->depth != RELAY_RING_DEPTH)
		return -EPROTO;
	if (header->queues == 0 || header->queues > RELAY_RING_QUEUES_MAX)
		return -EPROTO;
	return header->size == size && size == relay_rings_size(header->queues) ? 0 : -EPROTO;
}

int relay_rings_map(struct relay_rings_map *map, int fd)
{
	const int needed = F_SEAL_SHRINK | F_SEAL_GROW;
	struct relay_rings header;
	int seals = fcntl(fd, F_GET_SEALS);
	struct stat st;
	void *at;
	int err;

	*map = (struct relay_rings_map){0};
	if (seals < 0 || (seals & needed) != needed)
		return -EPROTO;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (pread(fd, &header, sizeof(header), 0) != (ssize_t)sizeof(header))
		return -EPROTO;
	err = header_check(&header, (uint64_t)st.st_size);
	if (err)
		return err;
	at = mmap(NULL, header.size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (at == MAP_FAILED)
		return -errno;
	*map = (struct relay_rings_map){.rings = at, .size = header.size, .queues = header.queues};
	return 0;
}

void relay_rings_unmap(struct relay_rings_map *map)
{
	if (map->rings)
		munmap(map->rings, map->size);
	*map = (struct relay_rings_map){0};
}

struct relay_ring_header *relay_ring_header(const struct relay_rings_map *map, uint32_t entry)
{
	return (struct relay_ring_header *)((uint8_t *)map->rings + entries_at(map->queues) +
					    (uint64_t)entry * ENTRY_SIZE);
}

_Atomic uint64_t *relay_ring_interrupted(const struct relay_rings_map *map, uint32_t entry)
{
	/* On the header's page, behind what is the kernel's. */
	return (_Atomic uint64_t *)(relay_ring_header(map, entry) + 1);
}

uint8_t *relay_ring_payload(const struct relay_rings_map *map, uint32_t entry)
{
	return (uint8_t *)relay_ring_header(map, entry) + PAGE;
}

/* ---- entries ------------------------------------------------------------- */

bool relay_ring_claim(const struct relay_rings_map *map, uint32_t entry)
{
	_Atomic uint32_t *state = relay_ring_state(map, entry);
	uint32_t request = RELAY_RING_REQUEST;

	return atomic_load(state) == RELAY_RING_REQUEST &&
	       atomic_compare_exchange_strong(state, &request, RELAY_RING_TAKEN);
}

bool relay_ring_pending(const struct relay_rings_map *map, uint32_t queue)
{
	const struct relay_ring_queue *q = relay_ring_queue(map, queue);

	for (uint32_t i = 0; i < RELAY_RING_DEPTH; i++)
		if (atomic_load(&q->state[i]) == RELAY_RING_REQUEST)
			return true;
	return false;
}

ssize_t relay_ring_copy(const struct relay_rings_map *map, uint32_t entry, void *to, uint32_t capacity,
			uint64_t *unique)
{
	const struct relay_ring_header *ring = relay_ring_header(map, entry);
	uint32_t payload = *(const volatile uint32_t *)&ring->payload_size;
	struct fuse_in_header header;
	uint32_t operation;

	memcpy(&header, ring->in_out, sizeof(header));
	*unique = header.unique;
	if (header.len < sizeof(header) || header.len > capacity || payload > header.len - sizeof(header) ||
	    payload > RELAY_RING_PAYLOAD)
		return -EPROTO;
	operation = header.len - (uint32_t)sizeof(header) - payload;
	if (operation > sizeof(ring->op_in))
		return -EPROTO;
	header.unique = 0;
	memcpy(to, &header, sizeof(header));
	memcpy((uint8_t *)to + sizeof(header), ring->op_in, operation);
	memcpy((uint8_t *)to + sizeof(header) + operation, relay_ring_payload(map, entry), payload);
	return header.len;
}

void relay_ring_answer(const struct relay_rings_map *map, uint32_t entry, const struct fuse_out_header *out,
		       const void *payload)
{
	struct relay_ring_header *ring = relay_ring_header(map, entry);
	struct fuse_out_header header = *out;
	uint32_t size = header.len - (uint32_t)sizeof(header);

	if (header.len < sizeof(header) || size > RELAY_RING_PAYLOAD) {
		header.len = sizeof(header);
		header.error = -EIO;
		size = 0;
	}
	if (size)
		memcpy(relay_ring_payload(map, entry), payload, size);
	ring->payload_size = size;
	memcpy(ring->in_out, &header, sizeof(header));
	/* A process dying before this leaves half a reply over the request: the journal has both. */
	atomic_store(relay_ring_state(map, entry), RELAY_RING_ANSWERED);
}

/* ---- sleeping and waking --------------------------------------------------- */

void relay_ring_kick(int fd)
{
	const uint64_t one = 1;

	/* It fails when the counter is full: then the keeper is about to wake anyway. */
	while (write(fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}

static bool queue_wake(struct relay_ring_queue *queue)
{
	if (atomic_load(&queue->waiters) == 0)
		return false;
	atomic_fetch_add(&queue->wake, 1);
	syscall(SYS_futex, &queue->wake, FUTEX_WAKE, 1, NULL, NULL, 0);
	return true;
}

void relay_ring_wake(const struct relay_rings_map *map, uint32_t queue)
{
	if (queue_wake(relay_ring_queue(map, queue)))
		return;
	atomic_fetch_add(&map->rings->strays, 1);
	for (uint32_t i = 1; i < map->queues; i++)
		if (queue_wake(relay_ring_queue(map, (queue + i) % map->queues)))
			return;
}
