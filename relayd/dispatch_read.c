/*
 * From the kernel into the journal, and on to the backend.
 *
 * read() takes the request off the kernel's queue, and from then on its caller
 * cannot be killed until it is answered.  So where a request cannot be sent (no backend is
 * there, or its channel is full) that one is held, and the rest is left with the kernel.
 */
#include "dispatch.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "crash.h"
#include "log.h"

/* How often a full journal is told of. */
#define FULL_LOG_NS 10000000000u

bool dispatch_find_idle(struct dispatch *dispatch, uint32_t from, uint32_t to, uint32_t *slot)
{
	for (uint32_t i = from; i < to; i++) {
		if (atomic_load(&dispatch->inflight[i].state) == INFLIGHT_IDLE) {
			*slot = i;
			return true;
		}
	}
	return false;
}

/* Once in a while: with enough applications it is full again and again. */
static void full_log(struct dispatch *dispatch)
{
	uint64_t now = dispatch_now_ns();

	if (dispatch->full_ns && now - dispatch->full_ns < FULL_LOG_NS)
		return;
	dispatch->full_ns = now;
	log_warning("%s: the journal is full: %u requests in flight, further ones wait", dispatch->name,
		    dispatch->journal->map.large);
}

/* Has a large slot ready for the next request.  If there is none, who frees one kicks the carrier. */
static bool slot_claim(struct dispatch *dispatch)
{
	uint32_t large = dispatch->journal->map.large;

	if (dispatch->claimed)
		return true;
	if (!dispatch_find_idle(dispatch, 0, large, &dispatch->next)) {
		full_log(dispatch);
		/* Set before the second look: who frees a slot after that look sees it. */
		atomic_store(&dispatch->starving, true);
		if (!dispatch_find_idle(dispatch, 0, large, &dispatch->next))
			return false;
	}
	if (atomic_load_explicit(&dispatch->starving, memory_order_relaxed))
		atomic_store(&dispatch->starving, false);
	journal_slot_claim(dispatch->journal, dispatch->next);
	/* A request that is found here by the next relayd has no name of the channel's yet. */
	dispatch->inflight[dispatch->next].channel_unique = 0;
	atomic_store(&dispatch->inflight[dispatch->next].state, INFLIGHT_READING);
	dispatch->claimed = true;
	return true;
}

/*
 * Remembered first: who sends the request at this moment sees it afterwards,
 * or has sent it when the lock is had.
 */
void dispatch_interrupt_take(struct dispatch *dispatch, const struct fuse_interrupt_in *in)
{
	uint64_t unique = dispatch_kernel_number(in->unique);

	for (uint32_t slot = 0; slot < journal_slots(dispatch->journal); slot++) {
		struct inflight *r = &dispatch->inflight[slot];
		uint32_t state = atomic_load(&r->state);

		if (state < INFLIGHT_WAITING || state > INFLIGHT_SENT || dispatch_kernel_number(r->unique) != unique)
			continue;
		atomic_store(&r->interrupted, true);
		pthread_mutex_lock(&dispatch->lock);
		if (atomic_load(&r->state) == INFLIGHT_SENT)
			dispatch_interrupt(dispatch, r->channel_unique);
		pthread_mutex_unlock(&dispatch->lock);
		return;
	}
}

bool dispatch_shrink(struct dispatch *dispatch, uint32_t *slot)
{
	const size_t begin = offsetof(struct inflight, opcode), end = offsetof(struct inflight, interrupted);
	struct inflight *from = &dispatch->inflight[*slot], *to;
	uint32_t small;

	if (from->size > journal_request_capacity(dispatch->journal, dispatch->journal->map.large) ||
	    !dispatch_find_idle(dispatch, dispatch->journal->map.large, journal_slots(dispatch->journal), &small)) {
		log_warning("%s: %s, unique %llu: too many requests wait for locks", dispatch->name,
			    dispatch_opcode_name(from->opcode), (unsigned long long)from->unique);
		dispatch_refuse(dispatch, *slot, ENOLCK);
		return false;
	}
	journal_slot_claim(dispatch->journal, small);
	memcpy(journal_request(dispatch->journal, small), journal_request(dispatch->journal, *slot), from->size);
	to = &dispatch->inflight[small];
	atomic_store(&to->state, INFLIGHT_READING);
	atomic_store(&to->interrupted, false);
	memcpy((char *)to + begin, (const char *)from + begin, end - begin);
	dispatch_free(dispatch, *slot);
	*slot = small;
	return true;
}

void dispatch_name_unique(struct dispatch *dispatch, uint32_t slot)
{
	struct fuse_in_header *header = journal_request(dispatch->journal, slot);

	dispatch->inflight[slot].channel_unique = relay_unique_make(++dispatch->table->sequence, slot);
	header->unique = dispatch->inflight[slot].channel_unique;
}

/*
 * A request that is whole, or waits since it was: sends it.  While the gate is shut it waits, and
 * then it may be a redo that has sent it.  What nobody waits for holds nobody up, and
 * what comes behind it may have to be answered; it is sent before the gate opens.
 * Returns 0 when it is off the carrier's hands, or -EAGAIN; *room: since the channel is full.
 */
static int request_send(struct dispatch *dispatch, uint32_t slot, bool *room)
{
	struct inflight *r = &dispatch->inflight[slot];
	int err = 0;

	pthread_mutex_lock(&dispatch->lock);
	if (atomic_load(&r->state) == INFLIGHT_WAITING) {
		*room = dispatch->gate;
		if (dispatch->gate)
			err = dispatch_send(dispatch, slot, MSG_DONTWAIT);
		else if (dispatch->failing)
			dispatch_fail(dispatch, slot);
		else if (!r->unwaited)
			err = -EAGAIN;
	}
	pthread_mutex_unlock(&dispatch->lock);
	return err;
}

/*
 * The answer to a request that the backend, or an earlier one, has made by a notification.  Its
 * unique is that one's own.  One that cannot be told which node it is about is told nothing.
 * Returns as request_send().
 */
static int notify_reply_send(struct dispatch *dispatch, uint32_t slot, bool *room)
{
	uint32_t size = dispatch->inflight[slot].size;
	char *request = journal_request(dispatch->journal, slot);
	struct translate_head head = {.size = 0};
	bool pass, full = false;

	pthread_mutex_lock(&dispatch->lock);
	pass = dispatch->gate;
	if (pass && atomic_load(&dispatch->translated))
		pass = translate_request(&dispatch->translate, request, size, &head) == TRANSLATE_READY;
	if (pass) {
		struct iovec iov[] = {
			{.iov_base = head.bytes, .iov_len = head.size},
			{.iov_base = request + head.size, .iov_len = size - head.size},
		};
		const struct msghdr message = {.msg_iov = iov, .msg_iovlen = 2};

		full = sendmsg(dispatch->channel, &message, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 && errno == EAGAIN;
	}
	pthread_mutex_unlock(&dispatch->lock);
	*room = full;
	if (full)
		return -EAGAIN;
	dispatch_free(dispatch, slot);
	return 0;
}

void dispatch_held_send(struct dispatch *dispatch)
{
	bool room = false;
	int err = dispatch->inflight[dispatch->held].opcode == FUSE_NOTIFY_REPLY
			  ? notify_reply_send(dispatch, dispatch->held, &room)
			  : request_send(dispatch, dispatch->held, &room);

	dispatch->holds = err != 0;
	dispatch->wants_room = dispatch->holds && room;
}

static void slot_hold(struct dispatch *dispatch, uint32_t slot)
{
	dispatch->held = slot;
	dispatch_held_send(dispatch);
}

/* Publishes a whole request in its slot, and sends it. */
static void request_pass(struct dispatch *dispatch, uint32_t slot)
{
	struct inflight *r = &dispatch->inflight[slot];

	dispatch_name_unique(dispatch, slot);
	/* A process dying before this leaves READING: nobody has seen the request whole. */
	journal_slot_publish(dispatch->journal, slot, r->unique, r->channel_unique, r->opcode, r->size);
	RELAY_CRASH_POINT("request", "published");
	atomic_store(&r->state, INFLIGHT_WAITING);
	slot_hold(dispatch, slot);
}

/* The tables know at once, whether a backend is there or not; it is told what it has to know. */
static void forget_take(struct dispatch *dispatch, uint32_t slot, uint32_t size)
{
	struct absence *absence = cache_absence(dispatch->cache);
	struct cache_note note = {0};

	if (absence)
		cache_request_begin(absence, &note, journal_request(dispatch->journal, slot), size, false);
	translate_forget(&dispatch->translate, journal_request(dispatch->journal, slot), size);
	dispatch_free(dispatch, slot);
	atomic_store(&dispatch->forgetting, true);
}

static void init_take(struct dispatch *dispatch, uint32_t slot, uint32_t size)
{
	int err;

	if (dispatch->session->init_size) {
		log_error("%s: a second INIT", dispatch->name);
		dispatch_refuse(dispatch, slot, EIO);
		return;
	}
	err = session_init_take(dispatch->session, journal_request(dispatch->journal, slot), size);
	dispatch_free(dispatch, slot);
	if (err) {
		log_error("%s: the kernel's INIT is not one that relayd understands", dispatch->name);
		return;
	}
	/* Nothing else comes before it is answered, but the end: who unmounts does not wait for a backend. */
	dispatch_event(dispatch, DISPATCH_KERNEL_INIT);
}

const struct relay_op *dispatch_note(struct dispatch *dispatch, uint32_t slot, const void *request, uint32_t size,
				     int *err)
{
	struct fuse_in_header header;
	struct inflight *r = &dispatch->inflight[slot];
	const struct relay_op *op;
	struct relay_args args;

	memcpy(&header, request, sizeof(header));
	op = relay_op_get(header.opcode);
	r->opcode = header.opcode;
	r->size = size;
	r->pid = header.pid;
	r->unique = header.unique;
	r->nodeid = header.nodeid;
	r->arrived_ns = dispatch_now_ns();
	r->lives = 0;
	r->kills = 0;
	r->hangs = 0;
	r->delivered = r->sent = r->worked = r->claimed = false;
	atomic_store_explicit(&r->interrupted, false, memory_order_relaxed);
	r->no_reply = op && op->reply == RELAY_REPLY_NEVER;
	r->forced = op && (op->flags & RELAY_OP_FORCED);
	r->unwaited = op && (r->no_reply || (op->flags & RELAY_OP_UNWAITED));
	*err = op ? relay_args_parse(request, size, relay_op_in_size(header.opcode, dispatch->session->answer.flags), &args) : -ENOSYS;
	if (*err)
		return op;
	r->bounds = relay_reply_bounds(op, request);
	if (header.opcode == FUSE_WRITE && size >= sizeof(header) + op->in_size &&
	    ((const struct fuse_write_in *)((const char *)request + sizeof(header)))->write_flags & FUSE_WRITE_CACHE)
		r->unwaited = true; /* written back for nobody in particular: never to be given up */
	return op;
}

/* A request that the backend is to see. */
static void request_relay(struct dispatch *dispatch, uint32_t slot, const struct relay_op *op)
{
	if (!(op->flags & RELAY_OP_WAITS) || dispatch_shrink(dispatch, &slot))
		request_pass(dispatch, slot);
}

static void request_take(struct dispatch *dispatch, uint32_t slot, uint32_t size)
{
	const struct inflight *r = &dispatch->inflight[slot];
	const char *request = journal_request(dispatch->journal, slot);
	const struct relay_op *op;
	int err;

	if (size < sizeof(struct fuse_in_header)) {
		log_error("%s: the kernel sent %u bytes, less than a header", dispatch->name, size);
		dispatch_free(dispatch, slot);
		return;
	}
	op = dispatch_note(dispatch, slot, request, size, &err);
	if (err) {
		if (err != -ENOSYS)
			log_error("%s: %s, unique %llu: the kernel's request is malformed", dispatch->name,
				  dispatch_opcode_name(r->opcode), (unsigned long long)r->unique);
		dispatch_refuse(dispatch, slot, err == -ENOSYS ? ENOSYS : EIO);
	} else if (r->opcode == FUSE_INTERRUPT) {
		dispatch_interrupt_take(dispatch, (const void *)(request + sizeof(struct fuse_in_header)));
		dispatch_free(dispatch, slot);
	} else if (r->opcode == FUSE_NOTIFY_REPLY) {
		slot_hold(dispatch, slot);
	} else if (r->opcode == FUSE_INIT) {
		init_take(dispatch, slot, size);
	} else if (op->flags & RELAY_OP_OWN) {
		dispatch_refuse(dispatch, slot, 0);
	} else if (op->reply == RELAY_REPLY_NEVER && atomic_load(&dispatch->translated)) {
		forget_take(dispatch, slot, size);
	} else if (!(atomic_load(&dispatch->translated) && dispatch_known(dispatch, slot))) {
		request_relay(dispatch, slot, op);
	}
}

bool dispatch_device_ready(struct dispatch *dispatch)
{
	/* After INIT nobody reads before it is known who is to. */
	bool ours = atomic_load(&dispatch->direct.lane) == DIRECT_LANE_SOCKET ||
		    (dispatch->direct.wanted && !dispatch->session->init_size);

	return ours && !dispatch->holds && !atomic_load(&dispatch->unplugged) && slot_claim(dispatch);
}

bool dispatch_device_take(struct dispatch *dispatch)
{
	uint32_t slot = dispatch->next;
	void *buffer = journal_request(dispatch->journal, slot);
	uint32_t capacity = journal_request_capacity(dispatch->journal, slot);
	ssize_t n;

	do { /* ENOENT: the request was given up while it was being copied */
		n = read(dispatch->session->fd, buffer, capacity);
	} while (n < 0 && (errno == EINTR || errno == ENOENT));
	if (n < 0 && errno == EAGAIN)
		return false;
	dispatch->claimed = false;
	if (n > 0) {
		RELAY_CRASH_POINT("request", "read");
		request_take(dispatch, slot, (uint32_t)n);
		return true;
	}
	if (n < 0 && errno != ENODEV)
		log_error("%s: reading from /dev/fuse: %s", dispatch->name, strerror(errno));
	dispatch_free(dispatch, slot);
	dispatch_device_gone(dispatch);
	return false;
}
