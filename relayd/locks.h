/*
 * The locks that the present and earlier incarnations have granted: POSIX locks by
 * (node, owner, range) and flock locks by (node, owner).  They are set again in the
 * next incarnation before anything that depends on locks is passed on.
 *
 * Called with the translate lock held.
 */
#ifndef RELAYD_LOCKS_H
#define RELAYD_LOCKS_H

#include <stdbool.h>
#include <stdint.h>

#include "handles.h"
#include "nodes.h"
#include "state.h"

struct lock {
	struct state_record record;
	uint64_t owner;
	uint64_t start; /* both inclusive, as in struct fuse_file_lock */
	uint64_t end;
	uint64_t fh; /* the kernel's, that it was set through */
	uint32_t type; /* F_RDLCK or F_WRLCK */
	uint32_t pid;
	uint32_t uid;
	uint32_t gid;
	uint32_t flock; /* 1: of flock(2) */
	uint32_t node;
	uint32_t next; /* of the same node */
	uint32_t incarnation; /* the last that has it set */
};

struct locks {
	struct state *state;
	struct nodes *nodes;
};

void locks_record_sizes(uint32_t record_size[STATE_TABLES]);
/* Starts with what is in the state, after nodes_init().  Returns 0, or -EPROTO if it cannot be true. */
int locks_init(struct locks *locks, struct state *state, struct nodes *nodes);

/*
 * A SETLK or SETLKW has been granted: replaces what the owner had in the range; F_UNLCK
 * only takes.  Returns 0, or -ENOMEM with what was there still there (but for locks in the
 * midst of the range, if they are very many).  May free the node.
 */
int locks_set(struct locks *locks, struct node *node, const struct fuse_in_header *header,
	      const struct fuse_lk_in *in);

/*
 * FLUSH: the owner's POSIX locks on the node are gone.  RELEASE with FUSE_RELEASE_FLOCK_UNLOCK: its
 * flock.  Any RELEASE: what was set through that open file, of which the kernel need not say more (an
 * open file description's own locks, or where the backend has no FLUSH).  These may free the node.
 */
void locks_flush(struct locks *locks, struct node *node, uint64_t owner);
void locks_unflock(struct locks *locks, struct node *node, uint64_t owner);
void locks_closed(struct locks *locks, struct node *node, uint64_t fh);
/* The node is about to be freed. */
void locks_clear(struct locks *locks, struct node *node);

/* The first lock of the node that this incarnation has not set, or NULL. */
struct lock *locks_unset(const struct locks *locks, const struct node *node);
/* Whether the node has locks at all. */
bool locks_any(const struct node *node);

#endif
