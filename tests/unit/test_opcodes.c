/*
 * The opcode table against the kernel's header, and the two checks that are made
 * with it, at their edges.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <limits.h>
#include <string.h>

#include "relay/opcodes.h"
#include "relay/relay.h"

struct request {
	struct fuse_in_header header;
	uint8_t body[512];
};

/* A request whose body is these bytes. */
static uint32_t make(struct request *request, uint32_t opcode, const void *body, uint32_t size)
{
	memset(request, 0xff, sizeof(*request));
	request->header.len = (uint32_t)sizeof(request->header) + size;
	request->header.opcode = opcode;
	if (size)
		memcpy(request->body, body, size);
	return request->header.len;
}

static int parse(uint32_t opcode, const void *body, uint32_t size, struct relay_args *args)
{
	static struct request request;

	return relay_args_parse(&request, make(&request, opcode, body, size), 0, args);
}

/* Every number of the kernel's header up to 7.45, but for those that only CUSE uses. */
Test(opcodes, every_opcode_of_the_protocol_has_a_row)
{
	static const uint8_t unused[] = {0, 7, 19};

	for (uint32_t opcode = 0; opcode < RELAY_OPCODE_MAX; opcode++) {
		bool has_none = memchr(unused, (int)opcode, sizeof(unused)) != NULL;

		cr_expect_eq(relay_op_get(opcode) == NULL, has_none, "opcode %u", opcode);
	}
	cr_expect_eq(FUSE_COPY_FILE_RANGE_64, RELAY_OPCODE_MAX - 1);
}

Test(opcodes, other_numbers_have_none)
{
	static const uint32_t others[] = {RELAY_OPCODE_MAX, 4096 /* CUSE_INIT */, 0x52000001, UINT32_MAX};

	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		cr_expect_null(relay_op_get(others[i]));
}

Test(opcodes, rows_are_consistent)
{
	for (uint32_t opcode = 0; opcode < RELAY_OPCODE_MAX; opcode++) {
		const struct relay_op *op = relay_op_get(opcode);
		bool has_in;

		if (!op)
			continue;
		has_in = op->shape != RELAY_SHAPE_NONE && op->shape != RELAY_SHAPE_NAME &&
			 op->shape != RELAY_SHAPE_NAME_NAME;
		cr_expect_eq(op->in_size > 0, has_in, "%s", op->name);
		cr_expect_eq(op->in_size % 4, 0, "%s", op->name);
		if (op->reply == RELAY_REPLY_SIZED || op->reply == RELAY_REPLY_XATTR || op->reply == RELAY_REPLY_IOCTL)
			cr_expect(op->size_at + sizeof(uint32_t) <= op->in_size, "%s", op->name);
		if (op->reply != RELAY_REPLY_FIXED)
			cr_expect_eq(op->reply_size, 0, "%s", op->name);
		if (op->flags & RELAY_OP_ENTRY)
			cr_expect(op->reply_size >= sizeof(struct fuse_entry_out), "%s", op->name);
		if (op->flags & RELAY_OP_OPENS)
			cr_expect(op->reply_size >= sizeof(struct fuse_open_out), "%s", op->name);
		/* What has no reply has nothing to be made exact. */
		if (op->reply == RELAY_REPLY_NEVER)
			cr_expect_eq(op->redo, RELAY_REDO_REPEAT, "%s", op->name);
	}
}

Test(opcodes, parts_of_each_shape_are_found)
{
	struct relay_args args;
	uint8_t body[64] = {0};

	cr_assert_eq(parse(FUSE_READLINK, NULL, 0, &args), 0);
	cr_expect(!args.in && !args.name && !args.data);

	cr_assert_eq(parse(FUSE_LOOKUP, "name", 5, &args), 0);
	cr_expect_str_eq(args.name, "name");

	cr_assert_eq(parse(FUSE_SYMLINK, "name\0target", 12, &args), 0);
	cr_expect_str_eq(args.name, "name");
	cr_expect_str_eq(args.name2, "target");

	memcpy(body + sizeof(struct fuse_rename2_in), "old\0new", 8);
	cr_assert_eq(parse(FUSE_RENAME2, body, sizeof(struct fuse_rename2_in) + 8, &args), 0);
	cr_expect_str_eq(args.name, "old");
	cr_expect_str_eq(args.name2, "new");
	cr_expect_not_null(args.in);

	memcpy(body + sizeof(struct fuse_write_in), "data", 4);
	cr_assert_eq(parse(FUSE_WRITE, body, sizeof(struct fuse_write_in) + 4, &args), 0);
	cr_expect_eq(args.data_size, 4);
	cr_expect_arr_eq(args.data, "data", 4);
}

Test(opcodes, setxattr_is_read_in_both_lengths)
{
	struct request request;
	struct relay_args args;
	uint8_t body[32] = {0};
	uint32_t size;

	memcpy(body + 8, "user.a\0value", 12);
	size = make(&request, FUSE_SETXATTR, body, 20);
	cr_assert_eq(relay_args_parse(&request, size, 0, &args), 0);
	cr_expect_str_eq(args.name, "user.a");
	cr_expect_eq(args.data_size, 5);

	memset(body, 0, sizeof(body));
	memcpy(body + 16, "user.a\0value", 12);
	size = make(&request, FUSE_SETXATTR, body, 28);
	cr_assert_eq(relay_args_parse(&request, size, sizeof(struct fuse_setxattr_in), &args), 0);
	cr_expect_str_eq(args.name, "user.a");
	cr_expect_eq(args.data_size, 5);
}

Test(opcodes, malformed_requests_are_refused)
{
	struct relay_args args;
	struct request request;
	uint32_t size;

	cr_expect_eq(parse(FUSE_LOOKUP, "name", 4, &args), -EPROTO, "a name without its end");
	cr_expect_eq(parse(FUSE_LOOKUP, "", 1, &args), -EPROTO, "an empty name");
	cr_expect_eq(parse(FUSE_LOOKUP, NULL, 0, &args), -EPROTO, "no name");
	cr_expect_eq(parse(FUSE_SYMLINK, "name\0target", 11, &args), -EPROTO, "a second name without its end");
	cr_expect_eq(parse(FUSE_SYMLINK, "name", 5, &args), -EPROTO, "one name of two");
	cr_expect_eq(parse(FUSE_GETATTR, "", 1, &args), -EPROTO, "a short fixed part");
	cr_expect_eq(parse(FUSE_WRITE, NULL, 0, &args), -EPROTO, "no fixed part");
	cr_expect_eq(parse(0, NULL, 0, &args), -ENOSYS);
	cr_expect_eq(parse(UINT32_MAX, NULL, 0, &args), -ENOSYS);

	size = make(&request, FUSE_STATFS, NULL, 0);
	cr_expect_eq(relay_args_parse(&request, size - 1, 0, &args), -EPROTO, "shorter than a header");
	cr_expect_eq(relay_args_parse(&request, size + 1, 0, &args), -EPROTO, "longer than it says");
	cr_expect_eq(relay_args_parse(&request, 0, 0, &args), -EPROTO, "empty");
}

Test(opcodes, a_symlink_may_have_an_empty_target)
{
	struct relay_args args;

	cr_assert_eq(parse(FUSE_SYMLINK, "name\0", 6, &args), 0);
	cr_expect_str_eq(args.name2, "");
	cr_expect_eq(parse(FUSE_RENAME2, "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0name\0", 22, &args), -EPROTO);
}

static struct relay_bounds bounds_of(uint32_t opcode, const void *body, uint32_t size)
{
	struct request request;

	make(&request, opcode, body, size);
	return relay_reply_bounds(relay_op_get(opcode), &request);
}

Test(opcodes, bounds_follow_the_request)
{
	struct fuse_getxattr_in xattr = {.size = 0};
	struct fuse_read_in read = {.size = 100};
	struct fuse_ioctl_in ioctl = {.out_size = 8};
	struct relay_bounds bounds;

	bounds = bounds_of(FUSE_MKDIR, NULL, 0);
	cr_expect(bounds.least == sizeof(struct fuse_entry_out) && bounds.most == sizeof(struct fuse_entry_out));
	bounds = bounds_of(FUSE_READ, &read, sizeof(read));
	cr_expect(bounds.least == 0 && bounds.most == 100);
	bounds = bounds_of(FUSE_GETXATTR, &xattr, sizeof(xattr));
	cr_expect(bounds.least == sizeof(struct fuse_getxattr_out) && bounds.most == sizeof(struct fuse_getxattr_out));
	xattr.size = 10;
	bounds = bounds_of(FUSE_LISTXATTR, &xattr, sizeof(xattr));
	cr_expect(bounds.least == 0 && bounds.most == 10);
	bounds = bounds_of(FUSE_IOCTL, &ioctl, sizeof(ioctl));
	cr_expect(bounds.least == sizeof(struct fuse_ioctl_out) && bounds.most == sizeof(struct fuse_ioctl_out) + 8);
	ioctl.out_size = UINT32_MAX;
	bounds = bounds_of(FUSE_IOCTL, &ioctl, sizeof(ioctl));
	cr_expect_eq(bounds.most, UINT32_MAX);
	bounds = bounds_of(FUSE_READLINK, NULL, 0);
	cr_expect(bounds.least == 0 && bounds.most == PATH_MAX - 1);
	bounds = bounds_of(FUSE_FORGET, NULL, 0);
	cr_expect(bounds.least == 0 && bounds.most == 0);
}

Test(opcodes, replies_are_checked)
{
	const struct relay_bounds bounds = {.least = 4, .most = 8};
	struct {
		struct fuse_out_header out;
		uint8_t payload[16];
	} reply = {.out = {.len = sizeof(struct fuse_out_header) + 4, .unique = 2}};
	uint32_t header = sizeof(reply.out);

	cr_expect_null(relay_reply_check(&bounds, &reply, header + 4));
	cr_expect_not_null(relay_reply_check(&bounds, &reply, header - 1));
	cr_expect_not_null(relay_reply_check(&bounds, &reply, 0));
	cr_expect_not_null(relay_reply_check(&bounds, &reply, header + 5), "len differs");
	reply.out.len = header + 8;
	cr_expect_null(relay_reply_check(&bounds, &reply, header + 8));
	reply.out.len = header + 3;
	cr_expect_not_null(relay_reply_check(&bounds, &reply, header + 3), "too short");
	reply.out.len = header + 9;
	cr_expect_not_null(relay_reply_check(&bounds, &reply, header + 9), "too long");

	reply.out.error = -EIO;
	cr_expect_not_null(relay_reply_check(&bounds, &reply, header + 9), "an error with a payload");
	reply.out.len = header;
	cr_expect_null(relay_reply_check(&bounds, &reply, header));
	reply.out.error = -511;
	cr_expect_null(relay_reply_check(&bounds, &reply, header));
	reply.out.error = -512;
	cr_expect_not_null(relay_reply_check(&bounds, &reply, header));
	reply.out.error = EIO;
	cr_expect_not_null(relay_reply_check(&bounds, &reply, header), "positive");
	reply.out.error = INT_MIN;
	cr_expect_not_null(relay_reply_check(&bounds, &reply, header));
}
