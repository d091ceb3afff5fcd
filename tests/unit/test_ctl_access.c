/*
 * Who may have root's relayd mount where.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ctl_access.h"

#define OTHER_UID 65534u

static char why[1024];
static char dir[64];

static void access_setup(void)
{
	strcpy(dir, "/tmp/relayd-access-XXXXXX");
	cr_assert_not_null(mkdtemp(dir));
	cr_assert_eq(chown(dir, OTHER_UID, OTHER_UID), 0);
}

static void access_teardown(void)
{
	rmdir(dir);
}

TestSuite(ctl_access, .init = access_setup, .fini = access_teardown, .timeout = 10);

static int access_to(const char *path, const char *name, uid_t uid)
{
	int fd = open(path, O_PATH | O_CLOEXEC);
	int err = ctl_access_check(fd, name, uid, why, sizeof(why));

	close(fd);
	return err;
}

Test(ctl_access, own_writable_directory_will_do)
{
	cr_expect_eq(access_to(dir, dir, OTHER_UID), 0, "%s", why);
}

Test(ctl_access, others_will_not)
{
	char file[80];
	int fd;

	cr_expect_eq(access_to(dir, dir, 12), -EPERM, "another's");
	cr_expect_eq(access_to("/proc/self", "/proc/self", 0), -EPERM, "%s", why);
	cr_expect_eq(access_to(dir, "/tmp", OTHER_UID), -ENOENT, "called otherwise");
	cr_assert_eq(chmod(dir, 0555), 0);
	cr_expect_eq(access_to(dir, dir, OTHER_UID), -EPERM, "not writable");
	snprintf(file, sizeof(file), "%s/file", dir);
	fd = open(file, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	cr_assert(fd >= 0);
	cr_expect_eq(access_to(file, file, 0), -ENOTDIR);
	close(fd);
	unlink(file);
}

Test(ctl_access, removed_directory_will_not)
{
	int fd = open(dir, O_PATH | O_CLOEXEC);

	cr_assert_eq(rmdir(dir), 0);
	cr_expect_eq(ctl_access_check(fd, dir, OTHER_UID, why, sizeof(why)), -ENOENT);
	close(fd);
}

static struct ctl_access_conf conf_of(const char *text)
{
	char path[] = "/tmp/relayd-conf-XXXXXX";
	struct ctl_access_conf conf;
	int fd = mkstemp(path);

	cr_assert_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
	ctl_access_conf_read(&conf, path);
	unlink(path);
	return conf;
}

Test(ctl_access, fuse_conf_is_understood)
{
	struct ctl_access_conf conf;

	ctl_access_conf_read(&conf, "/nonexistent");
	cr_expect_not(conf.user_allow_other);
	cr_expect_eq(conf.mount_max, 1000u);
	conf = conf_of("#user_allow_other\n# mount_max = 3\n");
	cr_expect_not(conf.user_allow_other);
	cr_expect_eq(conf.mount_max, 1000u);
	conf = conf_of("  user_allow_other # yes\nmount_max = 5\n");
	cr_expect(conf.user_allow_other);
	cr_expect_eq(conf.mount_max, 5u);
	cr_expect_not(conf_of("user_allow_others\n").user_allow_other);
}
