/*
 * Notifications: what may be sent is sent in order, the rest is refused.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>

#include "lib/fake_kernel.h"
#include "notify.h"

static struct fake_kernel kernel;
static struct notify notify;

static void setup(void)
{
	cr_assert_eq(fake_kernel_init(&kernel), 0);
	notify_init(&notify, "test", kernel.device);
}

static void teardown(void)
{
	notify_deinit(&notify);
	fake_kernel_deinit(&kernel);
}

TestSuite(notify, .init = setup, .fini = teardown, .timeout = 60);

static int put(int32_t code, uint32_t payload, int off)
{
	uint8_t packet[512] = {0};
	struct fuse_out_header header = {.len = (uint32_t)((int)(sizeof(header) + payload) + off), .error = code};

	memcpy(packet, &header, sizeof(header));
	packet[sizeof(header)] = (uint8_t)payload;
	return notify_put(&notify, packet, (uint32_t)sizeof(header) + payload);
}

Test(notify, each_kind_needs_its_structure)
{
	static const struct {
		int32_t code;
		uint32_t least;
	} kinds[] = {
		{FUSE_NOTIFY_POLL, sizeof(struct fuse_notify_poll_wakeup_out)},
		{FUSE_NOTIFY_INVAL_INODE, sizeof(struct fuse_notify_inval_inode_out)},
		{FUSE_NOTIFY_INVAL_ENTRY, sizeof(struct fuse_notify_inval_entry_out)},
		{FUSE_NOTIFY_STORE, sizeof(struct fuse_notify_store_out)},
		{FUSE_NOTIFY_RETRIEVE, sizeof(struct fuse_notify_retrieve_out)},
		{FUSE_NOTIFY_DELETE, sizeof(struct fuse_notify_delete_out)},
	};
	struct fake_packet packet;

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		cr_expect_eq(put(kinds[i].code, kinds[i].least - 1, 0), -EPROTO, "%d", kinds[i].code);
		cr_expect_eq(put(kinds[i].code, kinds[i].least, 1), -EPROTO, "%d", kinds[i].code);
		cr_expect_eq(put(kinds[i].code, kinds[i].least, -1), -EPROTO, "%d", kinds[i].code);
		cr_expect_eq(put(kinds[i].code, kinds[i].least, 0), 0, "%d", kinds[i].code);
		cr_assert(fake_kernel_receive(&kernel, &packet));
		cr_expect_eq(packet.out.error, kinds[i].code);
		cr_expect_eq(packet.size, sizeof(packet.out) + kinds[i].least);
	}
}

Test(notify, what_is_not_a_backends_is_refused)
{
	static const int32_t codes[] = {0, -1, INT32_MIN, INT32_MAX, FUSE_NOTIFY_RESEND, FUSE_NOTIFY_INC_EPOCH, 1000};

	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
		cr_expect_eq(put(codes[i], 64, 0), -EPROTO, "%d", codes[i]);
	cr_expect_eq(notify_put(&notify, "\1\0\0", 3), -EPROTO);
	cr_expect_not(notify.started);
}

Test(notify, they_come_in_order)
{
	struct fake_packet packet;

	for (uint8_t i = 0; i < 100; i++)
		cr_expect_eq(put(FUSE_NOTIFY_INVAL_INODE, 30 + i, 0), 0);
	for (uint8_t i = 0; i < 100; i++) {
		cr_assert(fake_kernel_receive(&kernel, &packet));
		cr_expect_eq(packet.bytes[sizeof(packet.out)], 30 + i);
	}
}

Test(notify, it_ends_with_some_queued)
{
	int err = 0;

	/* More than the socket takes, so that the thread is in the midst of a write. */
	fcntl(kernel.device, F_SETFL, O_NONBLOCK);
	for (unsigned i = 0; i < 100000 && !err; i++)
		err = put(FUSE_NOTIFY_INVAL_INODE, 400, 0);
	cr_expect_eq(err, 0);
}

/* What the kernel does not take cannot fill the memory. */
Test(notify, the_queue_is_bounded)
{
	static struct {
		struct fuse_out_header header;
		uint8_t bytes[RELAY_MAX_DATA];
	} store = {.header = {.len = sizeof(store), .error = FUSE_NOTIFY_STORE}};
	unsigned count = 0;

	while (count < 2000 && notify_put(&notify, &store, sizeof(store)) == 0)
		count++;
	cr_expect_gt(count, 500);
	cr_expect_lt(count, 1500);
	cr_expect_eq(notify_put(&notify, &store, sizeof(store)), -ENOSPC);
	/* The thread waits in a write. */
	signal(SIGPIPE, SIG_IGN);
	shutdown(kernel.device, SHUT_RDWR);
}
