/*
 * Packets with descriptors: what arrives is handed over or closed.
 */
#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fdpass.h"

static int pair[2];

static void setup(void)
{
	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
}

static void teardown(void)
{
	close(pair[0]);
	close(pair[1]);
}

TestSuite(fdpass, .init = setup, .fini = teardown, .timeout = 10);

static int open_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int count = 0;

	while (readdir(dir))
		count++;
	closedir(dir);
	return count;
}

static ssize_t send_text(const char *text, const int *fds, unsigned nfds)
{
	struct iovec iov = {.iov_base = (void *)text, .iov_len = strlen(text)};

	return relay_internal_send_fds(pair[0], &iov, 1, fds, nfds);
}

static bool same_file(int a, int b)
{
	struct stat one, two;

	return fstat(a, &one) == 0 && fstat(b, &two) == 0 && one.st_ino == two.st_ino && one.st_dev == two.st_dev;
}

Test(fdpass, descriptors_arrive_with_their_packet)
{
	int null = open("/dev/null", O_RDONLY), zero = open("/dev/zero", O_RDONLY);
	int sent[] = {null, zero};
	int fds[4];
	unsigned nfds = 4;
	char buf[16];

	cr_assert_eq(send_text("one", sent, 2), 3);
	cr_assert_eq(relay_internal_recv_fds(pair[1], buf, sizeof(buf), fds, &nfds), 3);
	cr_assert_eq(nfds, 2u);
	cr_expect_arr_eq(buf, "one", 3);
	cr_expect(same_file(fds[0], null));
	cr_expect(same_file(fds[1], zero));
	cr_expect(fcntl(fds[0], F_GETFD) & FD_CLOEXEC);
	cr_expect(fcntl(fds[1], F_GETFD) & FD_CLOEXEC);
}

Test(fdpass, gathered_packet_is_one)
{
	struct iovec iov[] = {{.iov_base = (void *)"ab", .iov_len = 2}, {.iov_base = (void *)"cd", .iov_len = 2}};
	unsigned nfds = 1;
	char buf[16];
	int fd;

	cr_assert_eq(relay_internal_send_fds(pair[0], iov, 2, NULL, 0), 4);
	cr_assert_eq(relay_internal_recv_fds(pair[1], buf, sizeof(buf), &fd, &nfds), 4);
	cr_expect_eq(nfds, 0u);
	cr_expect_arr_eq(buf, "abcd", 4);
}

Test(fdpass, surplus_descriptors_are_closed)
{
	int sent[] = {0, 1, 2, 0, 1};
	unsigned nfds = 2;
	char buf[16];
	int fds[2];
	int before = open_fds();

	cr_assert_eq(send_text("x", sent, 5), 1);
	cr_assert_eq(relay_internal_recv_fds(pair[1], buf, sizeof(buf), fds, &nfds), 1);
	cr_assert_eq(nfds, 2u);
	close(fds[0]);
	close(fds[1]);
	cr_assert_eq(send_text("x", sent, 5), 1);
	cr_assert_eq(relay_internal_recv_fds(pair[1], buf, sizeof(buf), NULL, NULL), 1);
	cr_expect_eq(open_fds(), before);
}

/* More than there is control buffer for: the kernel keeps those. */
Test(fdpass, more_than_the_most_are_closed)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int) * (RELAY_FDPASS_MAX + 8))];
	} control = {0};
	struct iovec iov = {.iov_base = (void *)"x", .iov_len = 1};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = control.bytes,
			     .msg_controllen = sizeof(control.bytes)};
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);
	int before = open_fds();
	unsigned nfds = 1;
	char buf[4];
	int fd;

	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof(int) * (RELAY_FDPASS_MAX + 8));
	cr_assert_eq(sendmsg(pair[0], &msg, 0), 1);
	cr_assert_eq(relay_internal_recv_fds(pair[1], buf, sizeof(buf), &fd, &nfds), 1);
	cr_assert_eq(nfds, 1u);
	close(fd);
	cr_expect_eq(open_fds(), before);
	cr_expect_eq(relay_internal_send_fds(pair[0], &iov, 1, (int[RELAY_FDPASS_MAX + 1]){0}, RELAY_FDPASS_MAX + 1),
		     -EINVAL);
}

Test(fdpass, packet_too_long_is_refused_with_its_descriptors)
{
	int sent[] = {0, 1};
	unsigned nfds = 2;
	int before = open_fds();
	char buf[4];
	int fds[2];

	cr_assert_eq(send_text("longer than that", sent, 2), 16);
	cr_expect_eq(relay_internal_recv_fds(pair[1], buf, sizeof(buf), fds, &nfds), -EMSGSIZE);
	cr_expect_eq(nfds, 0u);
	cr_expect_eq(open_fds(), before);
	/* And the next one is whole. */
	cr_assert_eq(send_text("next", NULL, 0), 4);
	cr_expect_eq(relay_internal_recv_fds(pair[1], buf, sizeof(buf), NULL, NULL), 4);
}

Test(fdpass, closed_peer_is_the_end_and_no_signal)
{
	char buf[4];

	close(pair[0]);
	pair[0] = -1;
	cr_expect_eq(relay_internal_recv_fds(pair[1], buf, sizeof(buf), NULL, NULL), 0);
	pair[0] = pair[1];
	cr_expect_eq(send_text("x", NULL, 0), -EPIPE);
	pair[0] = -1;
}

Test(fdpass, nothing_there_is_eagain)
{
	unsigned nfds = 1;
	char buf[4];
	int fd;

	cr_assert_eq(fcntl(pair[1], F_SETFL, O_NONBLOCK), 0);
	cr_expect_eq(relay_internal_recv_fds(pair[1], buf, sizeof(buf), &fd, &nfds), -EAGAIN);
	cr_expect_eq(nfds, 0u);
}
