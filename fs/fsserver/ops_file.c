/*
 * Open files: OPEN, READ, WRITE, FLUSH, RELEASE, FSYNC.
 *
 * Reads and writes have absolute offsets, so they may be repeated; the handle that
 * an OPEN makes, and that a RELEASE ends, changes in the transaction of the answer.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <unistd.h>

#include "fs.h"
#include "locks.h"

/*
 * Opens for OPEN.  The kernel does not hold the inode's lock over an O_TRUNC, so
 * others may write between the truncation and its answer, and a redo must not cut
 * off what they wrote: that it was done is marked in the pre-state, right after.
 */
static int open_node(struct fs *fs, struct relay_req *req, const struct node_fd *node, const struct fuse_open_in *in)
{
	_Atomic uint64_t *truncated = relay_req_pre(req);
	int flags = (int)(in->flags & ~(uint32_t)O_APPEND);
	int fd;

	if (!(flags & O_TRUNC))
		return node_fd_open(node, flags);
	if (!relay_req_redo(req)) {
		atomic_store(truncated, 0);
		relay_req_applying(req, sizeof(*truncated));
	}
	if (atomic_load(truncated))
		return node_fd_open(node, flags & ~O_TRUNC);
	creds_fsetid(fs, !(in->open_flags & FUSE_OPEN_KILL_SUIDGID));
	fd = node_fd_open(node, flags);
	creds_fsetid(fs, true);
	if (fd >= 0)
		atomic_store(truncated, 1);
	return fd;
}

/* OPEN and OPENDIR: the handle of fd, which is taken over, and the answer.  choice: NULL for a directory. */
static bool open_answer(struct fs *fs, struct relay_req *req, const struct node_fd *node, uint32_t flags, int fd,
			struct passthrough *choice)
{
	struct fuse_open_out out = {.open_flags = 0};
	struct txn txn;
	int err = 0;

	txn_begin(&txn, req);
	if (choice)
		err = passthrough_open(choice, &txn, relay_req_nodeid(req), &out);
	if (err == -EAGAIN) {
		relay_state_abort(req);
		passthrough_prepare(fs, choice, 0, node->fd, fd);
		txn_begin(&txn, req);
		err = passthrough_open(choice, &txn, relay_req_nodeid(req), &out);
	}
	if (err == 0)
		err = handle_new(&txn, &fs->tables, relay_req_nodeid(req), file_flags(flags), &out.fh);
	if (err == 0)
		err = pin_keep(fs, node);
	if (err) {
		relay_state_abort(req);
		close(fd);
		reply_result(req, err);
		return false;
	}
	file_set(out.fh, fd);
	relay_reply_open(req, &out);
	return true;
}

void op_open(struct relay_req *req, const struct fuse_open_in *in)
{
	struct fs *fs = fs_of(req);
	NODE_FD node = {fs, NULL, -1};
	struct passthrough choice;
	int fd;

	fd = node_fd_get(fs, relay_req_nodeid(req), &node);
	if (fd == 0)
		fd = open_node(fs, req, &node, in);
	if (fd < 0) {
		reply_result(req, fd);
		return;
	}
	passthrough_prepare(fs, &choice, relay_req_nodeid(req), node.fd, fd);
	passthrough_end(&choice, open_answer(fs, req, &node, in->flags, fd, &choice));
}

void op_opendir(struct relay_req *req, const struct fuse_open_in *in)
{
	uint32_t flags = (in->flags & O_NOATIME) | O_RDONLY | O_DIRECTORY;
	struct fs *fs = fs_of(req);
	NODE_FD node = {fs, NULL, -1};
	int fd;

	fd = node_fd_get(fs, relay_req_nodeid(req), &node);
	if (fd == 0)
		fd = node_fd_open(&node, (int)flags);
	if (fd < 0)
		reply_result(req, fd);
	else
		open_answer(fs, req, &node, flags, fd, NULL);
}

void op_read(struct relay_req *req, const struct fuse_read_in *in)
{
	int fd = file_get(fs_of(req), in->fh);
	size_t capacity;
	ssize_t size;
	void *data;

	if (fd < 0) {
		reply_result(req, fd);
		return;
	}
	data = relay_reply_buffer(req, &capacity);
	size = pread(fd, data, in->size < capacity ? in->size : capacity, (off_t)in->offset);
	if (size < 0)
		relay_reply_error(req, errno);
	else
		relay_reply_filled(req, (size_t)size);
}

/*
 * What the kernel writes back from its cache may come through a handle that was
 * opened O_DIRECT, and need not be aligned as that takes.
 */
static ssize_t write_unaligned(struct fs *fs, int fd, const struct fuse_write_in *in, const void *data, size_t size)
{
	ssize_t written;
	int other;

	other = fs_openat(fs, AT_FDCWD, fd_path(fd).text, O_WRONLY, 0);
	if (other < 0) {
		errno = EINVAL;
		return -1;
	}
	written = pwrite(other, data, size, (off_t)in->offset);
	close(other);
	return written;
}

void op_write(struct relay_req *req, const struct fuse_write_in *in, const void *data, size_t size)
{
	struct fs *fs = fs_of(req);
	int fd = file_get(fs, in->fh);
	ssize_t written;

	if (fd < 0) {
		reply_result(req, fd);
		return;
	}
	creds_fsetid(fs, !(in->write_flags & FUSE_WRITE_KILL_SUIDGID));
	written = pwrite(fd, data, size, (off_t)in->offset);
	if (written < 0 && errno == EINVAL && in->write_flags & FUSE_WRITE_CACHE)
		written = write_unaligned(fs, fd, in, data, size);
	if (written < 0)
		relay_reply_error(req, errno);
	else
		relay_reply_write(req, (uint32_t)written);
}

void op_flush(struct relay_req *req, const struct fuse_flush_in *in)
{
	int fd = file_peek(in->fh), err = 0;
	struct fs *fs = fs_of(req);

	locks_drop_owner(fs, relay_req_nodeid(req), in->lock_owner, false);
	/* Stores that report errors at close() do it for each. */
	if (fd >= 0) {
		fd = dup(fd);
		if (fd >= 0 && close(fd) < 0)
			err = -errno;
	}
	reply_result(req, err);
}

/* RELEASE and RELEASEDIR. */
static void release(struct relay_req *req, uint64_t fh)
{
	struct fs *fs = fs_of(req);
	uint64_t backing;
	struct txn txn;
	int fd, err;

	fd = file_take(fs, fh);
	if (fd >= 0)
		close(fd);
	txn_begin(&txn, req);
	err = passthrough_release(fs, &txn, fh, &backing);
	if (err == 0)
		err = handle_free(&txn, &fs->tables, fh);
	if (err)
		relay_state_abort(req);
	else
		pin_forget(fs, &txn);
	reply_result(req, err);
	/* A process dying here leaves a registration that no node has: passthrough_restore() gives it back. */
	if (err == 0 && backing)
		relay_unback(fs->session, backing);
}

void op_release(struct relay_req *req, const struct fuse_release_in *in)
{
	struct fs *fs = fs_of(req);

	if (in->release_flags & FUSE_RELEASE_FLOCK_UNLOCK)
		locks_drop_owner(fs, relay_req_nodeid(req), in->lock_owner, true);
	locks_drop_handle(fs, relay_req_nodeid(req), in->fh);
	release(req, in->fh);
}

void op_releasedir(struct relay_req *req, const struct fuse_release_in *in)
{
	op_release(req, in);
}

/* FSYNC and FSYNCDIR. */
void op_fsync(struct relay_req *req, const struct fuse_fsync_in *in)
{
	int fd = file_get(fs_of(req), in->fh), err = 0;

	if (fd < 0)
		err = fd;
	else if ((in->fsync_flags & FUSE_FSYNC_FDATASYNC ? fdatasync(fd) : fsync(fd)) < 0)
		err = -errno;
	reply_result(req, err);
}
