/*
 * Descriptor passing.  Whatever arrives here is either handed to the caller or
 * closed: a peer that attaches descriptors to each of its packets must not be
 * able to fill our table.
 */
#include "fdpass.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

union control {
	struct cmsghdr align;
	char bytes[CMSG_SPACE(sizeof(int) * RELAY_FDPASS_MAX) + CMSG_SPACE(sizeof(struct ucred))];
};

ssize_t relay_internal_send_fds(int sock, const struct iovec *iov, int iovcnt, const int *fds, unsigned nfds)
{
	struct msghdr msg = {.msg_iov = (struct iovec *)iov, .msg_iovlen = (size_t)iovcnt};
	union control control;
	ssize_t n;

	if (nfds > RELAY_FDPASS_MAX)
		return -EINVAL;
	if (nfds) {
		struct cmsghdr *cmsg;

		memset(&control, 0, sizeof(control));
		msg.msg_control = control.bytes;
		msg.msg_controllen = CMSG_SPACE(sizeof(int) * nfds);
		cmsg = CMSG_FIRSTHDR(&msg);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(sizeof(int) * nfds);
		memcpy(CMSG_DATA(cmsg), fds, sizeof(int) * nfds);
	}
	do {
		n = sendmsg(sock, &msg, MSG_NOSIGNAL);
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

/* Hands over the descriptors of one control message, or closes them. */
static void take_fds(const struct cmsghdr *cmsg, int *fds, unsigned room, unsigned *got)
{
	size_t count = (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int);
	size_t i;

	for (i = 0; i < count; i++) {
		int fd;

		memcpy(&fd, CMSG_DATA(cmsg) + i * sizeof(int), sizeof(fd));
		if (*got < room)
			fds[(*got)++] = fd;
		else
			close(fd);
	}
}

static pid_t take_pid(const struct cmsghdr *cmsg)
{
	struct ucred sender;

	if (cmsg->cmsg_len < CMSG_LEN(sizeof(sender)))
		return 0;
	memcpy(&sender, CMSG_DATA(cmsg), sizeof(sender));
	return sender.pid;
}

ssize_t relay_internal_recv_fds_from(int sock, int flags, void *buf, size_t size, int *fds, unsigned *nfds, pid_t *pid)
{
	struct iovec iov = {.iov_base = buf, .iov_len = size};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	unsigned room = nfds ? *nfds : 0;
	union control control;
	struct cmsghdr *cmsg;
	unsigned got = 0;
	ssize_t n;

	if (nfds)
		*nfds = 0;
	if (pid)
		*pid = 0;
	if (room || pid) {
		msg.msg_control = control.bytes;
		msg.msg_controllen = sizeof(control.bytes);
	}
	/* Without a control buffer, or where it is full, the kernel drops the descriptors itself. */
	do {
		n = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC | flags);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;

	for (cmsg = CMSG_FIRSTHDR(&msg); cmsg; cmsg = CMSG_NXTHDR(&msg, cmsg)) {
		if (cmsg->cmsg_level == SOL_SOCKET && cmsg->cmsg_type == SCM_RIGHTS)
			take_fds(cmsg, fds, room, &got);
		else if (pid && cmsg->cmsg_level == SOL_SOCKET && cmsg->cmsg_type == SCM_CREDENTIALS)
			*pid = take_pid(cmsg);
	}
	if (msg.msg_flags & MSG_TRUNC) {
		while (got)
			close(fds[--got]);
		return -EMSGSIZE;
	}
	if (nfds)
		*nfds = got;
	return n;
}

ssize_t relay_internal_recv_fds(int sock, void *buf, size_t size, int *fds, unsigned *nfds)
{
	return relay_internal_recv_fds_from(sock, 0, buf, size, fds, nfds, NULL);
}
