/*
 * The liar's nodes: an O_PATH descriptor each, in a list by number.  Numbers are
 * small where they are to collide, and otherwise begin anywhere, so that one of an
 * earlier life is nobody's in this one.
 */
#include "liar.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct node {
	struct node *next;     /* in its bucket by number */
	struct node *ino_next; /* and by inode */
	uint64_t nodeid;
	uint64_t parent;
	char *name;
	uint64_t nlookup;
	uint64_t ino;
	uint64_t dev;
	int fd;
};

#define BUCKETS 4096u

static struct node *buckets[BUCKETS];
static struct node *inodes[BUCKETS];
static uint64_t next_nodeid;
static uint64_t *forgotten; /* a stack */
static size_t forgotten_count;
static size_t forgotten_room;

void liar_nodes_init(void)
{
	next_nodeid = liar.collide ? 2 : 2 + (liar.seed >> 16);
}

static struct node *node_find(uint64_t nodeid)
{
	struct node *node = buckets[nodeid % BUCKETS];

	while (node && node->nodeid != nodeid)
		node = node->next;
	return node;
}

int liar_node_fd(uint64_t nodeid)
{
	struct node *node;

	if (nodeid == FUSE_ROOT_ID)
		return liar.root;
	node = node_find(nodeid);
	return node ? node->fd : -ESTALE;
}

/* The node of an inode, or of one of its names if names are distinct. */
static struct node *node_known(uint64_t parent, const char *name, const struct stat *st)
{
	for (struct node *node = inodes[st->st_ino % BUCKETS]; node; node = node->ino_next)
		if (node->ino == st->st_ino && node->dev == st->st_dev &&
		    (!liar.distinct || (node->parent == parent && strcmp(node->name, name) == 0)))
			return node;
	return NULL;
}

static struct node *node_new(uint64_t parent, const char *name, int fd, const struct stat *st)
{
	struct node *node = calloc(1, sizeof(*node));
	char *copy = strdup(name);

	if (!node || !copy) {
		free(node);
		free(copy);
		return NULL;
	}
	node->nodeid = liar.reuse && forgotten_count ? forgotten[--forgotten_count] : next_nodeid++;
	node->parent = parent;
	node->name = copy;
	node->ino = st->st_ino;
	node->dev = st->st_dev;
	node->fd = fd;
	node->next = buckets[node->nodeid % BUCKETS];
	buckets[node->nodeid % BUCKETS] = node;
	node->ino_next = inodes[node->ino % BUCKETS];
	inodes[node->ino % BUCKETS] = node;
	return node;
}

uint64_t liar_ino(uint64_t nodeid, uint64_t ino)
{
	static uint64_t turn;

	switch (liar.ino) {
	case LIAR_INO_ZERO:
		return 0;
	case LIAR_INO_NODEID:
		return nodeid;
	case LIAR_INO_RANDOM:
		return liar_mix(ino ^ liar.seed);
	case LIAR_INO_CHANGING:
		return liar_mix(liar.seed + ++turn);
	default:
		return ino;
	}
}

void liar_attr(uint64_t nodeid, const struct stat *st, struct fuse_attr *attr)
{
	*attr = (struct fuse_attr){
		.ino = liar_ino(nodeid, st->st_ino),
		.size = (uint64_t)st->st_size,
		.blocks = (uint64_t)st->st_blocks,
		.atime = (uint64_t)st->st_atim.tv_sec,
		.mtime = (uint64_t)st->st_mtim.tv_sec,
		.ctime = (uint64_t)st->st_ctim.tv_sec,
		.atimensec = (uint32_t)st->st_atim.tv_nsec,
		.mtimensec = (uint32_t)st->st_mtim.tv_nsec,
		.ctimensec = (uint32_t)st->st_ctim.tv_nsec,
		.mode = st->st_mode,
		.nlink = (uint32_t)st->st_nlink,
		.uid = st->st_uid,
		.gid = st->st_gid,
		.rdev = (uint32_t)st->st_rdev,
		.blksize = 4096,
	};
}

long liar_attr_out(uint64_t nodeid, void *out)
{
	struct fuse_attr_out *attr = out;
	int fd = liar_node_fd(nodeid);
	struct stat st;

	if (fd < 0)
		return fd;
	if (fstatat(fd, "", &st, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	*attr = (struct fuse_attr_out){.attr_valid = (uint64_t)liar.timeout};
	liar_attr(nodeid, &st, &attr->attr);
	return sizeof(*attr);
}

long liar_entry(uint64_t parent, const char *name, struct fuse_entry_out *entry)
{
	int dir = liar_node_fd(parent);
	struct node *node;
	struct stat st;
	int fd;

	if (dir < 0)
		return dir;
	fd = openat(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (fstatat(fd, "", &st, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) < 0) {
		close(fd);
		return -EIO;
	}
	node = node_known(parent, name, &st);
	if (node) {
		close(fd);
	} else {
		node = node_new(parent, name, fd, &st);
		if (!node) {
			close(fd);
			return -ENOMEM;
		}
	}
	node->nlookup++;
	*entry = (struct fuse_entry_out){
		.nodeid = node->nodeid,
		.entry_valid = (uint64_t)liar.timeout,
		.attr_valid = (uint64_t)liar.timeout,
	};
	liar_attr(node->nodeid, &st, &entry->attr);
	return 0;
}

static void number_free(uint64_t nodeid)
{
	if (forgotten_count == forgotten_room) {
		size_t room = forgotten_room ? forgotten_room * 2 : 64;
		uint64_t *more = realloc(forgotten, room * sizeof(*more));

		if (!more)
			return; /* that number is not given again */
		forgotten = more;
		forgotten_room = room;
	}
	forgotten[forgotten_count++] = nodeid;
}

void liar_forget(uint64_t nodeid, uint64_t count)
{
	struct node **at = &buckets[nodeid % BUCKETS];
	struct node *node;

	if (nodeid == FUSE_ROOT_ID)
		return;
	while (*at && (*at)->nodeid != nodeid)
		at = &(*at)->next;
	node = *at;
	if (!node || node->nlookup < count) {
		/* Whoever says so has counted what this life never gave. */
		fprintf(stderr, "liar: FORGET of %llu, which was not looked up so often\n", (unsigned long long)nodeid);
		abort();
	}
	node->nlookup -= count;
	if (node->nlookup)
		return;
	*at = node->next;
	for (at = &inodes[node->ino % BUCKETS]; *at != node; at = &(*at)->ino_next)
		;
	*at = node->ino_next;
	number_free(nodeid);
	close(node->fd);
	free(node->name);
	free(node);
}

void liar_renamed(uint64_t parent, const char *name, uint64_t newparent, const char *newname)
{
	for (unsigned i = 0; i < BUCKETS; i++)
		for (struct node *node = buckets[i]; node; node = node->next)
			if (node->parent == parent && strcmp(node->name, name) == 0) {
				char *copy = strdup(newname);

				if (!copy)
					return;
				free(node->name);
				node->name = copy;
				node->parent = newparent;
				return;
			}
}
