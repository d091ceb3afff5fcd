/*
 * Tables for people: columns as wide as what is in them, numbers to the right.
 * A table is filled cell by cell and printed at once.
 */
#include <endian.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "relayctl.h"

#define COLUMNS_MAX 12u

struct table {
	unsigned columns;
	const char *const *titles; /* one that begins with '>' is of a column of numbers */
	char **cells;		   /* NULL: no memory, shown as nothing */
	size_t count;
	size_t room;
};

static const char *cell_text(const struct table *table, size_t index)
{
	return table->cells[index] ? table->cells[index] : "";
}

static void cell_add(struct table *table, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void cell_add(struct table *table, const char *format, ...)
{
	char *text = NULL;
	va_list args;

	if (table->count == table->room) {
		size_t room = table->room ? table->room * 2 : 64;
		char **cells = reallocarray(table->cells, room, sizeof(*cells));

		if (!cells)
			return;
		table->cells = cells;
		table->room = room;
	}
	va_start(args, format);
	if (vasprintf(&text, format, args) < 0)
		text = NULL;
	va_end(args);
	table->cells[table->count] = text ? text_escape(text, true) : NULL;
	table->count++;
	free(text);
}

static bool is_number(const struct table *table, unsigned column)
{
	return table->titles[column][0] == '>';
}

static const char *title(const struct table *table, unsigned column)
{
	return table->titles[column] + is_number(table, column);
}

static void cell_print(const struct table *table, unsigned column, const char *text, size_t width)
{
	int pad = (int)(width - text_width(text));
	bool last = column + 1 == table->columns;

	if (is_number(table, column))
		printf("%*s%s", pad, "", text);
	else
		printf("%s%*s", text, last ? 0 : pad, "");
	fputs(last ? "\n" : "  ", stdout);
}

static void table_print(struct table *table)
{
	size_t widths[COLUMNS_MAX];
	unsigned column;
	size_t i;

	for (column = 0; column < table->columns; column++)
		widths[column] = text_width(title(table, column));
	for (i = 0; i < table->count; i++) {
		size_t width = text_width(cell_text(table, i));

		if (width > widths[i % table->columns])
			widths[i % table->columns] = width;
	}
	for (column = 0; column < table->columns; column++)
		cell_print(table, column, title(table, column), widths[column]);
	for (i = 0; i < table->count; i++) {
		column = (unsigned)(i % table->columns);
		cell_print(table, column, cell_text(table, i), widths[column]);
		free(table->cells[i]);
	}
	free(table->cells);
}

void table_list(const struct ctl_mounts *mounts)
{
	static const char *const titles[] = {"NAME", "MOUNTPOINT", "STATE"};
	struct table table = {.columns = 3, .titles = titles};
	size_t i;

	for (i = 0; i < mounts->count; i++) {
		const struct ctl_mount *mount = &mounts->all[i];

		cell_add(&table, "%s", mount->name);
		cell_add(&table, "%s", mount->mountpoint);
		cell_add(&table, "%s", supervisor_state_name(mount->state));
	}
	table_print(&table);
}

static void pause_add(struct table *table, uint64_t us)
{
	cell_add(table, "%" PRIu64 ".%03u ms", us / 1000, (unsigned)(us % 1000));
}

/* "off" alone is what nobody has asked to be otherwise. */
static void known_tell(const struct ctl_mounts *mounts)
{
	for (size_t i = 0; i < mounts->count; i++) {
		char *name, *known;

		if (strcmp(mounts->all[i].known, "off") == 0)
			continue;
		name = text_escape(mounts->all[i].name, true);
		known = text_escape(mounts->all[i].known, true);
		printf("%s: the kernel answers by itself: %s\n", name ? name : "", known ? known : "");
		free(name);
		free(known);
	}
}

void table_status(const struct ctl_mounts *mounts)
{
	static const char *const titles[] = {"NAME", "MOUNTPOINT", "STATE", "LANE",	     "VIA",	  ">LIFE",
					     ">PID", ">IN FLIGHT", ">RESTARTS", ">REDONE", ">LONGEST PAUSE"};
	struct table table = {.columns = 11, .titles = titles};
	size_t i;

	for (i = 0; i < mounts->count; i++) {
		const struct ctl_mount *mount = &mounts->all[i];

		cell_add(&table, "%s", mount->name);
		cell_add(&table, "%s", mount->mountpoint);
		cell_add(&table, "%s", supervisor_state_name(mount->state));
		cell_add(&table, "%s", mount->lane);
		cell_add(&table, "%s", *mount->via ? mount->via : "-");
		cell_add(&table, "%u", mount->incarnation);
		if (mount->backend_pid)
			cell_add(&table, "%u", mount->backend_pid);
		else
			cell_add(&table, "-");
		cell_add(&table, "%u", mount->inflight);
		cell_add(&table, "%" PRIu64, mount->restarts);
		cell_add(&table, "%" PRIu64, mount->redone);
		pause_add(&table, mount->longest_pause_us);
	}
	table_print(&table);
	for (i = 0; i < mounts->count; i++) {
		char *name, *problem;

		if (!*mounts->all[i].problem)
			continue;
		name = text_escape(mounts->all[i].name, true);
		problem = text_escape(mounts->all[i].problem, true);
		printf("%s: %s\n", name ? name : "", problem ? problem : "");
		free(name);
		free(problem);
	}
	known_tell(mounts);
}

/* Microseconds as people read them. */
static void latency_add(struct table *table, uint64_t us)
{
	if (us < 1000)
		cell_add(table, "%" PRIu64 " us", us);
	else if (us < 1000000)
		cell_add(table, "%.1f ms", (double)us / 1e3);
	else
		cell_add(table, "%.2f s", (double)us / 1e6);
}

static void counters_print(const struct relay_ctl_stats *stats)
{
	static const char *const titles[] = {">RESTARTS",    ">REDONE",	  ">RESENT",	 ">POISONED",	 ">ABANDONED",
					     ">BAD REPLIES", ">ANSWERED", ">FAILED",	 ">LAST PAUSE",
					     ">LONGEST PAUSE"};
	struct table table = {.columns = 10, .titles = titles};

	cell_add(&table, "%" PRIu64, (uint64_t)le64toh(stats->restarts));
	cell_add(&table, "%" PRIu64, (uint64_t)le64toh(stats->redone));
	cell_add(&table, "%" PRIu64, (uint64_t)le64toh(stats->resent));
	cell_add(&table, "%" PRIu64, (uint64_t)le64toh(stats->poisoned));
	cell_add(&table, "%" PRIu64, (uint64_t)le64toh(stats->abandoned));
	cell_add(&table, "%" PRIu64, (uint64_t)le64toh(stats->bad_replies));
	cell_add(&table, "%" PRIu64, (uint64_t)le64toh(stats->answered));
	cell_add(&table, "%" PRIu64, (uint64_t)le64toh(stats->failed));
	pause_add(&table, le64toh(stats->last_pause_us));
	pause_add(&table, le64toh(stats->longest_pause_us));
	table_print(&table);
}

/* Left out where nothing was ever known. */
static void known_print(const struct relay_ctl_stats *stats)
{
	static const char *const titles[] = {">SAVED",	     ">ABSENT", ">COMPLETE",	    ">XATTR",	      ">STALE",
					     ">PASSED", ">DIRS",   ">NAMES PRESENT", ">NAMES ABSENT", ">XATTRS"};
	const uint64_t cells[] = {
		known_saved(stats),
		le64toh(stats->known_absent),
		le64toh(stats->known_complete),
		le64toh(stats->known_xattr),
		le64toh(stats->known_stale),
		le64toh(stats->known_passed),
		le64toh(stats->known_directories),
		le64toh(stats->known_names_present),
		le64toh(stats->known_names_absent),
		le64toh(stats->known_xattrs),
	};
	struct table table = {.columns = 10, .titles = titles};
	uint64_t all = 0;

	for (unsigned i = 0; i < 10; i++)
		all |= cells[i];
	if (!all)
		return;
	for (unsigned i = 0; i < 10; i++)
		cell_add(&table, "%" PRIu64, cells[i]);
	putchar('\n');
	table_print(&table);
}

void table_stats(const struct relay_ctl_client *client, const struct relay_ctl_stats *stats)
{
	static const char *const titles[] = {"OPCODE", ">COUNT", ">ERRORS", ">P50", ">P90", ">P99", ">MAX"};
	struct table table = {.columns = 7, .titles = titles};
	struct relay_ctl_stats_row row;
	uint32_t i;

	for (i = 0; stats_row(client, i, &row); i++) {
		cell_add(&table, "%s", row.name);
		cell_add(&table, "%" PRIu64, (uint64_t)le64toh(row.count));
		cell_add(&table, "%" PRIu64, (uint64_t)le64toh(row.errors));
		latency_add(&table, le64toh(row.p50_us));
		latency_add(&table, le64toh(row.p90_us));
		latency_add(&table, le64toh(row.p99_us));
		latency_add(&table, le64toh(row.max_us));
	}
	table_print(&table);
	putchar('\n');
	counters_print(stats);
	known_print(stats);
}
