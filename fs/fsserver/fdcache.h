/*
 * O_PATH descriptors of nodes.  The ordinary ones are a bounded cache, least
 * recently used first out.  A pinned one stays, because its inode cannot be found
 * any more by handle or name; a pinned one that is kept is with relayd too, and
 * so outlives this process.
 *
 * Thread-safe.
 */
#ifndef FSSERVER_FDCACHE_H
#define FSSERVER_FDCACHE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#define FDCACHE_BUCKETS 4096u

struct fd_entry {
	struct fd_entry *hash_next;
	struct fd_entry *newer, *older; /* on the list while nobody uses it and it has no pins */
	uint64_t nodeid;
	int fd;
	unsigned refs;
	unsigned pins;
	bool kept;   /* pin.c's, under the state lock */
	bool orphan; /* out of the table: closed by its last user */
};

struct fdcache {
	pthread_mutex_t lock;
	struct fd_entry *buckets[FDCACHE_BUCKETS];
	struct fd_entry list; /* head: newer is the oldest, older the newest */
	unsigned idle;	      /* on the list */
	unsigned idle_max;
};

void fdcache_init(struct fdcache *cache, unsigned idle_max);

/* The node's entry with a reference taken, or NULL. */
struct fd_entry *fdcache_get(struct fdcache *cache, uint64_t nodeid);

/*
 * Enters fd, which becomes the cache's also on failure, and takes a reference.  If
 * the node has an entry by now, that one is returned.  NULL: no memory.
 */
struct fd_entry *fdcache_add(struct fdcache *cache, uint64_t nodeid, int fd);

/* Takes back a reference.  NULL does nothing. */
void fdcache_put(struct fdcache *cache, struct fd_entry *entry);

/* The caller has a reference.  Pins are counted; unpinning returns true for the last. */
void fdcache_pin(struct fdcache *cache, struct fd_entry *entry);
bool fdcache_unpin(struct fdcache *cache, struct fd_entry *entry);

/* The node is gone: so is its entry.  Returns true if it was kept. */
bool fdcache_forget(struct fdcache *cache, uint64_t nodeid);

/* Closes what nobody uses: descriptors ran out.  Returns how many. */
unsigned fdcache_shrink(struct fdcache *cache);

#endif
