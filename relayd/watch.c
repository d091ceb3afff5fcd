/*
 * Looking for requests that a backend holds.
 *
 * What may rightly wait (RELAY_OP_WAITS) has no deadline, and nor has what waits in relayd:
 * behind another request, for a backend, for the repair pool.
 */
#include "watch.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>

#include "dispatch.h"

/* What a look may add at most: longer ago means that relayd did not run. */
#define GAP_NS 2000000000u

int watch_init(struct watch *watch, uint32_t slots)
{
	*watch = (struct watch){.entries = calloc((size_t)slots + 1, sizeof(*watch->entries))};
	return watch->entries ? 0 : -ENOMEM;
}

void watch_deinit(struct watch *watch)
{
	free(watch->entries);
	watch->entries = NULL;
}

void watch_begin(struct dispatch *dispatch)
{
	struct watch *watch = &dispatch->watch;

	for (uint32_t slot = 0; slot <= journal_slots(dispatch->journal); slot++)
		watch->entries[slot] = (struct watch_entry){0};
	watch->looked_ns = watch->blamed = 0;
	watch->hung = false;
}

/* What relayd has given it.  Threads may move it on meanwhile: then it is found to be another. */
static bool given_look(struct dispatch *dispatch, uint32_t slot, struct watch_hang *found)
{
	const struct inflight *r = &dispatch->inflight[slot];
	uint32_t state = atomic_load(&r->state);

	if (state != INFLIGHT_SENT && !(state == INFLIGHT_REPAIR && r->worked))
		return false;
	*found = (struct watch_hang){.opcode = r->opcode, .unique = r->unique, .nodeid = r->nodeid};
	return atomic_load(&r->state) == state;
}

/* What it has read by itself: its unique is in the buffer from read() to the reply. */
static bool claimed_look(struct dispatch *dispatch, uint32_t slot, struct watch_hang *found)
{
	const volatile struct fuse_in_header *header = journal_request(dispatch->journal, slot);

	if (!direct_is(&dispatch->direct) || atomic_load(&dispatch->inflight[slot].state) != INFLIGHT_IDLE ||
	    !journal_slot_begun(dispatch->journal, slot))
		return false;
	*found = (struct watch_hang){.opcode = header->opcode, .unique = header->unique, .nodeid = header->nodeid};
	/* An odd one is an INTERRUPT, which nobody holds. */
	return found->unique && !(found->unique & 1);
}

static bool slot_look(struct dispatch *dispatch, uint32_t slot, struct watch_hang *found)
{
	const struct relay_op *op;

	if (!given_look(dispatch, slot, found) && !claimed_look(dispatch, slot, found))
		return false;
	op = relay_op_get(found->opcode);
	return !op || !(op->flags & RELAY_OP_WAITS);
}

/*
 * Whether requests wait with the kernel for a backend that reads, and that has answered none
 * since the last look.
 */
static bool unread_look(struct dispatch *dispatch, struct watch_hang *found)
{
	struct pollfd poller = {.fd = dispatch->session->fd, .events = POLLIN};
	struct watch *watch = &dispatch->watch;
	uint64_t answered = 0, before = watch->answered;

	if (!direct_is(&dispatch->direct))
		return false;
	for (uint32_t opcode = 0; opcode < RELAY_OPCODE_MAX; opcode++)
		answered += atomic_load_explicit(&dispatch->journal->map.journal->counts[opcode].count,
						 memory_order_relaxed);
	watch->answered = answered;
	*found = (struct watch_hang){0};
	if (answered != before || !dispatch->gate)
		return false;
	if (dispatch_is_uring(dispatch) && dispatch_rings_pending(dispatch))
		return true;
	return poll(&poller, 1, 0) > 0 && poller.revents & POLLIN;
}

/* Notes what was found there, as held for `gap` longer if it was there before. */
static uint64_t entry_note(struct watch_entry *entry, bool there, uint64_t number, uint64_t gap)
{
	if (there && entry->number == number)
		entry->held_ns += gap;
	else
		*entry = (struct watch_entry){.number = there ? number : 0};
	return entry->held_ns;
}

/* The oldest one is blamed: the kernel counts them up.  Where nothing is read, that is all. */
static void hang_blame(struct watch_hang *hang, const struct watch_hang *found)
{
	if (hang->held_ns == 0 || dispatch_kernel_number(found->unique) < dispatch_kernel_number(hang->unique)) {
		unsigned others = hang->others;

		*hang = *found;
		hang->others = others;
	}
	hang->others++;
}

bool watch_look(struct dispatch *dispatch, uint64_t now_ns, struct watch_hang *hang, uint64_t *next_ns)
{
	struct watch *watch = &dispatch->watch;
	uint64_t gap = watch->looked_ns ? now_ns - watch->looked_ns : 0;
	uint32_t slots = journal_slots(dispatch->journal);

	*hang = (struct watch_hang){0};
	*next_ns = UINT64_MAX;
	if (gap > GAP_NS)
		gap = GAP_NS;
	watch->looked_ns = now_ns;
	for (uint32_t slot = 0; slot <= slots; slot++) {
		struct watch_hang found = {0};
		bool there = slot < slots ? slot_look(dispatch, slot, &found) : unread_look(dispatch, &found);
		/* Nothing in particular is unread, and no request has this number. */
		uint64_t number = slot < slots ? dispatch_kernel_number(found.unique) : UINT64_MAX;

		found.held_ns = entry_note(&watch->entries[slot], there, number, gap);
		if (!there)
			continue;
		if (found.held_ns < watch->limit_ns) {
			if (watch->limit_ns - found.held_ns < *next_ns)
				*next_ns = watch->limit_ns - found.held_ns;
		} else if (slot < slots || hang->held_ns == 0) {
			hang_blame(hang, &found);
		}
	}
	if (watch->hung || hang->held_ns == 0)
		return false;
	hang->others--;
	watch->hung = true;
	watch->blamed = dispatch_kernel_number(hang->unique);
	return true;
}
