/*
 * Requests: the kernel's ids into the present incarnation's, as the opcode table says
 * where they are.
 */
#include "translate_parts.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>

/* The parts of one request, while it is translated. */
struct request {
	struct translate *translate;
	const struct relay_op *op;
	const struct fuse_in_header *header;
	const uint8_t *in;
	struct fuse_in_header *out; /* the copies, in the head */
	uint8_t *out_in;
	struct node *node;     /* the header's; NULL: it has none */
	struct handle *handle; /* the first that it names; NULL: none */
	bool restore;
	bool lost; /* a handle of it was */
};

/* What the kernel sends for no node in particular: its header's nodeid is 0. */
static bool nodeless(uint32_t opcode)
{
	return opcode == FUSE_INIT || opcode == FUSE_DESTROY || opcode == FUSE_INTERRUPT || opcode == FUSE_BATCH_FORGET;
}

static uint64_t get_u64(const uint8_t *at)
{
	uint64_t value;

	memcpy(&value, at, sizeof(value));
	return value;
}

static uint32_t get_u32(const uint8_t *at)
{
	uint32_t value;

	memcpy(&value, at, sizeof(value));
	return value;
}

static bool id_there(const struct relay_id *id, const uint8_t *in)
{
	return id->kind != RELAY_ID_NONE && (id->bit == 0 || get_u32(in) & id->bit);
}

/* The head: the header, and the fixed part if there are ids in it. */
static void request_head(struct request *r, const void *request, uint32_t size, struct translate_head *head)
{
	static_assert(sizeof(struct fuse_setattr_in) <= sizeof(head->bytes) - sizeof(struct fuse_in_header),
		      "the longest fixed part with an id fits");

	head->size = sizeof(struct fuse_in_header);
	if (r->op->ids[0].kind != RELAY_ID_NONE)
		head->size += r->op->in_size;
	if (head->size > size)
		head->size = size;
	memcpy(head->bytes, request, head->size);
	r->out = (struct fuse_in_header *)head->bytes;
	r->out_in = head->bytes + sizeof(struct fuse_in_header);
}

static int header_translate(struct request *r)
{
	const struct nodes *nodes = &r->translate->nodes;

	if (nodeless(r->header->opcode))
		return 0;
	r->node = nodes_get(nodes, r->header->nodeid);
	if (!r->node)
		return -ESTALE;
	if (nodes_current(nodes, r->node))
		r->out->nodeid = r->node->backend_id;
	else
		r->restore = true;
	return 0;
}

static int node_translate(struct request *r, uint8_t *at)
{
	const struct nodes *nodes = &r->translate->nodes;
	struct node *node = nodes_get(nodes, get_u64(at));

	if (!node)
		return -ESTALE;
	if (nodes_current(nodes, node))
		memcpy(at, &node->backend_id, sizeof(node->backend_id));
	else
		r->restore = true;
	return 0;
}

/* 0 is what the kernel uses where the backend has no OPEN (FUSE_NO_OPEN_SUPPORT). */
static int fh_translate(struct request *r, uint8_t *at)
{
	const struct handles *handles = &r->translate->handles;
	uint64_t fh = get_u64(at);
	struct handle *handle = fh ? handles_get(handles, fh) : NULL;

	if (fh && !handle)
		return -EBADF;
	if (!r->handle)
		r->handle = handle;
	if (!handle)
		return 0;
	if (handle->flags & HANDLE_LOST)
		r->lost = true;
	else if (handles_current(handles, handle))
		memcpy(at, &handle->backend_fh, sizeof(handle->backend_fh));
	else
		r->restore = true;
	return 0;
}

static int ids_translate(struct request *r)
{
	int err = header_translate(r);

	for (unsigned i = 0; !err && i < RELAY_IDS_MAX; i++) {
		const struct relay_id *id = &r->op->ids[i];
		uint8_t *at = r->out_in + id->at;
		uint32_t flags;

		if (!id_there(id, r->in))
			continue;
		if (id->kind == RELAY_ID_NODE) {
			err = node_translate(r, at);
		} else if (id->kind == RELAY_ID_FH) {
			err = fh_translate(r, at);
		} else {
			/* The kernel sends offsets; a backend that appends would write a redo twice. */
			flags = get_u32(at) & ~(uint32_t)O_APPEND;
			memcpy(at, &flags, sizeof(flags));
		}
	}
	return err;
}

static bool is_unlock(const struct request *r)
{
	const struct fuse_lk_in *in = (const void *)r->in;

	return (r->header->opcode == FUSE_SETLK || r->header->opcode == FUSE_SETLKW) && in->lk.type == F_UNLCK;
}

/* Nothing to be done by a backend: what there was has ended with another incarnation, or with the file. */
static bool is_answered(const struct request *r)
{
	if (r->header->opcode == FUSE_FORGET || r->header->opcode == FUSE_BATCH_FORGET)
		return true; /* the tables take it in: translate_forget() */
	if (r->header->opcode == FUSE_NOTIFY_REPLY)
		return r->restore; /* nobody waits for it who knows this node */
	if (r->op->flags & RELAY_OP_CLOSES)
		return r->lost || r->restore;
	return r->lost && (r->header->opcode == FUSE_FLUSH || is_unlock(r));
}

/* The cookie of a directory that was opened again is an earlier incarnation's. */
static bool resumes(struct request *r)
{
	const struct fuse_read_in *in = (const void *)r->in;

	if (!(r->op->flags & (RELAY_OP_DIRENTS | RELAY_OP_ENTRIES)) || !r->handle ||
	    !(r->handle->flags & HANDLE_RESUMES))
		return false;
	if (in->offset != 0)
		return true;
	if (handles_current(&r->translate->handles, r->handle))
		r->handle->flags &= ~(uint32_t)HANDLE_RESUMES;
	return false;
}

/*
 * What the backend had acknowledged and not done has died with it.  Said once, as the
 * kernel does for a disk that fails: fsync(2).
 */
static bool writes_lost(struct request *r)
{
	if (!r->translate->write_behind || !(r->op->flags & RELAY_OP_SYNCS) || !r->handle ||
	    !(r->handle->flags & HANDLE_UNFLUSHED))
		return false;
	r->handle->flags &= ~(uint32_t)HANDLE_UNFLUSHED;
	return true;
}

static int request_outcome(struct request *r)
{
	if (writes_lost(r))
		return -EIO;
	if (is_answered(r))
		return TRANSLATE_ANSWERED;
	if (r->lost)
		return -ESTALE;
	if (r->restore || resumes(r))
		return TRANSLATE_RESTORE;
	if (r->op->flags & RELAY_OP_LOCKS && r->node && locks_unset(&r->translate->locks, r->node))
		return TRANSLATE_RESTORE;
	return TRANSLATE_READY;
}

int translate_request(struct translate *translate, const void *request, uint32_t size, struct translate_head *head)
{
	struct request r = {.translate = translate, .header = request};
	int ret;

	r.op = relay_op_get(r.header->opcode);
	if (!r.op)
		return -ENOSYS;
	r.in = (const uint8_t *)(r.header + 1);
	request_head(&r, request, size, head);
	pthread_mutex_lock(&translate->lock);
	translate_sweep(translate);
	ret = ids_translate(&r);
	if (!ret)
		ret = request_outcome(&r);
	pthread_mutex_unlock(&translate->lock);
	return ret;
}

/* ---- what is remembered ---------------------------------------------------- */

bool translate_truncates(const void *request)
{
	const struct fuse_in_header *header = request;
	const struct relay_op *op = relay_op_get(header->opcode);

	if (!(op->flags & RELAY_OP_OPENS))
		return false;
	for (unsigned i = 0; i < RELAY_IDS_MAX; i++)
		if (op->ids[i].kind == RELAY_ID_OFLAGS)
			return get_u32((const uint8_t *)(header + 1) + op->ids[i].at) & O_TRUNC;
	return false;
}

void translate_disturb(struct translate *translate, const void *request)
{
	const struct fuse_in_header *header = request;
	const struct relay_op *op = relay_op_get(header->opcode);
	struct node *node = nodes_get(&translate->nodes, header->nodeid);

	if (node)
		nodes_disturb(node);
	for (unsigned i = 0; i < RELAY_IDS_MAX; i++) {
		if (op->ids[i].kind != RELAY_ID_NODE)
			continue;
		node = nodes_get(&translate->nodes, get_u64((const uint8_t *)(header + 1) + op->ids[i].at));
		if (node)
			nodes_disturb(node);
	}
}

void translate_note(struct translate *translate, const void *request, struct translate_note *note)
{
	const struct fuse_in_header *header = request;
	const struct relay_op *op = relay_op_get(header->opcode);
	const struct handle *handle;
	struct node *node;
	bool writes, makes_good;

	note->written = 0;
	note->changes = 0;
	translate_window_open(translate, request, &note->window);
	if (!op)
		return;
	writes = op->flags & RELAY_OP_WRITES || translate_truncates(request);
	makes_good = header->opcode == FUSE_FLUSH || header->opcode == FUSE_FSYNC;
	if (!writes && !makes_good && !(op->flags & (RELAY_OP_ATTR | RELAY_OP_STATX)))
		return;
	pthread_mutex_lock(&translate->lock);
	if (writes)
		translate_disturb(translate, request);
	node = nodes_get(&translate->nodes, header->nodeid);
	if (node) {
		note->changes = node->changes;
		/* What is written through an open file makes them no more than the least there is anyway. */
		node->unsettled |= header->opcode == FUSE_SETATTR || translate_truncates(request);
	}
	if (makes_good) {
		handle = handles_get(&translate->handles, get_u64((const uint8_t *)(header + 1)));
		if (handle)
			note->written = handle->written;
	}
	pthread_mutex_unlock(&translate->lock);
}
