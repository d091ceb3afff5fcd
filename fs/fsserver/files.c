/*
 * The descriptors of handles.  A handle outlives the process, its descriptor does
 * not: the next incarnation opens it again, from the node, when it is first used.
 * One that could not be opened again (a file that its unprivileged owner may not
 * write, one that was made immutable) is left with relayd under its fh.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <unistd.h>

#include "fs.h"

/* The creating flags act once; offsets come with each WRITE. */
#define FLAGS_ONCE (O_CREAT | O_EXCL | O_TRUNC | O_NOFOLLOW | O_APPEND | O_NOCTTY | O_NONBLOCK)

static struct open_file {
	_Atomic int fd_plus_1; /* 0: not open in this process */
	_Atomic bool kept;     /* with relayd too */
	struct dir_reader *_Atomic reader;
} files[HANDLES_MAX];

uint32_t file_flags(uint32_t flags)
{
	/* O_TMPFILE's own bit only: the rest of it is O_DIRECTORY. */
	return flags & ~(uint32_t)(FLAGS_ONCE | (O_TMPFILE & ~O_DIRECTORY) | O_CLOEXEC);
}

static struct open_file *file_of(uint64_t fh)
{
	return &files[handle_index(fh) % HANDLES_MAX];
}

int file_peek(uint64_t fh)
{
	return atomic_load(&file_of(fh)->fd_plus_1) - 1;
}

void file_set(uint64_t fh, int fd)
{
	atomic_store(&file_of(fh)->fd_plus_1, fd + 1);
}

static int file_reopen(struct fs *fs, uint64_t fh)
{
	struct open_file *file = file_of(fh);
	const struct handle *handle;
	uint64_t nodeid = 0;
	NODE_FD node = {fs, NULL, -1};
	int fd, flags = 0, none = 0, err;

	relay_state_lock(fs->session);
	handle = handle_get(&fs->tables, fh);
	if (handle) {
		nodeid = handle->nodeid;
		flags = (int)handle->flags;
	}
	relay_state_unlock(fs->session);
	if (nodeid == 0)
		return -EBADF;
	err = node_fd_get(fs, nodeid, &node);
	if (err)
		return err;
	fd = node_fd_open(&node, flags);
	if (fd < 0)
		return fd;
	if (!atomic_compare_exchange_strong(&file->fd_plus_1, &none, fd + 1)) {
		close(fd); /* another thread was faster */
		fd = none - 1;
	}
	return fd;
}

int file_get(struct fs *fs, uint64_t fh)
{
	int fd = file_peek(fh);

	return fd >= 0 ? fd : file_reopen(fs, fh);
}

int file_take(struct fs *fs, uint64_t fh)
{
	struct open_file *file = file_of(fh);

	if (atomic_exchange(&file->kept, false))
		relay_drop_fd(fs->session, KEY_HANDLE | fh);
	dir_reader_free(atomic_exchange(&file->reader, NULL));
	return atomic_exchange(&file->fd_plus_1, 0) - 1;
}

int file_keep(struct fs *fs, uint64_t fh)
{
	struct open_file *file = file_of(fh);
	int fd = file_get(fs, fh), err;

	if (fd < 0 || atomic_load(&file->kept))
		return fd < 0 ? fd : 0;
	err = relay_keep_fd(fs->session, KEY_HANDLE | fh, fd);
	if (err == 0)
		atomic_store(&file->kept, true);
	return err;
}

void file_keep_all(struct fs *fs, uint64_t nodeid)
{
	const struct tables *tables = &fs->tables;
	uint64_t index, bump, live, fh;

	relay_state_lock(fs->session);
	bump = tables->header->handle_bump;
	relay_state_unlock(fs->session);
	for (index = 1; index < bump; index++) {
		relay_state_lock(fs->session);
		live = tables->handles[index].live;
		fh = live && tables->handles[index].nodeid == nodeid ? live : 0;
		relay_state_unlock(fs->session);
		if (fh && file_keep(fs, fh) != 0)
			fs_warn("an open file may not be opened again after a restart");
	}
}

void file_restore(struct fs *fs, uint64_t fh, int fd)
{
	if (!handle_get(&fs->tables, fh)) {
		close(fd);
		relay_drop_fd(fs->session, KEY_HANDLE | fh);
		return;
	}
	file_set(fh, fd);
	atomic_store(&file_of(fh)->kept, true);
}

bool file_needs_keeping(const struct fs *fs, const struct statx *stx, uint32_t flags)
{
	uint32_t access = flags & O_ACCMODE;
	mode_t need = access == O_RDONLY ? S_IRUSR : access == O_WRONLY ? S_IWUSR : S_IRUSR | S_IWUSR;

	return !fs->privileged && (stx->stx_mode & need) != need;
}

struct dir_reader *file_reader(uint64_t fh)
{
	struct open_file *file = file_of(fh);
	struct dir_reader *reader = atomic_load(&file->reader), *fresh;

	if (reader)
		return reader;
	fresh = dir_reader_new();
	if (fresh && !atomic_compare_exchange_strong(&file->reader, &reader, fresh)) {
		dir_reader_free(fresh);
		return reader;
	}
	return fresh;
}
