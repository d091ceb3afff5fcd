/*
 * Answers that hand the kernel a node: LOOKUP's, and those of what makes objects.
 */
#include <errno.h>
#include <string.h>

#include "fs.h"

/* What LOOKUP gives for an exported mount; no names to find an inode by. */
static bool name_is_dots(const char *name)
{
	return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

int entry_begin(struct fs *fs, struct txn *txn, struct relay_req *req, const struct statx *stx, uint64_t parent,
		int dirfd, const char *name, struct fuse_entry_out *entry)
{
	struct node_source source;
	uint64_t nodeid;
	int err;

	source.ident = attr_ident(stx);
	source.parent = parent;
	source.name = name;
	txn_begin(txn, req);
	if (!node_find(&fs->tables, &source.ident)) {
		/* Looking for the handle takes system calls, so not under the lock. */
		relay_state_abort(req);
		err = source_fill(fs, &source, stx, parent, dirfd, name);
		if (err == 0 && source.handle_size == 0 && name_is_dots(name))
			err = -ESTALE;
		if (err)
			return err;
		txn_begin(txn, req);
	}
	err = node_ref(txn, &fs->tables, &source, !name_is_dots(name), &nodeid);
	if (err) {
		relay_state_abort(req);
		return err;
	}
	entry_fill(fs, stx, nodeid, entry);
	return 0;
}

void entry_reply(struct fs *fs, struct relay_req *req, const struct statx *stx, uint64_t parent, int dirfd,
		 const char *name)
{
	struct fuse_entry_out entry;
	struct txn txn;
	int err;

	err = entry_begin(fs, &txn, req, stx, parent, dirfd, name, &entry);
	if (err) {
		reply_result(req, err);
		return;
	}
	pin_forget(fs, &txn);
	relay_reply_entry(req, &entry);
}
