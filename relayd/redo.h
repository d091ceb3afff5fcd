/*
 * Requests that an incarnation without a journal may have applied before it died: for
 * each kind, what is asked and compared before the application is told anything.  The
 * table is in docs/recovery.md.
 *
 * The VFS holds the directory's lock over a namespace operation and has just looked the
 * name up, so a name that is there on a redo of what makes it is our own doing, and so is
 * one that is not there on a redo of what removes it; unless others write to the store.
 */
#ifndef RELAYD_REDO_H
#define RELAYD_REDO_H

#include <stdbool.h>
#include <stdint.h>

#include "ask.h"
#include "restore.h"
#include "translate.h"

enum redo_outcome {
	REDO_SEND,     /* the request is to be sent as it is */
	REDO_ANSWERED, /* the reply is in `reply` */
};

struct redo {
	struct restore *restore;
	struct ask *ask;
	const char *mount;  /* for the log */
	bool shared_store;  /* nothing is taken for our own doing */
	const void *request; /* whole, in the kernel's form; what it needs was restored */
	uint32_t size;
	uint64_t before; /* redo_before()'s */
	/* The reply, in the backend's form: error is negative or 0. */
	int32_t error;
	void *reply; /* room for RELAY_MAX_REPLY bytes of payload */
	uint32_t reply_size;
};

/* Whether a redo of this request needs redo_run(). */
bool redo_special(const void *request, uint32_t size);

/*
 * Whether the request has to be looked at before it is sent for the first time (FALLOCATE
 * that moves data); redo_before() then gives the number that redo_run() compares.
 */
bool redo_looks_before(const void *request, uint32_t size);
int redo_before(struct redo *redo, uint64_t *before);

/*
 * The request may be applied by this.  The caller has passed the namespace gate for a
 * request that takes names (RELAY_OP_RENAMES), and leaves it when the reply is noted.
 *
 * Returns an enum redo_outcome, or -EPIPE or -ENOMEM as asks do: -EPIPE too if what was
 * restored is not any more.
 */
int redo_run(struct redo *redo);

#endif
