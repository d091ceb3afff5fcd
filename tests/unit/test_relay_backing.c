/*
 * Files that a backend has registered with relayd: what it is told of them, in its own life and in
 * the next, and that none is lost if it dies while it asks.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/fake_relayd.h"
#include "relay/relay.h"

#define OFFERED                                                                                                        \
	((uint64_t)(FUSE_INIT_EXT | FUSE_SETXATTR_EXT | FUSE_BIG_WRITES | FUSE_MAX_PAGES) | FUSE_PASSTHROUGH |         \
	 FUSE_WRITEBACK_CACHE)

static struct seen {
	uint64_t wanted; /* flags of the answer to INIT */
	uint32_t depth;
	bool offered;
	unsigned left; /* registrations of earlier lives */
	uint64_t backing[4];
	uint64_t last;
	bool give_back; /* in init() */
} *seen;

static struct fake_relayd fake;

struct each {
	struct relay_session *session;
};

static void on_left(uint64_t backing, void *arg)
{
	struct each *each = arg;

	seen->backing[seen->left++] = backing;
	if (seen->give_back)
		cr_assert_eq(relay_unback(each->session, backing), 0);
}

static int on_init(struct relay_session *session, const struct fuse_init_in *in, struct fuse_init_out *out)
{
	struct each each = {session};

	seen->offered = in->flags2 & FUSE_PASSTHROUGH >> 32;
	seen->left = 0;
	relay_backings(session, on_left, &each);
	out->flags = (uint32_t)seen->wanted;
	out->flags2 = (uint32_t)(seen->wanted >> 32);
	out->RELAY_STACK_DEPTH = seen->depth;
	return 0;
}

/* Registers a file. */
static void on_statfs(struct relay_req *req)
{
	int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC), err;

	err = relay_back(relay_req_session(req), fd, &seen->last);
	close(fd);
	relay_reply_error(req, -err);
}

/* Gives it back. */
static void on_readlink(struct relay_req *req)
{
	relay_reply_error(req, -relay_unback(relay_req_session(req), seen->last));
}

static const struct relay_ops ops = {
	.init = on_init,
	.statfs = on_statfs,
	.readlink = on_readlink,
};

/* One thread: it waits for an answer that nobody else could take out of the channel. */
static int backend(int channel, void *arg)
{
	(void)arg;
	return relay_serve(channel, &ops, 1, NULL);
}

static void setup(void)
{
	seen = mmap(NULL, sizeof(*seen), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	cr_assert_neq(seen, MAP_FAILED);
	seen->wanted = FUSE_PASSTHROUGH;
	fake_crash_plan(NULL);
	fake_relayd_init(&fake, 2, 2);
	fake.passthrough = true;
}

static void teardown(void)
{
	fake_relayd_deinit(&fake);
	munmap(seen, sizeof(*seen));
}

TestSuite(relay_backing, .init = setup, .fini = teardown, .timeout = 120);

static void begin(void)
{
	fake_start(&fake, backend, NULL);
	fake_send_init(&fake, RELAY_FUSE_MINOR, OFFERED);
	cr_assert(fake_expect_hello(&fake));
	fake_send_welcome(&fake, RELAY_WIRE_VERSION);
	fake_send_kept(&fake);
	cr_assert_neq(fake_receive(&fake), 0);
	cr_assert_eq(fake.reply.out.error, 0);
}

static void expect_agreed(bool agreed, uint32_t depth)
{
	const struct fuse_init_out *out = (const void *)(&fake.reply.out + 1);

	cr_expect_eq((out->flags2 & FUSE_PASSTHROUGH >> 32) != 0, agreed);
	cr_expect_eq(out->RELAY_STACK_DEPTH, depth);
}

static int back(void)
{
	return fake_call(&fake, 0, FUSE_STATFS, 1, NULL, 0);
}

Test(relay_backing, it_is_there_if_relayd_says_so)
{
	begin();
	cr_expect(seen->offered);
	expect_agreed(true, 1);
	fake_kill(&fake);
	fake.passthrough = false;
	begin();
	cr_expect_not(seen->offered, "INIT itself is not believed");
	expect_agreed(false, 0);
	cr_expect_eq(back(), -EOPNOTSUPP);
}

Test(relay_backing, write_back_caching_excludes_it)
{
	seen->wanted |= FUSE_WRITEBACK_CACHE;
	seen->depth = 2;
	begin();
	expect_agreed(false, 0);
	cr_expect_eq(back(), -EOPNOTSUPP);
}

Test(relay_backing, a_depth_of_the_backends_own_is_taken)
{
	seen->depth = 2;
	begin();
	expect_agreed(true, 2);
}

Test(relay_backing, an_id_is_given_and_given_back)
{
	begin();
	cr_expect_eq(back(), 0);
	cr_expect_eq(fake.backed_count, 1);
	cr_expect_eq(relay_backing_id(seen->last), fake.backed[0]);
	cr_expect_eq(fake_call(&fake, 0, FUSE_READLINK, 1, NULL, 0), 0);
	cr_expect_eq(fake.backed_count, 0);
}

Test(relay_backing, a_refusal_is_told)
{
	begin();
	fake.back_answer = -ELOOP;
	cr_expect_eq(back(), -ELOOP);
	fake.back_answer = 0;
	cr_expect_eq(back(), 0);
}

Test(relay_backing, the_next_life_is_told_of_all)
{
	begin();
	for (int i = 0; i < 3; i++)
		cr_expect_eq(back(), 0);
	fake_kill(&fake);
	begin();
	cr_assert_eq(seen->left, 3);
	for (unsigned i = 0; i < 3; i++)
		cr_expect_eq(relay_backing_id(seen->backing[i]), fake.backed[i]);
	fake_kill(&fake);
	seen->give_back = true;
	begin();
	cr_expect_eq(seen->left, 3, "they stay until they are given back");
	fake_kill(&fake);
	begin();
	cr_expect_eq(seen->left, 0);
}

Test(relay_backing, a_death_while_it_asks_loses_none)
{
	static const char *const plans[] = {"BACK asked 1\n", "BACK backed 1\n"};

	for (unsigned i = 0; i < 2; i++) {
		fake_crash_plan(plans[i]);
		begin();
		fake_request(&fake, 0, FUSE_STATFS, 1, NULL, 0);
		fake_wait(&fake);
		fake_crash_plan(NULL);
		cr_expect_eq(fake.backed_count, i + 1, "%s", plans[i]);
		fake_slot_free(&fake, 0);
	}
	begin();
	cr_expect_eq(seen->left, 2);
}

Test(relay_backing, an_end_of_the_channel_ends_the_wait)
{
	begin();
	fake_request(&fake, 0, FUSE_STATFS, 1, NULL, 0);
	/* The question is in the channel or not yet: nobody answers it either way. */
	fake_end(&fake);
}

Test(relay_backing, an_id_that_cannot_be_is_refused)
{
	fake.backed[fake.backed_count++] = -1;
	fake_start(&fake, backend, NULL);
	fake_send_init(&fake, RELAY_FUSE_MINOR, OFFERED);
	cr_assert(fake_expect_hello(&fake));
	fake_send_welcome(&fake, RELAY_WIRE_VERSION);
	fake_send_kept(&fake);
	cr_expect_eq(WEXITSTATUS(fake_wait(&fake)), EPROTO);
}
