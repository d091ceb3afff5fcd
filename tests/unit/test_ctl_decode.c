/*
 * The decoder of the control socket: fixed parts of earlier and later versions.
 */
#include <criterion/criterion.h>
#include <endian.h>
#include <errno.h>
#include <string.h>

#include "ctl_cmds.h"
#include "ctl_decode.h"

#define HEADER sizeof(struct relay_ctl_header)

static struct relay_ctl_frame frame;
static struct ctl_request request;
static const char *why;

static void *begin(uint16_t type, size_t fixed)
{
	return relay_internal_ctl_begin(&frame, &(struct relay_ctl_head){.type = type, .sequence = 1}, fixed);
}

static int decode(void)
{
	memset(&request, 0, sizeof(request));
	cr_assert_eq(relay_internal_ctl_end(&frame), 0);
	return ctl_decode(&request, frame.bytes, frame.size, &why);
}

/* An ATTACH whose fixed part has so many bytes. */
static struct relay_ctl_attach *attach_begin(size_t fixed)
{
	struct relay_ctl_attach *body = begin(RELAY_CTL_ATTACH, fixed);

	body->flags = htole64(7);
	relay_internal_ctl_put(&frame, &body->source, "store");
	relay_internal_ctl_put(&frame, &body->target, "/mnt");
	relay_internal_ctl_put(&frame, &body->type, "fuse");
	relay_internal_ctl_put(&frame, &body->data, "fd=3");
	return body;
}

Test(ctl_decode, attach_of_an_earlier_version_has_no_token)
{
	const struct relay_ctl_attach *body;

	attach_begin(RELAY_CTL_ATTACH_FIXED_MIN);
	cr_assert_eq(decode(), 0, "%s", why);
	body = request.body;
	cr_expect_eq(le64toh(body->flags), 7u);
	cr_expect_eq(body->via, 0u);
	cr_expect_str_eq(request.strings[0], "store");
	cr_expect_str_eq(request.strings[3], "fd=3");
	cr_expect_null(request.strings[4]);
}

Test(ctl_decode, attach_with_a_token)
{
	struct relay_ctl_attach *body = attach_begin(sizeof(*body));

	body->via = htole32(RELAY_CTL_VIA_PRELOAD);
	relay_internal_ctl_put(&frame, &body->token, "secret");
	cr_assert_eq(decode(), 0, "%s", why);
	body = (struct relay_ctl_attach *)request.body;
	cr_expect_eq(le32toh(body->via), (uint32_t)RELAY_CTL_VIA_PRELOAD);
	cr_expect_str_eq(request.strings[4], "secret");
}

Test(ctl_decode, attach_of_a_later_version_is_as_good)
{
	attach_begin(sizeof(struct relay_ctl_attach) + 64);
	cr_assert_eq(decode(), 0, "%s", why);
	cr_expect_str_eq(request.strings[3], "fd=3");
	cr_expect_null(request.strings[4]);
}

Test(ctl_decode, mount_of_an_earlier_version_leaves_the_way_to_relayd)
{
	struct relay_ctl_mount *body = begin(RELAY_CTL_MOUNT, RELAY_CTL_MOUNT_FIXED_MIN);

	body->lives = htole32(5);
	relay_internal_ctl_put(&frame, &body->mountpoint, "/mnt");
	relay_internal_ctl_put(&frame, &body->backend, "fs");
	cr_assert_eq(decode(), 0, "%s", why);
	body = (struct relay_ctl_mount *)request.body;
	cr_expect_eq(le32toh(body->lives), 5u);
	cr_expect_eq(body->via_wanted, 0u);
	cr_expect_str_eq(request.strings[1], "/mnt");
	cr_expect_str_eq(request.strings[3], "fs");
}

/* The last one before there was anything to say of what may be known. */
Test(ctl_decode, mount_of_an_earlier_version_lets_nothing_be_known)
{
	struct relay_ctl_mount *body = begin(RELAY_CTL_MOUNT, offsetof(struct relay_ctl_mount, cache));

	body->fail_after_ms = htole32(7);
	relay_internal_ctl_put(&frame, &body->mountpoint, "/mnt");
	relay_internal_ctl_put(&frame, &body->backend, "fs");
	cr_assert_eq(decode(), 0, "%s", why);
	body = (struct relay_ctl_mount *)request.body;
	cr_expect_eq(le32toh(body->fail_after_ms), 7u);
	cr_expect_eq(body->cache.trust, 0u);
	cr_expect_eq(body->cache.bpf, 0u);
	cr_expect_eq(body->cache.negative_ms, 0u);
	cr_expect_str_eq(request.strings[1], "/mnt");
}

Test(ctl_decode, fixed_part_shorter_than_it_ever_was_is_refused)
{
	struct relay_ctl_attach *body = attach_begin(RELAY_CTL_ATTACH_FIXED_MIN);

	begin(RELAY_CTL_ATTACH, RELAY_CTL_ATTACH_FIXED_MIN - 8);
	cr_expect_eq(decode(), -EPROTO);
	/* A string within the fixed part makes it no longer than that. */
	body = attach_begin(RELAY_CTL_ATTACH_FIXED_MIN);
	body->source.offset = htole32(HEADER + 8);
	cr_expect_eq(decode(), -EPROTO);
}

Test(ctl_decode, frame_that_ends_within_a_new_field_is_read_no_further)
{
	struct relay_ctl_attach *body = begin(RELAY_CTL_ATTACH, RELAY_CTL_ATTACH_FIXED_MIN + 4);

	(void)body;
	cr_expect_eq(decode(), -EPROTO, "strings are missing");
}
