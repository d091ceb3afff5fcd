/*
 * From a packet to its handler: checks the packet, finds its slot, and calls the
 * handler that the opcode's row names.
 *
 * The packet comes from relayd, which had it from the kernel, and in the direct lane the
 * request lies in memory that is relayd's too; still nothing of it is relied on here.  A request that does not fit is answered with an error, one
 * that names no slot of ours is answered outside of the journal.
 *
 * The slot tells what earlier incarnations did: TAKEN is a fresh request, APPLYING
 * one that may have been applied.
 */
#include "internal.h"

#include <errno.h>
#include <string.h>

#include "crash.h"
#include "slots.h"

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

/* relayd is told, the journal is left alone. */
void relay_internal_answer_outside(struct relay_session *session, uint64_t unique, int error)
{
	struct fuse_out_header out = {.len = sizeof(out), .error = -error, .unique = unique};
	const struct iovec iov = {.iov_base = &out, .iov_len = sizeof(out)};

	/* unique 0 would make it a notification.  If it cannot be sent the channel is ending. */
	if (unique != 0)
		relay_internal_channel_send(session, &iov, 1, NULL, 0);
}

void relay_internal_req_slot(struct relay_req *req, uint32_t index, uint32_t state)
{
	const struct relay_journal_map *journal = &req->session->journal;
	struct relay_slot_place place = relay_slot_place(journal->large, journal->small, index);
	struct relay_slot *slot = relay_slot_at(journal, index);

	req->slot = slot;
	req->index = index;
	req->unique = slot->unique & ~FUSE_UNIQUE_RESEND;
	req->reply = (uint8_t *)journal->journal + place.reply;
	req->reply_capacity = place.reply_capacity;
	req->redo = state == RELAY_SLOT_APPLYING;
	/* What was not recorded is what another request left there. */
	if (req->redo && slot->pre_size < RELAY_PRE_SIZE)
		memset(slot->pre + slot->pre_size, 0, RELAY_PRE_SIZE - slot->pre_size);
}

/*
 * Finds the slot that the unique names, if it is this request's and to be applied.
 * Returns false if there is none.
 */
static bool find_slot(struct relay_req *req, uint64_t unique)
{
	const struct relay_journal_map *journal = &req->session->journal;
	uint32_t index = relay_unique_slot(unique);
	struct relay_slot *slot;
	uint32_t state;

	if (index >= journal->large + journal->small)
		return false;
	slot = relay_slot_at(journal, index);
	state = atomic_load_explicit(&slot->state, memory_order_acquire);
	if (slot->channel_unique != unique || (state != RELAY_SLOT_TAKEN && state != RELAY_SLOT_APPLYING))
		return false;
	req->reply_unique = unique;
	relay_internal_req_slot(req, index, state);
	return true;
}

/*
 * The kernel's unique of a request on the channel, or 0 if it is not in its slot any more.
 * Read before what says whose the slot is: one that became another's after that is in
 * READING, or has another unique on the channel.
 */
static uint64_t kernel_unique(const struct relay_session *session, uint64_t channel_unique, uint32_t index)
{
	struct relay_slot *slot = relay_slot_at(&session->journal, index);
	uint64_t unique = __atomic_load_n(&slot->unique, __ATOMIC_ACQUIRE);
	uint32_t state = atomic_load_explicit(&slot->state, memory_order_acquire);

	if (state < RELAY_SLOT_TAKEN || __atomic_load_n(&slot->channel_unique, __ATOMIC_RELAXED) != channel_unique)
		return 0;
	return unique & ~FUSE_UNIQUE_RESEND;
}

/* Remembers it first: the request may not have come to its handler yet (relay_req_interrupted()). */
static void serve_interrupt(struct relay_session *session, const struct fuse_interrupt_in *in)
{
	uint32_t index = relay_unique_slot(in->unique);
	uint64_t unique;

	if (index >= session->journal.large + session->journal.small)
		return;
	unique = kernel_unique(session, in->unique, index);
	if (!unique)
		return;
	atomic_store(&session->interrupted[index], unique);
	if (session->ops->interrupt)
		session->ops->interrupt(session, unique);
}

void relay_internal_serve_unanswered(struct relay_thread *thread, const struct fuse_in_header *header, uint32_t size,
				     bool cut)
{
	struct relay_req *req = &thread->req;

	*req = (struct relay_req){
		.session = thread->session,
		.header = header,
		.op = relay_op_get(header->opcode),
		.size = size,
		.unique = header->unique,
	};
	if (cut || relay_args_parse(header, size, 0, &req->args))
		return;
	RELAY_CRASH_POINT(req->op->name, "received");
	if (header->opcode == FUSE_INTERRUPT)
		serve_interrupt(thread->session, req->args.in);
	else
		calls[header->opcode](req, &req->args);
	relay_state_abort(req);
}

/* Calls the handler of a request that has its slot. */
static void serve_handler(struct relay_req *req, uint32_t opcode)
{
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

void relay_internal_serve_request(struct relay_thread *thread, bool cut)
{
	static const struct relay_op unknown = {.name = "unknown", .reply = RELAY_REPLY_FIXED};
	struct relay_req *req = &thread->req;
	/* Once: it may lie where others can write. */
	uint32_t opcode = __atomic_load_n(&req->header->opcode, __ATOMIC_RELAXED);
	uint32_t in_size;
	int err;

	if (!req->op || relay_op_get(opcode) != req->op) {
		req->op = &unknown;
		relay_reply_error(req, ENOSYS);
		return;
	}
	/* It is always negotiated (handshake.c). */
	in_size = relay_op_in_size(opcode, FUSE_SETXATTR_EXT);
	err = cut ? -EPROTO : relay_args_parse(req->header, req->size, in_size, &req->args);
	if (err) {
		relay_reply_error(req, EIO);
		return;
	}
	RELAY_CRASH_POINT(req->op->name, "received");
	if (req->session->absence && relay_absence_concerns(req->op) && relay_internal_absence_begin(req)) {
		/* It may be answered as absent though it is made: so it is not made. */
		relay_reply_error(req, EIO);
		return;
	}
	if (req->redo)
		RELAY_CRASH_POINT(req->op->name, "prerecorded");
	else if (req->op->redo == RELAY_REDO_REPEAT)
		relay_internal_req_applying(req, 0);

	atomic_store(&thread->serving, req->unique);
	serve_handler(req, opcode);
	atomic_store_explicit(&thread->serving, 0, memory_order_release);
}

void relay_internal_serve_packet(struct relay_thread *thread, void *packet, size_t size, bool cut)
{
	const struct fuse_in_header *header = packet;
	struct relay_req *req = &thread->req;

	if (size < sizeof(*header))
		return;
	if (header->opcode == FUSE_INTERRUPT || header->opcode == FUSE_NOTIFY_REPLY) {
		relay_internal_serve_unanswered(thread, header, (uint32_t)size, cut);
		return;
	}
	*req = (struct relay_req){
		.session = thread->session,
		.header = header,
		.op = relay_op_get(header->opcode),
		.size = (uint32_t)size,
	};
	if (find_slot(req, header->unique))
		relay_internal_serve_request(thread, cut);
	else
		relay_internal_answer_outside(thread->session, header->unique, EIO);
}

void relay_internal_serve_given(struct relay_thread *thread, uint64_t unique)
{
	struct relay_session *session = thread->session;
	struct relay_req *req = &thread->req;
	struct relay_slot_place place;
	bool whole;

	*req = (struct relay_req){.session = session};
	if (!find_slot(req, unique)) {
		relay_internal_answer_outside(session, unique, EIO);
		return;
	}
	place = relay_slot_place(session->journal.large, session->journal.small, req->index);
	req->header = relay_slot_request(&session->journal, req->index);
	req->op = relay_op_get(req->header->opcode);
	req->size = req->slot->request_size;
	whole = req->size >= sizeof(*req->header) && req->size <= place.request_capacity &&
		req->header->unique == unique;
	relay_internal_serve_request(thread, !whole);
}
