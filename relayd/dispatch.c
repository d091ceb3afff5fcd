/*
 * What the reader, the replier and the main thread have in common: slots that
 * are sent, answered and freed, and the events that the main thread is told.
 *
 * The moments of a request, and what a death of the backend at each leaves, are
 * told in docs/recovery.md; relayd's own part is:
 *
 * - before dispatch_send() the request is in the journal and with nobody;
 * - after it the backend may have done anything up to APPLIED in the slot;
 * - dispatch_deliver() gives the kernel the reply, then frees the slot: between
 *   the two the slot still says APPLIED.
 */
#include "dispatch.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "log.h"

uint64_t dispatch_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

const char *dispatch_opcode_name(uint32_t opcode)
{
	const struct relay_op *op = relay_op_get(opcode);

	return op ? op->name : "unknown opcode";
}

void dispatch_event(struct dispatch *dispatch, unsigned events)
{
	atomic_fetch_or(&dispatch->events, events);
	loop_wake_send(dispatch->wake);
}

unsigned dispatch_events_take(struct dispatch *dispatch)
{
	return atomic_exchange(&dispatch->events, 0);
}

void dispatch_free(struct dispatch *dispatch, uint32_t slot)
{
	journal_slot_free(dispatch->journal, slot);
	/* Ordered against the reader's: set starving, then look again. */
	atomic_store(&dispatch->inflight[slot].state, INFLIGHT_IDLE);
	if (atomic_load(&dispatch->starving)) {
		pthread_mutex_lock(&dispatch->free_lock);
		pthread_cond_signal(&dispatch->freed);
		pthread_mutex_unlock(&dispatch->free_lock);
	}
	if (atomic_load_explicit(&dispatch->watched, memory_order_relaxed))
		dispatch_event(dispatch, DISPATCH_PROGRESS);
}

/* Notes how long applications waited, on the first reply after a death. */
static void pause_note(struct dispatch *dispatch, uint64_t now)
{
	uint64_t died = atomic_exchange_explicit(&dispatch->died_ns, 0, memory_order_relaxed);

	if (died)
		stats_pause(dispatch->stats, (now - died) / 1000);
}

/* Writes a checked reply to the kernel.  Its header is taken from out, the rest from payload. */
static void kernel_write(struct dispatch *dispatch, const struct inflight *r, struct fuse_out_header *out,
			 void *payload)
{
	struct iovec iov[2] = {
		{.iov_base = out, .iov_len = sizeof(*out)},
		{.iov_base = payload, .iov_len = out->len - sizeof(*out)},
	};
	uint64_t now;

	out->unique = r->unique;
	/*
	 * ENOENT: the kernel does not wait for it any more, since the mount was
	 * aborted.  Anything else is a reply that should not have passed the check;
	 * the kernel has failed the request with EIO.
	 */
	if (writev(dispatch->session->fd, iov, iov[1].iov_len ? 2 : 1) < 0 && errno != ENOENT && errno != ENODEV)
		log_error("%s: the kernel refused the reply to %s, unique %llu: %s", dispatch->name,
			  dispatch_opcode_name(r->opcode), (unsigned long long)r->unique, strerror(errno));
	now = dispatch_now_ns();
	stats_count(dispatch->stats, r->opcode, out->error, now - r->arrived_ns);
	if (atomic_load_explicit(&dispatch->died_ns, memory_order_relaxed))
		pause_note(dispatch, now);
}

void dispatch_deliver(struct dispatch *dispatch, uint32_t slot, const struct fuse_out_header *header, void *payload)
{
	struct fuse_out_header out = *header;

	kernel_write(dispatch, &dispatch->inflight[slot], &out, payload);
	dispatch_free(dispatch, slot);
}

void dispatch_answer(struct dispatch *dispatch, uint32_t slot, int error)
{
	struct fuse_out_header out = {.len = sizeof(out), .error = -error};

	if (!dispatch->inflight[slot].no_reply)
		kernel_write(dispatch, &dispatch->inflight[slot], &out, NULL);
	dispatch_free(dispatch, slot);
}

int dispatch_send(struct dispatch *dispatch, uint32_t slot, int flags)
{
	struct inflight *r = &dispatch->inflight[slot];
	/*
	 * FORGETs are acknowledged by librelay; another backend's are done when they are
	 * sent, so they never become SENT: a reply to one, which is none, finds nothing.
	 */
	bool done = r->no_reply && !atomic_load(&dispatch->librelay);
	uint32_t sent = INFLIGHT_SENT;
	ssize_t n;

	/* Before the send: the reply may come before send() returns. */
	if (!done)
		atomic_store(&r->state, INFLIGHT_SENT);
	do {
		n = send(dispatch->channel, journal_request(dispatch->journal, slot), r->size, MSG_NOSIGNAL | flags);
	} while (n < 0 && errno == EINTR);
	if (n >= 0) {
		if (done)
			dispatch_free(dispatch, slot);
		return 0;
	}
	/* A backend may have answered what it has not got. */
	if (!done && !atomic_compare_exchange_strong(&r->state, &sent, INFLIGHT_WAITING))
		return 0;
	if (errno == EAGAIN)
		return -EAGAIN;
	if (errno == EMSGSIZE || errno == ENOBUFS || errno == ENOMEM) {
		log_error("%s: %s, unique %llu: cannot be sent: %s", dispatch->name, dispatch_opcode_name(r->opcode),
			  (unsigned long long)r->unique, strerror(errno));
		dispatch_answer(dispatch, slot, errno == EMSGSIZE ? EIO : ENOMEM);
		return 0;
	}
	/* The backend is dying.  The slot is redone when it has died. */
	atomic_store(&r->state, INFLIGHT_SENT);
	return 0;
}

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

int dispatch_init(struct dispatch *dispatch, const char *name, struct journal *journal, struct session *session,
		  struct stats *stats, struct loop_wake *wake)
{
	*dispatch = (struct dispatch){
		.name = name,
		.journal = journal,
		.session = session,
		.stats = stats,
		.wake = wake,
		.channel = -1,
	};
	dispatch->inflight = calloc(journal_slots(journal), sizeof(*dispatch->inflight));
	if (!dispatch->inflight)
		return -ENOMEM;
	/* Every page is there from the start: a reply must not fail for want of one. */
	dispatch->reply = mmap(NULL, DISPATCH_REPLY_SIZE, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (dispatch->reply == MAP_FAILED) {
		free(dispatch->inflight);
		return -ENOMEM;
	}
	keep_init(&dispatch->keep);
	notify_init(&dispatch->notify, name, session->fd);
	pthread_mutex_init(&dispatch->lock, NULL);
	pthread_cond_init(&dispatch->changed, NULL);
	pthread_mutex_init(&dispatch->free_lock, NULL);
	pthread_cond_init(&dispatch->freed, NULL);
	return 0;
}

static void dispatch_stop(struct dispatch *dispatch)
{
	pthread_mutex_lock(&dispatch->lock);
	dispatch->stop = true;
	pthread_cond_broadcast(&dispatch->changed);
	pthread_mutex_unlock(&dispatch->lock);
	pthread_mutex_lock(&dispatch->free_lock);
	pthread_cond_broadcast(&dispatch->freed);
	pthread_mutex_unlock(&dispatch->free_lock);
}

int dispatch_start(struct dispatch *dispatch)
{
	int err;

	/* The mount may have been made since dispatch_init(). */
	dispatch->notify.fd = dispatch->session->fd;
	err = pthread_create(&dispatch->reader, NULL, dispatch_reader, dispatch);
	if (err)
		return -err;
	err = pthread_create(&dispatch->replier, NULL, dispatch_replier, dispatch);
	if (err) {
		/* The reader sits in read(): session_close() is what ends it. */
		dispatch_stop(dispatch);
		session_unmount(dispatch->session, SESSION_UNMOUNT_ABORT);
		pthread_join(dispatch->reader, NULL);
		return -err;
	}
	dispatch->running = true;
	return 0;
}

/*
 * Gets the reader out of a read() that has nothing to read, where the mount lives
 * on (in use, and unmounted lazily).  A signal that comes before read() begins
 * is lost on it, so it is sent until the reader has seen `stop`.
 */
static void reader_interrupt(struct dispatch *dispatch)
{
	const struct timespec pause = {.tv_nsec = 1000000};

	while (!atomic_load(&dispatch->reader_ended)) {
		pthread_kill(dispatch->reader, DISPATCH_SIGNAL);
		nanosleep(&pause, NULL);
	}
}

void dispatch_deinit(struct dispatch *dispatch)
{
	dispatch_stop(dispatch);
	if (dispatch->running) {
		reader_interrupt(dispatch);
		pthread_join(dispatch->reader, NULL);
		pthread_join(dispatch->replier, NULL);
	}
	notify_deinit(&dispatch->notify);
	keep_deinit(&dispatch->keep);
	munmap(dispatch->reply, DISPATCH_REPLY_SIZE);
	free(dispatch->inflight);
	pthread_cond_destroy(&dispatch->changed);
	pthread_mutex_destroy(&dispatch->lock);
	pthread_cond_destroy(&dispatch->freed);
	pthread_mutex_destroy(&dispatch->free_lock);
}

uint32_t dispatch_inflight(const struct dispatch *dispatch)
{
	uint32_t count = 0;

	for (uint32_t slot = 0; slot < journal_slots(dispatch->journal); slot++)
		count += atomic_load_explicit(&dispatch->inflight[slot].state, memory_order_relaxed) >= INFLIGHT_WAITING;
	return count;
}

uint32_t dispatch_outstanding(const struct dispatch *dispatch)
{
	uint32_t count = 0;

	/* Small slots hold what waits for other requests. */
	for (uint32_t slot = 0; slot < dispatch->journal->map.large; slot++)
		count += atomic_load_explicit(&dispatch->inflight[slot].state, memory_order_relaxed) == INFLIGHT_SENT;
	return count;
}
