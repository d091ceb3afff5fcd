/*
 * Listings: the records of READDIR and READDIRPLUS, whose inode numbers and nodes become the
 * kernel's, and which go into the handle's log (dirlog.c).
 *
 * Records are read as the kernel reads them (fs/fuse/readdir.c): one that goes beyond the end
 * ends the listing, one that cannot be makes the whole EIO.  The second is found out before
 * anything is counted.
 */
#include "translate_parts.h"

#include <errno.h>
#include <limits.h>
#include <stddef.h>
#include <string.h>

/* The kernel's FUSE_NAME_MAX, of the version where it is longest. */
#define NAME_LONGEST (PATH_MAX - 1)

/* A walk over a listing: the record that it is at. */
struct record {
	uint8_t *next;
	uint32_t left;
	bool plus;
	struct fuse_entry_out *entry; /* NULL: READDIR's have none */
	struct fuse_dirent *dirent;
};

static struct record record_first(void *payload, uint32_t size, bool plus)
{
	return (struct record){.next = payload, .left = size, .plus = plus};
}

/* Goes on to the next record, if there is one whole. */
static bool record_next(struct record *record)
{
	const uint32_t name_at = record->plus ? FUSE_NAME_OFFSET_DIRENTPLUS : FUSE_NAME_OFFSET;
	uint64_t length;

	if (record->left < name_at)
		return false;
	record->entry = record->plus ? (struct fuse_entry_out *)record->next : NULL;
	record->dirent = (struct fuse_dirent *)(record->next + name_at - FUSE_NAME_OFFSET);
	length = FUSE_DIRENT_ALIGN((uint64_t)name_at + record->dirent->namelen);
	if (length > record->left)
		return false;
	record->next += length;
	record->left -= (uint32_t)length;
	return true;
}

static bool record_valid(const struct fuse_dirent *dirent)
{
	return dirent->namelen > 0 && dirent->namelen <= NAME_LONGEST && !memchr(dirent->name, '/', dirent->namelen) &&
	       !memchr(dirent->name, '\0', dirent->namelen);
}

static bool is_dot(const struct fuse_dirent *dirent)
{
	return dirent->namelen == 1 && dirent->name[0] == '.';
}

static bool is_dotdot(const struct fuse_dirent *dirent)
{
	return dirent->namelen == 2 && dirent->name[0] == '.' && dirent->name[1] == '.';
}

/* The kernel takes no node from these, and the backend counts none. */
static bool is_dots(const struct fuse_dirent *dirent)
{
	return is_dot(dirent) || is_dotdot(dirent);
}

/* All of it can be, as far as it is whole. */
static bool listing_valid(void *payload, uint32_t size, bool plus)
{
	struct record record = record_first(payload, size, plus);

	while (record_next(&record))
		if (!record_valid(record.dirent))
			return false;
	return true;
}

/* The directory's handle, with its log at where this listing begins; NULL if it has none. */
static struct handle *handle_seek(const struct translate_reply *r)
{
	const struct fuse_read_in *in = r->in;
	struct handle *handle = handles_get(&r->translate->handles, in->fh);

	if (!handle || !(handle->flags & HANDLE_DIR))
		return NULL;
	dirlog_seek(&r->translate->handles, handle, in->offset);
	return handle;
}

static const struct node *dotdot_node(const struct nodes *nodes, const struct node *dir)
{
	const struct link *link = nodes_first_link(nodes, dir);

	if (dir->nodeid == FUSE_ROOT_ID)
		return dir;
	return link ? nodes_at(nodes, link->parent) : NULL;
}

/* The number that the kernel is shown for what the record names, if that is known. */
static void ino_show(const struct nodes *nodes, const struct node *dir, struct fuse_dirent *dirent)
{
	const struct node *node = NULL;

	if (is_dot(dirent)) {
		node = dir;
	} else if (is_dotdot(dirent)) {
		node = dotdot_node(nodes, dir);
	} else {
		const struct link *link = nodes_find(nodes, dir, dirent->name, dirent->namelen);

		node = link ? nodes_at(nodes, link->node) : NULL;
	}
	if (node && node->shown_ino)
		dirent->ino = node->shown_ino;
}

static void entry_log(const struct translate_reply *r, struct handle *handle, const struct fuse_dirent *dirent)
{
	/* With memory short the log is void: a reader may be given names twice after a restart. */
	if (handle)
		dirlog_add(&r->translate->handles, handle, dirent->off, dirlog_hash(dirent->name, dirent->namelen));
}

int translate_dirents(const struct translate_reply *r)
{
	struct record record = record_first(r->payload, r->payload_size, false);
	const struct nodes *nodes = &r->translate->nodes;
	const struct node *dir = nodes_get(nodes, r->request->nodeid);
	struct handle *handle;

	if (!listing_valid(r->payload, r->payload_size, false))
		return -EIO;
	handle = handle_seek(r);
	while (record_next(&record)) {
		if (dir)
			ino_show(nodes, dir, record.dirent);
		entry_log(r, handle, record.dirent);
	}
	return 0;
}

/* ---- READDIRPLUS ------------------------------------------------------------ */

/* The backend's counts of a listing that the kernel is not given. */
static void counts_give_back(const struct translate_reply *r)
{
	struct record record = record_first(r->payload, r->payload_size, true);

	while (record_next(&record)) {
		uint64_t nodeid = record.entry->nodeid;

		if (nodeid && nodeid != FUSE_ROOT_ID && record_valid(record.dirent) && !is_dots(record.dirent))
			translate_forget_put(r->translate, nodeid, 1);
	}
}

/* What cannot be taken stays as a name alone, which the kernel looks up when it is used. */
static void entry_drop(struct fuse_entry_out *entry)
{
	memset(entry, 0, sizeof(*entry));
}

static void entryplus_take(const struct translate_reply *r, struct node *dir, const struct record *record)
{
	const struct fuse_dirent *dirent = record->dirent;
	struct fuse_entry_out *entry = record->entry;
	char name[NAME_LONGEST + 1];
	struct node *node;

	if (entry->nodeid == 0)
		return;
	if (is_dots(dirent)) {
		entry_drop(entry);
		return;
	}
	if (!translate_attr_valid(&entry->attr)) {
		if (entry->nodeid != FUSE_ROOT_ID)
			translate_forget_put(r->translate, entry->nodeid, 1);
		entry_drop(entry);
		return;
	}
	memcpy(name, dirent->name, dirent->namelen);
	name[dirent->namelen] = '\0';
	if (nodes_entry(&r->translate->nodes, dir, name, entry, NULL, &node)) {
		entry_drop(entry);
		return;
	}
	translate_count(r->translate, node);
	answers_entry(&r->translate->answers, &r->translate->nodes, dir, name, node, entry, &r->note->window);
}

int translate_direntplus(const struct translate_reply *r)
{
	struct record record = record_first(r->payload, r->payload_size, true);
	struct node *dir = nodes_get(&r->translate->nodes, r->request->nodeid);
	struct handle *handle;

	if (!dir || !listing_valid(r->payload, r->payload_size, true)) {
		counts_give_back(r);
		return -EIO;
	}
	handle = handle_seek(r);
	while (record_next(&record)) {
		entryplus_take(r, dir, &record);
		ino_show(&r->translate->nodes, dir, record.dirent);
		entry_log(r, handle, record.dirent);
	}
	return 0;
}

void translate_direntplus_refused(struct translate *translate, const void *payload, uint32_t size)
{
	struct record record = record_first((void *)payload, size, true);

	while (record_next(&record))
		if (record.entry->nodeid)
			translate_uncount(translate, record.entry->nodeid, 1);
}
