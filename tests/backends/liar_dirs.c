/*
 * The liar's listings.  Each is a list that OPENDIR makes, and READDIR from 0: of the directory's own
 * cookies, or of places in it, which mean another entry after any change and, if it
 * is shuffled, in any other life.
 */
#include "liar.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LISTS 1024u

struct item {
	uint64_t ino;
	uint64_t cookie; /* of the one behind it */
	unsigned type;
	char *name;
};

struct list {
	bool used;
	struct item *items;
	size_t count;
	size_t room;
};

static struct list lists[LISTS];

static void list_free(struct list *list)
{
	for (size_t i = 0; i < list->count; i++)
		free(list->items[i].name);
	free(list->items);
	*list = (struct list){0};
}

static bool list_add(struct list *list, const struct dirent *entry)
{
	if (list->count == list->room) {
		size_t room = list->room ? list->room * 2 : 64;
		struct item *items = realloc(list->items, room * sizeof(*items));

		if (!items)
			return false;
		list->items = items;
		list->room = room;
	}
	list->items[list->count] = (struct item){
		.ino = entry->d_ino,
		.cookie = (uint64_t)entry->d_off,
		.type = entry->d_type,
		.name = strdup(entry->d_name),
	};
	return list->items[list->count].name && ++list->count;
}

static uint64_t name_rank(const char *name)
{
	uint64_t rank = liar.seed;

	while (*name)
		rank = liar_mix(rank ^ (uint8_t)*name++);
	return rank;
}

static int compare_items(const void *a, const void *b)
{
	const struct item *one = a;
	const struct item *other = b;
	uint64_t rank = name_rank(one->name);
	uint64_t other_rank = name_rank(other->name);

	if (liar.cookies == LIAR_COOKIES_SHUFFLE && rank != other_rank)
		return rank < other_rank ? -1 : 1;
	return strcmp(one->name, other->name);
}

static int list_fill(struct list *list, uint64_t nodeid)
{
	int node = liar_node_fd(nodeid);
	int fd = node < 0 ? -1 : openat(node, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;
	bool whole = true;

	if (!dir)
		return node < 0 ? node : -errno;
	list_free(list);
	list->used = true;
	while (whole && (entry = readdir(dir)))
		whole = list_add(list, entry);
	closedir(dir);
	if (!whole)
		return -ENOMEM;
	if (liar.cookies == LIAR_COOKIES_STORE)
		return 0;
	qsort(list->items, list->count, sizeof(list->items[0]), compare_items);
	for (size_t i = 0; i < list->count; i++)
		list->items[i].cookie = i + 1;
	return 0;
}

long liar_opendir(const struct liar_call *call)
{
	struct fuse_open_out *out = (void *)call->out;
	uint64_t fh = 0;
	int error;

	while (fh < LISTS && lists[fh].used)
		fh++;
	if (fh == LISTS)
		return -ENFILE;
	error = list_fill(&lists[fh], call->head->nodeid);
	if (error) {
		list_free(&lists[fh]);
		return error;
	}
	*out = (struct fuse_open_out){.fh = fh};
	return sizeof(*out);
}

/* The item behind the one with that cookie. */
static size_t list_at(const struct list *list, uint64_t cookie)
{
	size_t at = 0;

	if (!cookie)
		return 0;
	while (at < list->count && list->items[at].cookie != cookie)
		at++;
	return at < list->count ? at + 1 : at;
}

long liar_readdir(const struct liar_call *call)
{
	const struct fuse_read_in *in = (const void *)call->in;
	struct list *list = in->fh < LISTS && lists[in->fh].used ? &lists[in->fh] : NULL;
	size_t room = in->size < call->out_room ? in->size : call->out_room;
	size_t size = 0;
	int error;

	if (!list)
		return -EBADF;
	/* From the beginning: by rewinddir(), which shows what is there now. */
	error = in->offset ? 0 : list_fill(list, call->head->nodeid);
	if (error)
		return error;
	for (size_t at = list_at(list, in->offset); at < list->count; at++) {
		const struct item *item = &list->items[at];
		struct fuse_dirent *entry = (void *)(call->out + size);
		size_t length = strlen(item->name);
		size_t needed = FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET + length);

		if (size + needed > room)
			break;
		memset(entry, 0, needed);
		entry->ino = liar_ino(item->ino, item->ino);
		if (!entry->ino)
			entry->ino = 0xffffffff; /* "not known": 0 would be no entry */
		entry->off = item->cookie;
		entry->namelen = (uint32_t)length;
		entry->type = item->type;
		memcpy(entry->name, item->name, length);
		size += needed;
	}
	return (long)size;
}

long liar_releasedir(const struct liar_call *call)
{
	const struct fuse_release_in *in = (const void *)call->in;

	if (in->fh >= LISTS || !lists[in->fh].used)
		return -EBADF;
	list_free(&lists[in->fh]);
	return 0;
}
