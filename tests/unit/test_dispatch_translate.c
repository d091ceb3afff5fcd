/*
 * Requests and replies of a backend that makes up its own ids, over its deaths.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/foreign.h"

static struct foreign foreign;

static void setup(void)
{
	cr_assert(foreign_init(&foreign));
	foreign_file(&foreign, 1, "x");
	foreign_file(&foreign, 2, "y");
}

static void teardown(void)
{
	foreign_deinit(&foreign);
}

TestSuite(dispatch_translate, .init = setup, .fini = teardown, .timeout = 60);

static void die_and_restart(void)
{
	cr_assert(foreign_die(&foreign, false));
	cr_assert(foreign_next(&foreign));
}

static uint64_t bad_replies(void)
{
	return atomic_load(&foreign.rig.stats.bad_replies);
}

/* READ of a file whose first byte is its name. */
static void reads(uint64_t nodeid, uint64_t fh, char name)
{
	struct fake_packet reply;
	uint64_t unique = foreign_read(&foreign, nodeid, fh);

	cr_assert(foreign_serve(&foreign, unique, &reply));
	cr_expect_eq(reply.out.error, 0);
	cr_expect_eq(reply.size, sizeof(reply.out) + 1);
	cr_expect_eq(reply.bytes[sizeof(reply.out)], name);
}

Test(dispatch_translate, the_backend_gets_its_own_ids_and_the_kernel_relayds)
{
	uint64_t nodeid = foreign_lookup(&foreign, "x"), fh;

	cr_assert_neq(nodeid, 0);
	cr_expect_neq(nodeid, foreign_id(&foreign, 1));
	cr_expect_eq(foreign_lookup(&foreign, "x"), nodeid);
	fh = foreign_open(&foreign, nodeid);
	cr_expect_eq(foreign.last_nodeid, foreign_id(&foreign, 1));
	cr_expect_neq(fh, 0);
	reads(nodeid, fh, 'x');
	cr_expect_eq(foreign.last_nodeid, foreign_id(&foreign, 1));
	cr_expect_eq(foreign.last_fh, 1000);
}

Test(dispatch_translate, the_data_of_a_write_come_whole)
{
	struct {
		struct fuse_write_in in;
		uint8_t data[RELAY_MAX_DATA];
	} body = {.in = {.size = sizeof(body.data)}};
	uint64_t nodeid = foreign_lookup(&foreign, "x");
	struct fake_packet packet;

	for (size_t i = 0; i < sizeof(body.data); i++)
		body.data[i] = (uint8_t)(i * 7);
	body.in.fh = foreign_open(&foreign, nodeid);
	foreign_request(&foreign, FUSE_WRITE, nodeid, &body, sizeof(body));
	cr_assert(fake_backend_receive(&foreign.rig.backend, &packet));
	cr_expect_eq(packet.size, sizeof(packet.in) + sizeof(body));
	cr_expect_eq(((const struct fuse_write_in *)fake_packet_in(&packet))->fh, 1000);
	cr_expect_arr_eq((const char *)fake_packet_in(&packet) + sizeof(body.in), body.data, sizeof(body.data));
}

Test(dispatch_translate, nodes_and_open_files_are_found_again)
{
	uint64_t nodeid = foreign_lookup(&foreign, "x"), fh = foreign_open(&foreign, nodeid);

	die_and_restart();
	cr_expect_eq(foreign.asked[FUSE_LOOKUP], 0, "only when they are used");
	reads(nodeid, fh, 'x');
	cr_expect_eq(foreign.asked[FUSE_LOOKUP], 1);
	cr_expect_eq(foreign.asked[FUSE_OPEN], 1);
	cr_expect_eq(foreign.last_nodeid, foreign_id(&foreign, 1));
	cr_expect_eq(foreign.last_fh, 2001);
	reads(nodeid, fh, 'x');
	cr_expect_eq(foreign.asked[FUSE_LOOKUP], 1, "once in a life");
	cr_expect_eq(foreign_lookup(&foreign, "x"), nodeid);
	die_and_restart();
	reads(nodeid, fh, 'x');
}

Test(dispatch_translate, a_read_that_was_in_flight_is_answered)
{
	uint64_t nodeid = foreign_lookup(&foreign, "x"), fh = foreign_open(&foreign, nodeid), unique;
	struct fake_packet reply;

	unique = foreign_read(&foreign, nodeid, fh);
	cr_assert_neq(foreign_holds(&foreign, FUSE_READ), 0);
	die_and_restart();
	cr_assert(foreign_serve(&foreign, unique, &reply));
	cr_expect_eq(reply.out.error, 0);
	cr_expect_eq(reply.bytes[sizeof(reply.out)], 'x');
	cr_expect_eq(atomic_load(&foreign.rig.stats.redone), 1);
}

Test(dispatch_translate, what_was_not_given_is_refused)
{
	const struct fuse_read_in in = {.fh = 12345, .size = 4096};
	uint64_t nodeid = foreign_lookup(&foreign, "x"), unique;

	unique = foreign_request(&foreign, FUSE_GETATTR, nodeid + 1, &(struct fuse_getattr_in){0},
				 sizeof(struct fuse_getattr_in));
	cr_expect(fake_kernel_gets_error(&foreign.rig.kernel, unique, ESTALE));
	unique = foreign_request(&foreign, FUSE_READ, nodeid, &in, sizeof(in));
	cr_expect(fake_kernel_gets_error(&foreign.rig.kernel, unique, EBADF));
	cr_expect(fake_backend_quiet(&foreign.rig.backend));
}

Test(dispatch_translate, a_file_that_is_another_one_now_is_estale)
{
	uint64_t nodeid = foreign_lookup(&foreign, "x"), fh = foreign_open(&foreign, nodeid), unique;
	struct fake_packet reply;

	cr_assert(foreign_die(&foreign, false));
	foreign.files[1].mode = S_IFIFO | 0644; /* another type leaves no doubt */
	cr_assert(foreign_next(&foreign));
	unique = foreign_read(&foreign, nodeid, fh);
	cr_assert(foreign_serve(&foreign, unique, &reply));
	cr_expect_eq(reply.out.error, -ESTALE);
	cr_expect_eq(foreign.asked[FUSE_READ], 0);
}

static bool x_forgotten(struct foreign *f)
{
	return f->forgotten[1] > 0;
}

Test(dispatch_translate, what_the_kernel_forgets_the_backend_is_told)
{
	const struct fuse_forget_in one = {.nlookup = 1}, two = {.nlookup = 2};
	uint64_t nodeid = foreign_lookup(&foreign, "x");

	foreign_lookup(&foreign, "x");
	foreign_lookup(&foreign, "x");
	foreign_request(&foreign, FUSE_FORGET, nodeid, &one, sizeof(one));
	cr_assert_neq(foreign_lookup(&foreign, "y"), 0);
	cr_expect_eq(foreign.forgotten[1], 0, "the kernel has it still");
	foreign_request(&foreign, FUSE_FORGET, nodeid, &two, sizeof(two));
	cr_assert(foreign_serve_until(&foreign, x_forgotten));
	cr_expect_eq(foreign.forgotten[1], 3);
	cr_expect_neq(foreign_lookup(&foreign, "x"), nodeid, "a nodeid is never given again");
	cr_expect(rig_inflight(&foreign.rig, 0));
}

static bool both_forgotten(struct foreign *f)
{
	return f->forgotten[1] && f->forgotten[2];
}

static bool a_batch_was_refused(struct foreign *f)
{
	return f->asked[FUSE_BATCH_FORGET] == 1;
}

struct forget_both {
	struct fuse_batch_forget_in in;
	struct fuse_forget_one one[2];
};

/* What the kernel says when it forgets x and y at once, which it has just looked up. */
static struct forget_both look_up_both(void)
{
	return (struct forget_both){.in = {.count = 2},
				    .one = {{.nodeid = foreign_lookup(&foreign, "x"), .nlookup = 1},
					    {.nodeid = foreign_lookup(&foreign, "y"), .nlookup = 1}}};
}

static void both_come_and_go(void)
{
	const struct forget_both batch = look_up_both();

	cr_assert_neq(foreign_request(&foreign, FUSE_BATCH_FORGET, 0, &batch, sizeof(batch)), 0);
}

Test(dispatch_translate, a_backend_that_knows_no_batch_is_told_one_by_one)
{
	foreign.knows_no_batch = true;
	both_come_and_go();
	cr_assert(foreign_serve_until(&foreign, a_batch_was_refused));
	both_come_and_go();
	cr_assert(foreign_serve_until(&foreign, both_forgotten));
	cr_expect_eq(foreign.asked[FUSE_BATCH_FORGET], 1);
	cr_expect_eq(foreign.asked[FUSE_FORGET], 2);
	/* The next may be another program. */
	die_and_restart();
	foreign.knows_no_batch = false;
	both_come_and_go();
	cr_assert(foreign_serve_until(&foreign, both_forgotten));
	cr_expect_eq(foreign.asked[FUSE_BATCH_FORGET], 1);
	cr_expect_eq(foreign.asked[FUSE_FORGET], 0);
}

Test(dispatch_translate, a_forget_without_a_backend_is_nothing_to_the_next)
{
	const struct forget_both batch = look_up_both();
	uint64_t unique;

	cr_assert(foreign_die(&foreign, false));
	foreign_request(&foreign, FUSE_BATCH_FORGET, 0, &batch, sizeof(batch));
	unique = foreign_request(&foreign, FUSE_GETATTR, batch.one[0].nodeid, &(struct fuse_getattr_in){0},
				 sizeof(struct fuse_getattr_in));
	cr_assert(rig_inflight(&foreign.rig, 1));
	cr_assert(foreign_next(&foreign));
	cr_expect(fake_kernel_gets_error(&foreign.rig.kernel, unique, ESTALE), "it was forgotten before");
	cr_expect_neq(foreign_lookup(&foreign, "x"), 0);
	cr_expect_eq(foreign.forgotten[1] + foreign.forgotten[2], 0);
}

Test(dispatch_translate, a_release_of_a_dead_incarnations_file_is_answered)
{
	uint64_t nodeid = foreign_lookup(&foreign, "x");
	const struct fuse_release_in in = {.fh = foreign_open(&foreign, nodeid)};
	uint64_t unique;

	die_and_restart();
	unique = foreign_request(&foreign, FUSE_RELEASE, nodeid, &in, sizeof(in));
	cr_expect(fake_kernel_gets_error(&foreign.rig.kernel, unique, 0));
	unique = foreign_read(&foreign, nodeid, in.fh);
	cr_expect(fake_kernel_gets_error(&foreign.rig.kernel, unique, EBADF));
	cr_expect(fake_backend_quiet(&foreign.rig.backend));
}

Test(dispatch_translate, a_malformed_reply_leaves_nothing_in_the_tables)
{
	uint64_t unique = fake_kernel_lookup(&foreign.rig.kernel, "x"), channel;
	const struct fuse_entry_out half = {.nodeid = 77};

	channel = foreign_holds(&foreign, FUSE_LOOKUP);
	fake_backend_reply(&foreign.rig.backend, channel, 0, &half, sizeof(half) - 1);
	cr_expect(fake_kernel_gets_error(&foreign.rig.kernel, unique, EIO));
	unique = fake_kernel_lookup(&foreign.rig.kernel, "x");
	channel = foreign_holds(&foreign, FUSE_LOOKUP);
	/* A file without a type. */
	fake_backend_reply(&foreign.rig.backend, channel, 0, &half, sizeof(half));
	cr_expect(fake_kernel_gets_error(&foreign.rig.kernel, unique, EIO));
	cr_expect_eq(bad_replies(), 1);
	cr_expect_neq(foreign_lookup(&foreign, "x"), 0);
}

/* ---- notifications ------------------------------------------------------- */

Test(dispatch_translate, notifications_name_the_kernels_nodes)
{
	struct fuse_notify_inval_inode_out inval = {.ino = foreign_id(&foreign, 5), .off = -1};
	uint64_t nodeid = foreign_lookup(&foreign, "x");
	struct fake_packet packet;

	fake_backend_notify(&foreign.rig.backend, FUSE_NOTIFY_INVAL_INODE, &inval, sizeof(inval), -1);
	inval.ino = foreign_id(&foreign, 1);
	fake_backend_notify(&foreign.rig.backend, FUSE_NOTIFY_INVAL_INODE, &inval, sizeof(inval), -1);
	cr_assert(fake_kernel_receive(&foreign.rig.kernel, &packet));
	cr_expect_eq(packet.out.error, FUSE_NOTIFY_INVAL_INODE);
	inval.ino = nodeid;
	cr_expect_arr_eq(fake_packet_out(&packet), &inval, sizeof(inval));
	fake_backend_notify(&foreign.rig.backend, FUSE_NOTIFY_INVAL_INODE, &inval, sizeof(inval) - 1, -1);
	cr_assert_neq(foreign_lookup(&foreign, "y"), 0);
	cr_expect_eq(bad_replies(), 1);
}

Test(dispatch_translate, what_a_backend_retrieves_it_is_given_under_its_own_id)
{
	const struct fuse_notify_retrieve_in in = {.size = 0};
	uint64_t nodeid = foreign_lookup(&foreign, "x");
	struct fake_packet packet;

	foreign_request(&foreign, FUSE_NOTIFY_REPLY, nodeid, &in, sizeof(in));
	cr_assert(fake_backend_receive(&foreign.rig.backend, &packet));
	cr_expect_eq(packet.in.opcode, FUSE_NOTIFY_REPLY);
	cr_expect_eq(packet.in.unique, foreign.rig.kernel.unique, "its own unique");
	cr_expect_eq(packet.in.nodeid, foreign_id(&foreign, 1));
	die_and_restart();
	foreign_request(&foreign, FUSE_NOTIFY_REPLY, nodeid, &in, sizeof(in));
	cr_assert_neq(fake_kernel_lookup(&foreign.rig.kernel, "y"), 0);
	cr_expect_neq(foreign_holds(&foreign, FUSE_LOOKUP), 0, "of another's nothing is told");
}

Test(dispatch_translate, pollers_are_woken_when_the_next_one_serves)
{
	uint64_t nodeid = foreign_lookup(&foreign, "x"), unique;
	const struct fuse_poll_in in = {
		.fh = foreign_open(&foreign, nodeid), .kh = 4711, .flags = FUSE_POLL_SCHEDULE_NOTIFY};
	struct fake_packet packet;

	unique = foreign_request(&foreign, FUSE_POLL, nodeid, &in, sizeof(in));
	cr_assert(foreign_serve(&foreign, unique, &packet));
	die_and_restart();
	cr_assert(fake_kernel_receive(&foreign.rig.kernel, &packet));
	cr_expect_eq(packet.out.unique, 0);
	cr_expect_eq(packet.out.error, FUSE_NOTIFY_POLL);
	cr_expect_eq(((const struct fuse_notify_poll_wakeup_out *)fake_packet_out(&packet))->kh, 4711);
	die_and_restart();
	cr_assert_neq(foreign_lookup(&foreign, "y"), 0, "once");
}

/* ---- the kind of a backend ----------------------------------------------- */

Test(dispatch_translate, a_hello_ends_the_channel)
{
	const struct relay_hello hello = {.version = RELAY_WIRE_VERSION};
	struct fake_packet packet;

	fake_backend_notify(&foreign.rig.backend, RELAY_NOTIFY_HELLO, &hello, sizeof(hello), -1);
	cr_expect_not(fake_backend_receive(&foreign.rig.backend, &packet));
	cr_assert(foreign_die(&foreign, false));
	cr_assert(rig_backend_begin(&foreign.rig));
	fake_backend_notify(&foreign.rig.backend, RELAY_NOTIFY_HELLO, &hello, sizeof(hello), -1);
	cr_expect_not(fake_backend_receive(&foreign.rig.backend, &packet), "not on the next one either");
	cr_expect_eq(bad_replies(), 2);
}
