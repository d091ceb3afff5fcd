/*
 * The redo of a request whose second execution would do harm, or would tell the
 * application of an error that is none.
 *
 * Mostly the request is sent again as it is, and only its errno is looked at: where it
 * was not applied before, and that is most often so, that is all.  EEXIST and ENOENT are
 * looked into.  The kernel has found out about the name before it sent the request, and
 * has kept others from it since: a MKDIR is sent for a name that is not there, an UNLINK
 * for one that is.  So where the first delivery came to nothing (it may not even have
 * been read) the redo succeeds, and where the redo meets what the request was to bring
 * about, the first delivery has done that.  An error that the first delivery would have
 * had too is that of a name which somebody else has made or removed in the store; that
 * is what shared_store is for, and what the comparisons with the request catch.
 *
 * A death in the midst of a conversation is the next incarnation's redo: each question
 * changes nothing, and each change is the request itself, or one of the kind that the
 * comment there tells of.
 */
#include "redo.h"

#include <errno.h>
#include <string.h>

#include "redo_parts.h"

/* ---- what the conversations share ---------------------------------------- */

int redo_answer(struct redo *redo, int error)
{
	redo->error = -error;
	redo->reply_size = 0;
	return REDO_ANSWERED;
}

int redo_answer_with(struct redo *redo, const void *payload, uint32_t size)
{
	memcpy(redo->reply, payload, size);
	redo->error = 0;
	redo->reply_size = size;
	return REDO_ANSWERED;
}

int redo_send(struct redo *redo)
{
	const uint8_t *request = redo->request;
	struct fuse_in_header caller = *redo_header(redo);
	struct translate_head head;
	struct iovec parts[2];
	void *payload;
	uint32_t size, end = redo->size;
	int err;

	/*
	 * What is behind the arguments (groups and labels of a new object) is not for an ask to
	 * announce, so it is not sent: relayd agrees to none of it with such a backend.
	 */
	if ((uint64_t)caller.total_extlen * 8 < end - sizeof(caller))
		end -= caller.total_extlen * 8u;
	err = translate_request(redo->restore->translate, request, redo->size, &head);
	/* All was restored: it belongs to another incarnation by now. */
	if (err == TRANSLATE_RESTORE || (err == TRANSLATE_READY && head.size > end))
		return -EPIPE;
	if (err != TRANSLATE_READY) {
		err = err < 0 ? -err : 0;
		redo_answer(redo, err);
		return err;
	}
	parts[0] = (struct iovec){head.bytes + sizeof(caller), head.size - sizeof(caller)};
	parts[1] = (struct iovec){(void *)(request + head.size), end - head.size};
	err = ask_call(redo->ask, caller.opcode, ((const struct fuse_in_header *)head.bytes)->nodeid, &caller, parts, 2,
		       &payload, &size);
	if (err < 0)
		return err;
	redo_answer(redo, err);
	if (!err)
		redo_answer_with(redo, payload, size);
	return err;
}

int redo_forget(struct redo *redo, const struct fuse_entry_out *entry, int err)
{
	int sent = ask_forget(redo->ask, entry->nodeid, 1);

	return sent < 0 ? sent : err;
}

uint64_t redo_id(struct redo *redo, uint64_t nodeid)
{
	return restore_backend_id(redo->restore, nodeid);
}

int redo_know(struct redo *redo, uint64_t parent, const char *name, struct redo_known *known)
{
	const struct nodes *nodes = &redo->restore->translate->nodes;
	const struct node *node;
	int err = restore_lock(redo->restore, redo->ask);

	if (err)
		return err;
	memset(known, 0, sizeof(*known));
	node = nodes_get(nodes, parent);
	node = node ? nodes_child(nodes, node, name) : NULL;
	if (node) {
		known->known = true;
		known->current = nodes_current(nodes, node);
		known->id = known->current ? node->backend_id : 0;
		known->identity = node->identity;
	}
	restore_unlock(redo->restore);
	return 0;
}

bool redo_same(struct redo *redo, const struct redo_known *known, const struct fuse_entry_out *entry, bool strictly)
{
	struct translate *translate = redo->restore->translate;
	struct identity_evidence evidence;

	if (!known->known)
		return false;
	if (known->current && known->id == entry->nodeid)
		return true;
	/* A copy: comparing with what may be the other file of the RENAME says nothing about the numbers. */
	pthread_mutex_lock(&translate->lock);
	evidence = translate->nodes.evidence;
	pthread_mutex_unlock(&translate->lock);
	if (strictly && evidence.kept == 0 && evidence.changed == 0)
		evidence.kept = 1;
	return identity_compare(&known->identity, &entry->attr, entry->attr.ino == entry->nodeid, &evidence) ==
	       IDENTITY_SAME;
}

/* ---- names and attributes that are gone ---------------------------------- */

/* UNLINK and RMDIR: the kernel has seen the name there, so who else would have taken it. */
static int redo_remove(struct redo *redo, int gone)
{
	int err = redo_send(redo);

	if (err < 0)
		return err;
	return err == gone ? redo_answer(redo, 0) : REDO_ANSWERED;
}

/* ---- the table ----------------------------------------------------------- */

bool redo_special(const void *request, uint32_t size)
{
	const struct fuse_in_header *header = request;

	switch (header->opcode) {
	case FUSE_MKDIR:
	case FUSE_MKNOD:
	case FUSE_SYMLINK:
	case FUSE_LINK:
	case FUSE_CREATE:
	case FUSE_UNLINK:
	case FUSE_RMDIR:
	case FUSE_RENAME:
	case FUSE_RENAME2:
	case FUSE_SETXATTR:
	case FUSE_REMOVEXATTR:
		return true;
	default:
		return redo_looks_before(request, size);
	}
}

bool redo_looks_before(const void *request, uint32_t size)
{
	return redo_moves(request, size) != 0;
}

int redo_before(struct redo *redo, uint64_t *before)
{
	struct fuse_in_header self;
	struct fuse_attr_out out;
	uint64_t id = redo_id(redo, redo_header(redo)->nodeid);
	int err;

	if (!id)
		return -EPIPE;
	restore_caller(&self);
	err = ask_getattr(redo->ask, id, &self, &out);
	if (!err)
		*before = out.attr.size;
	return err;
}

int redo_run(struct redo *redo)
{
	uint32_t opcode = redo_header(redo)->opcode;
	struct relay_args args;
	int err;

	redo->error = 0;
	redo->reply_size = 0;
	if (opcode == FUSE_SETXATTR)
		err = redo_setxattr_parse(redo->request, redo->size, &args);
	else
		err = relay_args_parse(redo->request, redo->size, 0, &args);
	if (err < 0)
		return redo_answer(redo, EIO);
	/* These two have no errno that tells: they are looked at whoever else writes to the store. */
	if (opcode == FUSE_FALLOCATE && redo_moves(redo->request, redo->size))
		return redo_fallocate(redo, &args);
	if (opcode == FUSE_RENAME || opcode == FUSE_RENAME2)
		return redo_rename(redo, &args);
	if (redo->shared_store)
		return REDO_SEND;
	switch (opcode) {
	case FUSE_MKDIR:
	case FUSE_MKNOD:
		return redo_make(redo, &args);
	case FUSE_SYMLINK:
		return redo_symlink(redo, &args);
	case FUSE_LINK:
		return redo_link(redo, &args);
	case FUSE_CREATE:
		return redo_create(redo, &args);
	case FUSE_UNLINK:
	case FUSE_RMDIR:
		return redo_remove(redo, ENOENT);
	case FUSE_REMOVEXATTR:
		return redo_remove(redo, ENODATA);
	case FUSE_SETXATTR:
		return redo_setxattr(redo, &args);
	default:
		return REDO_SEND;
	}
}
