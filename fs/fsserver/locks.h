/*
 * Locks: POSIX record locks and flock(2) ones.
 *
 *   locks.c       the table: what is locked, by whom.  It decides among the users of
 *                 the mount.
 *   locks_store.c the same locks on the store's files, so that other programs there
 *                 see them: one open file description per inode.
 *   locks_wait.c  the requests that wait.
 *   ops_lock.c    the requests.
 *
 * The table is in the state memory but changes outside of transactions: setting a
 * lock is idempotent, so a redo completes what a dying process left half done.  All
 * of it belongs to the mutex.
 */
#ifndef FSSERVER_LOCKS_H
#define FSSERVER_LOCKS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "tables.h"

#define LOCK_BUCKETS 1024u

struct fs;
struct relay_req;

/* What is asked for: a range, its type (F_RDLCK, F_WRLCK, F_UNLCK), and who asks. */
struct lock_range {
	uint64_t nodeid;
	uint64_t owner;
	uint64_t fh;
	uint64_t pid;
	uint64_t start;
	uint64_t end; /* inclusive */
	int type;
	bool flock;
};

/* An inode that is locked, or waited for. */
struct lock_inode {
	struct lock_inode *next;
	uint64_t nodeid;
	uint32_t first;	  /* of its locks, by `link`; 0: none */
	uint32_t waiters; /* locks_wait.c */
	int store_fd;	  /* locks_store.c; -1: not open */
	bool store_writable;
};

struct locks {
	pthread_mutex_t mutex;
	struct tables *tables;
	struct lock_inode *buckets[LOCK_BUCKETS];
	uint32_t free; /* unused entries below the bump, by `link` */
	uint32_t link[LOCKS_MAX];
};

/* ---- locks.c ----------------------------------------------------------- */

void locks_init(struct locks *locks, struct tables *tables);

/* Finds the locks that an earlier incarnation left.  0 or -ENOMEM. */
int locks_load(struct locks *locks);

/* The inode's record: NULL if it has none, or there is no memory for one. */
struct lock_inode *locks_inode(struct locks *locks, uint64_t nodeid, bool make);

/* Ends a record that has no locks and no waiters. */
void locks_inode_release(struct locks *locks, struct lock_inode *inode);

/* A lock of another owner that stands in the way, the first one after `after` (NULL: of all). */
const struct lock *locks_conflict(const struct locks *locks, const struct lock_inode *inode,
				  const struct lock_range *range, const struct lock *after);

/* The one of them that begins first, which is the one that F_GETLK tells. */
const struct lock *locks_conflict_first(const struct locks *locks, const struct lock_inode *inode,
					const struct lock_range *range);

/*
 * Sets or takes away a range of the owner's: what it had there changes, what lies
 * beside it is split off or joined.  Conflicts are the caller's affair.  0 or
 * -ENOLCK, with nothing changed.
 */
int locks_set(struct locks *locks, struct lock_inode *inode, const struct lock_range *range);

/*
 * The strongest type anybody holds at `at`, and up to where that is so.
 */
int locks_type_at(const struct locks *locks, const struct lock_inode *inode, bool flock, uint64_t at, uint64_t *until);

/* True if the owner has anything there; and the handle. */
bool locks_owner_has(const struct locks *locks, const struct lock_inode *inode, uint64_t owner, bool flock);
/* A lock that was taken through the handle, or NULL. */
const struct lock *locks_of_handle(const struct locks *locks, const struct lock_inode *inode, uint64_t fh);

/* ---- locks_store.c ----------------------------------------------------- */

/* Takes the lock on the store: 0, -EAGAIN if another program has it, or another negative errno. */
int locks_store_acquire(struct fs *fs, struct lock_inode *inode, const struct lock_range *range);

/* Makes the store's locks of the range what the table says: it has fewer or weaker ones now. */
void locks_store_refresh(const struct locks *locks, struct lock_inode *inode, const struct lock_range *range);

/* Asks who on the store stands in the way; type is F_UNLCK if nobody does. */
int locks_store_test(struct fs *fs, struct lock_inode *inode, const struct lock_range *range, struct lock_range *found);

void locks_store_close(struct lock_inode *inode);

/* ---- locks_wait.c ------------------------------------------------------ */

struct waiter;

/* 0 when it is set, -EAGAIN with *foreign if another program on the store has it, or another negative errno. */
int locks_try(struct fs *fs, struct lock_inode *inode, const struct lock_range *range, bool *foreign);

/* True if the owner, by waiting for the range, would wait for itself. */
bool locks_deadlock(const struct locks *locks, const struct lock_inode *inode, const struct lock_range *range);

/* Lets the request wait.  Called with the mutex, which is released. */
void locks_park(struct fs *fs, struct relay_req *req, struct lock_inode *inode, const struct lock_range *range,
		bool foreign);

/* Something of the inode's became free: grants what can be granted, and adds it to *done. */
void locks_retry(struct fs *fs, struct lock_inode *inode, struct waiter **done);

/* Answers them; without the mutex. */
void locks_answer(struct waiter *done);

/* What nobody locks and nobody waits for is not remembered. */
void locks_inode_done(struct locks *locks, struct lock_inode *inode);

/* ---- ops_lock.c -------------------------------------------------------- */

/* From init(): takes the locks of the table on the store. */
int locks_restore(struct fs *fs);

/* An owner closes: its locks go. */
void locks_drop_owner(struct fs *fs, uint64_t nodeid, uint64_t owner, bool flock);
/* A handle ends, and what was locked through it. */
void locks_drop_handle(struct fs *fs, uint64_t nodeid, uint64_t fh);

#endif
