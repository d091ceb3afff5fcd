/*
 * What a relayd that has died leaves of the requests in flight, and how the next one goes on.
 *
 * Its threads ended at any instruction.  By the state that a slot has in the table:
 *
 *   IDLE       nobody's, or the backend's own (direct lane)
 *   READING    a request that was read whole, or none: in the buffer, as the kernel copies it
 *              there in one piece.  Nobody but the dead one has seen it, so it is new
 *   WAITING    in the journal
 *   RESENT     with the kernel, which is asked to send it again when the next life begins
 *   REPAIR PARKED  with the pool, of which nothing is left: it waits, and what it was given
 *              before counts
 *   SENT       with the backend, which may have answered: the reply is in the channel, in the
 *              journal (librelay), or was lost with relayd.  A redo, unless the reply is found
 *   ANSWERED   a reply was being written.  One that changes anything is short, and was stored in
 *              the slot before the kernel was given it (dispatch_store()): it is written
 *              again, and the kernel refuses what it had.  Without it the request is
 *              SENT: a long reply is of a request that may be served twice
 *   ABANDONED  its caller was, or was about to be, answered EINTR: it is said again
 *
 * A process dying in the midst of this leaves the same, less what was done: each step is
 * the end of its slot, or leaves the slot as it was.
 */
#include "dispatch.h"

#include <errno.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "log.h"

/* Longer ones are data: of READ, READDIR and the like. */
#define STORED_MAX 512u

void dispatch_store(struct dispatch *dispatch, uint32_t slot, const struct fuse_out_header *out, const void *payload)
{
	struct relay_slot *s = relay_slot_at(&dispatch->journal->map, slot);
	char *reply = journal_reply(dispatch->journal, slot);

	/* A backend that shares the journal has done so itself. */
	if (out->len > STORED_MAX || out->len > journal_reply_capacity(dispatch->journal, slot) || !atomic_load_explicit(&dispatch->translated, memory_order_relaxed))
		return;
	memcpy(reply, out, sizeof(*out));
	if (out->len > sizeof(*out))
		memcpy(reply + sizeof(*out), payload, out->len - sizeof(*out));
	s->reply_size = out->len;
	atomic_store_explicit(&s->state, RELAY_SLOT_APPLIED, memory_order_release);
}

/* Whatever the kernel says: it has the reply now, or had it. */
static void kernel_tell(struct dispatch *dispatch, uint64_t unique, int error, const void *payload, size_t size)
{
	struct fuse_out_header out = {.len = (uint32_t)(sizeof(out) + size), .error = error, .unique = unique};
	const struct iovec iov[] = {
		{.iov_base = &out, .iov_len = sizeof(out)},
		{.iov_base = (void *)payload, .iov_len = size},
	};

	if (writev(dispatch->session->fd, iov, size ? 2 : 1) < 0 && errno != ENOENT && errno != ENODEV)
		log_error("%s: the kernel refused the reply to unique %llu: %s", dispatch->name,
			  (unsigned long long)unique, strerror(errno));
}

/* A reply in the kernel's form.  Returns false if there is none. */
static bool stored_write(struct dispatch *dispatch, uint32_t slot)
{
	struct inflight *r = &dispatch->inflight[slot];
	uint32_t size = journal_slot_stored(dispatch->journal, slot);
	const char *reply = journal_reply(dispatch->journal, slot);
	struct fuse_out_header header;

	if (size < sizeof(header) || size > STORED_MAX)
		return false;
	memcpy(&header, reply, sizeof(header));
	if (header.len != size)
		return false;
	kernel_tell(dispatch, r->unique, header.error, reply + sizeof(header), size - sizeof(header));
	dispatch_free(dispatch, slot);
	return true;
}

/* Whether another slot has the request: it was being moved to a small one, and those come first. */
static bool is_twice(const struct dispatch *dispatch, uint32_t slot, uint64_t unique)
{
	for (uint32_t i = slot + 1; i < journal_slots(dispatch->journal); i++)
		if (atomic_load(&dispatch->inflight[i].state) != INFLIGHT_IDLE &&
		    dispatch_kernel_number(dispatch->inflight[i].unique) == dispatch_kernel_number(unique))
			return true;
	return false;
}

/* A request that was read, by no more than that; size is its header's, which others may write to. */
static void whole_resume(struct dispatch *dispatch, uint32_t slot, uint32_t size)
{
	struct inflight *r = &dispatch->inflight[slot];
	struct fuse_in_header *header = journal_request(dispatch->journal, slot);
	const struct relay_op *op;
	int err;

	/* What the dead one had named already has its number in the table. */
	if (r->channel_unique && header->unique == r->channel_unique)
		header->unique = r->unique;
	op = dispatch_note(dispatch, slot, header, size, &err);
	if (err) {
		dispatch_refuse(dispatch, slot, err == -ENOSYS ? ENOSYS : EIO);
	} else if (r->opcode == FUSE_INIT || r->opcode == FUSE_NOTIFY_REPLY || is_twice(dispatch, slot, r->unique)) {
		dispatch_free(dispatch, slot);
	} else if (r->opcode == FUSE_INTERRUPT) {
		dispatch_interrupt_take(dispatch, (const void *)(header + 1));
		dispatch_free(dispatch, slot);
	} else if (op->flags & RELAY_OP_OWN) {
		dispatch_refuse(dispatch, slot, 0);
	} else if (r->no_reply && atomic_load(&dispatch->translated)) {
		/* The tables may have it already.  To forget twice would be ESTALE for somebody; never is memory. */
		dispatch_free(dispatch, slot);
	} else {
		dispatch_name_unique(dispatch, slot);
		journal_slot_publish(dispatch->journal, slot, r->unique, r->channel_unique, r->opcode, r->size);
		atomic_store(&r->state, INFLIGHT_WAITING);
	}
}

static void reading_resume(struct dispatch *dispatch, uint32_t slot)
{
	struct fuse_in_header header;

	memcpy(&header, journal_request(dispatch->journal, slot), sizeof(header));
	if (header.unique == 0 || header.len < sizeof(header) ||
	    header.len > journal_request_capacity(dispatch->journal, slot))
		dispatch_free(dispatch, slot);
	else
		whole_resume(dispatch, slot, header.len);
}

static void slot_resume(struct dispatch *dispatch, uint32_t slot)
{
	struct inflight *r = &dispatch->inflight[slot];
	uint32_t state = atomic_load(&r->state);

	/* Of the dead one's memory. */
	r->note = (struct translate_note){.written = 0};
	r->known = (struct cache_note){.begun = 0};
	r->renaming = r->doubt = false;
	if (state == INFLIGHT_IDLE) {
		if (!direct_is(&dispatch->direct))
			journal_slot_free(dispatch->journal, slot);
	} else if (state == INFLIGHT_READING) {
		reading_resume(dispatch, slot);
	} else if (state == INFLIGHT_ABANDONED) {
		kernel_tell(dispatch, r->unique, -EINTR, NULL, 0);
	} else if (state != INFLIGHT_RESENT && journal_slot_state(dispatch->journal, slot) == RELAY_SLOT_FREE) {
		/* It was about to become IDLE. */
		dispatch_free(dispatch, slot);
	} else if (!(atomic_load(&dispatch->translated) && stored_write(dispatch, slot))) {
		if (state == INFLIGHT_ANSWERED)
			atomic_store(&r->state, INFLIGHT_SENT);
		else if (state == INFLIGHT_REPAIR || state == INFLIGHT_PARKED)
			atomic_store(&r->state, INFLIGHT_WAITING);
	}
}

static int table_resume(struct dispatch *dispatch, int *fd)
{
	struct dispatch_table *table;
	int err = dispatch_table_map(&table, *fd, journal_slots(dispatch->journal));

	if (err)
		return err;
	dispatch_table_unmap(dispatch->table);
	close(dispatch->table_fd);
	dispatch->table = table;
	dispatch->table_fd = *fd;
	*fd = -1;
	dispatch->inflight = table->inflight;
	return 0;
}

int dispatch_resume(struct dispatch *dispatch, int *table_fd, int *state_fd, uint32_t incarnation)
{
	const struct session *session = dispatch->session;
	int err;

	err = translate_resume(&dispatch->translate, *state_fd);
	if (err)
		return err;
	*state_fd = -1;
	err = table_resume(dispatch, table_fd);
	if (err)
		return err;
	dispatch->incarnation = incarnation;
	dispatch->shared = session->agreed && session->native;
	atomic_store(&dispatch->librelay, dispatch->shared);
	atomic_store(&dispatch->translated, session->agreed && !session->native);
	dispatch_lane_begin(dispatch);
	/* From the small ones down: see is_twice(). */
	for (uint32_t slot = journal_slots(dispatch->journal); slot-- > 0;)
		slot_resume(dispatch, slot);
	return 0;
}

bool dispatch_idle(const struct dispatch *dispatch)
{
	for (uint32_t slot = 0; slot < journal_slots(dispatch->journal); slot++)
		if (atomic_load(&dispatch->inflight[slot].state) != INFLIGHT_IDLE)
			return false;
	return true;
}

void dispatch_channel_resume(struct dispatch *dispatch, int channel, bool open)
{
	pthread_mutex_lock(&dispatch->lock);
	dispatch->channel = channel;
	dispatch->serial++;
	watch_begin(dispatch);
	/* It may have been told to pause: to one that was not it is nothing. */
	if (open)
		dispatch_go(dispatch);
	atomic_store(&dispatch->gate, open);
	pthread_mutex_unlock(&dispatch->lock);
	dispatch_kick(dispatch);
}
