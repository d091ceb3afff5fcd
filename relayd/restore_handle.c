/*
 * Open files of earlier incarnations, opened again.
 *
 * As the one who opened them, with the flags of then but for what creates or cuts: that
 * has been done.  What the kernel has let open once is not refused now: if the opener is
 * denied, relayd tries as itself; and if that is denied too (a file that was created
 * with a mode which denies what its creator does with it, and a backend that is not
 * root's), as the owner with the mode changed for the moment.
 *
 * That mode is noted in the node before it is changed: a death until it was put back
 * leaves it owed, and the next incarnation puts it back when it begins, or before it opens
 * the file.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "log.h"
#include "restore.h"
#include "restore_parts.h"

#define CREATING (O_CREAT | O_EXCL | O_TRUNC | O_NOCTTY | O_APPEND)
#define ALLOWED (S_IRUSR | S_IWUSR)
#define PERMISSIONS 07777u

/* What is opened: copied from the tables, which change while the backend is asked. */
struct opening {
	uint64_t nodeid;
	uint64_t id; /* the backend's */
	uint32_t flags;
	bool dir;
	uint32_t owed;
	struct fuse_in_header opener;
	struct fuse_open_out out;
};

/* ---- the mode for the moment --------------------------------------------- */

static int mode_owe(struct restore *restore, struct ask *ask, uint64_t nodeid, uint32_t owed)
{
	struct node *node;
	int err = restore_lock(restore, ask);

	if (err)
		return err;
	node = nodes_get(&restore->translate->nodes, nodeid);
	if (node)
		node->mode_owed = owed;
	restore_unlock(restore);
	return 0;
}

static int mode_set(struct ask *ask, uint64_t id, const struct fuse_attr *attr, uint32_t permissions)
{
	struct fuse_setattr_in in = {.valid = FATTR_MODE, .mode = (attr->mode & S_IFMT) | permissions};
	struct fuse_in_header owner;
	struct fuse_attr_out out;

	restore_caller(&owner);
	owner.uid = attr->uid;
	owner.gid = attr->gid;
	return ask_setattr(ask, id, &owner, &in, &out);
}

/* Puts back what is owed, unless somebody else has set a mode since.  The node is claimed. */
static int mode_repay(struct restore *restore, struct ask *ask, uint64_t nodeid, uint64_t id, uint32_t owed)
{
	uint32_t permissions = owed & PERMISSIONS;
	struct fuse_in_header self;
	struct fuse_attr_out out;
	int err;

	restore_caller(&self);
	err = ask_getattr(ask, id, &self, &out);
	if (!err && (out.attr.mode & PERMISSIONS) == (permissions | ALLOWED))
		err = mode_set(ask, id, &out.attr, permissions);
	if (err < 0)
		return err;
	if (err && err != ENOENT && err != ESTALE)
		log_warning("%s: mode %04o, changed to open the file again, could not be put back: %s",
			    restore->translate->mount, permissions, strerror(err));
	/* It is owed until the store takes it. */
	if (err == EIO || err == ENOSPC || err == ENOMEM || err == EAGAIN)
		return 0;
	/* A death before this is noted sets the same mode once more. */
	return mode_owe(restore, ask, nodeid, 0);
}

/* Opens as the owner of a file that denies it. */
static int open_allowed(struct restore *restore, struct ask *ask, struct opening *opening, int denied)
{
	struct fuse_in_header self;
	struct fuse_attr_out attr;
	uint32_t owed;
	int err, repaid;

	restore_caller(&self);
	err = ask_getattr(ask, opening->id, &self, &attr);
	if (err)
		return err;
	if (!S_ISREG(attr.attr.mode) || (attr.attr.mode & ALLOWED) == ALLOWED)
		return denied;
	owed = (attr.attr.mode & PERMISSIONS) | RESTORE_MODE_OWED;
	err = mode_owe(restore, ask, opening->nodeid, owed);
	if (err)
		return err;
	/* A death from here on leaves the other mode, and what it was in the node. */
	err = mode_set(ask, opening->id, &attr.attr, (owed & PERMISSIONS) | ALLOWED);
	if (err < 0)
		return err;
	if (err) {
		err = mode_owe(restore, ask, opening->nodeid, 0);
		return err ? err : denied;
	}
	self.uid = attr.attr.uid;
	self.gid = attr.attr.gid;
	err = ask_open(ask, opening->id, &self, opening->flags, false, &opening->out);
	if (err < 0)
		return err;
	/* It is open: even if the mode cannot be put back now, it is to be known as such. */
	repaid = mode_repay(restore, ask, opening->nodeid, opening->id, owed);
	return repaid ? repaid : err;
}

/* ---- open files ---------------------------------------------------------- */

static int open_again(struct restore *restore, struct ask *ask, struct opening *opening)
{
	struct fuse_in_header self;
	int err;

	memset(&opening->out, 0, sizeof(opening->out));
	err = ask_open(ask, opening->id, &opening->opener, opening->flags, opening->dir, &opening->out);
	if (err == EACCES || err == EPERM) {
		restore_caller(&self);
		err = ask_open(ask, opening->id, &self, opening->flags, opening->dir, &opening->out);
	}
	if ((err == EACCES || err == EPERM) && !opening->dir)
		err = open_allowed(restore, ask, opening, err);
	/* Its files have no handles: one that was created has what CREATE gave it. */
	if (err == ENOSYS) {
		opening->out.fh = 0;
		return 0;
	}
	return err;
}

/* What there is to open.  Returns 0 with opening->nodeid 0 if there is nothing to be done; or as restore_handle(). */
static int opening_begin(struct restore *restore, struct ask *ask, uint64_t fh, struct opening *opening)
{
	const struct handles *handles = &restore->translate->handles;
	const struct handle *handle;
	const struct node *node;
	int err = restore_lock(restore, ask);

	if (err)
		return err;
	memset(opening, 0, sizeof(*opening));
	handle = handles_get(handles, fh);
	if (!handle) {
		err = EBADF;
	} else if (handle->flags & HANDLE_LOST) {
		err = ESTALE;
	} else if (!handles_current(handles, handle)) {
		node = nodes_at(handles->nodes, handle->node);
		opening->nodeid = node->nodeid;
		opening->id = nodes_current(handles->nodes, node) ? node->backend_id : 0;
		opening->owed = node->mode_owed;
		opening->flags = handle->open_flags & ~(uint32_t)CREATING;
		opening->dir = handle->flags & HANDLE_DIR;
		opening->opener.uid = handle->uid;
		opening->opener.gid = handle->gid;
		opening->opener.pid = handle->pid;
	}
	restore_unlock(restore);
	return err;
}

/* It is open, or is not to be: notes that. */
static int opening_end(struct restore *restore, struct ask *ask, uint64_t fh, const struct opening *opening, int opened)
{
	struct handles *handles = &restore->translate->handles;
	struct handle *handle;
	int err = restore_lock(restore, ask);

	if (err)
		return err;
	handle = handles_get(handles, fh);
	if (handle && opened == 0) {
		handles_reopened(handles, handle, opening->out.fh);
	} else if (handle && !(handle->flags & HANDLE_LOST)) {
		handles_lost(handle);
		log_warning("%s: a file that process %u had open is not there any more", restore->translate->mount,
			    handle->pid);
	}
	restore_unlock(restore);
	if (opened != 0)
		return ESTALE;
	if (handle)
		return 0;
	/* Closed meanwhile. */
	err = ask_release(ask, opening->id, &opening->opener, opening->out.fh, opening->flags, opening->dir);
	return err < 0 ? err : EBADF;
}

int restore_handle(struct restore *restore, struct ask *ask, uint64_t fh)
{
	struct opening opening;
	int err = opening_begin(restore, ask, fh, &opening);

	if (err || !opening.nodeid)
		return err;
	err = restore_node(restore, ask, opening.nodeid);
	if (err == ESTALE)
		return opening_end(restore, ask, fh, &opening, ESTALE);
	if (err)
		return err;
	err = restore_claim(restore, ask, opening.nodeid);
	if (err)
		return err;
	/* Again: another thread may have opened it by now. */
	err = opening_begin(restore, ask, fh, &opening);
	if (!err && opening.nodeid && opening.owed)
		err = mode_repay(restore, ask, opening.nodeid, opening.id, opening.owed);
	if (!err && opening.nodeid) {
		/* A death here leaves an open file with the backend, which dies with it. */
		err = open_again(restore, ask, &opening);
		if (!err || err == ENOENT || err == ESTALE)
			err = opening_end(restore, ask, fh, &opening, err);
	}
	restore_unclaim(restore, ask);
	return err;
}

uint32_t restore_open_stale(const struct restore *restore, const struct node *node, uint64_t *fhs, uint32_t room)
{
	const struct handles *handles = &restore->translate->handles;
	const struct handle *handle = NULL;
	uint32_t found = 0, seen = 0;

	while (seen < node->opens && (handle = handles_next(handles, handle)) != NULL) {
		if (nodes_at(handles->nodes, handle->node) != node)
			continue;
		seen++;
		if (handles_current(handles, handle) || handle->flags & HANDLE_LOST)
			continue;
		if (found < room)
			fhs[found] = handle->fh;
		found++;
	}
	return found;
}

int restore_opens(struct restore *restore, struct ask *ask, uint64_t nodeid)
{
	uint64_t fhs[64];
	uint32_t count;
	const struct node *node;
	int err = restore_lock(restore, ask);

	if (err)
		return err;
	node = nodes_get(&restore->translate->nodes, nodeid);
	count = node ? restore_open_stale(restore, node, fhs, 64) : 0;
	restore_unlock(restore);
	/* What can't be opened is no reason to keep the name; nor are more than so many. */
	for (uint32_t i = 0; i < count && i < 64; i++) {
		err = restore_handle(restore, ask, fhs[i]);
		if (err == -EPIPE || err == -ENOMEM)
			return err;
	}
	return 0;
}

/* The next node, from this number on, that is owed a mode; 0: there is none. */
static uint64_t owed_next(const struct nodes *nodes, uint32_t *number)
{
	const struct node *node;

	for (; *number < state_end(nodes->state, STATE_NODES); ++*number) {
		node = state_get(nodes->state, STATE_NODES, *number);
		if (node && node->mode_owed)
			return node->nodeid;
	}
	return 0;
}

/* One node's, unless a thread of this incarnation is at it, which puts it back itself. */
static int restore_mode(struct restore *restore, struct ask *ask, uint64_t nodeid)
{
	const struct nodes *nodes = &restore->translate->nodes;
	const struct node *node;
	uint32_t owed = 0;
	uint64_t id = 0;
	int err = restore_node(restore, ask, nodeid);

	if (!err)
		err = restore_claim(restore, ask, nodeid);
	if (err)
		return err;
	err = restore_lock(restore, ask);
	if (!err) {
		node = nodes_get(nodes, nodeid);
		if (node && nodes_current(nodes, node)) {
			owed = node->mode_owed;
			id = node->backend_id;
		}
		restore_unlock(restore);
		if (owed)
			err = mode_repay(restore, ask, nodeid, id, owed);
	}
	restore_unclaim(restore, ask);
	return err;
}

int restore_modes(struct restore *restore, struct ask *ask)
{
	const struct nodes *nodes = &restore->translate->nodes;
	uint64_t nodeid;
	bool again = false;
	int err;

	for (uint32_t number = 1;; number++) {
		err = restore_lock(restore, ask);
		if (err)
			return err;
		nodeid = owed_next(nodes, &number);
		restore_unlock(restore);
		if (!nodeid)
			return again ? -EAGAIN : 0;
		/* Of one that is gone nobody needs the mode any more. */
		err = restore_mode(restore, ask, nodeid);
		if (err == -EPIPE || err == -ENOMEM)
			return err;
		again = again || err == -EAGAIN;
	}
}
