/*
 * What a handler can ask and tell about its request, and how the request ends.
 */
#include "internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "crash.h"

static_assert(RELAY_PRE_MAX == RELAY_PRE_SIZE, "the journal's pre-state is what the interface promises");
static_assert(offsetof(struct relay_slot, pre) % 8 == 0, "the pre-state is aligned");

void *relay_session_userdata(const struct relay_session *session)
{
	return session->userdata;
}

bool relay_session_shared_store(const struct relay_session *session)
{
	return session->shared_store;
}

uint32_t relay_session_incarnation(const struct relay_session *session)
{
	return session->incarnation;
}

struct relay_session *relay_req_session(const struct relay_req *req)
{
	return req->session;
}

const struct fuse_in_header *relay_req_header(const struct relay_req *req)
{
	return req->header;
}

uint64_t relay_req_nodeid(const struct relay_req *req)
{
	return req->header->nodeid;
}

uint64_t relay_req_unique(const struct relay_req *req)
{
	return req->unique;
}

const void *relay_req_in(const struct relay_req *req)
{
	return req->args.in;
}

bool relay_req_interrupted(const struct relay_req *req)
{
	if (relay_internal_session_ended(req->session))
		return true;
	return req->slot && atomic_load(&req->session->interrupted[req->index]) == req->unique;
}

bool relay_req_redo(const struct relay_req *req)
{
	return req->redo;
}

void *relay_req_pre(struct relay_req *req)
{
	return req->slot ? req->slot->pre : NULL;
}

void relay_internal_req_applying(struct relay_req *req, size_t size)
{
	req->slot->pre_size = (uint32_t)size;
	/*
	 * A process dying before this store leaves TAKEN: a fresh request, whose
	 * pre-state nobody reads.  One dying after it leaves a redo.
	 */
	atomic_store_explicit(&req->slot->state, RELAY_SLOT_APPLYING, memory_order_release);
	RELAY_CRASH_POINT(req->op->name, "prerecorded");
}

void relay_req_applying(struct relay_req *req, size_t size)
{
	/* On a redo the pre-state is the first incarnation's: it alone saw the store untouched. */
	if (!req->slot || req->redo)
		return;
	relay_internal_req_applying(req, size < RELAY_PRE_SIZE ? size : RELAY_PRE_SIZE);
}

/* The packet lies in its thread's buffer, or in the slot: it is copied behind the new request. */
struct relay_req *relay_req_detach(struct relay_req *req)
{
	struct relay_session *session = req->session;
	uint32_t size = req->size;
	struct relay_req *copy;

	/* What takes no reply would never leave the list. */
	copy = req->slot ? malloc(sizeof(*copy) + size) : NULL;
	if (!copy) {
		relay_reply_error(req, ENOMEM);
		return NULL;
	}
	*copy = *req;
	copy->header = memcpy(copy + 1, req->header, size);
	copy->args = (struct relay_args){.in = req->args.in ? copy->header + 1 : NULL};
	copy->detached = true;

	pthread_mutex_lock(&session->lock);
	copy->next = session->detached;
	copy->link = &session->detached;
	if (copy->next)
		copy->next->link = &copy->next;
	session->detached = copy;
	pthread_mutex_unlock(&session->lock);

	req->answered = true;
	req->parted = true;
	req->window = (struct absence_window){0};
	return copy;
}

void relay_internal_req_end(struct relay_req *req)
{
	struct relay_session *session = req->session;

	if (!req->detached) {
		req->answered = true;
		return;
	}
	/* Last of all: once the list is empty relay_serve() may take the session down. */
	pthread_mutex_lock(&session->lock);
	*req->link = req->next;
	if (req->next)
		req->next->link = req->link;
	if (!session->detached)
		pthread_cond_broadcast(&session->changed);
	pthread_mutex_unlock(&session->lock);
	free(req);
}
