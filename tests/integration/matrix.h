/*
 * The kill matrix: scenarios x points of death.
 *
 *   matrix.c		the driver: cells, the verdict
 *   matrix_foreign.c	another, for filesystems that know nothing of relayd
 *   matrix_table.c	lines, marks and counts, for both
 *   matrix_place.c	where a scenario runs, and what is compared afterwards
 *   matrix_names.c, matrix_data.c, matrix_meta.c, matrix_locks.c
 *			the scenarios, which make the kernel send an opcode
 *   matrix_raw.c	the opcodes that this kernel does not send on such a mount,
 *			sent by a fake relayd; those too that came with a later one
 *
 * A scenario runs once in a plain directory: that is what the application should
 * see.  Then once per cell on the mount, whose backend dies at the cell's point.
 */
#ifndef TESTS_MATRIX_H
#define TESTS_MATRIX_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "../lib/relayd.h"
#include "../lib/text.h"

struct place;

struct matrix_scenario {
	const char *opcode; /* what the backend dies of */
	const char *what;   /* the rest of the name; "" if there is one only */
	/* In the plain directory, or in the store beside the mount; may be NULL. */
	void (*setup)(void);
	/* In the plain directory, or in the mount; calls place_arm() right before. */
	void (*run)(struct place *place);
	unsigned kills; /* deaths that run() causes by itself */
	bool refused;	/* right away: it has no pre-state */
	/* A kernel sends it that speaks FUSE 7.first or later, and one before 7.end; 0: any. */
	unsigned first;
	unsigned end;
};

extern const struct matrix_scenario matrix_names[];
extern const struct matrix_scenario matrix_data[];
extern const struct matrix_scenario matrix_meta[];
extern const struct matrix_scenario matrix_locks[];

/* The points of one column, in the order in which they are to be died at. */
#define MATRIX_POINTS 2
struct matrix_column {
	const char *label;
	const char *points[MATRIX_POINTS]; /* "stored", or with an opcode: "INIT received" */
};

extern const struct matrix_column matrix_columns[];

/* Runs the raw scenarios, with the first `columns` columns. */
void matrix_raw_run(const char *only, unsigned columns);

/* ---- matrix_table.c ----------------------------------------------------- */

/* Begins a table: prints its head, counts from 0. */
void matrix_table_begin(const struct matrix_column *columns, unsigned count);
void matrix_line_begin(const char *opcode, const char *what);
/* "MKDIR by a user", of the line that has been begun. */
const char *matrix_line_name(void);
/* One cell's verdict: '.' ok, '-' no such point, 'F' failed (with the reason printed). */
void matrix_cell(bool reached, bool ok, const char *why);
/* The same with a mark of the driver's own for one that is ok. */
void matrix_cell_marked(bool reached, bool ok, char mark, const char *why);
void matrix_line_end(const char *note);
/* Prints the cells passed, and returns whether there are some and all have. */
bool matrix_table_end(void);
/* The names of the opcodes that have a reply and had no line. */
void matrix_uncovered(char *names, size_t size);
/* Whether its first point is one that only the lane `uring` has. */
bool matrix_of_rings(const struct matrix_column *column);

/* The lines of the crash file for a column; returns the number of deaths. */
unsigned matrix_plan(char *plan, size_t size, const char *opcode, const struct matrix_column *column);

/* ---- matrix_place.c ----------------------------------------------------- */

struct place {
	const struct relayd *relayd; /* NULL: the plain directory */
	char path[160];		     /* where run() works */
	char direct[160];	     /* the same directory, not through the mount */
	int plan_fd;		     /* the crash file, or -1 */
	const char *plan;	     /* what place_arm() writes there */
	int inotify;
	struct text log; /* what run() saw, and what is there afterwards */
};

/* "call = result" in the place's transcript; errno is the call's. */
#define TRY(place, call) text_add(&(place)->log, "%s = %s\n", #call, text_result((long)(call)))

/* From here on the backend dies at the cell's points; nothing for the plain directory. */
void place_arm(struct place *place);
/* True when all the deaths of the plan have come, or there are none. */
bool place_fired(const struct place *place);

/* Makes the directory, runs setup() in it, and watches it. */
void place_begin(struct place *place, const struct matrix_scenario *scenario);
/*
 * Runs the scenario in a child, which gets some seconds.  Returns false if it did
 * not end by itself; the transcript says so.
 */
bool place_run(struct place *place, const struct matrix_scenario *scenario);
/* Adds what happened to the directory, and what is in it. */
void place_end(struct place *place);
void place_free(struct place *place);

/* For scenarios. */
void place_show(struct place *place, const char *name);
void place_show_fd(struct place *place, const char *label, int fd);
/* A file's content by read(), as size and checksum. */
void place_show_content(struct place *place, int fd);
/* Makes a file with that content. */
void place_put(const char *name, const char *content);

#endif
