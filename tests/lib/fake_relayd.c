/*
 * relayd's side of a channel (fake_relayd.h).  It does what relayd does, one thing
 * at a time: nothing here runs while the test isn't looking.
 */
#include "cache_maps.h"
#include "fdpass.h"
#include "lib/fake_relayd.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "relay/opcodes.h"
#include "slots.h"

#define DEADLINE_MS 30000
#define INIT_SLOT ((1u << RELAY_UNIQUE_SLOT_BITS) - 1)
#define INIT_FLAGS ((uint64_t)(FUSE_INIT_EXT | FUSE_SETXATTR_EXT | FUSE_BIG_WRITES | FUSE_MAX_PAGES))

#define must(condition)                                                                                                \
	do {                                                                                                           \
		if (!(condition))                                                                                      \
			fail(__FILE__, __LINE__, #condition);                                                          \
	} while (0)

static void fail(const char *file, int line, const char *what)
{
	fprintf(stderr, "%s:%d: %s (%s)\n", file, line, what, strerror(errno));
	abort();
}

void fake_relayd_init(struct fake_relayd *fake, uint32_t large, uint32_t small)
{
	const struct relay_journal header = {
		.magic = RELAY_JOURNAL_MAGIC,
		.version = RELAY_JOURNAL_VERSION,
		.header_size = sizeof(struct relay_journal),
		.slot_size = sizeof(struct relay_slot),
		.large = large,
		.small = small,
		.size = relay_journal_size(large, small),
	};

	memset(fake, 0, sizeof(*fake));
	fake->channel = -1;
	fake->kernel = -1;
	fake->sequence = 1;
	fake->journal_fd = memfd_create("fake-journal", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	must(fake->journal_fd >= 0);
	must(ftruncate(fake->journal_fd, (off_t)header.size) == 0);
	must(pwrite(fake->journal_fd, &header, sizeof(header), 0) == sizeof(header));
	must(fcntl(fake->journal_fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) == 0);
	must(relay_journal_map(&fake->map, fake->journal_fd) == 0);
}

void fake_relayd_deinit(struct fake_relayd *fake)
{
	if (fake->backend)
		fake_kill(fake);
	for (unsigned i = 0; i < fake->kept_count; i++)
		close(fake->kept[i].fd);
	relay_journal_unmap(&fake->map);
	close(fake->journal_fd);
	if (fake->kernel >= 0) {
		close(fake->kernel);
		close(fake->device);
	}
	if (!fake->rings.rings)
		return;
	relay_rings_unmap(&fake->rings);
	close(fake->rings_fd);
	for (unsigned i = 0; i < FAKE_QUEUES; i++)
		close(fake->kicks[i]);
}

void fake_start(struct fake_relayd *fake, int (*main_)(int channel, void *arg), void *arg)
{
	int pair[2];

	must(!fake->backend);
	must(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0);
	fake->incarnation++;
	fake->map.journal->incarnation = fake->incarnation;
	fake->backend = fork();
	must(fake->backend >= 0);
	if (fake->backend == 0) {
		int err;

		close(pair[0]);
		err = main_(pair[1], arg);
		_exit(-err);
	}
	close(pair[1]);
	fake->channel = pair[0];
}

static void kept_put(struct fake_relayd *fake, uint64_t key, int fd)
{
	for (unsigned i = 0; i < fake->kept_count; i++) {
		if (fake->kept[i].key == key) {
			close(fake->kept[i].fd);
			fake->kept[i] = fake->kept[--fake->kept_count];
			break;
		}
	}
	if (fd < 0)
		return;
	must(fake->kept_count < FAKE_KEPT_MAX);
	fake->kept[fake->kept_count++] = (struct fake_kept){.key = key, .fd = fd};
}

int fake_kept_get(const struct fake_relayd *fake, uint64_t key)
{
	for (unsigned i = 0; i < fake->kept_count; i++) {
		if (fake->kept[i].key == key)
			return fake->kept[i].fd;
	}
	return -1;
}

/* Receives one packet, of size 0 at the end of the channel. */
static void receive(struct fake_relayd *fake, struct fake_packet *packet, int *fd)
{
	struct iovec iov = {.iov_base = packet->bytes, .iov_len = sizeof(packet->bytes)};
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes),
	};
	struct pollfd poller = {.fd = fake->channel, .events = POLLIN};
	struct cmsghdr *cmsg;
	ssize_t n;

	must(poll(&poller, 1, DEADLINE_MS) == 1);
	n = recvmsg(fake->channel, &msg, MSG_CMSG_CLOEXEC);
	must(n >= 0 || errno == ECONNRESET);
	must(!(msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)));
	packet->size = n > 0 ? (uint32_t)n : 0;
	*fd = -1;
	cmsg = n > 0 ? CMSG_FIRSTHDR(&msg) : NULL;
	if (cmsg)
		memcpy(fd, CMSG_DATA(cmsg), sizeof(*fd));
}

/* Takes the file out of the socket and answers there, as relayd does. */
static void back_take(struct fake_relayd *fake, int sock)
{
	struct relay_backed answer = {.id = fake->back_answer};
	char control[CMSG_SPACE(sizeof(int))], byte;
	struct iovec iov = {.iov_base = &byte, .iov_len = 1};
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control),
	};
	struct cmsghdr *cmsg;
	int fd;

	must(recvmsg(sock, &msg, MSG_DONTWAIT) == 1);
	cmsg = CMSG_FIRSTHDR(&msg);
	must(cmsg && cmsg->cmsg_type == SCM_RIGHTS);
	memcpy(&fd, CMSG_DATA(cmsg), sizeof(fd));
	must(fcntl(fd, F_GETFD) >= 0);
	close(fd);
	if (!answer.id) {
		must(fake->backed_count < FAKE_BACKED_MAX);
		answer.id = ++fake->back_last;
		fake->backed[fake->backed_count++] = answer.id;
	}
	send(sock, &answer, sizeof(answer), MSG_NOSIGNAL);
	close(sock);
}

static void unback_take(struct fake_relayd *fake, const struct relay_backed *backed)
{
	for (unsigned i = 0; i < fake->backed_count; i++)
		if (fake->backed[i] == backed->id)
			fake->backed[i--] = fake->backed[--fake->backed_count];
}

/* Takes note of a notification. */
static void note(struct fake_relayd *fake, const struct fake_packet *packet, int fd)
{
	const struct relay_key *key = (const void *)(&packet->out + 1);

	must(packet->size >= sizeof(packet->out) && packet->out.len == packet->size);
	if (packet->out.error == RELAY_NOTIFY_KEEP || packet->out.error == RELAY_NOTIFY_DROP) {
		must(packet->size == sizeof(packet->out) + sizeof(*key));
		must((fd >= 0) == (packet->out.error == RELAY_NOTIFY_KEEP));
		kept_put(fake, key->key, fd);
		return;
	}
	if (packet->out.error == RELAY_NOTIFY_BACK) {
		must(packet->size == sizeof(packet->out) && fd >= 0);
		back_take(fake, fd);
		return;
	}
	must(fd < 0);
	if (packet->out.error == RELAY_NOTIFY_UNBACK) {
		must(packet->size == sizeof(packet->out) + sizeof(struct relay_backed));
		unback_take(fake, (const void *)(&packet->out + 1));
		return;
	}
	must(fake->notify_count < FAKE_NOTIFY_MAX);
	fake->notified[fake->notify_count++] = packet->out.error;
	fake->notice = *packet;
}

uint64_t fake_receive(struct fake_relayd *fake)
{
	int fd;

	for (;;) {
		receive(fake, &fake->reply, &fd);
		if (fake->reply.size == 0)
			return 0;
		must(fake->reply.size >= sizeof(fake->reply.out));
		if (fake->reply.out.unique != 0)
			return fake->reply.out.unique;
		note(fake, &fake->reply, fd);
	}
}

int fake_wait(struct fake_relayd *fake)
{
	int status;

	while (fake->channel >= 0 && fake_receive(fake))
		;
	must(waitpid(fake->backend, &status, 0) == fake->backend);
	fake->backend = 0;
	if (fake->channel >= 0)
		close(fake->channel);
	fake->channel = -1;
	return status;
}

int fake_kill(struct fake_relayd *fake)
{
	must(kill(fake->backend, SIGKILL) == 0);
	return fake_wait(fake);
}

int fake_end(struct fake_relayd *fake)
{
	close(fake->channel);
	fake->channel = -1;
	return fake_wait(fake);
}

/* ---- the handshake ----------------------------------------------------- */

void fake_send_raw(struct fake_relayd *fake, const void *packet, uint32_t size)
{
	ssize_t n = send(fake->channel, packet, size, MSG_NOSIGNAL);

	must(n == (ssize_t)size || errno == EPIPE || errno == ECONNRESET);
}

static void send_private(struct fake_relayd *fake, uint32_t opcode, const void *body, uint32_t size, int fd, int second)
{
	const int fds[2] = {fd, second};
	const size_t fds_size = sizeof(int) * (1u + (second >= 0));
	struct fuse_in_header header = {.len = (uint32_t)sizeof(header) + size, .opcode = opcode};
	struct iovec iov[] = {
		{.iov_base = &header, .iov_len = sizeof(header)},
		{.iov_base = (void *)body, .iov_len = size},
	};
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int) * 2)];
	} control = {.bytes = {0}};
	struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 2};

	if (fd >= 0) {
		struct cmsghdr *cmsg = &control.align;

		msg.msg_control = control.bytes;
		msg.msg_controllen = CMSG_SPACE(fds_size);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(fds_size);
		memcpy(CMSG_DATA(cmsg), fds, fds_size);
	}
	must(sendmsg(fake->channel, &msg, MSG_NOSIGNAL) >= 0 || errno == EPIPE || errno == ECONNRESET);
}

void fake_send_init(struct fake_relayd *fake, uint32_t minor, uint64_t flags)
{
	struct {
		struct fuse_in_header header;
		struct fuse_init_in in;
	} packet = {
		.header =
			{
				.len = sizeof(packet),
				.opcode = FUSE_INIT,
				.unique = relay_unique_make(fake->sequence++, INIT_SLOT),
			},
		.in =
			{
				.major = FUSE_KERNEL_VERSION,
				.minor = minor,
				.max_readahead = 131072,
				.flags = (uint32_t)flags,
				.flags2 = (uint32_t)(flags >> 32),
			},
	};

	fake_send_raw(fake, &packet, sizeof(packet));
}

bool fake_expect_hello(struct fake_relayd *fake)
{
	const struct relay_hello *hello = (const void *)(&fake->notice.out + 1);
	int fd;

	receive(fake, &fake->notice, &fd);
	if (fake->notice.size == 0)
		return false;
	must(fake->notice.size == sizeof(fake->notice.out) + sizeof(*hello));
	must(fake->notice.out.error == RELAY_NOTIFY_HELLO && fake->notice.out.unique == 0 && fd < 0);
	must(hello->version == RELAY_WIRE_VERSION);
	return true;
}

void fake_send_welcome(struct fake_relayd *fake, uint32_t version)
{
	const bool direct = fake->kernel >= 0;
	const struct relay_welcome welcome = {
		.version = version,
		.incarnation = fake->incarnation,
		.kept = fake->kept_count,
		.backed = fake->backed_count,
		.flags = (fake->passthrough ? RELAY_WELCOME_PASSTHROUGH : 0) | (direct ? RELAY_WELCOME_DIRECT : 0) |
			 (fake->rings.rings ? RELAY_WELCOME_RINGS : 0) |
			 (fake->maps ? RELAY_WELCOME_ABSENCES : 0),
		.journal_size = fake->map.size,
	};

	send_private(fake, RELAY_WELCOME, &welcome, sizeof(welcome), fake->journal_fd,
		     direct ? fake->device : -1);
}

void fake_send_private(struct fake_relayd *fake, uint32_t opcode, const void *body, uint32_t size, int fd)
{
	send_private(fake, opcode, body, size, fd, -1);
}

void fake_send_rings(struct fake_relayd *fake)
{
	const struct relay_rings_offer offer = {.queues = FAKE_QUEUES};

	fake_send_private(fake, RELAY_RINGS, &offer, sizeof(offer), fake->rings_fd);
	for (unsigned i = 0; i < FAKE_QUEUES; i++)
		fake_send_private(fake, RELAY_KICK, NULL, 0, fake->kicks[i]);
}

static void send_absences(struct fake_relayd *fake)
{
	struct {
		struct fuse_in_header header;
		struct relay_absences absences;
	} packet = {{.len = sizeof(packet), .opcode = RELAY_ABSENCES}, fake->absences};
	const struct iovec iov = {.iov_base = &packet, .iov_len = sizeof(packet)};

	must(relay_internal_send_fds(fake->channel, &iov, 1, fake->maps, KNOWN_MAPS) == (ssize_t)sizeof(packet));
}

void fake_send_kept(struct fake_relayd *fake)
{
	for (unsigned i = 0; i < fake->kept_count; i++) {
		const struct relay_key key = {.key = fake->kept[i].key};

		send_private(fake, RELAY_KEPT, &key, sizeof(key), fake->kept[i].fd, -1);
	}
	for (unsigned i = 0; i < fake->backed_count; i++) {
		const struct relay_backed backed = {.id = fake->backed[i]};

		send_private(fake, RELAY_BACKED, &backed, sizeof(backed), -1, -1);
	}
	if (fake->maps)
		send_absences(fake);
}

bool fake_begin(struct fake_relayd *fake, int (*main_)(int channel, void *arg), void *arg)
{
	fake_start(fake, main_, arg);
	fake_send_init(fake, RELAY_FUSE_MINOR, INIT_FLAGS | FUSE_OVER_IO_URING | FUSE_POSIX_ACL);
	if (!fake_expect_hello(fake))
		return false;
	fake_send_welcome(fake, RELAY_WIRE_VERSION);
	if (fake->rings.rings)
		fake_send_rings(fake);
	fake_send_kept(fake);
	return fake_receive(fake) != 0;
}

/* ---- requests ---------------------------------------------------------- */

struct relay_slot *fake_slot(struct fake_relayd *fake, uint32_t slot)
{
	return relay_slot_at(&fake->map, slot);
}

uint32_t fake_slot_state(struct fake_relayd *fake, uint32_t slot)
{
	return atomic_load(&fake_slot(fake, slot)->state);
}

static void *place_of(struct fake_relayd *fake, uint64_t offset)
{
	return (uint8_t *)fake->map.journal + offset;
}

const struct fuse_out_header *fake_stored_reply(struct fake_relayd *fake, uint32_t slot)
{
	return place_of(fake, relay_slot_place(fake->map.large, fake->map.small, slot).reply);
}

void fake_slot_free(struct fake_relayd *fake, uint32_t slot)
{
	relay_slot_free(&fake->map, slot);
}

struct fuse_in_header *fake_slot_header(struct fake_relayd *fake, uint32_t slot)
{
	return relay_slot_request(&fake->map, slot);
}

uint64_t fake_take(struct fake_relayd *fake, uint32_t slot, uint32_t opcode, uint64_t nodeid, const void *body,
		   uint32_t size)
{
	struct relay_slot_place place = relay_slot_place(fake->map.large, fake->map.small, slot);
	struct fuse_in_header *header = place_of(fake, place.request);
	struct relay_slot *s = fake_slot(fake, slot);

	must(sizeof(*header) + size <= place.request_capacity);
	s->pre_size = 0;
	s->reply_size = 0;
	atomic_store(&s->undo_count, 0);
	*header = (struct fuse_in_header){
		.len = (uint32_t)sizeof(*header) + size,
		.opcode = opcode,
		.nodeid = nodeid,
		.unique = relay_unique_make(fake->sequence++, slot),
	};
	if (size)
		memcpy(header + 1, body, size);
	s->opcode = opcode;
	s->unique = 2 * fake->sequence;
	s->channel_unique = header->unique;
	s->request_size = header->len;
	atomic_store(&s->state, RELAY_SLOT_TAKEN);
	return header->unique;
}

void fake_send(struct fake_relayd *fake, uint32_t slot)
{
	uint32_t size = fake->kernel >= 0 ? sizeof(struct fuse_in_header) : fake_slot(fake, slot)->request_size;

	fake_send_raw(fake, fake_slot_header(fake, slot), size);
}

uint64_t fake_request(struct fake_relayd *fake, uint32_t slot, uint32_t opcode, uint64_t nodeid, const void *body,
		      uint32_t size)
{
	uint64_t unique = fake_take(fake, slot, opcode, nodeid, body, size);

	fake_send(fake, slot);
	return unique;
}

int fake_call(struct fake_relayd *fake, uint32_t slot, uint32_t opcode, uint64_t nodeid, const void *body,
	      uint32_t size)
{
	uint64_t unique = fake_request(fake, slot, opcode, nodeid, body, size);
	uint64_t got = fake_receive(fake);

	if (!got)
		return 1;
	must(got == unique);
	must(fake->reply.out.len == fake->reply.size);
	return fake->reply.out.error;
}

void fake_send_interrupt(struct fake_relayd *fake, uint64_t unique)
{
	const struct {
		struct fuse_in_header header;
		struct fuse_interrupt_in in;
	} packet = {
		.header = {.len = sizeof(packet), .opcode = FUSE_INTERRUPT, .unique = unique | 1},
		.in = {.unique = unique},
	};

	fake_send_raw(fake, &packet, sizeof(packet));
}

void fake_expect_notice(struct fake_relayd *fake, int32_t code)
{
	int fd;

	do {
		struct fake_packet packet;

		receive(fake, &packet, &fd);
		must(packet.size > 0 && packet.out.unique == 0);
		note(fake, &packet, fd);
	} while (fake->notice.out.error != code);
}

/* ---- the direct lane --------------------------------------------------- */

void fake_direct(struct fake_relayd *fake)
{
	int pair[2], size = 4 << 20;

	must(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0);
	/* The kernel's queue has no end; what cannot be had so large is as large as it can be. */
	for (int i = 0; i < 2; i++)
		if (setsockopt(pair[i], SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)) < 0)
			setsockopt(pair[i], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	fake->kernel = pair[0];
	fake->device = pair[1];
}

void fake_send_go(struct fake_relayd *fake)
{
	send_private(fake, RELAY_GO, NULL, 0, -1, -1);
}

void fake_send_pause(struct fake_relayd *fake)
{
	send_private(fake, RELAY_PAUSE, NULL, 0, -1, -1);
}

void fake_device_raw(struct fake_relayd *fake, const void *packet, uint32_t size)
{
	must(send(fake->kernel, packet, size, MSG_NOSIGNAL) == (ssize_t)size);
}

uint64_t fake_device_request(struct fake_relayd *fake, uint32_t opcode, uint64_t nodeid, const void *body,
			     uint32_t size)
{
	const struct fuse_in_header header = {
		.len = (uint32_t)sizeof(header) + size,
		.opcode = opcode,
		.nodeid = nodeid,
		.unique = 2 * ++fake->kernel_sequence,
	};
	const struct iovec iov[] = {
		{.iov_base = (void *)&header, .iov_len = sizeof(header)},
		{.iov_base = (void *)body, .iov_len = size},
	};

	must(writev(fake->kernel, iov, size ? 2 : 1) == (ssize_t)header.len);
	return header.unique;
}

void fake_device_interrupt(struct fake_relayd *fake, uint64_t unique)
{
	const struct {
		struct fuse_in_header header;
		struct fuse_interrupt_in in;
	} packet = {
		.header = {.len = sizeof(packet), .opcode = FUSE_INTERRUPT, .unique = unique | 1},
		.in = {.unique = unique},
	};

	fake_device_raw(fake, &packet, sizeof(packet));
}

uint64_t fake_device_receive(struct fake_relayd *fake)
{
	struct pollfd poller = {.fd = fake->kernel, .events = POLLIN};
	ssize_t n;

	must(poll(&poller, 1, DEADLINE_MS) == 1);
	n = read(fake->kernel, fake->answer.bytes, sizeof(fake->answer.bytes));
	must(n >= (ssize_t)sizeof(fake->answer.out) && fake->answer.out.len == n);
	fake->answer.size = (uint32_t)n;
	return fake->answer.out.unique;
}

int fake_device_call(struct fake_relayd *fake, uint32_t opcode, uint64_t nodeid, const void *body, uint32_t size)
{
	uint64_t unique = fake_device_request(fake, opcode, nodeid, body, size);

	must(fake_device_receive(fake) == unique);
	return fake->answer.out.error;
}

void fake_device_gone(struct fake_relayd *fake)
{
	must(shutdown(fake->kernel, SHUT_WR) == 0);
}

bool fake_device_quiet(struct fake_relayd *fake)
{
	struct pollfd poller = {.fd = fake->kernel, .events = POLLIN};

	return poll(&poller, 1, 0) == 0;
}

uint32_t fake_find(struct fake_relayd *fake, uint64_t unique)
{
	for (uint32_t i = 0; i < fake->map.large + fake->map.small; i++)
		if (fake_slot_header(fake, i)->unique == unique)
			return i;
	return UINT32_MAX;
}

uint64_t fake_import(struct fake_relayd *fake, uint32_t slot)
{
	struct fuse_in_header *header = fake_slot_header(fake, slot);
	struct relay_slot *s = fake_slot(fake, slot);

	must(header->unique != 0);
	s->opcode = header->opcode;
	s->unique = header->unique;
	s->request_size = header->len;
	s->channel_unique = relay_unique_make(fake->sequence++, slot);
	header->unique = s->channel_unique;
	if (fake_slot_state(fake, slot) == RELAY_SLOT_READING)
		atomic_store(&s->state, RELAY_SLOT_TAKEN);
	return s->channel_unique;
}

/* ---- the lane `uring` ---------------------------------------------------- */

void fake_rings(struct fake_relayd *fake)
{
	fake_direct(fake);
	fake->rings_fd = relay_rings_make(FAKE_QUEUES);
	must(relay_rings_map(&fake->rings, fake->rings_fd) == 0);
	for (unsigned i = 0; i < FAKE_QUEUES; i++) {
		fake->kicks[i] = eventfd(0, EFD_CLOEXEC);
		must(fake->kicks[i] >= 0);
	}
}

uint64_t fake_ring_fill(struct fake_relayd *fake, uint32_t entry, uint32_t opcode, uint64_t nodeid, const void *body,
			uint32_t size)
{
	struct relay_ring_header *ring = relay_ring_header(&fake->rings, entry);
	uint32_t operation = relay_op_get(opcode)->in_size;
	const struct fuse_in_header header = {
		.len = (uint32_t)sizeof(header) + size,
		.opcode = opcode,
		.nodeid = nodeid,
		.unique = 2 * ++fake->kernel_sequence,
	};

	must(atomic_load(relay_ring_state(&fake->rings, entry)) == RELAY_RING_KERNEL && operation <= size);
	memcpy(ring->in_out, &header, sizeof(header));
	memcpy(ring->op_in, body, operation);
	memcpy(relay_ring_payload(&fake->rings, entry), (const uint8_t *)body + operation, size - operation);
	ring->payload_size = size - operation;
	ring->commit_id = header.unique;
	return header.unique;
}

void fake_ring_publish(struct fake_relayd *fake, uint32_t entry)
{
	atomic_store(relay_ring_state(&fake->rings, entry), RELAY_RING_REQUEST);
	relay_ring_wake(&fake->rings, entry / RELAY_RING_DEPTH);
}

int fake_ring_answer(struct fake_relayd *fake, uint32_t entry)
{
	_Atomic uint32_t *state = relay_ring_state(&fake->rings, entry);
	int kick = fake->kicks[entry / RELAY_RING_DEPTH];
	struct pollfd poller = {.fd = kick, .events = POLLIN};
	struct fuse_out_header out;
	uint64_t count;

	/* A kick comes after its answer, and there may be one of another entry's. */
	while (atomic_load(state) != RELAY_RING_ANSWERED) {
		must(poll(&poller, 1, DEADLINE_MS) == 1);
		must(read(kick, &count, sizeof(count)) == sizeof(count));
	}
	memcpy(&out, relay_ring_header(&fake->rings, entry)->in_out, sizeof(out));
	must(out.unique == relay_ring_header(&fake->rings, entry)->commit_id);
	atomic_store(state, RELAY_RING_KERNEL);
	return out.error;
}

/* ---- crash plans ------------------------------------------------------- */

static int plan_fd = -1;

void fake_crash_plan(const char *plan)
{
	if (plan_fd < 0) {
		char path[32];

		/* Reached by its number, which the backends inherit. */
		plan_fd = memfd_create("crash-plan", 0);
		must(plan_fd >= 0);
		snprintf(path, sizeof(path), "/proc/self/fd/%d", plan_fd);
		must(setenv("RELAY_CRASH_FILE", path, 1) == 0);
	}
	must(ftruncate(plan_fd, 0) == 0);
	if (plan)
		must(pwrite(plan_fd, plan, strlen(plan), 0) == (ssize_t)strlen(plan));
}

void fake_crash_left(char *text, size_t size)
{
	ssize_t n = pread(plan_fd, text, size - 1, 0);

	must(n >= 0);
	text[n] = '\0';
}
