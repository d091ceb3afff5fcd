/*
 * The open files and directories of a mount whose backend's handles change from one
 * life to the next: what the kernel calls them, what the present incarnation calls
 * them, and what it takes to open them again.
 *
 * Called with the translate lock held.  No pointer to a handle is kept over an unlock:
 * its fh is.
 */
#ifndef RELAYD_HANDLES_H
#define RELAYD_HANDLES_H

#include <stdbool.h>
#include <stdint.h>

#include "nodes.h"
#include "state.h"

enum handle_flags {
	HANDLE_DIR = 1 << 0,
	HANDLE_WRITES = 1 << 1, /* opened for writing: counted in node->writers */
	HANDLE_LOST = 1 << 2,	/* could not be opened again: its file is gone */
	HANDLE_POLLED = 1 << 3, /* the kernel waits for a wake-up of poll_kh */
	HANDLE_RESUMES = 1 << 4, /* a directory opened again: its cookies may be others (restore_readdir()) */
	HANDLE_UNFLUSHED = 1 << 5, /* a dead incarnation had acknowledged writes to it, and not flushed them */
};

struct handle {
	struct state_record record;
	uint64_t fh;	     /* the kernel's: reuse << 32 | number */
	uint64_t backend_fh; /* of `incarnation` */
	uint64_t poll_kh;
	uint64_t written; /* writes acknowledged since the last flush, in bytes (any incarnation) */
	/* HANDLE_RESUMES: the cookie that relayd gave last in `incarnation`, 0: none; and that one's, to go on from. */
	uint64_t rest_cookie;
	uint64_t rest_offset;
	uint32_t incarnation;
	uint32_t reuse; /* which of the table's records it is, of all that were ever made */
	uint32_t node;	/* number; held through node->opens */
	uint32_t flags; /* enum handle_flags */
	uint32_t open_flags; /* of open(2), without what creates */
	uint32_t uid;	     /* who opened it */
	uint32_t gid;
	uint32_t pid;
	uint32_t log; /* of a directory: the last part of its dirlog; 0: empty */
	uint32_t log_count; /* entries, in all parts */
	uint32_t log_position; /* of them, those before what is read next */
	uint32_t log_at; /* rebuilt: the part with the entry before log_position; 0: none is before it */
	uint32_t reserved;
};

struct handles {
	struct state *state;
	struct nodes *nodes;
};

void handles_record_sizes(uint32_t record_size[STATE_TABLES]);

/*
 * Starts with what is in the state, after nodes_init().  Returns 0, or -EPROTO if what the
 * state holds cannot be true.
 */
int handles_init(struct handles *handles, struct state *state, struct nodes *nodes);

/*
 * The present incarnation has opened the node for the caller in `header`, with
 * flags of open(2).  Returns 0 and *out, or -ENOMEM.
 */
int handles_new(struct handles *handles, struct node *node, const struct fuse_in_header *header, uint32_t open_flags,
		bool dir, uint64_t backend_fh, struct handle **out);

/* The handle of a kernel's fh, or NULL. */
struct handle *handles_get(const struct handles *handles, uint64_t fh);
static inline bool handles_current(const struct handles *handles, const struct handle *handle)
{
	return handle->incarnation == handles->nodes->incarnation;
}

/* It was opened again; a directory that was read from HANDLE_RESUMES. */
void handles_reopened(struct handles *handles, struct handle *handle, uint64_t backend_fh);
/* It cannot be. */
void handles_lost(struct handle *handle);

/* The kernel has closed it, or was never told of it: frees it, and settles its node. */
void handles_close(struct handles *handles, struct handle *handle);

/* A walk: from NULL to NULL. */
struct handle *handles_next(const struct handles *handles, const struct handle *after);

/* ---- dirlog.c: what the kernel has been given of a directory ------------- */

struct dirlog_entry {
	uint64_t cookie; /* what the next READDIR asks with after this entry */
	uint64_t hash;	 /* of its name: dirlog_hash() */
};

/* A log that grows beyond this is void. */
#define DIRLOG_MAX (16u << 20)

void dirlog_record_sizes(uint32_t record_size[STATE_TABLES]);

/* For handles_init(): checks the handle's log, and puts right what is rebuilt.  *parts grows by its parts. */
int dirlog_init(struct handles *handles, struct handle *handle, uint32_t *parts);

uint64_t dirlog_hash(const char *name, uint32_t length);

/*
 * A READDIR from `offset` on has begun: the position is behind the entry with that cookie;
 * 0: at the beginning.  What was given after it stays in the log until something else is
 * given in its place, so that a reader may go back and forth.  Returns false if the cookie
 * is not one that was given through this handle (the log is cleared then).
 */
bool dirlog_seek(struct handles *handles, struct handle *handle, uint64_t offset);
/* One more entry was given, at the position.  Returns 0 or -ENOMEM (the log is void then: nothing was given). */
int dirlog_add(struct handles *handles, struct handle *handle, uint64_t cookie, uint64_t hash);
/* The entries in order: *out is filled with up to `max` from number `from` on; returns how many. */
uint32_t dirlog_read(const struct handles *handles, const struct handle *handle, uint32_t from,
		     struct dirlog_entry *out, uint32_t max);
void dirlog_clear(struct handles *handles, struct handle *handle);

#endif
