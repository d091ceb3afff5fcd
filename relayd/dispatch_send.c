/*
 * Requests on their way to a backend.
 *
 * One that is linked with librelay, or that sees the kernel's own ids for another
 * reason, is sent what the journal holds.  Any other is sent that with its own ids in
 * place of the kernel's, if it has given them all in this life, and if nothing has to be
 * found out before; otherwise the request goes by the repair pool.
 *
 * Crash windows: before the packet is sent the incarnation has not seen the request
 * (`sent` is false), and a death leaves it to be sent to the next one as new.  From then on
 * it counts as delivered: the next is given a redo.  Between the two, in the pool, the
 * backend was asked about what the request needs, but not the request itself (`worked`).
 */
#include "dispatch.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "crash.h"
#include "log.h"
#include "redo.h"

/* One packet of FORGETs. */
#define FORGETS_SIZE 4096u

void dispatch_interrupt(struct dispatch *dispatch, uint64_t channel_unique)
{
	struct {
		struct fuse_in_header header;
		struct fuse_interrupt_in in;
	} packet = {
		.header = {.len = sizeof(packet), .opcode = FUSE_INTERRUPT, .unique = channel_unique | 1},
		.in = {.unique = channel_unique},
	};

	send(dispatch->channel, &packet, sizeof(packet), MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* One packet.  Returns 0 or a negative errno. */
static int packet_send(struct dispatch *dispatch, struct iovec *iov, unsigned count, int flags)
{
	const struct msghdr message = {.msg_iov = iov, .msg_iovlen = count};
	ssize_t n;

	do {
		n = sendmsg(dispatch->channel, &message, MSG_NOSIGNAL | flags);
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : 0;
}

/* Sends a slot's request, which is SENT then.  Returns 0, or a negative errno: its state is as it was. */
static int slot_send(struct dispatch *dispatch, uint32_t slot, struct iovec *iov, unsigned count, int flags)
{
	struct inflight *r = &dispatch->inflight[slot];
	uint32_t before = atomic_load(&r->state), sent = INFLIGHT_SENT;
	uint64_t channel_unique = r->channel_unique;
	int err;

	/* Before the send: the reply may come before sendmsg() returns. */
	r->sent = true;
	atomic_store(&r->state, INFLIGHT_SENT);
	RELAY_CRASH_POINT("request", "sending");
	err = packet_send(dispatch, iov, count, flags);
	RELAY_CRASH_POINT("request", "sent");
	if (!err) {
		/* One that came while it could not be told of.  The slot may be another request's by now: a hint. */
		if (atomic_load(&r->interrupted))
			dispatch_interrupt(dispatch, channel_unique);
		return 0;
	}
	/* A backend may have answered what it has not got. */
	if (!atomic_compare_exchange_strong(&r->state, &sent, before))
		return 0;
	r->sent = false;
	return err;
}

/* What cannot be sent for another reason than a full or an ended channel is answered. */
static bool unsendable(struct dispatch *dispatch, uint32_t slot, int err)
{
	const struct inflight *r = &dispatch->inflight[slot];

	if (err != -EMSGSIZE && err != -ENOBUFS && err != -ENOMEM)
		return false;
	log_error("%s: %s, unique %llu: cannot be sent: %s", dispatch->name, dispatch_opcode_name(r->opcode),
		  (unsigned long long)r->unique, strerror(-err));
	dispatch_answer(dispatch, slot, err == -EMSGSIZE ? EIO : ENOMEM);
	return true;
}

/* The kernel's ids are the backend's.  Returns 0 or a negative errno. */
static int send_native(struct dispatch *dispatch, uint32_t slot, int flags)
{
	struct inflight *r = &dispatch->inflight[slot];
	struct iovec iov = {.iov_base = journal_request(dispatch->journal, slot), .iov_len = r->size};
	int err;

	/* A backend that finds its requests in the journal needs no copy of this one. */
	if (direct_is(&dispatch->direct))
		iov.iov_len = sizeof(struct fuse_in_header);

	/*
	 * FORGETs are acknowledged by librelay; another backend's are done when they are
	 * sent, so they never become SENT: a reply to one, which is none, finds nothing.
	 */
	if (!r->no_reply || atomic_load(&dispatch->librelay))
		return slot_send(dispatch, slot, &iov, 1, flags);
	err = packet_send(dispatch, &iov, 1, flags);
	if (!err)
		dispatch_free(dispatch, slot);
	return err;
}

void dispatch_namegate_leave(struct dispatch *dispatch, struct inflight *r)
{
	if (r->renaming)
		namegate_change_end(&dispatch->repair.restore.names);
	r->renaming = false;
}

/* Through the gate if the request needs that, without waiting.  Returns false if it would have to. */
static bool namegate_enter(struct dispatch *dispatch, struct inflight *r)
{
	const struct relay_op *op = relay_op_get(r->opcode);

	if (!r->renaming && op->flags & RELAY_OP_RENAMES)
		r->renaming = namegate_change_try(&dispatch->repair.restore.names);
	return r->renaming || !(op->flags & RELAY_OP_RENAMES);
}

int dispatch_pass(struct dispatch *dispatch, uint32_t slot, int flags)
{
	struct inflight *r = &dispatch->inflight[slot];
	char *request = journal_request(dispatch->journal, slot);
	struct translate_head head;
	struct iovec iov[2];
	int result = translate_request(&dispatch->translate, request, r->size, &head);

	if (result == TRANSLATE_ANSWERED || result < 0) {
		dispatch_answer(dispatch, slot, result < 0 ? -result : 0);
		return DISPATCH_PASSED;
	}
	if (result == TRANSLATE_RESTORE || !namegate_enter(dispatch, r)) {
		dispatch_namegate_leave(dispatch, r);
		return DISPATCH_BEHIND;
	}
	translate_note(&dispatch->translate, request, &r->note);
	iov[0] = (struct iovec){.iov_base = head.bytes, .iov_len = head.size};
	iov[1] = (struct iovec){.iov_base = request + head.size, .iov_len = r->size - head.size};
	result = slot_send(dispatch, slot, iov, iov[1].iov_len ? 2 : 1, flags);
	if (!result || unsendable(dispatch, slot, result))
		return DISPATCH_PASSED;
	dispatch_namegate_leave(dispatch, r);
	return result == -EAGAIN ? -EAGAIN : -EPIPE;
}

/* Whether questions come first, even where all ids are current. */
static bool asks_first(struct dispatch *dispatch, uint32_t slot)
{
	const struct inflight *r = &dispatch->inflight[slot];
	const void *request = journal_request(dispatch->journal, slot);

	if (r->delivered ? redo_special(request, r->size) : redo_looks_before(request, r->size))
		return true;
	return restore_first(&dispatch->repair.restore, request, r->size);
}

static int send_translated(struct dispatch *dispatch, uint32_t slot, int flags)
{
	int result = asks_first(dispatch, slot) ? DISPATCH_BEHIND : dispatch_pass(dispatch, slot, flags);

	return result == DISPATCH_BEHIND ? repair_put(&dispatch->repair, slot) : result;
}

/*
 * What the request will make untrue is not answered any more when the backend gets it.  Returns false
 * if that could not be brought about: it is answered EIO, and not applied.
 */
static bool known_begin(struct dispatch *dispatch, uint32_t slot)
{
	struct inflight *r = &dispatch->inflight[slot];
	int err = cache_request_begin(cache_absence(dispatch->cache), &r->known,
				      journal_request(dispatch->journal, slot), r->size, r->delivered);

	if (!err)
		return true;
	log_error("%s: %s, unique %llu: what is known to be absent cannot be taken back: %s", dispatch->name,
		  dispatch_opcode_name(r->opcode), (unsigned long long)r->unique, strerror(-err));
	dispatch_event(dispatch, DISPATCH_DISTRUST);
	dispatch_answer(dispatch, slot, EIO);
	return false;
}

int dispatch_send(struct dispatch *dispatch, uint32_t slot, int flags)
{
	struct inflight *r = &dispatch->inflight[slot];
	bool translated = atomic_load_explicit(&dispatch->translated, memory_order_relaxed);
	int err;

	if (cache_absence(dispatch->cache) && !known_begin(dispatch, slot))
		return 0;
	err = translated ? send_translated(dispatch, slot, flags) : send_native(dispatch, slot, flags);

	if (!err || unsendable(dispatch, slot, err))
		return 0;
	if (err == -EAGAIN)
		return -EAGAIN;
	/* The backend is dying.  It has not seen this one, which waits with the rest for its end. */
	atomic_store(&r->state, INFLIGHT_SENT);
	return 0;
}

bool dispatch_forgets(const struct dispatch *dispatch)
{
	return atomic_load_explicit(&dispatch->forgetting, memory_order_relaxed) ||
	       atomic_load_explicit(&dispatch->translate.forgets_due, memory_order_relaxed);
}

/* Whether a packet of FORGETs is taken by the channel.  Nobody fills it meanwhile: `lock` is held. */
static bool has_room(const struct dispatch *dispatch)
{
	struct pollfd poller = {.fd = dispatch->channel, .events = POLLOUT};

	return poll(&poller, 1, 0) > 0;
}

bool dispatch_forgets_send(struct dispatch *dispatch)
{
	_Alignas(8) uint8_t packet[FORGETS_SIZE];
	struct iovec iov = {.iov_base = packet};
	/* Before this minor there was no BATCH_FORGET. */
	uint32_t minor = dispatch->forgets_singly ? 0 : dispatch->session->answer.minor;
	bool room = true;
	int err = 0;

	pthread_mutex_lock(&dispatch->lock);
	/*
	 * A walk may be about to ask by the id of a directory that is to be forgotten: none
	 * is under way while these are sent, and one that begins later does not find the id
	 * any more.  Otherwise they wait for the next request.
	 */
	if (dispatch->gate && namegate_change_try(&dispatch->repair.restore.names)) {
		/* First: what comes while these are sent says so again. */
		atomic_store(&dispatch->forgetting, false);
		while (!err && (room = has_room(dispatch)) &&
		       (iov.iov_len = translate_forgets_take(&dispatch->translate, minor, packet, sizeof(packet))) > 0)
			err = packet_send(dispatch, &iov, 1, MSG_DONTWAIT);
		if (!room)
			atomic_store(&dispatch->forgetting, true);
		/* If the channel has ended meanwhile there is nothing to end; and no other can have begun. */
		namegate_change_end(&dispatch->repair.restore.names);
	}
	pthread_mutex_unlock(&dispatch->lock);
	/* To a backend that is dying they are nothing.  Any other has nodes that nobody wants, until it ends. */
	if (err && err != -EPIPE && err != -ECONNRESET)
		log_warning("%s: a FORGET cannot be sent: %s", dispatch->name, strerror(-err));
	return !dispatch_forgets(dispatch);
}
