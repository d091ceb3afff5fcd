/*
 * A backend's answers to INIT: whatever it says, the kernel is told what relayd can
 * hold to, once, and a later answer that is taken agrees with that.
 *
 * The first byte says where the input is cut into a first and a second answer.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "relay/wire.h"
#include "session.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct init_reply {
	struct fuse_out_header header;
	struct fuse_init_out out;
};

/* The reply as a block of its own of just its size. */
static int answer(struct session *session, const uint8_t *data, size_t size)
{
	char why[64] = "";
	uint8_t *copy = malloc(size ? size : 1);
	int err;

	if (!copy)
		return -1;
	if (size)
		memcpy(copy, data, size);
	err = session_init_answer(session, copy, (uint32_t)size, true, why, sizeof(why));
	if (err > 0 || (err && !*why) || !memchr(why, '\0', sizeof(why)))
		abort();
	free(copy);
	return err;
}

static void told_check(int pipe, bool agreed)
{
	struct init_reply reply;
	uint64_t flags;
	ssize_t n = read(pipe, &reply, sizeof(reply));

	if (!agreed) {
		if (n != -1)
			abort();
		return;
	}
	flags = reply.out.flags | (uint64_t)reply.out.flags2 << 32;
	if (n != sizeof(reply) || reply.header.len != sizeof(reply) || reply.header.error || reply.header.unique != 2)
		abort();
	if (reply.out.major != 7 || reply.out.minor > RELAY_FUSE_MINOR || reply.out.max_write > RELAY_MAX_DATA ||
	    reply.out.max_write < 4096 || reply.out.max_pages == 0 || reply.out.max_pages > RELAY_MAX_PAGES)
		abort();
	if (flags & (FUSE_OVER_IO_URING | FUSE_PASSTHROUGH) || !(flags & FUSE_MAX_PAGES) || !(flags & FUSE_HAS_RESEND))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct {
		struct fuse_in_header header;
		struct fuse_init_in in;
	} request = {
		.header = {.len = sizeof(request), .opcode = FUSE_INIT, .unique = 2},
		.in = {.major = 7, .minor = 45, .flags = UINT32_MAX, .flags2 = UINT32_MAX},
	};
	struct session session = {.fd = -1};
	size_t first;
	int pipes[2];

	if (size < 1 || pipe2(pipes, O_CLOEXEC | O_NONBLOCK) < 0)
		return 0;
	session.fd = pipes[1];
	if (session_init_take(&session, &request, sizeof(request)) < 0)
		abort();
	first = data[0] < size ? data[0] : size - 1;
	if ((answer(&session, data + 1, first) == 0) != session.agreed)
		abort();
	told_check(pipes[0], session.agreed);
	if (session.agreed) {
		answer(&session, data + 1 + first, size - 1 - first);
		told_check(pipes[0], false);
	}
	close(pipes[0]);
	close(pipes[1]);
	return 0;
}
