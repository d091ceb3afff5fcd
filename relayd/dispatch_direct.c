/*
 * Backends that read by themselves: when they may, and what they leave.
 *
 * A slot that a backend has claimed has no entry in relayd's own table, so all that is known
 * of it is in the journal: what the backend has written there, right or wrong, and what
 * something that it left behind may go on writing.  An import copies the request out,
 * checks the copy, and keeps what the reply will be held against.  The uniques that it finds
 * there are good for nothing but this mount's descriptor, where the backend could have
 * written any answer itself.
 *
 * What a death leaves, by the state that the slot says (wire.h):
 *
 *   READING, no unique   nothing was read: the slot is freed
 *   READING              the kernel has copied the request whole; nobody has looked at it
 *   TAKEN APPLYING       as in the socket lane: it is given to the next
 *   APPLIED              the whole reply: it is delivered, and the kernel says ENOENT if it
 *                        had it from the backend
 *   any, no unique       answered, or moved to a small slot: it is freed
 */
#include "dispatch_direct.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "dispatch.h"
#include "log.h"

/* As long as a large slot's request can be. */
#define BUFFER_SIZE (RELAY_MAX_REQUEST + 4096u)

int direct_init(struct direct *direct)
{
	uint8_t *both = mmap(NULL, 2 * BUFFER_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = DISPATCH_SIGNAL};

	*direct = (struct direct){0};
	if (both == MAP_FAILED)
		return -ENOMEM;
	event._sigev_un._tid = gettid();
	if (timer_create(CLOCK_MONOTONIC, &event, &direct->alarm) < 0) {
		munmap(both, 2 * BUFFER_SIZE);
		return -errno;
	}
	direct->buffer = both;
	direct->copy = both + BUFFER_SIZE;
	return 0;
}

void direct_deinit(struct direct *direct)
{
	timer_delete(direct->alarm);
	munmap(direct->buffer, 2 * BUFFER_SIZE);
}

/* ---- who reads ------------------------------------------------------------ */

void dispatch_lane_begin(struct dispatch *dispatch)
{
	const struct session *session = dispatch->session;
	enum direct_lane lane = DIRECT_LANE_SOCKET;

	if (dispatch->direct.wanted)
		lane = !session->agreed ? DIRECT_LANE_OPEN : session->native ? DIRECT_LANE_DIRECT : DIRECT_LANE_SOCKET;
	atomic_store(&dispatch->direct.lane, lane);
}

void dispatch_lane_decide(struct dispatch *dispatch)
{
	struct direct *direct = &dispatch->direct;

	if (atomic_load(&direct->lane) != DIRECT_LANE_OPEN)
		return;
	if (dispatch->session->native) {
		/* The carrier has read INIT, and nothing since. */
		session_nonblocking(dispatch->session, false);
		atomic_store(&direct->lane, DIRECT_LANE_DIRECT);
	} else {
		atomic_store(&direct->lane, DIRECT_LANE_SOCKET);
		dispatch_kick(dispatch);
	}
}

static int message_send(struct dispatch *dispatch, uint32_t opcode)
{
	const struct fuse_in_header header = {.len = sizeof(header), .opcode = opcode};

	if (send(dispatch->channel, &header, sizeof(header), MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		return -errno;
	return 0;
}

int dispatch_go(struct dispatch *dispatch)
{
	atomic_store(&dispatch->direct.paused, false);
	/* To one that is dying it is nothing. */
	return message_send(dispatch, RELAY_GO) == -EAGAIN ? -EAGAIN : 0;
}

void dispatch_pause(struct dispatch *dispatch)
{
	/* One that takes nothing any more has until the deadline. */
	if (!direct_is(&dispatch->direct))
		return;
	atomic_store(&dispatch->direct.paused, false);
	message_send(dispatch, RELAY_PAUSE);
}

bool dispatch_paused(const struct dispatch *dispatch)
{
	return !direct_is(&dispatch->direct) || atomic_load(&dispatch->direct.paused);
}

/* ---- what a backend leaves ------------------------------------------------ */

/* Whether relayd has a request of this number already. */
static bool is_known(const struct dispatch *dispatch, uint64_t unique)
{
	for (uint32_t slot = 0; slot < journal_slots(dispatch->journal); slot++) {
		const struct inflight *r = &dispatch->inflight[slot];

		if (atomic_load(&r->state) != INFLIGHT_IDLE &&
		    dispatch_kernel_number(r->unique) == dispatch_kernel_number(unique))
			return true;
	}
	return false;
}

/* Copies the request out.  Returns false if what is there cannot be one. */
static bool slot_copy(struct dispatch *dispatch, uint32_t slot, struct fuse_in_header *header)
{
	const void *request = journal_request(dispatch->journal, slot);

	memcpy(header, request, sizeof(*header));
	if (header->len < sizeof(*header) || header->len > journal_request_capacity(dispatch->journal, slot))
		return false;
	memcpy(dispatch->direct.copy, request, header->len);
	/* What the size was taken from is what the rest goes with. */
	memcpy(dispatch->direct.copy, header, sizeof(*header));
	return true;
}

/* The next incarnation is given it, unless its reply is there. */
static void slot_adopt(struct dispatch *dispatch, uint32_t slot, const struct relay_op *op)
{
	struct inflight *r = &dispatch->inflight[slot];
	uint32_t state = journal_slot_state(dispatch->journal, slot);

	r->sent = r->claimed = true;
	if (op->flags & RELAY_OP_WAITS && slot < dispatch->journal->map.large && state <= RELAY_SLOT_TAKEN &&
	    !dispatch_shrink(dispatch, &slot))
		return;
	r = &dispatch->inflight[slot];
	dispatch_name_unique(dispatch, slot);
	journal_slot_adopt(dispatch->journal, slot, r->unique, r->channel_unique, r->opcode, r->size);
	atomic_store(&r->state, INFLIGHT_SENT);
}

/* Returns false for what no backend leaves that keeps to the protocol: it is answered EIO, if it can be. */
static bool request_import(struct dispatch *dispatch, uint32_t slot, const struct fuse_in_header *header)
{
	struct inflight *r = &dispatch->inflight[slot];
	const struct relay_op *op;
	int err;

	atomic_store(&r->state, INFLIGHT_READING);
	op = dispatch_note(dispatch, slot, dispatch->direct.copy, header->len, &err);
	if (err == -ENOSYS) {
		dispatch_refuse(dispatch, slot, ENOSYS);
	} else if (err || journal_slot_state(dispatch->journal, slot) > RELAY_SLOT_APPLIED ||
		   header->opcode == FUSE_INIT) {
		dispatch_refuse(dispatch, slot, EIO);
		return false;
	} else if (op->flags & RELAY_OP_OWN) {
		dispatch_refuse(dispatch, slot, 0);
	} else {
		/* Else the next one would not hear of it: an INTERRUPT that was read is gone. */
		if (journal_slot_interrupted(dispatch->journal, slot) == dispatch_kernel_number(r->unique))
			atomic_store(&r->interrupted, true);
		slot_adopt(dispatch, slot, op);
	}
	return true;
}

/*
 * A request that cannot be read any more, since the backend has spoilt it.  The kernel is told,
 * if that is its number; of one that takes no reply it says ENOENT.  It must not come
 * again as if it were new.
 */
static void slot_spoilt(struct dispatch *dispatch, uint64_t unique)
{
	const struct fuse_out_header out = {.len = sizeof(out), .error = -EIO, .unique = unique};
	int err = unique & 1 || is_known(dispatch, unique) ? 0 : dispatch_kernel_reply(dispatch, &out, NULL);

	if (err && err != -ENOENT && err != -ENODEV)
		log_error("%s: the kernel refused EIO for unique %llu: %s", dispatch->name, (unsigned long long)unique,
			  strerror(-err));
}

/* What has no reply and is nobody's request: it is done with. */
static bool slot_drop(struct dispatch *dispatch, uint32_t slot, bool good)
{
	journal_slot_free(dispatch->journal, slot);
	return good;
}

/* Returns false if the slot is not as a backend leaves it. */
static bool slot_import(struct dispatch *dispatch, uint32_t slot)
{
	struct fuse_in_header header;

	if (atomic_load(&dispatch->inflight[slot].state) != INFLIGHT_IDLE)
		return true;
	if (journal_slot_state(dispatch->journal, slot) == RELAY_SLOT_FREE)
		return slot_drop(dispatch, slot, true);
	if (!slot_copy(dispatch, slot, &header)) {
		if (header.unique)
			slot_spoilt(dispatch, header.unique);
		return slot_drop(dispatch, slot, header.unique == 0);
	}
	if (header.unique == 0 || header.opcode == FUSE_NOTIFY_REPLY)
		return slot_drop(dispatch, slot, true);
	/* After all the others: it may come before the one that it is about. */
	if (header.opcode == FUSE_INTERRUPT)
		return true;
	/* An odd one is about a request, and no request. */
	if (header.unique & 1)
		return slot_drop(dispatch, slot, false);
	/* It was being moved to a small slot, and those come first. */
	if (is_known(dispatch, header.unique))
		return slot_drop(dispatch, slot, slot < dispatch->journal->map.large);
	return request_import(dispatch, slot, &header);
}

/* All the others are relayd's, or free. */
static void interrupt_import(struct dispatch *dispatch, uint32_t slot)
{
	struct fuse_interrupt_in in;
	struct fuse_in_header header;

	if (atomic_load(&dispatch->inflight[slot].state) != INFLIGHT_IDLE ||
	    journal_slot_state(dispatch->journal, slot) == RELAY_SLOT_FREE)
		return;
	if (slot_copy(dispatch, slot, &header) && header.opcode == FUSE_INTERRUPT &&
	    header.len == sizeof(header) + sizeof(in)) {
		memcpy(&in, dispatch->direct.copy + sizeof(header), sizeof(in));
		dispatch_interrupt_take(dispatch, &in);
	}
	slot_drop(dispatch, slot, true);
}

void dispatch_import(struct dispatch *dispatch)
{
	uint32_t slots = journal_slots(dispatch->journal), bad = 0;

	for (uint32_t slot = slots; slot-- > 0;)
		bad += !slot_import(dispatch, slot);
	for (uint32_t slot = 0; slot < slots; slot++)
		interrupt_import(dispatch, slot);
	if (!bad)
		return;
	atomic_fetch_add_explicit(&dispatch->stats->bad_replies, bad, memory_order_relaxed);
	log_error("%s: incarnation %u has left %u slots of the journal that are not as the protocol has them; "
		  "what can be answered was answered EIO",
		  dispatch->name, dispatch->incarnation, bad);
}

void dispatch_salvage(struct dispatch *dispatch)
{
	dispatch_import(dispatch);
	if (dispatch_is_uring(dispatch))
		dispatch_rings_import(dispatch);
	dispatch_drain_all(dispatch);
}
