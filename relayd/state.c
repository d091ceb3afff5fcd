/*
 * The state: making it, its records, and their transactions.  Opening what a process has
 * left is in state_open.c, the format in state_format.h.
 *
 * The order of stores is what counts.  A process dying
 * - before state_commit()'s store leaves log entries for all that it has changed, and
 *   maybe one that was written but is not counted, whose subject has not been changed;
 * - after it leaves the transaction done;
 * - while a chunk is added leaves memory that the next one to be added takes.
 */
#include "state.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "state_format.h"

/* Growing a file over this limit is a SIGXFSZ. */
static bool file_may_have(uint64_t size)
{
	struct rlimit limit;

	return getrlimit(RLIMIT_FSIZE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY || size <= limit.rlim_cur;
}

int state_allocate(int fd, uint64_t offset, uint64_t size)
{
	if (!file_may_have(offset + size))
		return -ENOMEM;
	while (fallocate(fd, 0, (off_t)offset, (off_t)size) < 0)
		if (errno != EINTR)
			return errno == ENOSPC || errno == EFBIG ? -ENOMEM : -errno;
	return 0;
}

int state_map_header(struct state *state, const uint32_t record_size[STATE_TABLES])
{
	void *header = mmap(NULL, STATE_WINDOW, PROT_READ | PROT_WRITE, MAP_SHARED, state->fd, 0);

	if (header == MAP_FAILED)
		return -errno;
	state->header = header;
	for (uint32_t table = 0; table < STATE_TABLES; table++) {
		state->tables[table].record_size = record_size[table];
		state->tables[table].per_chunk = STATE_CHUNK / record_size[table];
	}
	return 0;
}

int state_map_chunk(struct state *state, uint32_t table, uint32_t chunk)
{
	struct state_chunks *chunks = &state->tables[table];
	void **more = realloc(chunks->chunk, (chunks->count + 1) * sizeof(*more));
	void *mapping;

	if (!more)
		return -ENOMEM;
	chunks->chunk = more;
	mapping = mmap(NULL, STATE_CHUNK, PROT_READ | PROT_WRITE, MAP_SHARED, state->fd,
		       STATE_WINDOW + (off_t)chunk * STATE_CHUNK);
	if (mapping == MAP_FAILED)
		return -errno;
	chunks->chunk[chunks->count++] = mapping;
	return 0;
}

int state_init(struct state *state, const uint32_t record_size[STATE_TABLES])
{
	struct state_header *header;
	int err;

	*state = (struct state){.fd = -1};
	state->fd = memfd_create("relayd-state", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (state->fd < 0)
		return -errno;
	err = state_allocate(state->fd, 0, STATE_WINDOW);
	if (!err && fcntl(state->fd, F_ADD_SEALS, F_SEAL_SHRINK) < 0)
		err = -errno;
	if (!err)
		err = state_map_header(state, record_size);
	if (err) {
		state_deinit(state);
		return err;
	}
	header = state->header;
	header->version = STATE_VERSION;
	header->header_size = sizeof(*header);
	header->chunk_size = STATE_CHUNK;
	header->tables = STATE_TABLES;
	for (uint32_t table = 0; table < STATE_TABLES; table++) {
		assert(record_size[table] >= sizeof(struct state_record) && record_size[table] <= STATE_RECORD_MAX &&
		       record_size[table] % 8 == 0);
		header->record_size[table] = record_size[table];
		header->table[table].end = 1;
	}
	atomic_signal_fence(memory_order_seq_cst);
	header->magic = STATE_MAGIC; /* a process dying before leaves what nobody takes for a state */
	return 0;
}

void state_deinit(struct state *state)
{
	for (uint32_t table = 0; table < STATE_TABLES; table++) {
		for (uint32_t i = 0; i < state->tables[table].count; i++)
			munmap(state->tables[table].chunk[i], STATE_CHUNK);
		free(state->tables[table].chunk);
	}
	if (state->header)
		munmap(state->header, STATE_WINDOW);
	if (state->fd >= 0)
		close(state->fd);
	*state = (struct state){.fd = -1};
}

/* ---- transactions -------------------------------------------------------- */

void state_begin(struct state *state)
{
	assert(!state->changing);
	state->changing = true;
}

void state_commit(struct state *state)
{
	assert(state->changing);
	state_crash_point();
	atomic_signal_fence(memory_order_seq_cst);
	atomic_store_explicit(&state->header->undo_used, 0, memory_order_release);
	atomic_signal_fence(memory_order_seq_cst);
	state_crash_point();
	state->changing = false;
}

void state_undo(struct state *state)
{
	assert(state->changing);
	state_roll_back(state);
	state->changing = false;
}

static bool undo_has(const struct state_header *header, uint32_t used, uint32_t table, uint32_t index)
{
	const struct state_undo_entry *entry;

	for (uint32_t at = 0; at < used; at += sizeof(*entry) + entry->size) {
		entry = (const struct state_undo_entry *)(header->undo + at);
		if (entry->table == table && entry->index == index)
			return true;
	}
	return false;
}

/* Notes the old bytes, once in a transaction.  What they are of may be changed afterwards. */
static int undo_note(struct state *state, uint32_t table, uint32_t index, const void *old, uint32_t size)
{
	struct state_header *header = state->header;
	uint32_t used = atomic_load_explicit(&header->undo_used, memory_order_relaxed);
	struct state_undo_entry *entry = (struct state_undo_entry *)(header->undo + used);

	assert(state->changing);
	if (undo_has(header, used, table, index))
		return 0;
	if (sizeof(*entry) + size > STATE_UNDO - used)
		return -ENOSPC;
	state_crash_point();
	*entry = (struct state_undo_entry){.table = table, .index = index, .size = size};
	memcpy(entry + 1, old, size);
	state_crash_point();
	/* Neither what is before may be stored later, nor what the caller changes earlier. */
	atomic_signal_fence(memory_order_seq_cst);
	atomic_store_explicit(&header->undo_used, used + (uint32_t)sizeof(*entry) + size, memory_order_release);
	atomic_signal_fence(memory_order_seq_cst);
	state_crash_point();
	return 0;
}

static int undo_note_head(struct state *state, uint32_t table)
{
	const struct state_table_head *head = &state->header->table[table];

	return undo_note(state, table, 0, head, sizeof(*head));
}

/* ---- records ------------------------------------------------------------- */

/* One more chunk for the table.  It is the table's even if the transaction is undone. */
static int table_grow(struct state *state, uint32_t table)
{
	struct state_header *header = state->header;
	uint32_t chunk = atomic_load_explicit(&header->chunks, memory_order_relaxed);
	int err;

	if (chunk == STATE_CHUNKS)
		return -ENOMEM;
	err = state_allocate(state->fd, STATE_WINDOW + (uint64_t)chunk * STATE_CHUNK, STATE_CHUNK);
	if (!err)
		err = state_map_chunk(state, table, chunk);
	if (err)
		return err;
	state_crash_point();
	header->owner[chunk] = (uint8_t)table;
	state_crash_point();
	atomic_signal_fence(memory_order_seq_cst);
	atomic_store_explicit(&header->chunks, chunk + 1, memory_order_release);
	state_crash_point();
	return 0;
}

void *state_new(struct state *state, enum state_table table, uint32_t *index)
{
	struct state_table_head *head = &state->header->table[table];
	uint32_t number = head->free ? head->free : head->end;
	struct state_record *record;

	if (number > state_capacity(state, table) && table_grow(state, table) < 0)
		return NULL;
	record = state_record_at(state, table, number);
	if (undo_note_head(state, table) < 0 || undo_note(state, table, number, record, sizeof(*record)) < 0)
		return NULL;
	if (head->free)
		head->free = record->next_free;
	else
		head->end++;
	state_crash_point();
	head->live++;
	head->births++;
	state_crash_point();
	memset(record, 0, state->tables[table].record_size);
	record->live = 1;
	state_crash_point();
	*index = number;
	return record;
}

void *state_edit(struct state *state, enum state_table table, uint32_t index)
{
	struct state_record *record = state_get(state, table, index);

	assert(record);
	return undo_note(state, table, index, record, state->tables[table].record_size) < 0 ? NULL : record;
}

int state_free(struct state *state, enum state_table table, uint32_t index)
{
	struct state_table_head *head = &state->header->table[table];
	/* All of it is noted: it may be made anew in the same transaction. */
	struct state_record *record = state_edit(state, table, index);

	if (!record || undo_note_head(state, table) < 0)
		return -ENOSPC;
	record->next_free = head->free;
	record->live = 0;
	state_crash_point();
	head->free = index;
	head->live--;
	state_crash_point();
	return 0;
}

void *state_get(const struct state *state, enum state_table table, uint32_t index)
{
	struct state_record *record;

	if (index == 0 || index >= state->header->table[table].end)
		return NULL;
	record = state_record_at(state, table, index);
	return record->live ? record : NULL;
}

uint32_t state_end(const struct state *state, enum state_table table)
{
	return state->header->table[table].end;
}

uint32_t state_live(const struct state *state, enum state_table table)
{
	return state->header->table[table].live;
}

uint64_t state_births(const struct state *state, enum state_table table)
{
	return state->header->table[table].births;
}

uint64_t state_bytes(const struct state *state)
{
	return STATE_WINDOW +
	       (uint64_t)atomic_load_explicit(&state->header->chunks, memory_order_relaxed) * STATE_CHUNK;
}
