/*
 * The opcode table's rows, and the two checks that follow from them: does a
 * request fit its row, does a reply fit its request.  Both take bytes that
 * nobody vouches for and read nothing outside the sizes that they are given.
 */
#include "relay/opcodes.h"

#include <errno.h>
#include <limits.h>
#include <stddef.h>
#include <string.h>

/* The kernel refuses errors outside this range (fs/fuse/dev.c). */
#define ERROR_MIN (-511)

#define ROW(NAME, handler, shape_, in_, reply_, reply_size_, size_at_, redo_, flags_, absence_, ...)                   \
	[FUSE_##NAME] = {                                                                                              \
		.name = #NAME,                                                                                         \
		.shape = RELAY_SHAPE_##shape_,                                                                         \
		.in_size = (in_),                                                                                      \
		.reply = RELAY_REPLY_##reply_,                                                                         \
		.reply_size = (reply_size_),                                                                           \
		.size_at = (size_at_),                                                                                 \
		.redo = RELAY_REDO_##redo_,                                                                            \
		.flags = (flags_),                                                                                     \
		.absence = RELAY_ABSENCE_##absence_,                                                                   \
		.ids = {__VA_ARGS__},                                                                                  \
	},

static const struct relay_op ops[RELAY_OPCODE_MAX] = {RELAY_OPCODES(ROW)};

const struct relay_op *relay_op_get(uint32_t opcode)
{
	if (opcode >= RELAY_OPCODE_MAX || !ops[opcode].name)
		return NULL;
	return &ops[opcode];
}

uint32_t relay_op_in_size(uint32_t opcode, uint32_t init_flags)
{
	return opcode == FUSE_SETXATTR && init_flags & FUSE_SETXATTR_EXT ? sizeof(struct fuse_setxattr_in) : 0;
}

/* Takes one terminated, non-empty name off the front of what is left. */
static const char *take_name(const char **at, uint32_t *left)
{
	const char *name = *at;
	const char *end = memchr(name, '\0', *left);

	if (!end || end == name)
		return NULL;
	*left -= (uint32_t)(end - name) + 1;
	*at = end + 1;
	return name;
}

static bool shape_has_in(enum relay_shape shape)
{
	return shape == RELAY_SHAPE_IN || shape == RELAY_SHAPE_IN_NAME || shape == RELAY_SHAPE_IN_NAME_NAME ||
	       shape == RELAY_SHAPE_IN_DATA || shape == RELAY_SHAPE_IN_NAME_DATA;
}

static unsigned shape_names(enum relay_shape shape)
{
	static const unsigned char names[] = {
		[RELAY_SHAPE_NAME] = 1,		[RELAY_SHAPE_NAME_NAME] = 2,	[RELAY_SHAPE_IN_NAME] = 1,
		[RELAY_SHAPE_IN_NAME_NAME] = 2, [RELAY_SHAPE_IN_NAME_DATA] = 1,
	};

	return shape < sizeof(names) ? names[shape] : 0;
}

int relay_args_parse(const void *request, uint32_t size, uint32_t in_size, struct relay_args *args)
{
	const struct fuse_in_header *header = request;
	const struct relay_op *op;
	const char *at;
	uint32_t left;

	memset(args, 0, sizeof(*args));
	if (size < sizeof(*header) || header->len != size)
		return -EPROTO;
	op = relay_op_get(header->opcode);
	if (!op)
		return -ENOSYS;
	at = (const char *)request + sizeof(*header);
	left = size - sizeof(*header);
	if (shape_has_in(op->shape)) {
		if (in_size < op->in_size)
			in_size = op->in_size;
		if (left < in_size)
			return -EPROTO;
		args->in = at;
		at += in_size;
		left -= in_size;
	}
	if (shape_names(op->shape) >= 1) {
		args->name = take_name(&at, &left);
		if (!args->name)
			return -EPROTO;
	}
	if (shape_names(op->shape) >= 2) {
		/* A symlink's target is the one string that may be empty. */
		if (left > 0 && *at == '\0' && op->shape == RELAY_SHAPE_NAME_NAME)
			args->name2 = at;
		else
			args->name2 = take_name(&at, &left);
		if (!args->name2)
			return -EPROTO;
	}
	if (op->shape == RELAY_SHAPE_IN_DATA || op->shape == RELAY_SHAPE_IN_NAME_DATA) {
		args->data = at;
		args->data_size = left;
	}
	return 0;
}

/* The u32 in the request's fixed part that limits the size of the reply. */
static uint32_t size_limit(const struct relay_op *op, const void *request)
{
	uint32_t limit;

	memcpy(&limit, (const char *)request + sizeof(struct fuse_in_header) + op->size_at, sizeof(limit));
	return limit;
}

struct relay_bounds relay_reply_bounds(const struct relay_op *op, const void *request)
{
	struct relay_bounds bounds = {0, 0};
	uint32_t limit;

	switch (op->reply) {
	case RELAY_REPLY_NEVER:
		break;
	case RELAY_REPLY_FIXED:
		bounds.least = bounds.most = op->reply_size;
		break;
	case RELAY_REPLY_SIZED:
		bounds.most = size_limit(op, request);
		break;
	case RELAY_REPLY_XATTR:
		limit = size_limit(op, request);
		bounds.least = limit ? 0 : sizeof(struct fuse_getxattr_out);
		bounds.most = limit ? limit : sizeof(struct fuse_getxattr_out);
		break;
	case RELAY_REPLY_IOCTL:
		limit = size_limit(op, request);
		bounds.least = sizeof(struct fuse_ioctl_out);
		bounds.most = limit > UINT32_MAX - bounds.least ? UINT32_MAX : bounds.least + limit;
		break;
	case RELAY_REPLY_PATH:
		bounds.most = PATH_MAX - 1;
		break;
	case RELAY_REPLY_INIT:
		bounds.least = FUSE_COMPAT_INIT_OUT_SIZE;
		bounds.most = sizeof(struct fuse_init_out);
		break;
	}
	return bounds;
}

const char *relay_reply_check(const struct relay_bounds *bounds, const void *reply, uint32_t size)
{
	const struct fuse_out_header *out = reply;
	uint32_t payload;

	if (size < sizeof(*out))
		return "shorter than its header";
	if (out->len != size)
		return "its length field differs from its length";
	if (out->error > 0 || out->error < ERROR_MIN)
		return "its error is no errno";
	payload = size - (uint32_t)sizeof(*out);
	if (out->error != 0)
		return payload == 0 ? NULL : "an error with a payload";
	if (payload < bounds->least)
		return "payload too short";
	if (payload > bounds->most)
		return "payload too long";
	return NULL;
}
