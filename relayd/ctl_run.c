/*
 * A program that mounts its filesystem by itself, run with the words, the environment,
 * the directory and the standard streams of whoever asked for it.
 *
 * It runs as relayd's user, and only that user may ask.  What the memfd holds cannot
 * change any more, and is copied before it is looked at.
 */
#include "ctl_run.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ctl_cmds.h"
#include "ctl_conn.h"
#include "ctl_pending.h"
#include "daemon.h"

/* What execve(2) takes is not much more. */
#define STRINGS_MAX (4u << 20)

enum run_fd {
	RUN_FD_STRINGS,
	RUN_FD_DIRECTORY,
	RUN_FD_STREAMS, /* three of them */
};

/* The words and the environment; the strings are in `bytes`. */
struct run_strings {
	char *bytes;
	char **words;	    /* ends with NULL, as an argv */
	char **environment; /* likewise, behind it in the same array */
};

static void strings_free(struct run_strings *strings)
{
	free(strings->words);
	free(strings->bytes);
}

/* The whole of a sealed memfd. */
static int bytes_read(int fd, char **bytes, size_t *size)
{
	const int seals = F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW;
	int has = fcntl(fd, F_GET_SEALS);
	struct stat st;
	ssize_t n;

	if (has < 0 || (has & seals) != seals || fstat(fd, &st) < 0 || st.st_size <= 0)
		return -EINVAL;
	if ((uint64_t)st.st_size > STRINGS_MAX)
		return -E2BIG;
	*size = (size_t)st.st_size;
	*bytes = malloc(*size);
	if (!*bytes)
		return -ENOMEM;
	n = pread(fd, *bytes, *size, 0);
	if (n == (ssize_t)*size && (*bytes)[*size - 1] == '\0')
		return 0;
	free(*bytes);
	*bytes = NULL;
	return -EINVAL;
}

/* Puts a list that ends with an empty string into out.  Returns where the next one begins, or NULL. */
static char *list_take(char *at, const char *end, char ***out)
{
	while (at < end && *at) {
		*(*out)++ = at;
		at += strlen(at) + 1;
	}
	*(*out)++ = NULL;
	return at < end ? at + 1 : NULL;
}

static int strings_take(int fd, struct run_strings *strings)
{
	size_t size, count = 0;
	char *at, *end, **out;
	int err = bytes_read(fd, &strings->bytes, &size);

	if (err)
		return err;
	for (size_t i = 0; i < size; i++)
		count += strings->bytes[i] == '\0';
	/* As many strings at most, and the two ends. */
	strings->words = out = calloc(count + 2, sizeof(*out));
	if (!out)
		return -ENOMEM;
	end = strings->bytes + size;
	at = list_take(strings->bytes, end, &out);
	strings->environment = out;
	if (at)
		at = list_take(at, end, &out);
	return at == end && strings->words[0] ? 0 : -EINVAL;
}

/* Where the descriptor is, as a path. */
static int directory_of(int fd, char *path, size_t size)
{
	char link[32];
	struct stat st;
	ssize_t n;

	if (fstat(fd, &st) < 0 || !S_ISDIR(st.st_mode))
		return -ENOTDIR;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, size);
	if (n < 0 || (size_t)n >= size || path[0] != '/')
		return -ENOENT;
	path[n] = '\0';
	return 0;
}

static int run(struct ctl_request *request, const struct run_strings *strings, const char *directory)
{
	const struct relay_ctl_run *body = request->body;
	const struct ctl_conn *conn = request->conn;
	struct mount *mount;
	char name[32];
	int err;
	struct mount_config config = {
		.name = request->strings[0] ? request->strings[0] : name,
		.unnamed = !request->strings[0],
		.options = request->strings[1],
		.argv = strings->words,
		.environment = strings->environment,
		.streams = request->fds + RUN_FD_STREAMS,
		.directory = directory,
		.uid = conn->uid,
		.gid = conn->gid,
	};

	RELAY_MOUNT_CHOICES_UNPACK(&config.choices, body);
	if (!ctl_choices_check(request, &config))
		return -EINVAL;
	if (!ctl_ns_check(request))
		return -EXDEV;
	snprintf(name, sizeof(name), "run-%d", (int)conn->pid);
	err = daemon_mount_add(conn->ctl->daemon, &config, &mount, request->reason, sizeof(request->reason));
	if (err) {
		request->exit_status = daemon_exit_status(err);
		return err;
	}
	err = ctl_pending_mount(request, mount);
	if (err)
		mount_unmount(mount, true);
	return err;
}

int ctl_run(struct ctl_request *request)
{
	struct run_strings strings = {0};
	char directory[PATH_MAX];
	int err;

	if (request->nfds != RELAY_CTL_RUN_FDS) {
		snprintf(request->reason, sizeof(request->reason), "RUN needs %u descriptors", RELAY_CTL_RUN_FDS);
		return -EINVAL;
	}
	/* What it waits in is had before there is anything to wait for. */
	if (request->conn->pending >= CTL_PENDING_PER_CONN)
		return -ENOBUFS;
	err = strings_take(request->fds[RUN_FD_STRINGS], &strings);
	if (err == -EINVAL)
		snprintf(request->reason, sizeof(request->reason), "RUN with a malformed list of words");
	if (!err) {
		err = directory_of(request->fds[RUN_FD_DIRECTORY], directory, sizeof(directory));
		if (err)
			snprintf(request->reason, sizeof(request->reason), "RUN without a directory");
	}
	if (!err)
		err = run(request, &strings, directory);
	strings_free(&strings);
	return err;
}
