/*
 * Where a scenario runs, and what is compared afterwards: what the application
 * saw (results, errnos, data), what is in the store (the tree with modes, owners,
 * link counts, contents and extended attributes), and how many times it happened
 * (the store's directory events in their order).
 *
 * The application is a child of its own for each run, so that one that hangs
 * can be ended and no descriptor or lock of it stays.
 */
#include "matrix.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../lib/check.h"
#include "../lib/tree.h"

#define RUN_MS 20000

void place_arm(struct place *place)
{
	size_t length = place->plan ? strlen(place->plan) : 0;

	if (place->plan_fd < 0)
		return;
	/* In place: backends hold the file open, and count down in it. */
	if (ftruncate(place->plan_fd, 0) < 0 || pwrite(place->plan_fd, place->plan, length, 0) != (ssize_t)length)
		check_abort("the crash file: %s", strerror(errno));
}

bool place_fired(const struct place *place)
{
	char plan[512];
	ssize_t size;

	if (place->plan_fd < 0)
		return true;
	size = pread(place->plan_fd, plan, sizeof(plan) - 1, 0);
	if (size < 0)
		return false;
	plan[size] = '\0';
	for (char *line = strtok(plan, "\n"); line; line = strtok(NULL, "\n")) {
		const char *count = strrchr(line, ' ');

		if (count && strtoul(count, NULL, 10) != 0)
			return false;
	}
	return true;
}

/* ---- how many times ----------------------------------------------------- */

#define EVENTS (IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO)

static void watch(struct place *place)
{
	char path[512];

	place->inotify = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (place->inotify < 0 || inotify_add_watch(place->inotify, place->direct, EVENTS) < 0)
		check_abort("inotify: %s", strerror(errno));
	/* The subdirectories that scenarios have. */
	for (const char *const *name = (const char *const[]){"d", "e", NULL}; *name; name++) {
		snprintf(path, sizeof(path), "%s/%s", place->direct, *name);
		inotify_add_watch(place->inotify, path, EVENTS);
	}
}

static void events_digest(struct place *place)
{
	char buffer[16384] __attribute__((aligned(__alignof__(struct inotify_event))));
	ssize_t size;

	while ((size = read(place->inotify, buffer, sizeof(buffer))) > 0)
		for (char *at = buffer; at < buffer + size;) {
			const struct inotify_event *event = (const void *)at;

			at += sizeof(*event) + event->len;
			if (event->mask & EVENTS)
				text_add(&place->log, "event in %d: %s %s\n", event->wd,
					 event->mask & IN_CREATE     ? "create"
					 : event->mask & IN_DELETE   ? "delete"
					 : event->mask & IN_MOVED_TO ? "moved to"
								     : "moved from",
					 event->len ? event->name : "");
		}
}

/* ---- a run -------------------------------------------------------------- */

void place_begin(struct place *place, const struct matrix_scenario *scenario)
{
	if (mkdir(place->direct, 0755) < 0 || chdir(place->direct) < 0)
		check_abort("%s: %s", place->direct, strerror(errno));
	if (scenario->setup)
		scenario->setup();
	if (chdir("/") < 0)
		check_abort("/: %s", strerror(errno));
	watch(place);
}

static void run_child(struct place *place, const struct matrix_scenario *scenario, int fd)
{
	size_t done = 0;
	ssize_t written;

	if (chdir(place->path) < 0)
		_exit(121);
	scenario->run(place);
	while (done < place->log.size && (written = write(fd, place->log.bytes + done, place->log.size - done)) > 0)
		done += (size_t)written;
	_exit(done == place->log.size ? 0 : 122);
}

bool place_run(struct place *place, const struct matrix_scenario *scenario)
{
	uint64_t end = check_now_ms() + RUN_MS;
	char buffer[65536];
	ssize_t got = 0;
	bool hung = false;
	int status;
	int fds[2];
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) < 0)
		check_abort("pipe2: %s", strerror(errno));
	fflush(stdout);
	pid = fork();
	if (pid < 0)
		check_abort("fork: %s", strerror(errno));
	if (pid == 0)
		run_child(place, scenario, fds[1]);
	close(fds[1]);
	for (;;) {
		struct pollfd poll_fd = {.fd = fds[0], .events = POLLIN};
		uint64_t now = check_now_ms();

		if (now >= end || poll(&poll_fd, 1, (int)(end - now)) == 0) {
			hung = true;
			text_add(&place->log, "does not end\n");
			kill(pid, SIGKILL);
			break;
		}
		got = read(fds[0], buffer, sizeof(buffer));
		if (got <= 0)
			break;
		text_add(&place->log, "%.*s", (int)got, buffer);
	}
	close(fds[0]);
	waitpid(pid, &status, 0);
	if (status)
		text_add(&place->log, "wait status %#x\n", (unsigned)status);
	return !hung;
}

void place_end(struct place *place)
{
	events_digest(place);
	tree_add(&place->log, place->direct);
}

void place_free(struct place *place)
{
	close(place->inotify);
	text_free(&place->log);
	relayd_remove_tree(place->direct);
}

/* ---- for scenarios ------------------------------------------------------ */

static void show_stat(struct place *place, const char *label, const struct stat *st)
{
	text_add(&place->log, "%s: %06o %u:%u links %u rdev %u:%u", label, st->st_mode, st->st_uid, st->st_gid,
		 (unsigned)st->st_nlink, major(st->st_rdev), minor(st->st_rdev));
	if (!S_ISDIR(st->st_mode))
		text_add(&place->log, " size %" PRId64, (int64_t)st->st_size);
	text_add(&place->log, "\n");
}

void place_show(struct place *place, const char *name)
{
	struct stat st;

	if (lstat(name, &st) < 0)
		text_add(&place->log, "%s: %s\n", name, text_errno(errno));
	else
		show_stat(place, name, &st);
}

void place_show_fd(struct place *place, const char *label, int fd)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		text_add(&place->log, "%s: %s\n", label, text_errno(errno));
	else
		show_stat(place, label, &st);
}

void place_show_content(struct place *place, int fd)
{
	lseek(fd, 0, SEEK_SET);
	tree_add_content(&place->log, fd);
	text_add(&place->log, "\n");
}

void place_put(const char *name, const char *content)
{
	int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	if (fd < 0 || write(fd, content, strlen(content)) != (ssize_t)strlen(content))
		check_abort("%s: %s", name, strerror(errno));
	close(fd);
}
