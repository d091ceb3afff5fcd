/*
 * What a backend says about files that the kernel reads and writes by itself, and what the
 * next one is told of them (backing.h).  On the carrier's thread, which takes all that a
 * backend has sent before it says that the channel has ended: what was asked for is
 * in the table before the next incarnation is welcomed.
 */
#include "dispatch.h"

#include <errno.h>
#include <string.h>

#include "fdpass.h"
#include "rights.h"

/* -1 where nothing may be registered: the kernel knows nothing of it, or the backend has not agreed to it. */
static int backing_device(const struct dispatch *dispatch)
{
	return session_passthrough(dispatch->session) ? dispatch->session->fd : -1;
}

static int backing_take(struct dispatch *dispatch, const void *packet, uint32_t size, int fd)
{
	const struct fuse_out_header *header = packet;
	int device = backing_device(dispatch);
	struct relay_backed backed;

	if (header->error == RELAY_NOTIFY_BACK) {
		if (size != sizeof(*header) || fd < 0)
			return -EPROTO;
		return backing_serve(&dispatch->backing, device, fd);
	}
	if (size != sizeof(*header) + sizeof(backed) || fd >= 0)
		return -EPROTO;
	memcpy(&backed, header + 1, sizeof(backed));
	if (device >= 0)
		backing_drop(&dispatch->backing, device, backed.id);
	return 0;
}

int dispatch_backing_take(struct dispatch *dispatch, const void *packet, uint32_t size, int fd)
{
	const bool lowered = rights_lowered();
	int err;

	/* The kernel asks for CAP_SYS_ADMIN, and opens the file with what we have now whenever it is used. */
	rights_raise();
	err = backing_take(dispatch, packet, size, fd);
	if (lowered)
		rights_lower();
	return err;
}

static int backed_send(int32_t id, void *arg)
{
	struct dispatch *dispatch = arg;
	struct {
		struct fuse_in_header header;
		struct relay_backed backed;
	} packet = {
		.header = {.len = sizeof(packet), .opcode = RELAY_BACKED},
		.backed = {.id = id},
	};
	struct iovec iov = {.iov_base = &packet, .iov_len = sizeof(packet)};
	ssize_t n = relay_internal_send_fds(dispatch->channel, &iov, 1, NULL, 0);

	return n < 0 ? (int)n : 0;
}

int dispatch_backing_resume(struct dispatch *dispatch, int fd)
{
	/* A backend of the direct lane takes ids by itself: what is not ours may be its. */
	return backing_resume(&dispatch->backing, dispatch->direct.wanted ? -1 : backing_device(dispatch), fd);
}

int dispatch_backing_tell(struct dispatch *dispatch)
{
	return backing_each(&dispatch->backing, backed_send, dispatch);
}
