/*
 * The requests that wait for a lock.
 *
 * A request that waits is parked here until a lock goes, in the order of their
 * coming, or until it is interrupted.  Parked requests are this process's only:
 * relayd sends them to the next incarnation again, oldest first.
 *
 * What another program holds on the store gives no sign when it goes: while a
 * request waits for such a lock, and only then, a thread looks again and again.
 */
#include <errno.h>
#include <stdlib.h>
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

/* All of it under the mutex of the locks. */
static struct waiter *waiters, **waiters_end = &waiters; /* oldest first */
static unsigned foreign_count;
static pthread_cond_t foreign_cond = PTHREAD_COND_INITIALIZER;
static bool foreign_thread;

static void foreign_set(struct waiter *waiter, bool foreign)
{
	if (waiter->foreign == foreign)
		return;
	waiter->foreign = foreign;
	foreign_count += foreign ? 1u : -1u;
	if (foreign)
		pthread_cond_signal(&foreign_cond);
}

void locks_inode_done(struct locks *locks, struct lock_inode *inode)
{
	if (inode->first == 0 && inode->waiters == 0)
		locks_store_close(inode);
	locks_inode_release(locks, inode);
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

void locks_answer(struct waiter *done)
{
	struct waiter *waiter;

	while ((waiter = done)) {
		done = waiter->next;
		reply_result(waiter->req, waiter->result);
		free(waiter);
	}
}

int locks_try(struct fs *fs, struct lock_inode *inode, const struct lock_range *range, bool *foreign)
{
	int err;

	*foreign = false;
	if (locks_conflict(&fs->locks, inode, range, NULL))
		return -EAGAIN;
	err = locks_store_acquire(fs, inode, range);
	if (err) {
		*foreign = err == -EAGAIN;
		/* flock() gives up the old lock when it cannot have the new one. */
		if (range->flock)
			locks_store_refresh(&fs->locks, inode, range);
		return err;
	}
	err = locks_set(&fs->locks, inode, range);
	if (err)
		locks_store_refresh(&fs->locks, inode, range);
	return err;
}

void locks_retry(struct fs *fs, struct lock_inode *inode, struct waiter **done)
{
	struct waiter **link = &waiters;

	while (*link) {
		struct waiter *waiter = *link;
		bool foreign;
		int err;

		if (waiter->inode == inode) {
			err = locks_try(fs, inode, &waiter->range, &foreign);
			if (err != -EAGAIN) {
				waiter_finish(link, err, done);
				continue;
			}
			foreign_set(waiter, foreign);
		}
		link = &waiter->next;
	}
}

/* Looks again whether the store's locks are to be had. */
static void foreign_retry(struct fs *fs, struct waiter **done)
{
	struct waiter **link = &waiters;

	while (*link) {
		struct waiter *waiter = *link;
		bool foreign;
		int err;

		if (waiter->foreign) {
			err = locks_try(fs, waiter->inode, &waiter->range, &foreign);
			if (err != -EAGAIN) {
				waiter_finish(link, err, done);
				locks_inode_done(&fs->locks, waiter->inode);
				continue;
			}
			foreign_set(waiter, foreign);
		}
		link = &waiter->next;
	}
}

static void *foreign_run(void *arg)
{
	struct timespec pause = {.tv_nsec = FOREIGN_RETRY_MS * 1000000L};
	struct fs *fs = arg;
	struct waiter *done;

	for (;;) {
		done = NULL;
		pthread_mutex_lock(&fs->locks.mutex);
		while (foreign_count == 0)
			pthread_cond_wait(&foreign_cond, &fs->locks.mutex);
		foreign_retry(fs, &done);
		pthread_mutex_unlock(&fs->locks.mutex);
		locks_answer(done);
		nanosleep(&pause, NULL);
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

/* True if one who waits for the range waits for the owner. */
static bool waits_for(const struct locks *locks, const struct lock_inode *inode, const struct lock_range *range,
		      uint64_t owner, int depth)
{
	const struct lock *lock = NULL;
	const struct waiter *waiter;

	if (depth == DEADLOCK_DEPTH)
		return false;
	while ((lock = locks_conflict(locks, inode, range, lock))) {
		if (lock->owner == owner)
			return true;
		for (waiter = waiters; waiter; waiter = waiter->next) {
			if (!waiter->range.flock && waiter->range.owner == lock->owner &&
			    waits_for(locks, waiter->inode, &waiter->range, owner, depth + 1))
				return true;
		}
	}
	return false;
}

bool locks_deadlock(const struct locks *locks, const struct lock_inode *inode, const struct lock_range *range)
{
	return waits_for(locks, inode, range, range->owner, 0);
}

void locks_park(struct fs *fs, struct relay_req *req, struct lock_inode *inode, const struct lock_range *range,
		bool foreign)
{
	struct waiter *waiter, *done = NULL, **link;
	int err;

	err = foreign ? foreign_start(fs) : 0;
	waiter = err ? NULL : calloc(1, sizeof(*waiter));
	if (!waiter) {
		pthread_mutex_unlock(&fs->locks.mutex);
		reply_result(req, err ? err : -ENOMEM);
		return;
	}
	req = relay_req_detach(req);
	if (!req) {
		pthread_mutex_unlock(&fs->locks.mutex);
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
	pthread_mutex_unlock(&fs->locks.mutex);
	locks_answer(done);
}

void op_interrupt(struct relay_session *session, uint64_t unique)
{
	struct fs *fs = relay_session_userdata(session);
	struct waiter **link = &waiters, *done = NULL;

	pthread_mutex_lock(&fs->locks.mutex);
	while (*link && relay_req_unique((*link)->req) != unique)
		link = &(*link)->next;
	if (*link) {
		struct lock_inode *inode = (*link)->inode;

		waiter_finish(link, -EINTR, &done);
		locks_inode_done(&fs->locks, inode);
	}
	pthread_mutex_unlock(&fs->locks.mutex);
	locks_answer(done);
}
