/* What the works want to find in a directory, and the small files of untar's archives. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "load.h"

/* Small files are in directories of this many. */
#define SMALL_PER_DIR 100

static int make_file(const struct load *load, const char *name, uint64_t size)
{
	static char chunk[LOAD_CHUNK];
	char *path = load_path(load, "%s", name);
	int fd, error = 0;

	if (!path)
		return -ENOMEM;
	fd = open(path, O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0644);
	if (fd < 0)
		error = load_failed("create", path);
	memset(chunk, 'x', sizeof(chunk));
	for (uint64_t at = 0; error == 0 && at < size;) {
		size_t length = size - at < sizeof(chunk) ? (size_t)(size - at) : sizeof(chunk);
		ssize_t did = write(fd, chunk, length);

		if (did <= 0)
			error = load_failed("write", path);
		else
			at += (uint64_t)did;
	}
	if (fd >= 0)
		close(fd);
	free(path);
	return error;
}

static int make_dir(const struct load *load, const char *name)
{
	char *path = load_path(load, "%s", name);
	int error = 0;

	if (!path)
		return -ENOMEM;
	if (mkdir(path, 0755) < 0 && errno != EEXIST)
		error = load_failed("mkdir", path);
	free(path);
	return error;
}

#define NAMED(name, ...) (snprintf(name, sizeof(name), __VA_ARGS__), name)

/* Sizes from 0 to 8 KiB, as in a tree of sources. */
static int make_small(const struct load *load)
{
	char name[64];
	int error = make_dir(load, "small");

	for (unsigned int i = 0; error == 0 && i < load->small; i++) {
		if (i % SMALL_PER_DIR == 0)
			error = make_dir(load, NAMED(name, "small/d%u", i / SMALL_PER_DIR));
		if (error == 0)
			error = make_file(load, NAMED(name, "small/d%u/f%u", i / SMALL_PER_DIR, i), i * 997 % 8192);
	}
	return error;
}

int load_prepare(const struct load *load)
{
	char name[64];
	int error = make_dir(load, "many");

	for (unsigned int i = 0; error == 0 && i < LOAD_THREADS_MAX; i++) {
		error = make_file(load, NAMED(name, "f%u", i), 100);
		if (error == 0)
			error = make_dir(load, NAMED(name, "c%u", i));
	}
	for (unsigned int i = 0; error == 0 && i < load->threads; i++)
		error = make_file(load, NAMED(name, "data%u", i), load->file_size);
	for (unsigned int i = 0; error == 0 && i < LOAD_MANY; i++)
		error = make_file(load, NAMED(name, "many/entry-%05u", i), 0);
	return error ? error : make_small(load);
}
