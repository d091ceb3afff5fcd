/* Between the files of restore: not for others. */
#ifndef RELAYD_RESTORE_PARTS_H
#define RELAYD_RESTORE_PARTS_H

#include "restore.h"

/* node.mode_owed */
#define RESTORE_MODE_OWED 0x80000000u

/* Takes the translate lock; -EPIPE if the incarnation is not the ask's, and then it is not held. */
int restore_lock(struct restore *restore, const struct ask *ask);
void restore_unlock(struct restore *restore);

/*
 * Waits until nobody else restores the node, or its open files and locks, and keeps others from it until
 * restore_unclaim().  A thread claims one node at a time, and holds nothing else that
 * others wait for when it does: so no two wait for each other.
 */
int restore_claim(struct restore *restore, struct ask *ask, uint64_t nodeid);
void restore_unclaim(struct restore *restore, struct ask *ask);

/* LOOKUP: an entry without a node is ENOENT. */
int restore_lookup(struct ask *ask, uint64_t parent, const char *name, struct fuse_entry_out *entry);

/* restore_look.c, each with the lock held: */

/* Whether the inode number tells for certain which of two files it is: in a backend that has been seen to keep them. */
bool restore_numbers_tell(const struct nodes *nodes, const struct node *node);
/* Whether it is still open if numbers last in this backend, and the root can tell. */
bool restore_root_tells(const struct restore *restore, const struct ask *ask);
/* Whether nothing but its type would tell the file that this OPEN is of from another, if the backend died now. */
bool restore_blind(const struct restore *restore, const void *request);

/* And without it: */

/*
 * Once in a life, before anything is compared: the root is surely the same file, so its
 * inode number tells whether numbers last.
 */
int restore_root_look(struct restore *restore, struct ask *ask);
/* Learns the attributes of a file that is opened blindly otherwise. */
int restore_look(struct restore *restore, struct ask *ask, const void *request);

/* Whether the name is one of a RENAME in doubt.  With the lock held. */
bool restore_doubtful(const struct restore *restore, uint64_t parent, const char *name, uint32_t length);

/*
 * The open files of a node which the present incarnation has not opened and which are not
 * lost: up to `room` of them.  Returns how many there are.  With the lock held.
 */
uint32_t restore_open_stale(const struct restore *restore, const struct node *node, uint64_t *fhs, uint32_t room);

/* The open files of a node which the present incarnation has not opened, as far as they can be. */
int restore_opens(struct restore *restore, struct ask *ask, uint64_t nodeid);

#endif
