/*
 * What is known not to exist: names, and extended attributes.  The rules by which it becomes
 * known and stays true, from the requests and replies of one mount.
 *
 * Whoever hands requests to what applies them keeps them: relayd for backends that know
 * nothing of it, librelay within those that are linked with it.  Where what is known is
 * written down (maps that a program in the kernel answers from) is behind struct absence_store.
 *
 * relay_absence_begin() is called before a request is handed on, relay_absence_end() when its
 * reply is there and before anybody is told.  In between its window is open:
 *
 * - What a change makes untrue is taken back at its begin, before the change is applied.
 *   So at every moment, and whoever dies at it, what is written down is true of the
 *   store: a process dying before the begin leaves a change that was not made, one dying
 *   after it leaves less known than there could be.
 * - What a reply says is written down only if no change of that directory (of that node)
 *   was begun or under way since its request was handed on, under the lock that changes
 *   take to begin.
 * - Of a complete directory each name that exists is written down as present: from before it
 *   is made until after it is gone.  A name too many costs a request, one too few would be
 *   a wrong answer.
 *
 * What cannot be written down is not known.  What cannot be taken back is not changed:
 * relay_absence_begin() fails, and the request is answered with its error.
 *
 * Changes are counted in buckets that nodes share: a collision costs knowledge, and nothing
 * else.  So does a full table.  A nodeid must never become another node's.
 */
#ifndef RELAY_ABSENCE_H
#define RELAY_ABSENCE_H

#include <stdbool.h>
#include <stdint.h>

#include "relay/opcodes.h"

#define ABSENCE_FOREVER UINT64_MAX

/*
 * Where it is written down.  Names have no zero and `length` is right.  All return 0 or a
 * negative errno, and may be called on any thread, most with the rules' lock held: they wait
 * for nothing.
 */
struct absence_store {
	/* The name is absent until then.  On failure it is not known. */
	int (*absent_put)(void *store, uint64_t dir, const char *name, uint32_t length, uint64_t until);
	/* Nothing is known of the name any more.  -EINVAL: it can never be in there. */
	int (*absent_drop)(void *store, uint64_t dir, const char *name, uint32_t length);
	/* The name exists, or is about to; one that is there already stays as it is. */
	int (*present_put)(void *store, uint64_t dir, const char *name, uint32_t length);
	int (*present_drop)(void *store, uint64_t dir, const char *name, uint32_t length);
	/* All names that exist are present. */
	int (*dir_complete)(void *store, uint64_t dir);
	/* It is complete no longer; absent names may be used again after the next absent_put(). */
	int (*dir_drop)(void *store, uint64_t dir);
	/* The name is to be looked up again; undone by absent_put() and absent_drop().  A hint. */
	int (*stale_put)(void *store, uint64_t dir, const char *name, uint32_t length);
	/* The number of an attribute whose absence can be written down, below ABSENCE_XATTRS, or -1. */
	int (*xattr)(const char *name);
	int (*xattr_put)(void *store, uint64_t nodeid, unsigned xattr, uint64_t until);
	int (*xattr_drop)(void *store, uint64_t nodeid, unsigned xattr);
	/* Nothing is known of its attributes, and it is not complete. */
	int (*node_drop)(void *store, uint64_t nodeid);
	/* Nothing is known at all. */
	int (*clear)(void *store);
	/* Takes out the present names of directories that are neither complete nor kept.  Without the lock. */
	void (*sweep)(void *store, bool (*keep)(uint64_t dir, void *arg), void *arg);
	uint64_t (*now)(void); /* on the clock of `until`, ns */
};

#define ABSENCE_XATTRS 8u

/* How far what a reply says is believed. */
struct absence_trust {
	bool sole;     /* nobody else changes the store: what is so stays so until it is changed here */
	bool complete; /* a listing has all the names there are */
	bool gate;     /* names that a notification is about are marked as stale */
	/*
	 * For how long, ns, names and attributes are absent of which the backend says no time.
	 * 0: with `sole` for ever, else not at all.
	 */
	uint64_t lease;
};

struct absence;

/* From a request's begin until its end.  All zero: not open. */
struct absence_window {
	uint64_t since;
	uint32_t changes;
	uint32_t bucket[2];
};

/* A request that relay_args_parse() has passed; args may lack what its copy had no room for. */
struct absence_request {
	const struct relay_op *op;
	uint64_t nodeid;
	struct relay_args args;
	bool redo; /* an earlier incarnation may have applied it */
};

/* Its reply, which relay_reply_check() has passed. */
struct absence_reply {
	int error; /* errno, or 0 */
	const void *payload;
	uint32_t size;
};

/*
 * inherited: something may be written down already, by somebody who has died since: it is true,
 * and taken back where it is changed.  The store outlives the rules.  Returns NULL without memory.
 */
struct absence *relay_absence_new(const struct absence_store *ops, void *store, const struct absence_trust *trust,
				  bool inherited);
void relay_absence_free(struct absence *absence);

/*
 * The request is about to be handed on; again, perhaps.  The window is the request's, zero at
 * first.  Returns 0, or a negative errno: it must not be applied, and the window is closed.
 */
int relay_absence_begin(struct absence *absence, const struct absence_request *request, struct absence_window *window);

/* Its reply is about to be passed on.  The window is closed afterwards. */
void relay_absence_end(struct absence *absence, const struct absence_request *request, struct absence_window *window,
		       const struct absence_reply *reply);

/* There will be no reply, or nothing is to be learnt from it. */
void relay_absence_close(struct absence *absence, struct absence_window *window);

/* Whether the rules have to see the request at all. */
static inline bool relay_absence_concerns(const struct relay_op *op)
{
	return op->absence != RELAY_ABSENCE_NOTHING;
}

/*
 * A notification for the kernel (fuse_out_header first), in the kernel's ids, before it is sent.
 * Any bytes.  Returns 0, or a negative errno: something may still be believed that it denies.
 */
int relay_absence_notify(struct absence *absence, const void *packet, uint32_t size);

/* The node's attributes, and its names if it is a directory, are others now.  As relay_absence_notify(). */
int relay_absence_changed(struct absence *absence, uint64_t nodeid);

/* Other incarnations answer from here on: what an earlier one was in the midst of telling is not believed. */
void relay_absence_incarnation(struct absence *absence);

/* Nothing is believed any more that was said until now.  Returns 0 or a negative errno. */
int relay_absence_clear(struct absence *absence);

/* ---- what a filesystem says of its own accord ------------------------------ */

/*
 * The name, or the attribute, is absent for that long (ns; ABSENCE_FOREVER).  Returns 0, or a negative
 * errno: -EAGAIN if a change is under way, -EINVAL for what cannot be written down.
 */
int relay_absence_put(struct absence *absence, uint64_t dir, const char *name, uint64_t lease);
int relay_absence_put_xattr(struct absence *absence, uint64_t nodeid, const char *name, uint64_t lease);
/* It exists, perhaps. */
int relay_absence_drop(struct absence *absence, uint64_t dir, const char *name);
int relay_absence_drop_xattrs(struct absence *absence, uint64_t nodeid);
/* The kernel is to look the name up again. */
int relay_absence_stale(struct absence *absence, uint64_t dir, const char *name);
/* These are all the names of the directory.  As relay_absence_put(). */
int relay_absence_complete(struct absence *absence, uint64_t dir, const char *const *names, uint32_t count);

#endif
