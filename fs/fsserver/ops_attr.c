/*
 * Attributes: GETATTR, STATX, SETATTR, ACCESS, STATFS, SYNCFS, READLINK.
 *
 * A SETATTR may be repeated as it is: the kernel holds the inode's lock over it,
 * and sends values, not changes.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/time.h>
#include <unistd.h>

#include "fs.h"

/* Attributes of a node, through its handle where there is one at hand. */
static int node_attr(struct fs *fs, uint64_t nodeid, bool has_fh, uint64_t fh, struct statx *stx)
{
	NODE_FD node = {fs, NULL, -1};
	int fd = has_fh ? file_peek(fh) : -1, err;

	if (fd >= 0)
		return attr_get(fd, "", stx);
	err = node_fd_get(fs, nodeid, &node);
	return err ? err : attr_get(node.fd, "", stx);
}

static void attr_reply(struct fs *fs, struct relay_req *req, const struct statx *stx)
{
	struct fuse_attr_out out = {.attr_valid = fs->valid, .attr_valid_nsec = fs->valid_nsec};

	attr_fill(fs, stx, &out.attr);
	relay_reply_attr(req, &out);
}

void op_getattr(struct relay_req *req, const struct fuse_getattr_in *in)
{
	struct fs *fs = fs_of(req);
	struct statx stx;
	int err;

	err = node_attr(fs, relay_req_nodeid(req), (in->getattr_flags & FUSE_GETATTR_FH) != 0, in->fh, &stx);
	if (err)
		reply_result(req, err);
	else
		attr_reply(fs, req, &stx);
}

static struct fuse_sx_time sx_time(const struct statx_timestamp *from)
{
	return (struct fuse_sx_time){.tv_sec = from->tv_sec, .tv_nsec = from->tv_nsec};
}

void op_statx(struct relay_req *req, const struct fuse_statx_in *in)
{
	struct fs *fs = fs_of(req);
	struct fuse_statx_out out;
	struct statx stx;
	int err;

	err = node_attr(fs, relay_req_nodeid(req), (in->getattr_flags & FUSE_GETATTR_FH) != 0, in->fh, &stx);
	if (err) {
		reply_result(req, err);
		return;
	}
	memset(&out, 0, sizeof(out));
	out.attr_valid = fs->valid;
	out.attr_valid_nsec = fs->valid_nsec;
	out.stat.mask = stx.stx_mask & ATTR_MASK;
	out.stat.blksize = stx.stx_blksize;
	out.stat.attributes = stx.stx_attributes;
	out.stat.attributes_mask = stx.stx_attributes_mask;
	out.stat.nlink = stx.stx_nlink;
	out.stat.uid = stx.stx_uid;
	out.stat.gid = stx.stx_gid;
	out.stat.mode = stx.stx_mode;
	out.stat.ino = attr_ino(fs, (uint64_t)stx.stx_dev_major << 32 | stx.stx_dev_minor, stx.stx_ino);
	out.stat.size = stx.stx_size;
	out.stat.blocks = stx.stx_blocks;
	out.stat.atime = sx_time(&stx.stx_atime);
	out.stat.btime = sx_time(&stx.stx_btime);
	out.stat.ctime = sx_time(&stx.stx_ctime);
	out.stat.mtime = sx_time(&stx.stx_mtime);
	out.stat.rdev_major = stx.stx_rdev_major;
	out.stat.rdev_minor = stx.stx_rdev_minor;
	out.stat.dev_major = stx.stx_dev_major;
	out.stat.dev_minor = stx.stx_dev_minor;
	relay_reply(req, &out, sizeof(out));
}

/* ---- SETATTR ----------------------------------------------------------- */

static int set_owner(const struct node_fd *node, const struct fuse_setattr_in *in)
{
	uid_t uid = in->valid & FATTR_UID ? in->uid : (uid_t)-1;
	gid_t gid = in->valid & FATTR_GID ? in->gid : (gid_t)-1;

	return fchownat(node->fd, "", uid, gid, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) == 0 ? 0 : -errno;
}

/*
 * A chown(2) that changes neither: it moves the change time and takes set-id bits
 * away, and so is refused to others than the owner if there are such bits.  But the
 * kernel sends the same before a write to such a file, and the WRITE takes them away
 * by itself: that it may be, if somebody has the file open for writing.  Where the kernel
 * writes by itself there is no WRITE, and it does so with a privilege that saves the bits.
 */
static int set_nothing(struct fs *fs, const struct relay_req *req, const struct node_fd *node,
		       const struct fuse_setattr_in *in)
{
	uid_t caller = relay_req_header(req)->uid;
	struct statx stx;
	bool writable, passthrough;
	const struct node *file;
	int err;

	err = attr_get(node->fd, "", &stx);
	if (err)
		return err;
	if (caller == 0 || S_ISDIR(stx.stx_mode) || !(stx.stx_mode & (S_ISUID | S_ISGID)))
		return set_owner(node, in);
	relay_state_lock(fs->session);
	writable = handles_write(&fs->tables, relay_req_nodeid(req));
	file = node_get(&fs->tables, relay_req_nodeid(req));
	passthrough = file && file->opens > 0 && file->backing;
	relay_state_unlock(fs->session);
	if (caller != stx.stx_uid && !writable)
		return -EPERM;
	if (caller != stx.stx_uid && !passthrough)
		return 0;
	creds_fsetid(fs, !passthrough);
	err = set_owner(node, in);
	creds_fsetid(fs, true);
	return err;
}

static int set_mode(struct fs *fs, const struct node_fd *node, uint64_t nodeid, mode_t mode)
{
	struct fd_path path = fd_path(node->fd);

	/* A WRITE before this one may have left us without. */
	creds_fsetid(fs, true);
	/* The files that are open stay so, also over a restart. */
	if (!fs->privileged && (mode & (S_IRUSR | S_IWUSR)) != (S_IRUSR | S_IWUSR))
		file_keep_all(fs, nodeid);
	return chmod(path.text, mode & 07777) == 0 ? 0 : -errno;
}

static int set_size(struct fs *fs, const struct node_fd *node, const struct fuse_setattr_in *in)
{
	struct fd_path path = fd_path(node->fd);
	int fd = -1, err;

	if (in->valid & FATTR_FH) {
		fd = file_get(fs, in->fh);
		if (fd < 0)
			return fd;
	}
	creds_fsetid(fs, !(in->valid & FATTR_KILL_SUIDGID));
	if (fd >= 0)
		err = ftruncate(fd, (off_t)in->size) == 0 ? 0 : -errno;
	else
		err = truncate(path.text, (off_t)in->size) == 0 ? 0 : -errno;
	creds_fsetid(fs, true);
	return err;
}

static struct timespec set_time(uint32_t valid, uint32_t set, uint32_t now, uint64_t sec, uint32_t nsec)
{
	if (!(valid & set))
		return (struct timespec){.tv_nsec = UTIME_OMIT};
	if (valid & now)
		return (struct timespec){.tv_nsec = UTIME_NOW};
	return (struct timespec){.tv_sec = (time_t)sec, .tv_nsec = nsec};
}

static int set_times(const struct node_fd *node, const struct fuse_setattr_in *in)
{
	const struct timespec times[2] = {
		set_time(in->valid, FATTR_ATIME, FATTR_ATIME_NOW, in->atime, in->atimensec),
		set_time(in->valid, FATTR_MTIME, FATTR_MTIME_NOW, in->mtime, in->mtimensec),
	};

	return utimensat(node->fd, "", times, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) == 0 ? 0 : -errno;
}

void op_setattr(struct relay_req *req, const struct fuse_setattr_in *in)
{
	uint64_t nodeid = relay_req_nodeid(req);
	struct fs *fs = fs_of(req);
	NODE_FD node = {fs, NULL, -1};
	struct statx stx;
	int err;

	err = node_fd_get(fs, nodeid, &node);
	if (err == 0 && !(in->valid & (FATTR_UID | FATTR_GID | FATTR_MODE | FATTR_SIZE | FATTR_ATIME | FATTR_MTIME)))
		err = set_nothing(fs, req, &node, in);
	/* The owner first: it takes set-id bits away, which the mode may then set. */
	if (err == 0 && in->valid & (FATTR_UID | FATTR_GID))
		err = set_owner(&node, in);
	if (err == 0 && in->valid & FATTR_MODE)
		err = set_mode(fs, &node, nodeid, in->mode);
	if (err == 0 && in->valid & FATTR_SIZE)
		err = set_size(fs, &node, in);
	if (err == 0 && in->valid & (FATTR_ATIME | FATTR_MTIME))
		err = set_times(&node, in);
	if (err == 0)
		err = attr_get(node.fd, "", &stx);
	if (err)
		reply_result(req, err);
	else
		attr_reply(fs, req, &stx);
}

/* ---- the rest ---------------------------------------------------------- */

/* The kernel asks only where it does not check by itself. */
void op_access(struct relay_req *req, const struct fuse_access_in *in)
{
	struct fs *fs = fs_of(req);
	NODE_FD node = {fs, NULL, -1};
	int err;

	err = node_fd_get(fs, relay_req_nodeid(req), &node);
	if (err == 0 &&
	    faccessat(AT_FDCWD, fd_path(node.fd).text, (int)in->mask & (R_OK | W_OK | X_OK), AT_EACCESS) < 0)
		err = -errno;
	reply_result(req, err);
}

void op_statfs(struct relay_req *req)
{
	struct fuse_statfs_out out;
	struct fs *fs = fs_of(req);
	NODE_FD node = {fs, NULL, -1};
	struct statfs st;
	int err;

	err = node_fd_get(fs, relay_req_nodeid(req), &node);
	if (err == 0 && fstatfs(node.fd, &st) < 0)
		err = -errno;
	if (err) {
		reply_result(req, err);
		return;
	}
	memset(&out, 0, sizeof(out));
	out.st.blocks = st.f_blocks;
	out.st.bfree = st.f_bfree;
	out.st.bavail = st.f_bavail;
	out.st.files = st.f_files;
	out.st.ffree = st.f_ffree;
	out.st.bsize = (uint32_t)st.f_bsize;
	out.st.namelen = (uint32_t)st.f_namelen;
	out.st.frsize = (uint32_t)st.f_frsize;
	relay_reply(req, &out, sizeof(out));
}

void op_syncfs(struct relay_req *req, const struct fuse_syncfs_in *in)
{
	(void)in;
	reply_result(req, mounts_sync(fs_of(req)));
}

void op_readlink(struct relay_req *req)
{
	struct fs *fs = fs_of(req);
	NODE_FD node = {fs, NULL, -1};
	size_t capacity;
	ssize_t size;
	char *target;
	int err;

	err = node_fd_get(fs, relay_req_nodeid(req), &node);
	if (err) {
		reply_result(req, err);
		return;
	}
	target = relay_reply_buffer(req, &capacity);
	size = readlinkat(node.fd, "", target, capacity < 4095 ? capacity : 4095);
	if (size < 0)
		relay_reply_error(req, errno);
	else
		relay_reply_filled(req, (size_t)size);
}
