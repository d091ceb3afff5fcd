/*
 * What earlier incarnations had, found again in the present one: nodes by their names,
 * open files by opening them, directories up to where they were read, locks by setting
 * them.  By repair threads, when a request needs it.
 *
 * These return 0; a positive errno to answer the request with (ESTALE: it is not there any
 * more, or something else is in its place); -EPIPE, -ENOMEM as asks do (ask.h); or -EAGAIN
 * if that hangs on a RENAME of which nobody knows yet whether it was applied
 * (restore_doubt()): to be called again when one of those has become certain.
 */
#ifndef RELAYD_RESTORE_H
#define RELAYD_RESTORE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "ask.h"
#include "namegate.h"
#include "translate.h"

struct restore_doubt;

/* Between the threads: each node, with its open files and locks, is restored by one of them at a time. */
struct restore {
	struct translate *translate;
	struct namegate names;
	pthread_cond_t done; /* with translate->lock */
	uint64_t busy[ASK_MAX]; /* each ask's nodeid; 0: none */
	struct restore_doubt *doubts; /* a list, under translate->lock */
	uint32_t root_seen; /* the incarnation that has been asked for the root's attributes, under translate->lock */
};

void restore_init(struct restore *restore, struct translate *translate);
void restore_deinit(struct restore *restore);

/*
 * Everything that the request (in the kernel's form, whole) needs; and the open files of
 * an inode that it takes a name from, since afterwards they could not be found any more.
 */
int restore_request(struct restore *restore, struct ask *ask, const void *request, uint32_t size);

/*
 * Whether restore_request() is needed though all ids may be current: the request takes a
 * name from an inode with open files of an earlier incarnation, or opens a file of which
 * nothing is known by which it could be known again.  Takes the lock.
 */
bool restore_first(struct restore *restore, const void *request, uint32_t size);

/* One node, by its kernel's nodeid, or one handle. */
int restore_node(struct restore *restore, struct ask *ask, uint64_t nodeid);
int restore_handle(struct restore *restore, struct ask *ask, uint64_t fh);
/*
 * All locks of a node.  One that is not granted (somebody else took it on the store
 * meanwhile) is logged and stays in the table, to be asked for in the next incarnation.
 */
int restore_locks(struct restore *restore, struct ask *ask, uint64_t nodeid);

/* The present incarnation's ids, once restored; 0 if it is not any more. */
uint64_t restore_backend_id(struct restore *restore, uint64_t nodeid);

/*
 * A mode that was changed to open a file again is put back, on any node where an earlier
 * incarnation died before it was (restore_handle.c).  For the beginning of an incarnation.
 */
int restore_modes(struct restore *restore, struct ask *ask);

/* relayd itself: it may look at everything that the backend may. */
void restore_caller(struct fuse_in_header *self);

/* ---- restore_doubt.c ----------------------------------------------------- */

/*
 * An earlier incarnation may have applied this RENAME (or RENAME2; of others nothing is
 * noted).  Until it is known, neither of its names is believed: what is not under the old
 * one may be under the new one, and the new one may lead to something else.  To be called
 * for each such request before anything is restored in an incarnation.  The request stays
 * the caller's until it is certain.  Returns 0 or -ENOMEM.
 */
int restore_doubt(struct restore *restore, const void *request, uint32_t size);
/* Its redo was answered, and that was noted in the tables; or it will not be redone. */
void restore_certain(struct restore *restore, const void *request);
/* The channel has ended: the next incarnation begins with doubts of its own. */
void restore_doubts_clear(struct restore *restore);

/* ---- restore_dir.c ------------------------------------------------------- */

/*
 * READDIR and READDIRPLUS on a directory handle that was opened again, where the cookie
 * is one that an earlier incarnation gave.  If the present one gives the same cookies the
 * request is to be passed on (returns 0 with *size 0).  Otherwise what has not been given
 * yet is served from a listing that is read now: the reply's payload, in the backend's form
 * (entries of READDIRPLUS without a node), is put into reply (capacity from the request's
 * size), with cookies that are not among those given.  *size: its length, UINT32_MAX: the end.
 */
int restore_readdir(struct restore *restore, struct ask *ask, const void *request, uint32_t size, void *reply,
		    uint32_t *reply_size);

#endif
