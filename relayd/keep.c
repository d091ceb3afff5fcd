/*
 * Kept descriptors.  They live as long as the mount: a backend that dies finds
 * its state and its unlinked files here when it comes back.
 */
#include "keep.h"

#include <errno.h>
#include <search.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

/* Descriptors that other mounts' channels and the control socket find room in. */
#define RESERVE 512u

struct kept {
	uint64_t key;
	int fd;
};

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
	*keep = (struct keep){0};
}

void keep_deinit(struct keep *keep)
{
	tdestroy(keep->root, kept_free);
	keep_init(keep);
}

/* The lowest free number is given: a high one tells that the process has few left. */
static bool table_full(int fd)
{
	struct rlimit limit;

	return getrlimit(RLIMIT_NOFILE, &limit) == 0 && (rlim_t)fd + RESERVE >= limit.rlim_cur;
}

int keep_put(struct keep *keep, uint64_t key, int fd)
{
	struct kept *fresh, **found;
	int err;

	err = -ENOMEM;
	fresh = malloc(sizeof(*fresh));
	if (!fresh)
		goto refuse;
	*fresh = (struct kept){.key = key, .fd = fd};
	found = tsearch(fresh, &keep->root, kept_compare);
	if (!found)
		goto refuse;
	if (*found != fresh) { /* replaces an earlier one */
		close((*found)->fd);
		(*found)->fd = fd;
		free(fresh);
		return 0;
	}
	if (keep->count == KEEP_MAX || table_full(fd)) {
		tdelete(fresh, &keep->root, kept_compare);
		err = keep->count == KEEP_MAX ? -ENOSPC : -EMFILE;
		goto refuse;
	}
	keep->count++;
	return 0;
refuse:
	free(fresh);
	close(fd);
	return err;
}

void keep_drop(struct keep *keep, uint64_t key)
{
	struct kept wanted = {.key = key}, **found, *kept;

	found = tfind(&wanted, &keep->root, kept_compare);
	if (!found)
		return;
	kept = *found;
	tdelete(kept, &keep->root, kept_compare);
	kept_free(kept);
	keep->count--;
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
