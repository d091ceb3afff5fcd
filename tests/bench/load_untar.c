/*
 * The untar of small files: each thread is one tar(1), and the files are divided among
 * them.  --archives has THREADS-NUMBER.tar for each; --files in all of those of
 * one number of threads.  What was unpacked is removed through the mount again, after
 * the clock was read.
 */
#include <errno.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "load.h"

extern char **environ;

static int program(char *const argv[])
{
	pid_t pid;
	int status, error = posix_spawnp(&pid, argv[0], NULL, NULL, argv, environ);

	if (error) {
		errno = error;
		return load_failed("cannot be run", argv[0]);
	}
	while (waitpid(pid, &status, 0) < 0) {
		if (errno != EINTR)
			return load_failed("wait", argv[0]);
	}
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	errno = EIO;
	return load_failed("failed", argv[0]);
}

static int untar_begin(struct worker *worker)
{
	if (!worker->load->archives) {
		errno = EINVAL;
		return load_failed("--archives is not given", "untar");
	}
	worker->path = load_path(worker->load, "untar-%d-%u", getpid(), worker->number);
	if (!worker->path)
		return -ENOMEM;
	return mkdir(worker->path, 0755) < 0 ? load_failed("mkdir", worker->path) : 0;
}

static int untar_step(struct worker *worker)
{
	const struct load *load = worker->load;
	char *archive;
	int error;

	if (asprintf(&archive, "%s/%u-%u.tar", load->archives, load->threads, worker->number) < 0)
		return -ENOMEM;
	error = program((char *[]){"tar", "-C", worker->path, "-xf", archive, NULL});
	free(archive);
	if (error)
		return error;
	/* The first ones have one more where it does not divide. */
	return (int)(load->small / load->threads + (worker->number < load->small % load->threads));
}

static void untar_end(struct worker *worker)
{
	if (worker->path)
		program((char *[]){"rm", "-rf", worker->path, NULL});
	free(worker->path);
}

const struct work load_works_untar[] = {
	{.name = "untar", .begin = untar_begin, .step = untar_step, .end = untar_end, .whole = true},
	{0},
};
