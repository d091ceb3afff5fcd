/*
 * The lock table.
 *
 * An entry is published by its `live` word, after the rest, and withdrawn by it.  A
 * change publishes the new pieces first and then withdraws what they replace, so a
 * process dying between leaves too much locked, for the same owner; the redo of the
 * same request finds both and ends with the right pieces.
 *
 * The lists by inode are this process's own, made from the table by locks_load().
 */
#include "locks.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>

void locks_init(struct locks *locks, struct tables *tables)
{
	pthread_mutex_init(&locks->mutex, NULL);
	locks->tables = tables;
}

static struct lock_inode **bucket_of(struct locks *locks, uint64_t nodeid)
{
	return &locks->buckets[(nodeid ^ nodeid >> NODE_INDEX_BITS) % LOCK_BUCKETS];
}

struct lock_inode *locks_inode(struct locks *locks, uint64_t nodeid, bool make)
{
	struct lock_inode **bucket = bucket_of(locks, nodeid), *inode;

	for (inode = *bucket; inode; inode = inode->next) {
		if (inode->nodeid == nodeid)
			return inode;
	}
	inode = make ? calloc(1, sizeof(*inode)) : NULL;
	if (inode) {
		inode->nodeid = nodeid;
		inode->store_fd = -1;
		inode->next = *bucket;
		*bucket = inode;
	}
	return inode;
}

void locks_inode_release(struct locks *locks, struct lock_inode *inode)
{
	struct lock_inode **link = bucket_of(locks, inode->nodeid);

	if (inode->first != 0 || inode->waiters > 0)
		return;
	while (*link != inode)
		link = &(*link)->next;
	*link = inode->next;
	free(inode);
}

int locks_load(struct locks *locks)
{
	uint64_t bump = locks->tables->header->lock_bump;
	struct lock_inode *inode;
	uint32_t i;

	/* Entry 0 means none. */
	for (i = 1; i < bump && i < LOCKS_MAX; i++) {
		struct lock *lock = &locks->tables->locks[i];

		if (!atomic_load(&lock->live)) {
			locks->link[i] = locks->free;
			locks->free = i;
			continue;
		}
		inode = locks_inode(locks, lock->nodeid, true);
		if (!inode)
			return -ENOMEM;
		locks->link[i] = inode->first;
		inode->first = i;
	}
	return 0;
}

/* ---- looking ----------------------------------------------------------- */

static const struct lock *lock_at(const struct locks *locks, uint32_t i)
{
	return i ? &locks->tables->locks[i] : NULL;
}

static const struct lock *lock_next(const struct locks *locks, const struct lock *lock)
{
	return lock_at(locks, locks->link[lock - locks->tables->locks]);
}

static bool overlaps(const struct lock *lock, const struct lock_range *range)
{
	return lock->start <= range->end && lock->end >= range->start;
}

const struct lock *locks_conflict(const struct locks *locks, const struct lock_inode *inode,
				  const struct lock_range *range, const struct lock *after)
{
	const struct lock *lock = after ? lock_next(locks, after) : lock_at(locks, inode->first);

	for (; lock; lock = lock_next(locks, lock)) {
		if (!!lock->flock == range->flock && lock->owner != range->owner && overlaps(lock, range) &&
		    (lock->type == F_WRLCK || range->type == F_WRLCK))
			return lock;
	}
	return NULL;
}

const struct lock *locks_conflict_first(const struct locks *locks, const struct lock_inode *inode,
					const struct lock_range *range)
{
	const struct lock *first = NULL, *lock = NULL;

	while ((lock = locks_conflict(locks, inode, range, lock)))
		if (!first || lock->start < first->start)
			first = lock;
	return first;
}

int locks_type_at(const struct locks *locks, const struct lock_inode *inode, bool flock, uint64_t at, uint64_t *until)
{
	const struct lock *lock;
	int type = F_UNLCK;

	*until = UINT64_MAX;
	for (lock = lock_at(locks, inode->first); lock; lock = lock_next(locks, lock)) {
		if (!!lock->flock != flock || lock->end < at)
			continue;
		if (lock->start > at) {
			if (lock->start - 1 < *until)
				*until = lock->start - 1;
			continue;
		}
		if (lock->end < *until)
			*until = lock->end;
		if (type != F_WRLCK)
			type = (int)lock->type;
	}
	return type;
}

bool locks_owner_has(const struct locks *locks, const struct lock_inode *inode, uint64_t owner, bool flock)
{
	const struct lock *lock;

	for (lock = lock_at(locks, inode->first); lock; lock = lock_next(locks, lock)) {
		if (lock->owner == owner && !!lock->flock == flock)
			return true;
	}
	return false;
}

const struct lock *locks_of_handle(const struct locks *locks, const struct lock_inode *inode, uint64_t fh)
{
	const struct lock *lock = lock_at(locks, inode->first);

	while (lock && lock->fh != fh)
		lock = lock_next(locks, lock);
	return lock;
}

/* ---- changing ---------------------------------------------------------- */

/* Entries that can still be had, up to `enough`. */
static unsigned entries_left(const struct locks *locks, unsigned enough)
{
	uint64_t bump = locks->tables->header->lock_bump;
	unsigned n = 0;
	uint32_t i;

	for (i = locks->free; i != 0 && n < enough; i = locks->link[i])
		n++;
	if (bump < 1)
		bump = 1;
	return n + (bump < LOCKS_MAX ? (unsigned)(LOCKS_MAX - bump) : 0);
}

static void piece_add(struct locks *locks, struct lock_inode *inode, const struct lock_range *range, uint64_t start,
		      uint64_t end, uint32_t type)
{
	struct tables_header *header = locks->tables->header;
	uint32_t i = locks->free;
	struct lock *lock;

	if (i != 0) {
		locks->free = locks->link[i];
	} else {
		if (header->lock_bump < 1)
			header->lock_bump = 1;
		/* First the bump: entries above it are never looked at. */
		i = (uint32_t)header->lock_bump++;
	}
	lock = &locks->tables->locks[i];
	lock->nodeid = inode->nodeid;
	lock->owner = range->owner;
	lock->fh = range->fh;
	lock->pid = range->pid;
	lock->start = start;
	lock->end = end;
	lock->type = type;
	lock->flock = range->flock;
	atomic_store(&lock->live, 1);
	locks->link[i] = inode->first;
	inode->first = i;
}

/* True for a piece of the owner's that the change replaces: it overlaps, or is to be joined. */
static bool piece_replaced(const struct lock *lock, const struct lock_range *range)
{
	if (lock->owner != range->owner || !!lock->flock != range->flock)
		return false;
	if (overlaps(lock, range))
		return true;
	return (int)lock->type == range->type && (lock->end + 1 == range->start || range->end + 1 == lock->start);
}

/* What the change needs in entries, and the range together with what is joined to it. */
static unsigned change_measure(const struct locks *locks, const struct lock_inode *inode,
			       const struct lock_range *range, uint64_t *start, uint64_t *end)
{
	unsigned pieces = range->type == F_UNLCK ? 0 : 1;
	const struct lock *lock;

	*start = range->start;
	*end = range->end;
	for (lock = lock_at(locks, inode->first); lock; lock = lock_next(locks, lock)) {
		if (!piece_replaced(lock, range))
			continue;
		if ((int)lock->type == range->type) {
			if (lock->start < *start)
				*start = lock->start;
			if (lock->end > *end)
				*end = lock->end;
		} else {
			pieces += lock->start < range->start;
			pieces += lock->end > range->end;
		}
	}
	return pieces;
}

/* Withdraws the replaced pieces of a list that begins at *link. */
static void pieces_remove(struct locks *locks, uint32_t *link, const struct lock_range *range)
{
	while (*link != 0) {
		uint32_t i = *link;
		struct lock *lock = &locks->tables->locks[i];

		if (piece_replaced(lock, range)) {
			atomic_store(&lock->live, 0);
			*link = locks->link[i];
			locks->link[i] = locks->free;
			locks->free = i;
		} else {
			link = &locks->link[i];
		}
	}
}

int locks_set(struct locks *locks, struct lock_inode *inode, const struct lock_range *range)
{
	uint32_t old = inode->first, added = 0, i;
	const struct lock *lock;
	uint64_t start, end;
	unsigned pieces;

	pieces = change_measure(locks, inode, range, &start, &end);
	if (pieces > 0 && entries_left(locks, pieces) < pieces)
		return -ENOLCK;
	for (lock = lock_at(locks, old); lock; lock = lock_next(locks, lock)) {
		if (!piece_replaced(lock, range) || (int)lock->type == range->type)
			continue;
		/* The pieces that stay are of the old lock, with its own handle. */
		struct lock_range rest = *range;

		rest.fh = lock->fh;
		rest.pid = lock->pid;
		if (lock->start < range->start)
			piece_add(locks, inode, &rest, lock->start, range->start - 1, lock->type);
		if (lock->end > range->end)
			piece_add(locks, inode, &rest, range->end + 1, lock->end, lock->type);
	}
	if (range->type != F_UNLCK)
		piece_add(locks, inode, range, start, end, (uint32_t)range->type);
	/* A process dying here leaves the old pieces and the new ones. */
	for (i = inode->first; i != old; i = locks->link[i])
		added = i;
	pieces_remove(locks, added ? &locks->link[added] : &inode->first, range);
	return 0;
}
