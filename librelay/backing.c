/*
 * Files that the kernel reads and writes by itself: FUSE passthrough.
 *
 * In the direct lane a backend that may do so registers them by itself (backing_table.c).
 * Otherwise relayd does, and keeps the ids, over all incarnations.  It is asked on a socket of
 * the question's own, so that a thread that waits for the answer needs no other thread to
 * take it out of the channel.
 *
 * A process dying after the question leaves an id that nobody has written down; the next
 * incarnation is told of all that there are, and gives back what it does not know.
 */
#include "internal.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "crash.h"
#include "fdpass.h"

/* Puts the file into the socket's other end, for relayd to take it out. */
static int file_send(int sock, int fd)
{
	char byte = 0;
	const struct iovec iov = {.iov_base = &byte, .iov_len = 1};
	ssize_t n = relay_internal_send_fds(sock, &iov, 1, &fd, 1);

	return n < 0 ? (int)n : 0;
}

/* What relayd answers: an id, or a negative errno.  -ECONNRESET: it has closed the socket without. */
static int answer_receive(int sock)
{
	struct relay_backed backed;
	ssize_t n = relay_internal_recv_fds(sock, &backed, sizeof(backed), NULL, NULL);

	if (n < 0)
		return (int)n;
	if (n != sizeof(backed) || backed.id == 0)
		return n ? -EPROTO : -ECONNRESET;
	return backed.id;
}

/* Has relayd register the file: an id, or a negative errno. */
static int back_ask(struct relay_session *session, int fd)
{
	int pair[2], result;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	result = file_send(pair[0], fd);
	if (!result)
		result = relay_internal_channel_notify(session, RELAY_NOTIFY_BACK, NULL, 0, NULL, 0, &pair[1], 1);
	/* From here on only relayd has that end: if it goes, the wait is over. */
	close(pair[1]);
	if (!result) {
		RELAY_CRASH_POINT("BACK", "asked");
		result = answer_receive(pair[0]);
		RELAY_CRASH_POINT("BACK", "backed");
	}
	close(pair[0]);
	return result;
}

int32_t relay_backing_id(uint64_t backing)
{
	return (int32_t)(backing & INT32_MAX);
}

bool relay_back_asks(const struct relay_session *session)
{
	return !session->backings || atomic_load_explicit(&session->back_denied, memory_order_relaxed);
}

int relay_back(struct relay_session *session, int fd, uint64_t *backing)
{
	int id;

	if (!session->passthrough)
		return -EOPNOTSUPP;
	if (!relay_back_asks(session)) {
		int err = relay_internal_backing_table_add(session, fd, backing);

		if (err != -EPERM)
			return err;
		atomic_store(&session->back_denied, true);
	}
	id = back_ask(session, fd);
	if (id < 0)
		return id;
	*backing = (uint64_t)id;
	return 0;
}

int relay_unback(struct relay_session *session, uint64_t backing)
{
	const struct relay_backed body = {.id = relay_backing_id(backing)};

	if (body.id <= 0)
		return -EINVAL;
	/*
	 * The reply whose transaction has let it go may have been dropped, and then the state has it
	 * again.  If it has not, the next incarnation gives it back.
	 */
	if (relay_internal_session_ended(session))
		return -ECONNRESET;
	if (backing >> 32) {
		int err = relay_internal_backing_table_drop(session, backing);

		if (err != -EPERM)
			return err;
	}
	return relay_internal_channel_notify(session, RELAY_NOTIFY_UNBACK, &body, sizeof(body), NULL, 0, NULL, 0);
}

int relay_internal_backed_add(struct relay_session *session, int32_t id)
{
	int32_t *backed = reallocarray(session->backed, (size_t)session->backed_count + 1, sizeof(*backed));

	if (!backed)
		return -ENOMEM;
	session->backed = backed;
	backed[session->backed_count++] = id;
	return 0;
}

void relay_internal_backed_free(struct relay_session *session)
{
	free(session->backed);
	session->backed = NULL;
	session->backed_count = 0;
}

void relay_backings(struct relay_session *session, void (*each)(uint64_t backing, void *arg), void *arg)
{
	relay_internal_backing_table_each(session, each, arg);
	for (uint32_t i = 0; i < session->backed_count; i++)
		each((uint64_t)session->backed[i], arg);
}
