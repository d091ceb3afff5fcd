/*
 * Works on names and attributes.  Each thread has a file and a directory of its own, so
 * that no lock of the VFS is what is measured; only listings share what they list.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "load.h"

#define LIST_BUFFER (32 << 10)

static void meta_end(struct worker *worker)
{
	if (worker->fd >= 0)
		close(worker->fd);
	free(worker->buffer);
	free(worker->path);
}

/* ---- attributes ---------------------------------------------------------------- */

static int stat_begin(struct worker *worker)
{
	worker->path = load_path(worker->load, "f%u", worker->number);
	return worker->path ? 0 : -ENOMEM;
}

static int stat_step(struct worker *worker)
{
	struct stat st;

	return stat(worker->path, &st) < 0 ? load_failed("stat", worker->path) : 1;
}

static int fstat_begin(struct worker *worker)
{
	int error = stat_begin(worker);

	if (error)
		return error;
	worker->fd = open(worker->path, O_RDONLY | O_CLOEXEC);
	return worker->fd < 0 ? load_failed("open", worker->path) : 0;
}

static int fstat_step(struct worker *worker)
{
	struct stat st;

	return fstat(worker->fd, &st) < 0 ? load_failed("fstat", worker->path) : 1;
}

/* ---- names --------------------------------------------------------------------- */

static int create_begin(struct worker *worker)
{
	worker->path = load_path(worker->load, "c%u", worker->number);
	if (!worker->path)
		return -ENOMEM;
	worker->fd = open(worker->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return worker->fd < 0 ? load_failed("open", worker->path) : 0;
}

/* One operation is a whole life: created, closed, looked at, removed. */
static int create_step(struct worker *worker)
{
	struct stat st;
	char name[32];
	int fd;

	snprintf(name, sizeof(name), "new-%llu", (unsigned long long)worker->turns++);
	fd = openat(worker->fd, name, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);
	if (fd < 0)
		return load_failed("create", name);
	if (close(fd) < 0)
		return load_failed("close", name);
	if (fstatat(worker->fd, name, &st, 0) < 0)
		return load_failed("stat", name);
	if (unlinkat(worker->fd, name, 0) < 0)
		return load_failed("unlink", name);
	return 1;
}

/* ---- listings ------------------------------------------------------------------ */

static int readdir_begin(struct worker *worker)
{
	worker->path = load_path(worker->load, "many");
	worker->buffer = malloc(LIST_BUFFER);
	if (!worker->path || !worker->buffer)
		return -ENOMEM;
	return 0;
}

/*
 * One call's worth of entries.  Operations are entries, so that a listing which is
 * under way when the clock is read counts as far as it has come.
 */
static int readdir_step(struct worker *worker)
{
	const char *buffer = worker->buffer;
	int entries = 0;
	long size;

	if (worker->fd < 0) {
		worker->fd = open(worker->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (worker->fd < 0)
			return load_failed("open", worker->path);
		worker->turns = 0;
	}
	size = syscall(SYS_getdents64, worker->fd, worker->buffer, LIST_BUFFER);
	if (size < 0)
		return load_failed("getdents", worker->path);
	for (long at = 0; at < size; entries++) {
		uint16_t length;

		memcpy(&length, buffer + at + 16, sizeof(length)); /* d_reclen, behind d_ino and d_off */
		at += length;
	}
	worker->turns += (uint64_t)entries;
	if (size > 0)
		return entries;
	close(worker->fd);
	worker->fd = -1;
	/* Not all filesystems list . and .. */
	if (worker->turns == LOAD_MANY || worker->turns == LOAD_MANY + 2)
		return 0;
	fprintf(stderr, "load: %s: %llu entries listed of %d\n", worker->path, (unsigned long long)worker->turns,
		LOAD_MANY);
	return -EIO;
}

const struct work load_works_meta[] = {
	{.name = "stat", .begin = stat_begin, .step = stat_step, .end = meta_end},
	{.name = "fstat", .begin = fstat_begin, .step = fstat_step, .end = meta_end},
	{.name = "create", .begin = create_begin, .step = create_step, .end = meta_end},
	{.name = "readdir", .begin = readdir_begin, .step = readdir_step, .end = meta_end},
	{0},
};
