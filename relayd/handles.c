/*
 * The table of open files.  A handle holds its node through node->opens, which changes in
 * the same transaction as the handle comes and goes.
 *
 * After a crash of relayd's the counts are taken anew from the handles.  An fh is not given
 * twice: its upper half counts the handles that there were.
 */
#include "handles.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stddef.h>

/* What open(2) does once, and must not do when the file is opened again. */
#define FLAGS_ONCE (O_CREAT | O_EXCL | O_TRUNC | O_NOCTTY | O_APPEND)

static_assert(sizeof(struct handle) % 8 == 0, "records are multiples of 8");

void handles_record_sizes(uint32_t record_size[STATE_TABLES])
{
	record_size[STATE_HANDLES] = sizeof(struct handle);
}

static uint32_t handle_number(const struct handle *handle)
{
	return (uint32_t)handle->fh;
}

/* Counts the handle with its node. */
static int handle_init(struct handles *handles, uint32_t number, struct handle *handle, uint32_t *parts)
{
	struct node *node = state_get(handles->state, STATE_NODES, handle->node);

	if (!node || handle->fh != ((uint64_t)handle->reuse << 32 | number))
		return -EPROTO;
	node->opens++;
	if (handle->flags & HANDLE_WRITES)
		node->writers++;
	return dirlog_init(handles, handle, parts);
}

int handles_init(struct handles *handles, struct state *state, struct nodes *nodes)
{
	uint32_t parts = 0;

	*handles = (struct handles){.state = state, .nodes = nodes};
	/* A process dying in between leaves counts that are too low, and are taken anew all the same. */
	for (uint32_t i = 1; i < state_end(state, STATE_NODES); i++) {
		struct node *node = state_get(state, STATE_NODES, i);

		if (node)
			node->opens = node->writers = 0;
	}
	for (uint32_t i = 1; i < state_end(state, STATE_HANDLES); i++) {
		struct handle *handle = state_get(state, STATE_HANDLES, i);
		int err = handle ? handle_init(handles, i, handle, &parts) : 0;

		if (err)
			return err;
	}
	return parts == state_live(state, STATE_DIRLOGS) ? 0 : -EPROTO;
}

/* In a transaction. */
static struct handle *handle_make(struct handles *handles, uint32_t node_number, bool writes)
{
	struct node *node = state_edit(handles->state, STATE_NODES, node_number);
	struct handle *handle;
	uint32_t number;

	handle = node ? state_new(handles->state, STATE_HANDLES, &number) : NULL;
	if (!handle)
		return NULL;
	node->opens++;
	node->writers += writes;
	handle->reuse = (uint32_t)state_births(handles->state, STATE_HANDLES);
	handle->fh = (uint64_t)handle->reuse << 32 | number;
	handle->node = node_number;
	handle->flags = writes ? HANDLE_WRITES : 0;
	return handle;
}

int handles_new(struct handles *handles, struct node *node, const struct fuse_in_header *header, uint32_t open_flags,
		bool dir, uint64_t backend_fh, struct handle **out)
{
	bool writes = !dir && (open_flags & O_ACCMODE) != O_RDONLY;
	struct handle *handle;

	if (writes)
		nodes_disturb(node);
	state_begin(handles->state);
	handle = handle_make(handles, nodes_number(node), writes);
	if (!handle) {
		state_undo(handles->state);
		return -ENOMEM;
	}
	if (dir)
		handle->flags |= HANDLE_DIR;
	handle->backend_fh = backend_fh;
	handle->incarnation = handles->nodes->incarnation;
	handle->open_flags = open_flags & ~(uint32_t)FLAGS_ONCE;
	handle->uid = header->uid;
	handle->gid = header->gid;
	handle->pid = header->pid;
	state_commit(handles->state);
	*out = handle;
	return 0;
}

struct handle *handles_get(const struct handles *handles, uint64_t fh)
{
	struct handle *handle = state_get(handles->state, STATE_HANDLES, (uint32_t)fh);

	return handle && handle->fh == fh ? handle : NULL;
}

/* Whatever was written to it was written to the incarnation that had it open. */
static void writes_orphaned(struct handle *handle)
{
	if (handle->written > 0)
		handle->flags |= HANDLE_UNFLUSHED;
	/* A process dying here leaves both, which says the same. */
	handle->written = 0;
}

void handles_reopened(struct handles *handles, struct handle *handle, uint64_t backend_fh)
{
	writes_orphaned(handle);
	/*
	 * A process dying in between leaves a handle that is current nowhere, since the
	 * number of the incarnation comes last.
	 */
	handle->backend_fh = backend_fh;
	handle->rest_cookie = 0;
	handle->flags &= ~(uint32_t)HANDLE_LOST;
	if (handle->flags & HANDLE_DIR && handle->log_count > 0)
		handle->flags |= HANDLE_RESUMES;
	atomic_signal_fence(memory_order_release);
	handle->incarnation = handles->nodes->incarnation;
}

void handles_lost(struct handle *handle)
{
	writes_orphaned(handle);
	handle->flags |= HANDLE_LOST;
}

void handles_close(struct handles *handles, struct handle *handle)
{
	uint32_t node_number = handle->node, number = handle_number(handle);
	bool writes = handle->flags & HANDLE_WRITES;
	struct node *node;
	int err;

	if (writes) /* and what the backend has kept back is written by now */
		nodes_disturb(state_get(handles->state, STATE_NODES, node_number));
	/* A process dying after this leaves an open directory without a log. */
	dirlog_clear(handles, handle);
	state_begin(handles->state);
	node = state_edit(handles->state, STATE_NODES, node_number);
	err = node ? state_free(handles->state, STATE_HANDLES, number) : -ENOSPC;
	/* The undo log has room for so few records. */
	assert(!err);
	node->opens--;
	node->writers -= writes;
	if (writes && node->writers == 0)
		node->unsettled = 0;
	state_commit(handles->state);
	nodes_settle(handles->nodes, node);
}

struct handle *handles_next(const struct handles *handles, const struct handle *after)
{
	uint32_t end = state_end(handles->state, STATE_HANDLES);

	for (uint32_t i = after ? handle_number(after) + 1 : 1; i < end; i++) {
		struct handle *handle = state_get(handles->state, STATE_HANDLES, i);

		if (handle)
			return handle;
	}
	return NULL;
}
