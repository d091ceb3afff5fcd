/*
 * The first thing that an upgrade's candidate says, on a mount that a native backend (bit 0 of
 * the first byte) or a foreign one was agreed with: it is taken only as HELLO of this version
 * where that was native, or as an answer to INIT; else there is a reason; and the kernel is told nothing.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "dispatch.h"
#include "relay/wire.h"
#include "session.h"
#include "upgrade.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct init_reply {
	struct fuse_out_header header;
	struct fuse_init_out out;
};

static void need(bool what)
{
	if (!what)
		abort();
}

/* What was agreed on with the backend that serves. */
static void session_agree(struct session *session, bool native)
{
	const struct {
		struct fuse_in_header header;
		struct fuse_init_in in;
	} request = {
		.header = {.len = sizeof(request), .opcode = FUSE_INIT, .unique = 2},
		.in = {.major = 7, .minor = 45, .max_readahead = 131072, .flags = UINT32_MAX, .flags2 = UINT32_MAX},
	};
	struct init_reply reply = {
		.header = {.len = sizeof(reply), .unique = 2},
		.out = {.major = 7, .minor = 45, .max_readahead = 131072, .max_write = 65536},
	};
	char why[64];

	need(session_init_take(session, &request, sizeof(request)) == 0);
	need(session_init_answer(session, &reply, sizeof(reply), native, why, sizeof(why)) == 0);
}

/* Whether it could be good, as far as that can be told by its head. */
static bool may_be_good(const struct session *session, const uint8_t *packet, size_t size)
{
	struct fuse_out_header header;
	struct relay_hello hello;

	if (size < sizeof(header))
		return false;
	memcpy(&header, packet, sizeof(header));
	if (header.unique != 0)
		return relay_unique_slot(header.unique) == DISPATCH_INIT_SLOT;
	if (header.error != RELAY_NOTIFY_HELLO || size != sizeof(header) + sizeof(hello) || !session->native)
		return false;
	memcpy(&hello, packet + sizeof(header), sizeof(hello));
	return hello.version == RELAY_WIRE_VERSION;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct session session = {.fd = -1};
	char why[64] = "", told[sizeof(struct init_reply)];
	struct fuse_init_out before;
	uint8_t *packet;
	int pipes[2];
	bool good;

	if (size < 1 || pipe2(pipes, O_CLOEXEC | O_NONBLOCK) < 0)
		return 0;
	session.fd = pipes[1];
	session_agree(&session, data[0] & 1);
	need(read(pipes[0], told, sizeof(told)) == sizeof(told));
	before = session.answer;
	/* A block of its own of just its size. */
	size--;
	packet = malloc(size ? size : 1);
	need(packet != NULL);
	if (size)
		memcpy(packet, data + 1, size);
	good = upgrade_first_check(&session, packet, (uint32_t)size, why, sizeof(why));
	need(memchr(why, '\0', sizeof(why)) && (good || *why));
	need(!good || may_be_good(&session, packet, size));
	need(read(pipes[0], told, sizeof(told)) == -1);
	need(session.agreed && memcmp(&before, &session.answer, sizeof(before)) == 0);
	free(packet);
	close(pipes[0]);
	close(pipes[1]);
	return 0;
}
