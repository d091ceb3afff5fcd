/*
 * Receiving with a deadline, for tests: a test that waits for what never comes
 * fails, and says where.
 */
#include "lib/fake_packet.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

#include "fdpass.h"

int fake_packet_pair(int pair[2])
{
	int size = 4 << 20;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	/* What cannot be had so large is as large as it can be. */
	for (int i = 0; i < 2; i++)
		if (setsockopt(pair[i], SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)) < 0)
			setsockopt(pair[i], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	return 0;
}

bool fake_packet_receive(int fd, struct fake_packet *packet)
{
	struct pollfd poller = {.fd = fd, .events = POLLIN};
	unsigned fds = 1;
	ssize_t n;

	packet->fd = -1;
	packet->size = 0;
	if (poll(&poller, 1, FAKE_DEADLINE_MS) != 1)
		return false;
	n = relay_internal_recv_fds(fd, packet->bytes, sizeof(packet->bytes), &packet->fd, &fds);
	if (n <= 0)
		return false;
	packet->size = (uint32_t)n;
	return true;
}

const void *fake_packet_in(const struct fake_packet *packet)
{
	return packet->bytes + sizeof(packet->in);
}

const void *fake_packet_out(const struct fake_packet *packet)
{
	return packet->bytes + sizeof(packet->out);
}
