/*
 * SETLK, SETLKW and GETLK, and the requests that wait for a lock.
 *
 * A request that waits is parked here until a lock goes, in the order of their
 * coming, or until it is interrupted.  Parked requests are this process's only:
 * relayd sends them to the next incarnation again, oldest first.
 *
 * What another program holds on the store gives no sign when it goes: while a
 * request waits for such a lock, and only then, a thread looks again and again.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fs.h"
#include "locks.h"

#define FOREIGN_RETRY_MS 20
/* As the kernel's own: longer chains of waiters are taken for no deadlock. */
#define DEADLOCK_DEPTH 10

struct waiter {
	struct waiter *next;
	struct relay_req *req;
	struct lock_range range;
	struct lock_inode *inode;
	bool foreign; /* the table has nothing against it, the store has */
	int result;   /* once it is off the list */
};

static struct locks locks;
static struct waiter *waiters, **waiters_end = &waiters; /* oldest first */
static unsigned foreign_count;
static pthread_cond_t foreign_cond = PTHREAD_COND_INITIALIZER;
static bool foreign_thread;

/* ---- waiters ----------------------------------------------------------- */

static void foreign_set(struct waiter *waiter, bool foreign)
{
	if (waiter->foreign == foreign)
		return;
	waiter->foreign = foreign;
	foreign_count += foreign ? 1u : -1u;
	if (foreign)
		pthread_cond_signal(&foreign_cond);
}

/* What nobody locks and nobody waits for is not remembered. */
static void inode_done(struct lock_inode *inode)
{
	if (inode->first == 0 && inode->waiters == 0)
		locks_store_close(inode);
	locks_inode_release(&locks, inode);
}

/* Takes *link off the list and puts it on *done. */
static void waiter_finish(struct waiter **link, int result, struct waiter **done)
{
	struct waiter *waiter = *link;

	foreign_set(waiter, false);
	*link = waiter->next;
	if (!*link)
		waiters_end = link;
	waiter->inode->waiters--;
	waiter->result = result;
	waiter->next = *done;
	*done = waiter;
}

/* Answers, without the mutex. */
static void waiters_answer(struct waiter *done)
{
	struct waiter *waiter;

	while ((waiter = done)) {
		done = waiter->next;
		reply_result(waiter->req, waiter->result);
		free(waiter);
	}
}

/* 0 when it is set, -EAGAIN with *foreign if it has to wait, or another negative errno. */
static int lock_try(struct fs *fs, struct lock_inode *inode, const struct lock_range *range, bool *foreign)
{
	int err;

	*foreign = false;
	if (locks_conflict(&locks, inode, range, NULL))
		return -EAGAIN;
	err = locks_store_acquire(fs, inode, range);
	if (err) {
		*foreign = err == -EAGAIN;
		/* flock() gives up the old lock when it cannot have the new one. */
		if (range->flock)
			locks_store_refresh(&locks, inode, range);
		return err;
	}
	err = locks_set(&locks, inode, range);
	if (err)
		locks_store_refresh(&locks, inode, range);
	return err;
}

/* Something of the inode's became free: grants what can be granted. */
static void waiters_retry(struct fs *fs, struct lock_inode *inode, struct waiter **done)
{
	struct waiter **link = &waiters;

	while (*link) {
		struct waiter *waiter = *link;
		bool foreign;
		int err;

		if (waiter->inode == inode) {
			err = lock_try(fs, inode, &waiter->range, &foreign);
			if (err != -EAGAIN) {
				waiter_finish(link, err, done);
				continue;
			}
			foreign_set(waiter, foreign);
		}
		link = &waiter->next;
	}
}

static void *foreign_run(void *arg)
{
	struct lock_inode *inode;
	struct waiter *waiter, *done;
	struct fs *fs = arg;
	struct timespec pause = {.tv_nsec = FOREIGN_RETRY_MS * 1000000L};

	pthread_mutex_lock(&locks.mutex);
	for (;;) {
		while (foreign_count == 0)
			pthread_cond_wait(&foreign_cond, &locks.mutex);
		done = NULL;
		for (waiter = waiters; waiter && !waiter->foreign; waiter = waiter->next)
			;
		inode = waiter->inode;
		waiters_retry(fs, inode, &done);
		inode_done(inode);
		pthread_mutex_unlock(&locks.mutex);
		waiters_answer(done);
		nanosleep(&pause, NULL);
		pthread_mutex_lock(&locks.mutex);
	}
	return NULL;
}

static int foreign_start(struct fs *fs)
{
	pthread_t thread;
	int err;

	if (foreign_thread)
		return 0;
	err = pthread_create(&thread, NULL, foreign_run, fs);
	if (err)
		return -err;
	pthread_detach(thread);
	foreign_thread = true;
	return 0;
}

/* True if the owner, by waiting for the range, would wait for itself. */
static bool deadlock(const struct lock_inode *inode, const struct lock_range *range, uint64_t owner, int depth)
{
	const struct lock *lock = NULL;
	const struct waiter *waiter;

	if (depth == DEADLOCK_DEPTH)
		return false;
	while ((lock = locks_conflict(&locks, inode, range, lock))) {
		if (lock->owner == owner)
			return true;
		for (waiter = waiters; waiter; waiter = waiter->next) {
			if (!waiter->range.flock && waiter->range.owner == lock->owner &&
			    deadlock(waiter->inode, &waiter->range, owner, depth + 1))
				return true;
		}
	}
	return false;
}

/* ---- requests ---------------------------------------------------------- */

static struct lock_range range_of(const struct relay_req *req, const struct fuse_lk_in *in)
{
	return (struct lock_range){
		.nodeid = relay_req_nodeid(req),
		.owner = in->owner,
		.fh = in->fh,
		.pid = in->lk.pid,
		.start = in->lk.start,
		.end = in->lk.end,
		.type = (int)in->lk.type,
		.flock = (in->lk_flags & FUSE_LK_FLOCK) != 0,
	};
}

/* Takes away what the range says (its type is F_UNLCK), and lets others go on. */
static int range_drop(struct fs *fs, struct lock_inode *inode, const struct lock_range *range, struct waiter **done)
{
	int err = locks_set(&locks, inode, range);

	if (err)
		return err;
	locks_store_refresh(&locks, inode, range);
	waiters_retry(fs, inode, done);
	return 0;
}

/* Parks the request.  Called with the mutex, which is released. */
static void request_park(struct fs *fs, struct relay_req *req, struct lock_inode *inode,
			 const struct lock_range *range, bool foreign)
{
	struct waiter *waiter, *done = NULL, **link;
	int err;

	err = foreign ? foreign_start(fs) : 0;
	waiter = err ? NULL : calloc(1, sizeof(*waiter));
	if (!waiter) {
		pthread_mutex_unlock(&locks.mutex);
		reply_result(req, err ? err : -ENOMEM);
		return;
	}
	req = relay_req_detach(req);
	if (!req) {
		pthread_mutex_unlock(&locks.mutex);
		free(waiter);
		return;
	}
	waiter->req = req;
	waiter->range = *range;
	waiter->inode = inode;
	inode->waiters++;
	link = waiters_end;
	*link = waiter;
	waiters_end = &waiter->next;
	foreign_set(waiter, foreign);
	/* An INTERRUPT that came before found nothing. */
	if (relay_req_interrupted(req))
		waiter_finish(link, -EINTR, &done);
	pthread_mutex_unlock(&locks.mutex);
	waiters_answer(done);
}

static void lock_request(struct relay_req *req, const struct fuse_lk_in *in, bool wait)
{
	struct lock_range range = range_of(req, in), drop = range;
	struct waiter *done = NULL;
	struct fs *fs = fs_of(req);
	struct lock_inode *inode;
	bool foreign = false;
	int err;

	drop.type = F_UNLCK;
	pthread_mutex_lock(&locks.mutex);
	inode = locks_inode(&locks, range.nodeid, range.type != F_UNLCK);
	if (!inode) {
		pthread_mutex_unlock(&locks.mutex);
		reply_result(req, range.type == F_UNLCK ? 0 : -ENOLCK);
		return;
	}
	if (range.type == F_UNLCK) {
		err = range_drop(fs, inode, &range, &done);
	} else {
		/* As flock(2) has it: a lock that is changed is given up first. */
		if (range.flock && locks_conflict(&locks, inode, &range, NULL))
			range_drop(fs, inode, &drop, &done);
		err = lock_try(fs, inode, &range, &foreign);
		/* It may be weaker than what was there. */
		if (err == 0 && range.type == F_RDLCK)
			waiters_retry(fs, inode, &done);
		if (err == -EAGAIN && wait) {
			if (range.flock || foreign || !deadlock(inode, &range, range.owner, 0)) {
				request_park(fs, req, inode, &range, foreign);
				waiters_answer(done);
				return;
			}
			err = -EDEADLK;
		}
	}
	inode_done(inode);
	pthread_mutex_unlock(&locks.mutex);
	reply_result(req, err);
	waiters_answer(done);
}

void op_setlk(struct relay_req *req, const struct fuse_lk_in *in)
{
	lock_request(req, in, false);
}

void op_setlkw(struct relay_req *req, const struct fuse_lk_in *in)
{
	lock_request(req, in, true);
}

void op_getlk(struct relay_req *req, const struct fuse_lk_in *in)
{
	struct lock_range range = range_of(req, in), found = range;
	struct fuse_lk_out out = {.lk = {.type = F_UNLCK}};
	struct fs *fs = fs_of(req);
	const struct lock *lock = NULL;
	struct lock_inode *inode;
	int err = -ENOLCK;

	pthread_mutex_lock(&locks.mutex);
	inode = locks_inode(&locks, range.nodeid, true);
	if (inode) {
		lock = locks_conflict_first(&locks, inode, &range);
		err = lock ? 0 : locks_store_test(fs, inode, &range, &found);
		if (lock)
			out.lk = (struct fuse_file_lock){lock->start, lock->end, lock->type, (uint32_t)lock->pid};
		else
			out.lk = (struct fuse_file_lock){found.start, found.end, (uint32_t)found.type,
							 (uint32_t)found.pid};
		inode_done(inode);
	}
	pthread_mutex_unlock(&locks.mutex);
	if (err)
		reply_result(req, err);
	else
		relay_reply(req, &out, sizeof(out));
}

void op_interrupt(struct relay_session *session, uint64_t unique)
{
	struct waiter **link = &waiters, *done = NULL;

	(void)session;
	pthread_mutex_lock(&locks.mutex);
	while (*link && relay_req_unique((*link)->req) != unique)
		link = &(*link)->next;
	if (*link) {
		struct lock_inode *inode = (*link)->inode;

		waiter_finish(link, -EINTR, &done);
		inode_done(inode);
	}
	pthread_mutex_unlock(&locks.mutex);
	waiters_answer(done);
}

/* ---- closing and restarting -------------------------------------------- */

void locks_drop_owner(struct fs *fs, uint64_t nodeid, uint64_t owner, bool flock)
{
	struct lock_range range = {.nodeid = nodeid, .owner = owner, .end = INT64_MAX, .type = F_UNLCK, .flock = flock};
	struct waiter *done = NULL;
	struct lock_inode *inode;

	pthread_mutex_lock(&locks.mutex);
	inode = locks_inode(&locks, nodeid, false);
	if (inode && locks_owner_has(&locks, inode, owner, flock)) {
		range_drop(fs, inode, &range, &done);
		inode_done(inode);
	}
	pthread_mutex_unlock(&locks.mutex);
	waiters_answer(done);
}

void locks_drop_handle(struct fs *fs, uint64_t nodeid, uint64_t fh)
{
	struct waiter *done = NULL;
	struct lock_inode *inode;
	const struct lock *lock;

	pthread_mutex_lock(&locks.mutex);
	inode = locks_inode(&locks, nodeid, false);
	while (inode && (lock = locks_of_handle(&locks, inode, fh))) {
		struct lock_range range = {.nodeid = nodeid,
					   .owner = lock->owner,
					   .start = lock->start,
					   .end = lock->end,
					   .type = F_UNLCK,
					   .flock = lock->flock != 0};

		/* A whole piece goes: nothing is split, so this cannot fail. */
		range_drop(fs, inode, &range, &done);
	}
	if (inode)
		inode_done(inode);
	pthread_mutex_unlock(&locks.mutex);
	waiters_answer(done);
}

/* Takes an inode's locks on the store; one that another program took meanwhile stays in the table only. */
static void inode_restore(struct fs *fs, struct lock_inode *inode)
{
	struct lock_range range = {.nodeid = inode->nodeid};
	uint64_t until;
	int err, flock;

	for (flock = 0; flock < 2; flock++) {
		range.flock = flock != 0;
		for (range.start = 0;; range.start = until + 1) {
			range.type = locks_type_at(&locks, inode, range.flock, range.start, &until);
			range.end = until > INT64_MAX ? INT64_MAX : until;
			err = range.type == F_UNLCK ? 0 : locks_store_acquire(fs, inode, &range);
			if (err)
				fs_warn("a lock on the store was not to be had again: %s", strerror(-err));
			if (until >= INT64_MAX)
				break;
		}
	}
}

int locks_restore(struct fs *fs)
{
	struct lock_inode *inode;
	unsigned i;
	int err;

	locks_init(&locks, &fs->tables);
	err = locks_load(&locks);
	for (i = 0; err == 0 && i < LOCK_BUCKETS; i++) {
		for (inode = locks.buckets[i]; inode; inode = inode->next)
			inode_restore(fs, inode);
	}
	return err;
}
