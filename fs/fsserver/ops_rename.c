/*
 * RENAME and RENAME2, with NOREPLACE, EXCHANGE and WHITEOUT.
 *
 * The pre-state is which inodes had the two names.  The kernel holds both
 * directories' locks over the request, so on a redo the two names tell whether the
 * rename took place: it did if the target's is the source's inode and the source's
 * is not (or, for EXCHANGE, is the target's).  Two names of one inode are not
 * changed by any rename, so doing it again is as good.
 *
 * The order, and what a process dying after each step leaves:
 *   the pre-state is published: a redo that finds the names as they were;
 *   descriptors are pinned, and kept (of the inode that is replaced; where nodes are
 *   found by name, of those that move): the same, and descriptors;
 *   the rename is done: a redo that finds it done.  Nodes that are found by name
 *   still remember the old one, but are reached through their kept descriptors;
 *   the reply is stored: the remembered names have changed with it, and the
 *   descriptors of what moved are left over until the nodes are forgotten.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "fs.h"

struct rename_pre {
	struct node_ident source;
	struct node_ident target;
	uint64_t has_target;
};

/* One name, and what has it. */
struct end {
	uint64_t parent;
	int dirfd;
	const char *name;
	int fd; /* O_PATH; -1: nothing has it */
	struct statx stx;
	struct node_ident ident;
};

/* 0, also if nothing has the name, or a negative errno. */
static int end_look(struct fs *fs, struct end *end)
{
	int err;

	memset(&end->ident, 0, sizeof(end->ident));
	end->fd = fs_openat(fs, end->dirfd, end->name, O_PATH | O_NOFOLLOW, 0);
	if (end->fd == -ENOENT) {
		end->fd = -1;
		return 0;
	}
	if (end->fd < 0)
		return end->fd;
	err = attr_get(end->fd, "", &end->stx);
	if (err == 0)
		end->ident = attr_ident(&end->stx);
	return err;
}

static void end_close(struct end *end)
{
	if (end->fd >= 0)
		close(end->fd);
	end->fd = -1;
}

/* Hands the descriptor over. */
static int end_take(struct end *end)
{
	int fd = end->fd;

	end->fd = -1;
	return fd;
}

/* What can be refused by the names alone. */
static int rename_check(const struct end *from, const struct end *to, unsigned flags)
{
	if (from->fd < 0)
		return -ENOENT;
	if (flags & RENAME_NOREPLACE && to->fd >= 0)
		return -EEXIST;
	if (flags & RENAME_EXCHANGE && to->fd < 0)
		return -ENOENT;
	return 0;
}

static bool rename_was_done(const struct rename_pre *pre, const struct end *from, const struct end *to, unsigned flags)
{
	bool to_is_source = to->fd >= 0 && ident_same(&to->ident, &pre->source);

	if (pre->has_target && ident_same(&pre->source, &pre->target))
		return false;
	if (flags & RENAME_EXCHANGE)
		return to_is_source && from->fd >= 0 && ident_same(&from->ident, &pre->target);
	return to_is_source && !(from->fd >= 0 && ident_same(&from->ident, &pre->source));
}

/* Pins what must stay reachable. */
static int rename_pin(struct fs *fs, struct end *from, struct end *to, unsigned flags, struct pin *moved,
		      struct pin *other)
{
	int err;

	if (from->fd >= 0) {
		err = pin_moved(fs, moved, end_take(from), &from->stx);
		if (err)
			return err;
	}
	if (to->fd < 0)
		return 0;
	if (flags & RENAME_EXCHANGE)
		return pin_moved(fs, other, end_take(to), &to->stx);
	return pin_victim(fs, other, end_take(to), &to->stx, to->parent, to->name);
}

static int rename_apply(struct fs *fs, struct relay_req *req, const struct end *from, const struct end *to,
			unsigned flags)
{
	int err;

	/* A whiteout is a new object. */
	if (flags & RENAME_WHITEOUT)
		creds_take(fs, req, 0);
	err = renameat2(from->dirfd, from->name, to->dirfd, to->name, flags) == 0 ? 0 : -errno;
	creds_drop(fs);
	return err;
}

/* Nodes that are found by name remember the new ones: starts and leaves the transaction. */
static int rename_remember(struct fs *fs, struct relay_req *req, const struct rename_pre *pre, const struct end *from,
			   const struct end *to, unsigned flags)
{
	struct node *source, *target = NULL;
	struct txn txn;
	int err = 0;

	txn_begin(&txn, req);
	source = node_find(&fs->tables, &pre->source);
	if (flags & RENAME_EXCHANGE)
		target = node_find(&fs->tables, &pre->target);
	/* Two names of one inode have not changed. */
	if (source && source == target)
		return 0;
	if (source && source->name != 0 && node_is_named(&fs->tables, source, from->parent, from->name)) {
		if (target && node_is_named(&fs->tables, target, to->parent, to->name))
			return node_swap_names(&txn, source, target);
		err = node_rename(&txn, &fs->tables, source, to->parent, to->name);
	} else if (target && node_is_named(&fs->tables, target, to->parent, to->name)) {
		err = node_rename(&txn, &fs->tables, target, from->parent, from->name);
	}
	if (err == 0)
		pin_forget(fs, &txn);
	return err;
}

/* Looks at the names: 0 with the pre-state on record, 1 if it is done already, or a negative errno. */
static int rename_look(struct fs *fs, struct relay_req *req, struct end *from, struct end *to, unsigned flags)
{
	struct rename_pre *pre = relay_req_pre(req);
	int err;

	err = end_look(fs, from);
	if (err == 0)
		err = end_look(fs, to);
	if (err)
		return err;
	if (relay_req_redo(req) && rename_was_done(pre, from, to, flags))
		/* Two inodes that have changed places show whose doing it was; one that has moved does not. */
		return flags & RENAME_EXCHANGE || redo_is_ours(req) ? 1 : -ENOENT;
	if (relay_req_redo(req))
		return 0;
	err = rename_check(from, to, flags);
	if (err)
		return err;
	pre->source = from->ident;
	pre->target = to->ident;
	pre->has_target = to->fd >= 0;
	relay_req_applying(req, sizeof(*pre));
	return 0;
}

/* Up to and with the reply. */
static void rename_run(struct fs *fs, struct relay_req *req, struct end *from, struct end *to, unsigned flags)
{
	struct pin moved = {.fs = fs}, other = {.fs = fs};
	int err;

	err = rename_look(fs, req, from, to, flags);
	if (err == 0) {
		err = rename_pin(fs, from, to, flags, &moved, &other);
		if (err == 0)
			err = rename_apply(fs, req, from, to, flags);
		if (err)
			pin_drop(&other);
	}
	if (err >= 0) {
		err = rename_remember(fs, req, relay_req_pre(req), from, to, flags);
		if (err)
			relay_state_abort(req);
	}
	reply_result(req, err);
	/* Only now are those that moved found by their names again. */
	pin_drop(&moved);
	if (flags & RENAME_EXCHANGE)
		pin_drop(&other);
	pin_leave(&other);
}

static void rename_request(struct relay_req *req, uint64_t newdir, const char *name, const char *newname,
			   unsigned flags)
{
	uint64_t olddir = relay_req_nodeid(req);
	struct fs *fs = fs_of(req);
	NODE_FD dir1 = {fs, NULL, -1};
	NODE_FD dir2 = {fs, NULL, -1};
	struct end from, to;
	int err;

	err = node_fd_get(fs, olddir, &dir1);
	if (err == 0)
		err = node_fd_get(fs, newdir, &dir2);
	if (err) {
		reply_result(req, err);
		return;
	}
	from = (struct end){.parent = olddir, .dirfd = dir1.fd, .name = name, .fd = -1};
	to = (struct end){.parent = newdir, .dirfd = dir2.fd, .name = newname, .fd = -1};
	rename_run(fs, req, &from, &to, flags);
	end_close(&from);
	end_close(&to);
}

void op_rename(struct relay_req *req, const struct fuse_rename_in *in, const char *name, const char *newname)
{
	rename_request(req, in->newdir, name, newname, 0);
}

void op_rename2(struct relay_req *req, const struct fuse_rename2_in *in, const char *name, const char *newname)
{
	rename_request(req, in->newdir, name, newname, in->flags);
}
