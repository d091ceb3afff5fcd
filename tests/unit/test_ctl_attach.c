/*
 * ATTACH: what becomes of the arguments of relay_mount().
 */
#include <criterion/criterion.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ctl_access.h"
#include "ctl_attach.h"
#include "daemon.h"
#include "fdpass.h"
#include "lib/ctl_client_test.h"
#include "mountopts.h"

TestSuite(ctl_attach, .init = ctl_test_setup, .fini = ctl_test_teardown, .timeout = 30);

/* ---- ATTACH --------------------------------------------------------------- */

static int attach_with(uid_t uid, const char *target, const char *data, unsigned long flags, int channel,
		       const char *token, uint32_t via)
{
	struct relay_ctl_client *client = uid ? ctl_test_client_open_as(uid) : ctl_test_client_open();
	struct relay_ctl_attach *body = relay_internal_ctl_command(client, RELAY_CTL_ATTACH, sizeof(*body));
	int fds[2] = {channel, open(target, O_PATH | O_DIRECTORY | O_CLOEXEC)};
	int err;

	body->flags = htole64(flags);
	relay_internal_ctl_put(&client->frame, &body->source, "store");
	relay_internal_ctl_put(&client->frame, &body->target, target);
	relay_internal_ctl_put(&client->frame, &body->type, "fuse.test");
	relay_internal_ctl_put(&client->frame, &body->data, data);
	relay_internal_ctl_put(&client->frame, &body->token, token);
	body->via = htole32(via);
	err = relay_internal_ctl_call(client, fds, fds[1] >= 0 ? 2 : 1, NULL, ctl_test_why, sizeof(ctl_test_why), NULL);
	if (fds[1] >= 0)
		close(fds[1]);
	relay_internal_ctl_close(client);
	return err;
}

static int attach_as(uid_t uid, const char *target, const char *data, unsigned long flags, int channel)
{
	return attach_with(uid, target, data, flags, channel, NULL, RELAY_CTL_VIA_LIBRARY);
}

Test(ctl_attach, attach_makes_a_mount_of_the_channel)
{
	struct fake_asked asked;
	int pair[2];
	char buf[4];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
	cr_assert_eq(attach_as(0, "/", "fd=3,rootmode=40000,user_id=0,group_id=7,allow_other", MS_NOSUID | MS_RDONLY,
			       pair[1]),
		     0, "%s", ctl_test_why);
	asked = fake_daemon_asked(ctl_test_fake);
	cr_expect_str_eq(asked.mountpoint, "/");
	cr_expect_str_eq(asked.options, "ro,nosuid,dev,allow_other,fsname=store,subtype=test,");
	cr_expect_str_eq(asked.backend, "");
	cr_expect_eq(asked.gid, 7u);
	cr_expect_eq(asked.pid, getpid());
	/* What the daemon has is our channel's other end. */
	cr_assert_eq(write(asked.channel, "hi", 2), 2);
	cr_expect_eq(read(pair[0], buf, sizeof(buf)), 2);
	close(pair[0]);
	close(pair[1]);
}

Test(ctl_attach, attach_of_something_else_than_a_channel_is_refused)
{
	int pair[2];

	cr_assert_eq(pipe(pair), 0);
	cr_expect_eq(attach_as(0, "/", "fd=3,rootmode=40000,user_id=0,group_id=0", 0, pair[0]), -EINVAL);
	cr_expect_eq(fake_daemon_asked(ctl_test_fake).adds, 0u);
	close(pair[0]);
	close(pair[1]);
}

Test(ctl_attach, attach_comes_back_to_its_own_mount_only)
{
	const char *data = "fd=3,rootmode=40000,user_id=65534,group_id=0";
	int pair[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
	fake_mount_add(ctl_test_fake, "user's", "/usr", OTHER_UID, &ctl_test_serving);
	fake_mount_add(ctl_test_fake, "root's", "/etc", 0, &ctl_test_serving);
	fake_mount_add(ctl_test_fake, "/dev", "/elsewhere", OTHER_UID, &ctl_test_serving);
	cr_expect_eq(attach_as(OTHER_UID, "/usr", data, 0, pair[1]), 0, "%s", ctl_test_why);
	cr_expect_eq(fake_daemon_asked(ctl_test_fake).attaches, 1u);
	cr_expect_eq(attach_as(OTHER_UID, "/etc", data, 0, pair[1]), -EBUSY, "another's");
	cr_expect_eq(attach_as(OTHER_UID, "/dev", data, 0, pair[1]), -EBUSY, "only called so");
	cr_expect_eq(fake_daemon_asked(ctl_test_fake).attaches, 1u);
	cr_expect_eq(fake_daemon_asked(ctl_test_fake).adds, 0u);
	close(pair[0]);
	close(pair[1]);
}

/* By fusermount3's rules, and one of relayd's own: a mount of it takes more memory. */
Test(ctl_attach, another_user_has_only_so_many_mounts)
{
	char name[16];
	int pair[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
	for (unsigned i = 0; i < 32; i++) {
		snprintf(name, sizeof(name), "/mount-%u", i);
		fake_mount_add(ctl_test_fake, name, name, OTHER_UID, &ctl_test_serving);
	}
	cr_expect_eq(attach_as(OTHER_UID, "/tmp", "fd=3,rootmode=40000,user_id=65534,group_id=0", 0, pair[1]), -EPERM);
	cr_expect_not_null(strstr(ctl_test_why, "uid 65534 has 32 mounts: the most"), "%s", ctl_test_why);
	cr_expect_eq(attach_as(0, "/tmp", "fd=3,rootmode=40000,user_id=0,group_id=0", 0, pair[1]), 0, "root has none: %s",
		     ctl_test_why);
	close(pair[0]);
	close(pair[1]);
}

Test(ctl_attach, allow_other_is_for_users_whom_fuse_conf_lets)
{
	const char *data = "fd=3,rootmode=40000,user_id=65534,group_id=0,allow_other";
	struct ctl_access_conf conf;
	int pair[2];

	ctl_access_conf_read(&conf, "/etc/fuse.conf");
	if (conf.user_allow_other)
		cr_skip_test("user_allow_other is set on this machine");
	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
	cr_expect_eq(attach_as(OTHER_UID, "/tmp", data, 0, pair[1]), -EPERM);
	cr_expect_not_null(strstr(ctl_test_why, "user_allow_other"), "%s", ctl_test_why);
	cr_expect_eq(fake_daemon_asked(ctl_test_fake).adds, 0u);
	close(pair[0]);
	close(pair[1]);
}

Test(ctl_attach, attach_waits_for_the_death_of_the_old_backend)
{
	struct relay_ctl_client *client = ctl_test_client_open();
	struct relay_ctl_attach *body = relay_internal_ctl_command(client, RELAY_CTL_ATTACH, sizeof(*body));
	struct fake_mount mount = ctl_test_serving;
	struct iovec iov;
	int fds[2], pair[2];

	mount.attach_result = -EBUSY;
	fake_mount_add(ctl_test_fake, "/usr", "/usr", 0, &mount);
	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
	relay_internal_ctl_put(&client->frame, &body->target, "/usr");
	relay_internal_ctl_put(&client->frame, &body->type, "fuse");
	relay_internal_ctl_put(&client->frame, &body->data, "fd=3");
	cr_assert_eq(relay_internal_ctl_end(&client->frame), 0);
	iov = (struct iovec){.iov_base = client->frame.bytes, .iov_len = client->frame.size};
	fds[0] = pair[1];
	fds[1] = pair[1];
	cr_assert_gt(relay_internal_send_fds(client->fd, &iov, 1, fds, 2), 0);
	ctl_test_wait_for_watchers(1);
	mount.attach_result = 0;
	mount.state = SUPERVISOR_STOPPED;
	fake_mount_set(ctl_test_fake, "/usr", &mount);
	cr_expect_eq(ctl_test_receive(client), 0);
	cr_expect_geq(fake_daemon_asked(ctl_test_fake).channel, 0);
	relay_internal_ctl_close(client);
	close(pair[0]);
	close(pair[1]);
}

Test(ctl_attach, attach_to_a_living_backend_is_refused)
{
	struct fake_mount mount = ctl_test_serving;
	int pair[2];

	mount.attach_result = -EBUSY;
	fake_mount_add(ctl_test_fake, "/usr", "/usr", 0, &mount);
	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
	cr_expect_eq(attach_as(0, "/usr", "fd=3", 0, pair[1]), -EBUSY);
	close(pair[1]);
	/* No copy of the channel is left behind. */
	cr_expect_eq(read(pair[0], ctl_test_why, 1), 0);
	close(pair[0]);
}

/* ---- with a token --------------------------------------------------------- */

#define ROOTS_DATA "fd=3,rootmode=40000,user_id=0,group_id=0"

static void await(const char *mountpoint, uid_t uid)
{
	struct fake_mount mount = {.state = SUPERVISOR_STARTING, .token = "token"};

	fake_mount_add(ctl_test_fake, "awaiting", mountpoint, uid, &mount);
}

Test(ctl_attach, a_program_that_is_awaited_comes_in_wherever_its_target_is)
{
	struct fake_asked asked;
	int pair[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
	await("/usr", 0);
	cr_expect_eq(attach_with(0, "/", ROOTS_DATA ",allow_other", MS_NOSUID | MS_NODEV, pair[1], "token",
				 RELAY_CTL_VIA_PRELOAD),
		     0, "%s", ctl_test_why);
	asked = fake_daemon_asked(ctl_test_fake);
	cr_expect_eq(asked.visits, 1u);
	cr_expect_eq(asked.adds + asked.attaches, 0u);
	cr_expect_eq(asked.via, WAY_VIA_PRELOAD);
	cr_expect_str_eq(asked.mountpoint, "/");
	cr_expect_str_eq(asked.options, "nosuid,nodev,allow_other,fsname=store,subtype=test,");
	close(pair[0]);
	close(pair[1]);
}

Test(ctl_attach, a_wrong_token_is_refused)
{
	int pair[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
	await("/usr", 0);
	cr_expect_eq(attach_with(0, "/usr", ROOTS_DATA, 0, pair[1], "tokens", RELAY_CTL_VIA_PRELOAD), -EPERM);
	cr_expect(strstr(ctl_test_why, "RELAY_TOKEN"), "%s", ctl_test_why);
	cr_expect_eq(attach_with(OTHER_UID, "/usr", ROOTS_DATA, 0, pair[1], "token", RELAY_CTL_VIA_PRELOAD), -EPERM);
	cr_expect_eq(fake_daemon_asked(ctl_test_fake).visits, 0u);
	cr_expect_eq(fake_daemon_asked(ctl_test_fake).adds, 0u);
	close(pair[0]);
	close(pair[1]);
}

Test(ctl_attach, what_it_asks_for_in_vain_is_the_mounts_reason)
{
	int pair[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
	await("/usr", 0);
	cr_expect_eq(attach_with(0, "/", ROOTS_DATA ",bogus", 0, pair[1], "token", RELAY_CTL_VIA_PRELOAD), -EINVAL);
	cr_expect_eq(fake_daemon_asked(ctl_test_fake).refused, EXIT_USAGE);
	cr_expect_eq(fake_daemon_asked(ctl_test_fake).visits, 0u);
	close(pair[0]);
	close(pair[1]);
}

Test(ctl_attach, a_place_that_is_learnt_now_must_be_free)
{
	int pair[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
	fake_mount_add(ctl_test_fake, "other", "/usr", 0, &ctl_test_serving);
	await("", 0);
	cr_expect_eq(attach_with(0, "/usr", ROOTS_DATA, 0, pair[1], "token", RELAY_CTL_VIA_PRELOAD), -EBUSY);
	cr_expect_eq(attach_with(0, "/etc", ROOTS_DATA, 0, pair[1], "token", RELAY_CTL_VIA_PRELOAD), 0);
	close(pair[0]);
	close(pair[1]);
}

Test(ctl_attach, ways_that_nobody_comes_by)
{
	int pair[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
	cr_expect_eq(attach_with(0, "/usr", ROOTS_DATA, 0, pair[1], NULL, RELAY_CTL_VIA_FD), -EINVAL);
	cr_expect_eq(attach_with(0, "/usr", ROOTS_DATA, 0, pair[1], NULL, 99), -EINVAL);
	close(pair[0]);
	close(pair[1]);
}

/* ---- the rules of ATTACH, without a socket -------------------------------- */

static int options_of(uid_t uid, const char *type, const char *data, unsigned long flags, char **options)
{
	const struct ctl_attach_args args = {
		.flags = flags, .source = "src", .type = type, .data = data, .uid = uid, .gid = uid};
	gid_t gid;

	return ctl_attach_options(&args, options, &gid, ctl_test_why, sizeof(ctl_test_why));
}

TestSuite(ctl_attach_options, .timeout = 10);

#define IDS "fd=5,rootmode=40000,user_id=1000,group_id=1000"

Test(ctl_attach_options, options_become_a_list)
{
	static const unsigned long flags = MS_NODEV | MS_NOEXEC | MS_NOATIME;
	char *options = NULL;

	cr_assert_eq(options_of(1000, "fuse", IDS ",max_read=4096,default_permissions", flags, &options), 0);
	cr_expect_str_eq(options, "nodev,noexec,noatime,max_read=4096,default_permissions,fsname=src,");
	free(options);
	cr_assert_eq(options_of(0, "fuse.x", "fd=5,rootmode=40000,user_id=0,group_id=4", MS_MGC_VAL, &options), 0);
	cr_expect_str_eq(options, "suid,dev,fsname=src,subtype=x,");
	free(options);
}

Test(ctl_attach_options, names_may_have_what_separates_options)
{
	struct ctl_attach_args args = {.source = "host:/a,b\\,allow_other",
				       .type = "fuse.x,y",
				       .data = IDS,
				       .flags = MS_NODEV,
				       .uid = 1000,
				       .gid = 1000};
	struct mountopts opts;
	char *options = NULL;
	gid_t gid;

	cr_assert_eq(ctl_attach_options(&args, &options, &gid, ctl_test_why, sizeof(ctl_test_why)), 0);
	cr_expect_str_eq(options, "nodev,fsname=host:/a\\,b\\\\\\,allow_other,subtype=x\\,y,");
	cr_assert_eq(mountopts_parse(&opts, options, 0, ctl_test_why, sizeof(ctl_test_why)), 0, "%s", ctl_test_why);
	cr_expect_str_eq(opts.fsname, args.source);
	cr_expect_str_eq(opts.subtype, "x,y");
	cr_expect_str_eq(opts.kernel, "");
	mountopts_deinit(&opts);
	free(options);
}

Test(ctl_attach_options, what_the_kernel_would_refuse_is_refused)
{
	char *options = NULL;

	cr_expect_eq(options_of(1000, "ext4", IDS, 0, &options), -ENODEV);
	cr_expect_eq(options_of(1000, "fuse.", IDS, 0, &options), -ENODEV);
	cr_expect_eq(options_of(1000, "fuse", "fd=5,rootmode=40000,user_id=1000", 0, &options), -EINVAL);
	cr_expect_eq(options_of(1000, "fuse", "fd=5,rootmode=100000,user_id=1000,group_id=1000", 0, &options), -EINVAL);
	cr_expect_eq(options_of(1000, "fuse", IDS ",blksize=512", 0, &options), -EINVAL);
	cr_expect_eq(options_of(1000, "fuse", IDS ",suid", 0, &options), -EINVAL);
	cr_expect_eq(options_of(1000, "fuse", IDS ",max_read=-1", 0, &options), -EINVAL);
	cr_expect_eq(options_of(1000, "fuse", IDS, MS_BIND, &options), -EINVAL);
	cr_expect_eq(options_of(1000, "fuse", IDS, MS_REMOUNT, &options), -EINVAL);
	cr_expect_null(options);
}

Test(ctl_attach_options, nobody_mounts_in_anothers_name)
{
	char *options = NULL;

	cr_expect_eq(options_of(1001, "fuse", "fd=5,rootmode=40000,user_id=1000,group_id=1001", 0, &options), -EPERM);
	cr_expect_eq(options_of(1001, "fuse", "fd=5,rootmode=40000,user_id=1001,group_id=1000", 0, &options), -EPERM);
	cr_expect_eq(options_of(0, "fuse", "fd=5,rootmode=40000,user_id=1000,group_id=0", 0, &options), -EPERM);
}
