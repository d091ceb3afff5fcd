/*
 * FORGET and BATCH_FORGET: the kernel takes no reply, but a count that was taken
 * down must not be taken down again.  Each node is one transaction of the state,
 * committed when its handler returns; the last one's commit is the slot's APPLIED,
 * and the empty reply to relayd frees the slot.
 *
 * A process dying in the midst of a BATCH_FORGET leaves in undo_count how many
 * items are done, and the entries of the one that is not: one word, so there is
 * nothing between "done" and "to be undone".
 */
#include "internal.h"

#include <errno.h>

#include "crash.h"

static void forget_node(struct relay_req *req, uint64_t nodeid, uint64_t nlookup)
{
	if (req->session->ops->forget)
		req->session->ops->forget(req, nodeid, nlookup);
}

/* Commits an item that is not the last.  `done` counts it. */
static void forget_commit(struct relay_req *req, uint32_t done)
{
	atomic_store_explicit(&req->slot->undo_count, RELAY_UNDO_WORD(done, 0), memory_order_release);
	relay_internal_state_commit(req);
	RELAY_CRASH_POINT(req->op->name, "stored");
}

static void serve_batch(struct relay_req *req)
{
	const struct fuse_batch_forget_in *in = req->args.in;
	const struct fuse_forget_one *items = req->args.data;
	uint32_t count = in->count;
	uint32_t i;

	if (count > req->args.data_size / sizeof(*items)) {
		relay_reply_error(req, EIO);
		return;
	}
	i = RELAY_UNDO_DONE(atomic_load_explicit(&req->slot->undo_count, memory_order_relaxed));
	for (; i < count; i++) {
		/* The channel has ended: what is not done is the next incarnation's. */
		if (relay_internal_session_ended(req->session))
			break;
		forget_node(req, items[i].nodeid, items[i].nlookup);
		if (req->answered)
			return;
		if (i + 1 < count) {
			RELAY_CRASH_POINT(req->op->name, "applied");
			forget_commit(req, i + 1);
		}
	}
	relay_reply_error(req, 0);
}

void relay_internal_serve_forget(struct relay_req *req)
{
	const struct fuse_forget_in *in = req->args.in;

	if (req->header->opcode == FUSE_BATCH_FORGET) {
		serve_batch(req);
		return;
	}
	forget_node(req, req->header->nodeid, in->nlookup);
	relay_reply_error(req, 0);
}
