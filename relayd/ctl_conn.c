/*
 * Connections.  Each reads one packet per turn of the loop, so that no client can
 * keep the others waiting, and reads nothing while it has answers that its client
 * has not taken: a client that only talks ends up waiting for itself.
 *
 * A connection is freed by its own callback only.  Others who find it broken
 * shut the socket down, which brings that callback about.
 */
#include "ctl_conn.h"

#include <endian.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ctl_cmds.h"
#include "ctl_decode.h"
#include "ctl_pending.h"
#include "fdpass.h"
#include "log.h"
#include "place.h"

static void on_conn_ready(struct loop_io *io, unsigned events);

/* Waits for room while there are answers to send, for commands otherwise. */
static void conn_listen(struct ctl_conn *conn)
{
	loop_io_start(conn->ctl->loop, &conn->io, conn->fd, conn->queue ? LOOP_WRITE : LOOP_READ, on_conn_ready);
}

void ctl_complain(struct ctl_conn *conn, const char *format, ...)
{
	struct ctl *ctl = conn->ctl;
	struct timespec now;
	char text[1024];
	va_list args;

	clock_gettime(CLOCK_MONOTONIC, &now);
	if (now.tv_sec != ctl->complaint_second) {
		if (ctl->complaints > CTL_COMPLAINTS_PER_SECOND)
			log_warning("control socket: %u more such lines in one second",
				    ctl->complaints - CTL_COMPLAINTS_PER_SECOND);
		ctl->complaint_second = now.tv_sec;
		ctl->complaints = 0;
	}
	if (++ctl->complaints > CTL_COMPLAINTS_PER_SECOND)
		return;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	log_warning("control socket: process %d (uid %u) %s", (int)conn->pid, conn->uid, text);
}

static void queue_clear(struct ctl_conn *conn)
{
	while (conn->queue) {
		struct ctl_packet *packet = conn->queue;

		conn->queue = packet->next;
		free(packet);
	}
	conn->queue_end = &conn->queue;
	conn->queued = 0;
	loop_timer_stop(&conn->stall);
}

static void conn_fail(struct ctl_conn *conn)
{
	conn->failed = true;
	queue_clear(conn);
	shutdown(conn->fd, SHUT_RDWR);
	conn_listen(conn);
}

static void on_stall(struct loop_timer *timer)
{
	struct ctl_conn *conn = (struct ctl_conn *)((char *)timer - offsetof(struct ctl_conn, stall));

	ctl_complain(conn, "does not read its answers: connection closed");
	conn_fail(conn);
}

/* Returns 0, -EAGAIN without room, or another negative errno. */
static int packet_send(struct ctl_conn *conn, const void *bytes, size_t size)
{
	struct iovec iov = {.iov_base = (void *)bytes, .iov_len = size};
	ssize_t n = relay_internal_send_fds(conn->fd, &iov, 1, NULL, 0);

	return n < 0 ? (int)n : 0;
}

static int queue_append(struct ctl_conn *conn, const void *bytes, size_t size)
{
	struct ctl_packet *packet;

	if (conn->queued + size > CTL_QUEUE_MAX)
		return -ENOBUFS;
	packet = malloc(sizeof(*packet) + size);
	if (!packet)
		return -ENOMEM;
	packet->next = NULL;
	packet->size = size;
	memcpy(packet->bytes, bytes, size);
	if (!conn->queue) {
		loop_timer_start(conn->ctl->loop, &conn->stall, CTL_STALL_MS, on_stall);
		*conn->queue_end = packet;
		conn_listen(conn);
	} else {
		*conn->queue_end = packet;
	}
	conn->queue_end = &packet->next;
	conn->queued += size;
	return 0;
}

/* Returns 0 when the queue is empty or the socket full, or a negative errno. */
static int queue_flush(struct ctl_conn *conn)
{
	while (conn->queue) {
		struct ctl_packet *packet = conn->queue;
		int err = packet_send(conn, packet->bytes, packet->size);

		if (err == -EAGAIN)
			return 0;
		if (err)
			return err;
		conn->queue = packet->next;
		conn->queued -= packet->size;
		free(packet);
		loop_timer_start(conn->ctl->loop, &conn->stall, CTL_STALL_MS, on_stall);
	}
	queue_clear(conn);
	conn_listen(conn);
	return 0;
}

void *ctl_reply_begin(struct ctl_conn *conn, const struct relay_ctl_head *head, uint32_t flags, size_t fixed)
{
	struct relay_ctl_head reply = {
		.type = head->type, .sequence = head->sequence, .flags = RELAY_CTL_REPLY | flags};

	return relay_internal_ctl_begin(&conn->ctl->out, &reply, fixed);
}

void ctl_reply_send(struct ctl_conn *conn)
{
	struct relay_ctl_frame *frame = &conn->ctl->out;
	int err;

	if (conn->failed)
		return;
	err = relay_internal_ctl_end(frame);
	if (!err)
		err = conn->queue ? -EAGAIN : packet_send(conn, frame->bytes, frame->size);
	if (err == -EAGAIN)
		err = queue_append(conn, frame->bytes, frame->size);
	if (!err)
		return;
	/* A client that has gone away is none of our business. */
	if (err != -EPIPE && err != -ECONNRESET)
		ctl_complain(conn, "cannot be answered: %s: connection closed", strerror(-err));
	conn_fail(conn);
}

void ctl_reply_error(struct ctl_conn *conn, const struct relay_ctl_head *head, int status, unsigned exit_status,
		     const char *reason)
{
	struct relay_ctl_frame *frame = &conn->ctl->out;
	struct relay_ctl_error *error;
	struct relay_ctl_header *header;

	error = ctl_reply_begin(conn, head, 0, sizeof(*error));
	header = (struct relay_ctl_header *)frame->bytes;
	header->status = htole32((uint32_t)status);
	error->exit_status = htole32(exit_status);
	relay_internal_ctl_put(frame, &error->reason, reason);
	ctl_reply_send(conn);
}

/* What the client sent makes no sense, or not to us: it is told so, and that was it. */
static void conn_refuse(struct ctl_conn *conn, const struct relay_ctl_head *head, int status, const char *reason)
{
	ctl_complain(conn, "sent %s: connection closed", reason);
	ctl_reply_error(conn, head, status, 0, reason);
	conn->closing = true;
}

static void conn_handle(struct ctl_conn *conn, const void *packet, size_t size, struct ctl_request *request)
{
	const char *why;
	int err;

	err = ctl_decode(request, packet, size, &why);
	if (err == -ENOSYS && conn->hello) {
		ctl_reply_error(conn, &request->head, err, 0, why);
		return;
	}
	if (!err && !conn->hello && request->head.type != RELAY_CTL_HELLO) {
		err = -EPROTO;
		why = "a command before HELLO";
	}
	if (!err)
		err = ctl_command_run(request, &why);
	if (err)
		conn_refuse(conn, &request->head, err, why);
}

static void conn_read(struct ctl_conn *conn)
{
	struct relay_ctl_frame *frame = &conn->ctl->in;
	struct ctl_request request = {.conn = conn};
	ssize_t n;
	unsigned i;

	request.nfds = CTL_FDS_MAX;
	n = relay_internal_recv_fds(conn->fd, frame->bytes, sizeof(frame->bytes), request.fds, &request.nfds);
	if (n == -EAGAIN)
		return;
	if (n == -EMSGSIZE)
		conn_refuse(conn, &request.head, -EMSGSIZE, "a packet longer than a frame may be");
	else if (n <= 0)
		conn->failed = true;
	else
		conn_handle(conn, frame->bytes, (size_t)n, &request);
	for (i = 0; i < request.nfds; i++) {
		if (request.fds[i] >= 0)
			close(request.fds[i]);
	}
}

static void on_conn_ready(struct loop_io *io, unsigned events)
{
	struct ctl_conn *conn = (struct ctl_conn *)((char *)io - offsetof(struct ctl_conn, io));

	if (!conn->failed && (events & LOOP_WRITE) && queue_flush(conn) < 0)
		conn->failed = true;
	if (!conn->failed && (events & LOOP_READ) && !conn->queue && !conn->closing)
		conn_read(conn);
	if (conn->failed || (conn->closing && !conn->queue))
		ctl_conn_free(conn);
}

uint64_t ctl_conn_ns(struct ctl_conn *conn)
{
	int ns;

	if (conn->ns_known)
		return conn->ns;
	conn->ns_known = true;
	ns = place_ns_of_peer(conn->fd, conn->pid, &conn->ns);
	if (ns >= 0)
		close(ns);
	if (conn->ns == place_ns_own())
		conn->ns = 0;
	return conn->ns;
}

static unsigned conns_count(const struct ctl *ctl, uid_t uid)
{
	const struct ctl_conn *conn;
	unsigned count = 0;

	for (conn = ctl->conns; conn; conn = conn->next)
		count += conn->uid == uid;
	return count;
}

int ctl_conn_new(struct ctl *ctl, int fd)
{
	struct ucred peer;
	socklen_t size = sizeof(peer);
	struct ctl_conn *conn;
	unsigned others;
	char why[80];

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0) {
		int err = -errno;

		close(fd);
		return err;
	}
	others = conns_count(ctl, peer.uid);
	conn = calloc(1, sizeof(*conn));
	if (!conn) {
		close(fd);
		return -ENOMEM;
	}
	conn->ctl = ctl;
	conn->fd = fd;
	conn->pid = peer.pid;
	conn->uid = peer.uid;
	conn->gid = peer.gid;
	conn->queue_end = &conn->queue;
	conn->next = ctl->conns;
	ctl->conns = conn;
	if (others >= CTL_CONNECTIONS_PER_UID) {
		ctl_complain(conn, "wants one more than %u connections: refused", others);
		snprintf(why, sizeof(why), "uid %u has %u connections, the most of one user", peer.uid, others);
		ctl_reply_error(conn, &(struct relay_ctl_head){.type = RELAY_CTL_HELLO}, -EUSERS, 0, why);
		ctl_conn_free(conn);
		return 0;
	}
	conn_listen(conn);
	return 0;
}

void ctl_conn_free(struct ctl_conn *conn)
{
	struct ctl_conn **at;

	for (at = &conn->ctl->conns; *at != conn; at = &(*at)->next)
		;
	*at = conn->next;
	ctl_pending_forget(conn);
	loop_io_stop(&conn->io);
	queue_clear(conn);
	close(conn->fd);
	free(conn);
}
