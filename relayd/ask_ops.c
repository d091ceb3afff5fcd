/*
 * What relayd asks backends, one function for each kind of request: ask_call() with the
 * right structure.  Of replies, what has a fixed size was checked to have it.
 */
#include "ask.h"

#include <string.h>

#define PART(object) {.iov_base = (void *)(object), .iov_len = sizeof(*(object))}
#define NAME(name) {.iov_base = (void *)(name), .iov_len = strlen(name) + 1}

/* What a directory is read in: the longest reply that a kernel without readahead asks for. */
#define READDIR_SIZE 4096u
/* The longest value and the longest list of names (linux/limits.h). */
#define XATTR_SIZE 65536u

/* A reply of a fixed size. */
static int call_fixed(struct ask *ask, uint32_t opcode, uint64_t nodeid, ask_caller *caller,
		      const struct iovec *parts, unsigned count, void *out, size_t out_size)
{
	void *payload;
	int err = ask_call(ask, opcode, nodeid, caller, parts, count, &payload, NULL);

	if (!err && out)
		memcpy(out, payload, out_size);
	return err;
}

int ask_lookup(struct ask *ask, uint64_t parent, const char *name, ask_caller *caller, struct fuse_entry_out *out)
{
	const struct iovec parts[] = {NAME(name)};

	return call_fixed(ask, FUSE_LOOKUP, parent, caller, parts, 1, out, sizeof(*out));
}

int ask_forget(struct ask *ask, uint64_t nodeid, uint64_t nlookup)
{
	static const struct fuse_in_header nobody;
	const struct fuse_forget_in in = {.nlookup = nlookup};
	const struct iovec parts[] = {PART(&in)};

	return ask_call(ask, FUSE_FORGET, nodeid, &nobody, parts, 1, NULL, NULL);
}

int ask_getattr(struct ask *ask, uint64_t nodeid, ask_caller *caller, struct fuse_attr_out *out)
{
	const struct fuse_getattr_in in = {0};
	const struct iovec parts[] = {PART(&in)};

	return call_fixed(ask, FUSE_GETATTR, nodeid, caller, parts, 1, out, sizeof(*out));
}

int ask_setattr(struct ask *ask, uint64_t nodeid, ask_caller *caller, const struct fuse_setattr_in *in,
		struct fuse_attr_out *out)
{
	const struct iovec parts[] = {PART(in)};

	return call_fixed(ask, FUSE_SETATTR, nodeid, caller, parts, 1, out, sizeof(*out));
}

int ask_open(struct ask *ask, uint64_t nodeid, ask_caller *caller, uint32_t flags, bool dir,
	     struct fuse_open_out *out)
{
	const struct fuse_open_in in = {.flags = flags};
	const struct iovec parts[] = {PART(&in)};

	return call_fixed(ask, dir ? FUSE_OPENDIR : FUSE_OPEN, nodeid, caller, parts, 1, out, sizeof(*out));
}

int ask_release(struct ask *ask, uint64_t nodeid, ask_caller *caller, uint64_t fh, uint32_t flags, bool dir)
{
	const struct fuse_release_in in = {.fh = fh, .flags = flags};
	const struct iovec parts[] = {PART(&in)};

	return ask_call(ask, dir ? FUSE_RELEASEDIR : FUSE_RELEASE, nodeid, caller, parts, 1, NULL, NULL);
}

int ask_readlink(struct ask *ask, uint64_t nodeid, ask_caller *caller, const char **target, uint32_t *length)
{
	void *payload;
	int err = ask_call(ask, FUSE_READLINK, nodeid, caller, NULL, 0, &payload, length);

	if (!err)
		*target = payload;
	return err;
}

int ask_unlink(struct ask *ask, uint64_t parent, const char *name, ask_caller *caller)
{
	const struct iovec parts[] = {NAME(name)};

	return ask_call(ask, FUSE_UNLINK, parent, caller, parts, 1, NULL, NULL);
}

int ask_readdir(struct ask *ask, uint64_t nodeid, ask_caller *caller, uint64_t fh, uint64_t offset,
		const struct fuse_dirent **entries, uint32_t *size)
{
	const struct fuse_read_in in = {.fh = fh, .offset = offset, .size = READDIR_SIZE};
	const struct iovec parts[] = {PART(&in)};
	void *payload;
	int err = ask_call(ask, FUSE_READDIR, nodeid, caller, parts, 1, &payload, size);

	if (!err)
		*entries = payload;
	return err;
}

int ask_getxattr(struct ask *ask, uint64_t nodeid, ask_caller *caller, const char *name, const void **value,
		 uint32_t *size)
{
	const struct fuse_getxattr_in in = {.size = XATTR_SIZE};
	const struct iovec parts[] = {PART(&in), NAME(name)};
	void *payload;
	int err = ask_call(ask, FUSE_GETXATTR, nodeid, caller, parts, 2, &payload, size);

	if (!err)
		*value = payload;
	return err;
}

int ask_setlk(struct ask *ask, uint64_t nodeid, ask_caller *caller, const struct fuse_lk_in *in)
{
	const struct iovec parts[] = {PART(in)};

	return ask_call(ask, FUSE_SETLK, nodeid, caller, parts, 1, NULL, NULL);
}
