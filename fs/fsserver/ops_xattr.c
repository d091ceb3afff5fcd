/*
 * Extended attributes, through /proc/self/fd: an O_PATH descriptor is good for
 * none of the f*xattr() calls, and so symbolic links and devices have theirs too.
 *
 * SETXATTR and REMOVEXATTR run under the inode's lock of the kernel.  The pre-state
 * is whether the attribute was there; it decides about EEXIST and ENODATA, also on
 * a redo, and setting the same value again is harmless.  A process dying before the
 * pre-state is published leaves a fresh request; after it, the attribute as before
 * or as it is to be.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "fs.h"

/* Publishes whether the attribute is there (if that matters).  0 or a negative errno. */
static int pre_record(struct relay_req *req, const char *path, const char *name, bool matters)
{
	uint64_t *existed = relay_req_pre(req);

	if (relay_req_redo(req))
		return 0;
	*existed = 0;
	if (matters) {
		*existed = getxattr(path, name, NULL, 0) >= 0;
		if (!*existed && errno != ENODATA)
			return -errno;
	}
	relay_req_applying(req, sizeof(*existed));
	return 0;
}

static bool pre_existed(struct relay_req *req)
{
	return *(const uint64_t *)relay_req_pre(req) != 0;
}

/* The kernel has taken the set-group-id bit from the mode that an ACL leads to. */
static int kill_sgid(const struct node_fd *node, const char *path)
{
	struct statx stx;
	int err;

	err = attr_get(node->fd, "", &stx);
	if (err == 0 && stx.stx_mode & S_ISGID && chmod(path, stx.stx_mode & 07777 & ~(mode_t)S_ISGID) < 0)
		err = -errno;
	return err;
}

/* An ACL may take from us what is needed to open the files again. */
static void keep_open_files(struct fs *fs, uint64_t nodeid, const char *name)
{
	if (!fs->privileged && strcmp(name, "system.posix_acl_access") == 0)
		file_keep_all(fs, nodeid);
}

void op_setxattr(struct relay_req *req, const struct fuse_setxattr_in *in, const char *name, const void *value,
		 size_t size)
{
	struct fs *fs = fs_of(req);
	NODE_FD node = {fs, NULL, -1};
	struct fd_path path;
	int err;

	err = node_fd_get(fs, relay_req_nodeid(req), &node);
	if (err) {
		reply_result(req, err);
		return;
	}
	path = fd_path(node.fd);
	/* An ACL may lead to a mode with a set-group-id bit. */
	creds_fsetid(fs, true);
	err = pre_record(req, path.text, name, (in->flags & (XATTR_CREATE | XATTR_REPLACE)) != 0);
	if (err == 0 && in->flags & XATTR_CREATE && pre_existed(req))
		err = -EEXIST;
	if (err == 0 && in->flags & XATTR_REPLACE && !pre_existed(req))
		err = -ENODATA;
	if (err == 0) {
		keep_open_files(fs, relay_req_nodeid(req), name);
		/* Without the flags: what they ask for is decided. */
		if (setxattr(path.text, name, value, size, 0) < 0)
			err = -errno;
	}
	if (err == 0 && fs->setxattr_ext && in->setxattr_flags & FUSE_SETXATTR_ACL_KILL_SGID)
		err = kill_sgid(&node, path.text);
	reply_result(req, err);
}

void op_removexattr(struct relay_req *req, const char *name)
{
	struct fs *fs = fs_of(req);
	NODE_FD node = {fs, NULL, -1};
	struct fd_path path;
	int err;

	err = node_fd_get(fs, relay_req_nodeid(req), &node);
	if (err) {
		reply_result(req, err);
		return;
	}
	path = fd_path(node.fd);
	err = pre_record(req, path.text, name, true);
	if (err == 0 && removexattr(path.text, name) < 0 &&
	    !(errno == ENODATA && redo_is_ours(req) && pre_existed(req)))
		err = -errno;
	reply_result(req, err);
}

/* Answers with `size` bytes in the reply's buffer, or with the size alone if that was asked for. */
static void xattr_reply(struct relay_req *req, uint32_t asked, ssize_t size)
{
	struct fuse_getxattr_out out = {.size = (uint32_t)size};

	if (size < 0)
		reply_result(req, (int)size);
	else if (asked == 0)
		relay_reply(req, &out, sizeof(out));
	else
		relay_reply_filled(req, (size_t)size);
}

void op_getxattr(struct relay_req *req, const struct fuse_getxattr_in *in, const char *name)
{
	struct fs *fs = fs_of(req);
	NODE_FD node = {fs, NULL, -1};
	size_t capacity;
	ssize_t size;
	void *value;

	size = node_fd_get(fs, relay_req_nodeid(req), &node);
	if (size == 0) {
		value = relay_reply_buffer(req, &capacity);
		size = getxattr(fd_path(node.fd).text, name, value, in->size < capacity ? in->size : capacity);
		if (size < 0)
			size = -errno;
	}
	xattr_reply(req, in->size, size);
}

/* Takes out the names that only privileged callers are shown.  Returns the new size. */
static ssize_t names_filter(char *names, ssize_t size)
{
	static const char hidden[] = "trusted.";
	ssize_t at, kept = 0;
	size_t length;

	for (at = 0; at < size; at += (ssize_t)length) {
		length = strlen(names + at) + 1;
		if (strncmp(names + at, hidden, sizeof(hidden) - 1) == 0)
			continue;
		memmove(names + kept, names + at, length);
		kept += (ssize_t)length;
	}
	return kept;
}

void op_listxattr(struct relay_req *req, const struct fuse_getxattr_in *in)
{
	struct fs *fs = fs_of(req);
	NODE_FD node = {fs, NULL, -1};
	size_t capacity;
	ssize_t size;
	char *names;

	size = node_fd_get(fs, relay_req_nodeid(req), &node);
	if (size == 0) {
		/* All of them, whatever was asked for: what is hidden does not count. */
		names = relay_reply_buffer(req, &capacity);
		size = listxattr(fd_path(node.fd).text, names, capacity);
		if (size < 0)
			size = -errno;
		if (size > 0 && relay_req_header(req)->uid != 0)
			size = names_filter(names, size);
		if (size > 0 && in->size > 0 && size > (ssize_t)in->size)
			size = -ERANGE;
	}
	xattr_reply(req, in->size, size);
}
