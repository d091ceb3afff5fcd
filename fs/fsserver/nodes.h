/*
 * The node table: which inode a nodeid is, and how to find it again.  One nodeid
 * per inode, however many names it has; a nodeid is never used for another inode.
 *
 * A node lives while the kernel knows it (nlookup), has it open (opens), or a
 * node without file handle remembers it as its parent (children).  When the last of
 * them goes so does the node, and is listed in txn->freed.
 */
#ifndef FSSERVER_NODES_H
#define FSSERVER_NODES_H

#include "tables.h"

/* What a node is made from. */
struct node_source {
	struct node_ident ident;
	/* Found again by a file handle ... */
	int mount_id;
	int handle_type;
	unsigned handle_size; /* 0: by parent and name */
	uint8_t handle[FILE_HANDLE_MAX];
	/* ... or by these. */
	uint64_t parent;
	const char *name;
};

static inline uint32_t node_index(uint64_t nodeid)
{
	return (uint32_t)(nodeid & ((1u << NODE_INDEX_BITS) - 1));
}

/* The node's nodeid. */
uint64_t node_id(const struct tables *tables, const struct node *node);

/* The living node of that nodeid, or NULL. */
struct node *node_get(const struct tables *tables, uint64_t nodeid);

/* The node of an inode, or NULL. */
struct node *node_find(const struct tables *tables, const struct node_ident *ident);

/* Makes node 1.  Once, before tables_ready(), without a transaction. */
void node_init_root(struct tables *tables, const struct node_source *source);

/*
 * Counts one lookup of the inode, making its node if it has none.  A node that is
 * found by name and was seen under another one remembers the new name if `renew`.
 *
 * Returns 0, -ENOMEM when the table is full, or -ENOSPC.
 */
int node_ref(struct txn *txn, struct tables *tables, const struct node_source *source, bool renew, uint64_t *nodeid);

/* Takes back `count` lookups.  0 or -ENOSPC. */
int node_unref(struct txn *txn, struct tables *tables, uint64_t nodeid, uint64_t count);

/* Counts handles. */
int node_open(struct txn *txn, struct node *node);
int node_close(struct txn *txn, struct tables *tables, uint64_t nodeid);

/* True if the node is found by this very name. */
bool node_is_named(const struct tables *tables, const struct node *node, uint64_t parent, const char *name);

/* A node that is found by name has another one now (0, -ENOMEM, -ENOSPC). */
int node_rename(struct txn *txn, struct tables *tables, struct node *node, uint64_t parent, const char *name);

/* Two of them have each other's. */
int node_swap_names(struct txn *txn, struct node *a, struct node *b);

/* True if the entry can be reached: the node was committed, and not freed since. */
bool node_exists(const struct tables *tables, uint64_t nodeid);

#endif
