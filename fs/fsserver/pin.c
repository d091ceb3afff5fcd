/*
 * Inodes that have lost what they were found by.  An unlinked file that is open, a
 * removed directory that is somebody's working directory, or (where nodes are found
 * by name) a file whose remembered name goes: each lives on, and its node is from
 * then on the descriptor that is pinned in the cache.
 *
 * A pin is made before the name goes.  If the inode is open its descriptor is left
 * with relayd then, under the nodeid; if it is opened later, then (pin_keep()).  One
 * that nobody has open is this process's only: at worst a path descriptor of an
 * unlinked file turns stale with a crash.
 *
 * Pins and what is kept change under the state lock, so that an OPEN and an UNLINK
 * of the same file see each other.
 */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "fs.h"

/* Under the state lock. */
static int entry_keep(struct fs *fs, struct fd_entry *entry)
{
	int err = 0;

	if (!entry->kept) {
		err = relay_keep_fd(fs->session, entry->nodeid, entry->fd);
		entry->kept = err == 0;
	}
	return err;
}

/* Under the state lock: pins the node of the inode behind fd. */
static int pin_make(struct fs *fs, struct pin *pin, const struct node *node, int fd, bool keep)
{
	int err = 0;

	pin->entry = fdcache_add(&fs->cache, node_id(&fs->tables, node), fd);
	if (!pin->entry)
		return -ENOMEM;
	pin->nodeid = pin->entry->nodeid;
	fdcache_pin(&fs->cache, pin->entry);
	if (keep)
		err = entry_keep(fs, pin->entry);
	return err;
}

static void pin_init(struct fs *fs, struct pin *pin)
{
	pin->fs = fs;
	pin->nodeid = 0;
	pin->entry = NULL;
}

int pin_victim(struct fs *fs, struct pin *pin, int fd, const struct statx *stx, uint64_t parent, const char *name)
{
	bool dir = S_ISDIR(stx->stx_mode), last = dir || stx->stx_nlink <= 1;
	struct node_ident ident = attr_ident(stx);
	const struct node *node;
	bool named;
	int err = 0;

	pin_init(fs, pin);
	relay_state_lock(fs->session);
	node = node_find(&fs->tables, &ident);
	named = node && node_is_named(&fs->tables, node, parent, name);
	if (node && (last || named))
		err = pin_make(fs, pin, node, fd, dir || node->opens > 0 || !last);
	else
		close(fd);
	relay_state_unlock(fs->session);
	if (err)
		pin_drop(pin);
	return err;
}

int pin_moved(struct fs *fs, struct pin *pin, int fd, const struct statx *stx)
{
	struct node_ident ident = attr_ident(stx);
	const struct node *node;
	int err = 0;

	pin_init(fs, pin);
	relay_state_lock(fs->session);
	node = node_find(&fs->tables, &ident);
	if (node && node->name != 0)
		err = pin_make(fs, pin, node, fd, true);
	else
		close(fd);
	relay_state_unlock(fs->session);
	if (err)
		pin_drop(pin);
	return err;
}

void pin_drop(struct pin *pin)
{
	struct fd_entry *entry = pin->entry;

	if (!entry)
		return;
	relay_state_lock(pin->fs->session);
	if (fdcache_unpin(&pin->fs->cache, entry) && entry->kept) {
		entry->kept = false;
		relay_drop_fd(pin->fs->session, entry->nodeid);
	}
	relay_state_unlock(pin->fs->session);
	pin_leave(pin);
}

void pin_leave(struct pin *pin)
{
	fdcache_put(&pin->fs->cache, pin->entry);
	pin->entry = NULL;
}

int pin_keep(struct fs *fs, const struct node_fd *node)
{
	return node->entry && node->entry->pins > 0 ? entry_keep(fs, node->entry) : 0;
}

int pin_unnamed(struct fs *fs, uint64_t nodeid, int fd)
{
	struct fd_entry *entry = fdcache_add(&fs->cache, nodeid, fd);
	int err;

	if (!entry)
		return -ENOMEM;
	fdcache_pin(&fs->cache, entry);
	/* A process dying here leaves a descriptor of a node that was never made: pin_restore() drops it. */
	err = entry_keep(fs, entry);
	fdcache_put(&fs->cache, entry);
	if (err)
		fdcache_forget(&fs->cache, nodeid);
	return err;
}

void pin_forget(struct fs *fs, const struct txn *txn)
{
	unsigned i;

	/* A process dying after this leaves the nodes, and the same request to free them. */
	for (i = 0; i < txn->freed_count; i++) {
		if (fdcache_forget(&fs->cache, txn->freed[i]))
			relay_drop_fd(fs->session, txn->freed[i]);
	}
}

static void restore_node(struct fs *fs, uint64_t nodeid, int fd)
{
	struct fd_entry *entry;

	if (!node_exists(&fs->tables, nodeid)) {
		close(fd);
		relay_drop_fd(fs->session, nodeid);
		return;
	}
	entry = fdcache_add(&fs->cache, nodeid, fd);
	if (!entry)
		return;
	fdcache_pin(&fs->cache, entry);
	entry->kept = true;
	fdcache_put(&fs->cache, entry);
}

static void restore_each(uint64_t key, int fd, void *arg)
{
	struct fs *fs = arg;

	if (key & KEY_HANDLE)
		file_restore(fs, key & ~KEY_HANDLE, fd);
	else if (key & KEY_MOUNT)
		mounts_add(fs, (int)(uint32_t)key, fd);
	else
		restore_node(fs, key, fd);
}

void pin_restore(struct fs *fs)
{
	relay_kept_fds(fs->session, restore_each, fs);
}
