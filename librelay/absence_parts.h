/*
 * Between the files of absence: absence.h is for others.
 */
#ifndef RELAY_ABSENCE_PARTS_H
#define RELAY_ABSENCE_PARTS_H

#include <pthread.h>
#include <stdatomic.h>

#include "absence.h"

#define ABSENCE_BUCKETS 4096u
#define ABSENCE_ALL ABSENCE_BUCKETS /* the bucket of what may change any node */

struct absence_bucket {
	uint64_t stamp; /* of the sequence: when the last change was over */
	uint32_t open;	/* changes under way */
};

/* What is written down of a node.  Low bits: its attributes. */
#define ABSENCE_ATTRIBUTES ((1u << ABSENCE_XATTRS) - 1)
#define ABSENCE_NAMES (1u << ABSENCE_XATTRS) /* some are absent: a place in the store */
#define ABSENCE_COMPLETE (1u << (ABSENCE_XATTRS + 1))
#define ABSENCE_WRITTEN (ABSENCE_ATTRIBUTES | ABSENCE_NAMES | ABSENCE_COMPLETE)
/* Its names did not fit: they are not entered again. */
#define ABSENCE_LARGE (1u << (ABSENCE_XATTRS + 2))

struct absence_node {
	uint64_t nodeid; /* 0: nobody's */
	uint32_t flags;
};

/*
 * A node that is not in here has nothing written down, or may have anything if it was
 * `inherited`.  Absent names are taken back in any case: they are not gone with their
 * directory's place.  Sets of a few places each: who needs one puts another out.
 */
#define ABSENCE_SETS 4096u
#define ABSENCE_PLACES 4u

/* A directory that is being read through an open file. */
struct absence_listing {
	uint64_t dir; /* 0: nobody's */
	uint64_t fh;
	uint64_t since; /* when its OPENDIR was handed on: what is listed may be from then */
	uint64_t next;	/* the offset up to which each name is present */
};

#define ABSENCE_LISTINGS 64u

struct absence {
	const struct absence_store *ops;
	void *store;
	struct absence_trust trust;
	_Atomic uint64_t sequence;

	pthread_mutex_t lock; /* guards all below */
	bool inherited;
	bool broken;	/* something could not be taken back: nothing more is written down */
	bool sweeping;	/* names are taken out: no other directory is entered meanwhile */
	bool litter;	/* names may be present of directories that are not complete */
	uint64_t floor; /* of the sequence: what was asked before is not believed */
	unsigned victim; /* which place is put out next */
	unsigned oldest; /* listing */
	struct absence_bucket buckets[ABSENCE_BUCKETS + 1]; /* ABSENCE_ALL is the last */
	struct absence_node nodes[ABSENCE_SETS][ABSENCE_PLACES];
	struct absence_listing listings[ABSENCE_LISTINGS];
};

/* ---- absence.c: with the lock held ----------------------------------------- */

/* No change but the window's own (NULL: none) was begun or under way since. */
bool absence_unchanged(const struct absence *absence, uint64_t nodeid, uint64_t since,
		       const struct absence_window *own);
void absence_window_change(struct absence *absence, struct absence_window *window, uint64_t nodeid);
/* The window may change any node. */
void absence_window_change_all(struct absence *absence, struct absence_window *window);
void absence_window_close(struct absence *absence, struct absence_window *window);
/* Something else has changed it. */
void absence_stamp(struct absence *absence, uint64_t nodeid);
/* What could not be taken back: returns err, after seeing to it that nothing more is written down. */
int absence_broken(struct absence *absence, int err);

/* ---- absence_names.c: likewise ---------------------------------------------- */

/* When a lease (ns) from now on is over. */
uint64_t absence_lease_until(const struct absence *absence, uint64_t lease);
/* Until when what a reply says for so long (ns) is believed; 0: not at all. */
uint64_t absence_until(const struct absence *absence, uint64_t said);
int absence_name_absent_drop(struct absence *absence, uint64_t dir, const char *name);
/* A name is coming to be in the directory: it is absent no more, and present where that counts. */
int absence_name_comes(struct absence *absence, uint64_t dir, const char *name);
/*
 * After it was applied: the name is there no more, unless another change of that directory
 * was under way, which may have made it.
 */
void absence_name_gone(struct absence *absence, const struct absence_window *window, uint64_t dir, const char *name);
/* The name was not there, when asked for at `since`.  In a complete directory it is known by that. */
void absence_name_missing(struct absence *absence, uint64_t dir, const char *name, uint64_t until, uint64_t since);
void absence_xattr_missing(struct absence *absence, uint64_t nodeid, unsigned xattr, uint64_t until);

/* ---- absence_nodes.c: likewise ---------------------------------------------- */

struct absence_node *absence_node_find(struct absence *absence, uint64_t nodeid);
/*
 * *node: what is written down of it, or NULL if nothing is.  What is inherited has been taken back.
 * Returns 0 or a negative errno.
 */
int absence_node_look(struct absence *absence, uint64_t nodeid, struct absence_node **node);
/* For what is to be written down of it.  NULL: nothing is to be. */
struct absence_node *absence_node_take(struct absence *absence, uint64_t nodeid);
/* Nothing is written down of it any more but absent names. */
int absence_node_drop(struct absence *absence, uint64_t nodeid);
/* It is of no use any more, but true. */
void absence_node_forget(struct absence *absence, uint64_t nodeid);
/* No attribute is known to be absent; it is not complete. */
int absence_node_drop_xattrs(struct absence *absence, uint64_t nodeid);
int absence_node_incomplete(struct absence *absence, uint64_t nodeid);
void absence_nodes_clear(struct absence *absence);

/* ---- absence_list.c: without it ---------------------------------------------- */

void absence_list_open(struct absence *absence, const struct absence_request *request,
		       const struct absence_window *window, const struct absence_reply *reply);
void absence_list_read(struct absence *absence, const struct absence_request *request,
		       const struct absence_window *window, const struct absence_reply *reply);
void absence_list_close(struct absence *absence, const struct absence_request *request);
void absence_list_clear(struct absence *absence); /* with the lock */
/* A directory that has just been made, and that nobody knew before. */
void absence_list_born(struct absence *absence, const struct absence_request *request,
		       const struct absence_window *window, const struct absence_reply *reply);

#endif
