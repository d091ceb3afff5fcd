/*
 * Listings: a directory that was read from its begin to its end, while nothing changed it, has
 * no other names than those.
 *
 * "While" is from when its OPENDIR was handed on: a backend may list what was there then.
 * Names are written down as they come by; the directory is complete when the last reply, which
 * is empty, has come and nothing has changed.  A process dying in between leaves names that
 * nobody looks at.  If a reply is not read to its end (a seekdir(3), a small buffer) the next
 * request does not go on where it ended, and the listing comes to nothing.
 *
 * Names that are present and of no use are swept out when there is no room.
 */
#include "absence_parts.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

/* ---- records ------------------------------------------------------------------ */

struct record {
	const uint8_t *at;
	uint32_t left;
	uint32_t name_at; /* FUSE_NAME_OFFSET, or of READDIRPLUS */
	uint64_t off;
	uint32_t length;
	const char *name;
};

/* Goes on to the next record, if there is one whole: as the kernel does (fs/fuse/readdir.c). */
static bool record_next(struct record *record)
{
	const uint8_t *dirent = record->at + record->name_at - FUSE_NAME_OFFSET;
	uint64_t size;

	if (record->left < record->name_at)
		return false;
	memcpy(&record->off, dirent + offsetof(struct fuse_dirent, off), sizeof(record->off));
	memcpy(&record->length, dirent + offsetof(struct fuse_dirent, namelen), sizeof(record->length));
	size = FUSE_DIRENT_ALIGN((uint64_t)record->name_at + record->length);
	if (size > record->left)
		return false;
	record->name = (const char *)record->at + record->name_at;
	record->at += size;
	record->left -= (uint32_t)size;
	return true;
}

static bool record_dots(const struct record *record)
{
	return (record->length == 1 && record->name[0] == '.') ||
	       (record->length == 2 && record->name[0] == '.' && record->name[1] == '.');
}

/* ---- the table of listings, with the lock held ---------------------------------- */

static struct absence_listing *listing_find(struct absence *absence, uint64_t dir, uint64_t fh)
{
	for (unsigned i = 0; i < ABSENCE_LISTINGS; i++)
		if (absence->listings[i].dir == dir && absence->listings[i].fh == fh)
			return &absence->listings[i];
	return NULL;
}

static void listing_end(struct absence_listing *listing)
{
	*listing = (struct absence_listing){0};
}

void absence_list_clear(struct absence *absence)
{
	memset(absence->listings, 0, sizeof(absence->listings));
}

static struct absence_listing *listing_place(struct absence *absence)
{
	for (unsigned i = 0; i < ABSENCE_LISTINGS; i++)
		if (absence->listings[i].dir == 0)
			return &absence->listings[i];
	return &absence->listings[absence->oldest++ % ABSENCE_LISTINGS];
}

/* ---- present names ---------------------------------------------------------------- */

static bool sweep_keep(uint64_t dir, void *arg)
{
	struct absence *absence = arg;
	struct absence_node *node;
	bool keep = false;

	pthread_mutex_lock(&absence->lock);
	for (unsigned i = 0; i < ABSENCE_LISTINGS; i++)
		keep = keep || absence->listings[i].dir == dir;
	/* What is inherited is kept by the store, where it is complete. */
	node = absence_node_find(absence, dir);
	keep = keep || (node && node->flags & ABSENCE_COMPLETE);
	pthread_mutex_unlock(&absence->lock);
	return keep;
}

/*
 * What is kept is what is complete or listed now, and nothing else becomes either until it is
 * over: so a directory that was found to be of no use stays so.
 */
static void names_sweep(struct absence *absence)
{
	bool sweep;

	pthread_mutex_lock(&absence->lock);
	sweep = absence->litter && !absence->sweeping;
	absence->sweeping = absence->sweeping || sweep;
	absence->litter = absence->litter && !sweep;
	pthread_mutex_unlock(&absence->lock);
	if (!sweep)
		return;
	absence->ops->sweep(absence->store, sweep_keep, absence);
	pthread_mutex_lock(&absence->lock);
	absence->sweeping = false;
	pthread_mutex_unlock(&absence->lock);
}

/* The listing, still good.  With the lock. */
static struct absence_listing *listing_good(struct absence *absence, uint64_t dir, uint64_t fh)
{
	struct absence_listing *listing = listing_find(absence, dir, fh);

	if (!listing || absence_unchanged(absence, dir, listing->since, NULL))
		return listing;
	absence->litter = true;
	listing_end(listing);
	return NULL;
}

/* One name; a lock at a time, so that a long listing holds nobody up.  Returns 0 or a negative errno. */
static int name_list(struct absence *absence, uint64_t dir, uint64_t fh, const struct record *record)
{
	struct absence_listing *listing;
	struct absence_node *node;
	int err = -ESTALE;

	pthread_mutex_lock(&absence->lock);
	listing = listing_good(absence, dir, fh);
	if (listing) {
		err = absence->ops->present_put(absence->store, dir, record->name, record->length);
		/* Longer than any that is answered for. */
		if (err == -EINVAL && record->length > 0 && !memchr(record->name, '/', record->length) &&
		    !memchr(record->name, '\0', record->length))
			err = 0;
		/* What is listed is not absent, whatever was said before. */
		if (!err && !absence->trust.sole)
			absence->ops->absent_drop(absence->store, dir, record->name, record->length);
		listing->next = record->off;
	}
	if (listing && err) {
		absence->litter = true;
		listing_end(listing);
		node = absence_node_take(absence, dir);
		if (node)
			node->flags |= ABSENCE_LARGE;
	}
	pthread_mutex_unlock(&absence->lock);
	return err;
}

static void names_list(struct absence *absence, const struct absence_request *request, uint64_t fh,
		       const struct absence_reply *reply)
{
	struct record record = {
		.at = reply->payload,
		.left = reply->size,
		.name_at = request->op->flags & RELAY_OP_ENTRIES ? FUSE_NAME_OFFSET_DIRENTPLUS : FUSE_NAME_OFFSET,
	};
	int err = 0;

	while (!err && record_next(&record)) {
		if (record_dots(&record)) {
			struct absence_listing *listing;

			pthread_mutex_lock(&absence->lock);
			listing = listing_find(absence, request->nodeid, fh);
			if (listing)
				listing->next = record.off;
			pthread_mutex_unlock(&absence->lock);
		} else {
			err = name_list(absence, request->nodeid, fh, &record);
		}
	}
	if (err == -E2BIG)
		names_sweep(absence);
}

/* ---- completeness ----------------------------------------------------------------- */

/* Each name that exists is present, and nothing has changed that.  With the lock. */
static int dir_complete(struct absence *absence, uint64_t dir)
{
	struct absence_node *node = absence->sweeping ? NULL : absence_node_take(absence, dir);
	int err;

	if (!node)
		return -EAGAIN;
	/* First: a process dying here leaves what is not complete, and a table that is gone. */
	node->flags |= ABSENCE_COMPLETE;
	err = absence->ops->dir_complete(absence->store, dir);
	if (err) {
		node->flags &= ~ABSENCE_COMPLETE;
		absence->litter = true;
	}
	return err;
}

void absence_list_open(struct absence *absence, const struct absence_request *request,
		       const struct absence_window *window, const struct absence_reply *reply)
{
	const struct fuse_open_out *out = reply->payload;
	struct absence_node *node;

	if (!absence->trust.complete || reply->error || reply->size < sizeof(*out))
		return;
	pthread_mutex_lock(&absence->lock);
	node = absence_node_find(absence, request->nodeid);
	if (!absence->sweeping && absence_unchanged(absence, request->nodeid, window->since, NULL) &&
	    !(node && node->flags & (ABSENCE_COMPLETE | ABSENCE_LARGE)))
		*listing_place(absence) = (struct absence_listing){
			.dir = request->nodeid,
			.fh = out->fh,
			.since = window->since,
		};
	pthread_mutex_unlock(&absence->lock);
}

void absence_list_read(struct absence *absence, const struct absence_request *request,
		       const struct absence_window *window, const struct absence_reply *reply)
{
	const struct fuse_read_in *in = request->args.in;
	struct absence_listing *listing;
	uint64_t fh = in->fh;
	bool more = false;

	(void)window;
	if (!absence->trust.complete)
		return;
	pthread_mutex_lock(&absence->lock);
	listing = listing_good(absence, request->nodeid, fh);
	if (listing && (reply->error || in->offset != listing->next)) {
		absence->litter = true;
		listing_end(listing);
	} else if (listing && reply->size == 0) {
		dir_complete(absence, request->nodeid);
		listing_end(listing);
	} else {
		more = listing != NULL;
	}
	pthread_mutex_unlock(&absence->lock);
	if (more)
		names_list(absence, request, fh, reply);
}

void absence_list_close(struct absence *absence, const struct absence_request *request)
{
	const struct fuse_release_in *in = request->args.in;
	struct absence_listing *listing;

	pthread_mutex_lock(&absence->lock);
	listing = listing_find(absence, request->nodeid, in->fh);
	if (listing) {
		absence->litter = true;
		listing_end(listing);
	}
	pthread_mutex_unlock(&absence->lock);
}

/* On a redo somebody may have been told of it already, by a listing of the directory that it is in. */
void absence_list_born(struct absence *absence, const struct absence_request *request,
		       const struct absence_window *window, const struct absence_reply *reply)
{
	const struct fuse_entry_out *entry = reply->payload;

	if (!absence->trust.complete || reply->error || reply->size < sizeof(*entry) || request->redo)
		return;
	pthread_mutex_lock(&absence->lock);
	/* Nobody has made a name in it, or is about to. */
	if (absence_unchanged(absence, entry->nodeid, window->since, window))
		dir_complete(absence, entry->nodeid);
	pthread_mutex_unlock(&absence->lock);
}

int relay_absence_complete(struct absence *absence, uint64_t dir, const char *const *names, uint32_t count)
{
	uint64_t since = atomic_load(&absence->sequence);
	int err = 0;

	pthread_mutex_lock(&absence->lock);
	if (!absence_unchanged(absence, dir, since, NULL) || absence->sweeping)
		err = -EAGAIN;
	for (uint32_t i = 0; i < count && !err; i++) {
		err = absence->ops->present_put(absence->store, dir, names[i], (uint32_t)strlen(names[i]));
		absence->litter = true;
	}
	if (!err)
		err = dir_complete(absence, dir);
	pthread_mutex_unlock(&absence->lock);
	return err;
}
