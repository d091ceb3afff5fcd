/*
 * Kept descriptors: each key has one, and none is lost or left open.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "keep.h"

static struct keep keep;

static void setup(void)
{
	keep_init(&keep);
}

static void teardown(void)
{
	keep_deinit(&keep);
}

TestSuite(keep, .init = setup, .fini = teardown, .timeout = 60);

static int null_open(void)
{
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	cr_assert_geq(fd, 0);
	return fd;
}

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

static int find_one(uint64_t key, int fd, void *arg)
{
	return key == *(uint64_t *)arg ? fd : 0;
}

static int find(uint64_t key)
{
	return keep_each(&keep, find_one, &key);
}

static int count_one(uint64_t key, int fd, void *arg)
{
	(void)key;
	(void)fd;
	++*(unsigned *)arg;
	return 0;
}

Test(keep, each_key_has_its_own)
{
	static const uint64_t keys[] = {5, 0, UINT64_MAX, 1, UINT64_MAX - 1, 1ull << 32};
	int fds[6];
	unsigned count = 0;

	for (size_t i = 0; i < 6; i++)
		cr_expect_eq(keep_put(&keep, keys[i], fds[i] = null_open()), 0);
	cr_expect_eq(keep.count, 6);
	for (size_t i = 0; i < 6; i++)
		cr_expect_eq(find(keys[i]), fds[i]);
	cr_expect_eq(keep_each(&keep, count_one, &count), 0);
	cr_expect_eq(count, 6);
	cr_expect_eq(find(7), 0);
}

Test(keep, a_second_one_replaces_the_first)
{
	int first = null_open(), second = null_open();

	cr_expect_eq(keep_put(&keep, 5, first), 0);
	cr_expect_eq(keep_put(&keep, 5, second), 0);
	cr_expect_eq(keep.count, 1);
	cr_expect_eq(find(5), second);
	cr_expect_not(is_open(first));
}

Test(keep, a_dropped_one_is_closed)
{
	int fd = null_open(), other = null_open();

	keep_put(&keep, 5, fd);
	keep_put(&keep, 6, other);
	keep_drop(&keep, 5);
	keep_drop(&keep, 5);
	keep_drop(&keep, 77);
	cr_expect_eq(keep.count, 1);
	cr_expect_not(is_open(fd));
	cr_expect_eq(find(6), other);
}

Test(keep, all_are_closed_at_the_end)
{
	int fds[50];

	for (uint64_t i = 0; i < 50; i++)
		keep_put(&keep, i, fds[i] = null_open());
	keep_deinit(&keep);
	for (unsigned i = 0; i < 50; i++)
		cr_expect_not(is_open(fds[i]));
	cr_expect_eq(keep.count, 0);
}

/* A backend may leave as many as it likes: others need descriptors too. */
Test(keep, what_there_is_no_room_for_is_refused_and_closed)
{
	struct rlimit limit = {.rlim_cur = 700, .rlim_max = 700};
	int refused = -1, fd;
	uint64_t key;

	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	for (key = 0; key < 700 && refused < 0; key++) {
		fd = null_open();
		if (keep_put(&keep, key, fd) == -EMFILE)
			refused = fd;
	}
	cr_assert_geq(refused, 0);
	cr_expect_not(is_open(refused));
	cr_expect_gt(key, 100);
	cr_expect_lt(key, 250);
	cr_expect_eq(keep.count, key - 1);
	cr_expect_eq(find(key - 1), 0);
	cr_expect_eq(keep_put(&keep, 3, fd = null_open()), 0, "one that replaces another takes no room");
}

/* One user's backends, however many mounts they have, take no room of others. */
Test(keep, all_mounts_of_another_user_have_one_limit)
{
	struct rlimit limit = {.rlim_cur = 4096, .rlim_max = 4096};
	struct keep second, others;
	uint64_t key;
	int fd;

	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	keep_init(&second);
	keep_init(&others);
	keep.uid = second.uid = 1000;
	others.uid = 1001;
	for (key = 0; key < KEEP_USER_MAX / 2; key++) {
		cr_assert_eq(keep_put(&keep, key, null_open()), 0);
		cr_assert_eq(keep_put(&second, key, null_open()), 0);
	}
	fd = null_open();
	cr_expect_eq(keep_put(&second, key, fd), -EDQUOT);
	cr_expect_not(is_open(fd));
	cr_expect_eq(keep_put(&second, 0, null_open()), 0, "one that replaces another takes no room");
	cr_expect_eq(keep_put(&others, 0, null_open()), 0, "another's have their own");
	keep_drop(&keep, 0);
	cr_expect_eq(keep_put(&second, key, null_open()), 0, "what is dropped is free");
	keep_deinit(&second);
	keep_deinit(&others);
	cr_expect_eq(keep_put(&keep, 0, null_open()), 0, "and so is what a mount had that ends");
	cr_expect_not_null(strstr(keep_why(-EDQUOT), "2048"));
}
