/*
 * Redos of what changes one inode: FALLOCATE that moves data, and SETXATTR that is to make
 * an attribute anew.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <string.h>
#include <sys/xattr.h>

#include "log.h"
#include "redo_parts.h"

int redo_moves(const void *request, uint32_t size)
{
	const struct fuse_in_header *header = request;
	struct fuse_fallocate_in in;

	if (header->opcode != FUSE_FALLOCATE || size < sizeof(*header) + sizeof(in))
		return 0;
	memcpy(&in, header + 1, sizeof(in));
	if (in.mode & FALLOC_FL_COLLAPSE_RANGE)
		return 1;
	return in.mode & FALLOC_FL_INSERT_RANGE ? -1 : 0;
}

/* The kernel holds the inode's lock from before redo_before() on: nobody else changes the size through this mount. */
int redo_fallocate(struct redo *redo, const struct relay_args *args)
{
	const struct fuse_fallocate_in *in = args->in;
	uint64_t size, after;
	int err;

	err = redo_before(redo, &size);
	if (err < 0)
		return err;
	if (err)
		return redo_answer(redo, err);
	after = redo_moves(redo->request, redo->size) > 0 ? redo->before - in->length : redo->before + in->length;
	if (size == after)
		return redo_answer(redo, 0);
	if (size == redo->before) {
		/* A death after this leaves the other size, which the next redo sees. */
		err = redo_send(redo);
		return err < 0 ? err : REDO_ANSWERED;
	}
	log_error("%s: a file of %llu bytes, which was to be made %llu from %llu, is left as it is", redo->mount,
		  (unsigned long long)size, (unsigned long long)after, (unsigned long long)redo->before);
	return redo_answer(redo, EIO);
}

/* The parts with a fixed part of that many bytes; false if they don't fill the request. */
static bool setxattr_fits(const void *request, uint32_t size, uint32_t in_size, struct relay_args *args)
{
	const struct fuse_in_header *header = request;
	uint32_t value;

	if (relay_args_parse(request, size, in_size, args) < 0)
		return false;
	memcpy(&value, args->in, sizeof(value)); /* fuse_setxattr_in.size */
	return args->data_size == value + (uint64_t)header->total_extlen * 8;
}

int redo_setxattr_parse(const void *request, uint32_t size, struct relay_args *args)
{
	return setxattr_fits(request, size, FUSE_COMPAT_SETXATTR_IN_SIZE, args) ||
			       setxattr_fits(request, size, sizeof(struct fuse_setxattr_in), args)
		       ? 0
		       : -EPROTO;
}

/*
 * With XATTR_CREATE the first delivery has made what the second finds, if it has the same
 * value.  With XATTR_REPLACE the second finds what the first has replaced, and replaces it.
 */
int redo_setxattr(struct redo *redo, const struct relay_args *args)
{
	uint64_t id = redo_id(redo, redo_header(redo)->nodeid);
	struct fuse_setxattr_in in = {0};
	struct fuse_in_header self;
	const void *value;
	uint32_t size;
	int err;

	memcpy(&in, args->in, FUSE_COMPAT_SETXATTR_IN_SIZE);
	if (!(in.flags & XATTR_CREATE))
		return REDO_SEND;
	if (!id)
		return -EPIPE;
	err = redo_send(redo);
	if (err != EEXIST)
		return err < 0 ? err : REDO_ANSWERED;
	restore_caller(&self);
	err = ask_getxattr(redo->ask, id, &self, args->name, &value, &size);
	if (err < 0)
		return err;
	if (!err && size == in.size && !memcmp(value, args->data, size))
		return redo_answer(redo, 0);
	return redo_answer(redo, EEXIST);
}
