/*
 * Where a socket is not like /dev/fuse:
 *
 * - The end of a mount is ENODEV from the device, and the socket's end of file.
 * - The device takes every reply at once, also with O_NONBLOCK.  A reply that the
 *   socket has no room for would be lost, and its caller would wait for ever.
 * - What comes out of a pipe can be taken for several packets.  A filesystem that
 *   cannot fill a pipe replies by writev(2).
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "opened.h"
#include "preload.h"

/* The result of reading from fd. */
static ssize_t had(int fd, ssize_t n, bool wanted)
{
	if (n != 0 || !wanted || !relay_internal_is_channel(fd))
		return n;
	errno = ENODEV;
	return -1;
}

/* After a write that got n: whether to try again, now that there is room. */
static bool try_again(int fd, ssize_t n)
{
	struct pollfd poll_fd = {.fd = fd, .events = POLLOUT};

	if (n >= 0 || errno != EAGAIN || !relay_internal_is_channel(fd))
		return false;
	/* A signal, as in a write that waits: the handler has run, and nothing was written. */
	return poll(&poll_fd, 1, -1) >= 0 || errno == EINTR;
}

PRELOAD_EXPORT ssize_t read(int fd, void *buffer, size_t size)
{
	return had(fd, PRELOAD_REAL(read)(fd, buffer, size), size);
}

PRELOAD_EXPORT ssize_t __read_chk(int fd, void *buffer, size_t size, size_t room)
{
	return had(fd, PRELOAD_REAL(__read_chk)(fd, buffer, size, room), size);
}

PRELOAD_EXPORT ssize_t readv(int fd, const struct iovec *iov, int count)
{
	return had(fd, PRELOAD_REAL(readv)(fd, iov, count), count > 0);
}

PRELOAD_EXPORT ssize_t splice(int in, off64_t *in_offset, int out, off64_t *out_offset, size_t size, unsigned flags)
{
	return had(in, PRELOAD_REAL(splice)(in, in_offset, out, out_offset, size, flags), size);
}

PRELOAD_EXPORT ssize_t write(int fd, const void *buffer, size_t size)
{
	ssize_t n;

	do {
		n = PRELOAD_REAL(write)(fd, buffer, size);
	} while (try_again(fd, n));
	return n;
}

PRELOAD_EXPORT ssize_t writev(int fd, const struct iovec *iov, int count)
{
	ssize_t n;

	do {
		n = PRELOAD_REAL(writev)(fd, iov, count);
	} while (try_again(fd, n));
	return n;
}

/* relayd may have handed the channel down, so that nobody has opened it here. */
static bool has_inherited_channel(void)
{
	const char *number = getenv("RELAY_FD");
	socklen_t size = sizeof(int);
	int type = 0;

	return number && *number && getsockopt(atoi(number), SOL_SOCKET, SO_TYPE, &type, &size) == 0 &&
	       type == SOCK_SEQPACKET;
}

PRELOAD_EXPORT ssize_t vmsplice(int fd, const struct iovec *iov, size_t count, unsigned flags)
{
	int saved = errno;

	if (relay_internal_has_channels() || has_inherited_channel()) {
		errno = EINVAL;
		return -1;
	}
	errno = saved;
	return PRELOAD_REAL(vmsplice)(fd, iov, count, flags);
}
