/*
 * Direct lane: several clients, and whether one thread serves them faster than all do.
 *
 * With short handlers and few processors it may: a thread that finds the next request there
 * when it has replied need not be woken for it, and one that stays where it is leaves the
 * other processors to the clients.  With handlers that sleep, or many processors, it does
 * not.  Which it is depends on more than can be seen from here, so it is tried: what a
 * request takes while all read is measured, then one thread reads for as long, pinned to
 * the processor on which it is, and what was faster stays.  Either way the question is
 * asked again, after up to a second, and at once when the answer does not seem to hold any
 * more.  A trial takes TRIAL, so less than a fiftieth of the time is spent on them.
 *
 * A handler that takes long ends a turn as in pairing.c, and counts as a trial that was lost.
 */
#include "internal.h"

#define MS 1000000u

#define TRIAL (16u * MS)
#define TRIAL_MAX (4u * TRIAL) /* slower clients than that are not worth a thought */
#define GAIN 16u	       /* a trial is won by this fraction of what it was before */
#define AGAIN_MIN (64u * MS)
#define AGAIN_MAX (1024u * MS)

/* The question is asked again at `crowd->again`: later and later while the answer is the same. */
static void answer(struct relay_crowd *crowd, bool one, uint64_t now)
{
	if (crowd->one_won != one || !crowd->pause)
		crowd->pause = AGAIN_MIN;
	else if (crowd->pause < AGAIN_MAX)
		crowd->pause *= 2;
	crowd->one_won = one;
	crowd->again = now + crowd->pause;
}

static void measure_begin(struct relay_crowd *crowd, uint32_t replies, uint64_t now)
{
	crowd->began = now;
	crowd->replies = replies;
}

/* One thread reads, and has for TRIAL at least. */
static enum relay_pairing_advice judge_one(struct relay_crowd *crowd, uint64_t cost, uint64_t now)
{
	if (crowd->trial) {
		crowd->trial = false;
		crowd->cost_one = cost;
		answer(crowd, cost + cost / GAIN <= crowd->cost_all, now);
		crowd->one = crowd->one_won;
	} else {
		/* What it was won by may have been another load. */
		crowd->one = now < crowd->again && cost <= crowd->cost_one + crowd->cost_one / 2;
		if (!crowd->one)
			crowd->again = now;
	}
	return crowd->one ? RELAY_PAIRING_KEEP : RELAY_PAIRING_LEAVE;
}

enum relay_pairing_advice relay_internal_crowd_judge(struct relay_crowd *crowd, bool one, uint32_t replies,
						     uint64_t now)
{
	uint32_t count = replies - crowd->replies;
	uint64_t took = now - crowd->began;

	if (crowd->one && !one) {
		/* Its turn was ended by somebody else. */
		crowd->one = crowd->trial = false;
		answer(crowd, false, now);
		measure_begin(crowd, replies, now);
		return RELAY_PAIRING_KEEP;
	}
	if (took < TRIAL)
		return RELAY_PAIRING_KEEP;
	measure_begin(crowd, replies, now);
	if (took > TRIAL_MAX || !count)
		return RELAY_PAIRING_KEEP;
	if (one)
		return judge_one(crowd, took / count, now);
	crowd->cost_all = took / count;
	if (now < crowd->again)
		return RELAY_PAIRING_KEEP;
	crowd->one = crowd->trial = true;
	return RELAY_PAIRING_JOIN;
}

static uint32_t replies_of_all(const struct relay_session *session)
{
	uint32_t sum = 0;

	for (unsigned i = 0; i < session->thread_count; i++)
		sum += atomic_load_explicit(&session->threads[i].pace.replies, memory_order_relaxed);
	return sum;
}

bool relay_internal_crowd_window(struct relay_thread *thread, bool paired, bool alone)
{
	struct relay_session *session = thread->session;
	struct relay_crowd *crowd = &session->crowd;
	enum relay_pairing_advice advice = RELAY_PAIRING_KEEP;
	bool ours;

	/* Another thread is at it; the next window will do. */
	if (atomic_exchange(&crowd->judged, true))
		return true;
	/* A turn that one client has is pairing.c's, and becomes so when the others have left. */
	if (alone && paired)
		crowd->one = crowd->trial = false;
	ours = !alone && (!paired || crowd->one);
	if (ours)
		advice = relay_internal_crowd_judge(crowd, paired, replies_of_all(session), thread->pace.replied_at);
	if (advice == RELAY_PAIRING_JOIN && relay_internal_readers_join(thread))
		relay_internal_pairing_stay(thread);
	else if (advice == RELAY_PAIRING_LEAVE)
		relay_internal_readers_leave(thread);
	/* Now that the turn is as it says: a trial whose turn is not there looks like one that was ended. */
	atomic_store(&crowd->judged, false);
	return ours;
}
