/*
 * The tables that outlive a process: nodes, the names of nodes that have no file
 * handle, open handles and locks, in the state memory that librelay keeps from
 * one incarnation to the next.
 *
 * Nodes, names and handles change only inside a transaction (struct txn), so they
 * become true together with the reply that tells the kernel about them.  Three
 * rules keep that sound with few logged words:
 *
 *  - A body that nothing points at is garbage: a fresh one is filled in with plain
 *    stores, and only the words that lead to it are logged.  Undoing those makes
 *    it garbage again.
 *  - A body has a word of its own for the free list, which nothing else uses: an
 *    allocation that is undone finds the list as it was.
 *  - No transaction allocates after it has freed: the freed body would be
 *    overwritten, and an undo could not bring it back.
 *
 * The arrays are generous and sparse: pages are had when they are first touched.
 */
#ifndef FSSERVER_TABLES_H
#define FSSERVER_TABLES_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "relay/relay.h"

#define NODES_MAX (1u << 22)
#define NODE_BUCKETS (1u << 20)
#define NAMES_MAX (1u << 22)
#define HANDLES_MAX (1u << 20)
#define LOCKS_MAX (1u << 16)

#define TABLES_MAGIC 0x3145565245535346ULL /* "FSSERVE1" */
#define TABLES_VERSION 1u

/* nodeid: serial << NODE_INDEX_BITS | index.  The top two bits stay clear for other keys. */
#define NODE_INDEX_BITS 28
#define NODE_SERIAL_MAX ((1ULL << (62 - NODE_INDEX_BITS)) - 1)
#define NODE_ROOT FUSE_ROOT_ID
/* fh: serial << HANDLE_INDEX_BITS | index; never 0. */
#define HANDLE_INDEX_BITS 24
#define HANDLE_SERIAL_MAX ((1ULL << (62 - HANDLE_INDEX_BITS)) - 1)

/* A node, or the parent that one has left, and the ancestors that go with them. */
#define FREED_MAX 8

#define FILE_HANDLE_MAX 128
#define NAME_LENGTH_MAX 255

struct tables_header {
	uint64_t magic; /* written last */
	uint64_t version;
	uint64_t node_free; /* index of the first free node, 0: none */
	uint64_t node_bump; /* first index never used */
	uint64_t name_free;
	uint64_t name_bump;
	uint64_t handle_free;
	uint64_t handle_bump;
	uint64_t lock_bump; /* locks.c: no lock at or above it */
	uint64_t reserved[7];
};

/* What tells one inode from every other, also from a later one with its number. */
struct node_ident {
	uint64_t dev;
	uint64_t ino;
	uint64_t btime; /* ns; 0 where the store has no birth times */
};

struct node {
	uint64_t serial;    /* of the nodeid; changes with each use of this entry */
	uint64_t free_next; /* index, while free */
	uint64_t hash_next; /* index */
	struct node_ident ident;
	uint64_t nlookup;  /* the kernel's references */
	uint64_t opens;	   /* handles */
	uint64_t children; /* nodes that remember this one as their parent */
	uint64_t parent;   /* nodeid; with `name`, for a node without file handle */
	uint64_t name;	   /* index of a name, 0: none */
	int32_t mount_id;
	int32_t handle_type;
	uint32_t handle_size; /* 0: no file handle, found by parent and name */
	uint32_t reserved0;
	uint8_t handle[FILE_HANDLE_MAX];
	uint64_t backing; /* while open: what the kernel reads and writes it by (passthrough.c); 0: us */
	uint64_t reserved[2];
};
static_assert(sizeof(struct node) == 256, "node");

struct name {
	uint64_t free_next;
	char text[NAME_LENGTH_MAX + 1];
};

struct handle {
	uint64_t serial;
	uint64_t free_next;
	uint64_t live; /* its fh, or 0 */
	uint64_t nodeid;
	uint64_t flags; /* for reopening: open(2)'s, without what acts once */
	uint64_t reserved[3];
};

/* A lock, or a piece of one that was split.  Published and withdrawn by `live`. */
struct lock {
	_Atomic uint64_t live;
	uint64_t nodeid;
	uint64_t owner; /* the kernel's */
	uint64_t fh;	/* what it was taken through */
	uint64_t start;
	uint64_t end;  /* inclusive */
	uint32_t type; /* F_RDLCK or F_WRLCK */
	uint32_t flock;
	uint64_t pid;
};

/* Where everything lies in the state memory. */
struct tables {
	struct tables_header *header;
	uint64_t *buckets; /* index of a node */
	struct node *nodes;
	struct name *names;
	struct handle *handles;
	struct lock *locks;
};

/* A transaction on the tables. */
struct txn {
	/* Changes a word so that it can be undone: 0 or -ENOSPC.  Tests have their own. */
	int (*set)(struct txn *txn, uint64_t *word, uint64_t value);
	struct relay_req *req;
	unsigned count; /* words logged so far */
	uint64_t *words[RELAY_STATE_MAX];
	unsigned freed_count; /* nodes that it frees */
	uint64_t freed[FREED_MAX];
};

size_t tables_size(void);

/*
 * Lays the tables over memory of tables_size() bytes, which is zeroed for the
 * first incarnation.  Returns 0, or -EPROTO for tables of another version.
 */
int tables_map(struct tables *tables, void *memory);

/* True until tables_ready(): nobody has got as far as to use them. */
bool tables_fresh(const struct tables *tables);
void tables_ready(struct tables *tables);

/* Starts a transaction of a request (relay_state_begin()). */
void txn_begin(struct txn *txn, struct relay_req *req);

/* Changes a word; one that this transaction has changed before costs nothing.  0 or -ENOSPC. */
int txn_set(struct txn *txn, uint64_t *word, uint64_t value);

/* How many more words it can change. */
static inline unsigned txn_room(const struct txn *txn)
{
	return RELAY_STATE_MAX - txn->count;
}

#endif
