/* The filesystem: one thread, names and nodes in tables that only grow. */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/check.h"
#include "relay/fuse_abi.h"
#include "rig.h"

#define NODES 4096u
#define LOG 16384u

struct entry {
	uint64_t dir, node; /* node 0: the name is gone */
	char name[256];
};

struct node {
	uint32_t mode, size;
	char *target;
};

struct rig_fs {
	int device;
	pthread_t thread;
	pthread_mutex_t lock;
	uint32_t entries, nodes, asked;
	struct entry entry[NODES];
	struct node node[NODES];
	char (*log)[256];
};

static struct entry *entry_find(struct rig_fs *fs, uint64_t dir, const char *name)
{
	for (uint32_t i = 0; i < fs->entries; i++)
		if (fs->entry[i].node && fs->entry[i].dir == dir && !strcmp(fs->entry[i].name, name))
			return &fs->entry[i];
	return NULL;
}

static void entry_add(struct rig_fs *fs, uint64_t dir, const char *name, uint64_t node)
{
	struct entry *entry;

	if (fs->entries == NODES)
		check_abort("the filesystem has room for %u names", NODES);
	entry = &fs->entry[fs->entries++];
	entry->dir = dir;
	entry->node = node;
	memcpy(entry->name, name, strnlen(name, sizeof(entry->name) - 1));
}

static uint64_t node_add(struct rig_fs *fs, mode_t mode, const char *target)
{
	if (fs->nodes == NODES)
		check_abort("the filesystem has room for %u nodes", NODES);
	fs->node[fs->nodes] = (struct node){.mode = mode, .target = target ? strdup(target) : NULL};
	return fs->nodes++;
}

static uint64_t make(struct rig_fs *fs, uint64_t dir, const char *name, mode_t mode, const char *target)
{
	uint64_t node = node_add(fs, mode, target);

	entry_add(fs, dir, name, node);
	return node;
}

uint64_t rig_fs_make(struct rig_fs *fs, uint64_t dir, const char *name, mode_t mode, const char *target)
{
	uint64_t node;

	pthread_mutex_lock(&fs->lock);
	node = make(fs, dir, name, mode, target);
	pthread_mutex_unlock(&fs->lock);
	return node;
}

uint64_t rig_fs_find(struct rig_fs *fs, uint64_t dir, const char *name)
{
	struct entry *entry;
	uint64_t node;

	pthread_mutex_lock(&fs->lock);
	entry = entry_find(fs, dir, name);
	node = entry ? entry->node : 0;
	pthread_mutex_unlock(&fs->lock);
	return node;
}

static void note(struct rig_fs *fs, const char *name)
{
	if (fs->asked == LOG)
		check_abort("the filesystem's log has room for %u requests", LOG);
	memcpy(fs->log[fs->asked++], name, strnlen(name, sizeof(fs->log[0]) - 1));
}

void rig_fs_reset(struct rig_fs *fs)
{
	pthread_mutex_lock(&fs->lock);
	memset(fs->log, 0, fs->asked * sizeof(fs->log[0]));
	fs->asked = 0;
	pthread_mutex_unlock(&fs->lock);
}

unsigned rig_fs_asked(struct rig_fs *fs, const char *name)
{
	unsigned n = 0;

	pthread_mutex_lock(&fs->lock);
	for (uint32_t i = 0; i < fs->asked; i++)
		n += !strcmp(fs->log[i], name);
	pthread_mutex_unlock(&fs->lock);
	return n;
}

/* ---- requests ---- */

union reply {
	struct fuse_init_out init;
	struct fuse_entry_out entry;
	struct fuse_attr_out attr;
	struct fuse_open_out open;
	struct fuse_write_out write;
	struct fuse_statfs_out statfs;
	struct {
		struct fuse_entry_out entry;
		struct fuse_open_out open;
	} created;
	char bytes[4096];
};

static struct fuse_attr attr_of(const struct rig_fs *fs, uint64_t node)
{
	const struct node *n = &fs->node[node];

	return (struct fuse_attr){.ino = node, .mode = n->mode, .size = n->size, .nlink = 1, .blksize = 4096};
}

/* Directories and symlinks stay in the dcache; files are asked for each time. */
static struct fuse_entry_out entry_of(const struct rig_fs *fs, uint64_t node)
{
	return (struct fuse_entry_out){
		.nodeid = node,
		.entry_valid = S_ISREG(fs->node[node].mode) ? 0 : 1000000,
		.attr_valid = 1000000,
		.attr = attr_of(fs, node),
	};
}

static int entry_reply(struct rig_fs *fs, uint64_t node, union reply *reply)
{
	reply->entry = entry_of(fs, node);
	return sizeof(reply->entry);
}

/* What makes a name, and what it is. */
static int request_make(struct rig_fs *fs, uint64_t dir, const char *name, mode_t mode, const char *target,
			union reply *reply)
{
	if (entry_find(fs, dir, name))
		return -EEXIST;
	return entry_reply(fs, make(fs, dir, name, mode, target), reply);
}

static int request_lookup(struct rig_fs *fs, uint64_t dir, const char *name, union reply *reply)
{
	struct entry *entry = entry_find(fs, dir, name);

	if (!entry && strncmp(name, RIG_ANY, strlen(RIG_ANY)))
		return -ENOENT;
	return entry_reply(fs, entry ? entry->node : make(fs, dir, name, S_IFREG | 0666, NULL), reply);
}

static int request_remove(struct rig_fs *fs, uint64_t dir, const char *name)
{
	struct entry *entry = entry_find(fs, dir, name);

	if (!entry)
		return -ENOENT;
	entry->node = 0;
	return 0;
}

static int request_rename(struct rig_fs *fs, uint64_t dir, uint64_t newdir, unsigned flags, const char *name)
{
	const char *newname = name + strlen(name) + 1;
	struct entry *from = entry_find(fs, dir, name), *to = entry_find(fs, newdir, newname);
	uint64_t node;

	note(fs, newname);
	if (!from)
		return -ENOENT;
	node = from->node;
	if (flags & RENAME_EXCHANGE) {
		if (!to)
			return -ENOENT;
		from->node = to->node;
		to->node = node;
		return 0;
	}
	if (to && flags & RENAME_NOREPLACE)
		return -EEXIST;
	from->node = 0;
	if (to)
		to->node = 0;
	entry_add(fs, newdir, newname, node);
	if (flags & RENAME_WHITEOUT)
		make(fs, dir, name, S_IFCHR, NULL);
	return 0;
}

static int request_create(struct rig_fs *fs, uint64_t dir, const char *name, mode_t mode, union reply *reply)
{
	struct entry *entry = entry_find(fs, dir, name);

	memset(&reply->created, 0, sizeof(reply->created));
	reply->created.entry = entry_of(fs, entry ? entry->node : make(fs, dir, name, mode, NULL));
	return sizeof(reply->created);
}

/* Takes a request, returns the length of its reply or a negative errno. */
static int answer(struct rig_fs *fs, const struct fuse_in_header *in, void *body, union reply *reply)
{
	const char *name = body;
	struct node *node = in->nodeid < NODES ? &fs->node[in->nodeid] : NULL;

	if (!node)
		return in->opcode == FUSE_STATFS ? (int)sizeof(reply->statfs) : -ENOENT;
	switch (in->opcode) {
	case FUSE_LOOKUP:
		note(fs, name);
		return request_lookup(fs, in->nodeid, name, reply);
	case FUSE_GETATTR:
	case FUSE_SETATTR:
		reply->attr = (struct fuse_attr_out){.attr_valid = 1000000, .attr = attr_of(fs, in->nodeid)};
		return sizeof(reply->attr);
	case FUSE_MKDIR:
		name += sizeof(struct fuse_mkdir_in);
		note(fs, name);
		return request_make(fs, in->nodeid, name, S_IFDIR | 0777, NULL, reply);
	case FUSE_MKNOD:
		name += sizeof(struct fuse_mknod_in);
		note(fs, name);
		return request_make(fs, in->nodeid, name, ((struct fuse_mknod_in *)body)->mode, NULL, reply);
	case FUSE_SYMLINK:
		note(fs, name);
		return request_make(fs, in->nodeid, name, S_IFLNK | 0777, name + strlen(name) + 1, reply);
	case FUSE_LINK:
		name += sizeof(struct fuse_link_in);
		note(fs, name);
		if (entry_find(fs, in->nodeid, name))
			return -EEXIST;
		entry_add(fs, in->nodeid, name, ((struct fuse_link_in *)body)->oldnodeid);
		return entry_reply(fs, ((struct fuse_link_in *)body)->oldnodeid, reply);
	case FUSE_UNLINK:
	case FUSE_RMDIR:
		note(fs, name);
		return request_remove(fs, in->nodeid, name);
	case FUSE_RENAME:
		name += sizeof(struct fuse_rename_in);
		note(fs, name);
		return request_rename(fs, in->nodeid, ((struct fuse_rename_in *)body)->newdir, 0, name);
	case FUSE_RENAME2:
		name += sizeof(struct fuse_rename2_in);
		note(fs, name);
		return request_rename(fs, in->nodeid, ((struct fuse_rename2_in *)body)->newdir,
				      ((struct fuse_rename2_in *)body)->flags, name);
	case FUSE_CREATE:
		name += sizeof(struct fuse_create_in);
		note(fs, name);
		return request_create(fs, in->nodeid, name, ((struct fuse_create_in *)body)->mode, reply);
	case FUSE_TMPFILE:
		reply->created.entry = entry_of(fs, node_add(fs, S_IFREG | 0666, NULL));
		reply->created.open = (struct fuse_open_out){0};
		return sizeof(reply->created);
	case FUSE_READLINK:
		if (!node->target)
			return -EINVAL;
		memcpy(reply->bytes, node->target, strlen(node->target));
		return (int)strlen(node->target);
	case FUSE_GETXATTR:
		note(fs, name + sizeof(struct fuse_getxattr_in));
		return -ENODATA;
	case FUSE_OPEN:
	case FUSE_OPENDIR:
		reply->open = (struct fuse_open_out){0};
		return sizeof(reply->open);
	case FUSE_WRITE:
		reply->write = (struct fuse_write_out){.size = ((struct fuse_write_in *)body)->size};
		if (node->size < ((struct fuse_write_in *)body)->offset + reply->write.size)
			node->size = (uint32_t)((struct fuse_write_in *)body)->offset + reply->write.size;
		return sizeof(reply->write);
	case FUSE_STATFS:
		memset(&reply->statfs, 0, sizeof(reply->statfs));
		reply->statfs.st.bsize = 4096;
		reply->statfs.st.namelen = 255;
		return sizeof(reply->statfs);
	case FUSE_READDIR:
	case FUSE_READ:
	case FUSE_FLUSH:
	case FUSE_FSYNC:
	case FUSE_RELEASE:
	case FUSE_RELEASEDIR:
		return 0;
	case FUSE_INIT:
		memset(&reply->init, 0, sizeof(reply->init));
		reply->init.major = 7;
		reply->init.minor = 31;
		reply->init.max_write = 65536;
		return sizeof(reply->init);
	default:
		return -ENOSYS;
	}
}

static void *serve(void *arg)
{
	static _Alignas(8) char buffer[1 << 18];
	struct rig_fs *fs = arg;
	const struct fuse_in_header *in = (void *)buffer;
	static union reply body;

	for (;;) {
		ssize_t n = read(fs->device, buffer, sizeof(buffer) - 1);
		struct fuse_out_header out;
		char packet[sizeof(out) + sizeof(body)];
		int result;

		if (n < 0 && (errno == EINTR || errno == EAGAIN || errno == ENOENT))
			continue;
		if (n < (ssize_t)sizeof(*in))
			return NULL;
		if (in->opcode == FUSE_FORGET || in->opcode == FUSE_BATCH_FORGET || in->opcode == FUSE_INTERRUPT)
			continue;
		pthread_mutex_lock(&fs->lock);
		result = answer(fs, in, buffer + sizeof(*in), &body);
		pthread_mutex_unlock(&fs->lock);
		out.unique = in->unique;
		out.error = result < 0 ? result : 0;
		out.len = (uint32_t)(sizeof(out) + (result < 0 ? 0 : (size_t)result));
		memcpy(packet, &out, sizeof(out));
		memcpy(packet + sizeof(out), &body, out.len - sizeof(out));
		if (write(fs->device, packet, out.len) < 0 && errno == ENODEV)
			return NULL;
	}
}

struct rig_fs *rig_fs_new(int device)
{
	struct rig_fs *fs = calloc(1, sizeof(*fs));

	if (!fs)
		check_abort("no memory");
	fs->log = calloc(LOG, sizeof(*fs->log));
	fs->device = device;
	fs->nodes = FUSE_ROOT_ID;
	node_add(fs, S_IFDIR | 0777, NULL);
	pthread_mutex_init(&fs->lock, NULL);
	if (!fs->log || pthread_create(&fs->thread, NULL, serve, fs))
		check_abort("no thread");
	return fs;
}

void rig_fs_free(struct rig_fs *fs)
{
	pthread_join(fs->thread, NULL);
	close(fs->device);
	for (uint32_t i = 0; i < fs->nodes; i++)
		free(fs->node[i].target);
	free(fs->log);
	free(fs);
}
