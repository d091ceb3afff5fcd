/*
 * Opening the state that a process has left: nothing of it is believed before it was
 * checked.  Then an unfinished transaction is undone, which may be repeated: a process
 * dying in the midst of it leaves the whole log.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "state.h"
#include "state_format.h"

void state_roll_back(struct state *state)
{
	struct state_header *header = state->header;
	uint32_t used = atomic_load_explicit(&header->undo_used, memory_order_relaxed);
	const struct state_undo_entry *entry;

	/* Each record is in it at most once, so the order does not matter. */
	for (uint32_t at = 0; at < used; at += sizeof(*entry) + entry->size) {
		entry = (const struct state_undo_entry *)(header->undo + at);
		state_crash_point();
		if (entry->index == 0)
			memcpy(&header->table[entry->table], entry + 1, entry->size);
		else
			memcpy(state_record_at(state, entry->table, entry->index), entry + 1, entry->size);
	}
	state_crash_point();
	atomic_signal_fence(memory_order_seq_cst);
	atomic_store_explicit(&header->undo_used, 0, memory_order_release);
}

/* Nobody can take away under us what is mapped. */
static int file_check(int fd, uint64_t *size)
{
	struct stat st;
	int seals;

	if (fstat(fd, &st) < 0)
		return -errno;
	seals = fcntl(fd, F_GET_SEALS);
	if (seals < 0 || !(seals & F_SEAL_SHRINK) || st.st_size < (off_t)STATE_WINDOW)
		return -EPROTO;
	*size = (uint64_t)st.st_size;
	return 0;
}

static int header_check(const struct state_header *header, uint64_t size, const uint32_t record_size[STATE_TABLES])
{
	uint32_t chunks = atomic_load_explicit(&header->chunks, memory_order_relaxed);

	if (header->magic != STATE_MAGIC || header->version != STATE_VERSION ||
	    header->header_size != sizeof(*header) || header->chunk_size != STATE_CHUNK ||
	    header->tables != STATE_TABLES)
		return -EPROTO;
	if (memcmp(header->record_size, record_size, sizeof(header->record_size)) != 0)
		return -EPROTO;
	if (chunks > STATE_CHUNKS || size < STATE_WINDOW + (uint64_t)chunks * STATE_CHUNK)
		return -EPROTO;
	for (uint32_t i = 0; i < chunks; i++)
		if (header->owner[i] >= STATE_TABLES)
			return -EPROTO;
	return 0;
}

static bool undo_entry_right(const struct state *state, const struct state_undo_entry *entry)
{
	if (entry->table >= STATE_TABLES || entry->index > state_capacity(state, entry->table))
		return false;
	if (entry->index == 0)
		return entry->size == sizeof(struct state_table_head);
	return entry->size == sizeof(struct state_record) || entry->size == state->tables[entry->table].record_size;
}

static int undo_check(const struct state *state)
{
	const struct state_header *header = state->header;
	uint32_t used = atomic_load_explicit(&header->undo_used, memory_order_relaxed), at = 0;
	const struct state_undo_entry *entry;

	if (used > STATE_UNDO || used % 8 != 0)
		return -EPROTO;
	while (at < used) {
		entry = (const struct state_undo_entry *)(header->undo + at);
		if (used - at < sizeof(*entry) || !undo_entry_right(state, entry) ||
		    used - at - sizeof(*entry) < entry->size)
			return -EPROTO;
		at += (uint32_t)sizeof(*entry) + entry->size;
	}
	return 0;
}

/* Each record is either live or in the list of free ones, once. */
static int table_check(const struct state *state, uint32_t table)
{
	const struct state_table_head *head = &state->header->table[table];
	uint32_t live = 0, spare = 0;

	if (head->end == 0 || head->end - 1 > state_capacity(state, table))
		return -EPROTO;
	for (uint32_t index = 1; index < head->end; index++) {
		uint32_t is = state_record_at(state, table, index)->live;

		if (is > 1)
			return -EPROTO;
		live += is;
	}
	if (live != head->live)
		return -EPROTO;
	for (uint32_t index = head->free; index; spare++) {
		const struct state_record *record;

		/* Longer than there are records: it runs in a circle. */
		if (index >= head->end || spare == head->end - 1 - live)
			return -EPROTO;
		record = state_record_at(state, table, index);
		if (record->live)
			return -EPROTO;
		index = record->next_free;
	}
	return spare == head->end - 1 - live ? 0 : -EPROTO;
}

static int state_take(struct state *state, const uint32_t record_size[STATE_TABLES])
{
	uint64_t size = 0;
	int err;

	err = file_check(state->fd, &size);
	/* There are holes only in what is none of ours. */
	if (!err)
		err = state_allocate(state->fd, 0, STATE_WINDOW);
	if (!err)
		err = state_map_header(state, record_size);
	if (!err)
		err = header_check(state->header, size, record_size);
	if (!err)
		err = state_allocate(state->fd, 0, state_bytes(state));
	for (uint32_t i = 0; !err && i < atomic_load_explicit(&state->header->chunks, memory_order_relaxed); i++)
		err = state_map_chunk(state, state->header->owner[i], i);
	if (!err)
		err = undo_check(state);
	if (err)
		return err;
	state_roll_back(state);
	for (uint32_t table = 0; !err && table < STATE_TABLES; table++)
		err = table_check(state, table);
	return err;
}

int state_open(struct state *state, int fd, const uint32_t record_size[STATE_TABLES])
{
	int err;

	*state = (struct state){.fd = fd};
	err = state_take(state, record_size);
	if (err) {
		state->fd = -1; /* the caller's still */
		state_deinit(state);
	}
	return err;
}
