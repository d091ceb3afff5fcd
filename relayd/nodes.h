/*
 * The nodes that the kernel knows on a mount whose backend's ids change from one life
 * to the next, and the names by which they are found again.
 *
 * A node has the kernel's nodeid, which relayd made up and never reuses; the present
 * incarnation's id, once that has given one; and links: the names under which it was
 * seen.  A link is (directory, name) -> node; there is one for a name.
 *
 * A node lives while the kernel counts lookups of it, while it is the directory of a
 * link, while it has open files or locks, and while it is kept.
 *
 * Called with the translate lock held.  No pointer to a node or a link is kept over an
 * unlock, or over a call that may free it (nodes_forget(), nodes_settle(), nodes_unlink(),
 * nodes_rename(), nodes_entry() and nodes_link()): its nodeid is.  The last two keep the
 * nodes that they are given, and may free a directory that only lived for a name in it.
 *
 * A directory has one name, the one it was last seen under, as it has in the kernel; no
 * directory is below itself.  The names of others are as many as were seen.
 */
#ifndef RELAYD_NODES_H
#define RELAYD_NODES_H

#include <stdbool.h>
#include <stdint.h>

#include "identity.h"
#include "relay/fuse_abi.h"
#include "state.h"

struct node {
	struct state_record record;
	uint64_t nodeid;    /* the kernel's: reuse << 32 | number; FUSE_ROOT_ID of the root */
	uint64_t nlookup;   /* the kernel's count */
	uint64_t shown_ino; /* what the kernel is told, always */
	/* Of `incarnation` only. */
	uint64_t backend_id; /* 0: given back, or it was never given */
	uint64_t backend_generation;
	uint64_t backend_nlookup; /* what that incarnation has counted, as far as relayd was told */
	uint32_t incarnation;	  /* that gave its id last, and its attributes; 0: none yet */
	uint32_t reuse;		  /* its birth's number: tells it from others that had its number */
	struct identity identity;
	uint32_t links;	   /* refs of links (nodes_link.c), the first of a list; 0: none */
	uint32_t children; /* links in this directory */
	uint32_t opens;	   /* open files (handles.h) */
	uint32_t writers;  /* those of them that may write */
	uint32_t locks;	   /* the first of a list (locks.h) */
	uint32_t next;	   /* rebuilt: in the index by backend_id */
	uint32_t changes;  /* counts what disturbed its attributes */
	uint32_t unsettled; /* what changes them is with the backend: they may be from before that, or from after */
	uint32_t kept;	    /* 1: for an answer that it is worth (answers.h), though the kernel does not count it */
	uint32_t
		mode_owed; /* permissions that are to be put back, with RESTORE_MODE_OWED; 0: none (restore_handle.c) */
};

struct link {
	struct state_record record;
	uint32_t parent; /* number of the directory's node */
	uint32_t node;	 /* of the node */
	uint32_t next_of_node;
	uint32_t next; /* rebuilt: in the index by name */
	uint32_t hash;
	uint32_t length;
	char name[]; /* no NUL */
};

struct nodes {
	struct state *state;
	const char *mount; /* for the log */
	uint32_t incarnation;
	uint32_t *by_id;   /* heads of chains of nodes of the present incarnation */
	uint32_t *by_name; /* heads of chains of links */
	uint32_t ids_size; /* powers of two */
	uint32_t names_size;
	uint32_t ids_count;
	uint32_t names_count;
	uint32_t root;	    /* number of the root's node */
	uint32_t root_seen; /* the incarnation that the root's attributes are of; 0: not known */
	struct identity_evidence evidence;

	/* Told of each (backend id, count) that the present incarnation is to forget; may be NULL. */
	void (*on_forget)(uint64_t backend_id, uint64_t nlookup, void *arg);
	/* Told that this link is a name of the node no more; it changes no table.  May be NULL. */
	void (*on_unnamed)(const struct node *node, uint32_t ref, void *arg);
	void *arg;
};

/* The record sizes of the tables of nodes and links, into a table for state_init(). */
void nodes_record_sizes(uint32_t record_size[STATE_TABLES]);

/*
 * Starts with what is in the state (which stays the caller's): an empty one gets a root.
 * The present incarnation is the last that it knows of, until nodes_incarnation().
 * Returns 0, -ENOMEM, or -EPROTO if what the state holds cannot be true (open files and
 * locks are for handles_init() and locks_init() to check).
 */
int nodes_init(struct nodes *nodes, struct state *state, const char *mount);
void nodes_deinit(struct nodes *nodes);

/* From here on ids are those of this incarnation; a new one has given none but the root's. */
void nodes_incarnation(struct nodes *nodes, uint32_t incarnation);

/* The node of a kernel's nodeid, or NULL. */
struct node *nodes_get(const struct nodes *nodes, uint64_t nodeid);
/* By its number (link.parent, link.node, handle.node), which is live. */
struct node *nodes_at(const struct nodes *nodes, uint32_t number);
uint32_t nodes_number(const struct node *node);
/* The node that the present incarnation calls by this id, or NULL. */
struct node *nodes_by_backend(const struct nodes *nodes, uint64_t backend_id);
/* It has an id of the present incarnation. */
static inline bool nodes_current(const struct nodes *nodes, const struct node *node)
{
	return node->incarnation == nodes->incarnation && node->incarnation != 0 && node->backend_id != 0;
}

/*
 * The present incarnation has found `entry` under (parent, name): in a reply to a LOOKUP,
 * or to what makes names.  Finds the node that it is: the one of that id; or the one known
 * under this name, if it is not found again yet and the identity agrees; or a new one.  Its
 * backend_nlookup is counted up by 1 (unless name is "." or "..", or it is the root: there
 * too), the link is made, and the entry is rewritten for the kernel: nodeid, generation, ino.
 * The kernel's nlookup is not touched: nodes_count() is for when it has been told.
 *
 * name NULL: it was made without one (TMPFILE), and there is no link.
 *
 * A backend id that is known with another generation or type is another file's now: the
 * node that had it is no file's any more.
 *
 * expect (NULL: none): the node that is being looked for again; it is taken only if the
 * identity agrees, and if it was not found under another id meanwhile.
 *
 * Returns 0 and *out; -ENOMEM; -EPROTO for an entry that is none (no nodeid or no type), or
 * a parent that is no directory; -ESTALE if it is not `expect`.  If it fails the backend's
 * count was given back by on_forget().
 */
int nodes_entry(struct nodes *nodes, struct node *parent, const char *name, struct fuse_entry_out *entry,
		struct node *expect, struct node **out);

/* The kernel has counted one more lookup of it. */
void nodes_count(struct node *node);
/* The kernel forgets: of a nodeid that it does not have nothing is done. */
void nodes_forget(struct nodes *nodes, uint64_t nodeid, uint64_t nlookup);

/*
 * After its last open file or lock has gone, or the reply that it came in was not
 * delivered: frees the node if nothing keeps it any more.  One that is only the directory
 * of links is given back to the backend, and lives on as a part of paths.
 */
void nodes_settle(struct nodes *nodes, struct node *node);

/* Attributes of the node have come, asked for when node->changes was `changes`; rewrites ino for the kernel. */
void nodes_attr(struct nodes *nodes, struct node *node, struct fuse_attr *attr, uint32_t changes);
/* It is being written to. */
void nodes_disturb(struct node *node);

/* ---- names: nodes_link.c ------------------------------------------------ */

/* The link of that name, or NULL. */
struct link *nodes_find(const struct nodes *nodes, const struct node *parent, const char *name, uint32_t length);
/* The same and its ref, which is another link's only after on_unnamed() was told; 0: none. */
uint32_t nodes_find_ref(const struct nodes *nodes, const struct node *parent, const char *name, uint32_t length,
			struct link **link);
/* The node that a name is known to lead to, or NULL. */
struct node *nodes_child(const struct nodes *nodes, const struct node *parent, const char *name);

/* Makes the name lead to the node, whatever it led to.  Returns 0 or -ENOMEM (then it leads nowhere). */
int nodes_link(struct nodes *nodes, struct node *parent, const char *name, struct node *node);
/* The name leads nowhere any more. */
void nodes_unlink(struct nodes *nodes, struct node *parent, const char *name);
/* As the RENAME of this kind was applied (flags of renameat2(2)).  Returns 0 or -ENOMEM (names are forgotten then). */
int nodes_rename(struct nodes *nodes, struct node *parent, const char *name, struct node *new_parent,
		 const char *new_name, uint32_t flags);

/* The first link of the node, and the next after one; NULL at the end. */
struct link *nodes_first_link(const struct nodes *nodes, const struct node *node);
struct link *nodes_next_link(const struct nodes *nodes, const struct link *link);

#endif
