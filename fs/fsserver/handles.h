/*
 * The handle table: which node a handle of the kernel's is open on, and how to
 * open it again.  The descriptors are a process's own: files.c.
 */
#ifndef FSSERVER_HANDLES_H
#define FSSERVER_HANDLES_H

#include "tables.h"

static inline uint32_t handle_index(uint64_t fh)
{
	return (uint32_t)(fh & ((1u << HANDLE_INDEX_BITS) - 1));
}

/* The handle of that fh, or NULL. */
struct handle *handle_get(const struct tables *tables, uint64_t fh);

/* A handle on a living node, which counts it.  0, -ENFILE when the table is full, or -ENOSPC. */
int handle_new(struct txn *txn, struct tables *tables, uint64_t nodeid, uint32_t flags, uint64_t *fh);

/* True if the node is open for writing. */
bool handles_write(const struct tables *tables, uint64_t nodeid);

/* An unknown fh does nothing.  0 or -ENOSPC. */
int handle_free(struct txn *txn, struct tables *tables, uint64_t fh);

#endif
