/*
 * The liar's open files.  A handle is the place in a table that begins at 0 in each
 * life: those of two lives are equal, and say nothing.
 */
#include "liar.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define FILES 4096u

/* The descriptor of each handle, plus 1; 0: free. */
static int files[FILES];

static long file_new(int fd, struct fuse_open_out *out)
{
	for (uint64_t fh = 0; fh < FILES; fh++)
		if (!files[fh]) {
			files[fh] = fd + 1;
			*out = (struct fuse_open_out){.fh = fh};
			return sizeof(*out);
		}
	close(fd);
	return -ENFILE;
}

static int file_fd(uint64_t fh)
{
	return fh < FILES && files[fh] ? files[fh] - 1 : -EBADF;
}

long liar_open(const struct liar_call *call)
{
	const struct fuse_open_in *in = (const void *)call->in;
	int fd = liar_node_fd(call->head->nodeid);
	char path[64];

	if (fd < 0)
		return fd;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	fd = open(path, (int)(in->flags & ~(uint32_t)(O_NOFOLLOW | O_CREAT | O_EXCL | O_DIRECT)) | O_CLOEXEC);
	return fd < 0 ? -errno : file_new(fd, (void *)call->out);
}

long liar_create(const struct liar_call *call)
{
	const struct fuse_create_in *in = (const void *)call->in;
	const char *name = liar_name(call, sizeof(*in));
	struct fuse_entry_out *entry = (void *)call->out;
	int dir = liar_node_fd(call->head->nodeid);
	long result;
	int fd;

	if (!name || dir < 0)
		return name ? dir : -EPROTO;
	fd = openat(dir, name, (int)(in->flags & ~(uint32_t)O_DIRECT) | O_CREAT | O_NOFOLLOW | O_CLOEXEC, in->mode & 07777);
	if (fd < 0)
		return -errno;
	/* Of one that was there nothing changes. */
	if ((in->flags & O_EXCL) && fchown(fd, call->head->uid, call->head->gid) < 0) {
		close(fd);
		return -EIO;
	}
	result = liar_entry(call->head->nodeid, name, entry);
	if (result) {
		close(fd);
		return result;
	}
	result = file_new(fd, (void *)(entry + 1));
	if (result < 0) {
		liar_forget(entry->nodeid, 1);
		return result;
	}
	return (long)sizeof(*entry) + result;
}

long liar_read(const struct liar_call *call)
{
	const struct fuse_read_in *in = (const void *)call->in;
	int fd = file_fd(in->fh);
	size_t size = in->size < call->out_room ? in->size : call->out_room;
	ssize_t got;

	if (fd < 0)
		return fd;
	got = pread(fd, call->out, size, (off_t)in->offset);
	return got < 0 ? -errno : got;
}

long liar_write(const struct liar_call *call)
{
	const struct fuse_write_in *in = (const void *)call->in;
	struct fuse_write_out *out = (void *)call->out;
	int fd = file_fd(in->fh);
	ssize_t done;

	if (fd < 0)
		return fd;
	if (call->in_size < sizeof(*in) + in->size)
		return -EPROTO;
	done = pwrite(fd, in + 1, in->size, (off_t)in->offset);
	if (done < 0)
		return -errno;
	*out = (struct fuse_write_out){.size = (uint32_t)done};
	return sizeof(*out);
}

static uint64_t file_ino(int fd)
{
	struct stat st = {0};

	fstat(fd, &st);
	return st.st_ino;
}

long liar_release(const struct liar_call *call)
{
	const struct fuse_release_in *in = (const void *)call->in;
	int fd = file_fd(in->fh);

	if (fd < 0)
		return fd;
	if (in->release_flags & FUSE_RELEASE_FLOCK_UNLOCK)
		liar_unlock_owner(file_ino(fd), in->lock_owner, true);
	files[in->fh] = 0;
	close(fd);
	return 0;
}

long liar_flush(const struct liar_call *call)
{
	const struct fuse_flush_in *in = (const void *)call->in;
	int fd = file_fd(in->fh);

	if (fd < 0)
		return fd;
	liar_unlock_owner(file_ino(fd), in->lock_owner, false);
	return 0;
}

long liar_fsync(const struct liar_call *call)
{
	const struct fuse_fsync_in *in = (const void *)call->in;
	int fd = file_fd(in->fh);

	if (fd < 0)
		return fd;
	return fsync(fd) < 0 ? -errno : 0;
}
