/*
 * What backends say, as the rules of what is absent read it: notifications, which may be any bytes,
 * and the records of a listing.  What is written down has a name that is a name, and a
 * directory that becomes complete has each whole record's name as present.
 *
 * The first byte says which it is: 0 a notification, 1 a READDIR, 2 a READDIRPLUS; the second how far is
 * believed.
 */
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "absence.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define DIR 7u
#define FH 3u

static uint32_t puts_seen, puts_failed;
static bool complete;
static volatile size_t sum; /* so that what is read is read */

static void name_check(const char *name, uint32_t length)
{
	for (uint32_t i = 0; i < length; i++)
		sum += (uint8_t)name[i];
}

static bool nameless(const char *name, uint32_t length)
{
	return !length || length > 255 || memchr(name, '/', length) || memchr(name, 0, length);
}

static int absent_put(void *store, uint64_t dir, const char *name, uint32_t length, uint64_t until)
{
	(void)store, (void)dir, (void)until;
	name_check(name, length);
	return 0;
}

static int name_drop(void *store, uint64_t dir, const char *name, uint32_t length)
{
	(void)store, (void)dir;
	name_check(name, length);
	return nameless(name, length) ? -EINVAL : 0;
}

static int present_put(void *store, uint64_t dir, const char *name, uint32_t length)
{
	(void)store, (void)dir;
	name_check(name, length);
	puts_seen++;
	if (!nameless(name, length))
		return 0;
	puts_failed += length < 256;
	return -EINVAL;
}

static int dir_complete(void *store, uint64_t dir)
{
	(void)store, (void)dir;
	complete = true;
	return 0;
}

static int node_drop(void *store, uint64_t nodeid)
{
	(void)store, (void)nodeid;
	return 0;
}

static int xattr(const char *name)
{
	(void)name;
	return -1;
}

static int xattr_put(void *store, uint64_t nodeid, unsigned which, uint64_t until)
{
	(void)store, (void)nodeid, (void)which, (void)until;
	return 0;
}

static int xattr_drop(void *store, uint64_t nodeid, unsigned which)
{
	(void)store, (void)nodeid, (void)which;
	return 0;
}

static int clear(void *store)
{
	(void)store;
	return 0;
}

static void sweep(void *store, bool (*keep)(uint64_t dir, void *arg), void *arg)
{
	(void)store;
	keep(DIR, arg);
}

static uint64_t now(void)
{
	return 1;
}

static const struct absence_store ops = {
	.absent_put = absent_put,
	.absent_drop = name_drop,
	.present_put = present_put,
	.present_drop = name_drop,
	.dir_complete = dir_complete,
	.dir_drop = node_drop,
	.stale_put = name_drop,
	.xattr = xattr,
	.xattr_put = xattr_put,
	.xattr_drop = xattr_drop,
	.node_drop = node_drop,
	.clear = clear,
	.sweep = sweep,
	.now = now,
};

static void answer(struct absence *absence, uint32_t opcode, const void *in, const void *payload, uint32_t size)
{
	const struct absence_request request = {.op = relay_op_get(opcode), .nodeid = DIR, .args = {.in = in}};
	const struct absence_reply reply = {.payload = payload, .size = size};
	struct absence_window window = {0};

	if (relay_absence_begin(absence, &request, &window) == 0)
		relay_absence_end(absence, &request, &window, &reply);
}

/* The kernel's way to go through it (fs/fuse/readdir.c), independently: how many records, and where they end. */
static uint32_t records_count(const uint8_t *bytes, uint32_t size, uint32_t name_at, uint64_t *next)
{
	struct fuse_dirent dirent;
	uint32_t at = 0, count = 0;

	while (size - at >= name_at) {
		uint64_t whole;

		memcpy(&dirent, bytes + at + name_at - FUSE_NAME_OFFSET, FUSE_NAME_OFFSET);
		whole = ((uint64_t)name_at + dirent.namelen + 7) & ~7ull;
		if (whole > size - at)
			break;
		*next = dirent.off;
		count += !(dirent.namelen == 1 && bytes[at + name_at] == '.') &&
			 !(dirent.namelen == 2 && memcmp(bytes + at + name_at, "..", 2) == 0);
		at += (uint32_t)whole;
	}
	return count;
}

static void list(struct absence *absence, bool plus, const uint8_t *bytes, uint32_t size)
{
	const uint32_t opcode = plus ? FUSE_READDIRPLUS : FUSE_READDIR;
	const uint32_t name_at = plus ? (uint32_t)FUSE_NAME_OFFSET_DIRENTPLUS : (uint32_t)FUSE_NAME_OFFSET;
	const struct fuse_open_in open_in = {0};
	const struct fuse_open_out open = {.fh = FH};
	struct fuse_read_in in = {.fh = FH, .size = size};
	uint32_t count = records_count(bytes, size, name_at, &in.offset);

	puts_seen = puts_failed = 0;
	complete = false;
	answer(absence, FUSE_OPENDIR, &open_in, &open, sizeof(open));
	answer(absence, opcode, &(struct fuse_read_in){.fh = FH, .size = size}, bytes, size);
	answer(absence, opcode, &in, NULL, 0);
	if (complete && size && (puts_failed || puts_seen != count))
		abort();
}

/* By trust: a new one each time would take longer than all else. */
static struct absence *absence_get(uint8_t how)
{
	static struct absence *all[16];
	const struct absence_trust trust = {.sole = how & 1, .complete = how & 2, .gate = how & 4};
	struct absence **absence = &all[how % 16];

	if (!*absence)
		*absence = relay_absence_new(&ops, NULL, &trust, how & 8);
	if (!*absence || relay_absence_clear(*absence) != 0)
		abort();
	return *absence;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct absence *absence;
	uint8_t *copy;

	if (size < 2 || size > 65536)
		return 0;
	absence = absence_get(data[1]);
	copy = malloc(size - 2 ? size - 2 : 1); /* aligned as a reply is, and no longer */
	if (!copy)
		return 0;
	memcpy(copy, data + 2, size - 2);
	if (data[0] % 3 == 0)
		relay_absence_notify(absence, copy, (uint32_t)size - 2);
	else
		list(absence, data[0] % 3 == 2, copy, (uint32_t)size - 2);
	free(copy);
	return 0;
}
