/*
 * relay_open() and relay_mount() against a fake daemon.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/fake_daemon.h"
#include "relay/relay.h"

static struct fake_daemon *fake;
static char dir[64], data[128];

static void setup(void)
{
	fake = fake_daemon_start();
	setenv("RELAYD_SOCKET", fake_daemon_path(fake), 1);
	strcpy(dir, "/tmp/relayd-mount-XXXXXX");
	cr_assert_not_null(mkdtemp(dir));
}

static void teardown(void)
{
	rmdir(dir);
	fake_daemon_stop(fake);
}

TestSuite(relay_mount, .init = setup, .fini = teardown, .timeout = 20);

static const char *data_for(int fd)
{
	snprintf(data, sizeof(data), "fd=%d,rootmode=40000,user_id=%u,group_id=%u", fd, getuid(), getgid());
	return data;
}

static int channel_open(void)
{
	int fd = relay_open("/dev/fuse", O_RDWR | O_CLOEXEC);

	cr_assert(fd >= 0);
	return fd;
}

Test(relay_mount, open_takes_what_open_takes)
{
	int fd;

	cr_expect_eq(relay_open("/dev/null", O_RDWR), -1);
	cr_expect_eq(errno, ENOENT);
	cr_expect_eq(relay_open("/dev/fuse", O_RDONLY), -1);
	cr_expect_eq(errno, EINVAL);
	cr_expect_eq(relay_open("/dev/fuse", O_RDWR | O_CREAT), -1);
	cr_expect_eq(errno, EINVAL);
	fd = relay_open("/dev/fuse", O_RDWR);
	cr_assert(fd >= 0);
	cr_expect_eq(fcntl(fd, F_GETFD), 0);
	cr_expect_eq(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
	close(fd);
	fd = relay_open("/dev/fuse", O_RDWR | O_CLOEXEC | O_NONBLOCK);
	cr_assert(fd >= 0);
	cr_expect_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
	cr_expect(fcntl(fd, F_GETFL) & O_NONBLOCK);
	close(fd);
}

Test(relay_mount, mount_connects_the_channel)
{
	struct fake_asked asked;
	int fd = channel_open();
	char buf[8];

	cr_assert_eq(relay_mount("store", dir, "fuse.test", MS_NOSUID | MS_NODEV, data_for(fd)), 0, "%s",
		     strerror(errno));
	asked = fake_daemon_asked(fake);
	cr_expect_str_eq(asked.mountpoint, dir);
	cr_expect_str_eq(asked.options, "nosuid,nodev,fsname=store,subtype=test,");
	cr_expect_eq(asked.pid, getpid());
	cr_assert_eq(write(asked.channel, "init", 4), 4);
	cr_expect_eq(read(fd, buf, sizeof(buf)), 4);
	/* relayd's end is nobody's but relayd's: with it gone the channel is at its end. */
	shutdown(asked.channel, SHUT_RDWR);
	cr_expect_eq(read(fd, buf, sizeof(buf)), 0);
	close(fd);
}

Test(relay_mount, target_may_be_relative_or_a_link)
{
	char link[80];
	int fd = channel_open();

	cr_assert_eq(chdir(dir), 0);
	cr_assert_eq(relay_mount("store", ".", "fuse", 0, data_for(fd)), 0);
	cr_expect_str_eq(fake_daemon_asked(fake).mountpoint, dir);
	close(fd);
	fake_mount_end(fake, dir);
	snprintf(link, sizeof(link), "%s-link", dir);
	cr_assert_eq(symlink(dir, link), 0);
	fd = channel_open();
	cr_expect_eq(relay_mount("store", link, "fuse", 0, data_for(fd)), 0);
	cr_expect_str_eq(fake_daemon_asked(fake).mountpoint, dir);
	unlink(link);
	close(fd);
	cr_assert_eq(chdir("/"), 0);
}

Test(relay_mount, second_call_comes_back_to_the_mount)
{
	int first = channel_open(), second = channel_open();

	cr_assert_eq(relay_mount("store", dir, "fuse", 0, data_for(first)), 0);
	cr_assert_eq(relay_mount("store", dir, "fuse", 0, data_for(second)), 0);
	cr_expect_eq(fake_daemon_asked(fake).adds, 1u);
	cr_expect_eq(fake_daemon_asked(fake).attaches, 2u);
	close(first);
	close(second);
}

Test(relay_mount, descriptor_of_something_else_is_ebadf)
{
	int fd;

	cr_expect_eq(relay_mount("store", dir, "fuse", 0, "rootmode=40000"), -1);
	cr_expect_eq(errno, EBADF);
	cr_expect_eq(relay_mount("store", dir, "fuse", 0, "fd=1x,rootmode=40000"), -1);
	cr_expect_eq(errno, EBADF);
	fd = open("/dev/null", O_RDWR);
	cr_expect_eq(relay_mount("store", dir, "fuse", 0, data_for(fd)), -1);
	cr_expect_eq(errno, EBADF);
	close(fd);
	cr_expect_eq(relay_mount("store", NULL, "fuse", 0, data_for(0)), -1);
	cr_expect_eq(errno, EINVAL);
}

Test(relay_mount, number_that_is_used_again_is_not_taken_for_the_channel)
{
	int fd = channel_open(), other;

	close(fd);
	other = open("/dev/null", O_RDWR);
	cr_assert_eq(other, fd);
	cr_expect_eq(relay_mount("store", dir, "fuse", 0, data_for(other)), -1);
	cr_expect_eq(errno, EBADF);
	cr_expect_eq(fake_daemon_asked(fake).attaches, 0u);
	close(other);
}

Test(relay_mount, duplicate_is_the_channel)
{
	int fd = channel_open(), copy = dup(fd);

	close(fd);
	cr_expect_eq(relay_mount("store", dir, "fuse", 0, data_for(copy)), 0);
	close(copy);
}

Test(relay_mount, channels_that_are_closed_leave_no_descriptor)
{
	int fd = channel_open(), highest = fd + 1, i;

	close(fd);
	for (i = 0; i < 100; i++) {
		fd = channel_open();
		cr_expect_leq(fd, highest + 1);
		close(fd);
	}
}

Test(relay_mount, failure_leaves_the_channel_for_another_try)
{
	int fd = channel_open();

	fake_daemon_refuse(fake, -EACCES, "no");
	cr_expect_eq(relay_mount("store", dir, "fuse", 0, data_for(fd)), -1);
	cr_expect_eq(errno, EACCES);
	fake_daemon_refuse(fake, 0, "");
	cr_expect_eq(relay_mount("store", dir, "fuse", 0, data_for(fd)), 0);
	/* And then it is gone: a channel has one mount. */
	cr_expect_eq(relay_mount("store", dir, "fuse", 0, data_for(fd)), -1);
	cr_expect_eq(errno, EBADF);
	close(fd);
}

Test(relay_mount, without_relayd_is_enoent_or_econnrefused)
{
	int fd = channel_open();

	setenv("RELAYD_SOCKET", "/nonexistent/relayd.sock", 1);
	cr_expect_eq(relay_mount("store", dir, "fuse", 0, data_for(fd)), -1);
	cr_expect_eq(errno, ENOENT);
	setenv("RELAYD_SOCKET", fake_daemon_path(fake), 1);
	cr_expect_eq(relay_mount("store", "/nonexistent", "fuse", 0, data_for(fd)), -1);
	cr_expect_eq(errno, ENOENT);
	cr_expect_eq(relay_mount("store", "/dev/null", "fuse", 0, data_for(fd)), -1);
	cr_expect_eq(errno, ENOTDIR);
	close(fd);
}
