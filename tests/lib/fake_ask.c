/*
 * ask.h in the place of relayd's: what is asked goes to a store in memory
 * (fake_store.h), which stands in for the dispatch.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/fake_ask.h"

/* The backend serves one request at a time. */
static pthread_mutex_t serving = PTHREAD_MUTEX_INITIALIZER;

static struct store *store_of(const struct ask *ask)
{
	return (struct store *)ask->dispatch;
}

int ask_init(struct ask *ask, struct dispatch *dispatch, unsigned number)
{
	memset(ask, 0, sizeof(*ask));
	ask->dispatch = dispatch;
	ask->number = number;
	ask->request = malloc(RELAY_MAX_REQUEST);
	ask->reply = malloc(RELAY_MAX_REPLY);
	return 0;
}

void ask_deinit(struct ask *ask)
{
	free(ask->request);
	free(ask->reply);
}

void ask_begin(struct ask *ask, uint32_t incarnation)
{
	ask->incarnation = incarnation;
}

int ask_call(struct ask *ask, uint32_t opcode, uint64_t nodeid, ask_caller *caller, const struct iovec *parts,
	     unsigned count, void **payload, uint32_t *size)
{
	struct fuse_in_header *header = ask->request;
	char *at = (char *)(header + 1);
	uint32_t length;
	int err;

	*header = (struct fuse_in_header){.opcode = opcode, .nodeid = nodeid, .unique = 2};
	if (caller) {
		header->uid = caller->uid;
		header->gid = caller->gid;
		header->pid = caller->pid;
	}
	for (unsigned i = 0; i < count; i++) {
		memcpy(at, parts[i].iov_base, parts[i].iov_len);
		at += parts[i].iov_len;
	}
	header->len = (uint32_t)(at - (char *)header);
	pthread_mutex_lock(&serving);
	err = store_serve(store_of(ask), header, header->len, ask->reply, &length);
	pthread_mutex_unlock(&serving);
	if (payload)
		*payload = ask->reply;
	if (size)
		*size = length;
	return err;
}

static int call_in(struct ask *ask, uint32_t opcode, uint64_t nodeid, ask_caller *caller, const void *in,
		   size_t in_size, void *out, size_t out_size)
{
	struct iovec part = {(void *)in, in_size};
	void *payload;
	uint32_t size;
	int err = ask_call(ask, opcode, nodeid, caller, &part, 1, &payload, &size);

	if (!err && out)
		memcpy(out, payload, out_size);
	return err;
}

int ask_lookup(struct ask *ask, uint64_t parent, const char *name, ask_caller *caller, struct fuse_entry_out *out)
{
	return call_in(ask, FUSE_LOOKUP, parent, caller, name, strlen(name) + 1, out, sizeof(*out));
}

int ask_forget(struct ask *ask, uint64_t nodeid, uint64_t nlookup)
{
	const struct fuse_forget_in in = {nlookup};

	return call_in(ask, FUSE_FORGET, nodeid, NULL, &in, sizeof(in), NULL, 0);
}

int ask_getattr(struct ask *ask, uint64_t nodeid, ask_caller *caller, struct fuse_attr_out *out)
{
	const struct fuse_getattr_in in = {0};

	return call_in(ask, FUSE_GETATTR, nodeid, caller, &in, sizeof(in), out, sizeof(*out));
}

int ask_setattr(struct ask *ask, uint64_t nodeid, ask_caller *caller, const struct fuse_setattr_in *in,
		struct fuse_attr_out *out)
{
	return call_in(ask, FUSE_SETATTR, nodeid, caller, in, sizeof(*in), out, sizeof(*out));
}

int ask_open(struct ask *ask, uint64_t nodeid, ask_caller *caller, uint32_t flags, bool dir, struct fuse_open_out *out)
{
	const struct fuse_open_in in = {.flags = flags};

	return call_in(ask, dir ? FUSE_OPENDIR : FUSE_OPEN, nodeid, caller, &in, sizeof(in), out, sizeof(*out));
}

int ask_release(struct ask *ask, uint64_t nodeid, ask_caller *caller, uint64_t fh, uint32_t flags, bool dir)
{
	const struct fuse_release_in in = {.fh = fh, .flags = flags};

	return call_in(ask, dir ? FUSE_RELEASEDIR : FUSE_RELEASE, nodeid, caller, &in, sizeof(in), NULL, 0);
}

int ask_readlink(struct ask *ask, uint64_t nodeid, ask_caller *caller, const char **target, uint32_t *length)
{
	return ask_call(ask, FUSE_READLINK, nodeid, caller, NULL, 0, (void **)target, length);
}

int ask_unlink(struct ask *ask, uint64_t parent, const char *name, ask_caller *caller)
{
	return call_in(ask, FUSE_UNLINK, parent, caller, name, strlen(name) + 1, NULL, 0);
}

int ask_readdir(struct ask *ask, uint64_t nodeid, ask_caller *caller, uint64_t fh, uint64_t offset,
		const struct fuse_dirent **entries, uint32_t *size)
{
	const struct fuse_read_in in = {.fh = fh, .offset = offset, .size = 4096};
	struct iovec part = {(void *)&in, sizeof(in)};

	return ask_call(ask, FUSE_READDIR, nodeid, caller, &part, 1, (void **)entries, size);
}

int ask_getxattr(struct ask *ask, uint64_t nodeid, ask_caller *caller, const char *name, const void **value,
		 uint32_t *size)
{
	const struct fuse_getxattr_in in = {.size = 65536};
	struct iovec parts[2] = {{(void *)&in, sizeof(in)}, {(void *)name, strlen(name) + 1}};

	return ask_call(ask, FUSE_GETXATTR, nodeid, caller, parts, 2, (void **)value, size);
}

int ask_setlk(struct ask *ask, uint64_t nodeid, ask_caller *caller, const struct fuse_lk_in *in)
{
	return call_in(ask, FUSE_SETLK, nodeid, caller, in, sizeof(*in), NULL, 0);
}

bool ask_take(struct ask *ask, const void *reply, uint32_t size)
{
	(void)ask;
	(void)reply;
	(void)size;
	return false;
}

void ask_end(struct ask *ask)
{
	ask->gone = true;
}

bool ask_gone(struct ask *ask)
{
	return ask->gone;
}

bool ask_room(struct ask *ask, int channel)
{
	(void)channel;
	return !ask->gone;
}
