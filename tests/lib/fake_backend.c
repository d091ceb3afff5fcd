/*
 * The fake backend does what a test has it do, right or wrong: nothing of what it
 * sends is checked here.
 */
#include "lib/fake_backend.h"

#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fdpass.h"
#include "relay/opcodes.h"

int fake_backend_init(struct fake_backend *backend)
{
	int pair[2];
	int err = fake_packet_pair(pair);

	if (err)
		return err;
	*backend = (struct fake_backend){.fd = pair[0], .channel = pair[1]};
	return 0;
}

void fake_backend_end(struct fake_backend *backend)
{
	if (backend->fd >= 0)
		close(backend->fd);
	backend->fd = -1;
	relay_journal_unmap(&backend->journal);
}

bool fake_backend_receive(struct fake_backend *backend, struct fake_packet *packet)
{
	return fake_packet_receive(backend->fd, packet);
}

uint64_t fake_backend_gets(struct fake_backend *backend, uint32_t opcode)
{
	struct fake_packet packet;

	if (!fake_backend_receive(backend, &packet) || packet.in.opcode != opcode)
		return 0;
	return packet.in.unique;
}

bool fake_backend_quiet(struct fake_backend *backend)
{
	struct pollfd poller = {.fd = backend->fd, .events = POLLIN};

	return poll(&poller, 1, 0) == 0;
}

bool fake_backend_send(struct fake_backend *backend, const void *packet, uint32_t size)
{
	return send(backend->fd, packet, size, MSG_NOSIGNAL) == (ssize_t)size;
}

bool fake_backend_reply(struct fake_backend *backend, uint64_t unique, int error, const void *payload, uint32_t size)
{
	struct fake_packet packet;

	packet.out = (struct fuse_out_header){
		.len = (uint32_t)sizeof(packet.out) + size, .error = -error, .unique = unique};
	if (size)
		memcpy(packet.bytes + sizeof(packet.out), payload, size);
	return fake_backend_send(backend, packet.bytes, packet.out.len);
}

bool fake_backend_notify(struct fake_backend *backend, int32_t code, const void *body, uint32_t size, int fd)
{
	struct fuse_out_header header = {.len = (uint32_t)sizeof(header) + size, .error = code};
	const struct iovec iov[] = {
		{.iov_base = &header, .iov_len = sizeof(header)},
		{.iov_base = (void *)body, .iov_len = size},
	};

	return relay_internal_send_fds(backend->fd, iov, 2, &fd, fd >= 0) > 0;
}

bool fake_backend_take_init(struct fake_backend *backend, struct fuse_init_in *in)
{
	struct fake_packet packet;

	if (!fake_backend_receive(backend, &packet) || packet.in.opcode != FUSE_INIT ||
	    packet.size < sizeof(packet.in) + sizeof(*in))
		return false;
	backend->init_unique = packet.in.unique;
	memcpy(in, fake_packet_in(&packet), sizeof(*in));
	return true;
}

bool fake_backend_answer_init(struct fake_backend *backend, uint64_t flags)
{
	const struct fuse_init_out out = {
		.major = FUSE_KERNEL_VERSION,
		.minor = RELAY_FUSE_MINOR,
		.max_write = RELAY_MAX_DATA,
		.max_pages = RELAY_MAX_PAGES,
		.flags = (uint32_t)flags | FUSE_INIT_EXT | FUSE_MAX_PAGES,
		.flags2 = (uint32_t)(flags >> 32),
	};

	return fake_backend_reply(backend, backend->init_unique, 0, &out, sizeof(out));
}

/* A packet with this opcode and a descriptor, which is closed. */
static bool take_descriptor(struct fake_backend *backend, uint32_t opcode, struct fake_packet *packet)
{
	if (!fake_backend_receive(backend, packet) || packet->in.opcode != opcode || packet->fd < 0)
		return false;
	close(packet->fd);
	return true;
}

static bool take_rings(struct fake_backend *backend)
{
	struct relay_rings_offer offer;
	struct fake_packet packet;

	if (!take_descriptor(backend, RELAY_RINGS, &packet))
		return false;
	memcpy(&offer, fake_packet_in(&packet), sizeof(offer));
	backend->queues = offer.queues;
	for (uint32_t q = 0; q < offer.queues; q++)
		if (!take_descriptor(backend, RELAY_KICK, &packet))
			return false;
	return true;
}

bool fake_backend_hello(struct fake_backend *backend)
{
	const struct relay_hello hello = {
		.version = RELAY_WIRE_VERSION,
		.flags = backend->serves_rings ? RELAY_HELLO_RINGS : 0,
	};
	struct relay_welcome welcome;
	struct fake_packet packet;
	bool ok;

	if (!fake_backend_notify(backend, RELAY_NOTIFY_HELLO, &hello, sizeof(hello), -1) ||
	    !fake_backend_receive(backend, &packet))
		return false;
	memcpy(&welcome, fake_packet_in(&packet), sizeof(welcome));
	backend->kept = welcome.kept;
	ok = packet.in.opcode == RELAY_WELCOME && packet.fd >= 0 &&
	     relay_journal_map(&backend->journal, packet.fd) == 0 && welcome.journal_size == backend->journal.size;
	if (packet.fd >= 0)
		close(packet.fd);
	return ok && (!(welcome.flags & RELAY_WELCOME_RINGS) || take_rings(backend));
}

struct relay_slot *fake_backend_slot(const struct fake_backend *backend, uint64_t unique)
{
	return relay_slot_at(&backend->journal, relay_unique_slot(unique));
}

void fake_backend_store(const struct fake_backend *backend, uint64_t unique, int error)
{
	const struct fuse_out_header out = {.len = sizeof(out), .error = -error, .unique = unique};
	struct relay_slot_place place =
		relay_slot_place(backend->journal.large, backend->journal.small, relay_unique_slot(unique));
	struct relay_slot *slot = fake_backend_slot(backend, unique);

	memcpy((char *)backend->journal.journal + place.reply, &out, sizeof(out));
	slot->reply_size = sizeof(out);
	atomic_store_explicit(&slot->state, RELAY_SLOT_APPLIED, memory_order_release);
}
