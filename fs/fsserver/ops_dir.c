/*
 * READDIR and READDIRPLUS.
 *
 * READDIRPLUS hands the kernel a node with each entry, all counted in the answer's
 * one transaction, so it ends when that is full.  System calls come first: entries
 * are collected with their attributes, new ones with their file handles, and only
 * then is the state lock taken.
 */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs.h"

/*
 * As many as can fit in a transaction: an entry whose node is known changes one
 * word, a new one its bucket's besides those that all have in common.
 */
#define PLUS_MAX 60u

static size_t dirent_size(size_t name_length)
{
	return FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET + name_length);
}

/* The device of the directory being listed. */
static uint64_t listing_dev(struct fs *fs, uint64_t nodeid)
{
	const struct node *node;
	uint64_t dev;

	relay_state_lock(fs->session);
	node = node_get(&fs->tables, nodeid);
	dev = node ? node->ident.dev : fs->root_dev;
	relay_state_unlock(fs->session);
	return dev;
}

static void dirent_fill(const struct fs *fs, struct fuse_dirent *out, uint64_t dev, const struct dir_entry *entry)
{
	out->ino = attr_ino(fs, dev, entry->ino);
	out->off = entry->offset;
	out->namelen = entry->name_length;
	out->type = entry->type;
	memcpy(out->name, entry->name, entry->name_length);
	memset(out->name + entry->name_length, 0,
	       dirent_size(entry->name_length) - FUSE_NAME_OFFSET - entry->name_length);
}

/* The handle's reader, locked for a listing from in->offset on; or a negative errno. */
static int listing_begin(struct relay_req *req, const struct fuse_read_in *in, struct dir_reader **reader, int *fd)
{
	*fd = file_get(fs_of(req), in->fh);
	if (*fd < 0)
		return *fd;
	*reader = file_reader(in->fh);
	if (!*reader)
		return -ENOMEM;
	dir_reader_lock(*reader, *fd, in->offset);
	return 0;
}

void op_readdir(struct relay_req *req, const struct fuse_read_in *in)
{
	struct fs *fs = fs_of(req);
	uint64_t dev = listing_dev(fs, relay_req_nodeid(req));
	struct dir_reader *reader;
	struct dir_entry entry;
	size_t room, used = 0, size;
	char *out;
	int fd, err;

	err = listing_begin(req, in, &reader, &fd);
	if (err) {
		reply_result(req, err);
		return;
	}
	out = relay_reply_buffer(req, &room);
	if (in->size < room)
		room = in->size;
	while ((err = dir_reader_peek(reader, &entry)) > 0) {
		size = dirent_size(entry.name_length);
		if (used + size > room)
			break;
		dirent_fill(fs, (struct fuse_dirent *)(out + used), dev, &entry);
		used += size;
		dir_reader_consume(reader);
	}
	dir_reader_unlock(reader);
	/* An error after some entries comes again with the next call. */
	if (err < 0 && used == 0)
		reply_result(req, err);
	else
		relay_reply_filled(req, used);
}

/* ---- READDIRPLUS ------------------------------------------------------- */

/* An entry on its way into the reply. */
struct plus {
	struct fuse_direntplus *out;
	struct statx stx;
	bool lost;  /* it went between the listing and a look at it */
	bool known; /* it has a node: no file handle is needed */
	struct node_source source;
};

static size_t direntplus_size(size_t name_length)
{
	return FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET_DIRENTPLUS + name_length);
}

static bool is_dots(const struct dir_entry *entry)
{
	return entry->name[0] == '.' && (entry->name_length == 1 || (entry->name_length == 2 && entry->name[1] == '.'));
}

/*
 * Collects entries with their attributes into the reply's buffer, *used bytes of it;
 * plus[] has those that are to have a node.  0, also at the end, or a negative errno.
 */
static int plus_collect(struct fs *fs, struct dir_reader *reader, uint64_t dev, int fd, char *out, size_t room,
			struct plus *plus, unsigned *count, size_t *used)
{
	struct fuse_direntplus *record;
	struct dir_entry entry;
	size_t size;
	int err;

	*used = *count = 0;
	while ((err = dir_reader_peek(reader, &entry)) > 0) {
		size = direntplus_size(entry.name_length);
		if (*used + size > room || *count == PLUS_MAX)
			break;
		record = (struct fuse_direntplus *)(out + *used);
		memset(&record->entry_out, 0, sizeof(record->entry_out));
		dirent_fill(fs, &record->dirent, dev, &entry);
		if (!is_dots(&entry)) {
			struct plus *p = &plus[(*count)++];

			p->out = record;
			p->lost = attr_get(fd, entry.name, &p->stx) != 0;
		}
		*used += size;
		dir_reader_consume(reader);
	}
	return err < 0 && *used == 0 ? err : 0;
}

/* Notes which have a node, and looks for the file handles of the others. */
static void plus_prepare(struct fs *fs, uint64_t parent, int fd, struct plus *plus, unsigned count)
{
	unsigned i;

	relay_state_lock(fs->session);
	for (i = 0; i < count; i++) {
		if (plus[i].lost)
			continue;
		plus[i].source.ident = attr_ident(&plus[i].stx);
		plus[i].known = node_find(&fs->tables, &plus[i].source.ident) != NULL;
	}
	relay_state_unlock(fs->session);
	for (i = 0; i < count; i++) {
		char name[NAME_LENGTH_MAX + 1];

		if (plus[i].lost || plus[i].known)
			continue;
		memcpy(name, plus[i].out->dirent.name, plus[i].out->dirent.namelen);
		name[plus[i].out->dirent.namelen] = '\0';
		plus[i].lost = source_fill(fs, &plus[i].source, &plus[i].stx, parent, fd, name) != 0;
	}
}

/* The most words that counting it may take. */
static unsigned plus_words(const struct plus *plus)
{
	if (plus->known)
		return 1;
	return plus->source.handle_size > 0 ? 3 : 6;
}

/*
 * Counts the lookups, in the transaction that is going on.  Returns how many of the
 * entries it had room for.  One without a node is looked up by the kernel when it is
 * wanted.
 */
static unsigned plus_count(struct fs *fs, struct txn *txn, struct plus *plus, unsigned count)
{
	char name[NAME_LENGTH_MAX + 1];
	uint64_t nodeid;
	unsigned i;

	for (i = 0; i < count; i++) {
		struct plus *p = &plus[i];

		if (p->lost)
			continue;
		if (txn_room(txn) < plus_words(p))
			break;
		/* Its node has gone meanwhile, and it has no handle to make another. */
		if (p->known && !node_find(&fs->tables, &p->source.ident))
			continue;
		memcpy(name, p->out->dirent.name, p->out->dirent.namelen);
		name[p->out->dirent.namelen] = '\0';
		p->source.name = name;
		if (node_ref(txn, &fs->tables, &p->source, false, &nodeid) == 0)
			entry_fill(fs, &p->stx, nodeid, &p->out->entry_out);
	}
	return i;
}

void op_readdirplus(struct relay_req *req, const struct fuse_read_in *in)
{
	uint64_t parent = relay_req_nodeid(req);
	struct fs *fs = fs_of(req);
	struct dir_reader *reader;
	struct plus *plus;
	unsigned count, counted;
	size_t room, used;
	struct txn txn;
	char *out;
	int fd, err;

	plus = malloc(PLUS_MAX * sizeof(*plus));
	err = plus ? listing_begin(req, in, &reader, &fd) : -ENOMEM;
	if (err) {
		free(plus);
		reply_result(req, err);
		return;
	}
	out = relay_reply_buffer(req, &room);
	if (in->size < room)
		room = in->size;
	err = plus_collect(fs, reader, listing_dev(fs, parent), fd, out, room, plus, &count, &used);
	dir_reader_unlock(reader);
	if (err) {
		free(plus);
		reply_result(req, err);
		return;
	}
	plus_prepare(fs, parent, fd, plus, count);
	txn_begin(&txn, req);
	counted = plus_count(fs, &txn, plus, count);
	/* The listing goes on with the first that was not counted. */
	if (counted < count)
		used = (size_t)((char *)plus[counted].out - out);
	free(plus);
	relay_reply_filled(req, used);
}
