/*
 * The pool: its threads, what each takes up next, and what is made of that when the
 * channel ends.
 *
 * All that is the pool's is guarded by its lock, which is never held while anything is
 * asked, sent or answered.  What a dying backend leaves: asks that return -EPIPE, and
 * slots that go back to WAITING, by whoever has them: repair_end() those that wait, each
 * thread its own.  A thread that has sent its request has nothing any more.
 */
#include "repair.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "dispatch.h"
#include "log.h"
#include "rights.h"

enum job {
	JOB_NONE,
	JOB_RELEASES,
	JOB_CHORES,
	JOB_SLOT,
};

void repair_init(struct repair *repair, struct dispatch *dispatch, struct translate *translate)
{
	*repair = (struct repair){.dispatch = dispatch};
	restore_init(&repair->restore, translate);
	pthread_mutex_init(&repair->lock, NULL);
	pthread_cond_init(&repair->changed, NULL);
}

static struct inflight *slot_of(const struct repair *repair, uint32_t slot)
{
	return &repair->dispatch->inflight[slot];
}

static bool worked_on(const struct repair *repair, uint32_t slot)
{
	for (unsigned i = 0; i < ASK_MAX; i++)
		if (repair->workers[i].has_slot && repair->workers[i].slot == slot)
			return true;
	return false;
}

/* ---- jobs ---------------------------------------------------------------- */

/* The oldest slot that nobody works on, or false. */
static bool slot_oldest(const struct repair *repair, uint32_t *oldest)
{
	bool found = false;

	for (uint32_t slot = 0; slot < journal_slots(repair->dispatch->journal); slot++) {
		const struct inflight *r = slot_of(repair, slot);

		if (atomic_load(&r->state) != INFLIGHT_REPAIR || worked_on(repair, slot))
			continue;
		if (!found || r->arrived_ns < slot_of(repair, *oldest)->arrived_ns)
			*oldest = slot;
		found = true;
	}
	return found;
}

/* What comes next, with the lock held. */
static enum job job_take(struct repair_worker *worker)
{
	struct repair *repair = worker->repair;

	if (!repair->open)
		return JOB_NONE;
	if (repair->releases) {
		repair->releases = false;
		return JOB_RELEASES;
	}
	if (repair->chores == REPAIR_CHORES_DUE) {
		repair->chores = REPAIR_CHORES_DONE;
		return JOB_CHORES;
	}
	if (!repair->waiting || !slot_oldest(repair, &worker->slot))
		return JOB_NONE;
	repair->waiting--;
	worker->has_slot = true;
	/* If the incarnation dies from here on it may be this that it died of. */
	slot_of(repair, worker->slot)->worked = true;
	return JOB_SLOT;
}

/* Open files that the kernel does not know of.  What may be forgotten then is told by the carrier. */
static int releases_do(struct repair_worker *worker)
{
	struct dispatch *dispatch = worker->repair->dispatch;
	struct translate_release release;
	int err = 0;

	while (err != -EPIPE && translate_release_take(&dispatch->translate, &release)) {
		err = ask_release(&worker->ask, release.nodeid, &release.caller, release.fh, release.flags,
				  release.dir);
		translate_release_done(&dispatch->translate, &release);
		atomic_store(&dispatch->forgetting, true);
		dispatch_kick(dispatch);
	}
	return 0;
}

/* The next node, from this lock on, with one that the present incarnation has not set; 0 at the end. */
static uint64_t lock_next(struct translate *translate, uint32_t *number)
{
	const struct nodes *nodes = &translate->nodes;
	uint64_t nodeid = 0;

	pthread_mutex_lock(&translate->lock);
	for (; !nodeid && *number < state_end(&translate->state, STATE_LOCKS); ++*number) {
		const struct lock *lock = state_get(&translate->state, STATE_LOCKS, *number);

		if (lock && lock->incarnation != nodes->incarnation)
			nodeid = nodes_at(nodes, lock->node)->nodeid;
	}
	pthread_mutex_unlock(&translate->lock);
	return nodeid;
}

/* Returns 0, -EPIPE, or -EAGAIN: once more when something is certain. */
static int chores_do(struct repair_worker *worker)
{
	struct repair *repair = worker->repair;
	uint32_t number = 1;
	uint64_t nodeid;
	int err = restore_modes(&repair->restore, &worker->ask);
	bool again = err == -EAGAIN;

	while ((err >= 0 || err == -EAGAIN) && (nodeid = lock_next(&repair->dispatch->translate, &number)) != 0) {
		err = restore_locks(&repair->restore, &worker->ask, nodeid);
		again = again || err == -EAGAIN;
	}
	if (err == -ENOMEM)
		log_warning("%s: locks are set again only when their files are used: %s", repair->dispatch->name,
			    strerror(ENOMEM));
	if (err == -EPIPE)
		return err;
	return again ? -EAGAIN : 0;
}

/*
 * The slot hangs on something in doubt.  Returns false if it is to be given up: there is
 * nothing left that could become certain without it.  `seen` counted doubts when it was
 * taken.  With the lock held.
 */
static bool slot_park(struct repair_worker *worker, uint32_t seen)
{
	struct repair *repair = worker->repair;
	struct inflight *r = slot_of(repair, worker->slot);

	if (repair->certain != seen) {
		repair->waiting++;
		return true;
	}
	if (repair->doubts == repair->parked + r->doubt)
		return false;
	repair->parked += r->doubt;
	r->worked = false;
	atomic_store(&r->state, INFLIGHT_PARKED);
	/* Who waits for what the incarnation has need not wait for this. */
	if (atomic_load_explicit(&repair->dispatch->watched, memory_order_relaxed))
		dispatch_event(repair->dispatch, DISPATCH_PROGRESS);
	return true;
}

static void slot_give_up(struct repair_worker *worker)
{
	struct repair *repair = worker->repair;
	const struct inflight *r = slot_of(repair, worker->slot);

	log_error(
		"%s: %s, unique %llu: its files cannot be found again: RENAMEs that may have been applied hang on each "
		"other; answered ESTALE",
		repair->dispatch->name, dispatch_opcode_name(r->opcode), (unsigned long long)r->unique);
	pthread_mutex_unlock(&repair->lock);
	dispatch_answer(repair->dispatch, worker->slot, ESTALE);
	pthread_mutex_lock(&repair->lock);
}

/*
 * The slot was sent or answered before this thread is through with it, and so may be
 * another request's, which was given to the pool: channel_gone() has left it to us.
 */
static void slot_leave(struct repair_worker *worker)
{
	struct repair *repair = worker->repair;
	uint32_t again = INFLIGHT_REPAIR;

	worker->has_slot = false;
	if (!repair->open)
		atomic_compare_exchange_strong(&slot_of(repair, worker->slot)->state, &again, INFLIGHT_WAITING);
}

/* What the job has come to, with the lock held. */
static void job_end(struct repair_worker *worker, enum job job, int result, uint32_t seen)
{
	struct repair *repair = worker->repair;
	bool gone = !repair->open || result == -EPIPE;

	if (job == JOB_CHORES && result == -EAGAIN && !gone)
		repair->chores = repair->certain != seen ? REPAIR_CHORES_DUE : REPAIR_CHORES_PARKED;
	if (job == JOB_SLOT && result && gone)
		atomic_store(&slot_of(repair, worker->slot)->state, INFLIGHT_WAITING);
	else if (job == JOB_SLOT && result && !slot_park(worker, seen))
		slot_give_up(worker);
	if (job == JOB_SLOT)
		slot_leave(worker);
	worker->busy = false;
	pthread_cond_broadcast(&repair->changed);
}

static void *worker_run(void *arg)
{
	struct repair_worker *worker = arg;
	struct repair *repair = worker->repair;

	rights_lower();
	pthread_mutex_lock(&repair->lock);
	while (!repair->stop) {
		uint32_t seen = repair->certain;
		enum job job = job_take(worker);
		int result = 0;

		if (job == JOB_NONE) {
			pthread_cond_wait(&repair->changed, &repair->lock);
			continue;
		}
		worker->busy = true;
		/* With the lock: the end of the channel comes before this, or is seen by the ask. */
		ask_begin(&worker->ask, repair->incarnation);
		pthread_mutex_unlock(&repair->lock);
		if (job == JOB_SLOT)
			result = repair_slot(worker);
		else
			result = job == JOB_CHORES ? chores_do(worker) : releases_do(worker);
		pthread_mutex_lock(&repair->lock);
		job_end(worker, job, result, seen);
	}
	pthread_mutex_unlock(&repair->lock);
	return NULL;
}

/* ---- threads ------------------------------------------------------------- */

static int worker_start(struct repair *repair, unsigned number)
{
	struct repair_worker *worker = &repair->workers[number];
	int err;

	worker->repair = repair;
	worker->reply = malloc(RELAY_MAX_REPLY);
	if (!worker->reply)
		return -ENOMEM;
	err = ask_init(&worker->ask, repair->dispatch, number);
	if (!err) {
		err = pthread_create(&worker->thread, NULL, worker_run, worker);
		if (err)
			ask_deinit(&worker->ask);
	}
	if (err) {
		free(worker->reply);
		return -ENOMEM;
	}
	worker->started = true;
	return 0;
}

/* All at once, with the first need.  Fewer than all will do.  With the lock held. */
static int threads_start(struct repair *repair)
{
	for (unsigned i = 0; i < ASK_MAX && !repair->stop; i++)
		if (!repair->workers[i].started && worker_start(repair, i) < 0)
			break;
	return repair->workers[0].started ? 0 : -ENOMEM;
}

void repair_deinit(struct repair *repair)
{
	repair_shut(repair);
	pthread_mutex_lock(&repair->lock);
	repair->stop = true;
	pthread_cond_broadcast(&repair->changed);
	pthread_mutex_unlock(&repair->lock);
	for (unsigned i = 0; i < ASK_MAX; i++) {
		struct repair_worker *worker = &repair->workers[i];

		if (!worker->started)
			continue;
		pthread_join(worker->thread, NULL);
		ask_deinit(&worker->ask);
		free(worker->reply);
	}
	restore_deinit(&repair->restore);
	pthread_cond_destroy(&repair->changed);
	pthread_mutex_destroy(&repair->lock);
}

/* ---- what the others give to the pool ------------------------------------ */

int repair_put(struct repair *repair, uint32_t slot)
{
	int err = -EPIPE;

	pthread_mutex_lock(&repair->lock);
	if (repair->open)
		err = threads_start(repair);
	if (!err) {
		atomic_store(&slot_of(repair, slot)->state, INFLIGHT_REPAIR);
		repair->waiting++;
		pthread_cond_broadcast(&repair->changed);
	}
	pthread_mutex_unlock(&repair->lock);
	if (!err)
		atomic_fetch_add_explicit(&repair->dispatch->stats->repaired, 1, memory_order_relaxed);
	return err;
}

void repair_release(struct repair *repair)
{
	struct translate *translate = &repair->dispatch->translate;
	struct translate_release release;
	int err = 0;

	pthread_mutex_lock(&repair->lock);
	if (repair->open) {
		err = threads_start(repair);
		repair->releases = !err;
		pthread_cond_broadcast(&repair->changed);
	}
	pthread_mutex_unlock(&repair->lock);
	/* Nobody to ask: it keeps them open until it ends, but it may be told to forget nodes. */
	while (err && translate_release_take(translate, &release))
		translate_release_done(translate, &release);
}

bool repair_reply(struct repair *repair, uint32_t slot, const void *reply, uint32_t size)
{
	struct repair_worker *worker;
	bool started;

	if (slot < ASK_SLOT(ASK_MAX - 1) || slot > ASK_SLOT(0))
		return false;
	worker = &repair->workers[ASK_SLOT(0) - slot];
	pthread_mutex_lock(&repair->lock);
	started = worker->started;
	pthread_mutex_unlock(&repair->lock);
	return started && ask_take(&worker->ask, reply, size);
}

/* ---- doubts -------------------------------------------------------------- */

/* Those that wait for a redo, before anything is restored. */
static void doubts_note(struct repair *repair)
{
	struct dispatch *dispatch = repair->dispatch;

	for (uint32_t slot = 0; slot < journal_slots(dispatch->journal); slot++) {
		struct inflight *r = slot_of(repair, slot);

		if (atomic_load(&r->state) != INFLIGHT_WAITING || !r->delivered ||
		    (r->opcode != FUSE_RENAME && r->opcode != FUSE_RENAME2))
			continue;
		r->doubt = restore_doubt(&repair->restore, journal_request(dispatch->journal, slot), r->size) == 0;
		repair->doubts += r->doubt;
		if (!r->doubt)
			log_warning("%s: %s, unique %llu: no memory to tell what it may have renamed", dispatch->name,
				    dispatch_opcode_name(r->opcode), (unsigned long long)r->unique);
	}
}

void repair_certain(struct repair *repair, const void *request)
{
	restore_certain(&repair->restore, request);
	pthread_mutex_lock(&repair->lock);
	repair->certain++;
	repair->doubts--;
	repair->parked = 0;
	for (uint32_t slot = 0; slot < journal_slots(repair->dispatch->journal); slot++) {
		uint32_t parked = INFLIGHT_PARKED;

		repair->waiting +=
			atomic_compare_exchange_strong(&slot_of(repair, slot)->state, &parked, INFLIGHT_REPAIR);
	}
	if (repair->chores == REPAIR_CHORES_PARKED)
		repair->chores = REPAIR_CHORES_DUE;
	pthread_cond_broadcast(&repair->changed);
	pthread_mutex_unlock(&repair->lock);
}

/* ---- incarnations -------------------------------------------------------- */

/* Whoever polls asks the present incarnation: the one that was to wake them is gone. */
static void pollers_wake(struct dispatch *dispatch)
{
	struct translate *translate = &dispatch->translate;
	struct handle *handle = NULL;

	pthread_mutex_lock(&translate->lock);
	while ((handle = handles_next(&translate->handles, handle)) != NULL) {
		const struct {
			struct fuse_out_header header;
			struct fuse_notify_poll_wakeup_out out;
		} packet = {
			.header = {.len = sizeof(packet), .error = FUSE_NOTIFY_POLL},
			.out = {.kh = handle->poll_kh},
		};
		int err;

		if (!(handle->flags & HANDLE_POLLED))
			continue;
		handle->flags &= ~(uint32_t)HANDLE_POLLED;
		err = notify_put(&dispatch->notify, &packet, sizeof(packet));
		if (err)
			log_warning("%s: who polls a file is not told to ask again: %s", dispatch->name,
				    strerror(-err));
	}
	pthread_mutex_unlock(&translate->lock);
}

void repair_open(struct repair *repair, uint32_t incarnation)
{
	bool later;

	pthread_mutex_lock(&repair->lock);
	if (incarnation == repair->incarnation || incarnation == repair->ended) {
		pthread_mutex_unlock(&repair->lock);
		return;
	}
	later = repair->incarnation != 0;
	repair->incarnation = incarnation;
	doubts_note(repair);
	namegate_open(&repair->restore.names);
	repair->open = true;
	if (later) {
		repair->chores = REPAIR_CHORES_DUE;
		if (threads_start(repair) < 0)
			log_warning("%s: no memory to set locks again before their files are used",
				    repair->dispatch->name);
	}
	pthread_cond_broadcast(&repair->changed);
	pthread_mutex_unlock(&repair->lock);
	if (later)
		pollers_wake(repair->dispatch);
}

/* With the lock held. */
static void channel_gone(struct repair *repair)
{
	repair->open = false;
	repair->ended = repair->incarnation;
	repair->releases = false;
	repair->chores = REPAIR_CHORES_DONE;
	for (unsigned i = 0; i < ASK_MAX; i++)
		if (repair->workers[i].started)
			ask_end(&repair->workers[i].ask);
	namegate_shut(&repair->restore.names);
	for (uint32_t slot = 0; slot < journal_slots(repair->dispatch->journal); slot++) {
		struct inflight *r = slot_of(repair, slot);
		uint32_t state = atomic_load(&r->state);

		if ((state == INFLIGHT_REPAIR || state == INFLIGHT_PARKED) && !worked_on(repair, slot))
			atomic_store(&r->state, INFLIGHT_WAITING);
	}
	repair->waiting = repair->parked = 0;
}

void repair_end(struct repair *repair, uint32_t incarnation)
{
	pthread_mutex_lock(&repair->lock);
	if (repair->open && repair->incarnation == incarnation)
		channel_gone(repair);
	/* It may end before it is served. */
	repair->ended = incarnation;
	pthread_mutex_unlock(&repair->lock);
}

static bool any_busy(const struct repair *repair)
{
	for (unsigned i = 0; i < ASK_MAX; i++)
		if (repair->workers[i].busy)
			return true;
	return false;
}

void repair_shut(struct repair *repair)
{
	pthread_mutex_lock(&repair->lock);
	if (repair->open)
		channel_gone(repair);
	while (any_busy(repair))
		pthread_cond_wait(&repair->changed, &repair->lock);
	repair->doubts = 0;
	pthread_mutex_unlock(&repair->lock);
	restore_doubts_clear(&repair->restore);
}
