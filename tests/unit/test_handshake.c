/*
 * The first packets of a channel: what a backend is offered and takes, what it gets
 * back of earlier ones, and what ends it there.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/fake_relayd.h"
#include "relay/relay.h"

#define FORCED ((uint64_t)(FUSE_INIT_EXT | FUSE_SETXATTR_EXT | FUSE_BIG_WRITES | FUSE_MAX_PAGES))

/* What the backend is to do, and what it tells the test. */
struct seen {
	int init_error;
	int thread_error;
	struct fuse_init_in init_in;
	uint32_t incarnation;
	_Atomic uint32_t threads_started;
	uint32_t kept;
	ino_t kept_ino[4];
	uint64_t kept_key[4];
	int userdata;
};

static struct seen *seen;
static struct fake_relayd fake;

static void on_kept(uint64_t key, int fd, void *arg)
{
	struct stat st;

	cr_assert_eq(arg, seen);
	cr_assert_eq(fstat(fd, &st), 0);
	seen->kept_key[seen->kept] = key;
	seen->kept_ino[seen->kept++] = st.st_ino;
	close(fd);
}

static int on_init(struct relay_session *session, const struct fuse_init_in *in, struct fuse_init_out *out)
{
	seen->init_in = *in;
	seen->incarnation = relay_session_incarnation(session);
	seen->userdata = *(int *)relay_session_userdata(session);
	seen->kept = 0;
	relay_kept_fds(session, on_kept, seen);
	relay_kept_fds(session, on_kept, seen);
	out->flags = FUSE_POSIX_ACL | FUSE_ASYNC_READ;
	out->flags2 = FUSE_OVER_IO_URING >> 32;
	out->max_readahead = UINT32_MAX;
	out->max_write = 1 << 20;
	return seen->init_error;
}

static int on_thread_start(struct relay_session *session)
{
	(void)session;
	/* One of them fails, if any is to. */
	return atomic_fetch_add(&seen->threads_started, 1) == 0 ? seen->thread_error : 0;
}

/* Leaves a descriptor under 7, and none under 8. */
static void on_statfs(struct relay_req *req)
{
	struct relay_session *session = relay_req_session(req);
	int fd = memfd_create("kept", MFD_CLOEXEC);

	if (relay_keep_fd(session, 7, fd) || relay_keep_fd(session, 8, fd) || relay_drop_fd(session, 8))
		relay_reply_error(req, EBADE);
	else
		relay_reply_error(req, 0);
	close(fd);
}

static const struct relay_ops ops = {
	.init = on_init,
	.thread_start = on_thread_start,
	.statfs = on_statfs,
};

#define THREADS 3u

/* `arg` is how many threads, if not NULL. */
static int backend(int channel, void *arg)
{
	int userdata = 4711;

	return relay_serve(channel, &ops, arg ? *(const unsigned *)arg : THREADS, &userdata);
}

static void setup(void)
{
	seen = mmap(NULL, sizeof(*seen), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	cr_assert_neq(seen, MAP_FAILED);
	fake_relayd_init(&fake, 2, 2);
}

static void teardown(void)
{
	fake_relayd_deinit(&fake);
	munmap(seen, sizeof(*seen));
}

TestSuite(handshake, .init = setup, .fini = teardown, .timeout = 120);

static void begin(void)
{
	cr_assert(fake_begin(&fake, backend, NULL));
	cr_assert_eq(fake.reply.out.error, 0);
}

/* The exit status that stands for relay_serve()'s result: 0, or an errno. */
static void expect_end(int result)
{
	int status = fake.channel >= 0 ? fake_end(&fake) : fake_wait(&fake);

	cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == result, "status %x", (unsigned)status);
}

Test(handshake, init_is_negotiated)
{
	const struct fuse_init_out *out = (const void *)(&fake.reply.out + 1);

	begin();
	cr_assert_eq(fake.reply.size, sizeof(fake.reply.out) + sizeof(*out));
	cr_expect_eq(out->major, 7);
	cr_expect_eq(out->minor, RELAY_FUSE_MINOR);
	cr_expect_eq(out->flags, FORCED | FUSE_POSIX_ACL, "what was not offered is not taken: %x", out->flags);
	cr_expect_eq(out->flags2, 0, "never io_uring");
	cr_expect_eq(out->max_readahead, seen->init_in.max_readahead);
	cr_expect_eq(out->max_write, RELAY_MAX_DATA);
	cr_expect_eq(out->max_pages, RELAY_MAX_PAGES);
	cr_expect_eq(out->time_gran, 1);
	cr_expect_eq(seen->userdata, 4711);
	cr_expect_eq(seen->incarnation, 1);
	cr_expect_eq(atomic_load(&seen->threads_started), THREADS);
	expect_end(0);
}

Test(handshake, a_newer_kernel_is_answered_with_what_we_know)
{
	const struct fuse_init_out *out = (const void *)(&fake.reply.out + 1);

	fake_start(&fake, backend, NULL);
	fake_send_init(&fake, 99, FORCED);
	cr_assert(fake_expect_hello(&fake));
	fake_send_welcome(&fake, RELAY_WIRE_VERSION);
	cr_assert_neq(fake_receive(&fake), 0);
	cr_expect_eq(out->minor, RELAY_FUSE_MINOR);
	expect_end(0);
}

Test(handshake, an_old_kernel_is_refused)
{
	fake_start(&fake, backend, NULL);
	fake_send_init(&fake, 35, FORCED);
	cr_expect_not(fake_expect_hello(&fake));
	expect_end(EPROTO);
}

Test(handshake, a_kernel_without_what_we_rely_on_is_refused)
{
	fake_start(&fake, backend, NULL);
	fake_send_init(&fake, 45, FORCED & ~(uint64_t)FUSE_SETXATTR_EXT);
	cr_expect_not(fake_expect_hello(&fake));
	expect_end(EPROTO);
}

Test(handshake, a_first_packet_other_than_init_is_refused)
{
	static const struct fuse_in_header statfs = {.len = sizeof(statfs), .opcode = FUSE_STATFS, .unique = 2};
	static const uint8_t garbage[5000] = {1};

	fake_start(&fake, backend, NULL);
	fake_send_raw(&fake, &statfs, sizeof(statfs));
	expect_end(EPROTO);
	fake_start(&fake, backend, NULL);
	fake_send_raw(&fake, garbage, 3);
	expect_end(EPROTO);
	fake_start(&fake, backend, NULL);
	fake_send_raw(&fake, garbage, sizeof(garbage));
	expect_end(EPROTO);
}

Test(handshake, another_version_of_relayd_is_refused)
{
	fake_start(&fake, backend, NULL);
	fake_send_init(&fake, 45, FORCED);
	cr_assert(fake_expect_hello(&fake));
	fake_send_welcome(&fake, RELAY_WIRE_VERSION + 1);
	expect_end(EPROTO);
}

Test(handshake, a_relayd_that_leaves_early_is_an_end_as_any_other)
{
	fake_start(&fake, backend, NULL);
	expect_end(0);
	fake_start(&fake, backend, NULL);
	fake_send_init(&fake, 45, FORCED);
	cr_assert(fake_expect_hello(&fake));
	expect_end(0);
}

Test(handshake, a_descriptor_that_is_no_channel_is_refused)
{
	cr_expect_eq(relay_serve(STDIN_FILENO, &ops, 1, NULL), -ENOTSOCK);
	cr_expect_eq(relay_serve(-1, &ops, 1, NULL), -EBADF);
}

Test(handshake, init_that_fails_is_told)
{
	seen->init_error = -ENODATA;
	cr_assert(fake_begin(&fake, backend, NULL));
	cr_expect_eq(fake.reply.out.error, -ENODATA);
	cr_expect_eq(fake.reply.size, sizeof(fake.reply.out));
	expect_end(ENODATA);
	cr_expect_eq(atomic_load(&seen->threads_started), 0);
}

Test(handshake, thread_start_that_fails_is_told)
{
	seen->thread_error = -EPERM;
	cr_assert(fake_begin(&fake, backend, NULL));
	cr_expect_eq(fake.reply.out.error, -EPERM);
	expect_end(EPERM);
}

Test(handshake, kept_descriptors_come_back)
{
	struct stat st;

	begin();
	cr_expect_eq(fake_call(&fake, 0, FUSE_STATFS, 1, NULL, 0), 0);
	cr_expect_eq(fake.kept_count, 1);
	cr_assert_eq(fstat(fake_kept_get(&fake, 7), &st), 0);
	fake_kill(&fake);
	begin();
	cr_expect_eq(seen->kept, 1, "each is handed over once");
	cr_expect_eq(seen->kept_key[0], 7);
	cr_expect_eq(seen->kept_ino[0], st.st_ino);
	expect_end(0);
}

Test(handshake, a_kept_message_without_its_descriptor_is_refused)
{
	const struct {
		struct fuse_in_header header;
		struct relay_key key;
	} packet = {.header = {.len = sizeof(packet), .opcode = RELAY_KEPT}, .key = {.key = 1}};
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	fake.kept[fake.kept_count++] = (struct fake_kept){.key = 1, .fd = fd};
	fake_start(&fake, backend, NULL);
	fake_send_init(&fake, 45, FORCED);
	cr_assert(fake_expect_hello(&fake));
	fake_send_welcome(&fake, RELAY_WIRE_VERSION);
	fake_send_raw(&fake, &packet, sizeof(packet));
	expect_end(EMFILE);
}

/* ---- the lane `uring` ------------------------------------------------------ */

/* Up to the WELCOME, which says that the rings follow. */
static void begin_rings(unsigned *threads)
{
	fake_start(&fake, backend, threads);
	fake_send_init(&fake, RELAY_FUSE_MINOR, FORCED);
	cr_assert(fake_expect_hello(&fake));
	fake_send_welcome(&fake, RELAY_WIRE_VERSION);
}

static uint32_t hello_flags(void)
{
	return ((const struct relay_hello *)(&fake.notice.out + 1))->flags;
}

Test(handshake, the_rings_come_before_what_was_kept)
{
	fake_rings(&fake);
	fake.kept[fake.kept_count++] = (struct fake_kept){.key = 9, .fd = open("/dev/null", O_RDWR | O_CLOEXEC)};
	begin();
	cr_expect_eq(hello_flags(), RELAY_HELLO_RINGS);
	cr_expect_eq(atomic_load(&seen->threads_started), THREADS + 1, "one more: it reads /dev/fuse");
	cr_expect_eq(seen->kept, 1);
	cr_expect_eq(seen->kept_key[0], 9);
	expect_end(0);
}

Test(handshake, who_serves_with_one_thread_takes_no_rings)
{
	unsigned one = 1;

	fake_rings(&fake);
	begin_rings(&one);
	cr_expect_eq(hello_flags(), 0);
	expect_end(EPROTO);
}

Test(handshake, rings_without_the_device_are_refused)
{
	const struct relay_welcome welcome = {
		.version = RELAY_WIRE_VERSION,
		.flags = RELAY_WELCOME_RINGS,
		.journal_size = fake.map.size,
	};

	fake_start(&fake, backend, NULL);
	fake_send_init(&fake, RELAY_FUSE_MINOR, FORCED);
	cr_assert(fake_expect_hello(&fake));
	fake_send_private(&fake, RELAY_WELCOME, &welcome, sizeof(welcome), fake.journal_fd);
	expect_end(EPROTO);
}

Test(handshake, malformed_rings_are_refused)
{
	const struct relay_rings_offer offer = {.queues = FAKE_QUEUES}, more = {.queues = FAKE_QUEUES + 1},
				       none = {.queues = 0};

	fake_rings(&fake);
	const struct {
		const char *what;
		uint32_t opcode, size;
		const struct relay_rings_offer *body;
		int fd;
	} cases[] = {
		{"no descriptor", RELAY_RINGS, sizeof(offer), &offer, -1},
		{"the journal", RELAY_RINGS, sizeof(offer), &offer, fake.journal_fd},
		{"no memory", RELAY_RINGS, sizeof(offer), &offer, fake.kicks[0]},
		{"more queues than there are", RELAY_RINGS, sizeof(more), &more, fake.rings_fd},
		{"no queues", RELAY_RINGS, sizeof(none), &none, fake.rings_fd},
		{"half of it", RELAY_RINGS, sizeof(offer) / 2, &offer, fake.rings_fd},
		{"something else", RELAY_KEPT, sizeof(offer), &offer, fake.rings_fd},
	};

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int status;

		begin_rings(NULL);
		fake_send_private(&fake, cases[i].opcode, cases[i].body, cases[i].size, cases[i].fd);
		status = fake_wait(&fake);
		cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == EPROTO, "%s: %x", cases[i].what,
			  (unsigned)status);
	}
}

Test(handshake, malformed_kicks_are_refused)
{
	const struct relay_rings_offer offer = {.queues = FAKE_QUEUES};

	fake_rings(&fake);
	for (unsigned good = 0; good < FAKE_QUEUES; good++) {
		for (int other = 0; other < 2; other++) {
			begin_rings(NULL);
			fake_send_private(&fake, RELAY_RINGS, &offer, sizeof(offer), fake.rings_fd);
			for (unsigned i = 0; i < good; i++)
				fake_send_private(&fake, RELAY_KICK, NULL, 0, fake.kicks[i]);
			fake_send_private(&fake, other ? RELAY_GO : RELAY_KICK, NULL, 0, other ? fake.kicks[good] : -1);
			expect_end(EPROTO);
		}
	}
}
