/*
 * relayd's own requests: what is sent, and whose reply is taken.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>

#include "ask.h"
#include "lib/dispatch_rig.h"

static struct dispatch_rig rig;
static struct ask ask;
static const struct fuse_in_header caller = {.uid = 11, .gid = 12, .pid = 13};

/* One question, asked by a thread. */
static struct {
	pthread_t thread;
	struct fuse_entry_out entry;
	int result;
} question;

static void setup(void)
{
	cr_assert_eq(rig_init(&rig), 0);
	rig.translated = true;
	cr_assert(rig_serve(&rig, false));
	cr_assert_eq(ask_init(&ask, &rig.dispatch, 1), 0);
	ask_begin(&ask, rig.incarnation);
}

static void teardown(void)
{
	ask_deinit(&ask);
	rig_deinit(&rig);
}

TestSuite(ask, .init = setup, .fini = teardown, .timeout = 60);

static void *lookup_run(void *arg)
{
	(void)arg;
	question.result = ask_lookup(&ask, 7, "name", &caller, &question.entry);
	return NULL;
}

/* Returns the unique that the backend has got. */
static uint64_t lookup_begin(void)
{
	struct fake_packet packet;

	cr_assert_eq(pthread_create(&question.thread, NULL, lookup_run, NULL), 0);
	cr_assert(fake_backend_receive(&rig.backend, &packet));
	cr_expect_eq(packet.in.opcode, FUSE_LOOKUP);
	cr_expect_eq(packet.in.nodeid, 7);
	cr_expect_eq(packet.in.uid, 11);
	cr_expect_eq(packet.in.gid, 12);
	cr_expect_eq(packet.in.pid, 13);
	cr_expect_eq(packet.size, sizeof(packet.in) + 5);
	cr_expect_str_eq(fake_packet_in(&packet), "name");
	cr_expect_eq(relay_unique_slot(packet.in.unique), ASK_SLOT(1));
	return packet.in.unique;
}

static int lookup_end(void)
{
	pthread_join(question.thread, NULL);
	return question.result;
}

struct entry_reply {
	struct fuse_out_header header;
	struct fuse_entry_out entry;
};

static struct entry_reply entry_reply(uint64_t unique)
{
	return (struct entry_reply){
		.header = {.len = sizeof(struct entry_reply), .unique = unique},
		.entry = {.nodeid = 42},
	};
}

Test(ask, the_reply_is_handed_over)
{
	struct entry_reply reply = entry_reply(lookup_begin());

	cr_expect(ask_take(&ask, &reply, sizeof(reply)));
	cr_expect_eq(lookup_end(), 0);
	cr_expect_eq(question.entry.nodeid, 42);
	cr_expect_not(ask_take(&ask, &reply, sizeof(reply)), "once");
}

Test(ask, an_error_is_positive)
{
	struct fuse_out_header reply = {.len = sizeof(reply), .error = -ENOENT, .unique = lookup_begin()};

	cr_expect(ask_take(&ask, &reply, sizeof(reply)));
	cr_expect_eq(lookup_end(), ENOENT);
}

Test(ask, a_malformed_reply_is_eio)
{
	for (unsigned i = 0; i < 4; i++) {
		struct entry_reply reply = entry_reply(lookup_begin());
		uint32_t size = sizeof(reply);

		if (i == 0)
			reply.header.len = --size;
		else if (i == 1)
			reply.header.len++;
		else if (i == 2)
			reply.header.error = 5;
		else
			reply.header.error = -ENOENT;
		cr_expect(ask_take(&ask, &reply, size));
		cr_expect_eq(lookup_end(), EIO, "case %u", i);
	}
	cr_expect_eq(atomic_load(&rig.stats.bad_replies), 4);
}

Test(ask, a_reply_to_another_ask_is_not_taken)
{
	struct entry_reply reply = entry_reply(relay_unique_make(1, ASK_SLOT(1)));
	uint64_t unique;

	cr_expect_not(ask_take(&ask, &reply, sizeof(reply)), "nothing was asked");
	unique = lookup_begin();
	reply.header.unique = unique + 2 * ((uint64_t)1 << RELAY_UNIQUE_SLOT_BITS);
	cr_expect_not(ask_take(&ask, &reply, sizeof(reply)));
	reply.header.unique = 0;
	cr_expect_not(ask_take(&ask, &reply, sizeof(reply)));
	reply.header.unique = unique;
	cr_expect(ask_take(&ask, &reply, sizeof(reply)));
	cr_expect_eq(lookup_end(), 0);
}

Test(ask, it_ends_with_the_channel)
{
	lookup_begin();
	ask_end(&ask);
	cr_expect_eq(lookup_end(), -EPIPE);
	cr_expect(ask_gone(&ask));
	cr_expect_eq(ask_lookup(&ask, 7, "name", &caller, &question.entry), -EPIPE);
}

Test(ask, a_reply_from_before_the_end_counts)
{
	struct entry_reply reply = entry_reply(lookup_begin());

	cr_expect(ask_take(&ask, &reply, sizeof(reply)));
	ask_end(&ask);
	cr_expect_eq(lookup_end(), 0);
}

Test(ask, a_dead_backend_is_asked_nothing)
{
	cr_assert(rig_backend_die(&rig, false));
	cr_expect_eq(ask_lookup(&ask, 7, "name", &caller, &question.entry), -EPIPE);
	cr_assert(rig_serve_next(&rig, false));
	ask_begin(&ask, rig.incarnation - 1);
	cr_expect_eq(ask_lookup(&ask, 7, "name", &caller, &question.entry), -EPIPE, "nor the one after it");
	cr_expect(fake_backend_quiet(&rig.backend));
}

Test(ask, a_backend_that_has_gone_unseen_is_asked_nothing)
{
	fake_backend_end(&rig.backend);
	cr_expect_eq(ask_lookup(&ask, 7, "name", &caller, &question.entry), -EPIPE);
}

Test(ask, a_full_channel_is_waited_for)
{
	static uint8_t body[sizeof(struct fuse_write_in) + RELAY_MAX_DATA];
	const int size = 36000;
	struct entry_reply reply;
	struct fake_packet packet;

	cr_assert_eq(setsockopt(rig.backend.channel, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)), 0);
	cr_assert_neq(fake_kernel_request(&rig.kernel, FUSE_WRITE, body, sizeof(body)), 0);
	cr_assert(rig_inflight(&rig, 1));
	cr_assert_eq(pthread_create(&question.thread, NULL, lookup_run, NULL), 0);
	cr_assert(fake_backend_receive(&rig.backend, &packet));
	cr_assert_eq(packet.in.opcode, FUSE_WRITE);
	cr_assert(fake_backend_receive(&rig.backend, &packet));
	cr_assert_eq(packet.in.opcode, FUSE_LOOKUP);
	reply = entry_reply(packet.in.unique);
	cr_expect(ask_take(&ask, &reply, sizeof(reply)));
	cr_expect_eq(lookup_end(), 0);
}

Test(ask, what_no_request_can_be_is_not_sent)
{
	static char name[RELAY_MAX_REQUEST];

	memset(name, 'x', sizeof(name) - 1);
	cr_expect_eq(ask_lookup(&ask, 7, name, &caller, &question.entry), EINVAL);
	cr_expect_eq(ask_lookup(&ask, 7, "", &caller, &question.entry), EINVAL);
	cr_expect(fake_backend_quiet(&rig.backend));
}

Test(ask, a_forget_is_not_waited_for)
{
	struct fake_packet packet;

	cr_expect_eq(ask_forget(&ask, 42, 3), 0);
	cr_assert(fake_backend_receive(&rig.backend, &packet));
	cr_expect_eq(packet.in.opcode, FUSE_FORGET);
	cr_expect_eq(packet.in.nodeid, 42);
	cr_expect_eq(((const struct fuse_forget_in *)fake_packet_in(&packet))->nlookup, 3);
}
