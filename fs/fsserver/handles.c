/*
 * The handle table.
 */
#include "handles.h"

#include <errno.h>
#include <fcntl.h>

#include "nodes.h"

struct handle *handle_get(const struct tables *tables, uint64_t fh)
{
	uint32_t index = handle_index(fh);

	if (index == 0 || index >= HANDLES_MAX || fh == 0 || tables->handles[index].live != fh)
		return NULL;
	return &tables->handles[index];
}

int handle_new(struct txn *txn, struct tables *tables, uint64_t nodeid, uint32_t flags, uint64_t *fh)
{
	struct tables_header *header = tables->header;
	struct node *node = node_get(tables, nodeid);
	uint64_t index = header->handle_free;
	struct handle *handle;
	int err;

	if (!node)
		return -ESTALE;
	if (index != 0) {
		err = txn_set(txn, &header->handle_free, tables->handles[index].free_next);
	} else {
		index = header->handle_bump;
		if (index >= HANDLES_MAX)
			return -ENFILE;
		err = txn_set(txn, &header->handle_bump, index + 1);
	}
	if (err)
		return err;
	handle = &tables->handles[index];
	if (handle->serial >= HANDLE_SERIAL_MAX)
		return -ENFILE;
	handle->serial++;
	handle->nodeid = nodeid;
	handle->flags = flags;
	*fh = handle->serial << HANDLE_INDEX_BITS | index;
	err = txn_set(txn, &handle->live, *fh);
	return err ? err : node_open(txn, node);
}

int handle_free(struct txn *txn, struct tables *tables, uint64_t fh)
{
	struct handle *handle = handle_get(tables, fh);
	int err;

	if (!handle)
		return 0;
	handle->free_next = tables->header->handle_free;
	err = txn_set(txn, &handle->live, 0);
	if (err == 0)
		err = txn_set(txn, &tables->header->handle_free, (uint64_t)(handle - tables->handles));
	return err ? err : node_close(txn, tables, handle->nodeid);
}

bool handles_write(const struct tables *tables, uint64_t nodeid)
{
	const struct node *node = node_get(tables, nodeid);
	uint64_t index, left = node ? node->opens : 0;

	for (index = 1; left > 0 && index < tables->header->handle_bump; index++) {
		const struct handle *handle = &tables->handles[index];

		if (handle->live == 0 || handle->nodeid != nodeid)
			continue;
		if ((handle->flags & O_ACCMODE) != O_RDONLY)
			return true;
		left--;
	}
	return false;
}
