/*
 * One request in the pool: straight through, from what it needs to where it goes.
 *
 * Crash windows: a backend dying anywhere here leaves the slot as it was, to be begun anew
 * with the next incarnation.  What was restored by then is in the tables, as that dead
 * one's; what a redo has found out is not kept.  Only when the request itself is sent, or
 * its answer goes to the kernel, does the slot leave the pool.
 */
#include "repair.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "dispatch.h"
#include "log.h"
#include "redo.h"

/*
 * How often something that was just restored may be found not to be: by an UNLINK that
 * came between, for one.  More often it is nothing that happens by itself.
 */
#define ROUNDS 64u

/* A request that is being worked on. */
struct work {
	struct repair_worker *worker;
	struct dispatch *dispatch;
	struct inflight *r;
	const void *request;
	uint32_t slot;
	bool done; /* the slot is not ours any more */
};

/* Answers with a payload in the backend's form. */
static void work_deliver(struct work *work, int32_t error, void *payload, uint32_t size)
{
	const struct fuse_out_header header = {
		.len = (uint32_t)sizeof(header) + size,
		.error = error,
	};

	atomic_store(&work->r->state, INFLIGHT_ANSWERED);
	dispatch_deliver(work->dispatch, work->slot, &header, payload);
	work->done = true;
}

static void work_answer(struct work *work, int error)
{
	atomic_store(&work->r->state, INFLIGHT_ANSWERED);
	dispatch_answer(work->dispatch, work->slot, error);
	work->done = true;
}

/*
 * Through the namespace gate, if the request takes names, until it is answered; no walk of
 * this thread's is under way.
 */
static int gate_enter(struct work *work)
{
	bool renames = relay_op_get(work->r->opcode)->flags & RELAY_OP_RENAMES;

	if (renames && !work->r->renaming)
		work->r->renaming = namegate_change_begin(&work->worker->repair->restore.names);
	return renames && !work->r->renaming ? -EPIPE : 0;
}

/* These return 0, a positive errno to answer with, or -EPIPE, -ENOMEM, -EAGAIN. */

/* What came of it in an earlier life; or how things are before it is sent for the first time. */
static int work_redo(struct work *work)
{
	struct redo redo = {
		.restore = &work->worker->repair->restore,
		.ask = &work->worker->ask,
		.mount = work->dispatch->name,
		.shared_store = work->dispatch->shared_store,
		.request = work->request,
		.size = work->r->size,
		.before = work->r->before,
		.reply = work->worker->reply,
	};
	int outcome;

	if (!work->r->delivered)
		return redo_looks_before(work->request, work->r->size) ? redo_before(&redo, &work->r->before) : 0;
	if (!redo_special(work->request, work->r->size))
		return 0;
	outcome = gate_enter(work);
	if (!outcome)
		outcome = redo_run(&redo);
	if (outcome < 0)
		return outcome;
	if (outcome == REDO_ANSWERED)
		work_deliver(work, redo.error, redo.reply, redo.reply_size);
	return 0;
}

/* Whether it reads on in a directory that was opened again. */
static bool reads_on(struct work *work)
{
	const struct relay_op *op = relay_op_get(work->r->opcode);
	struct translate *translate = &work->dispatch->translate;
	const struct handle *handle;
	struct fuse_read_in in;
	bool on;

	if (!(op->flags & (RELAY_OP_DIRENTS | RELAY_OP_ENTRIES)))
		return false;
	memcpy(&in, (const char *)work->request + sizeof(struct fuse_in_header), sizeof(in));
	pthread_mutex_lock(&translate->lock);
	handle = handles_get(&translate->handles, in.fh);
	on = handle && handle->flags & HANDLE_RESUMES && in.offset != 0;
	pthread_mutex_unlock(&translate->lock);
	return on;
}

static int work_readdir(struct work *work)
{
	struct repair_worker *worker = work->worker;
	uint32_t size = 0;
	int err;

	if (!reads_on(work))
		return 0;
	err = restore_readdir(&worker->repair->restore, &worker->ask, work->request, work->r->size, worker->reply,
			      &size);
	/* 0: the present incarnation's cookies are good from here on. */
	if (!err && size)
		work_deliver(work, 0, worker->reply, size == UINT32_MAX ? 0 : size);
	return err;
}

/* With the lock of the dispatch: as dispatch_pass(). */
static int channel_pass(struct work *work, int *channel)
{
	struct dispatch *dispatch = work->dispatch;
	int result = -EPIPE;

	pthread_mutex_lock(&dispatch->lock);
	*channel = dispatch->channel;
	if (dispatch->channel >= 0 && dispatch->incarnation == work->worker->ask.incarnation)
		result = dispatch_pass(dispatch, work->slot, MSG_DONTWAIT);
	pthread_mutex_unlock(&dispatch->lock);
	return result;
}

/* Sends it.  0 without `done`: something is not restored any more. */
static int work_send(struct work *work)
{
	struct ask *ask = &work->worker->ask;
	int channel, result;

	do {
		result = gate_enter(work);
		if (result)
			return result;
		result = channel_pass(work, &channel);
		work->done = result == DISPATCH_PASSED;
		/* dispatch_pass() has left the gate where it has not sent: nobody waits there for room. */
	} while (result == -EAGAIN && ask_room(ask, channel));
	if (result < 0)
		ask_end(ask);
	return result < 0 ? -EPIPE : 0;
}

static int work_round(struct work *work)
{
	struct repair_worker *worker = work->worker;
	int err;

	/* Before anything is asked: what changes from here on is not in what is answered. */
	translate_note(&work->dispatch->translate, work->request, &work->r->note);
	err = restore_request(&worker->repair->restore, &worker->ask, work->request, work->r->size);
	if (!err)
		err = work_redo(work);
	if (!err && !work->done)
		err = work_readdir(work);
	if (!err && !work->done)
		err = work_send(work);
	if (!work->done)
		dispatch_namegate_leave(work->dispatch, work->r);
	/* Something is another incarnation's, and that one not ours: ids that were given away, for one.  Once more. */
	return err == -EPIPE && !ask_gone(&worker->ask) ? 0 : err;
}

int repair_slot(struct repair_worker *worker)
{
	struct dispatch *dispatch = worker->repair->dispatch;
	struct work work = {
		.worker = worker,
		.dispatch = dispatch,
		.slot = worker->slot,
		.r = &dispatch->inflight[worker->slot],
		.request = journal_request(dispatch->journal, worker->slot),
	};
	int err = 0;

	for (unsigned round = 0; !err && !work.done; round++) {
		if (round == ROUNDS) {
			log_error(
				"%s: %s, unique %llu: what it needs is not there again, however often it is restored; "
				"answered EIO",
				dispatch->name, dispatch_opcode_name(work.r->opcode),
				(unsigned long long)work.r->unique);
			err = EIO;
		} else {
			err = work_round(&work);
		}
	}
	if (err == -EPIPE || err == -EAGAIN)
		return err;
	if (err)
		work_answer(&work, err < 0 ? -err : err);
	return 0;
}
