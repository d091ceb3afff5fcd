/* See mount.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "mount.h"
#include "tinyfs.h"

#define ENABLE_URING "/sys/module/fuse/parameters/enable_uring"

const char *mount_lacks(void)
{
	char value = 'N';
	int fd;

	if (geteuid() != 0)
		return "root";
	fd = open(ENABLE_URING, O_RDONLY);
	if (fd < 0)
		return "FUSE over io_uring in the kernel (6.14 on, CONFIG_FUSE_IO_URING)";
	if (read(fd, &value, 1) != 1)
		value = 'N';
	close(fd);
	return value == 'Y' ? NULL : ENABLE_URING " = Y";
}

static int reply(int fd, uint64_t unique, const void *body, size_t len)
{
	struct fuse_out_header out = {.len = sizeof(out) + len, .unique = unique};
	struct iovec iov[2] = {{&out, sizeof(out)}, {(void *)body, len}};

	return writev(fd, iov, 2) < 0 ? -errno : 0;
}

static int answer_init(int fd, bool uring)
{
	static char buf[FUSE_MIN_READ_BUFFER + 4096];
	const struct fuse_in_header *in = (const void *)buf;
	const struct fuse_init_in *init = (const void *)(buf + sizeof(*in));
	struct fuse_init_out out = {
		.major = FUSE_KERNEL_VERSION,
		.minor = RELAY_FUSE_MINOR,
		.flags = FUSE_BIG_WRITES | FUSE_MAX_PAGES | FUSE_PARALLEL_DIROPS,
		.max_background = 64,
		.congestion_threshold = 48,
		.max_write = TINYFS_MAX_IO,
		.max_pages = TINYFS_MAX_IO / 4096,
	};
	ssize_t n = read(fd, buf, sizeof(buf));

	if (n < 0)
		return -errno;
	if ((size_t)n < sizeof(*in) + sizeof(*init) || in->opcode != FUSE_INIT)
		return -EPROTO;
	if (uring && !(init->flags2 & (uint32_t)(FUSE_OVER_IO_URING >> 32)))
		return -EOPNOTSUPP;
	if (uring) {
		out.flags |= FUSE_INIT_EXT;
		out.flags2 = (uint32_t)(FUSE_OVER_IO_URING >> 32);
	}
	return reply(fd, in->unique, &out, sizeof(out));
}

int mount_open(struct mount_point *m, bool uring)
{
	const char *tmp = getenv("TMPDIR");
	char data[128];
	int err;

	snprintf(m->dir, sizeof(m->dir), "%.40s/uring-XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(m->dir))
		return -errno;
	m->fd = open("/dev/fuse", O_RDWR);
	if (m->fd < 0) {
		err = -errno;
		goto err_dir;
	}
	snprintf(data, sizeof(data), "fd=%d,rootmode=%o,user_id=0,group_id=0", m->fd, S_IFDIR);
	if (mount("uring-research", m->dir, "fuse", MS_NOSUID | MS_NODEV, data) < 0) {
		err = -errno;
		goto err_fd;
	}
	err = answer_init(m->fd, uring);
	if (!err)
		return 0;
	umount2(m->dir, MNT_FORCE | MNT_DETACH);
err_fd:
	close(m->fd);
err_dir:
	rmdir(m->dir);
	return err;
}

void mount_close(struct mount_point *m)
{
	umount2(m->dir, MNT_FORCE);
	umount2(m->dir, MNT_FORCE | MNT_DETACH);
	close(m->fd);
	rmdir(m->dir);
}

int mount_resend(const struct mount_point *m)
{
	struct fuse_out_header out = {.len = sizeof(out), .error = 7 /* FUSE_NOTIFY_RESEND */};

	return write(m->fd, &out, sizeof(out)) < 0 ? -errno : 0;
}
