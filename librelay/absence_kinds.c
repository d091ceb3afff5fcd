/*
 * What each kind of request does at its begin and at its end: the column `absence` of the table of
 * opcodes says which kind a request is.
 */
#include "absence_parts.h"

#include <errno.h>
#include <linux/ioctl.h>
#include <stdio.h> /* RENAME_EXCHANGE */
#include <string.h>

#define SECOND 1000000000ull
#define VALID_MAX 1000000000ull

/* ---- names ------------------------------------------------------------------ */

static uint64_t entry_lease(const struct fuse_entry_out *entry)
{
	uint64_t seconds = entry->entry_valid < VALID_MAX ? entry->entry_valid : VALID_MAX;

	return seconds * SECOND + (entry->entry_valid_nsec < SECOND ? entry->entry_valid_nsec : SECOND - 1);
}

static void looks_end(struct absence *absence, const struct absence_request *request, struct absence_window *window,
		      const struct absence_reply *reply)
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
		absence_name_missing(absence, request->nodeid, request->args.name, until, window->since);
		pthread_mutex_unlock(&absence->lock);
	} else if (whole && (!absence->trust.sole || absence->trust.gate)) {
		/* Somebody else has made it, or it was marked as stale. */
		pthread_mutex_lock(&absence->lock);
		absence_name_absent_drop(absence, request->nodeid, request->args.name);
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

static void unnames_end(struct absence *absence, const struct absence_request *request, struct absence_window *window,
			const struct absence_reply *reply)
{
	if (reply->error)
		return;
	pthread_mutex_lock(&absence->lock);
	absence_name_gone(absence, window, request->nodeid, request->args.name);
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

static void moves_end(struct absence *absence, const struct absence_request *request, struct absence_window *window,
		      const struct absence_reply *reply)
{
	if (!moves_back(request))
		unnames_end(absence, request, window, reply);
}

/* ---- attributes ------------------------------------------------------------ */

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
		absence_xattr_missing(absence, request->nodeid, (unsigned)xattr, until);
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

	if (!(in->flags & FUSE_IOCTL_DIR) || _IOC_DIR(in->cmd) == _IOC_READ) {
		absence_window_change(absence, window, request->nodeid);
		return absence_node_drop_xattrs(absence, request->nodeid);
	}
	absence_window_change_all(absence, window);
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
		absence_window_close(absence, window);
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
