/*
 * Windows, and what each kind of request does at its begin and at its end.
 *
 * Locking: one lock over all of it, held over single writes to the store.  A LOOKUP takes it
 * when it has found nothing, and otherwise never; a request that is not in the tables of kinds
 * does not come here at all.
 */
#include "absence_parts.h"

#include <errno.h>
#include <linux/ioctl.h>
#include <stdio.h> /* RENAME_EXCHANGE */
#include <stdlib.h>
#include <string.h>


#define SECOND 1000000000ull
#define VALID_MAX 1000000000ull

struct absence *relay_absence_new(const struct absence_store *ops, void *store, const struct absence_trust *trust,
				  bool inherited)
{
	struct absence *absence = calloc(1, sizeof(*absence));

	if (!absence)
		return NULL;
	absence->ops = ops;
	absence->store = store;
	absence->trust = *trust;
	absence->inherited = inherited;
	absence->litter = inherited;
	pthread_mutex_init(&absence->lock, NULL);
	return absence;
}

void relay_absence_free(struct absence *absence)
{
	if (!absence)
		return;
	pthread_mutex_destroy(&absence->lock);
	free(absence);
}

/* ---- windows --------------------------------------------------------------- */

static uint32_t bucket_of(uint64_t nodeid)
{
	return (uint32_t)((nodeid * 0x9e3779b97f4a7c15ull) >> 32) & (ABSENCE_BUCKETS - 1);
}

static uint64_t sequence_next(struct absence *absence)
{
	return atomic_fetch_add(&absence->sequence, 1) + 1;
}

static uint32_t own_count(const struct absence_window *own, uint32_t bucket)
{
	uint32_t count = 0;

	for (uint32_t i = 0; own && i < own->changes; i++)
		count += own->bucket[i] == bucket;
	return count;
}

bool absence_unchanged(const struct absence *absence, uint64_t nodeid, uint64_t since,
		       const struct absence_window *own)
{
	uint32_t index = bucket_of(nodeid);
	const struct absence_bucket *bucket = &absence->buckets[index];

	return !absence->broken && since >= absence->floor && bucket->stamp <= since &&
	       bucket->open == own_count(own, index);
}

void absence_window_change(struct absence *absence, struct absence_window *window, uint64_t nodeid)
{
	uint32_t bucket = bucket_of(nodeid);

	window->bucket[window->changes++] = bucket;
	absence->buckets[bucket].open++;
}

void absence_stamp(struct absence *absence, uint64_t nodeid)
{
	absence->buckets[bucket_of(nodeid)].stamp = sequence_next(absence);
}

static void window_close(struct absence *absence, struct absence_window *window)
{
	while (window->changes > 0) {
		struct absence_bucket *bucket = &absence->buckets[window->bucket[--window->changes]];

		bucket->stamp = sequence_next(absence);
		bucket->open--;
	}
}

void relay_absence_close(struct absence *absence, struct absence_window *window)
{
	if (window->changes == 0)
		return;
	pthread_mutex_lock(&absence->lock);
	window_close(absence, window);
	pthread_mutex_unlock(&absence->lock);
}

int absence_broken(struct absence *absence, int err)
{
	absence->broken = true;
	return err;
}

void relay_absence_incarnation(struct absence *absence)
{
	pthread_mutex_lock(&absence->lock);
	absence->floor = sequence_next(absence);
	absence_list_clear(absence);
	pthread_mutex_unlock(&absence->lock);
}

int relay_absence_clear(struct absence *absence)
{
	int err;

	pthread_mutex_lock(&absence->lock);
	absence->floor = sequence_next(absence);
	absence_list_clear(absence);
	err = absence->ops->clear(absence->store);
	if (err)
		absence_broken(absence, err);
	else
		absence_nodes_clear(absence);
	pthread_mutex_unlock(&absence->lock);
	return err;
}

/* ---- names ----------------------------------------------------------------- */

static uint64_t lease_until(const struct absence *absence, uint64_t lease)
{
	uint64_t now;

	if (lease == ABSENCE_FOREVER)
		return lease;
	now = absence->ops->now();
	return lease > ABSENCE_FOREVER - 1 - now ? ABSENCE_FOREVER - 1 : now + lease;
}

/* 0: not at all. */
uint64_t absence_until(const struct absence *absence, uint64_t said)
{
	uint64_t lease = absence->trust.lease;

	if (absence->trust.sole && !lease)
		return ABSENCE_FOREVER;
	if (said > lease)
		lease = said;
	return lease ? lease_until(absence, lease) : 0;
}

static int absent_drop(struct absence *absence, uint64_t dir, const char *name)
{
	int err = absence->ops->absent_drop(absence->store, dir, name, (uint32_t)strlen(name));

	return err && err != -EINVAL ? absence_broken(absence, err) : 0;
}

int absence_name_comes(struct absence *absence, uint64_t dir, const char *name)
{
	struct absence_node *node;
	int err;

	err = absence_node_look(absence, dir, &node);
	/* One that had no room in the copy is longer than any that can be written down. */
	if (err || !name)
		return err;
	err = absent_drop(absence, dir, name);
	if (err || !node || !(node->flags & ABSENCE_COMPLETE))
		return err;
	err = absence->ops->present_put(absence->store, dir, name, (uint32_t)strlen(name));
	return err && err != -EINVAL ? absence_node_incomplete(absence, dir) : 0;
}

/*
 * After it was applied: the name is there no more, unless another change of that directory
 * was under way, which may have made it.
 */
static void name_gone(struct absence *absence, const struct absence_window *window, uint64_t dir, const char *name)
{
	const struct absence_node *node = absence_node_find(absence, dir);

	if (!name || !node || !(node->flags & ABSENCE_COMPLETE) ||
	    !absence_unchanged(absence, dir, window->since, window))
		return;
	absence->ops->present_drop(absence->store, dir, name, (uint32_t)strlen(name));
}

/* In a complete directory it is known by that. */
static void name_missing(struct absence *absence, uint64_t dir, const char *name, uint64_t until, uint64_t since)
{
	struct absence_node *node = absence_node_find(absence, dir);

	if (!absence_unchanged(absence, dir, since, NULL) || (node && node->flags & ABSENCE_COMPLETE))
		return;
	/* What is inherited stays: an absent name takes nothing from it. */
	if (!node && !absence->inherited)
		node = absence_node_take(absence, dir);
	if (node)
		node->flags |= ABSENCE_NAMES;
	if (node || absence->inherited)
		absence->ops->absent_put(absence->store, dir, name, (uint32_t)strlen(name), until);
}

static uint64_t entry_lease(const struct fuse_entry_out *entry)
{
	uint64_t seconds = entry->entry_valid < VALID_MAX ? entry->entry_valid : VALID_MAX;

	return seconds * SECOND + (entry->entry_valid_nsec < SECOND ? entry->entry_valid_nsec : SECOND - 1);
}

static void looks_end(struct absence *absence, const struct absence_request *request,
		      struct absence_window *window, const struct absence_reply *reply)
{
	const struct fuse_entry_out *entry = reply->payload;
	bool whole = !reply->error && reply->size >= sizeof(*entry);
	uint64_t until;

	if (!request->args.name)
		return;
	if (reply->error == ENOENT || (whole && entry->nodeid == 0)) {
		until = absence_until(absence, whole ? entry_lease(entry) : 0);
		if (!until)
			return;
		pthread_mutex_lock(&absence->lock);
		name_missing(absence, request->nodeid, request->args.name, until, window->since);
		pthread_mutex_unlock(&absence->lock);
	} else if (whole && (!absence->trust.sole || absence->trust.gate)) {
		/* Somebody else has made it, or it was marked as stale. */
		pthread_mutex_lock(&absence->lock);
		absent_drop(absence, request->nodeid, request->args.name);
		pthread_mutex_unlock(&absence->lock);
	}
}

static int names_begin(struct absence *absence, const struct absence_request *request, struct absence_window *window)
{
	absence_window_change(absence, window, request->nodeid);
	return absence_name_comes(absence, request->nodeid, request->args.name);
}

/* A name that is present is so until it is certainly gone. */
static int unnames_begin(struct absence *absence, const struct absence_request *request, struct absence_window *window)
{
	absence_window_change(absence, window, request->nodeid);
	return 0;
}

static void unnames_end(struct absence *absence, const struct absence_request *request,
			struct absence_window *window, const struct absence_reply *reply)
{
	if (reply->error)
		return;
	pthread_mutex_lock(&absence->lock);
	name_gone(absence, window, request->nodeid, request->args.name);
	pthread_mutex_unlock(&absence->lock);
}

/* Both names are there afterwards: fuse_rename_in has no flags, and is how fuse_rename2_in begins. */
static bool moves_back(const struct absence_request *request)
{
	const struct fuse_rename2_in *in = request->args.in;

	return request->op->in_size >= sizeof(*in) && in->flags & (RENAME_EXCHANGE | RENAME_WHITEOUT);
}

static int moves_begin(struct absence *absence, const struct absence_request *request, struct absence_window *window)
{
	const struct fuse_rename2_in *in = request->args.in;
	int err;

	absence_window_change(absence, window, request->nodeid);
	absence_window_change(absence, window, in->newdir);
	err = absence_name_comes(absence, in->newdir, request->args.name2);
	if (!err && moves_back(request))
		err = absence_name_comes(absence, request->nodeid, request->args.name);
	return err;
}

static void moves_end(struct absence *absence, const struct absence_request *request,
		      struct absence_window *window, const struct absence_reply *reply)
{
	if (!moves_back(request))
		unnames_end(absence, request, window, reply);
}

/* ---- attributes ------------------------------------------------------------ */

static void xattr_missing(struct absence *absence, uint64_t nodeid, unsigned xattr, uint64_t until)
{
	struct absence_node *node = absence_node_take(absence, nodeid);

	/* First, so that what is written down is known as such. */
	if (!node)
		return;
	node->flags |= 1u << xattr;
	absence->ops->xattr_put(absence->store, nodeid, xattr, until);
}

static void reads_xattr_end(struct absence *absence, const struct absence_request *request,
			    struct absence_window *window, const struct absence_reply *reply)
{
	uint64_t until;
	int xattr;

	if (reply->error != ENODATA || !request->args.name)
		return;
	until = absence_until(absence, 0);
	xattr = absence->ops->xattr(request->args.name);
	if (!until || xattr < 0 || xattr >= (int)ABSENCE_XATTRS)
		return;
	pthread_mutex_lock(&absence->lock);
	if (absence_unchanged(absence, request->nodeid, window->since, NULL))
		xattr_missing(absence, request->nodeid, (unsigned)xattr, until);
	pthread_mutex_unlock(&absence->lock);
}

static int sets_xattr_begin(struct absence *absence, const struct absence_request *request,
			    struct absence_window *window)
{
	absence_window_change(absence, window, request->nodeid);
	return absence_node_drop_xattrs(absence, request->nodeid);
}

/* ---- the rest --------------------------------------------------------------- */

/*
 * An ioctl of a directory may make names, and nobody can tell which.  One that only reads,
 * as most do, does not.
 */
static int alters_begin(struct absence *absence, const struct absence_request *request, struct absence_window *window)
{
	const struct fuse_ioctl_in *in = request->args.in;
	int err;

	absence_window_change(absence, window, request->nodeid);
	if (!(in->flags & FUSE_IOCTL_DIR) || _IOC_DIR(in->cmd) == _IOC_READ)
		return absence_node_drop_xattrs(absence, request->nodeid);
	err = absence->ops->clear(absence->store);
	if (err)
		return absence_broken(absence, err);
	absence_nodes_clear(absence);
	return 0;
}

/* What is written down of it is of use to nobody now. */
static int forgets_begin(struct absence *absence, const struct absence_request *request, struct absence_window *window)
{
	const struct fuse_batch_forget_in *in = request->args.in;
	const struct fuse_forget_one *items = request->args.data;
	uint32_t count = items ? request->args.data_size / (uint32_t)sizeof(*items) : 0;

	(void)window;
	if (request->op->shape != RELAY_SHAPE_IN_DATA)
		absence_node_forget(absence, request->nodeid);
	for (uint32_t i = 0; i < count && i < in->count; i++)
		absence_node_forget(absence, items[i].nodeid);
	return 0;
}

static void opens_end(struct absence *absence, const struct absence_request *request, struct absence_window *window,
		      const struct absence_reply *reply)
{
	absence_list_open(absence, request, window, reply);
}

static void lists_end(struct absence *absence, const struct absence_request *request, struct absence_window *window,
		      const struct absence_reply *reply)
{
	absence_list_read(absence, request, window, reply);
}

static void closes_end(struct absence *absence, const struct absence_request *request, struct absence_window *window,
		       const struct absence_reply *reply)
{
	(void)window;
	(void)reply;
	absence_list_close(absence, request);
}

static void bears_end(struct absence *absence, const struct absence_request *request, struct absence_window *window,
		      const struct absence_reply *reply)
{
	absence_list_born(absence, request, window, reply);
}

/* ---- kinds ------------------------------------------------------------------- */

static const struct kind {
	/* With the lock; what it has opened is closed if it fails. */
	int (*begin)(struct absence *absence, const struct absence_request *request, struct absence_window *window);
	/* Without it. */
	void (*end)(struct absence *absence, const struct absence_request *request, struct absence_window *window,
		    const struct absence_reply *reply);
} kinds[RELAY_ABSENCE_KINDS] = {
	[RELAY_ABSENCE_LOOKS] = {NULL, looks_end},
	[RELAY_ABSENCE_OPENS] = {NULL, opens_end},
	[RELAY_ABSENCE_LISTS] = {NULL, lists_end},
	[RELAY_ABSENCE_CLOSES] = {NULL, closes_end},
	[RELAY_ABSENCE_NAMES] = {names_begin, NULL},
	[RELAY_ABSENCE_BEARS] = {names_begin, bears_end},
	[RELAY_ABSENCE_UNNAMES] = {unnames_begin, unnames_end},
	[RELAY_ABSENCE_MOVES] = {moves_begin, moves_end},
	[RELAY_ABSENCE_READS_XATTR] = {NULL, reads_xattr_end},
	[RELAY_ABSENCE_SETS_XATTR] = {sets_xattr_begin, NULL},
	[RELAY_ABSENCE_ALTERS] = {alters_begin, NULL},
	[RELAY_ABSENCE_FORGETS] = {forgets_begin, NULL},
};

int relay_absence_begin(struct absence *absence, const struct absence_request *request, struct absence_window *window)
{
	const struct kind *kind = &kinds[request->op->absence];
	int err = 0;

	relay_absence_close(absence, window);
	window->since = atomic_load(&absence->sequence);
	if (!kind->begin)
		return 0;
	pthread_mutex_lock(&absence->lock);
	err = kind->begin(absence, request, window);
	if (err)
		window_close(absence, window);
	pthread_mutex_unlock(&absence->lock);
	return err;
}

void relay_absence_end(struct absence *absence, const struct absence_request *request, struct absence_window *window,
		       const struct absence_reply *reply)
{
	const struct kind *kind = &kinds[request->op->absence];

	if (kind->end)
		kind->end(absence, request, window, reply);
	relay_absence_close(absence, window);
}

/* ---- of the filesystem's own accord --------------------------------------------- */

int relay_absence_put(struct absence *absence, uint64_t dir, const char *name, uint64_t lease)
{
	uint64_t since = atomic_load(&absence->sequence);
	int err = -EAGAIN;

	pthread_mutex_lock(&absence->lock);
	if (absence_unchanged(absence, dir, since, NULL)) {
		name_missing(absence, dir, name, lease_until(absence, lease), since);
		err = 0;
	}
	pthread_mutex_unlock(&absence->lock);
	return err;
}

int relay_absence_put_xattr(struct absence *absence, uint64_t nodeid, const char *name, uint64_t lease)
{
	uint64_t since = atomic_load(&absence->sequence);
	int xattr = absence->ops->xattr(name), err = 0;

	if (xattr < 0 || xattr >= (int)ABSENCE_XATTRS)
		return -EINVAL;
	pthread_mutex_lock(&absence->lock);
	if (absence_unchanged(absence, nodeid, since, NULL))
		xattr_missing(absence, nodeid, (unsigned)xattr, lease_until(absence, lease));
	else
		err = -EAGAIN;
	pthread_mutex_unlock(&absence->lock);
	return err;
}

int relay_absence_drop(struct absence *absence, uint64_t dir, const char *name)
{
	int err;

	pthread_mutex_lock(&absence->lock);
	err = absence_name_comes(absence, dir, name);
	absence_stamp(absence, dir);
	pthread_mutex_unlock(&absence->lock);
	return err;
}

int relay_absence_drop_xattrs(struct absence *absence, uint64_t nodeid)
{
	int err;

	pthread_mutex_lock(&absence->lock);
	err = absence_node_drop_xattrs(absence, nodeid);
	absence_stamp(absence, nodeid);
	pthread_mutex_unlock(&absence->lock);
	return err;
}

int relay_absence_stale(struct absence *absence, uint64_t dir, const char *name)
{
	int err = relay_absence_drop(absence, dir, name);

	if (err || !absence->trust.gate)
		return err;
	return absence->ops->stale_put(absence->store, dir, name, (uint32_t)strlen(name));
}
