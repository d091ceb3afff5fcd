/*
 * RUN: what is taken out of its descriptors.
 */
#include <criterion/criterion.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/ctl_client_test.h"

TestSuite(ctl_run, .init = ctl_test_setup, .fini = ctl_test_teardown, .timeout = 30);

#define SEALS (F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW)

static int memfd(const void *bytes, size_t size, int seals)
{
	int fd = memfd_create("run", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	cr_assert_geq(fd, 0);
	cr_assert_eq(write(fd, bytes, size), (ssize_t)size);
	cr_assert_eq(fcntl(fd, F_ADD_SEALS, seals), 0);
	return fd;
}

/* As uid, with so many of the descriptors; fd is closed. */
static int run_as(uid_t uid, int fd, unsigned nfds)
{
	struct relay_ctl_client *client = uid ? ctl_test_client_open_as(uid) : ctl_test_client_open();
	struct relay_ctl_run *body = relay_internal_ctl_command(client, RELAY_CTL_RUN, sizeof(*body));
	int fds[RELAY_CTL_RUN_FDS] = {fd, open("/usr", O_PATH | O_DIRECTORY | O_CLOEXEC), 0, 1, 2};
	int err;

	body->lives = htole32(4);
	relay_internal_ctl_put(&client->frame, &body->options, "ro");
	err = relay_internal_ctl_call(client, fds, nfds, NULL, ctl_test_why, sizeof(ctl_test_why), NULL);
	close(fds[1]);
	close(fd);
	relay_internal_ctl_close(client);
	return err;
}

static int run_bytes(const void *bytes, size_t size)
{
	return run_as(0, memfd(bytes, size, SEALS), RELAY_CTL_RUN_FDS);
}

static void serve_at_once(void)
{
	fake_daemon_next(ctl_test_fake, &ctl_test_serving);
}

Test(ctl_run, words_and_environment_come_as_they_are)
{
	static const char bytes[] = "prog\0a b\0\0A=1\0B=\0PATH=/bin\0";
	struct fake_asked asked;

	serve_at_once();
	cr_assert_eq(run_bytes(bytes, sizeof(bytes)), 0, "%s", ctl_test_why);
	asked = fake_daemon_asked(ctl_test_fake);
	cr_expect_eq(asked.words, 2u);
	cr_expect_eq(asked.variables, 3u);
	cr_expect_str_eq(asked.directory, "/usr");
	cr_expect_str_eq(asked.options, "ro");
	cr_expect_str_eq(asked.mountpoint, "");
	cr_expect_eq(asked.lives, 4u);
	cr_expect(asked.unnamed);
	cr_expect_eq(strncmp(asked.name, "run-", 4), 0);
}

Test(ctl_run, an_environment_may_be_empty)
{
	static const char bytes[] = "prog\0\0";

	serve_at_once();
	cr_expect_eq(run_bytes(bytes, sizeof(bytes)), 0, "%s", ctl_test_why);
	cr_expect_eq(fake_daemon_asked(ctl_test_fake).variables, 0u);
}

Test(ctl_run, malformed_lists_are_refused)
{
	static const struct {
		const char *bytes;
		size_t size;
	} lists[] = {
		{"\0\0", 2},		  /* no word */
		{"prog\0\0", 6},	  /* no environment */
		{"prog\0", 5},		  /* no end of the words */
		{"prog\0\0A=1\0", 10},	  /* no end of the environment */
		{"prog\0\0A=1", 9},	  /* no NUL */
		{"prog\0\0A=1\0\0x\0", 13}, /* something behind it */
	};

	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++)
		cr_expect_eq(run_bytes(lists[i].bytes, lists[i].size), -EINVAL, "%zu", i);
	cr_expect_eq(fake_daemon_asked(ctl_test_fake).adds, 0u);
}

Test(ctl_run, what_may_change_still_is_refused)
{
	static const char bytes[] = "prog\0\0";
	int pipes[2];

	cr_expect_eq(run_as(0, memfd(bytes, sizeof(bytes), F_SEAL_WRITE), RELAY_CTL_RUN_FDS), -EINVAL);
	cr_expect_eq(run_as(0, memfd(bytes, sizeof(bytes), SEALS & ~F_SEAL_WRITE), RELAY_CTL_RUN_FDS), -EINVAL);
	cr_expect_eq(run_as(0, memfd(bytes, sizeof(bytes), SEALS), 4), -EINVAL);
	cr_assert_eq(pipe(pipes), 0);
	cr_expect_eq(run_as(0, pipes[0], RELAY_CTL_RUN_FDS), -EINVAL);
	close(pipes[1]);
	cr_expect_eq(fake_daemon_asked(ctl_test_fake).adds, 0u);
}

Test(ctl_run, nobody_else_may)
{
	static const char bytes[] = "prog\0\0";

	cr_expect_eq(run_as(OTHER_UID, memfd(bytes, sizeof(bytes), SEALS), RELAY_CTL_RUN_FDS), -EPERM);
	cr_expect_eq(fake_daemon_asked(ctl_test_fake).adds, 0u);
}
