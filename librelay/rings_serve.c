/*
 * Lane `uring`: a request from the rings into a slot, and its reply back.
 *
 * The first of the serving threads reads /dev/fuse, by which FORGET and INTERRUPT come.
 * Each of the others is at home at one queue, on its processor, where the kernel puts the
 * requests that are made there.  Several are at home at each, so that one in a handler that
 * waits does not hold up the rest; and who finds nothing at home looks at the other queues,
 * if requests have been there that found nobody.
 *
 * From the copy in the slot on everything is as in direct.c: the slot is what the next
 * incarnation goes by.  A process dying
 *
 *   before the entry is claimed             leaves it to the next
 *   after that, before the slot's unique    leaves TAKEN, and a slot with nothing in it: relayd
 *                                           makes it REQUEST again
 *   after that                              leaves a whole request in READING, as read() does
 *   with APPLIED, before ANSWERED           leaves the reply in the journal: relayd answers
 *   after ANSWERED, before the kick         has answered: relayd kicks for it
 */
#include "internal.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "crash.h"

static uint32_t queue_count(const struct relay_session *session)
{
	return session->rings.map.queues;
}

bool relay_internal_rings_has(const struct relay_thread *thread)
{
	const struct relay_session *session = thread->session;

	return session->rings.map.rings && thread != session->threads;
}

int relay_internal_rings_init(struct relay_session *session, int fd, uint32_t queues)
{
	int err = relay_rings_map(&session->rings.map, fd);

	if (err)
		return err;
	if (queue_count(session) != queues)
		return -EPROTO;
	session->rings.kicks = malloc(queues * sizeof(*session->rings.kicks));
	return session->rings.kicks ? 0 : -ENOMEM;
}

int relay_internal_rings_kick_add(struct relay_session *session, int fd)
{
	if (session->rings.kick_count == queue_count(session))
		return -EPROTO;
	session->rings.kicks[session->rings.kick_count++] = fd;
	return 0;
}

void relay_internal_rings_deinit(struct relay_session *session)
{
	for (uint32_t i = 0; i < session->rings.kick_count; i++)
		close(session->rings.kicks[i]);
	free(session->rings.kicks);
	relay_rings_unmap(&session->rings.map);
}

/* The n-th processor of the set that has a queue. */
static uint32_t processor_nth(const cpu_set_t *set, uint32_t queues, uint32_t n)
{
	for (uint32_t cpu = 0; cpu < queues && cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, set) && n-- == 0)
			return cpu;
	return 0;
}

void relay_internal_rings_settle(struct relay_thread *thread)
{
	const struct relay_session *session = thread->session;
	uint32_t queues = queue_count(session), here = 0;
	uint32_t number = (uint32_t)(thread - session->threads) - 1;
	cpu_set_t may, set;

	/* Nothing was looked at yet. */
	thread->strays = atomic_load(&session->rings.map.rings->strays) - 1;
	if (pthread_getaffinity_np(pthread_self(), sizeof(may), &may))
		CPU_ZERO(&may);
	for (uint32_t cpu = 0; cpu < queues && cpu < CPU_SETSIZE; cpu++)
		here += CPU_ISSET(cpu, &may) != 0;
	if (!here) {
		thread->home = number % queues;
		return;
	}
	thread->home = processor_nth(&may, queues, number % here);
	CPU_ZERO(&set);
	CPU_SET(thread->home, &set);
	/* Where that is not allowed it is slower, and nothing else. */
	pthread_setaffinity_np(pthread_self(), sizeof(set), &set);
}

static const char *opcode_name(const struct relay_rings_map *map, uint32_t entry)
{
	const struct fuse_in_header *header = (const void *)relay_ring_header(map, entry)->in_out;
	const struct relay_op *op = relay_op_get(header->opcode);

	return op ? op->name : "unknown";
}

/* Claims an entry of the queue, the one after the last first.  RELAY_NO_ENTRY: there is none. */
static uint32_t queue_claim(struct relay_thread *thread, uint32_t queue)
{
	const struct relay_rings_map *map = &thread->session->rings.map;

	for (uint32_t i = 1; i <= RELAY_RING_DEPTH; i++) {
		uint32_t entry = queue * RELAY_RING_DEPTH + (thread->entry + i) % RELAY_RING_DEPTH;

		if (relay_ring_claim(map, entry))
			return entry;
	}
	return RELAY_NO_ENTRY;
}

/* At home, or elsewhere if something may be there. */
static uint32_t entry_claim(struct relay_thread *thread)
{
	const struct relay_rings_map *map = &thread->session->rings.map;
	uint32_t entry = queue_claim(thread, thread->home);
	uint32_t strays = atomic_load(&map->rings->strays);

	if (entry != RELAY_NO_ENTRY || strays == thread->strays)
		return entry;
	thread->strays = strays;
	for (uint32_t i = 1; i < map->queues && entry == RELAY_NO_ENTRY; i++)
		entry = queue_claim(thread, (thread->home + i) % map->queues);
	return entry;
}

/*
 * Sleeps until there may be something.  The thread is counted first: who publishes a request
 * after the look sees it (rings.c).  It may be called away, which the caller looks for.
 */
static void queue_wait(struct relay_thread *thread)
{
	const struct relay_rings_map *map = &thread->session->rings.map;
	struct relay_ring_queue *queue = relay_ring_queue(map, thread->home);
	uint32_t ticket;

	atomic_fetch_add(&queue->waiters, 1);
	ticket = atomic_load(&queue->wake);
	if (!relay_ring_pending(map, thread->home) && atomic_load(&map->rings->strays) == thread->strays)
		relay_internal_device_wait(thread, &queue->wake, ticket);
	atomic_fetch_sub(&queue->waiters, 1);
}

ssize_t relay_internal_rings_read(struct relay_thread *thread, void *buffer, uint32_t capacity)
{
	struct relay_session *session = thread->session;
	const struct relay_rings_map *map = &session->rings.map;
	struct fuse_in_header *header = buffer;
	uint64_t unique;
	uint32_t entry;
	ssize_t n;

	if (relay_internal_readers_called(thread))
		return -ECANCELED;
	entry = entry_claim(thread);
	if (entry == RELAY_NO_ENTRY) {
		queue_wait(thread);
		return -EAGAIN;
	}
	thread->entry = entry;
	/* Others that wait can serve it while this thread is in its handler. */
	if (relay_ring_pending(map, entry / RELAY_RING_DEPTH))
		relay_ring_wake(map, entry / RELAY_RING_DEPTH);
	RELAY_CRASH_POINT(opcode_name(map, entry), "claimed");
	n = relay_ring_copy(map, entry, buffer, capacity, &unique);
	if (n < 0) {
		const struct fuse_out_header out = {.len = sizeof(out), .error = -EIO, .unique = unique};

		relay_internal_rings_reply(session, entry, "unknown", &out);
		return -EAGAIN;
	}
	/* Last: from here on it is a whole request. */
	__atomic_store_n(&header->unique, unique, __ATOMIC_RELEASE);
	/* The caller looks for the mark of an INTERRUPT next, as relay_internal_rings_interrupt() has it. */
	atomic_thread_fence(memory_order_seq_cst);
	return n;
}

bool relay_internal_rings_interrupted(const struct relay_thread *thread, uint64_t unique)
{
	return atomic_load(relay_ring_interrupted(&thread->session->rings.map, thread->entry)) == unique;
}

void relay_internal_rings_interrupt(struct relay_session *session, uint64_t unique)
{
	const struct relay_rings_map *map = &session->rings.map;
	uint32_t entries = map->rings ? relay_rings_entries(map) : 0;

	for (uint32_t entry = 0; entry < entries; entry++) {
		/* In any state: an INTERRUPT can be read before the keeper has published its request. */
		if (*(const volatile uint64_t *)&relay_ring_header(map, entry)->commit_id == unique)
			atomic_store(relay_ring_interrupted(map, entry), unique);
	}
	/* Whoever looks for it in a slot now finds it, or has the copy's maker find the mark. */
	atomic_thread_fence(memory_order_seq_cst);
}

void relay_internal_rings_reply(struct relay_session *session, uint32_t entry, const char *opcode,
				const struct fuse_out_header *out)
{
	relay_ring_answer(&session->rings.map, entry, out, out + 1);
	RELAY_CRASH_POINT(opcode, "answered");
	relay_ring_kick(session->rings.kicks[entry / RELAY_RING_DEPTH]);
}
