/*
 * The kill matrix: its table.  A line is a scenario, a mark a cell.
 */
#include "matrix.h"

#include <stdio.h>
#include <string.h>

#include "relay/opcodes.h"

static const struct matrix_column *columns;
static unsigned column_count;
static unsigned cells;
static unsigned passed;

/* The line being printed. */
static char line_name[128];
static char line_marks[64];
static unsigned line_column;

static bool covered[RELAY_OPCODE_MAX];

void matrix_table_begin(const struct matrix_column *list, unsigned count)
{
	columns = list;
	column_count = count;
	cells = 0;
	passed = 0;
	for (unsigned i = 0; i < count; i++) {
		printf("%-34s", i ? "" : "the backend is killed at");
		for (unsigned j = 0; j < i; j++)
			fputs(" |", stdout);
		printf(" %s\n", columns[i].label);
	}
}

void matrix_line_begin(const char *opcode, const char *what)
{
	snprintf(line_name, sizeof(line_name), "%s%s%s", opcode, *what ? " " : "", what);
	line_column = 0;
	for (uint32_t code = 0; code < RELAY_OPCODE_MAX; code++) {
		const struct relay_op *op = relay_op_get(code);

		covered[code] |= op && strcmp(op->name, opcode) == 0;
	}
}

const char *matrix_line_name(void)
{
	return line_name;
}

void matrix_cell(bool reached, bool ok, const char *why)
{
	matrix_cell_marked(reached, ok, reached ? '.' : '-', why);
}

void matrix_cell_marked(bool reached, bool ok, char mark, const char *why)
{
	const char *label = columns[line_column].label;

	line_marks[line_column] = ok ? mark : 'F';
	line_column++;
	if (!ok)
		printf("FAIL %s, %s: %s\n", line_name, label, why);
	if (reached || !ok) {
		cells++;
		passed += ok;
	}
}

void matrix_line_end(const char *note)
{
	printf("%-34s", line_name);
	for (unsigned i = 0; i < line_column; i++)
		printf(" %c", line_marks[i]);
	printf("%s%s\n", *note ? "  " : "", note);
	fflush(stdout);
}

bool matrix_table_end(void)
{
	printf("%u cells passed of %u\n", passed, cells);
	return passed == cells && cells > 0;
}

void matrix_uncovered(char *names, size_t size)
{
	size_t length = 0;

	names[0] = '\0';
	for (uint32_t code = 0; code < RELAY_OPCODE_MAX; code++) {
		const struct relay_op *op = relay_op_get(code);

		if (op && op->reply != RELAY_REPLY_NEVER && !covered[code] && length < size)
			length += (size_t)snprintf(names + length, size - length, " %s", op->name);
	}
}

bool matrix_of_rings(const struct matrix_column *column)
{
	return strcmp(column->points[0], "claimed") == 0 || strcmp(column->points[0], "answered") == 0;
}

unsigned matrix_plan(char *plan, size_t size, const char *opcode, const struct matrix_column *column)
{
	unsigned deaths = 0;
	size_t length = 0;

	plan[0] = '\0';
	for (unsigned i = 0; i < MATRIX_POINTS && column->points[i]; i++) {
		const char *point = column->points[i];
		bool complete = strchr(point, ' ') != NULL;

		length += (size_t)snprintf(plan + length, size - length, "%s%s%s 1\n", complete ? "" : opcode,
					   complete ? "" : " ", point);
		deaths++;
	}
	return deaths;
}
