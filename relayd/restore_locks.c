/*
 * Locks that earlier incarnations had granted, asked of the present one before anything
 * that depends on them is passed on.
 *
 * One that is refused, since somebody else on the store took it while no backend was
 * there, cannot be taken from its owner, who believes in it and is told nothing.  It stays
 * in the table and is asked for again in the next incarnation: to drop it would have the
 * same effect now, and make it certain that it is never set again.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "log.h"
#include "restore.h"
#include "restore_parts.h"

/* A handle through which such a lock can be set. */
static bool handle_fits(const struct restore *restore, const struct handle *handle, const struct lock *lock)
{
	const struct nodes *nodes = &restore->translate->nodes;
	uint32_t access = handle->open_flags & O_ACCMODE;

	if (nodes_number(nodes_at(nodes, handle->node)) != lock->node || handle->flags & (HANDLE_LOST | HANDLE_DIR))
		return false;
	/* flock(2) asks for no right. */
	return lock->flock || access == O_RDWR || access == (lock->type == F_WRLCK ? O_WRONLY : O_RDONLY);
}

/* The one that it was set through, or another of the node; 0: none. */
static uint64_t handle_choose(const struct restore *restore, const struct lock *lock)
{
	const struct handles *handles = &restore->translate->handles;
	const struct handle *handle = handles_get(handles, lock->fh);

	if (handle && handle_fits(restore, handle, lock))
		return handle->fh;
	/* A lock of flock(2) is its open file's. */
	if (lock->flock)
		return 0;
	handle = NULL;
	while ((handle = handles_next(handles, handle)) != NULL)
		if (handle_fits(restore, handle, lock))
			return handle->fh;
	return 0;
}

static bool lock_same(const struct lock *a, const struct lock *b)
{
	return a->owner == b->owner && a->start == b->start && a->end == b->end && a->type == b->type &&
	       a->flock == b->flock;
}

/* The lock that is to be set, as copied before, if it still is; with the lock held. */
static struct lock *lock_unset(const struct restore *restore, uint64_t nodeid, const struct lock *copy)
{
	const struct node *node = nodes_get(&restore->translate->nodes, nodeid);
	struct lock *lock = node ? locks_unset(&restore->translate->locks, node) : NULL;

	return lock && lock_same(lock, copy) ? lock : NULL;
}

/* The present incarnation has been asked for it: err is what it said. */
static int lock_asked(struct restore *restore, struct ask *ask, uint64_t nodeid, const struct lock *copy, int said,
		      bool *is)
{
	struct lock *lock;
	int err = restore_lock(restore, ask);

	if (err)
		return err;
	lock = lock_unset(restore, nodeid, copy);
	*is = lock;
	if (lock)
		lock->incarnation = ask->incarnation;
	restore_unlock(restore);
	if (lock && said)
		log_warning("%s: a lock of process %u could not be set again: %s", restore->translate->mount, copy->pid,
			    strerror(said));
	return 0;
}

/* Sets it through the handle, both of the node that is claimed. */
static int lock_set(struct restore *restore, struct ask *ask, uint64_t nodeid, uint64_t fh, const struct lock *copy)
{
	struct fuse_in_header caller = {.uid = copy->uid, .gid = copy->gid, .pid = copy->pid};
	struct fuse_lk_in in = {
		.owner = copy->owner,
		.lk = {.start = copy->start, .end = copy->end, .type = copy->type, .pid = copy->pid},
		.lk_flags = copy->flock ? FUSE_LK_FLOCK : 0,
	};
	const struct handles *handles = &restore->translate->handles;
	const struct handle *handle;
	uint64_t id = 0;
	bool is;
	int said, err;

	err = restore_lock(restore, ask);
	if (err)
		return err;
	handle = handles_get(handles, fh);
	if (handle && handles_current(handles, handle) && lock_unset(restore, nodeid, copy)) {
		in.fh = handle->backend_fh;
		id = nodes_at(handles->nodes, handle->node)->backend_id;
	}
	restore_unlock(restore);
	/* Set by another thread, or gone with its open file. */
	if (!id)
		return 0;
	/* A death here leaves a lock with the backend, which dies with it. */
	said = ask_setlk(ask, id, &caller, &in);
	if (said < 0)
		return said;
	err = lock_asked(restore, ask, nodeid, copy, said, &is);
	if (err || is || said)
		return err;
	/* Its owner has closed the file meanwhile: nobody would give it up. */
	in.lk.type = F_UNLCK;
	said = ask_setlk(ask, id, &caller, &in);
	return said < 0 ? said : 0;
}

int restore_locks(struct restore *restore, struct ask *ask, uint64_t nodeid)
{
	const struct lock *lock;
	struct lock copy;
	const struct node *node;
	uint64_t fh;
	bool is;
	int err;

	for (;;) {
		err = restore_lock(restore, ask);
		if (err)
			return err;
		node = nodes_get(&restore->translate->nodes, nodeid);
		lock = node ? locks_unset(&restore->translate->locks, node) : NULL;
		fh = lock ? handle_choose(restore, lock) : 0;
		if (lock)
			copy = *lock;
		restore_unlock(restore);
		if (!lock)
			return node ? 0 : ESTALE;
		err = fh ? restore_handle(restore, ask, fh) : EBADF;
		if (err < 0)
			return err;
		if (err) {
			/* One that is lost, or closed, is not chosen again; without any the lock cannot be set. */
			if (fh && (err == ESTALE || err == EBADF))
				err = 0;
			else
				err = lock_asked(restore, ask, nodeid, &copy, err, &is);
		} else {
			err = restore_claim(restore, ask, nodeid);
			if (err)
				return err;
			err = lock_set(restore, ask, nodeid, fh, &copy);
			restore_unclaim(restore, ask);
		}
		if (err)
			return err;
	}
}
