/*
 * The memory of the rings: what is mapped, whose an entry is, what a request and a reply look
 * like in it, and that nobody sleeps while there is a request.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "relay/rings.h"

#define QUEUES 3u

static struct relay_rings_map map;
static int fd;

static void setup(void)
{
	fd = relay_rings_make(QUEUES);
	cr_assert_geq(fd, 0);
	cr_assert_eq(relay_rings_map(&map, fd), 0);
}

static void teardown(void)
{
	relay_rings_unmap(&map);
	close(fd);
}

TestSuite(rings, .init = setup, .fini = teardown, .timeout = 60);

/* As the kernel puts it there, with an operation's structure and what follows. */
static void entry_fill(uint32_t entry, uint32_t opcode, uint64_t unique, const void *operation, uint32_t operation_size,
		       const void *payload, uint32_t payload_size)
{
	struct relay_ring_header *ring = relay_ring_header(&map, entry);
	const struct fuse_in_header header = {
		.len = sizeof(header) + operation_size + payload_size,
		.opcode = opcode,
		.unique = unique,
	};

	memcpy(ring->in_out, &header, sizeof(header));
	memcpy(ring->op_in, operation, operation_size);
	memcpy(relay_ring_payload(&map, entry), payload, payload_size);
	ring->payload_size = payload_size;
	ring->commit_id = unique;
	atomic_store(relay_ring_state(&map, entry), RELAY_RING_REQUEST);
}

/* ---- the memory --------------------------------------------------------------- */

Test(rings, the_memory_cannot_be_cut_short)
{
	cr_expect_lt(ftruncate(fd, 4096), 0);
	cr_expect_eq(map.queues, QUEUES);
	cr_expect_eq(map.size, relay_rings_size(QUEUES));
	/* The last byte of the last entry is in it. */
	relay_ring_payload(&map, relay_rings_entries(&map) - 1)[RELAY_RING_PAYLOAD - 1] = 1;
}

Test(rings, memory_that_is_not_sealed_is_not_mapped)
{
	struct relay_rings_map other;
	int loose = memfd_create("loose", MFD_ALLOW_SEALING);

	cr_assert_eq(ftruncate(loose, (off_t)map.size), 0);
	cr_assert_eq(pwrite(loose, map.rings, sizeof(*map.rings), 0), (ssize_t)sizeof(*map.rings));
	cr_expect_eq(relay_rings_map(&other, loose), -EPROTO);
	cr_expect_null(other.rings);
	cr_assert_eq(fcntl(loose, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW), 0);
	cr_expect_eq(relay_rings_map(&other, loose), 0);
	relay_rings_unmap(&other);
	close(loose);
}

Test(rings, a_header_that_does_not_fit_is_refused)
{
	const struct relay_rings good = *map.rings;
	struct relay_rings bad[6];
	struct relay_rings_map other;

	for (unsigned i = 0; i < 6; i++)
		bad[i] = good;
	bad[0].magic++;
	bad[1].version++;
	bad[2].queues = 0;
	bad[3].queues++;
	bad[4].depth = RELAY_RING_DEPTH + 1;
	bad[5].size += 4096;
	for (unsigned i = 0; i < 6; i++) {
		*map.rings = bad[i];
		cr_expect_eq(relay_rings_map(&other, fd), -EPROTO, "%u", i);
	}
	*map.rings = good;
	cr_expect_eq(relay_rings_make(0), -E2BIG);
	cr_expect_eq(relay_rings_make(RELAY_RING_QUEUES_MAX + 1), -E2BIG);
}

/* ---- entries -------------------------------------------------------------------- */

Test(rings, an_entry_is_claimed_by_one)
{
	uint32_t entry = RELAY_RING_DEPTH + 3;

	cr_expect_not(relay_ring_claim(&map, entry), "the kernel's");
	atomic_store(relay_ring_state(&map, entry), RELAY_RING_REQUEST);
	cr_expect(relay_ring_pending(&map, 1));
	cr_expect_not(relay_ring_pending(&map, 0));
	cr_expect(relay_ring_claim(&map, entry));
	cr_expect_not(relay_ring_claim(&map, entry));
	cr_expect_not(relay_ring_pending(&map, 1));
}

Test(rings, a_request_has_the_form_of_dev_fuse_but_for_its_unique)
{
	const struct fuse_write_in in = {.fh = 7, .size = 5};
	uint8_t message[256];
	struct fuse_in_header header;
	uint64_t unique;

	entry_fill(0, FUSE_WRITE, 42, &in, sizeof(in), "hello", 5);
	cr_expect_eq(relay_ring_copy(&map, 0, message, sizeof(message), &unique),
		     (ssize_t)(sizeof(header) + sizeof(in) + 5));
	memcpy(&header, message, sizeof(header));
	cr_expect_eq(unique, 42);
	cr_expect_eq(header.unique, 0, "it is not whole yet");
	cr_expect_eq(memcmp(message + sizeof(header), &in, sizeof(in)), 0);
	cr_expect_eq(memcmp(message + sizeof(header) + sizeof(in), "hello", 5), 0);

	entry_fill(1, FUSE_LOOKUP, 44, "", 0, "name", 5);
	cr_expect_eq(relay_ring_copy(&map, 1, message, sizeof(message), &unique), (ssize_t)sizeof(header) + 5);
	cr_expect_str_eq((char *)message + sizeof(header), "name");
}

Test(rings, what_cannot_be_a_request_is_none)
{
	struct relay_ring_header *ring = relay_ring_header(&map, 0);
	struct fuse_in_header *header = (void *)ring->in_out;
	uint8_t message[256];
	uint64_t unique;

	entry_fill(0, FUSE_LOOKUP, 46, "", 0, "name", 5);
	header->len = sizeof(*header) - 1;
	cr_expect_eq(relay_ring_copy(&map, 0, message, sizeof(message), &unique), -EPROTO);
	cr_expect_eq(unique, 46, "it can be answered");
	header->len = sizeof(message) + 1;
	cr_expect_eq(relay_ring_copy(&map, 0, message, sizeof(message), &unique), -EPROTO);
	header->len = sizeof(*header) + 5;
	ring->payload_size = 6;
	cr_expect_eq(relay_ring_copy(&map, 0, message, sizeof(message), &unique), -EPROTO);
	ring->payload_size = UINT32_MAX;
	cr_expect_eq(relay_ring_copy(&map, 0, message, sizeof(message), &unique), -EPROTO);
	/* More of an operation's structure than there is room for. */
	header->len = sizeof(*header) + sizeof(ring->op_in) + 1;
	ring->payload_size = 0;
	cr_expect_eq(relay_ring_copy(&map, 0, message, sizeof(message), &unique), -EPROTO);
}

Test(rings, a_reply_lies_where_the_request_was)
{
	const struct fuse_out_header out = {.len = sizeof(out) + 4, .unique = 48};
	const struct fuse_out_header longer = {.len = sizeof(out) + RELAY_RING_PAYLOAD + 1, .unique = 50};
	struct relay_ring_header *ring = relay_ring_header(&map, 2);

	atomic_store(relay_ring_state(&map, 2), RELAY_RING_TAKEN);
	relay_ring_answer(&map, 2, &out, "data");
	cr_expect_eq(memcmp(ring->in_out, &out, sizeof(out)), 0);
	cr_expect_eq(ring->payload_size, 4);
	cr_expect_eq(memcmp(relay_ring_payload(&map, 2), "data", 4), 0);
	cr_expect_eq(atomic_load(relay_ring_state(&map, 2)), RELAY_RING_ANSWERED);

	relay_ring_answer(&map, 2, &longer, NULL);
	cr_expect_eq(((struct fuse_out_header *)ring->in_out)->error, -EIO);
	cr_expect_eq(((struct fuse_out_header *)ring->in_out)->unique, 50);
	cr_expect_eq(ring->payload_size, 0);
}

Test(rings, kicks_are_counted)
{
	int kick = eventfd(0, EFD_NONBLOCK);
	uint64_t count = 0;

	relay_ring_kick(kick);
	relay_ring_kick(kick);
	cr_expect_eq(read(kick, &count, sizeof(count)), (ssize_t)sizeof(count));
	cr_expect_eq(count, 2);
	close(kick);
}

/* ---- sleeping ---------------------------------------------------------------------- */

static _Atomic bool woken;

/* As librelay/rings_serve.c does. */
static void *sleep_at(void *arg)
{
	struct relay_ring_queue *queue = arg;
	uint32_t ticket;

	atomic_fetch_add(&queue->waiters, 1);
	ticket = atomic_load(&queue->wake);
	while (atomic_load(&queue->wake) == ticket)
		syscall(SYS_futex, &queue->wake, FUTEX_WAIT, ticket, NULL, NULL, 0);
	atomic_fetch_sub(&queue->waiters, 1);
	atomic_store(&woken, true);
	return NULL;
}

static pthread_t sleeper_start(uint32_t queue)
{
	pthread_t thread;

	atomic_store(&woken, false);
	cr_assert_eq(pthread_create(&thread, NULL, sleep_at, relay_ring_queue(&map, queue)), 0);
	while (atomic_load(&relay_ring_queue(&map, queue)->waiters) == 0)
		sched_yield();
	return thread;
}

Test(rings, who_waits_at_the_queue_is_woken)
{
	pthread_t thread = sleeper_start(1);
	uint32_t strays = atomic_load(&map.rings->strays);

	relay_ring_wake(&map, 1);
	pthread_join(thread, NULL);
	cr_expect(woken);
	cr_expect_eq(atomic_load(&map.rings->strays), strays, "it found somebody at home");
}

Test(rings, where_nobody_waits_somebody_else_is_woken)
{
	pthread_t thread = sleeper_start(2);
	uint32_t strays = atomic_load(&map.rings->strays);

	relay_ring_wake(&map, 1);
	pthread_join(thread, NULL);
	cr_expect(woken);
	cr_expect_eq(atomic_load(&map.rings->strays), strays + 1, "who is about to sleep looks elsewhere");
}

Test(rings, nobody_there_is_no_harm)
{
	relay_ring_wake(&map, 0);
	for (uint32_t queue = 0; queue < QUEUES; queue++)
		cr_expect_eq(atomic_load(&relay_ring_queue(&map, queue)->wake), 0);
	cr_expect_eq(atomic_load(&map.rings->strays), 1);
}
