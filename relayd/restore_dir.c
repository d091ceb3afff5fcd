/*
 * A directory that was being read when its backend died, read on.
 *
 * What the kernel was given is in the handle's log: the cookie and the hash of the name of
 * each entry.  If the present incarnation puts the same entries before the asked cookie
 * as the earlier one did, its cookies are good and nothing is to be done any more.
 * Otherwise the directory is read from its beginning, and what was given is left out; so
 * each entry that was there all the time is given exactly once, in whatever order the
 * present incarnation has.  A request that goes on where the last one ended goes on in
 * that listing; any other reads it from the beginning again.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "restore.h"
#include "restore_parts.h"

/*
 * Cookies of relayd's: the upper half is the same for all of a reply, the lower is the
 * entry's place in the log.  A filesystem may use any of the 63 bits, so there is a choice.
 */
#define COOKIES_SHIFT 32
#define COOKIES_FIRST (1u << 30) /* upper halves that are tried, so many at a time */
#define COOKIES_TRIED 64u
#define COOKIES_END (1u << 31)
/* A listing of more entries has no end. */
#define LISTING_MAX (1u << 24)

/* A hash set of numbers. */
struct set {
	uint64_t *slots;
	uint32_t mask;
	bool zero; /* 0 marks a free slot, so it is kept here */
};

/* Where the kernel has got to. */
struct reading {
	struct fuse_read_in in;
	bool plus;
	uint64_t id; /* the backend's */
	uint64_t fh;
	struct fuse_in_header opener;
	uint32_t given; /* entries before the asked cookie */
	struct dirlog_entry last;
	struct set names; /* hashes of their names */
	uint64_t cookies; /* relayd's own are behind this one: see COOKIES_SHIFT */
	bool goes_on;	  /* in the listing that the last request was served from */
	uint64_t from;	  /* the backend's cookie that the listing is read from */
	uint64_t reached; /* and the one that it was read up to */
	uint8_t *reply;
	uint32_t reply_size;
};

/* What is done with each entry of the listing.  Returns 0 to go on, 1 to end, or an error. */
typedef int visit(struct reading *reading, const struct fuse_dirent *entry, void *arg);

/* ---- sets ---------------------------------------------------------------- */

static uint32_t set_at(const struct set *set, uint64_t value)
{
	uint32_t at = (uint32_t)((value * 0x9e3779b97f4a7c15ULL) >> 32) & set->mask;

	while (set->slots[at] && set->slots[at] != value)
		at = (at + 1) & set->mask;
	return at;
}

static int set_init(struct set *set, uint32_t count)
{
	uint32_t size = 16;

	while (size / 2 < count)
		size *= 2;
	set->zero = false;
	set->mask = size - 1;
	set->slots = calloc(size, sizeof(*set->slots));
	return set->slots ? 0 : -ENOMEM;
}

static void set_add(struct set *set, uint64_t value)
{
	if (value)
		set->slots[set_at(set, value)] = value;
	else
		set->zero = true;
}

static bool set_has(const struct set *set, uint64_t value)
{
	return value ? set->slots[set_at(set, value)] != 0 : set->zero;
}

/* ---- what was given ------------------------------------------------------ */

/* Takes the names in the log up to the asked cookie. */
static int reading_names(struct reading *reading, const struct handles *handles, const struct handle *handle)
{
	struct dirlog_entry entries[64];
	uint32_t from = 0, count;

	if (set_init(&reading->names, reading->given) < 0)
		return -ENOMEM;
	while ((count = dirlog_read(handles, handle, from, entries, 64)) > 0) {
		for (uint32_t i = 0; i < count && from + i < reading->given; i++) {
			set_add(&reading->names, entries[i].hash);
			reading->last = entries[i];
		}
		from += count;
	}
	return 0;
}

/*
 * Which of the upper halves from `first` on the log has.  One of relayd's own at its place
 * does not count: it is not given a second time at another.
 */
static uint64_t cookies_used(const struct handles *handles, const struct handle *handle, uint32_t first)
{
	struct dirlog_entry entries[64];
	uint32_t from = 0, count;
	uint64_t used = 0, upper;

	while ((count = dirlog_read(handles, handle, from, entries, 64)) > 0) {
		for (uint32_t i = 0; i < count; i++) {
			upper = entries[i].cookie >> COOKIES_SHIFT;
			if (upper >= first && upper - first < COOKIES_TRIED &&
			    (uint32_t)entries[i].cookie != from + i + 1)
				used |= 1ULL << (upper - first);
		}
		from += count;
	}
	return used;
}

/* Chooses cookies that are not in the log.  Returns 0, or EOVERFLOW if there are none. */
static int reading_cookies(struct reading *reading, const struct handles *handles, const struct handle *handle)
{
	uint64_t used;

	for (uint32_t first = COOKIES_FIRST; first < COOKIES_END; first += COOKIES_TRIED) {
		used = cookies_used(handles, handle, first);
		for (uint32_t i = 0; i < COOKIES_TRIED; i++)
			if (!(used & 1ULL << i)) {
				reading->cookies = (uint64_t)(first + i) << COOKIES_SHIFT;
				return 0;
			}
	}
	return EOVERFLOW;
}

/*
 * Returns 0; ENOENT if there is nothing to be continued (the request is to be passed on);
 * or an error.
 */
static int reading_begin(struct reading *reading, struct restore *restore, const struct ask *ask,
			 const struct fuse_in_header *header)
{
	struct handles *handles = &restore->translate->handles;
	struct handle *handle;
	int err = restore_lock(restore, ask);

	if (err)
		return err;
	handle = handles_get(handles, reading->in.fh);
	if (!handle || !(handle->flags & HANDLE_DIR)) {
		err = EBADF;
	} else if (!(handle->flags & HANDLE_RESUMES) || !handles_current(handles, handle)) {
		err = ENOENT;
	} else if (!dirlog_seek(handles, handle, reading->in.offset) || handle->log_position == 0) {
		/* From the beginning on the cookies are the present incarnation's; of others nothing is known. */
		err = ENOENT;
	} else {
		reading->id = nodes_at(handles->nodes, handle->node)->backend_id;
		reading->fh = handle->backend_fh;
		reading->opener = (struct fuse_in_header){.uid = handle->uid, .gid = handle->gid, .pid = handle->pid};
		reading->given = handle->log_position;
		reading->goes_on = handle->rest_cookie && handle->rest_cookie == reading->in.offset;
		err = reading_names(reading, handles, handle);
		if (reading->goes_on) {
			reading->from = reading->reached = handle->rest_offset;
			reading->cookies = reading->in.offset >> COOKIES_SHIFT << COOKIES_SHIFT;
		} else if (!err) {
			err = reading_cookies(reading, handles, handle);
		}
	}
	restore_unlock(restore);
	reading->plus = header->opcode == FUSE_READDIRPLUS;
	return err;
}

/* ---- the listing --------------------------------------------------------- */

/* Shows the entries of one reply.  Returns as a visit. */
static int listing_part(struct reading *reading, const struct fuse_dirent *entries, uint32_t size, uint64_t *offset,
			visit *each, void *arg)
{
	const uint8_t *at = (const uint8_t *)entries;
	uint64_t length;
	int done = 0;

	while (size >= FUSE_NAME_OFFSET && !done) {
		const struct fuse_dirent *entry = (const struct fuse_dirent *)at;

		length = FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET + (uint64_t)entry->namelen);
		/* As for the kernel: libfuse has a whole listing at hand, and cuts it where the reply is full. */
		if (length > size)
			break;
		if (entry->namelen == 0 || memchr(entry->name, '\0', entry->namelen) ||
		    memchr(entry->name, '/', entry->namelen))
			return EIO;
		*offset = entry->off;
		done = each(reading, entry, arg);
		at += length;
		size -= (uint32_t)length;
	}
	return done;
}

/* Shows all entries of the directory, from reading->from on.  Returns as a visit, 0 at the end. */
static int listing_read(struct reading *reading, struct ask *ask, visit *each, void *arg)
{
	const struct fuse_dirent *entries;
	uint64_t offset = reading->from, next;
	uint32_t size, count = 0;
	int err;

	for (;;) {
		err = ask_readdir(ask, reading->id, &reading->opener, reading->fh, offset, &entries, &size);
		if (err || size == 0)
			return err;
		next = offset;
		err = listing_part(reading, entries, size, &next, each, arg);
		if (err)
			return err;
		count += size / FUSE_NAME_OFFSET;
		/* It goes round in circles. */
		if (next == offset || count > LISTING_MAX)
			return EIO;
		offset = next;
	}
}

/* ---- are the cookies the same -------------------------------------------- */

struct comparison {
	uint32_t found; /* given entries before the asked cookie */
	bool reached;	/* it was passed, and under the same name */
	bool different;
};

static int compare(struct reading *reading, const struct fuse_dirent *entry, void *arg)
{
	struct comparison *comparison = arg;
	uint64_t hash = dirlog_hash(entry->name, entry->namelen);

	if (comparison->reached) {
		/* One that was given comes again. */
		comparison->different = set_has(&reading->names, hash);
		return comparison->different;
	}
	if (set_has(&reading->names, hash))
		comparison->found++;
	if (entry->off == reading->in.offset || hash == reading->last.hash) {
		comparison->different = entry->off != reading->in.offset || hash != reading->last.hash;
		comparison->reached = true;
		/* All are before it: so none comes again. */
		return comparison->different || comparison->found == reading->given;
	}
	return 0;
}

/* Returns 0 if they are the same, ENOENT if not, or an error. */
static int cookies_same(struct reading *reading, struct ask *ask)
{
	struct comparison comparison = {0};
	int err = listing_read(reading, ask, compare, &comparison);

	if (err && err != 1)
		return err;
	return comparison.reached && !comparison.different ? 0 : ENOENT;
}

/* ---- what was not given -------------------------------------------------- */

struct serving {
	uint32_t index; /* of the entries given, those before included */
	bool rest;	/* there is more than fits */
};

static int serve(struct reading *reading, const struct fuse_dirent *entry, void *arg)
{
	struct serving *serving = arg;
	uint32_t head = reading->plus ? FUSE_NAME_OFFSET_DIRENTPLUS : FUSE_NAME_OFFSET;
	uint32_t size = (uint32_t)FUSE_DIRENT_ALIGN(head + entry->namelen);
	struct fuse_dirent out = {.ino = entry->ino, .namelen = entry->namelen, .type = entry->type};
	uint8_t *at = reading->reply + reading->reply_size;

	if (set_has(&reading->names, dirlog_hash(entry->name, entry->namelen))) {
		reading->reached = entry->off;
		return 0;
	}
	if (size > reading->in.size - reading->reply_size) {
		serving->rest = true;
		return 1;
	}
	out.off = reading->cookies + ++serving->index;
	/* An entry without a node: the kernel takes its name, and looks it up if it wants more. */
	memset(at, 0, size);
	memcpy(at + head - FUSE_NAME_OFFSET, &out, FUSE_NAME_OFFSET);
	memcpy(at + head, entry->name, entry->namelen);
	reading->reply_size += size;
	reading->reached = entry->off;
	return 0;
}

/* Where the next request goes on, if it is the next one. */
static int serve_note(const struct reading *reading, struct restore *restore, const struct ask *ask, uint32_t index)
{
	struct handle *handle;
	int err = restore_lock(restore, ask);

	if (err)
		return err;
	handle = handles_get(&restore->translate->handles, reading->in.fh);
	if (handle && handles_current(&restore->translate->handles, handle)) {
		/* A process dying in between leaves what is of no incarnation any more. */
		handle->rest_cookie = reading->cookies + index;
		handle->rest_offset = reading->reached;
	}
	restore_unlock(restore);
	return 0;
}

static int serve_rest(struct reading *reading, struct restore *restore, struct ask *ask)
{
	struct serving serving = {.index = reading->given};
	int err = listing_read(reading, ask, serve, &serving);

	if (err && err != 1)
		return err;
	if (reading->reply_size > 0)
		return serve_note(reading, restore, ask, serving.index);
	/* Nothing would be the end of the directory. */
	if (serving.rest)
		return EINVAL;
	reading->reply_size = UINT32_MAX;
	return 0;
}

/* The asked cookie and those from it on are the backend's own: the rest is its to answer. */
static int reading_passes(struct restore *restore, const struct ask *ask, uint64_t fh)
{
	struct handle *handle;
	int err = restore_lock(restore, ask);

	if (err)
		return err;
	handle = handles_get(&restore->translate->handles, fh);
	if (handle)
		handle->flags &= ~(uint32_t)HANDLE_RESUMES;
	restore_unlock(restore);
	return 0;
}

int restore_readdir(struct restore *restore, struct ask *ask, const void *request, uint32_t size, void *reply,
		    uint32_t *reply_size)
{
	struct reading reading = {.reply = reply};
	bool pass;
	int err;

	*reply_size = 0;
	if (size < sizeof(struct fuse_in_header) + sizeof(reading.in))
		return EIO;
	memcpy(&reading.in, (const uint8_t *)request + sizeof(struct fuse_in_header), sizeof(reading.in));
	if (reading.in.size > RELAY_MAX_REPLY)
		reading.in.size = RELAY_MAX_REPLY;
	/* A death anywhere here has given nothing: the log grows with the reply, when that is noted. */
	err = reading_begin(&reading, restore, ask, request);
	if (!err) {
		err = reading.goes_on ? ENOENT : cookies_same(&reading, ask);
		pass = err == 0;
	} else {
		pass = err == ENOENT;
	}
	if (err == ENOENT && !pass)
		err = serve_rest(&reading, restore, ask);
	/* Or a backend whose directories are read in another way only. */
	if (pass || err == ENOSYS)
		err = reading_passes(restore, ask, reading.in.fh);
	else if (!err)
		*reply_size = reading.reply_size;
	free(reading.names.slots);
	return err;
}
