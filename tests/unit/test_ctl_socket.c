/*
 * The control socket's file: whose it is, and where it is.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "ctl.h"
#include "ctl_client.h"
#include "loop.h"

#define OTHER_UID 65534u

static char socket_dir[64], socket_path[100], socket_lock[110];
static struct loop *socket_loop;

static void socket_setup(void)
{
	strcpy(socket_dir, "/tmp/relayd-socket-XXXXXX");
	cr_assert_not_null(mkdtemp(socket_dir));
	snprintf(socket_path, sizeof(socket_path), "%s/sock", socket_dir);
	snprintf(socket_lock, sizeof(socket_lock), "%s.lock", socket_path);
	cr_assert_eq(loop_new(&socket_loop), 0);
}

static void socket_teardown(void)
{
	loop_free(socket_loop);
	unlink(socket_path);
	cr_expect_eq(rmdir(socket_dir), 0, "something is left behind");
}

TestSuite(ctl_socket, .init = socket_setup, .fini = socket_teardown, .timeout = 20);

Test(ctl_socket, stale_one_is_replaced_and_none_is_left)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);
	struct ctl *ctl;

	/* As a relayd that was killed leaves them. */
	strcpy(address.sun_path, socket_path);
	cr_assert_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	close(fd);
	close(open(socket_lock, O_CREAT | O_RDWR, 0600));
	cr_assert_eq(ctl_new(&ctl, socket_loop, NULL, socket_path), 0);
	ctl_free(ctl);
	cr_expect_lt(access(socket_path, F_OK), 0);
	cr_expect_lt(access(socket_lock, F_OK), 0);
}

Test(ctl_socket, living_one_is_left_alone)
{
	struct ctl *ctl, *second;

	cr_assert_eq(ctl_new(&ctl, socket_loop, NULL, socket_path), 0);
	cr_expect_eq(ctl_new(&second, socket_loop, NULL, socket_path), -EADDRINUSE);
	cr_expect_eq(access(socket_path, F_OK), 0);
	/* Even without the lock's file. */
	cr_assert_eq(unlink(socket_lock), 0);
	cr_expect_eq(ctl_new(&second, socket_loop, NULL, socket_path), -EADDRINUSE);
	ctl_free(ctl);
}

Test(ctl_socket, file_that_is_no_socket_is_left_alone)
{
	struct ctl *ctl;

	close(open(socket_path, O_CREAT | O_RDWR, 0600));
	cr_expect_eq(ctl_new(&ctl, socket_loop, NULL, socket_path), -EEXIST);
	cr_expect_eq(access(socket_path, F_OK), 0);
}

Test(ctl_socket, a_link_in_the_place_of_the_lock_is_not_followed)
{
	char victim[110];
	struct ctl *ctl;

	snprintf(victim, sizeof(victim), "%s/victim", socket_dir);
	cr_assert_eq(symlink(victim, socket_lock), 0);
	cr_expect_eq(ctl_new(&ctl, socket_loop, NULL, socket_path), -ELOOP);
	cr_expect_lt(access(victim, F_OK), 0);
	unlink(socket_lock);
}

Test(ctl_socket, path_that_is_too_long_is_refused)
{
	char path[200];
	struct ctl *ctl;

	memset(path, 'x', sizeof(path) - 1);
	path[sizeof(path) - 1] = '\0';
	cr_expect_eq(ctl_new(&ctl, socket_loop, NULL, path), -ENAMETOOLONG);
}

Test(ctl_socket, everybody_may_connect_to_roots)
{
	struct ctl *ctl;
	struct stat st;

	cr_assert_eq(ctl_new(&ctl, socket_loop, NULL, socket_path), 0);
	cr_assert_eq(stat(socket_path, &st), 0);
	cr_expect_eq(st.st_mode & 0777, geteuid() == 0 ? 0666u : 0600u);
	ctl_free(ctl);
}

/* ---- finding it ----------------------------------------------------------- */

TestSuite(ctl_path, .timeout = 10);

static const char *path_of(const char *given)
{
	static char path[4096];
	int err = relay_internal_ctl_path(given, path, sizeof(path));

	return err ? strerror(-err) : path;
}

Test(ctl_path, socket_is_found_without_options)
{
	unsetenv("RELAYD_SOCKET");
	setenv("XDG_RUNTIME_DIR", "/run/user/1", 1);
	cr_expect_str_eq(path_of("/given"), "/given");
	cr_expect_str_eq(path_of(NULL), RELAY_CTL_SYSTEM_SOCKET);
	setenv("RELAYD_SOCKET", "/environment", 1);
	cr_expect_str_eq(path_of(NULL), "/environment");
	cr_expect_str_eq(path_of("/given"), "/given");
	setenv("RELAYD_SOCKET", "", 1);
	cr_assert_eq(seteuid(OTHER_UID), 0);
	cr_expect_str_eq(path_of(NULL), "/run/user/1/relayd/relayd.sock");
	unsetenv("XDG_RUNTIME_DIR");
	cr_expect_str_eq(path_of(NULL), strerror(ENOENT));
	cr_assert_eq(seteuid(0), 0);
	prctl(PR_SET_DUMPABLE, 1);
}
