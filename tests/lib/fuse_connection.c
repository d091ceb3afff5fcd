/*
 * A connection with the kernel (fuse_connection.h).
 */
#include "lib/fuse_connection.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>

#include "backing.h"
#include "fdpass.h"
#include "relay/fuse_abi.h"

/* Takes INIT and answers it.  False if the kernel has no passthrough. */
static bool agree(int device)
{
	uint8_t buffer[8192] __attribute__((aligned(8)));
	const struct fuse_in_header *header = (void *)buffer;
	const struct fuse_init_in *in = (const void *)(header + 1);
	struct {
		struct fuse_out_header header;
		struct fuse_init_out out;
	} reply = {
		.header = {.len = sizeof(reply)},
		.out = {.major = 7,
			.minor = RELAY_FUSE_MINOR,
			.flags = FUSE_INIT_EXT,
			.flags2 = FUSE_PASSTHROUGH >> 32,
			.max_write = 65536,
			.RELAY_STACK_DEPTH = 1},
	};

	if (read(device, buffer, sizeof(buffer)) < (ssize_t)(sizeof(*header) + sizeof(*in)))
		return false;
	reply.header.unique = header->unique;
	return in->minor >= 40 && in->flags2 & FUSE_PASSTHROUGH >> 32 &&
	       write(device, &reply, sizeof(reply)) == (ssize_t)sizeof(reply);
}

const char *fuse_connection_init(struct fuse_connection *connection)
{
	char options[128];

	connection->device = -1;
	if (!backing_allowed())
		return "it takes CAP_SYS_ADMIN";
	connection->device = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	if (connection->device < 0)
		return "there is no /dev/fuse";
	strcpy(connection->place, "/tmp/relayd-fuse.XXXXXX");
	snprintf(options, sizeof(options), "fd=%d,rootmode=40000,user_id=0,group_id=0", connection->device);
	if (!mkdtemp(connection->place) || mount("fuse_connection", connection->place, "fuse.test", 0, options) < 0)
		return "there is no mount";
	return agree(connection->device) ? NULL : "the kernel has no passthrough";
}

void fuse_connection_deinit(struct fuse_connection *connection)
{
	if (connection->device < 0)
		return;
	umount2(connection->place, MNT_DETACH);
	close(connection->device);
	rmdir(connection->place);
}

int fuse_connection_kept(int channel)
{
	unsigned fds = 1;
	char packet[256];
	int fd;

	return relay_internal_recv_fds(channel, packet, sizeof(packet), &fd, &fds) > 0 && fds == 1 ? fd : -1;
}
