/*
 * Requests that go back to the kernel, and come again.
 *
 * RESEND (FUSE_NOTIFY_RESEND, from Linux 6.9 on) puts all that was read and not answered
 * back at the head of the kernel's queue, oldest first, with a mark in their uniques.  So
 * while no backend is there their callers can be killed.  What the journal has of them
 * besides (pre-state, undo records) stays in their slots.
 *
 * When the next incarnation is there they are read again, until the first that has no mark.
 * INTERRUPTs and FORGETs may lie between.  FORGETs are never sent again: one that was read
 * has to be kept until a backend has done it, and has a slot as any other.
 *
 * O_NONBLOCK belongs to the open file, which backends share: it is set only while none of
 * them reads.  Between two lives there is none; the next one reads after GO; one whose threads
 * are all dying has left read() for good.  poll() before read() would not do: a request that
 * is pending can be gone again when it is read, with its caller.  And something that a backend
 * has left behind could take O_NONBLOCK off again before read() is reached: so a timer
 * interrupts the main thread for as long as it reads.
 */
#include "dispatch_direct.h"

#include <errno.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "dispatch.h"
#include "log.h"

/* How soon a read() that waits nevertheless is interrupted, again and again, and how often it is tried again. */
#define ALARM_NS 10000000
#define ALARMS_MAX 10u

static void nonblocking_set(struct dispatch *dispatch, bool on)
{
	const struct timespec after = {.tv_nsec = on ? ALARM_NS : 0};

	timer_settime(dispatch->direct.alarm, 0, &(struct itimerspec){after, after}, NULL);
	session_nonblocking(dispatch->session, on);
}

/* ---- giving back ---------------------------------------------------------- */

/* Nobody but relayd has seen it: when it comes again it is as new. */
static bool is_untouched(const struct inflight *r)
{
	return atomic_load(&r->state) == INFLIGHT_WAITING && !r->no_reply && !r->delivered;
}

/* Whether something that is read can be put down: a FORGET that is read cannot be given back. */
static bool has_room(struct dispatch *dispatch)
{
	for (uint32_t slot = 0; slot < dispatch->journal->map.large; slot++) {
		const struct inflight *r = &dispatch->inflight[slot];

		if (atomic_load(&r->state) == INFLIGHT_IDLE || is_untouched(r))
			return true;
	}
	return false;
}

static bool held_is_given_back(const struct direct *direct)
{
	const struct fuse_in_header *header = (const void *)direct->buffer;
	const struct relay_op *op = direct->held ? relay_op_get(header->opcode) : NULL;

	return op && op->reply != RELAY_REPLY_NEVER;
}

/* Returns 0 or a negative errno. */
static int resend_ask(struct dispatch *dispatch)
{
	const struct fuse_out_header header = {.len = sizeof(header), .error = FUSE_NOTIFY_RESEND};
	const struct fuse_init_out *answer = &dispatch->session->answer;

	/* What has come by the rings does not come again. */
	if (dispatch->direct.no_resend || dispatch_is_uring(dispatch) || !(answer->flags & FUSE_INIT_EXT) ||
	    !((uint64_t)answer->flags2 << 32 & FUSE_HAS_RESEND))
		return -EOPNOTSUPP;
	if (!has_room(dispatch))
		return -ENOSPC;
	return write(dispatch->session->fd, &header, sizeof(header)) < 0 ? -errno : 0;
}

/* Callers that are dying are answered first: afterwards the kernel would not know the reply. */
static void dying_answer(struct dispatch *dispatch)
{
	for (uint32_t slot = 0; slot < journal_slots(dispatch->journal); slot++)
		dispatch_abandon(dispatch, slot);
}

void dispatch_resend(struct dispatch *dispatch)
{
	int err;

	dying_answer(dispatch);
	err = resend_ask(dispatch);
	if (err == -EINVAL || err == -ENOSYS) {
		log_warning("%s: the kernel does not send requests again: %s", dispatch->name, strerror(-err));
		dispatch->direct.no_resend = true;
	}
	/* They wait in the journal, where the sweep looks after their callers. */
	if (err)
		return;
	for (uint32_t slot = 0; slot < journal_slots(dispatch->journal); slot++) {
		struct inflight *r = &dispatch->inflight[slot];

		if (is_untouched(r))
			dispatch_free(dispatch, slot);
		else if (atomic_load(&r->state) == INFLIGHT_WAITING && !r->no_reply)
			atomic_store(&r->state, INFLIGHT_RESENT);
	}
	if (held_is_given_back(&dispatch->direct))
		dispatch->direct.held = 0;
}

/* ---- taking again --------------------------------------------------------- */

static bool resent_find(const struct dispatch *dispatch, uint64_t unique, uint32_t *slot)
{
	for (uint32_t i = 0; i < journal_slots(dispatch->journal); i++) {
		const struct inflight *r = &dispatch->inflight[i];

		if (atomic_load(&r->state) == INFLIGHT_RESENT &&
		    dispatch_kernel_number(r->unique) == dispatch_kernel_number(unique)) {
			*slot = i;
			return true;
		}
	}
	return false;
}

static bool resent_left(const struct dispatch *dispatch)
{
	for (uint32_t slot = 0; slot < journal_slots(dispatch->journal); slot++)
		if (atomic_load(&dispatch->inflight[slot].state) == INFLIGHT_RESENT)
			return true;
	return false;
}

/* Answers what needs no slot. */
static void answer_plainly(struct dispatch *dispatch, const struct fuse_in_header *header, int error)
{
	const struct fuse_out_header out = {.len = sizeof(out), .error = -error, .unique = header->unique};

	if (write(dispatch->session->fd, &out, sizeof(out)) < 0 && errno != ENOENT && errno != ENODEV)
		log_error("%s: the kernel refused the reply to %s, unique %llu: %s", dispatch->name,
			  dispatch_opcode_name(header->opcode), (unsigned long long)header->unique, strerror(errno));
}

/*
 * The kernel's copy replaces the one in the slot, which a backend could write to.  Returns false
 * if the slot is of another kind of request than its unique says: it is given up.
 */
static bool request_match(struct dispatch *dispatch, uint32_t slot, const struct fuse_in_header *header)
{
	struct inflight *r = &dispatch->inflight[slot];
	const unsigned lives = r->lives, kills = r->kills, hangs = r->hangs;
	const bool interrupted = atomic_load(&r->interrupted);
	const uint64_t arrived_ns = r->arrived_ns;
	int err;

	if (r->opcode != header->opcode || header->len > journal_request_capacity(dispatch->journal, slot)) {
		log_error("%s: a slot of the journal says %s, and the kernel %s, of unique %llu", dispatch->name,
			  dispatch_opcode_name(r->opcode), dispatch_opcode_name(header->opcode),
			  (unsigned long long)header->unique);
		atomic_store(&r->state, INFLIGHT_ABANDONED);
		return false;
	}
	dispatch_note(dispatch, slot, dispatch->direct.buffer, header->len, &err);
	if (err) {
		dispatch_refuse(dispatch, slot, EIO);
		return true;
	}
	r->lives = lives;
	r->kills = kills;
	r->hangs = hangs;
	r->arrived_ns = arrived_ns;
	r->delivered = true;
	atomic_store(&r->interrupted, interrupted);
	memcpy(journal_request(dispatch->journal, slot), dispatch->direct.buffer, header->len);
	((struct fuse_in_header *)journal_request(dispatch->journal, slot))->unique = r->channel_unique;
	journal_slot_adopt(dispatch->journal, slot, r->unique, r->channel_unique, r->opcode, r->size);
	atomic_store(&r->state, INFLIGHT_WAITING);
	return true;
}

/* A request that no slot is of.  Returns false if there is none for it either. */
static bool request_place(struct dispatch *dispatch, const struct fuse_in_header *header, const struct relay_op *op)
{
	struct inflight *r;
	uint32_t slot;
	int err;

	if (!dispatch_find_idle(dispatch, 0, dispatch->journal->map.large, &slot))
		return false;
	journal_slot_claim(dispatch->journal, slot);
	atomic_store(&dispatch->inflight[slot].state, INFLIGHT_READING);
	memcpy(journal_request(dispatch->journal, slot), dispatch->direct.buffer, header->len);
	dispatch_note(dispatch, slot, dispatch->direct.buffer, header->len, &err);
	if (err) {
		dispatch_refuse(dispatch, slot, EIO);
		return true;
	}
	if (op->flags & RELAY_OP_WAITS && !dispatch_shrink(dispatch, &slot))
		return true;
	r = &dispatch->inflight[slot];
	dispatch_name_unique(dispatch, slot);
	journal_slot_publish(dispatch->journal, slot, r->unique, r->channel_unique, r->opcode, r->size);
	atomic_store(&r->state, INFLIGHT_WAITING);
	return true;
}

/* Takes what is in the buffer.  Returns false if it has to stay there, for want of a slot. */
static bool held_take(struct dispatch *dispatch)
{
	const struct fuse_in_header *header = (const void *)dispatch->direct.buffer;
	const struct relay_op *op;
	uint32_t slot;

	if (dispatch->direct.held < sizeof(*header) || header->len != dispatch->direct.held) {
		log_error("%s: the kernel sent %u bytes that are no request", dispatch->name, dispatch->direct.held);
		return true;
	}
	if (header->unique & FUSE_UNIQUE_RESEND && resent_find(dispatch, header->unique, &slot) &&
	    request_match(dispatch, slot, header))
		return true;
	op = relay_op_get(header->opcode);
	if (header->opcode == FUSE_INTERRUPT) {
		if (header->len == sizeof(*header) + sizeof(struct fuse_interrupt_in))
			dispatch_interrupt_take(dispatch, (const void *)(header + 1));
	} else if (!op) {
		answer_plainly(dispatch, header, ENOSYS);
	} else if (op->flags & RELAY_OP_OWN) {
		answer_plainly(dispatch, header, header->opcode == FUSE_INIT ? EIO : 0);
	} else if (dispatch->failing && dispatch_fails(op)) {
		answer_plainly(dispatch, header, ENOTCONN);
		atomic_fetch_add_explicit(&dispatch->stats->failed, 1, memory_order_relaxed);
	} else if (header->opcode != FUSE_NOTIFY_REPLY) {
		return request_place(dispatch, header, op);
	}
	return true;
}

/* The next request that is pending.  Returns false if there is none. */
static bool pending_read(struct dispatch *dispatch)
{
	uint32_t capacity = journal_request_capacity(dispatch->journal, 0);
	unsigned alarms = 0;
	ssize_t n;

	do { /* ENOENT: the request was given up while it was being copied */
		n = read(dispatch->session->fd, dispatch->direct.buffer, capacity);
		if (n < 0 && errno == EINTR) {
			session_nonblocking(dispatch->session, true);
			errno = EINTR;
			alarms++;
		}
	} while (n < 0 && (errno == ENOENT || (errno == EINTR && alarms < ALARMS_MAX)));
	if (n < 0 && errno != EAGAIN && errno != ENODEV)
		log_error("%s: reading from /dev/fuse: %s", dispatch->name, strerror(errno));
	dispatch->direct.held = n > 0 ? (uint32_t)n : 0;
	return n > 0;
}

/* Whether what is in the buffer is one that the kernel sends for the first time: behind it no other comes again. */
static bool held_is_new(const struct direct *direct)
{
	const struct fuse_in_header *header = (const void *)direct->buffer;

	return !(header->unique & FUSE_UNIQUE_RESEND) && header->opcode != FUSE_INTERRUPT && held_is_given_back(direct);
}

/*
 * Reads what is pending: up to the first new request or, if `all`, as far as there are slots.
 * Returns whether everything that comes again has come.
 */
static bool pending_take(struct dispatch *dispatch, bool all)
{
	struct direct *direct = &dispatch->direct;
	bool last = false;

	while (!last && (direct->held || ((all || resent_left(dispatch)) && pending_read(dispatch)))) {
		last = !all && held_is_new(direct);
		if (!held_take(dispatch))
			return last;
		direct->held = 0;
	}
	return true;
}

/* What has not come again was given up by its caller. */
static void resent_give_up(struct dispatch *dispatch)
{
	for (uint32_t slot = 0; slot < journal_slots(dispatch->journal); slot++) {
		uint32_t resent = INFLIGHT_RESENT;

		atomic_compare_exchange_strong(&dispatch->inflight[slot].state, &resent, INFLIGHT_ABANDONED);
	}
}

bool dispatch_drain(struct dispatch *dispatch)
{
	struct direct *direct = &dispatch->direct;
	bool come;

	if (!direct->held && !resent_left(dispatch))
		return true;
	nonblocking_set(dispatch, true);
	come = pending_take(dispatch, false);
	nonblocking_set(dispatch, false);
	if (!come)
		return false;
	resent_give_up(dispatch);
	/* The rollback is done: nothing of theirs is needed any more. */
	for (uint32_t slot = 0; slot < journal_slots(dispatch->journal); slot++)
		if (atomic_load(&dispatch->inflight[slot].state) == INFLIGHT_ABANDONED)
			dispatch_free(dispatch, slot);
	if (direct->held && held_take(dispatch))
		direct->held = 0;
	return direct->held == 0;
}

void dispatch_drain_all(struct dispatch *dispatch)
{
	nonblocking_set(dispatch, true);
	pending_take(dispatch, true);
	nonblocking_set(dispatch, false);
}

/*
 * A SIGKILL that came before RESEND waits for an answer: only what is pending when the signal
 * comes can be given up.  To be answered it must have been read, and what was read
 * with it is given back once more.
 */
void dispatch_retake(struct dispatch *dispatch)
{
	bool dying = false, come;

	for (uint32_t slot = 0; slot < journal_slots(dispatch->journal); slot++) {
		uint32_t state = atomic_load(&dispatch->inflight[slot].state);

		/* The kernel would take back what a backend is answering. */
		if (state == INFLIGHT_SENT || state == INFLIGHT_ANSWERED)
			return;
		dying = dying || (state == INFLIGHT_RESENT && dispatch_caller_dying(&dispatch->inflight[slot]));
	}
	if (!dying)
		return;
	nonblocking_set(dispatch, true);
	come = pending_take(dispatch, false);
	nonblocking_set(dispatch, false);
	if (come)
		resent_give_up(dispatch);
	dispatch_resend(dispatch);
}
