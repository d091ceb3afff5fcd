/*
 * Replies as a backend may send them: what relay_reply_check() lets through must
 * be what the kernel takes.
 *
 * An input is an opcode (one byte), the request's body (64 bytes), and the reply.
 */
#include <stdlib.h>
#include <string.h>

#include "relay/opcodes.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define BODY 64u

/* The kernel's rules (fs/fuse/dev.c), said another way. */
static void must_be_right(const struct relay_op *op, const struct relay_bounds *bounds, const uint8_t *reply,
			  size_t size)
{
	struct fuse_out_header out;
	size_t payload = size - sizeof(out);

	memcpy(&out, reply, sizeof(out));
	if (size < sizeof(out) || out.len != size || out.error > 0 || out.error <= -512)
		abort();
	if (out.error && payload)
		abort();
	if (!out.error && (payload < bounds->least || payload > bounds->most))
		abort();
	if (!out.error && op->reply == RELAY_REPLY_FIXED && payload != op->reply_size)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct {
		struct fuse_in_header header;
		uint8_t body[BODY];
	} request = {.header = {.len = sizeof(request)}};
	const struct relay_op *op;
	struct relay_bounds bounds;
	struct relay_args args;
	uint8_t *reply;
	size_t reply_size;

	if (size < 1 + BODY)
		return 0;
	request.header.opcode = data[0];
	memcpy(request.body, data + 1, BODY);
	op = relay_op_get(data[0]);
	if (!op || relay_args_parse(&request, sizeof(request), 0, &args))
		return 0;
	bounds = relay_reply_bounds(op, &request);
	if (bounds.least > bounds.most)
		abort();

	reply_size = size - 1 - BODY;
	reply = malloc(reply_size ? reply_size : 1);
	if (!reply)
		return 0;
	memcpy(reply, data + 1 + BODY, reply_size);
	if (!relay_reply_check(&bounds, reply, (uint32_t)reply_size))
		must_be_right(op, &bounds, reply, reply_size);
	free(reply);
	return 0;
}
