/*
 * Direct lane: who reads /dev/fuse, and who serves what relayd has given.
 *
 * A serving thread asks here what to do next.  What was given comes first: it is older than
 * anything that can be read, and relayd says GO when all of it is out.  While nothing is
 * given and GO holds, all threads read, or one does (pairing.c); each asks one atomic word
 * whether it still may.
 *
 * The word is `turn`.  It is changed before the threads are kicked, and a thread that goes into
 * read() says so before it looks at it (device.c): so a thread either finds it changed or is
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
	readers->turn = RELAY_TURN_NONE;
	readers->given = calloc((size_t)session->journal.large + session->journal.small, sizeof(*readers->given));
	return readers->given ? 0 : -ENOMEM;
}

void relay_internal_readers_deinit(struct relay_session *session)
{
	free(session->readers.given);
	pthread_mutex_destroy(&session->readers.lock);
}

static bool may_read(const struct relay_readers *readers)
{
	return readers->go && !readers->gone && !readers->ended;
}

/* A thread that waits.  On its stack; all of it with the lock held. */
struct relay_waiter {
	struct relay_thread *thread;
	pthread_cond_t wake;
	struct relay_waiter *next, **link;
};

static void wait_to_be_woken(struct relay_thread *thread)
{
	struct relay_readers *readers = &thread->session->readers;
	struct relay_waiter waiter = {
		.thread = thread,
		.wake = PTHREAD_COND_INITIALIZER,
		.next = readers->waiters,
		.link = &readers->waiters,
	};

	if (waiter.next)
		waiter.next->link = &waiter.next;
	readers->waiters = &waiter;
	pthread_cond_wait(&waiter.wake, &readers->lock);
	*waiter.link = waiter.next;
	if (waiter.next)
		waiter.next->link = waiter.link;
	pthread_cond_destroy(&waiter.wake);
}

/* Gets those out of read() whose turn it is not; wakes those who wait, if it concerns them.  The lock is held. */
static void turn_set(struct relay_session *session, uint32_t turn)
{
	struct relay_readers *readers = &session->readers;

	atomic_store(&readers->turn, turn);
	for (struct relay_waiter *waiter = readers->waiters; waiter; waiter = waiter->next) {
		if (turn == RELAY_TURN_NONE || !relay_internal_readers_called(waiter->thread))
			pthread_cond_signal(&waiter->wake);
	}
	if (turn == RELAY_TURN_ALL || !readers->count)
		return;
	for (unsigned i = 0; i < session->thread_count; i++) {
		if (relay_internal_readers_called(&session->threads[i]))
			relay_internal_device_kick(&session->threads[i]);
	}
	relay_slots_wake(&session->journal);
}

/* After each change of what decides whether anybody may read; the lock is held. */
static void turn_update(struct relay_session *session)
{
	struct relay_readers *readers = &session->readers;

	turn_set(session, may_read(readers) && !readers->given_count ? RELAY_TURN_ALL : RELAY_TURN_NONE);
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
		turn_update(session);
	return unique;
}

/* With the rings one thread alone reads /dev/fuse: it is to hear INTERRUPTs, whatever waits in a handler. */
static bool has_given(const struct relay_thread *thread)
{
	const struct relay_session *session = thread->session;

	return session->readers.given_count && !(session->rings.map.rings && thread == session->threads);
}

enum relay_next relay_internal_readers_next(struct relay_thread *thread, uint64_t *given)
{
	struct relay_session *session = thread->session;
	struct relay_readers *readers = &session->readers;
	enum relay_next next = RELAY_NEXT_END;

	if (thread->reader && !relay_internal_readers_called(thread))
		return RELAY_NEXT_READ;
	pthread_mutex_lock(&readers->lock);
	if (reader_stop(thread)) {
		pthread_mutex_unlock(&readers->lock);
		tell(session, RELAY_NOTIFY_PAUSED);
		pthread_mutex_lock(&readers->lock);
	}
	while (!readers->ended && !has_given(thread) && relay_internal_readers_called(thread))
		wait_to_be_woken(thread);
	/* It was pinned for a turn that it does not have. */
	if (!relay_internal_readers_paired(thread))
		relay_internal_pairing_release(thread);
	if (!readers->ended && has_given(thread)) {
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

bool relay_internal_readers_join(struct relay_thread *thread)
{
	struct relay_session *session = thread->session;
	struct relay_readers *readers = &session->readers;
	bool all;

	pthread_mutex_lock(&readers->lock);
	all = atomic_load(&readers->turn) == RELAY_TURN_ALL;
	if (all)
		turn_set(session, (uint32_t)(thread - session->threads));
	pthread_mutex_unlock(&readers->lock);
	return all;
}

void relay_internal_readers_leave(struct relay_thread *from)
{
	struct relay_readers *readers = &from->session->readers;

	pthread_mutex_lock(&readers->lock);
	if (relay_internal_readers_paired(from))
		turn_set(from->session, RELAY_TURN_ALL);
	pthread_mutex_unlock(&readers->lock);
}

void relay_internal_readers_part(struct relay_session *session, uint64_t since)
{
	struct relay_readers *readers = &session->readers;
	uint32_t turn;

	pthread_mutex_lock(&readers->lock);
	turn = atomic_load(&readers->turn);
	if (turn != RELAY_TURN_ALL && turn != RELAY_TURN_NONE && atomic_load(&session->pairing.busy_since) == since)
		turn_set(session, RELAY_TURN_ALL);
	pthread_mutex_unlock(&readers->lock);
}

struct relay_thread *relay_internal_readers_heir(struct relay_thread *thread, unsigned cpu)
{
	struct relay_readers *readers = &thread->session->readers;
	struct relay_thread *heir = NULL;
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	pthread_mutex_lock(&readers->lock);
	if (relay_internal_readers_paired(thread) && readers->waiters)
		heir = readers->waiters->thread;
	/* Where it may not run it is not put. */
	if (heir && !heir->pace.pinned &&
	    (pthread_getaffinity_np(heir->id, sizeof(heir->pace.cpus), &heir->pace.cpus) ||
	     !CPU_ISSET(cpu, &heir->pace.cpus)))
		heir = NULL;
	if (heir && pthread_setaffinity_np(heir->id, sizeof(set), &set) == 0)
		heir->pace.pinned = true;
	else
		heir = NULL;
	pthread_mutex_unlock(&readers->lock);
	return heir;
}

bool relay_internal_readers_pass(struct relay_thread *thread, struct relay_thread *heir)
{
	struct relay_session *session = thread->session;
	bool had;

	pthread_mutex_lock(&session->readers.lock);
	had = relay_internal_readers_paired(thread);
	if (had) {
		relay_internal_pairing_inherit(heir, thread);
		turn_set(session, (uint32_t)(heir - session->threads));
	}
	pthread_mutex_unlock(&session->readers.lock);
	return had;
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
		turn_update(session);
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
	turn_update(session);
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
	turn_update(session);
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
	turn_update(session);
	pthread_mutex_unlock(&readers->lock);
	if (first)
		tell(session, RELAY_NOTIFY_GONE);
}

void relay_internal_readers_end(struct relay_session *session)
{
	struct relay_readers *readers = &session->readers;

	pthread_mutex_lock(&readers->lock);
	readers->ended = true;
	turn_update(session);
	pthread_mutex_unlock(&readers->lock);
}
