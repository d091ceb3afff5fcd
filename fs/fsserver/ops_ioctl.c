/*
 * IOCTL: the flags of an inode (chattr(1), project quotas).  The rest is answered
 * ENOTTY, as by a store that does not know them.
 */
#include <errno.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>

#include "fs.h"

/* The kernel's size for FS_IOC_GETFLAGS is that of an int, whatever the number says. */
union argument {
	int flags;
	struct fsxattr fsxattr;
};

static size_t argument_size(uint32_t cmd)
{
	switch (cmd) {
	case FS_IOC_GETFLAGS:
	case FS_IOC_SETFLAGS:
		return sizeof(int);
	case FS_IOC_FSGETXATTR:
	case FS_IOC_FSSETXATTR:
		return sizeof(struct fsxattr);
	default:
		return 0;
	}
}

static bool makes_immutable(uint32_t cmd, const union argument *arg)
{
	if (cmd == FS_IOC_SETFLAGS)
		return (arg->flags & (FS_IMMUTABLE_FL | FS_APPEND_FL)) != 0;
	return cmd == FS_IOC_FSSETXATTR && (arg->fsxattr.fsx_xflags & (FS_XFLAG_IMMUTABLE | FS_XFLAG_APPEND)) != 0;
}

void op_ioctl(struct relay_req *req, const struct fuse_ioctl_in *in, const void *data, size_t size)
{
	size_t length = argument_size(in->cmd);
	bool sets = in->cmd == FS_IOC_SETFLAGS || in->cmd == FS_IOC_FSSETXATTR;
	struct fs *fs = fs_of(req);
	struct {
		struct fuse_ioctl_out out;
		union argument arg;
	} reply;
	int fd;

	if (length == 0 || (sets ? size : in->out_size) < length) {
		relay_reply_error(req, ENOTTY);
		return;
	}
	fd = file_get(fs, in->fh);
	if (fd < 0) {
		reply_result(req, fd);
		return;
	}
	memset(&reply, 0, sizeof(reply));
	if (sets)
		memcpy(&reply.arg, data, length);
	/* Its files that are open for writing could not be opened so again. */
	if (makes_immutable(in->cmd, &reply.arg))
		file_keep_all(fs, relay_req_nodeid(req));
	if (ioctl(fd, in->cmd, &reply.arg) < 0)
		relay_reply_error(req, errno);
	else
		relay_reply(req, &reply, sizeof(reply.out) + (in->out_size < length ? in->out_size : length));
}
