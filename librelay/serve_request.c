/*
 * From a packet to its handler: checks the packet, finds its slot, and calls the
 * handler that the opcode's row names.
 *
 * The packet comes from relayd, which had it from the kernel; still nothing of it
 * is relied on here.  A request that does not fit is answered with an error, one
 * that names no slot of ours is answered outside of the journal.
 *
 * The slot tells what earlier incarnations did: TAKEN is a fresh request, APPLYING
 * one that may have been applied.
 */
#include "internal.h"

#include <errno.h>
#include <string.h>

#include "crash.h"

/* ---- the handlers, made from the opcode table -------------------------- */

#define CALL_NONE(handler) handler(req)
#define CALL_IN(handler) handler(req, args->in)
#define CALL_NAME(handler) handler(req, args->name)
#define CALL_NAME_NAME(handler) handler(req, args->name, args->name2)
#define CALL_IN_NAME(handler) handler(req, args->in, args->name)
#define CALL_IN_NAME_NAME(handler) handler(req, args->in, args->name, args->name2)
#define CALL_IN_DATA(handler) handler(req, args->in, args->data, args->data_size)
#define CALL_IN_NAME_DATA(handler) handler(req, args->in, args->name, args->data, args->data_size)

/* Calls the handler with what its shape gives it; false if the backend has none. */
#define THUNK(NAME, handler, shape, ...)                                                                               \
	static bool call_##handler(struct relay_req *req, const struct relay_args *args)                               \
	{                                                                                                              \
		const struct relay_ops *ops = req->session->ops;                                                       \
                                                                                                                       \
		(void)args;                                                                                            \
		if (!ops->handler)                                                                                     \
			return false;                                                                                  \
		CALL_##shape(ops->handler);                                                                            \
		return true;                                                                                           \
	}
RELAY_OPCODES_HANDLED(THUNK)

#define THUNK_ROW(NAME, handler, ...) [FUSE_##NAME] = call_##handler,

static bool (*const calls[RELAY_OPCODE_MAX])(struct relay_req *req,
					     const struct relay_args *args) = {RELAY_OPCODES_HANDLED(THUNK_ROW)};

/* ---- serving ----------------------------------------------------------- */

/* An answer to what has no slot of ours: relayd is told, the journal is left alone. */
static void answer_outside(struct relay_session *session, uint64_t unique, int error)
{
	struct fuse_out_header out = {.len = sizeof(out), .error = -error, .unique = unique};
	const struct iovec iov = {.iov_base = &out, .iov_len = sizeof(out)};

	/* unique 0 would make it a notification.  If it cannot be sent the channel is ending. */
	if (unique != 0)
		relay_internal_channel_send(session, &iov, 1, NULL, 0);
}

/*
 * Finds the slot that the unique names, if it is this request's and to be applied.
 * Returns false if there is none.
 */
static bool find_slot(struct relay_req *req, uint64_t unique)
{
	const struct relay_journal_map *journal = &req->session->journal;
	uint32_t index = relay_unique_slot(unique);
	struct relay_slot_place place;
	struct relay_slot *slot;
	uint32_t state;

	if (index >= journal->large + journal->small)
		return false;
	slot = relay_slot_at(journal, index);
	state = atomic_load_explicit(&slot->state, memory_order_acquire);
	if (slot->channel_unique != unique || (state != RELAY_SLOT_TAKEN && state != RELAY_SLOT_APPLYING))
		return false;
	place = relay_slot_place(journal->large, journal->small, index);
	req->slot = slot;
	req->reply = (uint8_t *)journal->journal + place.reply;
	req->reply_capacity = place.reply_capacity;
	req->redo = state == RELAY_SLOT_APPLYING;
	/* What was not recorded is what another request left there. */
	if (req->redo && slot->pre_size < RELAY_PRE_SIZE)
		memset(slot->pre + slot->pre_size, 0, RELAY_PRE_SIZE - slot->pre_size);
	return true;
}

/* Remembers it first: the request may not have come to its handler yet (relay_req_interrupted()). */
static void serve_interrupt(struct relay_session *session, const struct fuse_interrupt_in *in)
{
	uint32_t index = relay_unique_slot(in->unique);

	if (index < session->journal.large + session->journal.small)
		atomic_store(&session->interrupted[index], in->unique);
	if (session->ops->interrupt)
		session->ops->interrupt(session, in->unique);
}

/* What has neither a slot nor a reply. */
static void serve_unanswered(struct relay_thread *thread, struct relay_req *req, uint32_t size, bool cut)
{
	if (cut || relay_args_parse(req->header, size, 0, &req->args))
		return;
	RELAY_CRASH_POINT(req->op->name, "received");
	if (req->header->opcode == FUSE_INTERRUPT)
		serve_interrupt(thread->session, req->args.in);
	else
		calls[req->header->opcode](req, &req->args);
	relay_state_abort(req);
}

/* Calls the handler of a request that has its slot. */
static void serve_handler(struct relay_req *req)
{
	uint32_t opcode = req->header->opcode;

	if (opcode == FUSE_FORGET || opcode == FUSE_BATCH_FORGET) {
		relay_internal_serve_forget(req);
		return;
	}
	if (!calls[opcode]) {
		/* A second INIT. */
		relay_reply_error(req, EIO);
		return;
	}
	if (!calls[opcode](req, &req->args)) {
		relay_reply_error(req, opcode == FUSE_DESTROY ? 0 : ENOSYS);
		return;
	}
	if (!req->answered) {
		/* The handler has forgotten it; its changes are half of something. */
		relay_state_abort(req);
		relay_reply_error(req, EIO);
	}
}

void relay_internal_serve_packet(struct relay_thread *thread, void *packet, size_t size, bool cut)
{
	const struct fuse_in_header *header = packet;
	struct relay_req *req = &thread->req;
	uint32_t in_size;
	int err;

	if (size < sizeof(*header))
		return;
	*req = (struct relay_req){
		.session = thread->session,
		.header = header,
		.op = relay_op_get(header->opcode),
	};
	if (header->opcode == FUSE_INTERRUPT || header->opcode == FUSE_NOTIFY_REPLY) {
		serve_unanswered(thread, req, (uint32_t)size, cut);
		return;
	}
	if (!find_slot(req, header->unique)) {
		answer_outside(thread->session, header->unique, EIO);
		return;
	}
	if (!req->op) {
		static const struct relay_op unknown = {.name = "unknown"};

		req->op = &unknown;
		relay_reply_error(req, ENOSYS);
		return;
	}
	/* It is always negotiated (handshake.c). */
	in_size = relay_op_in_size(header->opcode, FUSE_SETXATTR_EXT);
	err = cut ? -EPROTO : relay_args_parse(packet, (uint32_t)size, in_size, &req->args);
	if (err) {
		relay_reply_error(req, EIO);
		return;
	}
	RELAY_CRASH_POINT(req->op->name, "received");
	if (req->redo)
		RELAY_CRASH_POINT(req->op->name, "prerecorded");
	else if (req->op->redo == RELAY_REDO_REPEAT)
		relay_internal_req_applying(req, 0);

	atomic_store(&thread->serving, header->unique);
	serve_handler(req);
	atomic_store(&thread->serving, 0);
}
