/*
 * The mounts that the source reaches into.  A file handle is good within a mount,
 * and open_by_handle_at(2) takes any open descriptor of it: this table has one for
 * each.  Those besides the source's own are left with relayd, as their place may
 * not be found again; they keep the mount busy meanwhile.
 */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "fs.h"

static int mounts_find(const struct fs *fs, int mount_id)
{
	unsigned i;

	for (i = 0; i < fs->mounts_count; i++) {
		if (fs->mounts[i].id == mount_id)
			return fs->mounts[i].fd;
	}
	return -ESTALE;
}

int mounts_get(struct fs *fs, int mount_id)
{
	int fd;

	pthread_mutex_lock(&fs->mounts_lock);
	fd = mounts_find(fs, mount_id);
	pthread_mutex_unlock(&fs->mounts_lock);
	return fd;
}

int mounts_add(struct fs *fs, int mount_id, int fd)
{
	int err = 0;

	pthread_mutex_lock(&fs->mounts_lock);
	if (mounts_find(fs, mount_id) >= 0) {
		close(fd);
	} else if (fs->mounts_count == MOUNTS_MAX) {
		close(fd);
		err = -ENOSPC;
	} else {
		fs->mounts[fs->mounts_count].id = mount_id;
		fs->mounts[fs->mounts_count++].fd = fd;
	}
	pthread_mutex_unlock(&fs->mounts_lock);
	return err;
}

int mounts_learn(struct fs *fs, int mount_id, int dirfd, const char *name, uint32_t mode)
{
	int flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
	int fd, err;

	if (mounts_get(fs, mount_id) >= 0)
		return 0;
	/* Something else mounted on its own (a device, say) is found by its name. */
	if (!S_ISDIR(mode) && !S_ISREG(mode))
		return -EOPNOTSUPP;
	fd = fs_openat(fs, dirfd, *name ? name : ".", flags, 0);
	if (fd < 0)
		return fd;
	/* A process dying here leaves a descriptor that the next one enters into its table: right as well. */
	err = relay_keep_fd(fs->session, KEY_MOUNT | (uint32_t)mount_id, fd);
	if (err) {
		close(fd);
		return err;
	}
	return mounts_add(fs, mount_id, fd);
}

int mounts_sync(struct fs *fs)
{
	unsigned i, count;
	int err = 0;

	pthread_mutex_lock(&fs->mounts_lock);
	count = fs->mounts_count;
	pthread_mutex_unlock(&fs->mounts_lock);
	/* Nothing is found by handle, or the source's own would be there. */
	if (count == 0 && syncfs(fs->root_dir) < 0)
		err = -errno;
	/* Entries never change or go. */
	for (i = 0; i < count; i++) {
		if (syncfs(fs->mounts[i].fd) < 0 && err == 0)
			err = -errno;
	}
	return err;
}
