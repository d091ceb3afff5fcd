/*
 * Asks: a request of relayd's own to the present incarnation, and the wait for its reply.
 *
 * A repair thread sends and waits, the carrier hands the reply over, and whoever sees the
 * channel end wakes those who wait.  A conversation belongs to one incarnation: the channel
 * is looked up under dispatch.lock each time, so that nothing is asked of the next one in
 * the words of the one before.
 *
 * What survives: nothing.  A backend dying before it has answered leaves an ask that says
 * -EPIPE, and the request that it was for waits for the next incarnation; relayd dying leaves
 * what the backend has given for it (a count of a lookup, an open file) with the backend,
 * whose channel ends with relayd.
 */
#include "ask.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "dispatch.h"
#include "log.h"

/* How often it is looked whether a channel without room has ended. */
#define ROOM_MS 50

int ask_init(struct ask *ask, struct dispatch *dispatch, unsigned number)
{
	*ask = (struct ask){.dispatch = dispatch, .number = number, .gone = true};
	ask->request = malloc(RELAY_MAX_REQUEST);
	ask->reply = malloc(RELAY_MAX_REPLY);
	if (!ask->request || !ask->reply) {
		free(ask->request);
		free(ask->reply);
		return -ENOMEM;
	}
	pthread_mutex_init(&ask->lock, NULL);
	pthread_cond_init(&ask->changed, NULL);
	return 0;
}

void ask_deinit(struct ask *ask)
{
	pthread_cond_destroy(&ask->changed);
	pthread_mutex_destroy(&ask->lock);
	free(ask->request);
	free(ask->reply);
}

void ask_begin(struct ask *ask, uint32_t incarnation)
{
	pthread_mutex_lock(&ask->lock);
	ask->incarnation = incarnation;
	ask->unique = 0;
	ask->gone = false;
	pthread_mutex_unlock(&ask->lock);
}

void ask_end(struct ask *ask)
{
	pthread_mutex_lock(&ask->lock);
	ask->gone = true;
	pthread_cond_broadcast(&ask->changed);
	pthread_mutex_unlock(&ask->lock);
}

/* A reply that does not fit: once for the statistics, once for the log, and EIO for who waits. */
static uint32_t reply_malformed(struct ask *ask, const struct fuse_in_header *request, const char *why)
{
	const struct fuse_out_header out = {.len = sizeof(out), .error = -EIO, .unique = request->unique};
	struct dispatch *dispatch = ask->dispatch;

	atomic_fetch_add_explicit(&dispatch->stats->bad_replies, 1, memory_order_relaxed);
	if (log_allow(&dispatch->complaints, dispatch->name, why))
		log_error("%s: incarnation %u: malformed reply to a %s of relayd's own: %s", dispatch->name,
			  ask->incarnation, dispatch_opcode_name(request->opcode), why);
	memcpy(ask->reply, &out, sizeof(out));
	return sizeof(out);
}

bool ask_take(struct ask *ask, const void *reply, uint32_t size)
{
	const struct fuse_out_header *header = reply;
	bool waited;

	pthread_mutex_lock(&ask->lock);
	waited = ask->unique != 0 && header->unique == ask->unique && ask->reply_size == 0;
	if (waited) {
		const char *why = relay_reply_check(&ask->bounds, reply, size);

		if (why) {
			ask->reply_size = reply_malformed(ask, ask->request, why);
		} else {
			memcpy(ask->reply, reply, size);
			ask->reply_size = size;
		}
		pthread_cond_broadcast(&ask->changed);
	}
	pthread_mutex_unlock(&ask->lock);
	return waited;
}

bool ask_gone(struct ask *ask)
{
	bool gone;

	pthread_mutex_lock(&ask->lock);
	gone = ask->gone;
	pthread_mutex_unlock(&ask->lock);
	return gone;
}

bool ask_room(struct ask *ask, int channel)
{
	struct pollfd poller = {.fd = channel, .events = POLLOUT};

	/* It stays open for as long as a conversation goes on (repair_shut()). */
	poll(&poller, 1, ROOM_MS);
	return !ask_gone(ask);
}

/* Returns 0, -EPIPE or -ENOMEM.  It does not wait for room with the lock, which the main thread takes too. */
static int ask_out(struct ask *ask, uint32_t size)
{
	struct dispatch *dispatch = ask->dispatch;
	int channel;

	for (;;) {
		ssize_t n = -1;
		int err = EPIPE;

		pthread_mutex_lock(&dispatch->lock);
		channel = dispatch->channel;
		if (channel >= 0 && dispatch->incarnation == ask->incarnation) {
			do {
				n = send(channel, ask->request, size, MSG_NOSIGNAL | MSG_DONTWAIT);
			} while (n < 0 && errno == EINTR);
			err = errno;
		}
		pthread_mutex_unlock(&dispatch->lock);
		if (n >= 0)
			return 0;
		if (err == ENOMEM || err == ENOBUFS)
			return -ENOMEM;
		if (err != EAGAIN) {
			ask_end(ask);
			return -EPIPE;
		}
		if (!ask_room(ask, channel))
			return -EPIPE;
	}
}

static int ask_send(struct ask *ask, uint32_t size)
{
	int err = ask_out(ask, size);

	if (err) {
		pthread_mutex_lock(&ask->lock);
		ask->unique = 0;
		pthread_mutex_unlock(&ask->lock);
	}
	return err;
}

/* Waits for the reply.  Returns as ask_call(). */
static int ask_wait(struct ask *ask)
{
	const struct fuse_out_header *header = ask->reply;
	int err = -EPIPE;

	pthread_mutex_lock(&ask->lock);
	while (!ask->reply_size && !ask->gone)
		pthread_cond_wait(&ask->changed, &ask->lock);
	/* One that came before the end counts. */
	if (ask->reply_size)
		err = -header->error;
	ask->unique = 0;
	pthread_mutex_unlock(&ask->lock);
	return err;
}

/* Puts the request together.  Returns its size, or 0 if it is longer than any may be. */
static uint32_t ask_build(struct ask *ask, uint32_t opcode, uint64_t nodeid, ask_caller *caller,
			  const struct iovec *parts, unsigned count)
{
	struct fuse_in_header *header = ask->request;
	size_t size = sizeof(*header);

	for (unsigned i = 0; i < count; i++) {
		if (parts[i].iov_len > RELAY_MAX_REQUEST - size)
			return 0;
		if (parts[i].iov_len)
			memcpy((char *)ask->request + size, parts[i].iov_base, parts[i].iov_len);
		size += parts[i].iov_len;
	}
	*header = (struct fuse_in_header){
		.len = (uint32_t)size,
		.opcode = opcode,
		.unique = relay_unique_make(++ask->sequence, ASK_SLOT(ask->number)),
		.nodeid = nodeid,
		.uid = caller->uid,
		.gid = caller->gid,
		.pid = caller->pid,
	};
	return (uint32_t)size;
}

int ask_call(struct ask *ask, uint32_t opcode, uint64_t nodeid, ask_caller *caller, const struct iovec *parts,
	     unsigned count, void **payload, uint32_t *size)
{
	uint32_t in_size = relay_op_in_size(opcode, ask->dispatch->session->answer.flags);
	uint32_t request_size = ask_build(ask, opcode, nodeid, caller, parts, count);
	const struct fuse_in_header *header = ask->request;
	const struct relay_op *op = relay_op_get(opcode);
	struct answers *answers = &ask->dispatch->translate.answers;
	struct answers_window window = {0};
	struct relay_bounds bounds;
	struct relay_args args;
	int err;

	if (!request_size || relay_args_parse(ask->request, request_size, in_size, &args))
		return EINVAL;
	bounds = relay_reply_bounds(op, ask->request);
	if (bounds.most > RELAY_MAX_REPLY - sizeof(struct fuse_out_header))
		bounds.most = RELAY_MAX_REPLY - sizeof(struct fuse_out_header);
	atomic_fetch_add_explicit(&ask->dispatch->stats->asks, 1, memory_order_relaxed);
	/* Before the send: the reply may come before send() returns. */
	pthread_mutex_lock(&ask->lock);
	ask->bounds = bounds;
	ask->reply_size = 0;
	ask->unique = header->unique;
	pthread_mutex_unlock(&ask->lock);
	/* It has the backend's ids, and is rare: nothing is answered meanwhile, if it changes anything. */
	answers_window_open(answers, &window);
	if (op->flags & RELAY_OP_CHANGES)
		answers_window_change_all(answers, &window);
	err = ask_send(ask, request_size);
	if (!err && op->reply != RELAY_REPLY_NEVER)
		err = ask_wait(ask);
	answers_window_close(answers, &window);
	if (err)
		return err;
	if (payload)
		*payload = (char *)ask->reply + sizeof(struct fuse_out_header);
	if (size)
		*size = ask->reply_size - (uint32_t)sizeof(struct fuse_out_header);
	return 0;
}
