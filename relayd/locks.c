/*
 * The table of locks: a list for each node, changed in transactions.
 *
 * POSIX locks of one owner on a node never overlap, and those that touch and are alike are
 * one, as with fcntl(2).  Locks that the present incarnation has not set stay apart from
 * those that it has, since each is set again as a whole.
 */
#include "locks.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>

static_assert(sizeof(struct lock) % 8 == 0, "records are multiples of 8");

void locks_record_sizes(uint32_t record_size[STATE_TABLES])
{
	record_size[STATE_LOCKS] = sizeof(struct lock);
}

static struct lock *lock_at(const struct locks *locks, uint32_t number)
{
	return state_get(locks->state, STATE_LOCKS, number);
}

/* Every lock is in the list of its node, once. */
int locks_init(struct locks *locks, struct state *state, struct nodes *nodes)
{
	uint32_t live = state_live(state, STATE_LOCKS), seen = 0;

	*locks = (struct locks){.state = state, .nodes = nodes};
	for (uint32_t i = 1; i < state_end(state, STATE_NODES); i++) {
		const struct node *node = state_get(state, STATE_NODES, i);

		for (uint32_t number = node ? node->locks : 0; number;) {
			const struct lock *lock = lock_at(locks, number);

			/* The count ends a list that goes round. */
			if (!lock || lock->node != i || seen++ == live)
				return -EPROTO;
			number = lock->next;
		}
	}
	return seen == live ? 0 : -EPROTO;
}

/* ---- changing a node's list, in a transaction ---------------------------- */

/* A place in the list: what it holds is the lock `number`, which comes after the lock `prev` (0: the first). */
struct place {
	uint32_t node;
	uint32_t prev;
	uint32_t number;
};

static struct place place_first(const struct node *node)
{
	return (struct place){.node = nodes_number(node), .number = node->locks};
}

static void place_next(const struct locks *locks, struct place *place)
{
	place->prev = place->number;
	place->number = lock_at(locks, place->number)->next;
}

/* Takes the lock out of the list; the place then has the next one. */
static int place_remove(struct locks *locks, struct place *place)
{
	uint32_t next = lock_at(locks, place->number)->next;

	if (place->prev) {
		struct lock *prev = state_edit(locks->state, STATE_LOCKS, place->prev);

		if (!prev)
			return -ENOMEM;
		prev->next = next;
	} else {
		struct node *node = state_edit(locks->state, STATE_NODES, place->node);

		if (!node)
			return -ENOMEM;
		node->locks = next;
	}
	if (state_free(locks->state, STATE_LOCKS, place->number))
		return -ENOMEM;
	place->number = next;
	return 0;
}

/* A copy of the lock, at the head of the list. */
static struct lock *lock_add(struct locks *locks, uint32_t node_number, const struct lock *like)
{
	struct node *node = state_edit(locks->state, STATE_NODES, node_number);
	struct lock *lock;
	uint32_t number;

	lock = node ? state_new(locks->state, STATE_LOCKS, &number) : NULL;
	if (!lock)
		return NULL;
	lock->owner = like->owner;
	lock->start = like->start;
	lock->end = like->end;
	lock->fh = like->fh;
	lock->type = like->type;
	lock->pid = like->pid;
	lock->uid = like->uid;
	lock->gid = like->gid;
	lock->flock = like->flock;
	lock->node = node_number;
	lock->incarnation = like->incarnation;
	lock->next = node->locks;
	node->locks = number;
	return lock;
}

/* ---- what a request sets -------------------------------------------------- */

static bool overlaps(const struct lock *lock, uint64_t start, uint64_t end)
{
	return lock->start <= end && start <= lock->end;
}

static bool touches(const struct lock *lock, uint64_t start, uint64_t end)
{
	return (lock->end != UINT64_MAX && lock->end + 1 == start) || (end != UINT64_MAX && end + 1 == lock->start);
}

/* Two of one owner: they are the same kind of lock, set in the same life. */
static bool alike(const struct lock *a, const struct lock *b)
{
	return a->type == b->type && a->incarnation == b->incarnation;
}

/* Cuts the range of `new` out of the lock at the place, which overlaps, and moves on. */
static int place_cut(struct locks *locks, struct place *place, const struct lock *new)
{
	struct lock *lock = lock_at(locks, place->number);

	if (new->start <= lock->start && lock->end <= new->end)
		return place_remove(locks, place);
	lock = state_edit(locks->state, STATE_LOCKS, place->number);
	if (!lock)
		return -ENOMEM;
	if (lock->start < new->start &&new->end < lock->end) {
		struct lock *right = lock_add(locks, place->node, lock);

		if (!right)
			return -ENOMEM;
		right->start = new->end + 1;
		lock->end = new->start - 1;
		/* The place's predecessor may be another now, but the next place's is this lock. */
	} else if (lock->start < new->start) {
		lock->end = new->start - 1;
	} else {
		lock->start = new->end + 1;
	}
	place_next(locks, place);
	return 0;
}

/* Puts `new` in the place of what its owner has there; its range grows by what it is joined with. */
static int range_replace(struct locks *locks, struct node *node, struct lock *new)
{
	struct place place = place_first(node);
	int err;

	while (place.number) {
		const struct lock *lock = lock_at(locks, place.number);
		bool joins, over;

		if (lock->owner != new->owner || lock->flock != new->flock) {
			place_next(locks, &place);
			continue;
		}
		over = overlaps(lock, new->start, new->end);
		joins = alike(lock, new) && (over || touches(lock, new->start, new->end));
		if (joins) {
			new->start = lock->start < new->start ? lock->start : new->start;
			new->end = lock->end > new->end ? lock->end : new->end;
			err = place_remove(locks, &place);
		} else if (over) {
			err = place_cut(locks, &place, new);
		} else {
			place_next(locks, &place);
			err = 0;
		}
		if (err)
			return err;
	}
	return new->type == F_UNLCK || lock_add(locks, nodes_number(node), new) ? 0 : -ENOMEM;
}

/* Removes each lock for which `gone` is true, each in a transaction of its own. */
static void locks_remove(struct locks *locks, struct node *node, bool (*gone)(const struct lock *, const struct lock *),
			 const struct lock *like)
{
	struct place place = place_first(node);

	while (place.number) {
		int err;

		if (!gone(lock_at(locks, place.number), like)) {
			place_next(locks, &place);
			continue;
		}
		/* A process dying here leaves locks that are removed when the request comes again. */
		state_begin(locks->state);
		err = place_remove(locks, &place);
		/* The undo log has room for two records. */
		assert(!err);
		state_commit(locks->state);
	}
}

static bool is_covered(const struct lock *lock, const struct lock *new)
{
	return lock->owner == new->owner && lock->flock == new->flock &&new->start <= lock->start &&
	       lock->end <= new->end;
}

int locks_set(struct locks *locks, struct node *node, const struct fuse_in_header *header, const struct fuse_lk_in *in)
{
	struct lock new = {
		.owner = in->owner,
		.start = in->lk.start,
		.end = in->lk.end,
		.fh = in->fh,
		.type = in->lk.type,
		.pid = in->lk.pid,
		.uid = header->uid,
		.gid = header->gid,
		.flock = in->lk_flags & FUSE_LK_FLOCK ? 1 : 0,
		.incarnation = locks->nodes->incarnation,
	};
	struct lock grown = new;
	int err;

	if (new.flock) { /* one for an owner, of the whole file */
		grown.start = new.start = 0;
		grown.end = new.end = INT64_MAX;
	}
	if (new.end < new.start)
		return 0;
	state_begin(locks->state);
	err = range_replace(locks, node, &grown);
	if (err) {
		/*
		 * Too much for one transaction.  What is wholly within the range is replaced or
		 * taken anyway, and goes first; a process dying in between leaves less than the
		 * backend has, and the request comes again.
		 */
		state_undo(locks->state);
		locks_remove(locks, node, is_covered, &new);
		state_begin(locks->state);
		err = range_replace(locks, node, &new);
	}
	if (err)
		state_undo(locks->state);
	else
		state_commit(locks->state);
	if (!locks_any(node))
		nodes_settle(locks->nodes, node);
	return err;
}

/* ---- what ends locks ------------------------------------------------------ */

static bool is_posix_of(const struct lock *lock, const struct lock *like)
{
	return !lock->flock && lock->owner == like->owner;
}

static bool is_flock_of(const struct lock *lock, const struct lock *like)
{
	return lock->flock && lock->owner == like->owner;
}

static bool is_through(const struct lock *lock, const struct lock *like)
{
	return lock->fh == like->fh;
}

static bool is_any(const struct lock *lock, const struct lock *like)
{
	(void)lock;
	(void)like;
	return true;
}

static void locks_end(struct locks *locks, struct node *node, bool (*gone)(const struct lock *, const struct lock *),
		      const struct lock *like)
{
	if (!locks_any(node))
		return;
	locks_remove(locks, node, gone, like);
	if (!locks_any(node))
		nodes_settle(locks->nodes, node);
}

void locks_flush(struct locks *locks, struct node *node, uint64_t owner)
{
	locks_end(locks, node, is_posix_of, &(struct lock){.owner = owner});
}

void locks_unflock(struct locks *locks, struct node *node, uint64_t owner)
{
	locks_end(locks, node, is_flock_of, &(struct lock){.owner = owner});
}

void locks_closed(struct locks *locks, struct node *node, uint64_t fh)
{
	locks_end(locks, node, is_through, &(struct lock){.fh = fh});
}

void locks_clear(struct locks *locks, struct node *node)
{
	locks_remove(locks, node, is_any, NULL);
}

struct lock *locks_unset(const struct locks *locks, const struct node *node)
{
	for (uint32_t number = node->locks; number;) {
		struct lock *lock = lock_at(locks, number);

		if (lock->incarnation != locks->nodes->incarnation)
			return lock;
		number = lock->next;
	}
	return NULL;
}

bool locks_any(const struct node *node)
{
	return node->locks != 0;
}
