/*
 * The gate, and what passes it first: the requests that a dead incarnation had
 * and did not answer.  All on the main thread.
 *
 * When an incarnation has died and its channel is drained, each of its requests
 * is in one of three states.  APPLIED: the whole reply is in the slot, and goes
 * to the kernel from there.  TAKEN or APPLYING: it waits, and the next
 * incarnation is given it with what the slot says about it.  A slot is not freed
 * before that incarnation has rolled back what the request had changed in the
 * backend's state: the record of it is in the slot.
 */
#include "dispatch.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "crash.h"
#include "log.h"

int dispatch_init_send(struct dispatch *dispatch, int channel, uint32_t incarnation)
{
	uint8_t packet[SESSION_INIT_MAX] __attribute__((aligned(8)));
	uint32_t size;

	size = session_init_request(dispatch->session, relay_unique_make(incarnation, DISPATCH_INIT_SLOT), packet);
	/* A new channel has room; one that has none was filled by somebody who wants this thread to wait. */
	if (send(channel, packet, size, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)size)
		return -errno;
	return 0;
}

void dispatch_channel_adopt(struct dispatch *dispatch, int channel, uint32_t incarnation)
{
	RELAY_CRASH_POINT("life", "begun");
	translate_incarnation(&dispatch->translate, incarnation);
	watch_begin(dispatch);
	atomic_store(&dispatch->librelay, false);
	dispatch->init_reply_size = 0;
	dispatch->journal->map.journal->incarnation = incarnation;
	pthread_mutex_lock(&dispatch->lock);
	dispatch->channel = channel;
	dispatch->incarnation = incarnation;
	dispatch->serial++;
	pthread_mutex_unlock(&dispatch->lock);
	dispatch_kick(dispatch);
}

int dispatch_channel_begin(struct dispatch *dispatch, int channel, uint32_t incarnation)
{
	int err = dispatch_init_send(dispatch, channel, incarnation);

	if (!err)
		dispatch_channel_adopt(dispatch, channel, incarnation);
	return err;
}

void dispatch_gate_shut(struct dispatch *dispatch)
{
	atomic_store(&dispatch->gate, false);
}

/* Delivers the reply that the slot holds.  Returns false if it holds none that can be true. */
static bool stored_deliver(struct dispatch *dispatch, uint32_t slot)
{
	struct inflight *r = &dispatch->inflight[slot];
	uint32_t size = journal_slot_stored(dispatch->journal, slot);
	char *reply = journal_reply(dispatch->journal, slot);
	struct fuse_out_header header;
	const char *why;

	if (size == 0)
		return false;
	if (r->no_reply) {
		dispatch_free(dispatch, slot);
		return true;
	}
	/* A copy, which goes to the kernel: something of the backend may still be able to write there. */
	memcpy(&header, reply, sizeof(header));
	why = relay_reply_check(&r->bounds, &header, size);
	if (!why && header.unique != (r->claimed ? r->unique : r->channel_unique))
		why = "another request's unique";
	if (why) {
		log_error("%s: malformed reply to %s, unique %llu, in the journal: %s; answered EIO", dispatch->name,
			  dispatch_opcode_name(r->opcode), (unsigned long long)r->unique, why);
		dispatch_answer(dispatch, slot, EIO);
		return true;
	}
	atomic_fetch_add_explicit(&dispatch->stats->resent, 1, memory_order_relaxed);
	dispatch_deliver(dispatch, slot, &header, reply + sizeof(header));
	return true;
}

/*
 * What the end of an incarnation means for a slot.  One that it may have counts as a life, and
 * is a redo from here on; one that it was only asked about may be what killed it, but is as
 * new; one that waited behind others is neither.
 */
static void slot_channel_end(struct dispatch *dispatch, uint32_t slot, bool own_fault)
{
	struct inflight *r = &dispatch->inflight[slot];
	uint32_t state = atomic_load(&r->state);

	if (state != INFLIGHT_SENT && state != INFLIGHT_WAITING && state != INFLIGHT_ABANDONED)
		return;
	/* The namespace gate and the doubts were reset as a whole. */
	r->renaming = r->doubt = false;
	if (state == INFLIGHT_ABANDONED || (state == INFLIGHT_SENT && stored_deliver(dispatch, slot)))
		return;
	if (!(r->sent || r->worked))
		; /* it has nothing to do with that end */
	else if (dispatch->watch.hung)
		r->hangs += dispatch_kernel_number(r->unique) == dispatch->watch.blamed;
	else if (own_fault)
		r->lives++;
	else
		r->kills++;
	r->delivered = r->delivered || r->sent;
	r->sent = r->worked = r->claimed = false;
	atomic_store(&r->state, INFLIGHT_WAITING);
}

/*
 * What is known stays so while nobody answers: whatever the dead incarnation was in the midst of
 * had been taken back before.  One that acknowledges what it does later may have lost some of it.
 */
static void known_incarnation(struct dispatch *dispatch)
{
	struct absence *absence = cache_absence(dispatch->cache);

	if (!absence)
		return;
	relay_absence_incarnation(absence);
	if (dispatch->translate.write_behind && relay_absence_clear(absence) < 0)
		dispatch_event(dispatch, DISPATCH_DISTRUST);
}

void dispatch_channel_end(struct dispatch *dispatch, bool own_fault)
{
	/* From here on no repair thread has a slot, or asks on the channel. */
	repair_shut(&dispatch->repair);
	known_incarnation(dispatch);
	/* Once the lock was had with the gate shut, the carrier is past its last send. */
	pthread_mutex_lock(&dispatch->lock);
	dispatch->channel = -1;
	pthread_mutex_unlock(&dispatch->lock);
	dispatch->gone = 0;
	if (direct_is(&dispatch->direct))
		dispatch_import(dispatch);
	if (dispatch_is_uring(dispatch))
		dispatch_rings_import(dispatch);
	for (uint32_t slot = 0; slot < journal_slots(dispatch->journal); slot++)
		slot_channel_end(dispatch, slot, own_fault);
	RELAY_CRASH_POINT("life", "ended");
	if (direct_is(&dispatch->direct))
		dispatch_resend(dispatch);
}

bool dispatch_redo_suspects(const struct dispatch *dispatch)
{
	for (uint32_t slot = 0; slot < journal_slots(dispatch->journal); slot++) {
		uint32_t state = atomic_load(&dispatch->inflight[slot].state);

		if ((state == INFLIGHT_WAITING || state == INFLIGHT_RESENT) && dispatch->inflight[slot].lives)
			return true;
	}
	return false;
}

static bool poisoned(const struct inflight *r, unsigned lives)
{
	return r->lives + r->hangs + r->kills / DISPATCH_KILLS_PER_LIFE >= lives;
}

static int redo_send(struct dispatch *dispatch, uint32_t slot)
{
	struct inflight *r = &dispatch->inflight[slot];
	bool delivered = r->delivered;
	uint64_t unique = r->unique;
	uint32_t opcode = r->opcode;
	int err = dispatch_send(dispatch, slot, MSG_DONTWAIT);

	if (err)
		return err;
	/* From here on the slot may be another request's. */
	if (delivered) {
		RELAY_CRASH_POINT("life", "redone");
		atomic_fetch_add_explicit(&dispatch->stats->redone, 1, memory_order_relaxed);
		log_debug("%s: incarnation %u is given %s, unique %llu, again", dispatch->name, dispatch->incarnation,
			  dispatch_opcode_name(opcode), (unsigned long long)unique);
	}
	return 0;
}

/* The oldest waiting request, or false. */
static bool redo_oldest(const struct dispatch *dispatch, uint32_t *oldest)
{
	bool found = false;

	for (uint32_t slot = 0; slot < journal_slots(dispatch->journal); slot++) {
		const struct inflight *r = &dispatch->inflight[slot];

		if (atomic_load(&r->state) != INFLIGHT_WAITING)
			continue;
		if (!found || r->arrived_ns < dispatch->inflight[*oldest].arrived_ns)
			*oldest = slot;
		found = true;
	}
	return found;
}

/* What /proc says of a task: a number behind a name such as "Tgid:", or 0. */
static unsigned long long status_field(const char *status, const char *name, int base)
{
	const char *at = strstr(status, name);

	return at ? strtoull(at + strlen(name), NULL, base) : 0;
}

enum caller {
	CALLER_GOES_ON,
	CALLER_DYING, /* has SIGKILL pending: it waits for nothing but our answer */
	CALLER_GONE,  /* is of the backend that has to end before anybody can answer */
};

static enum caller caller_look(uint32_t pid, pid_t gone)
{
	const unsigned long long sigkill = 1ull << (SIGKILL - 1);
	char path[32], status[4096];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%u/status", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return CALLER_GOES_ON;
	n = read(fd, status, sizeof(status) - 1);
	close(fd);
	if (n <= 0)
		return CALLER_GOES_ON;
	status[n] = '\0';
	if (gone && status_field(status, "\nTgid:", 10) == (unsigned long long)gone)
		return CALLER_GONE;
	if ((status_field(status, "\nSigPnd:", 16) | status_field(status, "\nShdPnd:", 16)) & sigkill)
		return CALLER_DYING;
	return CALLER_GOES_ON;
}

bool dispatch_caller_dying(const struct inflight *r)
{
	return !r->unwaited && !r->forced && r->pid != 0 && caller_look(r->pid, 0) == CALLER_DYING;
}

bool dispatch_give_up(struct dispatch *dispatch, uint32_t slot, uint32_t state, int error)
{
	struct inflight *r = &dispatch->inflight[slot];
	const struct fuse_out_header out = {.len = sizeof(out), .error = -error, .unique = r->unique};
	int err;

	/* Freed by dispatch_redo(): the next incarnation may have to roll its changes back first. */
	if (!atomic_compare_exchange_strong(&r->state, &state, INFLIGHT_ABANDONED))
		return false;
	err = dispatch_kernel_reply(dispatch, &out, NULL);
	if (err && err != -ENOENT && err != -ENODEV)
		log_error("%s: the kernel refused error %d for unique %llu: %s", dispatch->name, error,
			  (unsigned long long)out.unique, strerror(-err));
	return true;
}

bool dispatch_caller_waits_in_vain(const struct dispatch *dispatch, uint32_t pid, bool forced)
{
	enum caller caller = pid ? caller_look(pid, dispatch->gone) : CALLER_GOES_ON;

	return caller == CALLER_GONE || (caller == CALLER_DYING && !forced);
}

void dispatch_abandon(struct dispatch *dispatch, uint32_t slot)
{
	struct inflight *r = &dispatch->inflight[slot];
	uint32_t state = atomic_load(&r->state);

	/* SENT: to the one that is gone, and nobody reads its channel any more. */
	if (state != INFLIGHT_WAITING && !(state == INFLIGHT_SENT && dispatch->gone))
		return;
	if (r->unwaited || !dispatch_caller_waits_in_vain(dispatch, r->pid, r->forced || state == INFLIGHT_SENT))
		return;
	if (!dispatch_give_up(dispatch, slot, state, EINTR))
		return; /* it was not sent after all, and waits */
	log_info("%s: %s, unique %llu: its caller %u is dying; answered EINTR", dispatch->name,
		 dispatch_opcode_name(r->opcode), (unsigned long long)r->unique, r->pid);
	atomic_fetch_add_explicit(&dispatch->stats->abandoned, 1, memory_order_relaxed);
}

/* Answers for what is not to be given to a backend again. */
static void redo_settle(struct dispatch *dispatch, unsigned lives)
{
	for (uint32_t slot = 0; slot < journal_slots(dispatch->journal); slot++) {
		struct inflight *r = &dispatch->inflight[slot];
		uint32_t state;

		/* A caller that was killed while a backend held its request: the next may hold it as long. */
		if (atomic_load(&r->interrupted))
			dispatch_abandon(dispatch, slot);
		state = atomic_load(&r->state);
		if (state == INFLIGHT_ABANDONED) {
			dispatch_free(dispatch, slot);
		} else if (state == INFLIGHT_WAITING && poisoned(r, lives)) {
			atomic_fetch_add_explicit(&dispatch->stats->poisoned, 1, memory_order_relaxed);
			log_error("%s: poisoned request: %s, unique %llu, nodeid %llu, pid %u: %u incarnations died of it, %u hung; "
				  "answered EIO",
				  dispatch->name, dispatch_opcode_name(r->opcode), (unsigned long long)r->unique,
				  (unsigned long long)r->nodeid, r->pid, r->lives + r->kills, r->hangs);
			dispatch_answer(dispatch, slot, EIO);
		}
	}
}

/* Sends what waits; one by one stops at the first that does not wait for others by itself. */
static int redo_send_all(struct dispatch *dispatch, bool single)
{
	uint32_t slot = 0;
	int err;

	while (redo_oldest(dispatch, &slot)) {
		err = redo_send(dispatch, slot);
		if (err)
			return err;
		if (single && slot < dispatch->journal->map.large)
			return 1;
	}
	return 0;
}

int dispatch_redo(struct dispatch *dispatch, unsigned lives, bool single)
{
	bool drained;
	int result;

	atomic_store(&dispatch->translated, !dispatch->session->native);
	if (dispatch->cache)
		cache_agree(dispatch->cache, dispatch->session->answer.flags, !dispatch->session->native);
	dispatch_lane_decide(dispatch);
	if (!dispatch->session->native)
		repair_open(&dispatch->repair, dispatch->incarnation);
	drained = !direct_is(&dispatch->direct) || dispatch_drain(dispatch);
	redo_settle(dispatch, lives);
	if (single && dispatch_given(dispatch) > 0)
		return 1;
	pthread_mutex_lock(&dispatch->lock);
	result = redo_send_all(dispatch, single);
	pthread_mutex_unlock(&dispatch->lock);
	return result || drained ? result : 1;
}

int dispatch_gate_open(struct dispatch *dispatch, bool *waited)
{
	int err;

	*waited = dispatch_given(dispatch) > 0;
	pthread_mutex_lock(&dispatch->lock);
	/* What came after the redo. */
	for (uint32_t slot = 0; slot < dispatch->journal->map.large; slot++)
		*waited = *waited || atomic_load(&dispatch->inflight[slot].state) == INFLIGHT_WAITING;
	err = redo_send_all(dispatch, false);
	if (!err && direct_is(&dispatch->direct))
		err = dispatch_go(dispatch);
	if (!err)
		atomic_store(&dispatch->gate, true);
	pthread_mutex_unlock(&dispatch->lock);
	dispatch_kick(dispatch);
	return err;
}

void dispatch_sweep(struct dispatch *dispatch)
{
	if (direct_is(&dispatch->direct))
		dispatch_retake(dispatch);
	dispatch_device_look(dispatch);
	/* The carrier may be about to send what it has just found the gate open for. */
	pthread_mutex_lock(&dispatch->lock);
	for (uint32_t slot = 0; slot < journal_slots(dispatch->journal); slot++)
		dispatch_abandon(dispatch, slot);
	if (dispatch_is_uring(dispatch))
		dispatch_rings_sweep(dispatch);
	pthread_mutex_unlock(&dispatch->lock);
	/* It may hold one of them. */
	dispatch_kick(dispatch);
}
