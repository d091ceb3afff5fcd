/*
 * Packets over the channel.  The descriptor is the backend's, which may have made
 * it non-blocking for uses of its own; here every call waits.
 */
#include "internal.h"

#include <errno.h>
#include <poll.h>

#include "fdpass.h"

static int channel_wait(int fd, short events)
{
	struct pollfd poller = {.fd = fd, .events = events};

	while (poll(&poller, 1, -1) < 0) {
		if (errno != EINTR)
			return -errno;
	}
	return 0;
}

int relay_internal_channel_send(struct relay_session *session, const struct iovec *iov, int iovcnt, const int *fds,
				unsigned nfds)
{
	for (;;) {
		ssize_t n = relay_internal_send_fds(session->fd, iov, iovcnt, fds, nfds);
		int err;

		if (n >= 0)
			return 0;
		if (n != -EAGAIN)
			return (int)n;
		err = channel_wait(session->fd, POLLOUT);
		if (err)
			return err;
	}
}

ssize_t relay_internal_channel_receive(struct relay_session *session, void *buffer, size_t size, int *fds,
				       unsigned *nfds)
{
	unsigned room = nfds ? *nfds : 0;

	for (;;) {
		ssize_t n = relay_internal_recv_fds(session->fd, buffer, size, fds, nfds);
		int err;

		if (n == -ECONNRESET)
			return 0;
		if (n != -EAGAIN)
			return n;
		err = channel_wait(session->fd, POLLIN);
		if (err)
			return err;
		if (nfds)
			*nfds = room;
	}
}

int relay_internal_channel_notify(struct relay_session *session, int32_t code, const void *body, size_t body_size,
				  const void *tail, size_t tail_size, const int *fds, unsigned nfds)
{
	struct fuse_out_header header = {
		.len = (uint32_t)(sizeof(header) + body_size + tail_size),
		.error = code,
	};
	const struct iovec iov[] = {
		{.iov_base = &header, .iov_len = sizeof(header)},
		{.iov_base = (void *)body, .iov_len = body_size},
		{.iov_base = (void *)tail, .iov_len = tail_size},
	};

	return relay_internal_channel_send(session, iov, 3, fds, nfds);
}
