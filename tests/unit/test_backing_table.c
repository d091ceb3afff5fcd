/*
 * What a backend registers without relayd: each file has an entry until it is given back, and the
 * next life finds all of them, but for those whose id nobody had written down: these are closed.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/fuse_connection.h"
#include "internal.h"

/* Lives that follow each other: what they leave with relayd is `kept`. */
static struct relay_session session;
static struct fuse_connection connection;
static int kept = -1, channel[2], file;

static void life_begin(void)
{
	session = (struct relay_session){.fd = channel[1], .device = connection.device, .passthrough = true};
	if (kept >= 0)
		cr_assert_eq(relay_internal_kept_add(&session, RELAY_KEY_BACKINGS, dup(kept)), 0);
	cr_assert_eq(relay_internal_backing_table_restore(&session), 0);
	cr_assert_eq(relay_internal_backing_table_new(&session), 0);
}

/* The process is gone: what it had in memory of its own is, too. */
static void life_end(void)
{
	if (kept < 0)
		kept = fuse_connection_kept(channel[0]);
	relay_internal_backing_table_free(&session);
	relay_internal_kept_close(&session);
}

static void setup(void)
{
	const char *lacks = fuse_connection_init(&connection);

	if (lacks)
		cr_skip_test("%s", lacks);
	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, channel), 0);
	file = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	cr_assert_geq(file, 0);
	life_begin();
}

static void teardown(void)
{
	if (session.backings)
		life_end();
	fuse_connection_deinit(&connection);
}

TestSuite(backing_table, .init = setup, .fini = teardown, .timeout = 60);

static uint64_t back(void)
{
	uint64_t backing = 0;

	cr_assert_eq(relay_back(&session, file, &backing), 0);
	cr_assert_gt(relay_backing_id(backing), 0);
	return backing;
}

static bool kernel_has(uint64_t backing)
{
	uint32_t id = (uint32_t)relay_backing_id(backing);

	return ioctl(connection.device, FUSE_DEV_IOC_BACKING_CLOSE, &id) == 0;
}

static void sum_one(uint64_t backing, void *arg)
{
	*(uint64_t *)arg += backing;
}

static uint64_t sum(void)
{
	uint64_t total = 0;

	relay_backings(&session, sum_one, &total);
	return total;
}

Test(backing_table, each_file_has_an_entry_until_it_is_given_back)
{
	uint64_t a = back(), b = back();

	cr_expect_neq(a >> 32, b >> 32);
	cr_expect_eq(sum(), a + b);
	cr_expect_eq(relay_unback(&session, a), 0);
	cr_expect_eq(relay_unback(&session, a), -EINVAL, "it is nobody's");
	cr_expect_eq(sum(), b);
	cr_expect_eq(back() >> 32, a >> 32, "its entry is used again");
	cr_expect_not(kernel_has(a));
	cr_expect(kernel_has(b));
}

Test(backing_table, the_next_life_finds_them)
{
	uint64_t a = back(), b = back();

	relay_unback(&session, a);
	life_end();
	life_begin();
	cr_expect_eq(sum(), b);
	cr_expect_eq(relay_unback(&session, b), 0);
	cr_expect_eq(sum(), 0);
}

/* The transaction that had let it go may have been undone with its reply. */
Test(backing_table, after_the_channels_end_none_is_given_back)
{
	uint64_t backing = back();

	session.phase = RELAY_PHASE_ENDED;
	cr_expect_eq(relay_unback(&session, backing), -ECONNRESET);
	life_end();
	life_begin();
	cr_expect_eq(sum(), backing, "the next life has it");
	cr_expect_eq(relay_unback(&session, backing), 0);
	cr_expect_eq(sum(), 0);
	cr_expect_not(kernel_has(backing));
}

Test(backing_table, what_the_kernel_refuses_takes_no_entry)
{
	uint64_t backing = 0;
	int directory = open("/tmp", O_RDONLY | O_CLOEXEC);

	cr_expect_eq(relay_back(&session, directory, &backing), -EISDIR);
	cr_expect_eq(relay_back(&session, -1, &backing), -EBADF);
	cr_expect_eq(sum(), 0);
	cr_expect_eq(back() >> 32, 1);
}

/* The table's layout: entries of 8 bytes, after a head of 64. */
#define PENDING (1ULL << 63)

static void entry_set(uint64_t backing, uint64_t value)
{
	if (kept < 0)
		kept = fuse_connection_kept(channel[0]);
	cr_assert_eq(pwrite(kept, &value, sizeof(value), (off_t)(64 + 8 * ((backing >> 32) - 1))), sizeof(value));
}

/* As a process that dies right after the kernel's answer. */
static uint32_t register_lost(void)
{
	struct fuse_backing_map map = {.fd = file};
	int id = ioctl(connection.device, FUSE_DEV_IOC_BACKING_OPEN, &map);

	cr_assert_gt(id, 0);
	return (uint32_t)id;
}

Test(backing_table, an_id_that_nobody_has_written_down_is_closed)
{
	uint64_t before = back(), after, pending;
	uint32_t lost;

	pending = back();
	lost = register_lost();
	after = back();
	/* The entry of `pending` is as it was before the kernel was asked: its id is the lost one. */
	cr_assert(kernel_has(pending));
	entry_set(pending, PENDING | (uint64_t)relay_backing_id(before));
	life_end();
	life_begin();
	cr_expect_eq(sum(), before + after, "only those that were written down are left");
	cr_expect_not(kernel_has(lost));
	cr_expect(kernel_has(before));
	cr_expect(kernel_has(after));
}

Test(backing_table, where_none_is_pending_nothing_is_closed)
{
	uint32_t other = register_lost();

	back();
	life_end();
	life_begin();
	cr_expect(kernel_has(other), "it is none of ours");
}

Test(backing_table, there_is_a_most)
{
	uint64_t backing = 0, first = back();

	for (unsigned i = 1; i < 65536; i++)
		cr_assert_eq(relay_back(&session, file, &backing), 0);
	cr_expect_eq(relay_back(&session, file, &backing), -ENOSPC);
	cr_expect_eq(relay_unback(&session, first), 0);
	cr_expect_eq(relay_back(&session, file, &backing), 0);
}
