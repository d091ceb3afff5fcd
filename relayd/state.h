/*
 * The state: tables of records in a memfd, which stay consistent if relayd is killed
 * at any instruction.
 *
 * A record is changed in a transaction: its old bytes go into the undo log, then it
 * is changed, and one store ends the transaction.  Whoever opens the memfd next puts
 * the old bytes of an unfinished transaction back.  Stores of one thread become
 * visible in the order in which they were made, and what a killed process has stored
 * stays: no flush, no barrier but the compiler's.
 *
 * A field of 8 aligned bytes or less that stands for itself (a count) may be stored to
 * directly: either it has changed or it has not.
 *
 * Used with one lock held (struct translate's).  Records never move while they live.
 */
#ifndef RELAYD_STATE_H
#define RELAYD_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum state_table {
	STATE_NODES,
	STATE_LINKS_SHORT, /* the tables of links differ in the room for the name */
	STATE_LINKS_MEDIUM,
	STATE_LINKS_LONG,
	STATE_HANDLES,
	STATE_DIRLOGS,
	STATE_LOCKS,
	STATE_TABLES,
};

#define STATE_CHUNK (1u << 20)

/* What each record begins with. */
struct state_record {
	uint32_t live;	    /* 1: in use */
	uint32_t next_free; /* while it is not */
};

struct state_header; /* in the memfd: magic, version, the tables' geometry, the undo log */

struct state {
	int fd; /* owned */
	struct state_header *header;
	struct state_chunks {
		void **chunk; /* mappings of STATE_CHUNK bytes each */
		uint32_t count;
		uint32_t record_size;
		uint32_t per_chunk; /* records */
	} tables[STATE_TABLES];
	bool changing; /* in a transaction */
};

/*
 * Makes an empty state.  record_size[] holds each table's, multiples of 8 and at most
 * 8192; they are part of the format.  Returns 0 or a negative errno.
 */
int state_init(struct state *state, const uint32_t record_size[STATE_TABLES]);

/*
 * Opens what an earlier process has left behind fd, which is taken over on success:
 * checks it, and undoes an unfinished transaction.  Returns 0, -EPROTO for what is no
 * state of this version and geometry, or another negative errno.
 */
int state_open(struct state *state, int fd, const uint32_t record_size[STATE_TABLES]);
void state_deinit(struct state *state);

/* Transactions do not nest.  Undo: as if it had not begun. */
void state_begin(struct state *state);
void state_commit(struct state *state);
void state_undo(struct state *state);

/*
 * A new record of the table, live and all zero otherwise, in a transaction.  *index is
 * its number, from 1 on.  Returns it, or NULL if memory is short or the undo log is full
 * (then the caller undoes the transaction).
 */
void *state_new(struct state *state, enum state_table table, uint32_t *index);

/*
 * How many records of the table were ever made, which tells the one that state_new() has
 * just returned from all that had its number before.
 */
uint64_t state_births(const struct state *state, enum state_table table);

/*
 * A live record, to be changed until the end of the transaction.  Returns NULL only if
 * the undo log is full.  The log takes at least 32 records of each table's size up to 512.
 */
void *state_edit(struct state *state, enum state_table table, uint32_t index);

/*
 * Frees it, in a transaction; index is live.  Its bytes stay until the next state_new() of
 * the table.  Returns 0 or -ENOSPC if the undo log is full.
 */
int state_free(struct state *state, enum state_table table, uint32_t index);

/* A live record, to be read, and changed as the head comment allows; NULL if the number is no live record's. */
void *state_get(const struct state *state, enum state_table table, uint32_t index);

/* One more than the highest number that may be live, for a walk over the table. */
uint32_t state_end(const struct state *state, enum state_table table);

/* Live records, and bytes of memory that the whole takes. */
uint32_t state_live(const struct state *state, enum state_table table);
uint64_t state_bytes(const struct state *state);

#endif
