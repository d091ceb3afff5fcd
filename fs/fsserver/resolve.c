/*
 * From a node to a descriptor of its inode: out of the cache, by file handle, or,
 * where handles are not to be had (no privilege, or a store without them), by
 * walking the remembered names down from the nearest ancestor that is in the cache.
 * What is found is compared with what the node is: a name may lead elsewhere by now.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs.h"

/* What is known about a node's place, copied under the state lock. */
struct place {
	struct node_ident ident;
	uint64_t parent;
	int mount_id;
	char name[NAME_LENGTH_MAX + 1];
	struct file_handle handle; /* handle_bytes 0: by name */
	uint8_t bytes[FILE_HANDLE_MAX];
};

struct fd_path fd_path(int fd)
{
	static const char prefix[] = "/proc/self/fd/";
	struct fd_path path;
	char *at = path.text + sizeof(path.text) - 1;

	*at = '\0';
	do {
		*--at = (char)('0' + fd % 10);
		fd /= 10;
	} while (fd > 0);
	memcpy(path.text, prefix, sizeof(prefix) - 1);
	memmove(path.text + sizeof(prefix) - 1, at, strlen(at) + 1);
	return path;
}

int fs_openat(struct fs *fs, int dirfd, const char *name, int flags, mode_t mode)
{
	int fd = openat(dirfd, name, flags | O_CLOEXEC, mode);

	if (fd < 0 && (errno == EMFILE || errno == ENFILE) && fdcache_shrink(&fs->cache) > 0)
		fd = openat(dirfd, name, flags | O_CLOEXEC, mode);
	return fd < 0 ? -errno : fd;
}

int node_fd_open(const struct node_fd *node, int flags)
{
	struct fd_path path = fd_path(node->fd);

	flags &= ~(O_CREAT | O_EXCL | O_NOFOLLOW);
	return fs_openat(node->fs, AT_FDCWD, path.text, flags, 0);
}

/* 0 or -ESTALE. */
static int place_get(struct fs *fs, uint64_t nodeid, struct place *place)
{
	const struct node *node;
	int err = -ESTALE;

	relay_state_lock(fs->session);
	node = node_get(&fs->tables, nodeid);
	if (node) {
		place->ident = node->ident;
		place->parent = node->parent;
		place->mount_id = node->mount_id;
		place->handle.handle_type = node->handle_type;
		place->handle.handle_bytes = node->handle_size;
		if (node->handle_size > 0)
			memcpy(place->handle.f_handle, node->handle, node->handle_size);
		else
			strcpy(place->name, fs->tables.names[node->name].text);
		err = 0;
	}
	relay_state_unlock(fs->session);
	return err;
}

/* Takes fd over and enters it if it is the node's inode. */
static int enter(struct fs *fs, uint64_t nodeid, const struct place *place, int fd, struct node_fd *out)
{
	struct node_ident ident;
	struct statx stx;
	int err;

	err = attr_get(fd, "", &stx);
	if (err == 0) {
		ident = attr_ident(&stx);
		if (!ident_same(&ident, &place->ident))
			err = -ESTALE;
	}
	if (err) {
		close(fd);
		return err;
	}
	out->entry = fdcache_add(&fs->cache, nodeid, fd);
	if (!out->entry)
		return -ENOMEM;
	out->fd = out->entry->fd;
	return 0;
}

static int open_by_handle(struct fs *fs, struct place *place)
{
	int mount = mounts_get(fs, place->mount_id);
	int fd;

	if (mount < 0)
		return mount;
	fd = open_by_handle_at(mount, &place->handle, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 && (errno == EMFILE || errno == ENFILE) && fdcache_shrink(&fs->cache) > 0)
		fd = open_by_handle_at(mount, &place->handle, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static int open_by_name(struct fs *fs, int parent, const struct place *place)
{
	int fd = fs_openat(fs, parent, place->name, O_PATH | O_NOFOLLOW, 0);

	/* The node is known to the kernel: that its name is gone is not the caller's affair. */
	return fd == -ENOENT || fd == -ENOTDIR ? -ESTALE : fd;
}

/* True if the node's descriptor is at hand. */
static bool cached(struct fs *fs, uint64_t nodeid, struct node_fd *out)
{
	if (nodeid == NODE_ROOT) {
		out->entry = NULL;
		out->fd = fs->root;
		return true;
	}
	out->entry = fdcache_get(&fs->cache, nodeid);
	if (out->entry)
		out->fd = out->entry->fd;
	return out->entry != NULL;
}

/* One step: the parent's descriptor is in *at and is replaced by the node's. */
static int step_down(struct fs *fs, uint64_t nodeid, struct place *place, struct node_fd *at)
{
	struct node_fd parent = *at;
	int err, fd;

	at->entry = NULL;
	fd = place->handle.handle_bytes > 0 ? open_by_handle(fs, place) : open_by_name(fs, parent.fd, place);
	err = fd < 0 ? fd : enter(fs, nodeid, place, fd, at);
	node_fd_put(&parent);
	return err;
}

/* The node is not in the cache: finds the nearest ancestor that can be opened, and walks down. */
static int walk(struct fs *fs, uint64_t nodeid, struct node_fd *out)
{
	uint64_t *chain = NULL, *more;
	size_t depth = 0, room = 0;
	struct place place;
	int err;

	for (;;) {
		if (depth == room) {
			room += 64;
			more = reallocarray(chain, room, sizeof(*chain));
			err = more ? 0 : -ENOMEM;
			if (err)
				break;
			chain = more;
		}
		chain[depth++] = nodeid;
		err = place_get(fs, nodeid, &place);
		if (err || place.handle.handle_bytes > 0)
			break;
		nodeid = place.parent;
		if (cached(fs, nodeid, out))
			break;
	}
	while (err == 0 && depth > 0) {
		nodeid = chain[--depth];
		err = place_get(fs, nodeid, &place);
		if (err == 0)
			err = step_down(fs, nodeid, &place, out);
	}
	if (err)
		node_fd_put(out);
	free(chain);
	return err;
}

int node_fd_get(struct fs *fs, uint64_t nodeid, struct node_fd *out)
{
	struct place place;
	int err;

	out->fs = fs;
	out->entry = NULL;
	out->fd = -1;
	if (cached(fs, nodeid, out))
		return 0;
	err = place_get(fs, nodeid, &place);
	if (err)
		return err;
	if (place.handle.handle_bytes > 0)
		return step_down(fs, nodeid, &place, out);
	return walk(fs, nodeid, out);
}

void node_fd_put(struct node_fd *node)
{
	fdcache_put(&node->fs->cache, node->entry);
	node->entry = NULL;
}

int source_fill(struct fs *fs, struct node_source *source, const struct statx *stx, uint64_t parent, int dirfd,
		const char *name)
{
	union {
		struct file_handle handle;
		uint8_t room[sizeof(struct file_handle) + FILE_HANDLE_MAX];
	} found;
	int err;

	source->ident = attr_ident(stx);
	source->parent = parent;
	source->name = name;
	source->handle_size = 0;
	source->handle_type = 0;
	source->mount_id = 0;
	if (!fs->by_handle)
		return 0;
	found.handle.handle_bytes = FILE_HANDLE_MAX;
	if (name_to_handle_at(dirfd, name, &found.handle, &source->mount_id, *name ? 0 : AT_EMPTY_PATH) < 0) {
		/* Not every store has handles; EOVERFLOW: one longer than ours. */
		err = -errno;
		return err == -EOPNOTSUPP || err == -EOVERFLOW ? 0 : err;
	}
	if (mounts_learn(fs, source->mount_id, dirfd, name, stx->stx_mode) != 0)
		return 0;
	source->handle_type = found.handle.handle_type;
	source->handle_size = found.handle.handle_bytes;
	memcpy(source->handle, found.handle.f_handle, source->handle_size);
	return 0;
}
