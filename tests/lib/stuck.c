/*
 * The mount has one request that was read and not answered: no signal ends the wait for that.
 */
#include "lib/stuck.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "relay/wire.h"

struct stuck stuck = {.fuse = -1};

static void stuck_caller(void)
{
	struct stat st;

	/* Else it would hold what others are to see the end of. */
	close_range(3, ~0u, 0);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	strcat(stuck.path, "/x");
	_exit(stat(stuck.path, &st) < 0);
}

void stuck_begin(void)
{
	const struct {
		struct fuse_out_header header;
		struct fuse_init_out init;
	} answer = {
		.header = {.len = sizeof(answer), .unique = 2},
		.init = {.major = FUSE_KERNEL_VERSION, .minor = 31, .max_write = 4096},
	};
	static uint8_t request[RELAY_MAX_REQUEST];
	char options[128];

	strcpy(stuck.path, "/tmp/test_dispatch.XXXXXX");
	cr_assert(mkdtemp(stuck.path) != NULL);
	stuck.fuse = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	snprintf(options, sizeof(options), "fd=%d,rootmode=40000,user_id=0,group_id=0", stuck.fuse);
	if (stuck.fuse < 0 || mount("stuck", stuck.path, "fuse", MS_NOSUID | MS_NODEV, options) < 0)
		cr_skip_test("no right to mount");
	cr_assert(read(stuck.fuse, request, sizeof(request)) > 0);
	cr_assert_eq(write(stuck.fuse, &answer, sizeof(answer)), sizeof(answer));
	stuck.pid = fork();
	if (stuck.pid == 0)
		stuck_caller();
	/* It waits for an answer from here on, and no signal ends that. */
	cr_assert(read(stuck.fuse, request, sizeof(request)) > 0);
}

void stuck_end(void)
{
	if (stuck.fuse < 0)
		return;
	umount2(stuck.path, MNT_FORCE | MNT_DETACH);
	close(stuck.fuse);
	stuck.fuse = -1;
	if (stuck.pid > 0)
		waitpid(stuck.pid, NULL, 0);
	rmdir(stuck.path);
}
