/*
 * The fake kernel is a socket, and keeps nothing but the last unique: what a test
 * asks and expects is the test's own.
 */
#include "lib/fake_kernel.h"

#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int fake_kernel_init(struct fake_kernel *kernel)
{
	int pair[2];
	int err = fake_packet_pair(pair);

	if (err)
		return err;
	*kernel = (struct fake_kernel){.fd = pair[0], .device = pair[1], .pid = 1};
	return 0;
}

void fake_kernel_deinit(struct fake_kernel *kernel)
{
	close(kernel->fd);
	if (kernel->device >= 0)
		close(kernel->device);
}

bool fake_kernel_send(struct fake_kernel *kernel, const void *packet, uint32_t size)
{
	return send(kernel->fd, packet, size, MSG_NOSIGNAL) == (ssize_t)size;
}

uint64_t fake_kernel_request(struct fake_kernel *kernel, uint32_t opcode, const void *body, uint32_t size)
{
	struct fake_packet packet;

	kernel->unique += 2;
	packet.in = (struct fuse_in_header){
		.len = (uint32_t)sizeof(packet.in) + size,
		.opcode = opcode,
		.unique = kernel->unique,
		.nodeid = FUSE_ROOT_ID,
		.pid = kernel->pid,
	};
	if (size)
		memcpy(packet.bytes + sizeof(packet.in), body, size);
	return fake_kernel_send(kernel, packet.bytes, packet.in.len) ? kernel->unique : 0;
}

uint64_t fake_kernel_init_request(struct fake_kernel *kernel, uint64_t flags)
{
	const struct fuse_init_in in = {
		.major = FUSE_KERNEL_VERSION,
		.minor = RELAY_FUSE_MINOR,
		.max_readahead = 131072,
		.flags = (uint32_t)flags | FUSE_INIT_EXT,
		.flags2 = (uint32_t)(flags >> 32),
	};

	return fake_kernel_request(kernel, FUSE_INIT, &in, sizeof(in));
}

uint64_t fake_kernel_minimal(struct fake_kernel *kernel, uint32_t opcode)
{
	static const char names[] = "a\0b";
	static const uint8_t name_sizes[] = {
		[RELAY_SHAPE_NAME] = 2,		[RELAY_SHAPE_NAME_NAME] = 4,	[RELAY_SHAPE_IN_NAME] = 2,
		[RELAY_SHAPE_IN_NAME_NAME] = 4, [RELAY_SHAPE_IN_NAME_DATA] = 2,
	};
	const struct relay_op *op = relay_op_get(opcode);
	uint32_t names_size = op->shape < sizeof(name_sizes) ? name_sizes[op->shape] : 0;
	uint32_t body[64];

	for (uint32_t i = 0; i < op->in_size / 4; i++)
		body[i] = 1;
	memcpy((char *)body + op->in_size, names, names_size);
	return fake_kernel_request(kernel, opcode, body, op->in_size + names_size);
}

uint64_t fake_kernel_lookup(struct fake_kernel *kernel, const char *name)
{
	return fake_kernel_request(kernel, FUSE_LOOKUP, name, (uint32_t)strlen(name) + 1);
}

bool fake_kernel_receive(struct fake_kernel *kernel, struct fake_packet *packet)
{
	return fake_packet_receive(kernel->fd, packet);
}

bool fake_kernel_gets_error(struct fake_kernel *kernel, uint64_t unique, int error)
{
	struct fake_packet packet;

	return fake_kernel_receive(kernel, &packet) && packet.size == sizeof(packet.out) &&
	       packet.out.len == packet.size && packet.out.unique == unique && packet.out.error == -error;
}

bool fake_kernel_quiet(struct fake_kernel *kernel)
{
	struct pollfd poller = {.fd = kernel->fd, .events = POLLIN};

	return poll(&poller, 1, 0) == 0;
}

void fake_kernel_end(struct fake_kernel *kernel)
{
	shutdown(kernel->fd, SHUT_WR);
}
