/*
 * UNLINK and RMDIR.
 *
 * The pre-state is which inode has the name.  The kernel holds the directory's
 * lock over the request, so on a redo a name that is gone, or that another inode
 * has by now, was removed by us.
 *
 * The order, and what a process dying after each step leaves:
 *   the pre-state is published: a redo that finds the inode in its place;
 *   its descriptor is pinned, and kept: the same, and a descriptor that the redo
 *   uses, or drops if it cannot remove the name;
 *   the name is removed: a redo that finds it gone;
 *   the reply is stored: nothing to do.
 */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "fs.h"

/*
 * 0 with the O_PATH descriptor of what is to be removed, 1 if it has been removed
 * by an earlier incarnation, or a negative errno.
 */
static int target_get(struct fs *fs, struct relay_req *req, int dirfd, const char *name, struct statx *stx, int *fd)
{
	struct node_ident *pre = relay_req_pre(req), now;
	int err;

	*fd = fs_openat(fs, dirfd, name, O_PATH | O_NOFOLLOW, 0);
	if (*fd < 0)
		return *fd == -ENOENT && redo_is_ours(req) ? 1 : *fd;
	err = attr_get(*fd, "", stx);
	now = attr_ident(stx);
	if (err == 0 && relay_req_redo(req))
		err = ident_same(pre, &now) ? 0 : redo_is_ours(req) ? 1 : -ENOENT;
	if (err)
		close(*fd);
	return err;
}

static void name_remove(struct relay_req *req, const char *name, int flags)
{
	uint64_t parent = relay_req_nodeid(req);
	struct fs *fs = fs_of(req);
	NODE_FD dir = {fs, NULL, -1};
	struct statx stx;
	struct pin pin;
	int fd, err;

	err = node_fd_get(fs, parent, &dir);
	if (err == 0)
		err = target_get(fs, req, dir.fd, name, &stx, &fd);
	if (err) {
		reply_result(req, err == 1 ? 0 : err);
		return;
	}
	if (!relay_req_redo(req)) {
		*(struct node_ident *)relay_req_pre(req) = attr_ident(&stx);
		relay_req_applying(req, sizeof(struct node_ident));
	}
	/* A file by rmdir() and a directory by unlink() only get their errors. */
	if (S_ISDIR(stx.stx_mode) != (flags == AT_REMOVEDIR)) {
		close(fd);
		reply_result(req, unlinkat(dir.fd, name, flags) == 0 ? 0 : -errno);
		return;
	}
	err = pin_victim(fs, &pin, fd, &stx, parent, name);
	if (err == 0 && unlinkat(dir.fd, name, flags) < 0) {
		err = -errno;
		pin_drop(&pin);
	}
	pin_leave(&pin);
	reply_result(req, err);
}

void op_unlink(struct relay_req *req, const char *name)
{
	name_remove(req, name, 0);
}

void op_rmdir(struct relay_req *req, const char *name)
{
	name_remove(req, name, AT_REMOVEDIR);
}
