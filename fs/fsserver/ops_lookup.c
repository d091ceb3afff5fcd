/*
 * LOOKUP and FORGET: the kernel's references to nodes.  Both change the tables in
 * the transaction of their answer, so a redo counts nothing twice.
 */
#include <errno.h>
#include <string.h>

#include "fs.h"

void op_lookup(struct relay_req *req, const char *name)
{
	uint64_t parent = relay_req_nodeid(req);
	struct fs *fs = fs_of(req);
	NODE_FD dir = {fs, NULL, -1};
	struct statx stx;
	int err;

	err = node_fd_get(fs, parent, &dir);
	/* The root's parent is not ours to show. */
	if (err == 0 && parent == NODE_ROOT && strcmp(name, "..") == 0)
		name = ".";
	if (err == 0)
		err = attr_get(dir.fd, name, &stx);
	if (err)
		reply_result(req, err);
	else
		entry_reply(fs, req, &stx, parent, dir.fd, name);
}

void op_forget(struct relay_req *req, uint64_t nodeid, uint64_t nlookup)
{
	struct fs *fs = fs_of(req);
	struct txn txn;

	txn_begin(&txn, req);
	/* -ENOSPC cannot be: all that may be freed fits. */
	if (node_unref(&txn, &fs->tables, nodeid, nlookup) != 0)
		relay_state_abort(req);
	else
		pin_forget(fs, &txn);
}
