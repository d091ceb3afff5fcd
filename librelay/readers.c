/*
 * Direct lane: who reads /dev/fuse, and who serves what relayd has given.
 *
 * A serving thread asks here what to do next.  What was given comes first: it is older than
 * anything that can be read, and relayd says GO when all of it is out.  While nothing is
 * given and GO holds, every thread reads, and asks one atomic word whether that is still so.
 *
 * The word is `hold`.  It is set before the threads are kicked, and a thread that goes into
 * read() says so before it looks at it (device.c): so a thread either finds it set or is
 * found.  No order of the two is left in which a thread sleeps in read() that should not.
 *
 * A thread that stops reading is done with what it had read, or has detached it: PAUSED is
 * sent when the last one has.
 */
#include "internal.h"

#include <errno.h>
#include <stdlib.h>

#include "slots.h"

int relay_internal_readers_init(struct relay_session *session)
{
	struct relay_readers *readers = &session->readers;

	pthread_mutex_init(&readers->lock, NULL);
	pthread_cond_init(&readers->changed, NULL);
	readers->hold = true;
	readers->given = calloc((size_t)session->journal.large + session->journal.small, sizeof(*readers->given));
	return readers->given ? 0 : -ENOMEM;
}

void relay_internal_readers_deinit(struct relay_session *session)
{
	free(session->readers.given);
	pthread_cond_destroy(&session->readers.changed);
	pthread_mutex_destroy(&session->readers.lock);
}

static bool may_read(const struct relay_readers *readers)
{
	return readers->go && !readers->gone && !readers->ended;
}

/* After each change of what it is made of; the lock is held. */
static void hold_update(struct relay_session *session)
{
	struct relay_readers *readers = &session->readers;
	bool hold = !may_read(readers) || readers->given_count > 0;

	atomic_store(&readers->hold, hold);
	pthread_cond_broadcast(&readers->changed);
	if (!hold || !readers->count)
		return;
	for (unsigned i = 0; i < session->thread_count; i++)
		relay_internal_device_kick(&session->threads[i]);
	relay_slots_wake(&session->journal);
}

/* The thread reads no more; true if it was the last for whom a pause waits.  The lock is held. */
static bool reader_stop(struct relay_thread *thread)
{
	struct relay_readers *readers = &thread->session->readers;
	bool paused;

	if (thread->reader) {
		thread->reader = false;
		readers->count--;
		relay_internal_direct_stop(thread);
	}
	paused = readers->pausing && readers->count == 0;
	if (paused)
		readers->pausing = false;
	return paused;
}

/* If it cannot be sent the channel is ending. */
static void tell(struct relay_session *session, int32_t code)
{
	relay_internal_channel_notify(session, code, NULL, 0, NULL, 0, NULL, 0);
}

static uint64_t given_pop(struct relay_session *session)
{
	struct relay_readers *readers = &session->readers;
	uint64_t unique = readers->given[readers->given_first];

	readers->given_first = (readers->given_first + 1) % (session->journal.large + session->journal.small);
	readers->given_count--;
	if (readers->given_count == 0)
		hold_update(session);
	return unique;
}

enum relay_next relay_internal_readers_next(struct relay_thread *thread, uint64_t *given)
{
	struct relay_session *session = thread->session;
	struct relay_readers *readers = &session->readers;
	enum relay_next next = RELAY_NEXT_END;

	if (thread->reader && !atomic_load_explicit(&readers->hold, memory_order_acquire))
		return RELAY_NEXT_READ;
	pthread_mutex_lock(&readers->lock);
	if (reader_stop(thread)) {
		pthread_mutex_unlock(&readers->lock);
		tell(session, RELAY_NOTIFY_PAUSED);
		pthread_mutex_lock(&readers->lock);
	}
	while (!readers->ended && !readers->given_count && !may_read(readers))
		pthread_cond_wait(&readers->changed, &readers->lock);
	if (!readers->ended && readers->given_count) {
		*given = given_pop(session);
		next = RELAY_NEXT_GIVEN;
	} else if (!readers->ended) {
		thread->reader = true;
		readers->count++;
		next = RELAY_NEXT_READ;
	}
	pthread_mutex_unlock(&readers->lock);
	return next;
}

bool relay_internal_readers_give(struct relay_session *session, uint64_t unique)
{
	uint32_t slots = session->journal.large + session->journal.small;
	struct relay_readers *readers = &session->readers;
	bool room;

	pthread_mutex_lock(&readers->lock);
	room = readers->given_count < slots;
	if (room) {
		readers->given[(readers->given_first + readers->given_count++) % slots] = unique;
		hold_update(session);
	}
	pthread_mutex_unlock(&readers->lock);
	return room;
}

void relay_internal_readers_go(struct relay_session *session)
{
	struct relay_readers *readers = &session->readers;

	pthread_mutex_lock(&readers->lock);
	readers->go = true;
	readers->pausing = false;
	hold_update(session);
	pthread_mutex_unlock(&readers->lock);
}

void relay_internal_readers_pause(struct relay_session *session)
{
	struct relay_readers *readers = &session->readers;
	bool paused;

	pthread_mutex_lock(&readers->lock);
	readers->go = false;
	paused = readers->count == 0;
	readers->pausing = !paused;
	hold_update(session);
	pthread_mutex_unlock(&readers->lock);
	if (paused)
		tell(session, RELAY_NOTIFY_PAUSED);
}

void relay_internal_readers_gone(struct relay_session *session)
{
	struct relay_readers *readers = &session->readers;
	bool first;

	pthread_mutex_lock(&readers->lock);
	first = !readers->gone;
	readers->gone = true;
	hold_update(session);
	pthread_mutex_unlock(&readers->lock);
	if (first)
		tell(session, RELAY_NOTIFY_GONE);
}

void relay_internal_readers_end(struct relay_session *session)
{
	struct relay_readers *readers = &session->readers;

	pthread_mutex_lock(&readers->lock);
	readers->ended = true;
	hold_update(session);
	pthread_mutex_unlock(&readers->lock);
}
