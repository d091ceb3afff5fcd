/*
 * Locks on the store's files.  One open file description per inode holds the union
 * of what the mount's users hold: F_OFD_SETLK for record locks, flock(2) for the
 * others.  It dies with the process and is made again from the table.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "fs.h"
#include "locks.h"

static int store_open(struct fs *fs, struct lock_inode *inode)
{
	NODE_FD node = {fs, NULL, -1};
	int fd, err;

	if (inode->store_fd >= 0)
		return 0;
	err = node_fd_get(fs, inode->nodeid, &node);
	if (err)
		return err;
	fd = node_fd_open(&node, O_RDWR | O_NONBLOCK);
	inode->store_writable = fd >= 0;
	if (fd < 0)
		fd = node_fd_open(&node, O_RDONLY | O_NONBLOCK);
	if (fd < 0)
		return fd;
	inode->store_fd = fd;
	return 0;
}

void locks_store_close(struct lock_inode *inode)
{
	if (inode->store_fd >= 0)
		close(inode->store_fd);
	inode->store_fd = -1;
}

static struct flock flock_of(const struct lock_range *range)
{
	struct flock fl = {.l_type = (short)range->type, .l_whence = SEEK_SET, .l_start = (off_t)range->start};

	/* 0: to the end of all. */
	fl.l_len = range->end >= INT64_MAX ? 0 : (off_t)(range->end - range->start + 1);
	return fl;
}

static int store_set(const struct lock_inode *inode, const struct lock_range *range)
{
	struct flock fl = flock_of(range);
	int how;

	if (range->flock) {
		how = range->type == F_WRLCK ? LOCK_EX : range->type == F_RDLCK ? LOCK_SH : LOCK_UN;
		return flock(inode->store_fd, how | LOCK_NB) == 0 ? 0 : -errno;
	}
	/* A store that is not writable to us takes no write locks: nobody could contradict them. */
	if (range->type == F_WRLCK && !inode->store_writable)
		return 0;
	if (fcntl(inode->store_fd, F_OFD_SETLK, &fl) == 0)
		return 0;
	return errno == EACCES ? -EAGAIN : -errno;
}

int locks_store_acquire(struct fs *fs, struct lock_inode *inode, const struct lock_range *range)
{
	int err = store_open(fs, inode);

	return err ? err : store_set(inode, range);
}

void locks_store_refresh(const struct locks *locks, struct lock_inode *inode, const struct lock_range *range)
{
	struct lock_range part = *range;
	uint64_t until;

	if (inode->store_fd < 0)
		return;
	for (part.start = range->start;; part.start = until + 1) {
		part.type = locks_type_at(locks, inode, range->flock, part.start, &until);
		if (until > range->end)
			until = range->end;
		part.end = until;
		/* It can only become weaker: there is nobody who could refuse it. */
		store_set(inode, &part);
		if (until == range->end)
			break;
	}
	if (inode->first == 0)
		locks_store_close(inode);
}

int locks_store_test(struct fs *fs, struct lock_inode *inode, const struct lock_range *range, struct lock_range *found)
{
	struct flock fl = flock_of(range);
	int err;

	*found = *range;
	found->type = F_UNLCK;
	err = store_open(fs, inode);
	if (err)
		return err;
	if (fcntl(inode->store_fd, F_OFD_GETLK, &fl) < 0)
		return -errno;
	if (fl.l_type == F_UNLCK)
		return 0;
	found->type = fl.l_type;
	found->start = (uint64_t)fl.l_start;
	found->end = fl.l_len == 0 ? INT64_MAX : (uint64_t)(fl.l_start + fl.l_len - 1);
	found->pid = fl.l_pid > 0 ? (uint64_t)fl.l_pid : 0;
	return 0;
}
