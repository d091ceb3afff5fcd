/*
 * The state's bytes in the memfd.
 *
 *     header window | chunk 0 | chunk 1 | ...
 *
 * A chunk is STATE_CHUNK bytes of records of one table, which header.owner[] names: a
 * table's records fill the chunks that it owns, in their order in the file.  The file
 * grows by a chunk at a time, is never shrunk (F_SEAL_SHRINK), and has no holes: no
 * access to it can fault.
 */
#ifndef RELAYD_STATE_FORMAT_H
#define RELAYD_STATE_FORMAT_H

#include <stdatomic.h>
#include <stdint.h>

#include "state.h"

#define STATE_MAGIC 0x3154415453444c52ULL /* "RLDSTAT1" */
#define STATE_VERSION 1u

#define STATE_WINDOW (128u << 10) /* bytes of the header's mapping */
#define STATE_CHUNKS 16384u
#define STATE_UNDO (64u << 10)
#define STATE_RECORD_MAX 8192u

/* What transactions change of a table. */
struct state_table_head {
	uint64_t births; /* records ever made */
	uint32_t free;	 /* the first of the list of free ones; 0: none */
	uint32_t end;	 /* one more than the highest number ever used */
	uint32_t live;
	uint32_t reserved;
};

/* An entry of the undo log; `size` old bytes follow, which is a multiple of 8. */
struct state_undo_entry {
	uint32_t table;
	uint32_t index; /* 0: the table's head */
	uint32_t size;	/* of a record that was free: what struct state_record has */
	uint32_t reserved;
};

struct state_header {
	uint64_t magic;
	uint32_t version;
	uint32_t header_size;
	uint32_t chunk_size;
	uint32_t tables;
	uint32_t record_size[STATE_TABLES];
	/* Counts up when a chunk's memory is there and its owner is noted. */
	_Atomic uint32_t chunks;
	/* Bytes of whole entries: stored after them, and before what they describe is changed.  0 ends a transaction.
	 */
	_Atomic uint32_t undo_used;
	uint32_t reserved;
	struct state_table_head table[STATE_TABLES];
	uint8_t owner[STATE_CHUNKS];
	_Alignas(8) uint8_t undo[STATE_UNDO];
};

_Static_assert(sizeof(struct state_header) <= STATE_WINDOW, "the header has a window of its own");

/*
 * In a test build each step of a transaction is a point at which it can be ended
 * (tests/unit/test_relayd_crash.c).
 */
#ifdef STATE_CRASH_POINTS
void state_crash_point(void);
#else
static inline void state_crash_point(void)
{
}
#endif

/* The record's place, live or not; index is one that the table has chunks for. */
static inline struct state_record *state_record_at(const struct state *state, uint32_t table, uint32_t index)
{
	const struct state_chunks *chunks = &state->tables[table];
	uint32_t n = index - 1;

	return (struct state_record *)((char *)chunks->chunk[n / chunks->per_chunk] +
				       (size_t)(n % chunks->per_chunk) * chunks->record_size);
}

/* The highest number that the table has chunks for. */
static inline uint64_t state_capacity(const struct state *state, uint32_t table)
{
	return (uint64_t)state->tables[table].count * state->tables[table].per_chunk;
}

/* state_open.c: puts back what the log holds, and ends the transaction. */
void state_roll_back(struct state *state);
/* state.c: maps the next chunk of the table, which is number `chunk` in the file. */
int state_map_chunk(struct state *state, uint32_t table, uint32_t chunk);
int state_map_header(struct state *state, const uint32_t record_size[STATE_TABLES]);
int state_allocate(int fd, uint64_t offset, uint64_t size);

#endif
