/*
 * What relayd answers by itself: names and attributes, for as long as the backend has said
 * that they hold.
 *
 * The kernel believes them for the same time and asks again only for what it has dropped;
 * so this is for what memory pressure has taken from it.  To have an answer that is worth
 * anything relayd keeps nodes that the kernel has forgotten: the backend is told later.
 *
 * An answer may be given if nothing can have made it untrue since the backend gave it.  Each
 * request that changes something opens a window when it is sent and closes it before its
 * reply is written; so does each that is to be remembered.  Closing stamps what was changed
 * with the next number of one sequence.  What a reply says is remembered if no other window
 * of a change to it was open at any time between the request and the reply, and it is an
 * answer while none is open and none has been closed since.  Stamps and open windows are
 * counted in buckets that nodes share: a collision costs an answer and nothing else.
 *
 * A name is more than that: it leads to its node only while the tables have that link, and
 * on_unnamed() of nodes.h says when they have it no more.
 *
 * Whoever asks is given what anybody was told, as by the kernel itself: a name that is
 * believed leads there for all callers, whatever the backend allows each of them.  One that
 * answers callers differently says that nothing is to be believed.  Errors are not
 * remembered, since they may be the caller's; that a name does not exist is, if the backend
 * gave a time for it.
 *
 * Nothing of it survives relayd.  It survives backends, as the kernel's caches do.  Memory is
 * one block for a mount, taken as it is used; without it there are no answers.
 *
 * With the translate lock held, but for answers_window_*() and answers_stale*().
 */
#ifndef RELAYD_ANSWERS_H
#define RELAYD_ANSWERS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "nodes.h"

/* Nodes and absent names that are remembered at most. */
#define ANSWERS_NODES 65536u
#define ANSWERS_ABSENT 4096u
/* Longer names are not remembered as absent. */
#define ANSWERS_NAME_MAX 43u

struct answers_memory;

struct answers {
	struct answers_memory *memory; /* NULL: there was none to be had */
	_Atomic uint64_t sequence;
	_Atomic bool any; /* something was remembered once */
	uint32_t kept;	  /* nodes */
	uint32_t most;	  /* objects that the backend has had at once, without those kept */
};

enum answers_part {
	ANSWERS_ATTR,  /* attributes of a node */
	ANSWERS_NAMES, /* what names in a directory lead to */
};

#define ANSWERS_CHANGES_MAX 7u

/* From when a request was sent until its reply.  All zero: not open. */
struct answers_window {
	uint64_t since;	  /* of the sequence */
	uint64_t stamp;	  /* at which it closes; 0: at the next */
	uint32_t changes; /* buckets that it changes */
	uint32_t bucket[ANSWERS_CHANGES_MAX];
};

void answers_init(struct answers *answers);
void answers_deinit(struct answers *answers);

/* Opens it, or anew: then what it was open for was changed. */
void answers_window_open(struct answers *answers, struct answers_window *window);
/* The request changes this; everything, perhaps. */
void answers_window_change(struct answers *answers, struct answers_window *window, enum answers_part part,
			   uint64_t nodeid);
void answers_window_change_all(struct answers *answers, struct answers_window *window);
/*
 * Its reply has come: what is remembered of that is true after the change, and so is what is
 * asked from here on.
 */
void answers_window_replied(struct answers *answers, struct answers_window *window);
/* Closes it if it is open for a change. */
void answers_window_close(struct answers *answers, struct answers_window *window);

/* Something else has changed it. */
void answers_stale(struct answers *answers, enum answers_part part, uint64_t nodeid);
void answers_stale_all(struct answers *answers);

/* ---- what replies say ------------------------------------------------------ */

/* Of a request whose window is open; attr in the kernel's form. */
void answers_attr(struct answers *answers, const struct node *node, const struct fuse_attr *attr, uint64_t valid,
		  uint32_t valid_nsec, const struct answers_window *window);
/* The same of an entry of that name, which the tables have. */
void answers_entry(struct answers *answers, const struct nodes *nodes, const struct node *parent, const char *name,
		   const struct node *node, const struct fuse_entry_out *entry, const struct answers_window *window);
/* There is nothing of that name. */
void answers_absent(struct answers *answers, const struct node *parent, const char *name,
		    const struct fuse_entry_out *entry, const struct answers_window *window);

/* The link leads to the node no more, or it may be so; ref 0: nor does any other. */
void answers_unnamed(struct answers *answers, const struct node *node, uint32_t ref);
/* The backend has ended: what it had not done yet is not done. */
void answers_incarnation(struct answers *answers, const struct nodes *nodes);

/* ---- answers --------------------------------------------------------------- */

/*
 * The kernel asks at now_ns (CLOCK_MONOTONIC) for a name, or for attributes.  Of a node that
 * it counts, by any name, it is told nothing unless `any`: it knows as much, and asks because
 * it wants to hear it from the backend (O_EXCL, ESTALE, AT_STATX_FORCE_SYNC).  Returns false
 * if there is no answer; otherwise *node, which is to be counted, is NULL for an absent name.
 */
bool answers_lookup(const struct answers *answers, const struct nodes *nodes, const struct node *parent,
		    const char *name, bool any, uint64_t now_ns, struct fuse_entry_out *entry, struct node **node);
bool answers_getattr(const struct answers *answers, const struct node *node, uint64_t now_ns,
		     struct fuse_attr_out *out);

/* ---- keeping --------------------------------------------------------------- */

/* The kernel is about to forget the node: keeps it, if there is an answer for it. */
void answers_keep(struct answers *answers, const struct nodes *nodes, struct node *node);
/* The kernel counts it again, or nobody does. */
void answers_unkeep(struct answers *answers, struct node *node);

/*
 * Lets go of nodes that are worth nothing any more, and of as many as make the backend hold
 * more objects than it ever had to without them; `opens` is how many files it has open.
 * Called where no pointer to a node is held.  Returns whether there were any.
 */
bool answers_sweep(struct answers *answers, struct nodes *nodes, uint32_t opens);

#endif
