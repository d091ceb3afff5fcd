/*
 * What the threads have in common: slots that are answered and freed, and the events
 * that the main thread is told.
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
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "crash.h"
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
	struct inflight *r = &dispatch->inflight[slot];

	dispatch_namegate_leave(dispatch, r);
	translate_note_end(&dispatch->translate, &r->note);
	if (r->known.begun)
		cache_request_close(cache_absence(dispatch->cache), &r->known);
	/* Before the slot can be another request's. */
	if (r->doubt) {
		r->doubt = false;
		repair_certain(&dispatch->repair, journal_request(dispatch->journal, slot));
	}
	journal_slot_free(dispatch->journal, slot);
	/* Ordered against the carrier's: set starving, then look again. */
	atomic_store(&r->state, INFLIGHT_IDLE);
	if (atomic_load(&dispatch->starving))
		dispatch_kick(dispatch);
	if (atomic_load_explicit(&dispatch->watched, memory_order_relaxed))
		dispatch_event(dispatch, DISPATCH_PROGRESS);
}

int dispatch_kernel_reply(struct dispatch *dispatch, const struct fuse_out_header *out, const void *payload)
{
	struct iovec iov[2] = {
		{.iov_base = (void *)out, .iov_len = sizeof(*out)},
		{.iov_base = (void *)payload, .iov_len = out->len - sizeof(*out)},
	};

	if (dispatch_is_uring(dispatch))
		return dispatch_rings_reply(dispatch, out, payload);
	return writev(dispatch->session->fd, iov, iov[1].iov_len ? 2 : 1) < 0 ? -errno : 0;
}

/*
 * Writes a checked reply to the kernel.  Its header is taken from out, the rest from payload.
 * Returns 0, or a negative errno if the kernel did not take it; *now is when it had it.
 */
static int kernel_send(struct dispatch *dispatch, const struct inflight *r, struct fuse_out_header *out, void *payload,
		       uint64_t *now)
{
	int err;

	out->unique = r->unique;
	/*
	 * ENOENT: the kernel does not wait for it any more, since the mount was
	 * aborted.  Anything else is a reply that should not have passed the check;
	 * the kernel has failed the request with EIO.
	 */
	err = dispatch_kernel_reply(dispatch, out, payload);
	if (err && err != -ENOENT && err != -ENODEV)
		log_error("%s: the kernel refused the reply to %s, unique %llu: %s", dispatch->name,
			  dispatch_opcode_name(r->opcode), (unsigned long long)r->unique, strerror(-err));
	*now = dispatch_now_ns();
	stats_count(dispatch->stats, r->opcode, out->error, *now - r->arrived_ns);
	return err;
}

/* Notes how long applications waited, on the first reply after a death. */
static void pause_note(struct dispatch *dispatch, uint64_t now)
{
	uint64_t died = atomic_exchange_explicit(&dispatch->died_ns, 0, memory_order_relaxed);

	if (died)
		stats_pause(dispatch->stats, (now - died) / 1000);
}

/* Of a backend's making, or that waited for one. */
static int kernel_write(struct dispatch *dispatch, uint32_t slot, struct fuse_out_header *out, void *payload)
{
	uint64_t now;
	int err;

	/* relayd dying between the write and dispatch_free() leaves a reply that the kernel refuses when it comes again. */
	dispatch_store(dispatch, slot, out, payload);
	RELAY_CRASH_POINT("reply", "stored");
	err = kernel_send(dispatch, &dispatch->inflight[slot], out, payload, &now);
	RELAY_CRASH_POINT("reply", "written");
	if (atomic_load_explicit(&dispatch->died_ns, memory_order_relaxed))
		pause_note(dispatch, now);
	return err;
}

/*
 * The same, translated.  The tables know what the reply says before the kernel does: it may
 * send a request that builds on it before writev() returns.  relayd dying between the two
 * leaves tables that are ahead of the kernel by this reply.
 */
static void translated_write(struct dispatch *dispatch, uint32_t slot, struct fuse_out_header *out, void *payload)
{
	struct inflight *r = &dispatch->inflight[slot];
	const void *request = journal_request(dispatch->journal, slot);
	int failed = translate_reply(&dispatch->translate, request, r->size, &r->note, out, payload);
	int refused;

	if (failed)
		*out = (struct fuse_out_header){.len = sizeof(*out), .error = failed};
	/* Before the kernel lets go of the directory, and who waits for that changes it. */
	if (r->known.begun)
		cache_request_end(cache_absence(dispatch->cache), &r->known, request, r->size, out, payload);
	refused = kernel_write(dispatch, slot, out, payload);
	if (!failed && refused)
		translate_refused(&dispatch->translate, request, out, payload);
	/* The backend has things for this request that nobody knows. */
	if (failed || refused) {
		atomic_store(&dispatch->forgetting, true);
		repair_release(&dispatch->repair);
	}
}

/* Of a request that the tables know, or whose reply they are to know. */
static void reply_write(struct dispatch *dispatch, uint32_t slot, struct fuse_out_header *out, void *payload)
{
	if (atomic_load_explicit(&dispatch->translated, memory_order_relaxed))
		translated_write(dispatch, slot, out, payload);
	else
		kernel_write(dispatch, slot, out, payload);
}

void dispatch_deliver(struct dispatch *dispatch, uint32_t slot, const struct fuse_out_header *header, void *payload)
{
	struct fuse_out_header out = *header;

	reply_write(dispatch, slot, &out, payload);
	dispatch_free(dispatch, slot);
}

void dispatch_answer(struct dispatch *dispatch, uint32_t slot, int error)
{
	struct fuse_out_header out = {.len = sizeof(out), .error = -error};

	if (!dispatch->inflight[slot].no_reply)
		reply_write(dispatch, slot, &out, NULL);
	dispatch_free(dispatch, slot);
}

void dispatch_refuse(struct dispatch *dispatch, uint32_t slot, int error)
{
	struct fuse_out_header out = {.len = sizeof(out), .error = -error};

	if (!dispatch->inflight[slot].no_reply)
		kernel_write(dispatch, slot, &out, NULL);
	dispatch_free(dispatch, slot);
}

bool dispatch_known(struct dispatch *dispatch, uint32_t slot)
{
	const struct inflight *r = &dispatch->inflight[slot];
	const void *request = journal_request(dispatch->journal, slot);
	struct translate_answer answer;
	uint64_t now;

	if (!translate_answer(&dispatch->translate, request, r->size, !dispatch->gate, r->arrived_ns, &answer))
		return false;
	if (kernel_send(dispatch, r, &answer.header, &answer.payload, &now)) {
		translate_refused(&dispatch->translate, request, &answer.header, &answer.payload);
		atomic_store(&dispatch->forgetting, true);
	}
	atomic_fetch_add_explicit(&dispatch->stats->answered, 1, memory_order_relaxed);
	dispatch_free(dispatch, slot);
	return true;
}

int dispatch_init(struct dispatch *dispatch, const char *name, struct journal *journal, struct session *session,
		  struct stats *stats, struct loop_wake *wake)
{
	int err;

	*dispatch = (struct dispatch){
		.name = name,
		.journal = journal,
		.session = session,
		.stats = stats,
		.wake = wake,
		.channel = -1,
		.kick = -1,
		.backing.fd = -1,
	};
	err = translate_init(&dispatch->translate, name);
	if (err)
		return err;
	err = dispatch_table_make(&dispatch->table, &dispatch->table_fd, journal_slots(journal));
	/* Every page is there from the start: a reply must not fail for want of one. */
	dispatch->reply = mmap(NULL, DISPATCH_REPLY_SIZE, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (err || dispatch->reply == MAP_FAILED || dispatch_kick_init(dispatch) < 0 ||
	    backing_init(&dispatch->backing) < 0 || watch_init(&dispatch->watch, journal_slots(journal)) < 0 ||
	    direct_init(&dispatch->direct) < 0) {
		watch_deinit(&dispatch->watch);
		backing_deinit(&dispatch->backing);
		if (dispatch->kick >= 0)
			close(dispatch->kick);
		if (dispatch->reply != MAP_FAILED)
			munmap(dispatch->reply, DISPATCH_REPLY_SIZE);
		if (!err) {
			dispatch_table_unmap(dispatch->table);
			close(dispatch->table_fd);
		}
		translate_deinit(&dispatch->translate);
		return err ? err : -ENOMEM;
	}
	dispatch->inflight = dispatch->table->inflight;
	repair_init(&dispatch->repair, dispatch, &dispatch->translate);
	keep_init(&dispatch->keep);
	notify_init(&dispatch->notify, name, session->fd);
	pthread_mutex_init(&dispatch->lock, NULL);
	return 0;
}

int dispatch_start(struct dispatch *dispatch)
{
	int err;

	/* The mount may have been made since dispatch_init(). */
	dispatch->notify.fd = dispatch->session->fd;
	dispatch_lane_begin(dispatch);
	/*
	 * The carrier waits for both ends at once, and what is there to be read can be gone again: its
	 * caller.  A backend that was served by an earlier relayd waits in read().
	 */
	session_nonblocking(dispatch->session, !direct_is(&dispatch->direct));
	err = pthread_create(&dispatch->carrier, NULL, dispatch_carrier, dispatch);
	dispatch->running = !err;
	return -err;
}

void dispatch_deinit(struct dispatch *dispatch)
{
	if (dispatch->running) {
		atomic_store(&dispatch->stop, true);
		dispatch_kick(dispatch);
		pthread_join(dispatch->carrier, NULL);
	}
	repair_deinit(&dispatch->repair);
	translate_deinit(&dispatch->translate);
	notify_deinit(&dispatch->notify);
	keep_deinit(&dispatch->keep);
	backing_deinit(&dispatch->backing);
	direct_deinit(&dispatch->direct);
	watch_deinit(&dispatch->watch);
	munmap(dispatch->reply, DISPATCH_REPLY_SIZE);
	dispatch_table_unmap(dispatch->table);
	close(dispatch->table_fd);
	close(dispatch->kick);
	pthread_mutex_destroy(&dispatch->lock);
}

/* The backend has read a request into it by itself. */
static bool is_claimed(const struct dispatch *dispatch, uint32_t slot)
{
	return direct_is(&dispatch->direct) && atomic_load(&dispatch->inflight[slot].state) == INFLIGHT_IDLE &&
	       journal_slot_claimed(dispatch->journal, slot);
}

uint32_t dispatch_inflight(const struct dispatch *dispatch)
{
	uint32_t count = 0;

	for (uint32_t slot = 0; slot < journal_slots(dispatch->journal); slot++)
		count += atomic_load_explicit(&dispatch->inflight[slot].state, memory_order_relaxed) >=
				 INFLIGHT_WAITING ||
			 is_claimed(dispatch, slot);
	return count;
}

static bool with_incarnation(const struct inflight *r)
{
	uint32_t state = atomic_load_explicit(&r->state, memory_order_relaxed);

	return state == INFLIGHT_SENT || state == INFLIGHT_REPAIR;
}

/* Small slots hold what waits for other requests. */
uint32_t dispatch_given(const struct dispatch *dispatch)
{
	uint32_t count = 0;

	for (uint32_t slot = 0; slot < dispatch->journal->map.large; slot++)
		count += with_incarnation(&dispatch->inflight[slot]);
	return count;
}

uint32_t dispatch_outstanding(const struct dispatch *dispatch)
{
	uint32_t count = dispatch_given(dispatch);

	for (uint32_t slot = 0; slot < dispatch->journal->map.large; slot++)
		count += is_claimed(dispatch, slot);
	return count;
}

void dispatch_device_gone(struct dispatch *dispatch)
{
	if (atomic_exchange(&dispatch->unplugged, true))
		return;
	/* Now: an unmounted one is out of sight before its connection ends. */
	dispatch->session->aborted = session_mounted(dispatch->session);
	dispatch_event(dispatch, DISPATCH_KERNEL_GONE);
}

/*
 * The carrier learns of the end by read(), but not while it holds a request, waits for a slot,
 * or for the lane to be decided; and in the direct lane it does not read.
 */
void dispatch_device_look(struct dispatch *dispatch)
{
	if (!session_connected(dispatch->session))
		dispatch_device_gone(dispatch);
}

bool dispatch_look(struct dispatch *dispatch)
{
	struct pollfd poller = {.fd = dispatch->session->fd, .events = POLLIN};

	if (!direct_is(&dispatch->direct))
		return dispatch_inflight(dispatch) > 0;
	dispatch_device_look(dispatch);
	/* What nobody has read is nowhere else to be seen. */
	if (dispatch_is_uring(dispatch) && dispatch_rings_pending(dispatch))
		return true;
	return dispatch_inflight(dispatch) > 0 || (poll(&poller, 1, 0) > 0 && poller.revents & POLLIN);
}
