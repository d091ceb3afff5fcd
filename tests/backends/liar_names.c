/*
 * The liar's requests about names and attributes.
 */
#include "liar.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* Through this any call that follows links gets at what an O_PATH descriptor is of. */
static const char *fd_path(int fd, char *path, size_t size)
{
	snprintf(path, size, "/proc/self/fd/%d", fd);
	return path;
}

static long entry_out(const struct liar_call *call, const char *name)
{
	long error = liar_entry(call->head->nodeid, name, (void *)call->out);

	return error ? error : (long)sizeof(struct fuse_entry_out);
}

long liar_lookup(const struct liar_call *call)
{
	const char *name = liar_name(call, 0);

	return name ? entry_out(call, name) : -EPROTO;
}

/* What was just made belongs to the caller. */
static long made(const struct liar_call *call, int dir, const char *name, int result)
{
	if (result < 0)
		return -errno;
	if (fchownat(dir, name, call->head->uid, call->head->gid, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	return entry_out(call, name);
}

long liar_mknod(const struct liar_call *call)
{
	const struct fuse_mknod_in *in = (const void *)call->in;
	const char *name = liar_name(call, sizeof(*in));
	int dir = liar_node_fd(call->head->nodeid);

	if (!name || dir < 0)
		return name ? dir : -EPROTO;
	return made(call, dir, name, mknodat(dir, name, in->mode, in->rdev));
}

long liar_mkdir(const struct liar_call *call)
{
	const struct fuse_mkdir_in *in = (const void *)call->in;
	const char *name = liar_name(call, sizeof(*in));
	int dir = liar_node_fd(call->head->nodeid);

	if (!name || dir < 0)
		return name ? dir : -EPROTO;
	return made(call, dir, name, mkdirat(dir, name, in->mode));
}

long liar_symlink(const struct liar_call *call)
{
	const char *name = liar_name(call, 0);
	const char *target = name ? liar_name(call, strlen(name) + 1) : NULL;
	int dir = liar_node_fd(call->head->nodeid);

	if (!target || dir < 0)
		return target ? dir : -EPROTO;
	return made(call, dir, name, symlinkat(target, dir, name));
}

long liar_link(const struct liar_call *call)
{
	const struct fuse_link_in *in = (const void *)call->in;
	const char *name = liar_name(call, sizeof(*in));
	int dir = liar_node_fd(call->head->nodeid);
	int fd = liar_node_fd(in->oldnodeid);
	char path[64];

	if (!name || dir < 0 || fd < 0)
		return name ? -ESTALE : -EPROTO;
	if (linkat(AT_FDCWD, fd_path(fd, path, sizeof(path)), dir, name, AT_SYMLINK_FOLLOW) < 0)
		return -errno;
	return entry_out(call, name);
}

static long remove_name(const struct liar_call *call, int flags)
{
	const char *name = liar_name(call, 0);
	int dir = liar_node_fd(call->head->nodeid);

	if (!name || dir < 0)
		return name ? dir : -EPROTO;
	return unlinkat(dir, name, flags) < 0 ? -errno : 0;
}

long liar_unlink(const struct liar_call *call)
{
	return remove_name(call, 0);
}

long liar_rmdir(const struct liar_call *call)
{
	return remove_name(call, AT_REMOVEDIR);
}

static long rename_name(const struct liar_call *call, uint64_t newparent, size_t at, unsigned flags)
{
	const char *name = liar_name(call, at);
	const char *newname = name ? liar_name(call, at + strlen(name) + 1) : NULL;
	int dir = liar_node_fd(call->head->nodeid);
	int newdir = liar_node_fd(newparent);

	if (!newname)
		return -EPROTO;
	if (dir < 0 || newdir < 0)
		return -ESTALE;
	if (renameat2(dir, name, newdir, newname, flags) < 0)
		return -errno;
	if (flags & RENAME_EXCHANGE) {
		liar_renamed(newparent, newname, newparent, "");
		liar_renamed(call->head->nodeid, name, newparent, newname);
		liar_renamed(newparent, "", call->head->nodeid, name);
	} else {
		liar_renamed(call->head->nodeid, name, newparent, newname);
	}
	return 0;
}

long liar_rename(const struct liar_call *call)
{
	const struct fuse_rename_in *in = (const void *)call->in;

	return rename_name(call, in->newdir, sizeof(*in), 0);
}

long liar_rename2(const struct liar_call *call)
{
	const struct fuse_rename2_in *in = (const void *)call->in;

	return rename_name(call, in->newdir, sizeof(*in), in->flags);
}

long liar_getattr(const struct liar_call *call)
{
	return liar_attr_out(call->head->nodeid, call->out);
}

static struct timespec time_of(uint32_t valid, uint32_t set, uint32_t now, uint64_t seconds, uint32_t nanoseconds)
{
	if (!(valid & set))
		return (struct timespec){.tv_nsec = UTIME_OMIT};
	if (valid & now)
		return (struct timespec){.tv_nsec = UTIME_NOW};
	return (struct timespec){(time_t)seconds, nanoseconds};
}

static int set_all(const char *path, const struct fuse_setattr_in *in)
{
	const struct timespec times[2] = {
		time_of(in->valid, FATTR_ATIME, FATTR_ATIME_NOW, in->atime, in->atimensec),
		time_of(in->valid, FATTR_MTIME, FATTR_MTIME_NOW, in->mtime, in->mtimensec),
	};

	if ((in->valid & FATTR_SIZE) && truncate(path, (off_t)in->size) < 0)
		return -errno;
	if ((in->valid & (FATTR_UID | FATTR_GID)) &&
	    chown(path, in->valid & FATTR_UID ? in->uid : (uid_t)-1, in->valid & FATTR_GID ? in->gid : (gid_t)-1) < 0)
		return -errno;
	if ((in->valid & FATTR_MODE) && chmod(path, in->mode & 07777) < 0)
		return -errno;
	if ((in->valid & (FATTR_ATIME | FATTR_MTIME)) && utimensat(AT_FDCWD, path, times, 0) < 0)
		return -errno;
	return 0;
}

/* Of a symbolic link only owner and times can be set, by calls that take an empty path. */
static int set_symlink(int fd, const struct fuse_setattr_in *in)
{
	const struct timespec times[2] = {
		time_of(in->valid, FATTR_ATIME, FATTR_ATIME_NOW, in->atime, in->atimensec),
		time_of(in->valid, FATTR_MTIME, FATTR_MTIME_NOW, in->mtime, in->mtimensec),
	};

	if ((in->valid & (FATTR_UID | FATTR_GID)) &&
	    fchownat(fd, "", in->valid & FATTR_UID ? in->uid : (uid_t)-1, in->valid & FATTR_GID ? in->gid : (gid_t)-1,
		     AT_EMPTY_PATH) < 0)
		return -errno;
	if ((in->valid & (FATTR_ATIME | FATTR_MTIME)) && utimensat(fd, "", times, AT_EMPTY_PATH) < 0)
		return -errno;
	return 0;
}

long liar_setattr(const struct liar_call *call)
{
	const struct fuse_setattr_in *in = (const void *)call->in;
	int fd = liar_node_fd(call->head->nodeid);
	struct stat st;
	char path[64];
	int error;

	if (fd < 0)
		return fd;
	if (fstatat(fd, "", &st, AT_EMPTY_PATH) < 0)
		return -errno;
	error = S_ISLNK(st.st_mode) ? set_symlink(fd, in) : set_all(fd_path(fd, path, sizeof(path)), in);
	return error ? error : liar_attr_out(call->head->nodeid, call->out);
}

long liar_readlink(const struct liar_call *call)
{
	int fd = liar_node_fd(call->head->nodeid);
	ssize_t size;

	if (fd < 0)
		return fd;
	size = readlinkat(fd, "", (char *)call->out, 4095);
	return size < 0 ? -errno : size;
}

long liar_statfs(const struct liar_call *call)
{
	struct fuse_statfs_out *out = (void *)call->out;
	struct statvfs fs;

	if (fstatvfs(liar.root, &fs) < 0)
		return -errno;
	out->st = (struct fuse_kstatfs){
		.blocks = fs.f_blocks,
		.bfree = fs.f_bfree,
		.bavail = fs.f_bavail,
		.files = fs.f_files,
		.ffree = fs.f_ffree,
		.bsize = (uint32_t)fs.f_bsize,
		.namelen = (uint32_t)fs.f_namemax,
		.frsize = (uint32_t)fs.f_frsize,
	};
	return sizeof(*out);
}
