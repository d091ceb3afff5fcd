/*
 * Registered files: each has an id until it is given back, and a question that is none gets
 * no answer.  With the kernel where this user may; what needs none is tested everywhere.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backing.h"
#include "fdpass.h"
#include "lib/fuse_connection.h"
#include "relay/wire.h"

static struct backing backing;
static struct fuse_connection connection = {.device = -1};
static int device = -1;

static void setup(void)
{
	cr_assert_eq(backing_init(&backing), 0);
}

static void teardown(void)
{
	backing_deinit(&backing);
	fuse_connection_deinit(&connection);
}

TestSuite(backing, .init = setup, .fini = teardown, .timeout = 60);

/* A connection with the kernel, or the test is skipped. */
static void kernel_begin(void)
{
	const char *lacks = fuse_connection_init(&connection);

	if (lacks)
		cr_skip_test("%s", lacks);
	device = connection.device;
}

static int file_open(void)
{
	int fd = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	cr_assert_geq(fd, 0);
	return fd;
}

static int count_one(int32_t id, void *arg)
{
	*(int64_t *)arg += id;
	return 0;
}

static int64_t sum(void)
{
	int64_t total = 0;

	cr_expect_eq(backing_each(&backing, count_one, &total), 0);
	return total;
}

Test(backing, each_file_has_an_id_until_it_is_given_back)
{
	int fd = file_open(), a, b;

	kernel_begin();
	a = backing_add(&backing, device, fd);
	b = backing_add(&backing, device, fd);
	cr_assert_gt(a, 0);
	cr_assert_gt(b, 0);
	cr_expect_neq(a, b, "the same file twice is two registrations");
	cr_expect_eq(backing.count, 2);
	cr_expect_eq(sum(), a + b);
	backing_drop(&backing, device, a);
	cr_expect_eq(sum(), b);
	backing_drop(&backing, device, a);
	backing_drop(&backing, device, 0);
	backing_drop(&backing, device, -5);
	cr_expect_eq(backing.count, 1);
	cr_expect_lt(ioctl(device, FUSE_DEV_IOC_BACKING_CLOSE, &a), 0, "the kernel has it no more");
	cr_expect_eq(ioctl(device, FUSE_DEV_IOC_BACKING_CLOSE, &b), 0, "the other it has");
	close(fd);
}

Test(backing, what_is_no_regular_file_is_refused)
{
	int pair[2], directory = open("/tmp", O_RDONLY | O_CLOEXEC);

	kernel_begin();
	cr_assert_eq(pipe(pair), 0);
	cr_expect_eq(backing_add(&backing, device, directory), -EISDIR);
	cr_expect_eq(backing_add(&backing, device, pair[0]), -EINVAL);
	cr_expect_eq(backing_add(&backing, device, -1), -EBADF);
	cr_expect_eq(backing.count, 0);
}

Test(backing, the_next_relayd_has_them)
{
	struct backing next;
	int fd = file_open(), a, b, lost, c;

	kernel_begin();
	a = backing_add(&backing, device, fd);
	b = backing_add(&backing, device, fd);
	c = backing_add(&backing, device, fd);
	backing_drop(&backing, device, b);
	/* It dies before this is written. */
	lost = ioctl(device, FUSE_DEV_IOC_BACKING_OPEN, &(struct fuse_backing_map){.fd = fd});
	cr_assert_gt(lost, c);

	cr_assert_eq(backing_init(&next), 0);
	cr_assert_eq(backing_resume(&next, device, dup(backing.fd)), 0);
	backing_deinit(&backing);
	backing = next;
	cr_expect_eq(backing.count, 2);
	cr_expect_eq(sum(), a + c);
	cr_expect_lt(ioctl(device, FUSE_DEV_IOC_BACKING_CLOSE, &lost), 0, "what was in no entry is given back");
	b = backing_add(&backing, device, fd);
	cr_assert_gt(b, c);
	cr_expect_eq(sum(), a + b + c);
	backing_drop(&backing, device, a);
	backing_drop(&backing, device, c);
	cr_expect_eq(sum(), b);

	/* Where it is not certain whose the others are they stay. */
	lost = ioctl(device, FUSE_DEV_IOC_BACKING_OPEN, &(struct fuse_backing_map){.fd = fd});
	cr_assert_gt(lost, b);
	cr_assert_eq(backing_init(&next), 0);
	cr_assert_eq(backing_resume(&next, -1, dup(backing.fd)), 0);
	backing_deinit(&backing);
	backing = next;
	cr_expect_eq(sum(), b);
	cr_expect_eq(ioctl(device, FUSE_DEV_IOC_BACKING_CLOSE, &lost), 0, "another's is left alone");
}

Test(backing, there_is_a_most)
{
	int fd = file_open();

	kernel_begin();
	for (unsigned i = 0; i < BACKING_MAX; i++)
		cr_assert_gt(backing_add(&backing, device, fd), 0);
	cr_expect_eq(backing_add(&backing, device, fd), -ENOSPC);
	backing_drop(&backing, device, 1);
	cr_expect_gt(backing_add(&backing, device, fd), 0);
}

/* A question as librelay asks it, with nfds descriptors. */
static int question(int sock[2], unsigned nfds)
{
	const struct iovec iov = {.iov_base = (char[]){0}, .iov_len = 1};
	int fd = file_open();

	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sock), 0);
	cr_assert_eq(relay_internal_send_fds(sock[0], &iov, 1, &fd, nfds), 1);
	close(fd);
	return sock[1];
}

static int32_t answer(const int sock[2])
{
	struct relay_backed backed = {.id = 0};

	cr_assert_eq(recv(sock[0], &backed, sizeof(backed), MSG_DONTWAIT), sizeof(backed));
	return backed.id;
}

Test(backing, a_question_is_answered_where_it_was_asked)
{
	int sock[2];

	kernel_begin();
	cr_expect_eq(backing_serve(&backing, device, question(sock, 1)), 0);
	cr_expect_gt(answer(sock), 0);
	cr_expect_eq(backing.count, 1);
}

Test(backing, who_asks_and_dies_leaves_it_in_the_table)
{
	int sock[2];

	kernel_begin();
	question(sock, 1);
	close(sock[0]);
	cr_expect_eq(backing_serve(&backing, device, sock[1]), 0);
	cr_expect_eq(backing.count, 1);
}

Test(backing, where_it_is_not_agreed_that_is_the_answer)
{
	int sock[2];

	cr_expect_eq(backing_serve(&backing, -1, question(sock, 1)), 0);
	cr_expect_eq(answer(sock), -EPERM);
	cr_expect_eq(backing.count, 0);
}

Test(backing, a_question_without_a_file_is_malformed)
{
	int sock[2], empty[2], null = open("/dev/null", O_RDWR | O_CLOEXEC);

	cr_expect_eq(backing_serve(&backing, -1, question(sock, 0)), -EPROTO);
	cr_expect_eq(answer(sock), -EPROTO);
	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, empty), 0);
	cr_expect_eq(backing_serve(&backing, -1, empty[1]), -EPROTO, "it is not waited for");
	cr_expect_eq(backing_serve(&backing, -1, null), -EPROTO);
	cr_expect_eq(backing_serve(&backing, -1, -1), -EPROTO);
}
