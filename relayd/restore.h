/*
 * What earlier incarnations had, found again in the present one: nodes by their names,
 * open files by opening them, directories up to where they were read, locks by setting
 * them.  By repair threads, when a request needs it.
 *
 * These return 0; a positive errno to answer the request with (ESTALE: it is not there any
 * more, or something else is in its place); or -EPIPE, -ENOMEM as asks do (ask.h).
 */
#ifndef RELAYD_RESTORE_H
#define RELAYD_RESTORE_H

#include <pthread.h>
#include <stdint.h>

#include "ask.h"
#include "namegate.h"
#include "translate.h"

/* Between the threads: each object is restored by one of them at a time. */
struct restore {
	struct translate *translate;
	struct namegate names;
	pthread_cond_t done; /* with translate->lock */
	uint64_t busy[ASK_MAX]; /* kernel's fh, or nodeid with the top bit set; 0: none */
};

void restore_init(struct restore *restore, struct translate *translate);
void restore_deinit(struct restore *restore);

/* Everything that the request (in the kernel's form, whole) needs. */
int restore_request(struct restore *restore, struct ask *ask, const void *request, uint32_t size);

/* One node, by its kernel's nodeid, or one handle. */
int restore_node(struct restore *restore, struct ask *ask, uint64_t nodeid);
int restore_handle(struct restore *restore, struct ask *ask, uint64_t fh);
/* All locks of a node. */
int restore_locks(struct restore *restore, struct ask *ask, uint64_t nodeid);

/* The present incarnation's ids, once restored; 0 if it is not any more. */
uint64_t restore_backend_id(struct restore *restore, uint64_t nodeid);

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
