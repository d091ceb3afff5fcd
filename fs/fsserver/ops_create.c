/*
 * What makes objects with a name: MKDIR, MKNOD, SYMLINK, LINK, CREATE; and TMPFILE.
 *
 * The redo rule is the same for all with a name.  The kernel holds the directory's
 * lock from before the request until after its answer, so nobody makes the name
 * through this mount meanwhile.  "It was not there" is recorded before applying
 * (and a name that is there is answered EEXIST without applying), so EEXIST on a
 * redo is our own doing.
 *
 * A process dying before the pre-state is published leaves a fresh request; after
 * it, a name that is not there, or the whole object: owner, group, mode and default
 * ACL come with the creating call (creds.c).  The node, and CREATE's handle, become
 * true with the stored answer.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "fs.h"

/* 0 if the name is not there, and that is on record; else a negative errno. */
static int name_absent(struct relay_req *req, int dirfd, const char *name)
{
	struct statx stx;
	int err;

	if (relay_req_redo(req))
		return 0;
	err = attr_get(dirfd, name, &stx);
	if (err == 0)
		return -EEXIST;
	if (err != -ENOENT)
		return err;
	relay_req_applying(req, 0); /* that it is called is the record */
	return 0;
}

/* The result of a creating call: on a redo the name is there because we made it. */
static int made(struct relay_req *req, int result)
{
	if (result == 0 || (errno == EEXIST && redo_is_ours(req)))
		return 0;
	return -errno;
}

static void made_reply(struct fs *fs, struct relay_req *req, int err, const struct node_fd *dir, const char *name)
{
	struct statx stx;

	if (err == 0)
		err = attr_get(dir->fd, name, &stx);
	if (err)
		reply_result(req, err);
	else
		entry_reply(fs, req, &stx, relay_req_nodeid(req), dir->fd, name);
}

void op_mkdir(struct relay_req *req, const struct fuse_mkdir_in *in, const char *name)
{
	struct fs *fs = fs_of(req);
	NODE_FD dir = {fs, NULL, -1};
	int err;

	err = node_fd_get(fs, relay_req_nodeid(req), &dir);
	if (err == 0)
		err = name_absent(req, dir.fd, name);
	if (err == 0) {
		creds_take(fs, req, in->umask);
		err = made(req, mkdirat(dir.fd, name, in->mode));
		creds_drop(fs);
	}
	made_reply(fs, req, err, &dir, name);
}

void op_mknod(struct relay_req *req, const struct fuse_mknod_in *in, const char *name)
{
	dev_t dev = makedev((in->rdev & 0xfff00) >> 8, (in->rdev & 0xff) | (in->rdev >> 12 & 0xfff00));
	struct fs *fs = fs_of(req);
	NODE_FD dir = {fs, NULL, -1};
	int err;

	err = node_fd_get(fs, relay_req_nodeid(req), &dir);
	if (err == 0)
		err = name_absent(req, dir.fd, name);
	if (err == 0) {
		creds_take(fs, req, in->umask);
		err = made(req, mknodat(dir.fd, name, in->mode, dev));
		creds_drop(fs);
	}
	made_reply(fs, req, err, &dir, name);
}

void op_symlink(struct relay_req *req, const char *name, const char *target)
{
	struct fs *fs = fs_of(req);
	NODE_FD dir = {fs, NULL, -1};
	int err;

	err = node_fd_get(fs, relay_req_nodeid(req), &dir);
	if (err == 0)
		err = name_absent(req, dir.fd, name);
	if (err == 0) {
		creds_take(fs, req, 0);
		err = made(req, symlinkat(target, dir.fd, name));
		creds_drop(fs);
	}
	made_reply(fs, req, err, &dir, name);
}

void op_link(struct relay_req *req, const struct fuse_link_in *in, const char *name)
{
	struct fs *fs = fs_of(req);
	NODE_FD node = {fs, NULL, -1};
	NODE_FD dir = {fs, NULL, -1};
	int err;

	err = node_fd_get(fs, relay_req_nodeid(req), &dir);
	if (err == 0)
		err = node_fd_get(fs, in->oldnodeid, &node);
	if (err == 0)
		err = name_absent(req, dir.fd, name);
	/* Through /proc: AT_EMPTY_PATH takes a privilege, this does not. */
	if (err == 0)
		err = made(req, linkat(AT_FDCWD, fd_path(node.fd).text, dir.fd, name, AT_SYMLINK_FOLLOW));
	made_reply(fs, req, err, &dir, name);
}

/* ---- CREATE and TMPFILE ------------------------------------------------ */

/* Within the transaction: the handle, and what of it has to be left with relayd. */
static int open_begin(struct fs *fs, struct txn *txn, const struct statx *stx, uint32_t flags, uint64_t nodeid, int fd,
		      uint64_t *fh)
{
	int err;

	err = handle_new(txn, &fs->tables, nodeid, file_flags(flags), fh);
	if (err)
		return err;
	file_set(*fh, fd);
	/* A process dying after this leaves a descriptor of a handle that was never made: file_restore() drops it. */
	if (file_needs_keeping(fs, stx, flags))
		err = file_keep(fs, *fh);
	if (err)
		file_take(fs, *fh);
	return err;
}

/*
 * Answers a CREATE or TMPFILE (name ""): node and handle in one transaction.  fd
 * is taken over; dirfd/name is where the file is.
 */
static void open_reply(struct fs *fs, struct relay_req *req, uint32_t flags, int fd, int dirfd, const char *name)
{
	struct fuse_open_out open = {.open_flags = 0};
	struct passthrough choice = {.fs = fs};
	struct fuse_entry_out entry;
	int path_fd = -1, err;
	struct statx stx;
	struct txn txn;

	err = attr_get(fd, "", &stx);
	if (err == 0 && *name == '\0') {
		path_fd = fs_openat(fs, AT_FDCWD, fd_path(fd).text, O_PATH, 0);
		err = path_fd < 0 ? path_fd : 0;
	}
	if (err == 0)
		passthrough_prepare(fs, &choice, 0, path_fd, fd);
	if (err == 0)
		err = entry_begin(fs, &txn, req, &stx, relay_req_nodeid(req), dirfd, name, &entry);
	if (err == 0) {
		err = passthrough_open(&choice, &txn, entry.nodeid, &open);
		if (err == 0)
			err = open_begin(fs, &txn, &stx, flags, entry.nodeid, fd, &open.fh);
		if (err == 0 && path_fd >= 0) {
			err = pin_unnamed(fs, entry.nodeid, path_fd);
			path_fd = -1;
			if (err)
				file_take(fs, open.fh);
		}
		if (err == 0) {
			pin_forget(fs, &txn);
			relay_reply_create(req, &entry, &open);
			passthrough_end(&choice, true);
			return;
		}
		relay_state_abort(req);
	}
	if (path_fd >= 0)
		close(path_fd);
	close(fd);
	passthrough_end(&choice, false);
	reply_result(req, err);
}

/* Opens the file that this same request made in an earlier incarnation. */
static int create_again(struct fs *fs, const struct node_fd *dir, const char *name, int flags, mode_t mode)
{
	int fd = fs_openat(fs, dir->fd, name, (flags & ~(O_CREAT | O_EXCL)) | O_NOFOLLOW, 0);

	/*
	 * A mode that denies its unprivileged owner what a creator gets: nobody
	 * has seen the file, so it can be made anew.  A process dying between
	 * leaves no file, which is where the request began.
	 */
	if (fd == -EACCES && unlinkat(dir->fd, name, 0) == 0)
		fd = fs_openat(fs, dir->fd, name, flags, mode);
	return fd;
}

void op_create(struct relay_req *req, const struct fuse_create_in *in, const char *name)
{
	int flags = (int)(in->flags & ~(uint32_t)(O_APPEND | O_TRUNC)) | O_CREAT | O_EXCL | O_NOFOLLOW;
	struct fs *fs = fs_of(req);
	NODE_FD dir = {fs, NULL, -1};
	int fd, err;

	err = node_fd_get(fs, relay_req_nodeid(req), &dir);
	if (err == 0)
		err = name_absent(req, dir.fd, name);
	if (err == 0) {
		creds_take(fs, req, in->umask);
		fd = fs_openat(fs, dir.fd, name, flags, in->mode);
		if (fd == -EEXIST && redo_is_ours(req))
			fd = create_again(fs, &dir, name, flags, in->mode);
		creds_drop(fs);
		err = fd < 0 ? fd : 0;
	}
	/*
	 * The kernel believes that the name is free, so it has not asked whether
	 * the caller may open what is there: have it look again.
	 */
	if (err == -EEXIST && !(in->flags & O_EXCL))
		err = -ESTALE;
	if (err)
		reply_result(req, err);
	else
		open_reply(fs, req, in->flags, fd, dir.fd, name);
}

/* A redo makes another file: the one of the incarnation that died is gone with it. */
void op_tmpfile(struct relay_req *req, const struct fuse_create_in *in, const char *name)
{
	int flags = (int)(in->flags & ~(uint32_t)(O_APPEND | O_TRUNC | O_CREAT)) | O_TMPFILE;
	struct fs *fs = fs_of(req);
	NODE_FD dir = {fs, NULL, -1};
	int fd, err;

	(void)name;
	err = node_fd_get(fs, relay_req_nodeid(req), &dir);
	if (err) {
		reply_result(req, err);
		return;
	}
	creds_take(fs, req, in->umask);
	fd = fs_openat(fs, dir.fd, ".", flags, in->mode);
	creds_drop(fs);
	if (fd < 0)
		reply_result(req, fd);
	else
		/* O_TMPFILE has O_DIRECTORY in it, with which the file could not be opened again. */
		open_reply(fs, req, in->flags & ~(uint32_t)O_TMPFILE, fd, fd, "");
}
