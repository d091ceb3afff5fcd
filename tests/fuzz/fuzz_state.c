/*
 * A state that somebody has scribbled over: it is refused or it works, it never ends the
 * process or keeps it for ever.
 *
 * The input is a list of changes to a true one: where (the first byte: 0 the header, 1 the
 * undo log, else a table), which record (2 bytes), which 4 bytes of it (2 bytes), and what
 * they are made (4 bytes, little-endian).
 */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/nodes_play.h"
#include "state_format.h"

#define CHANGE 9u
#define CHANGES_MAX 32u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
	if (!holds)
		abort();
}

/* Of each table something, free records, and a transaction that has not ended. */
static void state_make(struct state *state, const uint32_t sizes[STATE_TABLES])
{
	struct nodes nodes;
	uint64_t seed = 1;
	uint32_t index;

	must(state_init(state, sizes) == 0 && nodes_init(&nodes, state, "fuzz") == 0);
	nodes_incarnation(&nodes, 1);
	for (unsigned i = 0; i < 300; i++)
		nodes_play_step(&nodes, &seed);
	for (unsigned table = STATE_HANDLES; table < STATE_TABLES; table++) {
		state_begin(state);
		must(state_new(state, (enum state_table)table, &index) != NULL);
		state_commit(state);
	}
	nodes_deinit(&nodes);
	state_begin(state);
	must(state_edit(state, STATE_NODES, 1) && state_new(state, STATE_LOCKS, &index));
}

static void scribble(struct state *state, const uint8_t *data)
{
	uint32_t record = data[1] | (uint32_t)data[2] << 8, at = (data[3] | (uint32_t)data[4] << 8) * 4u, size;
	uint32_t table = data[0] - 2u;
	char *base;

	if (data[0] == 0) {
		base = (char *)state->header;
		size = offsetof(struct state_header, undo);
	} else if (data[0] == 1) {
		base = (char *)state->header->undo;
		size = STATE_UNDO;
	} else {
		table %= STATE_TABLES;
		if (state_capacity(state, table) == 0)
			return;
		base = (char *)state_record_at(state, table, 1 + record % 512 % (uint32_t)state_capacity(state, table));
		size = state->tables[table].record_size;
	}
	memcpy(base + at % size / 4 * 4, data + 5, 4);
}

static void use(struct state *state)
{
	struct nodes nodes;
	uint64_t seed = 2;

	if (nodes_init(&nodes, state, "fuzz") < 0)
		return;
	nodes_incarnation(&nodes, nodes.incarnation + 1);
	for (unsigned i = 0; i < 300; i++)
		nodes_play_step(&nodes, &seed);
	free(nodes_play_dump(&nodes));
	nodes_deinit(&nodes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint32_t sizes[STATE_TABLES];
	struct state state, next;
	int fd;

	nodes_play_sizes(sizes);
	state_make(&state, sizes);
	for (size_t i = 0; i < CHANGES_MAX && (i + 1) * CHANGE <= size; i++)
		scribble(&state, data + i * CHANGE);
	fd = dup(state.fd);
	state_deinit(&state);
	must(fd >= 0);
	if (state_open(&next, fd, sizes) < 0) {
		must(close(fd) == 0); /* it is ours still */
		return 0;
	}
	use(&next);
	state_deinit(&next);
	return 0;
}
