/*
 * The kill matrix for filesystems that know nothing of relayd: libfuse's passthrough
 * and passthrough_ll, which help with nothing, and tests/backends/liar, which has what
 * those lack: flags of RENAME2, and POSIX locks.  A preload library kills them
 * (tests/backends/crash_preload.c) at the points that can be seen from outside: a
 * request received, about to be answered, answered.  The scenarios are those of the
 * other matrix.
 *
 * What the application should see is what it sees in the same filesystem mounted
 * without relayd.  Where that is not what a plain directory does the line says so.
 *
 * Cells that cannot be exact are in `inexact`, with the reason, and may differ in that
 * way only: they have the mark 'x'.  A scenario whose request never comes, or comes
 * once, has to be in `unsent`.
 *
 *	matrix_foreign [--only TEXT] [--full] [BACKEND]
 *
 * With --full all columns, of which there are fewer otherwise.
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
	{"applied twice", {"applied", "applied"}},
	{"received, applied", {"received", "applied"}},
	{"received twice", {"received", "received"}},
	{"sent twice", {"sent", "sent"}},
	{"applied, received", {"applied", "received"}},
	{"applied, sent", {"applied", "sent"}},
	{"sent, received", {"sent", "received"}},
};
#define COLUMNS (sizeof(columns) / sizeof(columns[0]))
/* Those before the others. */
#define COLUMNS_FEW 3
#define COLUMNS_SOME 5
static unsigned column_count;

struct backend {
	const char *name;
	const char *direct;  /* further options if it mounts by itself */
	const char *options; /* with the store's path for %s */
	bool ours;	     /* in the build tree, not built for the test */
	unsigned columns;    /* without --full */
};

static const struct backend backends[] = {
	{"passthrough_ll", "-o allow_other,suid,dev,default_permissions",
	 "-f -s -o source=%s,xattr,flock,cache=auto,timeout=0", .columns = COLUMNS_SOME},
	{"passthrough", "-o allow_other,suid,dev,default_permissions", "-f -s -o modules=subdir,subdir=%s",
	 .columns = COLUMNS_FEW},
	{"liar", "", "--collide --reuse --ino=random --cookies=shuffle %s", .ours = true, .columns = COLUMNS_FEW},
};

/* How a cell may differ. */
enum difference {
	STALE, /* the application gets ESTALE where it would have got the file */
	TAKEN, /* it is told of success where it would have got EEXIST or ENODATA */
	KEPT,  /* what libfuse keeps by a hidden name stays in the store */
};

struct exception {
	const char *backend; /* NULL: all */
	const char *opcode;
	const char *what; /* NULL: all of the opcode's */
	const char *reason;
	enum difference difference;
};

static const char no_name[] = "an open file that has lost its name cannot be opened again";
static const char no_prestate[] = "whether it was so before, nobody knows: a redo takes it for its own doing";

static const char hidden_name[] = "libfuse alone knows of the hidden name that it has given an unlinked open file";

static const struct exception inexact[] = {
	{.opcode = "READ", .what = "unlinked", .reason = no_name},
	{.opcode = "WRITE", .what = "unlinked", .reason = no_name},
	{.opcode = "SETATTR", .what = "unlinked", .reason = no_name},
	{.opcode = "UNLINK", .what = "open file", .reason = no_name},
	{.opcode = "RENAME", .what = "over an open file", .reason = no_name},
	{.backend = "passthrough", .opcode = "RELEASE", .what = "unlinked", .reason = hidden_name, .difference = KEPT},
	{.opcode = "SETXATTR", .what = "CREATE, EEXIST", .reason = no_prestate, .difference = TAKEN},
	{.opcode = "REMOVEXATTR", .what = "missing", .reason = no_prestate, .difference = TAKEN},
	{.opcode = NULL},
};

/* Requests that this filesystem is never sent, or once only, until it says ENOSYS. */
static const char no_handler[] = "it has no such handler";
static const char no_lock[] = "it has no such handler: the kernel keeps POSIX locks itself";
static const struct exception unsent[] = {
	{.opcode = "STATX", .reason = no_handler},
	{.opcode = "TMPFILE", .reason = no_handler},
	{.opcode = "LINK", .what = "of O_TMPFILE", .reason = no_handler},
	{.opcode = "COPY_FILE_RANGE_64", .reason = no_handler},
	{.backend = "passthrough_ll", .opcode = "GETLK", .reason = no_lock},
	{.backend = "passthrough_ll", .opcode = "SETLKW", .what = "", .reason = no_lock},
	{.backend = "passthrough_ll", .opcode = "SETLKW", .what = "that waits", .reason = no_lock},
	{.backend = "passthrough", .opcode = "GETLK", .reason = no_lock},
	{.backend = "passthrough", .opcode = "SETLK", .reason = no_handler},
	{.backend = "passthrough", .opcode = "SETLKW", .reason = no_handler},
	{.backend = "passthrough", .opcode = "FLUSH", .reason = no_handler},
	{.backend = "passthrough", .opcode = "COPY_FILE_RANGE", .reason = no_handler},
	{.backend = "passthrough", .opcode = "FALLOCATE", .reason = no_handler},
	{.backend = "liar", .opcode = "READDIRPLUS", .reason = no_handler},
	{.backend = "liar", .opcode = "COPY_FILE_RANGE", .reason = no_handler},
	{.backend = "liar", .opcode = "FALLOCATE", .reason = no_handler},
	{.backend = "liar", .opcode = "LSEEK", .reason = no_handler},
	{.backend = "liar", .opcode = "SETXATTR", .reason = no_handler},
	{.backend = "liar", .opcode = "GETXATTR", .reason = no_handler},
	{.backend = "liar", .opcode = "LISTXATTR", .reason = no_handler},
	{.backend = "liar", .opcode = "REMOVEXATTR", .reason = no_handler},
	{.opcode = NULL},
};

static struct relayd relayd;
static char reference_dir[128]; /* the store of the mount without relayd, which is beside it */
static char reference_mnt[128];
static char plain_dir[128];
static pid_t reference_pid;
static pid_t owner; /* of it: atexit() runs in forked children too */
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

static bool line_has(const char *line, const char *text)
{
	return memmem(line, line_length(line), text, strlen(text)) != NULL;
}

/* libfuse keeps an unlinked open file by this name, and nobody removes it after a death. */
static bool is_hidden(const char *line)
{
	return line_has(line, ".fuse_hidden");
}

static const char *line_next(const char *line)
{
	line += line_length(line);
	return *line ? line + 1 : line;
}

static const char *line_skip(const char *line)
{
	while (*line && strncmp(line, "event in ", 9) == 0)
		line = line_next(line);
	return line;
}

static bool line_differs_so(const char *wanted, const char *got, enum difference difference)
{
	if (difference == STALE)
		return line_has(got, "ESTALE");
	if (difference == KEPT)
		return line_has(got, "gone when closed: 0");
	return line_has(got, " = 0") && (line_has(wanted, "EEXIST") || line_has(wanted, "ENODATA"));
}

/*
 * Whether two transcripts differ in that way only, in one line at least, other than in
 * lines of events.
 */
static bool differs_so(const char *wanted, const char *got, enum difference difference)
{
	unsigned lines = 0;

	for (;;) {
		size_t size;

		wanted = line_skip(wanted);
		got = line_skip(got);
		if (!*wanted || !*got)
			return !*wanted && !*got && lines > 0;
		size = line_length(got);
		if (size != line_length(wanted) || memcmp(wanted, got, size) != 0) {
			if (!line_differs_so(wanted, got, difference))
				return false;
			lines++;
		}
		wanted = line_next(wanted);
		got = line_next(got);
	}
}

/*
 * Takes out lines of hidden names: their digits are of one life, and when they go the
 * application, which has closed the file, does not wait for.
 */
static void hidden_names_drop(struct text *log)
{
	char *at = log->bytes;

	while (at && *at) {
		char *next = at + (line_next(at) - at);

		if (is_hidden(at))
			memmove(at, next, strlen(next) + 1);
		else
			at = next;
	}
	log->size = log->bytes ? strlen(log->bytes) : 0;
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
	hidden_names_drop(&place.log);
	same = text_same(wanted, &place.log, where, sizeof(where));
	if (after.incarnation != before.incarnation + deaths + scenario->kills) {
		snprintf(where, sizeof(where), "%u deaths instead of %u", after.incarnation - before.incarnation,
			 deaths + scenario->kills);
		matrix_cell(true, false, where);
	} else if (!same && known && reached && differs_so(text_get(wanted), text_get(&place.log), known->difference)) {
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
	hidden_names_drop(&place->log);
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
	unsigned reached = 0;

	reference_run(&plain, scenario, plain_dir, plain_dir);
	reference_run(&reference, scenario, reference_mnt, reference_dir);
	if (!text_same(&plain.log, &reference.log, where, sizeof(where)))
		snprintf(note, sizeof(note), "by itself unlike a directory: %.300s", where);
	matrix_line_begin(scenario->opcode, scenario->what);
	for (unsigned i = 0; i < column_count; i++)
		reached += cell_run(scenario, &columns[i], &reference.log, known);
	if (silent)
		snprintf(note, sizeof(note), "not sent: %s", silent->reason);
	else if (inexact_cells > inexact_before)
		snprintf(note, sizeof(note), "x: %s", known->reason);
	matrix_line_end(note);
	if (silent ? reached > 1 : !reached)
		check(false, "%s: %s", matrix_line_name(),
		      reached ? "was not to be sent" : "has no cell that was reached");
	if (known && !silent && column_count > COLUMNS_FEW && inexact_cells == inexact_before)
		check(false, "%s: is exact, unlike what is documented", matrix_line_name());
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

/* The same filesystem without relayd, on reference_mnt. */
static void reference_start(const struct backend *backend, const char *program, const char *options)
{
	char command[PATH_MAX * 2];
	struct stat mounted;
	struct stat below;

	reference_pid = fork();
	if (reference_pid < 0 || stat(relayd.dir, &below) < 0)
		check_abort("fork: %s", strerror(errno));
	if (reference_pid == 0) {
		snprintf(command, sizeof(command), "exec %s %s %s %s", program, backend->direct, options,
			 reference_mnt);
		execl("/bin/sh", "sh", "-c", command, (char *)NULL);
		_exit(127);
	}
	for (uint64_t end = check_now_ms() + 10000; check_now_ms() < end;)
		if (stat(reference_mnt, &mounted) == 0 && mounted.st_dev != below.st_dev)
			return;
	check_abort("%s does not mount", program);
}

/* Also when the test ends early. */
static void reference_stop(void)
{
	int status;

	if (!reference_pid || getpid() != owner)
		return;
	umount2(reference_mnt, MNT_DETACH);
	waitpid(reference_pid, &status, 0);
	reference_pid = 0;
}

static void backend_run(const struct backend *backend, const char *only, bool full)
{
	const char *const extra[] = {"-o", "allow_other,suid,dev,default_permissions", NULL};
	static bool registered;
	const char *program = backend->ours ? relayd_program("tests/backends/liar") : peer_program(backend->name);
	const struct matrix_scenario *const lists[] = {matrix_names, matrix_data, matrix_meta, matrix_locks};
	char command[PATH_MAX * 3];
	char options[PATH_MAX];
	char path[128];
	bool good;

	relayd_init(&relayd);
	/* Before what relayd_init() has for the end, which removes the directory. */
	if (!registered && atexit(reference_stop) == 0)
		registered = true;
	snprintf(reference_dir, sizeof(reference_dir), "%s/reference", relayd.dir);
	snprintf(reference_mnt, sizeof(reference_mnt), "%s/reference-mnt", relayd.dir);
	snprintf(plain_dir, sizeof(plain_dir), "%s/plain", relayd.dir);
	snprintf(path, sizeof(path), "%s/plan", relayd.dir);
	plan_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (plan_fd < 0 || mkdir(reference_dir, 0755) < 0 || mkdir(reference_mnt, 0755) < 0 ||
	    mkdir(plain_dir, 0755) < 0)
		check_abort("%s: %s", relayd.dir, strerror(errno));
	snprintf(options, sizeof(options), backend->options, reference_dir);
	reference_start(backend, program, options);

	setenv("RELAY_CRASH_FILE", path, 1);
	snprintf(options, sizeof(options), backend->options, relayd.store);
	snprintf(command, sizeof(command), "env LD_PRELOAD=%s %s %s {mountfd}",
		 relayd_program("tests/backends/.libs/crash_preload.so"), program, options);
	relayd_spawn(&relayd, command, extra);
	if (!relayd_wait(&relayd, 1, 20000)) {
		relayd_log_show(&relayd);
		check_abort("%s: the mount does not serve", backend->name);
	}
	printf("%s\n", backend->name);
	column_count = full ? COLUMNS : backend->columns;
	matrix_table_begin(columns, column_count);
	inexact_cells = 0;
	for (unsigned i = 0; i < sizeof(lists) / sizeof(lists[0]); i++)
		list_run(backend, lists[i], only);
	good = matrix_table_end();
	printf("%u of them in the way that is documented (x)\n", inexact_cells);
	check(good, "%s: each death leaves what the application would have seen without it", backend->name);
	reference_stop();
	close(plan_fd);
	check(relayd_stop(&relayd), "%s: relayd ends in order and leaves nothing behind", backend->name);
}

int main(int argc, char **argv)
{
	const char *only = NULL;
	const char *wanted = NULL;
	bool full = false;

	for (int i = 1; i < argc; i++)
		if (strcmp(argv[i], "--full") == 0)
			full = true;
		else if (strcmp(argv[i], "--only") == 0 && i + 1 < argc)
			only = argv[++i];
		else
			wanted = argv[i];
	check_requires_fuse();
	umask(022);
	owner = getpid();
	for (unsigned i = 0; i < sizeof(backends) / sizeof(backends[0]); i++)
		if (!wanted || strcmp(wanted, backends[i].name) == 0)
			backend_run(&backends[i], only, full);
	return check_end();
}
