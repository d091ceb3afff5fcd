/*
 * Answering with errors, after no backend has served for as long as the mount's policy has
 * applications wait (--down-policy).  All on the main thread, but for what the carrier finds
 * out by itself.
 *
 *   ENOTCONN  no backend has seen the request: nothing was done
 *   EIO       an earlier incarnation had it: whether it was done is not known
 *
 * The slots of the latter are kept: the next incarnation may have to roll back what
 * the request had changed in the backend's state.  What closes a file, and FORGET, waits all the
 * same: nobody waits for it, and a backend that is not told would keep the file open for ever.
 *
 * A process dying here leaves requests that are answered and whose slots say ABANDONED, as for
 * callers that were given up (dispatch_redo.c).
 */
#include "dispatch.h"

#include <errno.h>

/* Whether it is one that anybody is to be told about. */
static bool is_told(const struct inflight *r)
{
	const struct relay_op *op = relay_op_get(r->opcode);

	return op && dispatch_fails(op);
}

void dispatch_fail(struct dispatch *dispatch, uint32_t slot)
{
	struct inflight *r = &dispatch->inflight[slot];
	uint32_t state = atomic_load(&r->state);
	/* SENT: to one that is gone, but for a system call that does not end. */
	bool had = (state == INFLIGHT_WAITING && r->delivered) || (state == INFLIGHT_SENT && dispatch->gone);

	if (!is_told(r) || !(had || state == INFLIGHT_WAITING))
		return;
	/* First: who has the answer may look whether it was counted. */
	atomic_fetch_add_explicit(&dispatch->stats->failed, 1, memory_order_relaxed);
	if (had)
		dispatch_give_up(dispatch, slot, state, EIO);
	else
		dispatch_answer(dispatch, slot, ENOTCONN);
}

void dispatch_fail_waiting(struct dispatch *dispatch)
{
	if (direct_is(&dispatch->direct))
		dispatch_drain_all(dispatch);
	pthread_mutex_lock(&dispatch->lock);
	for (uint32_t slot = 0; slot < journal_slots(dispatch->journal); slot++)
		dispatch_fail(dispatch, slot);
	if (dispatch_is_uring(dispatch))
		dispatch_rings_fail(dispatch);
	pthread_mutex_unlock(&dispatch->lock);
	/* The carrier may hold one of them. */
	dispatch_kick(dispatch);
}

void dispatch_fail_begin(struct dispatch *dispatch)
{
	atomic_store(&dispatch->failing, true);
	dispatch_fail_waiting(dispatch);
}

void dispatch_fail_end(struct dispatch *dispatch)
{
	atomic_store(&dispatch->failing, false);
}
