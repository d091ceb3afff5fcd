/*
 * SETLK, SETLKW and GETLK, and what else sets and drops locks: FLUSH, RELEASE, and
 * a restart.
 *
 * A process dying within a SETLK leaves the table with too much locked for the same
 * owner at worst (locks.c), and nothing on the store: init() takes there what the
 * table says, and the redo sets the lock again.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "fs.h"
#include "locks.h"

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
	int err = locks_set(&fs->locks, inode, range);

	if (err)
		return err;
	locks_store_refresh(&fs->locks, inode, range);
	locks_retry(fs, inode, done);
	return 0;
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
	pthread_mutex_lock(&fs->locks.mutex);
	inode = locks_inode(&fs->locks, range.nodeid, range.type != F_UNLCK);
	if (!inode) {
		pthread_mutex_unlock(&fs->locks.mutex);
		reply_result(req, range.type == F_UNLCK ? 0 : -ENOLCK);
		return;
	}
	if (range.type == F_UNLCK) {
		err = range_drop(fs, inode, &range, &done);
	} else {
		/* As flock(2) has it: a lock that is changed is given up first. */
		if (range.flock && locks_conflict(&fs->locks, inode, &range, NULL))
			range_drop(fs, inode, &drop, &done);
		err = locks_try(fs, inode, &range, &foreign);
		/* It may be weaker than what was there. */
		if (err == 0 && range.type == F_RDLCK)
			locks_retry(fs, inode, &done);
		if (err == -EAGAIN && wait) {
			if (range.flock || foreign || !locks_deadlock(&fs->locks, inode, &range)) {
				locks_park(fs, req, inode, &range, foreign);
				locks_answer(done);
				return;
			}
			err = -EDEADLK;
		}
	}
	locks_inode_done(&fs->locks, inode);
	pthread_mutex_unlock(&fs->locks.mutex);
	reply_result(req, err);
	locks_answer(done);
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

	pthread_mutex_lock(&fs->locks.mutex);
	inode = locks_inode(&fs->locks, range.nodeid, true);
	if (inode) {
		lock = locks_conflict_first(&fs->locks, inode, &range);
		err = lock ? 0 : locks_store_test(fs, inode, &range, &found);
		if (lock)
			out.lk = (struct fuse_file_lock){lock->start, lock->end, lock->type, (uint32_t)lock->pid};
		else
			out.lk = (struct fuse_file_lock){found.start, found.end, (uint32_t)found.type,
							 (uint32_t)found.pid};
		locks_inode_done(&fs->locks, inode);
	}
	pthread_mutex_unlock(&fs->locks.mutex);
	if (err)
		reply_result(req, err);
	else
		relay_reply(req, &out, sizeof(out));
}

/* ---- closing and restarting -------------------------------------------- */

void locks_drop_owner(struct fs *fs, uint64_t nodeid, uint64_t owner, bool flock)
{
	struct lock_range range = {.nodeid = nodeid, .owner = owner, .end = INT64_MAX, .type = F_UNLCK, .flock = flock};
	struct waiter *done = NULL;
	struct lock_inode *inode;

	pthread_mutex_lock(&fs->locks.mutex);
	inode = locks_inode(&fs->locks, nodeid, false);
	if (inode && locks_owner_has(&fs->locks, inode, owner, flock)) {
		range_drop(fs, inode, &range, &done);
		locks_inode_done(&fs->locks, inode);
	}
	pthread_mutex_unlock(&fs->locks.mutex);
	locks_answer(done);
}

void locks_drop_handle(struct fs *fs, uint64_t nodeid, uint64_t fh)
{
	struct waiter *done = NULL;
	struct lock_inode *inode;
	const struct lock *lock;

	pthread_mutex_lock(&fs->locks.mutex);
	inode = locks_inode(&fs->locks, nodeid, false);
	while (inode && (lock = locks_of_handle(&fs->locks, inode, fh))) {
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
		locks_inode_done(&fs->locks, inode);
	pthread_mutex_unlock(&fs->locks.mutex);
	locks_answer(done);
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
			range.type = locks_type_at(&fs->locks, inode, range.flock, range.start, &until);
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

	locks_init(&fs->locks, &fs->tables);
	err = locks_load(&fs->locks);
	for (i = 0; err == 0 && i < LOCK_BUCKETS; i++) {
		for (inode = fs->locks.buckets[i]; inode; inode = inode->next)
			inode_restore(fs, inode);
	}
	return err;
}
