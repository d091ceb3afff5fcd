/*
 * Direct lane: a request from /dev/fuse into a slot, and its reply back to /dev/fuse.
 *
 * A thread has a slot of its own, which it claims when it begins to read and keeps from
 * request to request.  What relayd finds in it when the process has died:
 *
 *   READING, unique 0 in the request buffer    nothing was read
 *   READING, another unique there              a whole request: the kernel copies it in one
 *                                              go, into pages that are mapped already
 *   TAKEN, APPLYING                            as in the socket lane
 *   APPLIED                                    the reply is whole; the kernel has it or has not
 *   APPLIED, unique 0 in the request buffer    the kernel has it
 *   FREE                                       nothing
 *
 * So the unique is made 0 after the reply was written and before the slot is READING again:
 * a process dying in between leaves a void slot, not a request that seems to have just come.
 *
 * Why the pages are mapped before the slot is read into: where the kernel has to fault one
 * in while the process is being killed the copy fails, and the request with it.  They are
 * touched when this process first claims the slot, which is seldom, rather than all of them
 * on the way from one incarnation to the next.
 *
 * Between two requests of a thread there are read() and write(), and no lock.
 */
#include "internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "counts.h"
#include "crash.h"
#include "slots.h"

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static const char *opcode_name(uint32_t opcode)
{
	const struct relay_op *op = relay_op_get(opcode);

	return op ? op->name : "unknown";
}

/* The kernel and other threads look at it, and so does who comes after us. */
static uint64_t header_unique(const struct fuse_in_header *header)
{
	return __atomic_load_n(&header->unique, __ATOMIC_ACQUIRE);
}

static void header_set_unique(struct fuse_in_header *header, uint64_t unique)
{
	__atomic_store_n(&header->unique, unique, __ATOMIC_RELEASE);
}

/* ---- the session's part ------------------------------------------------- */

int relay_internal_direct_init(struct relay_session *session, int device)
{
	int err;

	session->device = device;
	err = relay_internal_pairing_init(&session->pairing);
	if (relay_internal_readers_init(session))
		err = -ENOMEM;
	if (err)
		return err;
	session->touched = calloc(session->journal.large, sizeof(*session->touched));
	if (!session->touched)
		return -ENOMEM;
	/* Nobody else uses the journal, but those of an earlier incarnation who are dead. */
	atomic_store(&session->journal.journal->starving, 0);
	/* As they are touched.  Where it is not allowed relayd's lock keeps them in memory, if it has one. */
	mlock2(session->journal.journal, session->journal.size, MLOCK_ONFAULT);
	return relay_internal_device_init(session);
}

void relay_internal_direct_deinit(struct relay_session *session)
{
	relay_internal_device_deinit(session);
	relay_internal_pairing_deinit(&session->pairing);
	relay_internal_readers_deinit(session);
	free(session->touched);
	relay_internal_rings_deinit(session);
	close(session->device);
	session->device = -1;
}

/* ---- slots ------------------------------------------------------------- */

/* A slot in READING is the next request's: what an earlier one left is void. */
static void slot_renew(struct relay_slot *slot)
{
	slot->unique = 0;
	slot->reply_size = 0;
	slot->pre_size = 0;
	__atomic_store_n(&slot->channel_unique, 0, __ATOMIC_RELAXED);
	atomic_store_explicit(&slot->undo_count, 0, memory_order_relaxed);
	atomic_store_explicit(&slot->interrupted, 0, memory_order_relaxed);
}

/* READING to TAKEN. */
static void slot_publish(struct relay_slot *slot, uint32_t opcode, uint64_t unique, uint32_t size)
{
	slot->opcode = opcode;
	slot->unique = unique;
	slot->request_size = size;
	atomic_store_explicit(&slot->state, RELAY_SLOT_TAKEN, memory_order_release);
}

/* Claims a free slot of [from, to), looking at `first` first.  Returns it in READING, or RELAY_NO_SLOT. */
static uint32_t slot_search(const struct relay_session *session, uint32_t from, uint32_t to, uint32_t first)
{
	for (uint32_t i = 0; i < to - from; i++) {
		uint32_t index = from + (first + i) % (to - from);
		struct relay_slot *slot = relay_slot_at(&session->journal, index);
		uint32_t state = RELAY_SLOT_FREE;

		if (atomic_load_explicit(&slot->state, memory_order_relaxed) != RELAY_SLOT_FREE ||
		    !atomic_compare_exchange_strong(&slot->state, &state, RELAY_SLOT_READING))
			continue;
		slot_renew(slot);
		return index;
	}
	return RELAY_NO_SLOT;
}

static uint32_t slot_search_large(const struct relay_thread *thread)
{
	const struct relay_session *session = thread->session;

	return slot_search(session, 0, session->journal.large, (uint32_t)(thread - session->threads));
}

static void slot_touch(struct relay_session *session, uint32_t index)
{
	struct relay_slot_place place = relay_slot_place(session->journal.large, session->journal.small, index);
	volatile uint8_t *base = (uint8_t *)session->journal.journal;
	uint64_t end = place.request + place.request_capacity;

	if (atomic_load_explicit(&session->touched[index], memory_order_relaxed))
		return;
	for (uint64_t at = place.request; at < end; at = (at / RELAY_INTERNAL_PAGE + 1) * RELAY_INTERNAL_PAGE)
		base[at] = base[at];
	atomic_store_explicit(&session->touched[index], true, memory_order_relaxed);
}

/* Waits for a large slot.  Returns false if the thread is to do something else. */
static bool slot_claim(struct relay_thread *thread)
{
	struct relay_session *session = thread->session;

	thread->slot = slot_search_large(thread);
	if (thread->slot == RELAY_NO_SLOT) {
		relay_slots_starve(&session->journal);
		for (;;) {
			uint32_t ticket = relay_slots_ticket(&session->journal);

			thread->slot = slot_search_large(thread);
			if (thread->slot != RELAY_NO_SLOT || relay_internal_readers_called(thread))
				break;
			relay_slots_wait(&session->journal, ticket);
		}
		relay_slots_sated(&session->journal);
	}
	if (thread->slot == RELAY_NO_SLOT)
		return false;
	slot_touch(session, thread->slot);
	return true;
}

void relay_internal_direct_stop(struct relay_thread *thread)
{
	if (thread->slot != RELAY_NO_SLOT)
		relay_slot_free(&thread->session->journal, thread->slot);
	thread->slot = RELAY_NO_SLOT;
}

/* In the slot too: another incarnation may have to be told. */
static void interrupted_set(struct relay_session *session, uint32_t index, uint64_t unique)
{
	atomic_store(&session->interrupted[index], unique);
	atomic_store_explicit(&relay_slot_at(&session->journal, index)->interrupted, unique, memory_order_relaxed);
}

/*
 * Moves a request that may wait for others into a small slot, so that waiters never use
 * up the large ones, and leaves the large one void.  Returns the small one, or
 * RELAY_NO_SLOT if there is none.
 *
 * A process dying before the small one's unique is stored leaves nothing in it; one dying
 * after it, and before the large one is void, leaves the request twice.  relayd knows it
 * by its unique and takes the first.
 */
static uint32_t slot_shrink(struct relay_session *session, struct fuse_in_header *from, uint32_t index, uint32_t size)
{
	uint32_t large = session->journal.large, slots = large + session->journal.small, small;
	struct fuse_in_header head = *from, *to;

	if (size > relay_slot_place(large, session->journal.small, large).request_capacity)
		return RELAY_NO_SLOT;
	small = slot_search(session, large, slots, index);
	if (small == RELAY_NO_SLOT)
		return small;
	to = relay_slot_request(&session->journal, small);
	head.unique = 0;
	*to = head;
	memcpy(to + 1, from + 1, size - sizeof(*from));
	/* An INTERRUPT that was read meanwhile has found the one or finds the other. */
	pthread_mutex_lock(&session->lock);
	header_set_unique(to, from->unique);
	slot_publish(relay_slot_at(&session->journal, small), head.opcode, from->unique, size);
	interrupted_set(session, small, atomic_load(&session->interrupted[index]));
	header_set_unique(from, 0);
	pthread_mutex_unlock(&session->lock);
	return small;
}

/* ---- replies ----------------------------------------------------------- */

bool relay_internal_direct_malformed(const struct relay_req *req, const struct fuse_out_header *out, uint32_t size)
{
	struct relay_bounds bounds;
	const char *fault;

	/* An error says nothing about the request, which may not have been parsed. */
	if (out->error)
		return false;
	bounds = relay_reply_bounds(req->op, req->header);
	fault = relay_reply_check(&bounds, out, size);
	if (!fault)
		return false;
	fprintf(stderr, "librelay: %s, unique %llu: malformed reply: %s\n", req->op->name,
		(unsigned long long)req->unique, fault);
	return true;
}

void relay_internal_direct_reply(struct relay_req *req, const struct fuse_out_header *out, uint32_t size)
{
	struct relay_session *session = req->session;

	/*
	 * ENOENT: the kernel had it, or does not wait for it any more.  ENODEV: the mount has
	 * ended.  Anything else is a reply that should not have passed the check; the kernel
	 * has failed the request with EIO.
	 */
	if (req->entry != RELAY_NO_ENTRY)
		relay_internal_rings_reply(session, req->entry, req->op->name, out);
	else if (req->op->reply != RELAY_REPLY_NEVER && write(session->device, out, size) < 0 && errno != ENOENT &&
	    errno != ENODEV)
		fprintf(stderr, "librelay: %s, unique %llu: the kernel refused the reply: %s\n", req->op->name,
			(unsigned long long)req->unique, strerror(errno));
	RELAY_CRASH_POINT(req->op->name, "sent");
	if (req->slot->opcode < RELAY_OPCODE_MAX)
		relay_count_add(&session->journal.journal->counts[req->slot->opcode], out->error,
				now_ns() - req->arrived_ns);
	if (req->detached)
		relay_slot_free(&session->journal, req->index);
	else
		header_set_unique(relay_slot_request(&session->journal, req->index), 0);
}

/* ---- requests ---------------------------------------------------------- */

/* The slot of the request that the kernel's unique names, or RELAY_NO_SLOT. */
static uint32_t slot_find(const struct relay_session *session, uint64_t unique)
{
	uint32_t slots = session->journal.large + session->journal.small;

	for (uint32_t i = 0; i < slots; i++) {
		const struct relay_slot *slot = relay_slot_at(&session->journal, i);
		uint32_t state = atomic_load_explicit(&slot->state, memory_order_acquire);
		uint64_t here = 0;

		if (state == RELAY_SLOT_FREE)
			continue;
		/* In a given one's request buffer is the channel's unique. */
		if (__atomic_load_n(&slot->channel_unique, __ATOMIC_RELAXED) == 0)
			here = header_unique(relay_slot_request(&session->journal, i));
		else if (state != RELAY_SLOT_READING)
			here = __atomic_load_n(&slot->unique, __ATOMIC_RELAXED);
		if ((here & ~FUSE_UNIQUE_RESEND) == unique)
			return i;
	}
	return RELAY_NO_SLOT;
}

/* An INTERRUPT of what was answered meanwhile finds nothing. */
static void interrupt_take(struct relay_session *session, const struct fuse_in_header *header, uint32_t size)
{
	const struct fuse_interrupt_in *in;
	struct relay_args args;
	uint64_t unique;
	uint32_t index;

	if (relay_args_parse(header, size, 0, &args))
		return;
	in = args.in;
	unique = in->unique & ~FUSE_UNIQUE_RESEND;
	relay_internal_rings_interrupt(session, unique);
	pthread_mutex_lock(&session->lock);
	index = slot_find(session, unique);
	/* Remembered first: the request may not have come to its handler yet. */
	if (index != RELAY_NO_SLOT)
		interrupted_set(session, index, unique);
	pthread_mutex_unlock(&session->lock);
	if (index != RELAY_NO_SLOT && session->ops->interrupt)
		session->ops->interrupt(session, unique);
}

/* Serves what is whole in the slot `index`, the thread's own or one that it was moved to. */
static void request_serve(struct relay_thread *thread, uint32_t index, bool refused)
{
	struct relay_session *session = thread->session;
	const struct fuse_in_header *header = relay_slot_request(&session->journal, index);
	struct relay_slot *slot = relay_slot_at(&session->journal, index);
	struct relay_req *req = &thread->req;

	*req = (struct relay_req){
		.session = session,
		.header = header,
		.op = relay_op_get(slot->opcode),
		.size = slot->request_size,
		.entry = thread->entry,
		.reply_unique = slot->unique,
		.arrived_ns = now_ns(),
		.claimed = true,
	};
	relay_internal_req_slot(req, index, RELAY_SLOT_TAKEN);
	if (refused)
		relay_reply_error(req, ENOLCK);
	else if (slot->opcode == FUSE_DESTROY)
		relay_reply_error(req, 0); /* the mount's end is not the backend's: relayd is what it ends */
	else
		relay_internal_serve_request(thread, false);
}

/* What takes no reply has come by the rings nevertheless: its entry is the kernel's again. */
static void entry_release(struct relay_session *session, uint32_t entry, uint64_t unique)
{
	const struct fuse_out_header out = {.len = sizeof(out), .unique = unique};

	relay_internal_rings_reply(session, entry, "NOTIFY_REPLY", &out);
}

/* A whole request is in the thread's slot, in READING. */
static void request_take(struct relay_thread *thread, struct fuse_in_header *header, uint32_t size)
{
	struct relay_session *session = thread->session;
	struct relay_slot *slot = relay_slot_at(&session->journal, thread->slot);
	const struct relay_op *op = relay_op_get(header->opcode);
	bool waits = op && op->flags & RELAY_OP_WAITS;
	uint32_t small = RELAY_NO_SLOT;
	uint64_t unique = header->unique;

	RELAY_CRASH_POINT(opcode_name(header->opcode), "read");
	if (header->opcode == FUSE_INTERRUPT || header->opcode == FUSE_NOTIFY_REPLY) {
		if (header->opcode == FUSE_INTERRUPT)
			interrupt_take(session, header, size);
		else
			relay_internal_serve_unanswered(thread, header, size, false);
		/* A process dying before this leaves a message of which relayd knows that it takes no reply. */
		header_set_unique(header, 0);
		if (thread->entry != RELAY_NO_ENTRY)
			entry_release(session, thread->entry, unique);
		return;
	}
	if (waits)
		small = slot_shrink(session, header, thread->slot, size);
	if (small != RELAY_NO_SLOT) {
		request_serve(thread, small, false);
		if (!thread->req.parted)
			relay_slot_free(&session->journal, small);
		return;
	}
	slot_publish(slot, header->opcode, header->unique, size);
	request_serve(thread, thread->slot, waits);
	if (thread->req.parted) {
		thread->slot = RELAY_NO_SLOT;
		return;
	}
	/* Its unique is 0 since the reply was written. */
	atomic_store_explicit(&slot->state, RELAY_SLOT_READING, memory_order_release);
	slot_renew(slot);
}

void relay_internal_direct_serve(struct relay_thread *thread)
{
	struct relay_session *session = thread->session;
	struct fuse_in_header *header;
	ssize_t n;

	if (thread->slot == RELAY_NO_SLOT && !slot_claim(thread))
		return;
	header = relay_slot_request(&session->journal, thread->slot);
	if (relay_internal_rings_has(thread)) {
		n = relay_internal_rings_read(thread, header, RELAY_PACKET_MAX);
		if (n < (ssize_t)sizeof(*header))
			return;
		if (relay_internal_rings_interrupted(thread, header->unique))
			interrupted_set(session, thread->slot, header->unique);
		request_take(thread, header, (uint32_t)n);
		return;
	}
	n = relay_internal_device_read(thread, header, RELAY_PACKET_MAX);
	/* Called away at the moment at which a request had come. */
	if (n == -ECANCELED && header_unique(header) && header->len <= RELAY_PACKET_MAX)
		n = header->len;
	if (n >= (ssize_t)sizeof(*header)) {
		if (session->rings.map.rings) {
			request_take(thread, header, (uint32_t)n);
			return;
		}
		relay_internal_pairing_read(thread, header);
		request_take(thread, header, (uint32_t)n);
		relay_internal_pairing_replied(thread);
		return;
	}
	/* What could not be copied whole was given up by the kernel. */
	header_set_unique(header, 0);
	if (n == -ENODEV || n == 0)
		relay_internal_readers_gone(session);
	else if (n != -ECANCELED && n != -EINTR && n != -ENOENT && n != -EAGAIN)
		relay_internal_session_end(session, n < 0 ? (int)n : -EPROTO);
}
