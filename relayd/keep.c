/*
 * Kept descriptors.  They live as long as the mount: a backend that dies finds
 * its state and its unlinked files here when it comes back.
 */
#include "keep.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <search.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "fdstore.h"

/* Descriptors that other mounts' channels and the control socket find room in. */
#define RESERVE 512u

/* ---- what other users have, all mounts of one together ---------------------------- */

static struct owner {
	struct owner *next;
	uid_t uid;
	uint32_t count; /* not 0 */
} *owners;
static pthread_mutex_t owners_lock = PTHREAD_MUTEX_INITIALIZER;

static struct owner **owner_find(uid_t uid)
{
	struct owner **at = &owners;

	while (*at && (*at)->uid != uid)
		at = &(*at)->next;
	return at;
}

/* Returns 0, -EDQUOT or -ENOMEM. */
static int owner_charge(uid_t uid)
{
	struct owner **at;
	int err = 0;

	if (uid == geteuid())
		return 0;
	pthread_mutex_lock(&owners_lock);
	at = owner_find(uid);
	if (!*at && (*at = calloc(1, sizeof(**at))) != NULL)
		(*at)->uid = uid;
	if (!*at)
		err = -ENOMEM;
	else if ((*at)->count == KEEP_USER_MAX)
		err = -EDQUOT;
	else
		(*at)->count++;
	pthread_mutex_unlock(&owners_lock);
	return err;
}

static void owner_refund(uid_t uid, uint32_t count)
{
	struct owner **at, *owner;

	if (uid == geteuid() || !count)
		return;
	pthread_mutex_lock(&owners_lock);
	at = owner_find(uid);
	owner = *at;
	owner->count -= count;
	if (!owner->count) {
		*at = owner->next;
		free(owner);
	}
	pthread_mutex_unlock(&owners_lock);
}

const char *keep_why(int err)
{
	switch (err) {
	case -ENOSPC:
		return "a mount keeps 8192 at most";
	case -EDQUOT:
		return "relayd keeps 2048 at most for all mounts of a user who is not its own";
	case -EMFILE:
		return "relayd has few descriptors left";
	default:
		return "no memory";
	}
}
static_assert(KEEP_MAX == 8192 && KEEP_USER_MAX == 2048, "what is said");

/* ---- a mount's ----------------------------------------------------------------------- */

struct kept {
	uint64_t key;
	int fd;
	uint32_t serial; /* of the key's descriptors the one with the highest counts */
};

#define NAME_SIZE 32

/* What it is called with the keeper. */
static const char *kept_name(const struct kept *kept, char name[NAME_SIZE])
{
	snprintf(name, NAME_SIZE, "k%" PRIx64 ".%" PRIx32, kept->key, kept->serial);
	return name;
}

static int kept_compare(const void *a, const void *b)
{
	const struct kept *x = a, *y = b;

	return x->key < y->key ? -1 : x->key > y->key;
}

static void kept_free(void *node)
{
	struct kept *kept = node;

	close(kept->fd);
	free(kept);
}

void keep_init(struct keep *keep)
{
	*keep = (struct keep){.root = NULL};
	pthread_mutex_init(&keep->lock, NULL);
}

static void on_end(const void *node, VISIT visit, void *closure)
{
	const struct keep *keep = closure;
	char name[NAME_SIZE];

	if (visit == postorder || visit == leaf)
		fdstore_drop(keep->mount, kept_name(*(struct kept *const *)node, name));
}

void keep_deinit(struct keep *keep)
{
	twalk_r(keep->root, on_end, keep);
	tdestroy(keep->root, kept_free);
	owner_refund(keep->uid, keep->count);
	keep->root = NULL;
	keep->count = 0;
	pthread_mutex_destroy(&keep->lock);
}

/* The lowest free number is given: a high one tells that the process has few left. */
static bool table_full(int fd)
{
	struct rlimit limit;

	return getrlimit(RLIMIT_NOFILE, &limit) == 0 && (rlim_t)fd + RESERVE >= limit.rlim_cur;
}

/* Takes kept over.  Returns 0 or a negative errno: then it is freed. */
static int kept_enter(struct keep *keep, struct kept *kept)
{
	struct kept **found = tsearch(kept, &keep->root, kept_compare);
	char name[NAME_SIZE];
	int err = 0;

	if (!found) {
		err = -ENOMEM;
	} else if (*found != kept) { /* replaces an earlier one */
		struct kept old = **found;

		**found = *kept;
		free(kept);
		fdstore_drop(keep->mount, kept_name(&old, name));
		close(old.fd);
		return 0;
	} else if (keep->count == KEEP_MAX || table_full(kept->fd)) {
		tdelete(kept, &keep->root, kept_compare);
		err = keep->count == KEEP_MAX ? -ENOSPC : -EMFILE;
	} else {
		err = owner_charge(keep->uid);
		if (err)
			tdelete(kept, &keep->root, kept_compare);
	}
	if (!err) {
		keep->count++;
		return 0;
	}
	fdstore_drop(keep->mount, kept_name(kept, name));
	kept_free(kept);
	return err;
}

int keep_put(struct keep *keep, uint64_t key, int fd)
{
	struct kept *kept = malloc(sizeof(*kept));
	char name[NAME_SIZE];
	int err;

	if (!kept) {
		close(fd);
		return -ENOMEM;
	}
	pthread_mutex_lock(&keep->lock);
	*kept = (struct kept){.key = key, .fd = fd, .serial = ++keep->serial};
	/* First: relayd dying before the one that it replaces is dropped leaves both, and the later one counts. */
	fdstore_put(keep->mount, kept_name(kept, name), fd);
	err = kept_enter(keep, kept);
	pthread_mutex_unlock(&keep->lock);
	return err;
}

void keep_drop(struct keep *keep, uint64_t key)
{
	struct kept wanted = {.key = key}, **found, *kept;
	char name[NAME_SIZE];

	pthread_mutex_lock(&keep->lock);
	found = tfind(&wanted, &keep->root, kept_compare);
	if (found) {
		kept = *found;
		tdelete(kept, &keep->root, kept_compare);
		fdstore_drop(keep->mount, kept_name(kept, name));
		kept_free(kept);
		keep->count--;
		owner_refund(keep->uid, 1);
	}
	pthread_mutex_unlock(&keep->lock);
}

static void kept_resume(struct keep *keep, struct kept wanted)
{
	struct kept **found = tfind(&wanted, &keep->root, kept_compare), *kept;
	char name[NAME_SIZE];

	if (keep->serial < wanted.serial)
		keep->serial = wanted.serial;
	kept = found && (*found)->serial > wanted.serial ? NULL : malloc(sizeof(*kept));
	if (kept) {
		*kept = wanted;
		kept_enter(keep, kept);
		return;
	}
	fdstore_drop(keep->mount, kept_name(&wanted, name));
	close(wanted.fd);
}

void keep_resume(struct keep *keep)
{
	struct kept kept;
	char suffix[64];

	while ((kept.fd = fdstore_take_like(keep->mount, "k", suffix)) >= 0) {
		if (sscanf(suffix, "%" SCNx64 ".%" SCNx32, &kept.key, &kept.serial) == 2)
			kept_resume(keep, kept);
		else
			close(kept.fd);
	}
}

static void on_put(const void *node, VISIT visit, void *closure)
{
	const struct kept *kept = *(struct kept *const *)node;
	const struct keep *keep = closure;
	char name[NAME_SIZE];

	if (visit == postorder || visit == leaf)
		fdstore_put(keep->mount, kept_name(kept, name), kept->fd);
}

void keep_put_all(struct keep *keep)
{
	pthread_mutex_lock(&keep->lock);
	twalk_r(keep->root, on_put, keep);
	pthread_mutex_unlock(&keep->lock);
}

struct walk {
	int (*each)(uint64_t key, int fd, void *arg);
	void *arg;
	int result;
};

static void walk_visit(const void *node, VISIT visit, void *closure)
{
	const struct kept *kept = *(struct kept *const *)node;
	struct walk *walk = closure;

	if ((visit == postorder || visit == leaf) && walk->result == 0)
		walk->result = walk->each(kept->key, kept->fd, walk->arg);
}

int keep_each(const struct keep *keep, int (*each)(uint64_t key, int fd, void *arg), void *arg)
{
	struct walk walk = {.each = each, .arg = arg};

	twalk_r(keep->root, walk_visit, &walk);
	return walk.result;
}
