/*
 * What a backend sends: only whole and fitting replies come to the kernel, the rest
 * costs at most the request that it names.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/dispatch_rig.h"

static struct dispatch_rig rig;

static void setup(void)
{
	cr_assert_eq(rig_init(&rig), 0);
}

static void teardown(void)
{
	rig_deinit(&rig);
}

TestSuite(dispatch_reply, .init = setup, .fini = teardown, .timeout = 60);

static void serve(bool hello)
{
	cr_assert(rig_serve(&rig, hello));
}

/* A GETATTR that the backend has: its unique there, and the kernel's. */
static uint64_t getattr(uint64_t *kernel)
{
	uint64_t channel;

	*kernel = fake_kernel_minimal(&rig.kernel, FUSE_GETATTR);
	channel = fake_backend_gets(&rig.backend, FUSE_GETATTR);
	cr_assert_neq(channel, 0);
	return channel;
}

/* It serves on: a request is answered. */
static void serves(void)
{
	const struct fuse_attr_out attr = {.attr_valid = 5, .attr.ino = 77};
	struct fake_packet packet;
	uint64_t kernel, channel = getattr(&kernel);

	cr_assert(fake_backend_reply(&rig.backend, channel, 0, &attr, sizeof(attr)));
	cr_assert(fake_kernel_receive(&rig.kernel, &packet));
	cr_expect_eq(packet.out.unique, kernel);
	cr_expect_eq(packet.out.error, 0);
	cr_expect_eq(packet.size, sizeof(packet.out) + sizeof(attr));
	cr_expect_arr_eq(fake_packet_out(&packet), &attr, sizeof(attr));
}

static uint64_t bad_replies(void)
{
	return atomic_load(&rig.stats.bad_replies);
}

static unsigned descriptors(void)
{
	unsigned count = 0;

	for (int fd = 0; fd < 1024; fd++)
		count += fcntl(fd, F_GETFD) >= 0;
	return count;
}

Test(dispatch_reply, a_fitting_reply_comes_to_the_kernel_as_it_is)
{
	serve(false);
	serves();
	cr_expect_eq(bad_replies(), 0);
}

Test(dispatch_reply, a_malformed_reply_is_eio)
{
	static const struct {
		const char *what;
		int32_t error;
		uint32_t payload;
		int32_t length; /* off by */
	} cases[] = {
		{"too short", 0, sizeof(struct fuse_attr_out) - 1, 0},
		{"empty", 0, 0, 0},
		{"too long", 0, sizeof(struct fuse_attr_out) + 1, 0},
		{"far too long", 0, RELAY_MAX_DATA, 0},
		{"as long as no packet", 0, RELAY_MAX_REPLY + 6000, 0},
		{"a wrong length", 0, sizeof(struct fuse_attr_out), -1},
		{"a longer length", 0, sizeof(struct fuse_attr_out), 1000},
		{"a positive error", 5, 0, 0},
		{"an error that is none", -512, 0, 0},
		{"the least error", INT32_MIN, 0, 0},
		{"an error and a payload", -EIO, sizeof(struct fuse_attr_out), 0},
	};
	static uint8_t bytes[RELAY_MAX_REPLY + 8192];
	struct fuse_out_header header;
	uint64_t kernel;

	serve(false);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint32_t size = (uint32_t)sizeof(header) + cases[i].payload;

		header = (struct fuse_out_header){
			.len = size + (uint32_t)cases[i].length, .error = cases[i].error, .unique = getattr(&kernel)};
		memcpy(bytes, &header, sizeof(header));
		cr_assert(fake_backend_send(&rig.backend, bytes, size));
		cr_expect(fake_kernel_gets_error(&rig.kernel, kernel, EIO), "%s", cases[i].what);
		cr_expect_eq(bad_replies(), i + 1, "%s", cases[i].what);
	}
	serves();
}

Test(dispatch_reply, a_reply_to_nothing_changes_nothing)
{
	uint64_t kernel, channel;

	serve(false);
	channel = getattr(&kernel);
	fake_backend_reply(&rig.backend, channel + 2, ENOENT, NULL, 0);
	fake_backend_reply(&rig.backend, channel + (1 << 17), ENOENT, NULL, 0);
	fake_backend_reply(&rig.backend, relay_unique_make(1, 5000), ENOENT, NULL, 0);
	fake_backend_reply(&rig.backend, UINT64_MAX - 1, ENOENT, NULL, 0);
	fake_backend_reply(&rig.backend, channel, ENOENT, NULL, 0);
	cr_expect(fake_kernel_gets_error(&rig.kernel, kernel, ENOENT));
	fake_backend_reply(&rig.backend, channel, EPERM, NULL, 0);
	serves();
	cr_expect(fake_kernel_quiet(&rig.kernel), "the second reply is not the next request's");
	cr_expect_eq(bad_replies(), 5);
}

Test(dispatch_reply, less_than_a_header_and_nothing_at_all_are_passed_over)
{
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	unsigned before;

	serve(false);
	serves();
	before = descriptors();
	fake_backend_send(&rig.backend, "garbage", 7);
	cr_assert_eq(send(rig.backend.fd, "", 0, MSG_NOSIGNAL), 0);
	serves();
	cr_expect_eq(bad_replies(), 2);
	for (int i = 0; i < 10; i++)
		fake_backend_notify(&rig.backend, FUSE_NOTIFY_POLL, "", 0, null);
	serves();
	cr_expect_eq(descriptors(), before, "descriptors that nobody asked for are closed");
}

Test(dispatch_reply, a_forget_is_done_when_it_is_sent_to_a_plain_backend)
{
	const struct fuse_forget_in in = {.nlookup = 1};
	uint64_t channel;

	serve(false);
	for (unsigned i = 0; i < 3 * RIG_LARGE; i++) {
		fake_kernel_request(&rig.kernel, FUSE_FORGET, &in, sizeof(in));
		channel = fake_backend_gets(&rig.backend, FUSE_FORGET);
		cr_assert_neq(channel, 0);
		/* It should not, and it does not matter. */
		fake_backend_reply(&rig.backend, channel, 0, NULL, 0);
	}
	cr_expect(rig_inflight(&rig, 0));
	serves();
	cr_expect(fake_kernel_quiet(&rig.kernel));
	cr_expect_eq(bad_replies(), 3 * RIG_LARGE);
}

Test(dispatch_reply, a_forget_is_done_when_librelay_acknowledges_it)
{
	const struct fuse_forget_in in = {.nlookup = 1};
	uint64_t channel;

	serve(true);
	fake_kernel_request(&rig.kernel, FUSE_FORGET, &in, sizeof(in));
	channel = fake_backend_gets(&rig.backend, FUSE_FORGET);
	cr_expect_eq(dispatch_inflight(&rig.dispatch), 1);
	fake_backend_store(&rig.backend, channel, 0);
	fake_backend_reply(&rig.backend, channel, 0, NULL, 0);
	cr_expect(rig_inflight(&rig, 0));
	/* Free, or the next request's. */
	cr_expect_lt(atomic_load(&fake_backend_slot(&rig.backend, channel)->state), RELAY_SLOT_TAKEN);
	serves();
	cr_expect(fake_kernel_quiet(&rig.kernel), "the kernel is told nothing");
	cr_expect_eq(bad_replies(), 0);
}

Test(dispatch_reply, an_interrupt_that_came_too_early_is_sent_again)
{
	uint64_t kernel, channel;

	serve(false);
	channel = getattr(&kernel);
	fake_backend_reply(&rig.backend, channel | 1, EAGAIN, NULL, 0);
	cr_expect_eq(fake_backend_gets(&rig.backend, FUSE_INTERRUPT), channel | 1);
	fake_backend_reply(&rig.backend, channel | 1, ENOSYS, NULL, 0);
	fake_backend_reply(&rig.backend, channel, EINTR, NULL, 0);
	cr_expect(fake_kernel_gets_error(&rig.kernel, kernel, EINTR));
	fake_backend_reply(&rig.backend, channel | 1, EAGAIN, NULL, 0);
	serves();
	cr_expect(fake_backend_quiet(&rig.backend), "not of a request that is answered");
}

/* A file of this size, as what a backend leaves. */
static int file_of(off_t size)
{
	int fd = memfd_create("left", MFD_CLOEXEC);

	cr_assert(fd >= 0 && ftruncate(fd, size) == 0);
	return fd;
}

static void keep(uint64_t key, off_t size)
{
	const struct relay_key body = {.key = key};
	int fd = file_of(size);

	cr_assert(fake_backend_notify(&rig.backend, RELAY_NOTIFY_KEEP, &body, sizeof(body), fd));
	close(fd);
}

static void drop(uint64_t key)
{
	const struct relay_key body = {.key = key};

	cr_assert(fake_backend_notify(&rig.backend, RELAY_NOTIFY_DROP, &body, sizeof(body), -1));
}

/* Receives what was promised; returns the size of what is under the key, or -1. */
static off_t kept_size(uint64_t wanted)
{
	off_t size = -1;

	for (uint32_t i = 0; i < rig.backend.kept; i++) {
		const struct relay_key *key;
		struct fake_packet packet;
		struct stat st;

		cr_assert(fake_backend_receive(&rig.backend, &packet));
		key = fake_packet_in(&packet);
		cr_expect_eq(packet.in.opcode, RELAY_KEPT);
		cr_assert_geq(packet.fd, 0);
		if (key->key == wanted && fstat(packet.fd, &st) == 0)
			size = st.st_size;
		close(packet.fd);
	}
	return size;
}

Test(dispatch_reply, what_a_backend_leaves_comes_to_the_next)
{
	serve(true);
	cr_expect_eq(rig.backend.kept, 0);
	keep(1, 100);
	keep(0, 200);
	keep(7, 300);
	keep(1, 400);
	drop(7);
	drop(99);
	/* As if it died at once, with requests that it never read. */
	fake_kernel_minimal(&rig.kernel, FUSE_GETATTR);
	cr_assert(rig_inflight(&rig, 1));
	cr_assert(rig_backend_die(&rig, false));
	cr_assert(rig_backend_begin(&rig));
	cr_assert(fake_backend_hello(&rig.backend));
	cr_expect_eq(rig.backend.kept, 2);
	cr_expect_eq(kept_size(1), 400, "the second one under a key replaces the first");
	cr_assert(rig_backend_ready(&rig, false));
	cr_expect_eq(bad_replies(), 0);
}

Test(dispatch_reply, malformed_private_messages_are_refused)
{
	const struct relay_key key = {.key = 1};
	int fd = file_of(1);
	unsigned before;

	serve(true);
	serves();
	before = descriptors();
	fake_backend_notify(&rig.backend, RELAY_NOTIFY_KEEP, &key, sizeof(key), -1);
	fake_backend_notify(&rig.backend, RELAY_NOTIFY_KEEP, &key, sizeof(key) - 1, fd);
	fake_backend_notify(&rig.backend, RELAY_NOTIFY_DROP, &key, sizeof(key), fd);
	fake_backend_notify(&rig.backend, RELAY_NOTIFY_DROP, &key, sizeof(key) - 1, -1);
	fake_backend_notify(&rig.backend, RELAY_NOTIFY_HELLO, &(struct relay_hello){RELAY_WIRE_VERSION, 0}, sizeof(struct relay_hello), -1);
	fake_backend_notify(&rig.backend, 0x52000077, NULL, 0, fd);
	serves();
	cr_expect_eq(bad_replies(), 6);
	cr_expect_eq(descriptors(), before);
	cr_expect_eq(rig.dispatch.keep.count, 0);
}

Test(dispatch_reply, a_flood_of_descriptors_is_bounded)
{
	int fd = file_of(1);

	serve(true);
	for (uint64_t i = 0; i < KEEP_MAX + 100; i++)
		cr_assert(fake_backend_notify(&rig.backend, RELAY_NOTIFY_KEEP, &(struct relay_key){i},
					      sizeof(struct relay_key), fd));
	serves();
	/* Or fewer, where the process may have fewer. */
	cr_expect_leq(rig.dispatch.keep.count, KEEP_MAX);
	cr_expect_gt(rig.dispatch.keep.count, 0);
	close(fd);
}

Test(dispatch_reply, a_backend_of_another_version_is_shut_out)
{
	const struct relay_hello hello = {.version = RELAY_WIRE_VERSION + 1};
	struct fake_packet packet;

	cr_assert(rig_kernel_init(&rig));
	cr_assert(rig_backend_begin(&rig));
	cr_assert(fake_backend_notify(&rig.backend, RELAY_NOTIFY_HELLO, &hello, sizeof(hello), -1));
	cr_expect_not(fake_backend_receive(&rig.backend, &packet));
	cr_expect_not(rig.events & DISPATCH_HELLO);
	cr_expect_eq(bad_replies(), 1);
}

Test(dispatch_reply, init_is_answered_once)
{
	bool waited;

	cr_assert(rig_kernel_init(&rig));
	cr_assert(rig_backend_begin(&rig));
	cr_assert(rig_backend_ready(&rig, false));
	fake_backend_answer_init(&rig.backend, 0);
	cr_assert_eq(dispatch_redo(&rig.dispatch, 3, false), 0);
	cr_assert_eq(dispatch_gate_open(&rig.dispatch, &waited), 0);
	serves();
	cr_expect_eq(bad_replies(), 1);
	cr_expect_not(rig.events & DISPATCH_ANSWERED);
}

Test(dispatch_reply, a_backends_notifications_come_to_the_kernel)
{
	const struct fuse_notify_inval_inode_out inval = {.ino = 9, .off = -1};
	static const uint8_t endless[DISPATCH_REPLY_SIZE + 100];
	struct fuse_out_header whole = {.len = DISPATCH_REPLY_SIZE, .error = FUSE_NOTIFY_STORE};
	struct fake_packet packet;
	uint8_t bytes[sizeof(endless)];

	serve(false);
	fake_backend_notify(&rig.backend, FUSE_NOTIFY_INVAL_INODE, &inval, sizeof(inval) - 1, -1);
	fake_backend_notify(&rig.backend, FUSE_NOTIFY_RESEND, NULL, 0, -1);
	fake_backend_notify(&rig.backend, -1, NULL, 0, -1);
	fake_backend_notify(&rig.backend, -ENOSYS, "", 1, -1);
	/* To a BATCH_FORGET that it does not know. */
	fake_backend_notify(&rig.backend, -ENOSYS, NULL, 0, -1);
	fake_backend_notify(&rig.backend, 0, NULL, 0, -1);
	memcpy(bytes, &whole, sizeof(whole));
	memcpy(bytes + sizeof(whole), endless, sizeof(bytes) - sizeof(whole));
	fake_backend_send(&rig.backend, bytes, sizeof(bytes));
	fake_backend_notify(&rig.backend, FUSE_NOTIFY_INVAL_INODE, &inval, sizeof(inval), -1);
	cr_assert(fake_kernel_receive(&rig.kernel, &packet));
	cr_expect_eq(packet.size, sizeof(packet.out) + sizeof(inval));
	cr_expect_eq(packet.out.error, FUSE_NOTIFY_INVAL_INODE);
	cr_expect_eq(packet.out.unique, 0);
	cr_expect_arr_eq(fake_packet_out(&packet), &inval, sizeof(inval));
	cr_expect_eq(bad_replies(), 6);
}

Test(dispatch_reply, what_a_backend_had_sent_before_it_died_is_taken)
{
	uint64_t kernel[2], channel;

	serve(false);
	channel = getattr(&kernel[0]);
	/* One that it never reads: its end of the channel is reset. */
	kernel[1] = fake_kernel_minimal(&rig.kernel, FUSE_GETATTR);
	cr_assert(rig_inflight(&rig, 2));
	fake_backend_reply(&rig.backend, channel, ENOENT, NULL, 0);
	cr_assert(rig_backend_die(&rig, false));
	cr_expect(fake_kernel_gets_error(&rig.kernel, kernel[0], ENOENT));
	cr_expect_eq(dispatch_inflight(&rig.dispatch), 1);
}
