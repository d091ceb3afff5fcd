/*
 * The liar's locks, in this process's memory only: POSIX ones by range, and flock
 * ones of whole files.  One that has to wait is answered when it can be had.
 */
#include "liar.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct lock {
	struct lock *next;
	uint64_t ino;
	uint64_t owner;
	uint64_t start;
	uint64_t end;
	uint32_t type;
	uint32_t pid;
	bool flock;
	uint64_t unique; /* of the request that waits; for a granted one 0 */
};

static struct lock *granted;
static struct lock *waiting;

static bool same_kind(const struct lock *a, const struct lock *b)
{
	return a->ino == b->ino && a->flock == b->flock;
}

static bool overlap(const struct lock *a, const struct lock *b)
{
	return a->start <= b->end && b->start <= a->end;
}

static const struct lock *conflict(const struct lock *wanted)
{
	for (const struct lock *lock = granted; lock; lock = lock->next)
		if (same_kind(lock, wanted) && lock->owner != wanted->owner && overlap(lock, wanted) &&
		    (lock->type == F_WRLCK || wanted->type == F_WRLCK))
			return lock;
	return NULL;
}

static void lock_add(struct lock **list, struct lock lock)
{
	struct lock *copy = malloc(sizeof(*copy));

	if (!copy) {
		fprintf(stderr, "liar: no memory for a lock\n");
		abort();
	}
	*copy = lock;
	copy->next = *list;
	*list = copy;
}

/* Takes the range off the owner's own locks, which may leave a part at either end. */
static void range_clear(const struct lock *range)
{
	struct lock **at = &granted;

	while (*at) {
		struct lock lock = **at;

		if (!same_kind(&lock, range) || lock.owner != range->owner || !overlap(&lock, range)) {
			at = &(*at)->next;
			continue;
		}
		free(*at);
		*at = lock.next;
		if (lock.start < range->start) {
			struct lock left = lock;

			left.end = range->start - 1;
			lock_add(at, left);
			at = &(*at)->next;
		}
		if (lock.end > range->end) {
			struct lock right = lock;

			right.start = range->end + 1;
			lock_add(at, right);
			at = &(*at)->next;
		}
	}
}

static void lock_grant(struct lock lock)
{
	range_clear(&lock);
	lock.unique = 0;
	if (lock.type != F_UNLCK)
		lock_add(&granted, lock);
}

/* Answers those that wait and can be had now. */
static void waiting_try(void)
{
	struct lock **at = &waiting;

	while (*at) {
		struct lock *lock = *at;

		if (conflict(lock)) {
			at = &lock->next;
			continue;
		}
		*at = lock->next;
		lock_grant(*lock);
		liar_answer(lock->unique, 0, NULL, 0);
		free(lock);
		at = &waiting;
	}
}

static int lock_parse(const struct liar_call *call, struct lock *lock)
{
	const struct fuse_lk_in *in = (const void *)call->in;
	int fd = liar_node_fd(call->head->nodeid);
	struct stat st;

	if (fd < 0)
		return fd;
	if (fstatat(fd, "", &st, AT_EMPTY_PATH) < 0)
		return -errno;
	*lock = (struct lock){
		.ino = st.st_ino,
		.owner = in->owner,
		.start = in->lk.start,
		.end = in->lk.end,
		.type = in->lk.type,
		.pid = in->lk.pid,
		.flock = in->lk_flags & FUSE_LK_FLOCK,
		.unique = call->head->unique,
	};
	if (lock->flock) {
		lock->start = 0;
		lock->end = UINT64_MAX;
	}
	return 0;
}

long liar_getlk(const struct liar_call *call)
{
	struct fuse_lk_out *out = (void *)call->out;
	const struct lock *other;
	struct lock lock;
	int error = lock_parse(call, &lock);

	if (error)
		return error;
	other = conflict(&lock);
	*out = (struct fuse_lk_out){.lk.type = F_UNLCK};
	if (other)
		out->lk = (struct fuse_file_lock){other->start, other->end, other->type, other->pid};
	return sizeof(*out);
}

long liar_setlk(const struct liar_call *call)
{
	struct lock lock;
	int error = lock_parse(call, &lock);

	if (error)
		return error;
	if (lock.type != F_UNLCK && conflict(&lock))
		return -EAGAIN;
	lock_grant(lock);
	waiting_try();
	return 0;
}

long liar_setlkw(const struct liar_call *call)
{
	struct lock lock;
	int error = lock_parse(call, &lock);

	if (error)
		return error;
	if (lock.type != F_UNLCK && conflict(&lock)) {
		lock_add(&waiting, lock);
		return LIAR_NO_ANSWER;
	}
	lock_grant(lock);
	waiting_try();
	return 0;
}

long liar_interrupt(const struct liar_call *call)
{
	const struct fuse_interrupt_in *in = (const void *)call->in;

	for (struct lock **at = &waiting; *at; at = &(*at)->next)
		if ((*at)->unique == in->unique) {
			struct lock *lock = *at;

			*at = lock->next;
			free(lock);
			liar_answer(in->unique, -EINTR, NULL, 0);
			break;
		}
	return LIAR_NO_ANSWER;
}

void liar_unlock_owner(uint64_t ino, uint64_t owner, bool flock)
{
	const struct lock all = {.ino = ino, .owner = owner, .flock = flock, .end = UINT64_MAX};

	range_clear(&all);
	waiting_try();
}
