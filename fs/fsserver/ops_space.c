/*
 * A file's space: LSEEK, FALLOCATE, COPY_FILE_RANGE.
 *
 * All but collapsing and inserting a range may be repeated: the kernel holds the
 * lock of the inode that is changed, and offsets are absolute.  Those two move what
 * lies behind the range, and the size tells whether they have: it is the pre-state.
 * A process dying before the pre-state is published leaves a fresh request; after
 * it, the old size; after the call, the new one.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <limits.h>
#include <unistd.h>

#include "fs.h"

void op_lseek(struct relay_req *req, const struct fuse_lseek_in *in)
{
	int fd = file_get(fs_of(req), in->fh);
	struct fuse_lseek_out out;
	off_t offset;

	if (fd < 0) {
		reply_result(req, fd);
		return;
	}
	/* The descriptor's own position is nobody's. */
	offset = lseek(fd, (off_t)in->offset, (int)in->whence);
	if (offset < 0) {
		relay_reply_error(req, errno);
		return;
	}
	out.offset = (uint64_t)offset;
	relay_reply(req, &out, sizeof(out));
}

/* True if an earlier incarnation has moved the range. */
static bool range_was_moved(struct relay_req *req, const struct fuse_fallocate_in *in, uint64_t size)
{
	uint64_t before = *(uint64_t *)relay_req_pre(req);

	if (!relay_req_redo(req))
		return false;
	if (in->mode & FALLOC_FL_COLLAPSE_RANGE)
		return size == before - in->length;
	return in->mode & FALLOC_FL_INSERT_RANGE && size == before + in->length;
}

void op_fallocate(struct relay_req *req, const struct fuse_fallocate_in *in)
{
	struct fs *fs = fs_of(req);
	int fd = file_get(fs, in->fh);
	struct statx stx;
	int err;

	err = fd < 0 ? fd : attr_get(fd, "", &stx);
	if (err) {
		reply_result(req, err);
		return;
	}
	/* The kernel does not say, as it does with a WRITE, whether set-id bits are to go. */
	creds_fsetid(fs, relay_req_header(req)->uid == 0);
	if (!relay_req_redo(req)) {
		*(uint64_t *)relay_req_pre(req) = stx.stx_size;
		relay_req_applying(req, sizeof(uint64_t));
	}
	if (!range_was_moved(req, in, stx.stx_size) &&
	    fallocate(fd, (int)in->mode, (off_t)in->offset, (off_t)in->length) < 0)
		err = -errno;
	reply_result(req, err);
}

static ssize_t range_copy(struct relay_req *req, const struct fuse_copy_file_range_in *in, size_t most)
{
	struct fs *fs = fs_of(req);
	int from = file_get(fs, in->fh_in), to = file_get(fs, in->fh_out);
	off_t from_offset = (off_t)in->off_in, to_offset = (off_t)in->off_out;
	ssize_t copied;

	if (from < 0 || to < 0)
		return from < 0 ? from : to;
	creds_fsetid(fs, relay_req_header(req)->uid == 0);
	copied = copy_file_range(from, &from_offset, to, &to_offset, in->len < most ? in->len : most,
				 (unsigned)in->flags);
	return copied < 0 ? -errno : copied;
}

void op_copy_file_range(struct relay_req *req, const struct fuse_copy_file_range_in *in)
{
	ssize_t copied = range_copy(req, in, UINT_MAX & ~4095u);

	if (copied < 0)
		reply_result(req, (int)copied);
	else
		relay_reply_write(req, (uint32_t)copied);
}

void op_copy_file_range_64(struct relay_req *req, const struct fuse_copy_file_range_in *in)
{
	ssize_t copied = range_copy(req, in, SSIZE_MAX & ~4095ul);
	struct fuse_copy_file_range_out out = {.bytes_copied = (uint64_t)copied};

	if (copied < 0)
		reply_result(req, (int)copied);
	else
		relay_reply(req, &out, sizeof(out));
}
