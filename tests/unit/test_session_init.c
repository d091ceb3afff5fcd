/*
 * INIT: what backends are offered, what the kernel is told, and which later backends
 * are taken.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "lib/fake_kernel.h"
#include "session.h"

static struct fake_kernel kernel;
static struct session session;
static char why[256];

#define ALL (~(uint64_t)0)

/* The kernel offers this, with an INIT of this size. */
static void offer(uint64_t flags, uint32_t size)
{
	struct {
		struct fuse_in_header header;
		struct fuse_init_in in;
		uint8_t later[64];
	} request = {
		.header = {.len = size, .opcode = FUSE_INIT, .unique = 2},
		.in = {.major = 7, .minor = 60, .flags = (uint32_t)flags, .flags2 = (uint32_t)(flags >> 32)},
	};

	memset(request.later, 0xee, sizeof(request.later));
	session = (struct session){.fd = kernel.device};
	cr_assert_eq(session_init_take(&session, &request, size), 0);
}

static void setup(void)
{
	cr_assert_eq(fake_kernel_init(&kernel), 0);
	offer(ALL, sizeof(struct fuse_in_header) + sizeof(struct fuse_init_in));
}

static void teardown(void)
{
	fake_kernel_deinit(&kernel);
}

TestSuite(session_init, .init = setup, .fini = teardown, .timeout = 60);

static struct fuse_init_out wish(uint64_t flags)
{
	return (struct fuse_init_out){
		.major = 7,
		.minor = 38,
		.flags = (uint32_t)flags,
		.flags2 = (uint32_t)(flags >> 32),
		.max_write = RELAY_MAX_DATA,
		.max_pages = RELAY_MAX_PAGES,
		.time_gran = 1,
	};
}

/* Whether the backend is linked with librelay. */
static bool native = true;

/* The first `size` bytes of an answer. */
static int answer_cut(const struct fuse_init_out *out, uint32_t size)
{
	struct {
		struct fuse_out_header header;
		struct fuse_init_out out;
	} reply = {.header = {.len = (uint32_t)sizeof(reply.header) + size, .unique = 4}, .out = *out};

	why[0] = '\0';
	return session_init_answer(&session, &reply, reply.header.len, native, why, sizeof(why));
}

static int answer(struct fuse_init_out out)
{
	return answer_cut(&out, sizeof(out));
}

/* What the kernel is told. */
static struct fuse_init_out told(void)
{
	struct fake_packet packet;
	struct fuse_init_out out;

	cr_assert(fake_kernel_receive(&kernel, &packet));
	cr_assert_eq(packet.size, sizeof(packet.out) + sizeof(out));
	cr_expect_eq(packet.out.len, packet.size);
	cr_expect_eq(packet.out.unique, 2);
	cr_expect_eq(packet.out.error, 0);
	memcpy(&out, fake_packet_out(&packet), sizeof(out));
	return out;
}

static uint64_t flags_of(uint32_t flags, uint32_t flags2)
{
	return flags | (uint64_t)flags2 << 32;
}

Test(session_init, backends_are_not_offered_what_cannot_be_relayed)
{
	static const uint64_t withheld = FUSE_OVER_IO_URING | FUSE_PASSTHROUGH | FUSE_HAS_INODE_DAX |
					 FUSE_MAP_ALIGNMENT | FUSE_REQUEST_TIMEOUT;
	uint8_t buffer[SESSION_INIT_MAX];
	const struct fuse_in_header *header = (void *)buffer;
	const struct fuse_init_in *in = (void *)(header + 1);

	cr_expect_eq(session_init_request(&session, 88, buffer), sizeof(*header) + sizeof(*in));
	cr_expect_eq(header->unique, 88);
	cr_expect_eq(header->len, sizeof(*header) + sizeof(*in));
	cr_expect_eq(in->minor, RELAY_FUSE_MINOR);
	cr_expect_eq(flags_of(in->flags, in->flags2) & withheld, 0);
	cr_expect_eq(flags_of(in->flags, in->flags2) & FUSE_POSIX_ACL, FUSE_POSIX_ACL);
}

Test(session_init, an_older_kernels_init_keeps_its_size)
{
	uint8_t buffer[SESSION_INIT_MAX];
	const uint32_t size = sizeof(struct fuse_in_header) + 16;

	offer(0x3ffffff, size);
	cr_expect_eq(session_init_request(&session, 88, buffer), size);
	cr_expect_eq(answer(wish(ALL)), 0);
	cr_expect_eq(told().flags2, 0, "what was not offered is not wanted");
}

Test(session_init, malformed_ones_are_refused)
{
	struct {
		struct fuse_in_header header;
		struct fuse_init_in in;
		uint8_t rest[512];
	} request = {.in = {.major = 7, .minor = 40}};

	cr_expect_eq(session_init_take(&session, &request, sizeof(request.header) + 15), -EPROTO);
	cr_expect_eq(session_init_take(&session, &request, SESSION_INIT_MAX + 1), -EPROTO);
	cr_expect_eq(session_init_take(&session, &request, SESSION_INIT_MAX), 0);
	request.in.major = 8;
	cr_expect_eq(session_init_take(&session, &request, 104), -EPROTO);
}

Test(session_init, the_first_answer_is_clamped)
{
	struct fuse_init_out out = wish(ALL);

	out.max_write = 1 << 20;
	out.max_pages = 256;
	out.minor = 99;
	out.map_alignment = 12;
	memset(out.unused, 0xff, sizeof(out.unused));
	cr_assert_eq(answer(out), 0);
	cr_expect(session.agreed);
	out = told();
	cr_expect_eq(out.major, 7);
	cr_expect_eq(out.minor, RELAY_FUSE_MINOR);
	cr_expect_eq(out.max_write, RELAY_MAX_DATA);
	cr_expect_eq(out.max_pages, RELAY_MAX_PAGES);
	cr_expect_eq(out.map_alignment, 0);
	for (size_t i = 0; i < sizeof(out.unused) / sizeof(out.unused[0]); i++)
		cr_expect_eq(out.unused[i], 0);
	cr_expect_eq(flags_of(out.flags, out.flags2) & (FUSE_OVER_IO_URING | FUSE_PASSTHROUGH), 0);
}

Test(session_init, what_is_too_small_is_raised_and_resend_is_always_on)
{
	struct fuse_init_out out = wish(0);

	out.max_write = 0;
	out.max_pages = 0;
	cr_assert_eq(answer(out), 0);
	out = told();
	cr_expect_eq(out.max_write, 4096);
	cr_expect_eq(out.max_pages, RELAY_MAX_PAGES);
	cr_expect_eq(flags_of(out.flags, out.flags2), FUSE_MAX_PAGES | FUSE_INIT_EXT | FUSE_HAS_RESEND);
}

Test(session_init, flags2_counts_only_with_its_flag)
{
	cr_assert_eq(answer(wish((uint64_t)0xffffffff << 32)), 0);
	cr_expect_eq(told().flags2, (uint32_t)(FUSE_HAS_RESEND >> 32));
}

Test(session_init, a_short_answer_is_one_of_an_older_version)
{
	struct fuse_init_out out = wish(FUSE_ASYNC_READ | FUSE_INIT_EXT | FUSE_HAS_EXPIRE_ONLY);

	out.minor = 22;
	cr_assert_eq(answer_cut(&out, FUSE_COMPAT_22_INIT_OUT_SIZE), 0);
	out = told();
	cr_expect_eq(out.minor, 22);
	cr_expect_eq(out.time_gran, 0);
	cr_expect_eq(out.max_pages, RELAY_MAX_PAGES);
	cr_expect_eq(flags_of(out.flags, out.flags2) & FUSE_HAS_EXPIRE_ONLY, 0);
}

Test(session_init, what_is_no_answer_is_refused)
{
	static const int32_t errors[] = {1, -1, -EPROTO, INT32_MIN, INT32_MAX, -4096};
	struct fuse_init_out out = wish(0);
	struct fuse_out_header header = {.len = sizeof(header)};

	for (uint32_t size = 0; size < FUSE_COMPAT_22_INIT_OUT_SIZE; size++)
		cr_expect_eq(answer_cut(&out, size), -EPROTO, "%u", size);
	out.major = 8;
	cr_expect_eq(answer(out), -EPROTO);
	out.major = 7;
	out.minor = 11;
	cr_expect_eq(answer(out), -EPROTO);
	cr_expect(strstr(why, "7.11"), "%s", why);
	for (uint32_t size = 0; size < sizeof(header); size++)
		cr_expect_eq(session_init_answer(&session, &header, size, true, why, sizeof(why)), -EPROTO);
	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
		header.error = errors[i];
		why[0] = '\0';
		cr_expect_eq(session_init_answer(&session, &header, sizeof(header), true, why, sizeof(why)), -EPROTO);
		cr_expect_neq(why[0], '\0');
	}
	header = (struct fuse_out_header){.len = 17};
	cr_expect_eq(session_init_answer(&session, &header, sizeof(header), true, why, sizeof(why)), -EPROTO);
	cr_expect(fake_kernel_quiet(&kernel));
	cr_expect_not(session.agreed);
}

Test(session_init, later_answers_are_held_against_the_first)
{
	const uint64_t flags = FUSE_ASYNC_READ | FUSE_INIT_EXT | FUSE_HAS_EXPIRE_ONLY;
	struct fuse_init_out out;

	cr_assert_eq(answer(wish(flags)), 0);
	told();
	cr_expect_eq(answer(wish(flags)), 0);
	out = wish(flags);
	out.max_background = 100;
	out.congestion_threshold = 50;
	out.max_readahead = 77;
	cr_expect_eq(answer(out), 0, "that is not what requests go by");
	out = wish(flags);
	out.max_write = 1 << 20;
	cr_expect_eq(answer(out), 0, "clamped as the first was");
	out.max_write = 8192;
	cr_expect_eq(answer(out), -EPROTO);
	cr_expect(strstr(why, "max_write"), "%s", why);
	cr_expect_eq(answer(wish(flags & ~(uint64_t)FUSE_ASYNC_READ)), -EPROTO);
	cr_expect_eq(answer(wish(flags & ~FUSE_HAS_EXPIRE_ONLY)), -EPROTO);
	cr_expect(strstr(why, "flags2"), "%s", why);
	out = wish(flags);
	out.time_gran = 1000;
	cr_expect_eq(answer(out), -EPROTO);
	out = wish(flags);
	out.minor = 31;
	cr_expect_eq(answer(out), -EPROTO);
	cr_expect(fake_kernel_quiet(&kernel), "the kernel is told once");
}

Test(session_init, a_kernel_that_is_gone_is_told_as_a_reason)
{
	fake_kernel_deinit(&kernel);
	cr_expect_eq(answer(wish(0)), -EPROTO);
	cr_expect(strstr(why, "kernel"), "%s", why);
	cr_expect_not(session.agreed);
	cr_assert_eq(fake_kernel_init(&kernel), 0);
}

Test(session_init, translated_replies_fit_a_packet)
{
	struct fuse_init_out out;

	native = false;
	cr_assert_eq(answer(wish(ALL)), 0, "%s", why);
	out = told();
	cr_expect_eq(out.max_pages, RELAY_MAX_PAGES - 2);
	cr_expect_eq(out.max_write, (RELAY_MAX_PAGES - 2) * 4096u);
	native = true;
	cr_expect_eq(answer(wish(ALL)), -EPROTO);
	cr_expect(strstr(why, "linked with librelay") != NULL, "%s", why);
}

/* ---- passthrough ---------------------------------------------------------- */

static struct fuse_init_out wish_passthrough(void)
{
	struct fuse_init_out out = wish(FUSE_INIT_EXT | FUSE_PASSTHROUGH);

	out.minor = 45;
	out.RELAY_STACK_DEPTH = 1;
	return out;
}

Test(session_init, passthrough_is_for_backends_of_root_that_know_relayd)
{
	struct fuse_init_out out;

	session.may_back = true;
	cr_expect(session_passthrough_offered(&session));
	cr_expect_not(session_passthrough(&session), "nothing is agreed yet");
	cr_assert_eq(answer(wish_passthrough()), 0);
	out = told();
	cr_expect_eq(flags_of(out.flags, out.flags2) & FUSE_PASSTHROUGH, FUSE_PASSTHROUGH);
	cr_expect_eq(out.RELAY_STACK_DEPTH, 1);
	cr_expect(session_passthrough(&session));
	cr_expect_eq(answer(wish_passthrough()), 0, "and for the next one");
}

static void expect_without(void)
{
	struct fuse_init_out out = told();

	cr_expect_eq(flags_of(out.flags, out.flags2) & FUSE_PASSTHROUGH, 0);
	cr_expect_eq(out.RELAY_STACK_DEPTH, 0);
	cr_expect_not(session_passthrough(&session));
}

Test(session_init, others_do_without_passthrough)
{
	cr_expect_not(session_passthrough_offered(&session), "may not register files");
	cr_assert_eq(answer(wish_passthrough()), 0);
	expect_without();
}

Test(session_init, a_foreign_backend_does_without_passthrough)
{
	session.may_back = true;
	native = false;
	cr_assert_eq(answer(wish_passthrough()), 0);
	expect_without();
}

Test(session_init, a_kernel_before_passthrough_is_not_believed)
{
	struct fuse_init_in *in = (void *)(session.init + sizeof(struct fuse_in_header));

	session.may_back = true;
	in->minor = 39;
	cr_expect_not(session_passthrough_offered(&session), "the bit meant something else");
}

Test(session_init, passthrough_excludes_write_back)
{
	struct fuse_init_out out = wish_passthrough();

	session.may_back = true;
	out.flags |= FUSE_WRITEBACK_CACHE;
	cr_assert_eq(answer(out), 0);
	expect_without();
}

Test(session_init, passthrough_without_a_depth_is_none)
{
	struct fuse_init_out out = wish_passthrough();

	session.may_back = true;
	out.RELAY_STACK_DEPTH = 0;
	cr_assert_eq(answer(out), 0);
	expect_without();
}

Test(session_init, a_later_backend_has_the_same_passthrough)
{
	struct fuse_init_out out = wish_passthrough();

	session.may_back = true;
	cr_assert_eq(answer(out), 0);
	out.RELAY_STACK_DEPTH = 2;
	cr_expect_eq(answer(out), -EPROTO);
	cr_expect_neq(strstr(why, "max_stack_depth"), NULL, "%s", why);
	cr_expect_eq(answer(wish(FUSE_INIT_EXT)), -EPROTO);
}
