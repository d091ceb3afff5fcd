/*
 * Replies: stored whole in the request's slot, published, then sent from there.
 *
 * A process dying before APPLIED is published leaves a request that the next
 * incarnation is given again, with its pre-state and with its changes of the state
 * undone.  One dying after it leaves the whole reply, which relayd delivers.  The
 * state's lock is released in between publishing and sending: never before, since
 * another transaction would then build upon words that may yet be undone.
 *
 * Once the packet is out the slot is relayd's, and may be another request's.  What was
 * read from /dev/fuse is answered there instead (direct.c), and its slot stays ours.
 */
#include "internal.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "crash.h"

/* The kernel takes no errno beyond this (fs/fuse/dev.c). */
#define ERRNO_MAX 511

static void reply_send(struct relay_session *session, const void *reply, size_t size)
{
	const struct iovec iov = {.iov_base = (void *)reply, .iov_len = size};

	/*
	 * What cannot be sent is in the journal, and relayd delivers it from there when
	 * the channel ends: have it end.
	 */
	if (relay_internal_channel_send(session, &iov, 1, NULL, 0))
		shutdown(session->fd, SHUT_RDWR);
}

/* The channel has ended: the request is the next incarnation's. */
static void reply_drop(struct relay_req *req)
{
	if (req->session->absence)
		relay_absence_close(req->session->absence, &req->window);
	relay_state_abort(req);
	req->parted = true;
	relay_internal_req_end(req);
}

/* A reply of `size` bytes, of which the payload is there already. */
static uint32_t reply_make(struct relay_req *req, int error, size_t payload)
{
	struct fuse_out_header *out = (struct fuse_out_header *)req->reply;
	uint32_t size = (uint32_t)(sizeof(*out) + (error ? 0 : payload));

	*out = (struct fuse_out_header){.len = size, .error = -error, .unique = req->reply_unique};
	return size;
}

static void reply_finish(struct relay_req *req, int error, size_t payload)
{
	struct fuse_out_header *out = (struct fuse_out_header *)req->reply;
	struct relay_slot *slot = req->slot;
	uint32_t size;

	if (req->answered)
		return;
	RELAY_CRASH_POINT(req->op->name, "applied");
	if (!slot || relay_internal_session_ended(req->session)) {
		reply_drop(req);
		return;
	}
	if (error < 0 || error > ERRNO_MAX || payload > req->reply_capacity - sizeof(*out))
		error = EIO;
	size = reply_make(req, error, payload);
	/* Of what relayd sends on it has a look by itself. */
	if (req->claimed && relay_internal_direct_malformed(req, out, size))
		size = reply_make(req, EIO, 0);
	slot->reply_size = size;
	atomic_store_explicit(&slot->state, RELAY_SLOT_APPLIED, memory_order_release);
	relay_internal_state_commit(req);
	RELAY_CRASH_POINT(req->op->name, "stored");
	if (req->session->absence && relay_absence_concerns(req->op))
		relay_internal_absence_end(req, out);
	if (req->claimed) {
		relay_internal_direct_reply(req, out, size);
	} else {
		reply_send(req->session, out, size);
		RELAY_CRASH_POINT(req->op->name, "sent");
	}
	relay_internal_req_end(req);
}

void relay_reply_error(struct relay_req *req, int error)
{
	reply_finish(req, error, 0);
}

void *relay_reply_buffer(struct relay_req *req, size_t *capacity)
{
	/* An answered request's slot may be another's by now. */
	if (!req->slot || req->answered) {
		*capacity = 0;
		return NULL;
	}
	*capacity = req->reply_capacity - sizeof(struct fuse_out_header);
	return req->reply + sizeof(struct fuse_out_header);
}

void relay_reply_filled(struct relay_req *req, size_t size)
{
	reply_finish(req, 0, size);
}

void relay_reply(struct relay_req *req, const void *payload, size_t size)
{
	size_t capacity;
	void *buffer = relay_reply_buffer(req, &capacity);

	if (size > 0 && size <= capacity)
		memcpy(buffer, payload, size);
	reply_finish(req, 0, size);
}

void relay_reply_entry(struct relay_req *req, const struct fuse_entry_out *entry)
{
	relay_reply(req, entry, sizeof(*entry));
}

void relay_reply_create(struct relay_req *req, const struct fuse_entry_out *entry, const struct fuse_open_out *open)
{
	struct {
		struct fuse_entry_out entry;
		struct fuse_open_out open;
	} payload = {*entry, *open};

	relay_reply(req, &payload, sizeof(payload));
}

void relay_reply_attr(struct relay_req *req, const struct fuse_attr_out *attr)
{
	relay_reply(req, attr, sizeof(*attr));
}

void relay_reply_open(struct relay_req *req, const struct fuse_open_out *open)
{
	relay_reply(req, open, sizeof(*open));
}

void relay_reply_write(struct relay_req *req, uint32_t size)
{
	const struct fuse_write_out out = {.size = size};

	relay_reply(req, &out, sizeof(out));
}
