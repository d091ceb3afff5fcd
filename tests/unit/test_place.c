/*
 * Places: what is mounted where, in which namespace, and who is followed on the way there.  Mounts
 * are made in a namespace of the test's own.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "place.h"

static char dir[64], real[80], mountpoint[96], link_to[80], by_link[96];

static void setup(void)
{
	strcpy(dir, "/tmp/relayd-place-XXXXXX");
	cr_assert_not_null(mkdtemp(dir));
	snprintf(real, sizeof(real), "%s/re al", dir);
	snprintf(mountpoint, sizeof(mountpoint), "%s/m\\#n\t", real);
	snprintf(link_to, sizeof(link_to), "%s/link", dir);
	snprintf(by_link, sizeof(by_link), "%s/m\\#n\t", link_to);
	cr_assert_eq(mkdir(real, 0700), 0);
	cr_assert_eq(mkdir(mountpoint, 0700), 0);
	cr_assert_eq(symlink(real, link_to), 0);
}

static void teardown(void)
{
	umount2(mountpoint, MNT_DETACH);
	rmdir(mountpoint);
	rmdir(real);
	unlink(link_to);
	rmdir(dir);
}

TestSuite(place, .init = setup, .fini = teardown, .timeout = 30);

/* Mounts a tmpfs there, which is seen here alone.  Returns its id. */
static int mount_made(void)
{
	int fd, id;

	if (unshare(CLONE_NEWNS) < 0)
		cr_skip_test("unshare: %s", strerror(errno));
	cr_assert_eq(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
	cr_assert_eq(mount("none", mountpoint, "tmpfs", 0, NULL), 0);
	fd = open(mountpoint, O_PATH | O_CLOEXEC);
	id = place_mount_of(fd);
	close(fd);
	cr_assert_geq(id, 0);
	return id;
}

Test(place, a_mount_is_found_by_a_path_with_what_is_escaped)
{
	struct place_mount found = {.id = -1};
	int id = mount_made();
	struct stat st;

	cr_expect_eq(place_find(mountpoint, &found), -ENOENT, "it is not FUSE's");
	cr_expect_eq(found.id, id);
	cr_assert_eq(stat(mountpoint, &st), 0);
	cr_expect_eq(found.device, st.st_dev);
	found.id = -1;
	cr_expect_eq(place_find(real, &found), -ENOENT);
	cr_expect_eq(found.id, -1);
}

Test(place, a_descriptor_has_a_path)
{
	char path[PATH_MAX];
	int fd = open(by_link, O_PATH | O_CLOEXEC);

	cr_assert_eq(place_path_of(fd, path, sizeof(path)), 0);
	cr_expect_str_eq(path, mountpoint);
	cr_expect_eq(place_path_of(fd, path, 10), -ENAMETOOLONG);
	close(fd);
	cr_expect_eq(place_path_of(fd, path, sizeof(path)), -ENOENT);
}

static int elsewhere(void *arg)
{
	char path[PATH_MAX];

	cr_assert_eq(chdir("/proc"), 0);
	*(bool *)arg = getcwd(path, sizeof(path)) && strcmp(path, "/proc") == 0;
	return -77;
}

Test(place, an_errand_has_a_directory_of_its_own)
{
	char before[PATH_MAX], after[PATH_MAX];
	bool was = false;

	cr_assert_not_null(getcwd(before, sizeof(before)));
	cr_expect_eq(place_run(-1, elsewhere, &was), -77);
	cr_expect(was);
	cr_expect_str_eq(getcwd(after, sizeof(after)), before);
}

Test(place, a_peer_has_a_namespace)
{
	uint64_t number = 0;
	int pair[2], ns;

	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	ns = place_ns_of_peer(pair[0], getpid(), &number);
	cr_assert_geq(ns, 0);
	cr_expect_eq(number, place_ns_own());
	cr_expect(place_ns_is_ours(ns));
	close(ns);
	close(pair[0]);
	close(pair[1]);
}

Test(place, a_namespace_without_a_process_is_none)
{
	struct place_mount found;

	cr_expect_eq(place_find_in(1, "/", &found), -ESRCH);
	cr_expect_eq(place_unmount(1, mountpoint, 1, false, 0), -ESRCH);
}

Test(place, unmounting_follows_no_link)
{
	int id = mount_made();

	cr_expect_eq(place_unmount(0, by_link, id, false, 0), -ENOTDIR);
	cr_expect_eq(place_unmount(0, by_link, id, true, 0), -ENOTDIR);
	cr_expect_eq(place_unmount(0, mountpoint, id, false, 0), 0);
	cr_expect_eq(place_unmount(0, mountpoint, id, false, 0), -ENOENT);
}

Test(place, what_has_come_in_its_place_stays)
{
	struct place_mount found = {.id = -1};
	int id = mount_made();

	cr_expect_eq(place_unmount(0, mountpoint, id + 1, false, 0), -ENOENT);
	place_find(mountpoint, &found);
	cr_expect_eq(found.id, id);
}
