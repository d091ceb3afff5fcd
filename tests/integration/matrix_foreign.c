/*
 * The kill matrix for filesystems that know nothing of relayd: libfuse's passthrough
 * and passthrough_ll, which help with nothing.  A preload library kills them
 * (tests/backends/crash_preload.c) at the points that can be seen from outside: a
 * request received, about to be answered, answered.  The scenarios are those of the
 * other matrix.
 *
 * What the application should see is what it sees in the same filesystem mounted
 * without relayd.  Where that is not what a plain directory does the line says so.
 *
 * Cells that cannot be exact are in `inexact`, with the reason, and may differ in that
 * way only: they have the mark 'x'.  A scenario that no cell of reaches its point has
 * to be in `unsent`.
 *
 *	matrix_foreign [--only TEXT] [--fast] [BACKEND...]
 *
 * --fast leaves the columns with two deaths out.
 */
#include "matrix.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../lib/check.h"
#include "../lib/peers.h"

static const struct matrix_column columns[] = {
	{"received", {"received"}},
	{"applied", {"applied"}},
	{"sent", {"sent"}},
	{"received twice", {"received", "received"}},
	{"applied twice", {"applied", "applied"}},
	{"sent twice", {"sent", "sent"}},
	{"received, applied", {"received", "applied"}},
	{"applied, received", {"applied", "received"}},
	{"applied, sent", {"applied", "sent"}},
	{"sent, received", {"sent", "received"}},
};
static unsigned column_count = sizeof(columns) / sizeof(columns[0]);

struct backend {
	const char *name;
	const char *options; /* with the store's path for %s */
};

static const struct backend backends[] = {
	{"passthrough_ll", "-s -o source=%s,xattr,flock,cache=auto,timeout=0"},
	{"passthrough", "-s -o modules=subdir,subdir=%s"},
};

struct exception {
	const char *backend; /* NULL: all */
	const char *opcode;
	const char *what; /* NULL: all of the opcode's */
	const char *reason;
};

static const char no_name[] = "an open file that has lost its name cannot be opened again";

/* The application gets ESTALE where it would have got the file. */
static const struct exception inexact[] = {
	{NULL, "READ", "unlinked", no_name},
	{NULL, "WRITE", "unlinked", no_name},
	{NULL, "SETATTR", "unlinked", no_name},
	{NULL, "UNLINK", "open file", no_name},
	{NULL, "RENAME", "over an open file", no_name},
	{NULL},
};

/* Requests that this filesystem is never sent, or once only until it says ENOSYS. */
static const struct exception unsent[] = {
	{NULL, "STATX", NULL, "has no such handler"},
	{NULL, "TMPFILE", NULL, "has no such handler"},
	{NULL, "LINK", "of O_TMPFILE", "has no TMPFILE"},
	{NULL, "COPY_FILE_RANGE_64", NULL, "has COPY_FILE_RANGE, to which the kernel falls back"},
	{NULL, "IOCTL", NULL, "has no such handler"},
	{NULL, "GETLK", NULL, "has no such handler: the kernel keeps POSIX locks itself"},
	{NULL, "SETLK", "", "has no such handler: the kernel keeps POSIX locks itself"},
	{NULL, "SETLK", "F_UNLCK", "has no such handler: the kernel keeps POSIX locks itself"},
	{NULL, "SETLK", "EAGAIN", "has no such handler: the kernel keeps POSIX locks itself"},
	{NULL, "SETLKW", "", "has no such handler: the kernel keeps POSIX locks itself"},
	{NULL, "SETLKW", "that waits", "has no such handler: the kernel keeps POSIX locks itself"},
	{NULL},
};

static struct relayd relayd;
static char reference_dir[128]; /* the store of the mount without relayd, which is beside it */
static char reference_mnt[128];
static char plain_dir[128];
static int plan_fd;
static unsigned cell_number;
static unsigned inexact_cells;

static const struct exception *exception_find(const struct exception *list, const struct backend *backend,
					      const struct matrix_scenario *scenario)
{
	for (; list->opcode; list++)
		if ((!list->backend || strcmp(list->backend, backend->name) == 0) &&
		    strcmp(list->opcode, scenario->opcode) == 0 &&
		    (!list->what || strcmp(list->what, scenario->what) == 0))
			return list;
	return NULL;
}

/* ---- what may differ ------------------------------------------------------ */

static size_t line_length(const char *line)
{
	return strcspn(line, "\n");
}

/* libfuse keeps an unlinked open file by this name, and nobody removes it after a death. */
static bool is_hidden(const char *line)
{
	return memmem(line, line_length(line), ".fuse_hidden", 12) != NULL;
}

static const char *line_next(const char *line)
{
	line += line_length(line);
	return *line ? line + 1 : line;
}

static const char *line_skip(const char *line)
{
	while (*line && (is_hidden(line) || strncmp(line, "event in ", 9) == 0))
		line = line_next(line);
	return line;
}

/*
 * Whether two transcripts differ in lines only that say ESTALE in the second, other
 * than lines of hidden files and of events, and in one at least.
 */
static bool is_stale_only(const char *wanted, const char *got)
{
	unsigned stale = 0;

	for (;;) {
		size_t size;

		wanted = line_skip(wanted);
		got = line_skip(got);
		if (!*wanted || !*got)
			return !*wanted && !*got && stale > 0;
		size = line_length(got);
		if (size != line_length(wanted) || memcmp(wanted, got, size) != 0) {
			if (!memmem(got, size, "ESTALE", 6))
				return false;
			stale++;
		}
		wanted = line_next(wanted);
		got = line_next(got);
	}
}

/* ---- cells ---------------------------------------------------------------- */

/* Nothing of the scenario before is on its way any more. */
static bool is_quiet(void *arg)
{
	struct relayd_status status;
	struct statvfs fs;

	(void)arg;
	return statvfs(relayd.mnt, &fs) == 0 && relayd_status(&relayd, &status) && status.inflight == 0 &&
	       strcmp(status.state, "SERVING") == 0;
}

static bool is_fired(void *arg)
{
	return place_fired(arg);
}

/* The deaths that have not come; there will be no more. */
static unsigned plan_end(void)
{
	char plan[512];
	unsigned left = 0;
	ssize_t size = pread(plan_fd, plan, sizeof(plan) - 1, 0);

	plan[size > 0 ? size : 0] = '\0';
	for (char *line = strtok(plan, "\n"); line; line = strtok(NULL, "\n"))
		left += (unsigned)strtoul(strrchr(line, ' ') + 1, NULL, 10);
	if (ftruncate(plan_fd, 0) < 0)
		check_abort("the crash file: %s", strerror(errno));
	return left;
}

static void serve_again(const struct place *place, const struct matrix_column *column, uint32_t incarnation)
{
	struct relayd_status after;

	if (relayd_wait(&relayd, incarnation, 20000) && check_until(is_quiet, NULL, 10000))
		return;
	relayd_log_show(&relayd);
	relayd_status(&relayd, &after);
	check_abort("the mount does not serve again after %s, %s: %s, incarnation %u of %u, %u requests in flight; the "
		    "application saw\n%s",
		    matrix_line_name(), column->label, after.state, after.incarnation, incarnation, after.inflight,
		    text_get(&place->log));
}

/* Returns whether the point was reached. */
static bool cell_run(const struct matrix_scenario *scenario, const struct matrix_column *column,
		     const struct text *wanted, const struct exception *known)
{
	struct place place = {.relayd = &relayd, .plan_fd = plan_fd};
	struct relayd_status before;
	struct relayd_status after = {0};
	char plan[128];
	char where[1024];
	unsigned planned = matrix_plan(plan, sizeof(plan), scenario->opcode, column);
	unsigned deaths;
	bool reached;
	bool same;

	snprintf(place.direct, sizeof(place.direct), "%s/%u", relayd.store, ++cell_number);
	snprintf(place.path, sizeof(place.path), "%s/%u", relayd.mnt, cell_number);
	place.plan = plan;
	place_begin(&place, scenario);
	if (!check_until(is_quiet, NULL, 10000))
		check_abort("the mount does not come to rest before %s, %s", matrix_line_name(), column->label);
	relayd_status(&relayd, &before);
	place_run(&place, scenario);
	/* A RELEASE is still on its way when the application has gone. */
	check_until(is_fired, &place, 100);
	serve_again(&place, column, before.incarnation);
	deaths = planned - plan_end();
	reached = deaths > 0;
	serve_again(&place, column, before.incarnation + deaths + scenario->kills);
	relayd_status(&relayd, &after);
	place_end(&place);
	same = text_same(wanted, &place.log, where, sizeof(where));
	if (after.incarnation != before.incarnation + deaths + scenario->kills) {
		snprintf(where, sizeof(where), "%u deaths instead of %u", after.incarnation - before.incarnation,
			 deaths + scenario->kills);
		matrix_cell(true, false, where);
	} else if (!same && known && reached && is_stale_only(text_get(wanted), text_get(&place.log))) {
		inexact_cells++;
		matrix_cell_marked(true, true, 'x', "");
	} else {
		matrix_cell(reached, same, where);
	}
	place_free(&place);
	return reached;
}

/* The transcript of a run without a death, at `path`, which is `direct` in the store. */
static void reference_run(struct place *place, const struct matrix_scenario *scenario, const char *path,
			  const char *direct)
{
	*place = (struct place){.plan_fd = -1};
	snprintf(place->direct, sizeof(place->direct), "%s/%u", direct, ++cell_number);
	snprintf(place->path, sizeof(place->path), "%s/%u", path, cell_number);
	place_begin(place, scenario);
	place_run(place, scenario);
	place_end(place);
}

static void scenario_run(const struct backend *backend, const struct matrix_scenario *scenario)
{
	const struct exception *known = exception_find(inexact, backend, scenario);
	const struct exception *silent = exception_find(unsent, backend, scenario);
	unsigned inexact_before = inexact_cells;
	struct place reference;
	struct place plain;
	char where[1024];
	char note[1200] = "";
	bool reached = false;

	reference_run(&plain, scenario, plain_dir, plain_dir);
	reference_run(&reference, scenario, reference_mnt, reference_dir);
	if (!text_same(&plain.log, &reference.log, where, sizeof(where)))
		snprintf(note, sizeof(note), "by itself unlike a directory: %.300s", where);
	matrix_line_begin(scenario->opcode, scenario->what);
	for (unsigned i = 0; i < column_count; i++)
		reached |= cell_run(scenario, &columns[i], &reference.log, known);
	if (silent)
		snprintf(note, sizeof(note), "not sent: %s %s", backend->name, silent->reason);
	else if (inexact_cells > inexact_before)
		snprintf(note, sizeof(note), "x: %s", known->reason);
	matrix_line_end(note);
	if (reached == !!silent)
		check(false, "%s: %s", matrix_line_name(), reached ? "was not to be sent" : "has no cell that was reached");
	place_free(&plain);
	place_free(&reference);
}

static void list_run(const struct backend *backend, const struct matrix_scenario *list, const char *only)
{
	for (const struct matrix_scenario *scenario = list; scenario->opcode; scenario++) {
		char name[128];

		snprintf(name, sizeof(name), "%s %s", scenario->opcode, scenario->what);
		/* The end of COPY_FILE_RANGE with a kernel does not hold for those who do not know its successor. */
		if ((!only || strstr(name, only)) && check_fuse_has(scenario->first, name))
			scenario_run(backend, scenario);
	}
}

/* ---- a backend -------------------------------------------------------------- */

/* The same filesystem without relayd, on reference_mnt; returns its process. */
static pid_t reference_start(const char *program, const char *options)
{
	char command[PATH_MAX * 2];
	pid_t pid = fork();
	struct stat mounted;
	struct stat below;

	if (pid < 0 || stat(relayd.dir, &below) < 0)
		check_abort("fork: %s", strerror(errno));
	if (pid == 0) {
		snprintf(command, sizeof(command), "exec %s -f -o allow_other,suid,dev,default_permissions %s %s",
			 program, options, reference_mnt);
		execl("/bin/sh", "sh", "-c", command, (char *)NULL);
		_exit(127);
	}
	for (uint64_t end = check_now_ms() + 10000; check_now_ms() < end;)
		if (stat(reference_mnt, &mounted) == 0 && mounted.st_dev != below.st_dev)
			return pid;
	check_abort("%s does not mount", program);
}

static void reference_stop(pid_t pid)
{
	int status;

	umount2(reference_mnt, MNT_DETACH);
	waitpid(pid, &status, 0);
}

static void backend_run(const struct backend *backend, const char *only)
{
	const char *const extra[] = {"-o", "allow_other,suid,dev,default_permissions", NULL};
	const char *program = peer_program(backend->name);
	const struct matrix_scenario *const lists[] = {matrix_names, matrix_data, matrix_meta, matrix_locks};
	char command[PATH_MAX * 3];
	char options[PATH_MAX];
	char path[128];
	bool good;
	pid_t pid;

	relayd_init(&relayd);
	snprintf(reference_dir, sizeof(reference_dir), "%s/reference", relayd.dir);
	snprintf(reference_mnt, sizeof(reference_mnt), "%s/reference-mnt", relayd.dir);
	snprintf(plain_dir, sizeof(plain_dir), "%s/plain", relayd.dir);
	snprintf(path, sizeof(path), "%s/plan", relayd.dir);
	plan_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (plan_fd < 0 || mkdir(reference_dir, 0755) < 0 || mkdir(reference_mnt, 0755) < 0 || mkdir(plain_dir, 0755) < 0)
		check_abort("%s: %s", relayd.dir, strerror(errno));
	snprintf(options, sizeof(options), backend->options, reference_dir);
	pid = reference_start(program, options);

	setenv("RELAY_CRASH_FILE", path, 1);
	snprintf(options, sizeof(options), backend->options, relayd.store);
	snprintf(command, sizeof(command), "env LD_PRELOAD=%s %s -f %s {mountfd}",
		 relayd_program("tests/backends/.libs/crash_preload.so"), program, options);
	relayd_spawn(&relayd, command, extra);
	if (!relayd_wait(&relayd, 1, 20000)) {
		relayd_log_show(&relayd);
		check_abort("%s: the mount does not serve", backend->name);
	}
	printf("%s\n", backend->name);
	matrix_table_begin(columns, column_count);
	inexact_cells = 0;
	for (unsigned i = 0; i < sizeof(lists) / sizeof(lists[0]); i++)
		list_run(backend, lists[i], only);
	good = matrix_table_end();
	printf("%u of them in the way that is documented (x)\n", inexact_cells);
	check(good, "%s: each death leaves what the application would have seen without it", backend->name);
	reference_stop(pid);
	close(plan_fd);
	check(relayd_stop(&relayd), "%s: relayd ends in order and leaves nothing behind", backend->name);
}

int main(int argc, char **argv)
{
	const char *only = NULL;
	const char *wanted = NULL;

	for (int i = 1; i < argc; i++)
		if (strcmp(argv[i], "--fast") == 0)
			column_count = 3;
		else if (strcmp(argv[i], "--only") == 0 && i + 1 < argc)
			only = argv[++i];
		else
			wanted = argv[i];
	check_requires_fuse();
	umask(022);
	for (unsigned i = 0; i < sizeof(backends) / sizeof(backends[0]); i++)
		if (!wanted || strcmp(wanted, backends[i].name) == 0)
			backend_run(&backends[i], only);
	return check_end();
}
