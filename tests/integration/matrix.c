/*
 * The kill matrix: for every opcode with a reply, the backend is killed at each
 * named point of a request's way (librelay/crash.h), and what the application
 * sees, what is in the store and how many times it happened have to be what they
 * are in a plain directory.
 *
 * One mount serves the whole matrix, with timeouts of 0, so that the kernel asks
 * for everything.  A cell arms its deaths in the crash file, runs the scenario,
 * and waits for the mount to serve again in the incarnation that so many deaths
 * lead to: neither one more nor one less.
 *
 * The columns: the six points (the first of them, that a backend has read a request by
 * itself, is in the direct lane only); then two that only the lane `uring` has; then two deaths on one request, at the same point
 * or at two; then one whose successor dies while it takes its place; then deaths
 * within what some requests have more of: leaving a descriptor with relayd, and
 * rolling state back.  Points that an opcode does not have are shown as '-' and are
 * not cells: INIT has no slot in the journal.
 *
 * The backend reads and writes by itself: what the kernel would do without it can have no
 * cell.
 *
 *	matrix [--only TEXT] [--fast] [--lane LANE]
 *	matrix --passthrough [--only TEXT]	what the kernel still asks of open files then
 *
 * Scenarios whose name has TEXT; one death at each point only; in the lane direct, socket, uring
 * or no-resend ($RELAY_TEST_LANE).  Without a lane each scenario runs in one of them.
 */
#include "matrix.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "../lib/check.h"
#include "../lib/uring_enable.h"

const struct matrix_column matrix_columns[] = {
	{"read", {"read"}},
	{"received", {"received"}},
	{"prerecorded", {"prerecorded"}},
	{"applied", {"applied"}},
	{"stored", {"stored"}},
	{"sent", {"sent"}},
	{"claimed", {"claimed"}},
	{"answered", {"answered"}},
	{"claimed, answered", {"claimed", "answered"}},
	{"claimed twice", {"claimed", "claimed"}},
	{"read, applied", {"read", "applied"}},
	{"received twice", {"received", "received"}},
	{"prerecorded twice", {"prerecorded", "prerecorded"}},
	{"applied twice", {"applied", "applied"}},
	{"received, applied", {"received", "applied"}},
	{"prerecorded, applied", {"prerecorded", "applied"}},
	{"applied, stored", {"applied", "stored"}},
	{"applied, next in INIT", {"applied", "INIT received"}},
	{"stored, next in INIT", {"stored", "INIT applied"}},
	{"applied, next in rollback", {"applied", "INIT rollback"}},
	{"descriptor kept", {"KEEP kept"}},
	/* Only with passthrough, where files are registered. */
	{"file asked for", {"BACK asked"}},
	{"file registered", {"BACK registered"}},
	{"and written down", {"BACK backed"}},
};

#define COLUMNS (sizeof(matrix_columns) / sizeof(matrix_columns[0]))
#define COLUMNS_PASSTHROUGH 3
#define COLUMNS_FAST 8

static unsigned columns = COLUMNS - COLUMNS_PASSTHROUGH;
static bool passthrough;
static unsigned cell_number;
static unsigned share, share_of = 1; /* which of the scenarios are to be run */
static unsigned scenario_number;

static struct relayd relayd;
static char reference_dir[128];
static int plan_fd;

/* Nothing of the scenario before is on its way any more: a reply is behind what was sent before it. */
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

/* Not every request leaves a descriptor, registers a file or changes state. */
static bool is_optional(const struct matrix_column *column)
{
	for (unsigned i = 0; i < MATRIX_POINTS && column->points[i]; i++)
		if (strcmp(column->points[i], "KEEP kept") == 0 || strcmp(column->points[i], "INIT rollback") == 0 ||
		    strncmp(column->points[i], "BACK ", 5) == 0)
			return true;
	return false;
}

/* Only a backend that reads by itself dies between that and all else. */
static bool is_unread(const struct matrix_scenario *scenario, const struct matrix_column *column)
{
	const char *lane = getenv("RELAY_TEST_LANE");

	return (strcmp(column->points[0], "read") == 0 || matrix_of_rings(column)) &&
	       (strcmp(scenario->opcode, "INIT") == 0 || (lane && strcmp(lane, "socket") == 0));
}

/* Whether the rings are what its points are about, and there are none in this lane. */
static bool is_of_rings(const struct matrix_column *column)
{
	const char *lane = getenv("RELAY_TEST_LANE");

	return matrix_of_rings(column) && !(lane && strcmp(lane, "uring") == 0);
}

/*
 * Whether there may be no such point on the request's way.  INIT is answered without a slot; what
 * is refused right away has no pre-state.
 */
static bool is_avoidable(const struct matrix_scenario *scenario, const struct matrix_column *column)
{
	bool init = strcmp(scenario->opcode, "INIT") == 0 && strcmp(column->label, "received") != 0 &&
		    strcmp(column->label, "applied") != 0 && strcmp(column->label, "sent") != 0;

	return init || is_optional(column) || is_unread(scenario, column) ||
	       (scenario->refused && strstr(column->label, "prerecorded"));
}

static void cell_run(const struct matrix_scenario *scenario, const struct matrix_column *column,
		     const struct text *wanted)
{
	struct place place = {.relayd = &relayd, .plan_fd = plan_fd};
	struct relayd_status before;
	struct relayd_status after = {0};
	char plan[128];
	char where[1024];
	bool avoidable = is_avoidable(scenario, column);
	unsigned deaths;
	bool fired;

	snprintf(place.direct, sizeof(place.direct), "%s/%u", relayd.store, ++cell_number);
	snprintf(place.path, sizeof(place.path), "%s/%u", relayd.mnt, cell_number);
	deaths = matrix_plan(plan, sizeof(plan), scenario->opcode, column) + scenario->kills;
	place.plan = plan;
	place_begin(&place, scenario);
	if (!check_until(is_quiet, NULL, 10000))
		check_abort("the mount does not come to rest before %s, %s", matrix_line_name(), column->label);
	relayd_status(&relayd, &before);

	place_run(&place, scenario);
	/* A RELEASE is still on its way when the application has gone, and a busy machine takes its time. */
	fired = check_until(is_fired, &place, avoidable ? 20 : 10000);
	if (!fired && ftruncate(plan_fd, 0) < 0)
		check_abort("the crash file: %s", strerror(errno));
	if (!relayd_wait(&relayd, before.incarnation + (fired ? deaths : scenario->kills), 20000) ||
	    !check_until(is_quiet, NULL, 10000)) {
		relayd_log_show(&relayd);
		relayd_status(&relayd, &after);
		check_abort("the mount does not serve again after %s, %s: %s, incarnation %u of %u, %u requests in flight; "
			    "the application saw\n%s",
			    matrix_line_name(), column->label, after.state, after.incarnation,
			    before.incarnation + (fired ? deaths : scenario->kills), after.inflight,
			    text_get(&place.log));
	}
	relayd_status(&relayd, &after);
	place_end(&place);
	if (!fired)
		matrix_cell(false, avoidable, "the backend did not die at this point");
	else if (after.incarnation != before.incarnation + deaths) {
		snprintf(where, sizeof(where), "%u deaths instead of %u", after.incarnation - before.incarnation, deaths);
		matrix_cell(true, false, where);
	} else {
		bool same = text_same(wanted, &place.log, where, sizeof(where));

		matrix_cell(true, same, where);
	}
	place_free(&place);
}

static void scenario_run(const struct matrix_scenario *scenario)
{
	struct place reference = {.plan_fd = -1};

	snprintf(reference.direct, sizeof(reference.direct), "%s/%u", reference_dir, ++cell_number);
	snprintf(reference.path, sizeof(reference.path), "%s", reference.direct);
	place_begin(&reference, scenario);
	place_run(&reference, scenario);
	place_end(&reference);
	matrix_line_begin(scenario->opcode, scenario->what);
	for (unsigned i = 0; i < columns; i++)
		if (is_of_rings(&matrix_columns[i]))
			matrix_cell(false, true, "");
		else
			cell_run(scenario, &matrix_columns[i], &reference.log);
	matrix_line_end("");
	place_free(&reference);
}

/* What there is to ask of an open file, where it is not read and written by asking. */
static bool is_about_files(const struct matrix_scenario *scenario)
{
	static const char *const opcodes[] = {
		"OPEN", "CREATE", "TMPFILE", "RELEASE", "FLUSH", "FSYNC", "FALLOCATE", "LSEEK", "SETATTR", "GETATTR",
		"COPY_FILE_RANGE", "COPY_FILE_RANGE_64",
	};

	for (size_t i = 0; i < sizeof(opcodes) / sizeof(opcodes[0]); i++)
		if (strcmp(scenario->opcode, opcodes[i]) == 0)
			return true;
	return false;
}

static void list_run(const struct matrix_scenario *list, const char *only)
{
	for (const struct matrix_scenario *scenario = list; scenario->opcode; scenario++) {
		char name[128];

		snprintf(name, sizeof(name), "%s %s", scenario->opcode, scenario->what);
		if (only && !strstr(name, only))
			continue;
		if (passthrough && !is_about_files(scenario))
			continue;
		if (scenario->end && check_fuse_minor() >= scenario->end)
			continue;
		if (check_fuse_has(scenario->first, name) && scenario_number++ % share_of == share)
			scenario_run(scenario);
	}
}

static void scenarios_run(const char *only)
{
	scenario_number = 0;
	list_run(matrix_names, only);
	list_run(matrix_data, only);
	list_run(matrix_meta, only);
	list_run(matrix_locks, only);
	if (share == 0 && !passthrough)
		matrix_raw_run(only, columns);
}

/* One mount in the lane, and the share of the scenarios that is to be run there. */
static void lane_run(const char *lane, const char *only)
{
	const char *const extra[] = {"-o", "allow_other,suid,dev", NULL};
	char backend[PATH_MAX + 128];
	char plan_path[128];

	if (lane)
		setenv("RELAY_TEST_LANE", lane, 1);
	relayd_init(&relayd);
	snprintf(reference_dir, sizeof(reference_dir), "%s/reference", relayd.dir);
	snprintf(plan_path, sizeof(plan_path), "%s/plan", relayd.dir);
	plan_fd = open(plan_path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (plan_fd < 0 || mkdir(reference_dir, 0755) < 0)
		check_abort("%s: %s", relayd.dir, strerror(errno));
	setenv("RELAY_CRASH_FILE", plan_path, 1);
	snprintf(backend, sizeof(backend), "%s --source %s --timeout 0 --passthrough=%s",
		 relayd_program("fs/fsserver/fsserver-crash"), relayd.store, passthrough ? "auto" : "off");
	relayd_spawn(&relayd, backend, extra);
	if (!relayd_wait(&relayd, 1, 20000)) {
		relayd_log_show(&relayd);
		check_abort("the mount does not serve");
	}
	if (lane)
		printf("lane %s\n", lane);
	scenarios_run(only);
	check(relayd_stop(&relayd), "relayd ends in order and leaves nothing behind");
	close(plan_fd);
}

/* Two fifths of the scenarios in the lane that is usual, and a fifth in each of the others. */
static void lanes_run(void)
{
	static const char *const lanes[] = {"direct", "socket", "uring", "direct", "no-resend"};

	share_of = sizeof(lanes) / sizeof(lanes[0]);
	for (share = 0; share < share_of; share++) {
		const char *lane = lanes[share];

		if (strcmp(lane, "uring") == 0 && uring_enable() == -ENOENT) {
			printf("SKIP lane uring: the kernel has no FUSE over io_uring (Linux 6.14 on)\n");
			lane = "direct";
		}
		lane_run(lane, NULL);
	}
}

int main(int argc, char **argv)
{
	const char *only = NULL;
	const char *lane = getenv("RELAY_TEST_LANE");
	char uncovered[512];
	bool all_passed;

	for (int i = 1; i < argc; i++)
		if (strcmp(argv[i], "--fast") == 0)
			columns = COLUMNS_FAST;
		else if (strcmp(argv[i], "--passthrough") == 0)
			passthrough = true, columns = COLUMNS;
		else if (strcmp(argv[i], "--only") == 0 && i + 1 < argc)
			only = argv[++i];
		else if (strcmp(argv[i], "--lane") == 0 && i + 1 < argc)
			lane = argv[++i];
		else
			check_abort("%s: no such option", argv[i]);
	check_requires_fuse();
	umask(022);
	matrix_table_begin(matrix_columns, columns);
	if (only || lane || passthrough)
		lane_run(lane ? lane : "direct", only);
	else
		lanes_run();
	all_passed = matrix_table_end();
	matrix_uncovered(uncovered, sizeof(uncovered));
	if (only || passthrough)
		*uncovered = '\0';
	check(!uncovered[0], "every opcode with a reply is there%s%s", *uncovered ? ", but not" : "", uncovered);
	check(all_passed, "each death leaves what the application would have seen without it");
	return check_end();
}
