/*
 * The first packets of a channel, on the thread of relay_serve():
 *
 *   relayd                         librelay
 *   INIT                    ->
 *                           <-     HELLO
 *   WELCOME (journal's fd,  ->
 *     in the direct lane /dev/fuse too)
 *   RINGS (fd), KICKs (fd)  ->		in the lane `uring`
 *   KEPT (fd), any number   ->
 *   BACKED, any number      ->
 *   ABSENCES (maps' fds)    ->     if WELCOME says so
 *                                  rolls the state back, calls init()
 *                           <-     the answer to INIT
 *
 * Nothing else comes before the answer, so there is no queue to keep here.  A
 * process dying anywhere in it leaves what it found: the rollback may be done
 * again, and INIT is put to every incarnation.
 */
#include "internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "crash.h"

/* Before 7.36 INIT has no flags2, and the kernel nothing that this library is made for. */
#define MINOR_LEAST 36u

/* What librelay relies on.  A kernel of MINOR_LEAST offers all of it. */
#define FORCED ((uint64_t)(FUSE_INIT_EXT | FUSE_SETXATTR_EXT | FUSE_BIG_WRITES | FUSE_MAX_PAGES))

/* Needs /dev/fuse itself, or fields of the answer that are librelay's. */
#define WITHHELD (FUSE_OVER_IO_URING | (uint64_t)FUSE_MAP_ALIGNMENT | FUSE_REQUEST_TIMEOUT)

/* One packet of the handshake, and the descriptors that came with it. */
struct packet {
	union {
		struct fuse_in_header header;
		uint8_t bytes[512];
	};
	size_t size;
	int fd, second; /* -1: none */
};

/* The body that follows the header, if the packet is that message and long enough. */
static const void *packet_body(const struct packet *packet, uint32_t opcode, size_t least)
{
	if (packet->size < sizeof(packet->header) + least || packet->header.len != packet->size ||
	    packet->header.opcode != opcode)
		return NULL;
	return packet->bytes + sizeof(packet->header);
}

static void packet_close(struct packet *packet)
{
	if (packet->fd >= 0)
		close(packet->fd);
	if (packet->second >= 0)
		close(packet->second);
	packet->fd = packet->second = -1;
}

/* Returns 0, 1 at the channel's end, or a negative errno.  The descriptors are the caller's. */
static int packet_receive(struct relay_session *session, struct packet *packet)
{
	int fds[2] = {-1, -1};
	unsigned nfds = 2;
	ssize_t n;

	packet->fd = packet->second = -1;
	n = relay_internal_channel_receive(session, packet->bytes, sizeof(packet->bytes), fds, &nfds);
	if (nfds > 0)
		packet->fd = fds[0];
	if (nfds > 1)
		packet->second = fds[1];
	if (n == 0)
		return 1;
	if (n == -EMSGSIZE)
		return -EPROTO;
	if (n < 0)
		return (int)n;
	packet->size = (size_t)n;
	return 0;
}

static int receive_init(struct relay_session *session)
{
	struct packet packet;
	const void *body;
	size_t size;
	int err;

	err = packet_receive(session, &packet);
	if (err)
		return err;
	packet_close(&packet);
	body = packet_body(&packet, FUSE_INIT, relay_op_get(FUSE_INIT)->in_size);
	if (!body)
		return -EPROTO;
	/* A later version's INIT may be longer: what this one doesn't know is left out. */
	size = packet.size - sizeof(packet.header);
	memcpy(&session->init, body, size < sizeof(session->init) ? size : sizeof(session->init));
	if (session->init.major != FUSE_KERNEL_VERSION || session->init.minor < MINOR_LEAST ||
	    (session->init.flags & FORCED) != FORCED)
		return -EPROTO;
	/* That is for WELCOME to offer. */
	session->init.flags2 &= ~(uint32_t)(FUSE_PASSTHROUGH >> 32);
	session->init_unique = packet.header.unique;
	RELAY_CRASH_POINT("INIT", "received");
	return 0;
}

/* What comes after a WELCOME. */
struct follows {
	bool rings;
	uint32_t kept, backed;
	bool absences;
};

/*
 * Takes what a WELCOME says and brings; packet->second becomes the session's if it is the
 * device.
 */
static int welcome_take(struct relay_session *session, struct packet *packet, struct follows *follows)
{
	const struct relay_welcome *welcome = packet_body(packet, RELAY_WELCOME, sizeof(*welcome));
	int err;

	if (!welcome || welcome->version != RELAY_WIRE_VERSION || packet->fd < 0 ||
	    !(welcome->flags & RELAY_WELCOME_DIRECT) != (packet->second < 0))
		return -EPROTO;
	follows->rings = welcome->flags & RELAY_WELCOME_RINGS;
	if (follows->rings && !(welcome->flags & RELAY_WELCOME_DIRECT && session->rings_able))
		return -EPROTO;
	err = relay_journal_map(&session->journal, packet->fd);
	if (err)
		return err;
	if (welcome->journal_size != session->journal.size)
		return -EPROTO;
	session->incarnation = welcome->incarnation;
	session->shared_store = welcome->flags & RELAY_WELCOME_SHARED_STORE;
	if (welcome->flags & RELAY_WELCOME_PASSTHROUGH)
		session->init.flags2 |= (uint32_t)(FUSE_PASSTHROUGH >> 32);
	follows->kept = welcome->kept;
	follows->backed = welcome->backed;
	follows->absences = welcome->flags & RELAY_WELCOME_ABSENCES;
	if (welcome->flags & RELAY_WELCOME_DIRECT) {
		err = relay_internal_direct_init(session, packet->second);
		packet->second = -1;
	}
	return err;
}

static int receive_kick(struct relay_session *session)
{
	struct packet packet;
	int err;

	err = packet_receive(session, &packet);
	if (!err && (!packet_body(&packet, RELAY_KICK, 0) || packet.fd < 0))
		err = -EPROTO;
	if (!err)
		err = relay_internal_rings_kick_add(session, packet.fd);
	if (!err)
		packet.fd = -1;
	packet_close(&packet);
	return err;
}

static int receive_rings(struct relay_session *session)
{
	const struct relay_rings_offer *offer;
	uint32_t queues = 0;
	struct packet packet;
	int err;

	err = packet_receive(session, &packet);
	if (err)
		return err;
	offer = packet_body(&packet, RELAY_RINGS, sizeof(*offer));
	if (!offer || packet.fd < 0)
		err = -EPROTO;
	else
		err = relay_internal_rings_init(session, packet.fd, offer->queues);
	if (!err)
		queues = offer->queues;
	packet_close(&packet);
	while (!err && queues-- > 0)
		err = receive_kick(session);
	return err;
}

static int receive_welcome(struct relay_session *session, struct follows *follows)
{
	struct packet packet;
	int err;

	err = packet_receive(session, &packet);
	if (!err)
		err = welcome_take(session, &packet, follows);
	packet_close(&packet);
	return err;
}

static int receive_kept(struct relay_session *session)
{
	const struct relay_key *key;
	struct packet packet;
	int err;

	err = packet_receive(session, &packet);
	if (err)
		return err;
	key = packet_body(&packet, RELAY_KEPT, sizeof(*key));
	if (!key || packet.fd < 0 || packet.second >= 0) {
		bool lost = key && packet.fd < 0;

		packet_close(&packet);
		/* The kernel drops a descriptor for which there is no room in our table. */
		return lost ? -EMFILE : -EPROTO;
	}
	return relay_internal_kept_add(session, key->key, packet.fd);
}

static int receive_backed(struct relay_session *session)
{
	const struct relay_backed *backed;
	struct packet packet;
	int err;

	err = packet_receive(session, &packet);
	if (err)
		return err;
	packet_close(&packet);
	backed = packet_body(&packet, RELAY_BACKED, sizeof(*backed));
	if (!backed || backed->id <= 0)
		return -EPROTO;
	return relay_internal_backed_add(session, backed->id);
}

/* Returns 0, 1 at the channel's end, or a negative errno. */
static int receive_absences(struct relay_session *session)
{
	struct {
		struct fuse_in_header header;
		struct relay_absences absences;
	} packet;
	int fds[KNOWN_MAPS];
	unsigned nfds = KNOWN_MAPS;
	ssize_t n = relay_internal_channel_receive(session, &packet, sizeof(packet), fds, &nfds);

	if (n == (ssize_t)sizeof(packet) && packet.header.opcode == RELAY_ABSENCES && nfds == KNOWN_MAPS)
		return relay_internal_absences_take(session, &packet.absences, fds);
	for (unsigned i = 0; i < nfds; i++)
		close(fds[i]);
	return n == 0 ? 1 : n < 0 && n != -EMSGSIZE ? (int)n : nfds < KNOWN_MAPS ? -EMFILE : -EPROTO;
}

int relay_internal_handshake(struct relay_session *session)
{
	const struct relay_hello hello = {
		.version = RELAY_WIRE_VERSION,
		.flags = session->rings_able ? RELAY_HELLO_RINGS : 0,
	};
	struct follows follows = {0};
	int err;

	err = receive_init(session);
	if (err)
		return err;
	err = relay_internal_channel_notify(session, RELAY_NOTIFY_HELLO, &hello, sizeof(hello), NULL, 0, NULL, 0);
	if (err)
		return err == -EPIPE || err == -ECONNRESET ? 1 : err;
	err = receive_welcome(session, &follows);
	if (!err && follows.rings)
		err = receive_rings(session);
	for (uint32_t i = 0; !err && i < follows.kept; i++)
		err = receive_kept(session);
	for (uint32_t i = 0; !err && i < follows.backed; i++)
		err = receive_backed(session);
	if (!err && follows.absences)
		err = receive_absences(session);
	if (err)
		return err;
	session->interrupted =
		calloc((size_t)session->journal.large + session->journal.small, sizeof(*session->interrupted));
	if (!session->interrupted)
		return -ENOMEM;
	err = relay_internal_backing_table_restore(session);
	return err ? err : relay_internal_state_restore(session);
}

int relay_internal_negotiate(struct relay_session *session, struct fuse_init_out *out)
{
	const struct fuse_init_in *in = &session->init;
	uint64_t offered = (in->flags | (uint64_t)in->flags2 << 32) & ~WITHHELD;
	uint64_t flags;
	uint32_t depth;
	int err;

	memset(out, 0, sizeof(*out));
	out->max_readahead = in->max_readahead;
	out->time_gran = 1;
	if (session->ops->init) {
		err = session->ops->init(session, in, out);
		if (err)
			return err;
	}
	flags = ((out->flags | (uint64_t)out->flags2 << 32) | FORCED) & offered;
	/* The kernel ignores it then. */
	if (flags & FUSE_WRITEBACK_CACHE)
		flags &= ~FUSE_PASSTHROUGH;
	session->passthrough = flags & FUSE_PASSTHROUGH;
	depth = !session->passthrough ? 0 : out->RELAY_STACK_DEPTH ? out->RELAY_STACK_DEPTH : 1;
	out->flags = (uint32_t)flags;
	out->flags2 = (uint32_t)(flags >> 32);
	out->major = FUSE_KERNEL_VERSION;
	out->minor = in->minor < RELAY_FUSE_MINOR ? in->minor : RELAY_FUSE_MINOR;
	if (out->max_readahead > in->max_readahead)
		out->max_readahead = in->max_readahead;
	out->max_write = RELAY_MAX_DATA;
	out->max_pages = RELAY_MAX_PAGES;
	out->map_alignment = 0;
	memset(out->unused, 0, sizeof(out->unused));
	out->RELAY_STACK_DEPTH = depth;
	err = relay_internal_absences_begin(session, flags);
	if (err)
		return err;
	if (session->passthrough) {
		err = relay_internal_backing_table_new(session);
		if (err)
			return err;
	}
	RELAY_CRASH_POINT("INIT", "applied");
	return 0;
}

int relay_internal_init_reply(struct relay_session *session, int error, const struct fuse_init_out *out)
{
	struct fuse_out_header header = {
		.len = (uint32_t)(sizeof(header) + (out ? sizeof(*out) : 0)),
		.error = error,
		.unique = session->init_unique,
	};
	const struct iovec iov[] = {
		{.iov_base = &header, .iov_len = sizeof(header)},
		{.iov_base = (void *)out, .iov_len = out ? sizeof(*out) : 0},
	};
	int err;

	err = relay_internal_channel_send(session, iov, 2, NULL, 0);
	RELAY_CRASH_POINT("INIT", "sent");
	return err;
}
