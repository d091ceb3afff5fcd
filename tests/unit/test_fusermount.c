/*
 * The stand-in for fusermount3, as a process, against a fake daemon: what it asks
 * relayd for, and what the program gets.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fdpass.h"
#include "lib/fake_daemon.h"
#include "relay/ctl_wire.h"

#define ARGS_MAX 8

static struct fake_daemon *fake;
static char dir[64], output[4096];
static int comm[2];

static void setup(void)
{
	fake = fake_daemon_start();
	setenv("RELAYD_SOCKET", fake_daemon_path(fake), 1);
	strcpy(dir, "/tmp/relayd-fusermount-XXXXXX");
	cr_assert_not_null(mkdtemp(dir));
	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, comm), 0);
}

static void teardown(void)
{
	close(comm[0]);
	close(comm[1]);
	rmdir(dir);
	fake_daemon_stop(fake);
}

TestSuite(fusermount, .init = setup, .fini = teardown, .timeout = 60);

static const char *stand_in(void)
{
	static char path[4096];
	const char *ways = getenv("RELAY_WAYS_DIR");

	snprintf(path, sizeof(path), "%s/fusermount3", ways ? ways : "ways");
	return path;
}

/* The child's side. */
static void become(const char *const *args, int out)
{
	const char *argv[ARGS_MAX + 2] = {"fusermount3"};
	unsigned i;

	for (i = 0; args[i]; i++)
		argv[i + 1] = args[i];
	fcntl(comm[1], F_SETFD, 0);
	dup2(out, STDOUT_FILENO);
	dup2(out, STDERR_FILENO);
	execv(stand_in(), (char **)argv);
	_exit(127);
}

/* Runs it with arguments up to a NULL; its output is in output[].  Returns the exit status. */
static int run(const char *first, ...)
{
	const char *args[ARGS_MAX + 1] = {first};
	int pipes[2], status, i;
	char number[16];
	size_t got = 0;
	va_list list;
	ssize_t n;
	pid_t pid;

	va_start(list, first);
	for (i = 0; args[i] && i < ARGS_MAX; i++)
		args[i + 1] = va_arg(list, const char *);
	va_end(list);
	snprintf(number, sizeof(number), "%d", comm[1]);
	if (!getenv("NO_COMMFD"))
		setenv("_FUSE_COMMFD", number, 1);
	cr_assert_eq(pipe2(pipes, O_CLOEXEC), 0);
	pid = fork();
	if (pid == 0)
		become(args, pipes[1]);
	close(pipes[1]);
	while ((n = read(pipes[0], output + got, sizeof(output) - 1 - got)) > 0)
		got += (size_t)n;
	output[got] = '\0';
	close(pipes[0]);
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert(WIFEXITED(status));
	return WEXITSTATUS(status);
}

/* What came over _FUSE_COMMFD, or -1. */
static int received(void)
{
	char bytes[8] = "x";
	unsigned nfds = 1;
	int fd = -1;
	ssize_t n;

	fcntl(comm[0], F_SETFL, O_NONBLOCK);
	n = relay_internal_recv_fds(comm[0], bytes, sizeof(bytes), &fd, &nfds);
	if (n < 0)
		return -1;
	cr_expect_eq(n, 1);
	cr_expect_eq(bytes[0], 0);
	cr_expect_eq(nfds, 1u);
	return nfds ? fd : -1;
}

Test(fusermount, mount_gives_the_program_its_end)
{
	struct fake_asked asked;
	char buffer[8];
	int fd;

	cr_assert_eq(run("-o", "rw,nosuid,nodev,fsname=store,subtype=test,allow_other,max_read=4096,auto_unmount", "--",
			 dir, NULL),
		     0, "%s", output);
	asked = fake_daemon_asked(fake);
	cr_expect_str_eq(asked.mountpoint, dir);
	cr_expect_str_eq(asked.options, "nosuid,nodev,allow_other,max_read=4096,fsname=store,subtype=test,");
	cr_expect_eq((int)asked.via, (int)RELAY_CTL_VIA_FUSERMOUNT);
	fd = received();
	cr_assert(fd >= 0);
	cr_assert_eq(write(asked.channel, "init", 4), 4);
	cr_expect_eq(read(fd, buffer, sizeof(buffer)), 4);
	close(fd);
	cr_expect_str_eq(output, "");
}

Test(fusermount, flags_are_those_of_the_options)
{
	cr_assert_eq(run("-o", "ro,noexec,sync,noatime,suid,dev,nonempty,default_permissions", dir, NULL), 0, "%s",
		     output);
	cr_expect_str_eq(fake_daemon_asked(fake).options,
			 "ro,noexec,sync,noatime,suid,dev,default_permissions,fsname=/dev/fuse,");
	close(received());
}

Test(fusermount, without_options_it_is_nosuid_and_nodev)
{
	cr_assert_eq(run(dir, NULL), 0, "%s", output);
	cr_expect_str_eq(fake_daemon_asked(fake).options, "nosuid,nodev,fsname=/dev/fuse,");
	close(received());
}

Test(fusermount, escaped_names_are_read_as_they_were_meant)
{
	cr_assert_eq(run("-o", "fsname=a\\\\b,subtype=t", dir, NULL), 0, "%s", output);
	/* Escaped again, as all that is in a list. */
	cr_expect_str_eq(fake_daemon_asked(fake).options, "nosuid,nodev,fsname=a\\\\b,subtype=t,");
	close(received());
}

/* libfuse goes on with an option less, and would mount a second time. */
Test(fusermount, what_is_not_known_mounts_nothing)
{
	cr_expect_eq(run("--sync-init", "--", dir, NULL), 1);
	cr_expect_eq(run("-x", dir, NULL), 1);
	cr_expect_eq(run("-o", "nosuid,frobnicate", dir, NULL), 1);
	cr_expect_not_null(strstr(output, "unknown option 'frobnicate'"));
	cr_expect_eq(run("-o", "blkdev", dir, NULL), 1);
	cr_expect_eq(run("-z", dir, NULL), 1);
	cr_expect_eq(run(dir, "/another", NULL), 1);
	cr_expect_eq(run("-o", "ro", NULL), 1);
	cr_expect_eq(fake_daemon_asked(fake).adds, 0u);
	cr_expect_eq(received(), -1);
}

Test(fusermount, refusal_is_passed_on)
{
	fake_daemon_refuse(fake, -EACCES, "not there");
	cr_expect_eq(run(dir, NULL), 1);
	cr_expect_not_null(strstr(output, "mount failed: not there"), "%s", output);
	cr_expect_eq(received(), -1);
}

Test(fusermount, mount_without_a_socket_for_the_answer_is_none)
{
	setenv("NO_COMMFD", "1", 1);
	unsetenv("_FUSE_COMMFD");
	cr_expect_eq(run(dir, NULL), 1);
	cr_expect_not_null(strstr(output, "_FUSE_COMMFD"));
	setenv("_FUSE_COMMFD", "3x", 1);
	cr_expect_eq(run(dir, NULL), 1);
	cr_expect_eq(fake_daemon_asked(fake).adds, 0u);
}

Test(fusermount, token_goes_along)
{
	struct fake_mount awaiting = {.state = SUPERVISOR_STARTING, .token = "secret"};
	int fd;

	fake_mount_add(fake, "it", "/elsewhere", 0, &awaiting);
	setenv("RELAY_TOKEN", "secret", 1);
	cr_assert_eq(run("-o", "subtype=test", dir, NULL), 0, "%s", output);
	cr_expect_eq(fake_daemon_asked(fake).visits, 1u);
	cr_expect_eq(fake_daemon_asked(fake).adds, 0u);
	fd = received();
	cr_expect(fd >= 0);
	close(fd);
	setenv("RELAY_TOKEN", "another", 1);
	cr_expect_eq(run("-o", "subtype=test", dir, NULL), 1);
	cr_expect_eq(received(), -1);
}

/* go-fuse starts it with _FUSE_COMMFD and nothing else. */
Test(fusermount, what_leads_to_relayd_is_found_with_the_caller)
{
	char script[512];
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		fcntl(comm[1], F_SETFD, 0);
		snprintf(script, sizeof(script), "/usr/bin/env -i _FUSE_COMMFD=%d %s %s; exit $?", comm[1], stand_in(),
			 dir);
		execl("/bin/sh", "sh", "-c", script, NULL);
		_exit(127);
	}
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_expect_eq(status, 0);
	cr_expect_eq(fake_daemon_asked(fake).adds, 1u);
	close(received());
}

/* The mount ends when it has been asked to. */
static void *mount_end(void *arg)
{
	while (fake_daemon_asked(fake).unmounts == 0)
		sched_yield();
	fake_mount_end(fake, arg);
	return NULL;
}

Test(fusermount, unmount_is_relayds_where_the_mount_is)
{
	struct fake_mount mount = {.state = SUPERVISOR_SERVING};
	pthread_t ender;

	fake_mount_add(fake, "it", dir, 0, &mount);
	cr_assert_eq(pthread_create(&ender, NULL, mount_end, (void *)"it"), 0);
	cr_expect_eq(run("-u", "-q", "-z", "--", dir, NULL), 0, "%s", output);
	cr_assert_eq(pthread_join(ender, NULL), 0);
	cr_expect_eq(fake_daemon_asked(fake).unmounts, 1u);
	cr_expect(fake_daemon_asked(fake).force, "lazily");
	mount.unmount_result = -EBUSY;
	fake_mount_add(fake, "it", dir, 0, &mount);
	cr_expect_eq(run("-u", dir, NULL), 1);
	cr_expect_not_null(strstr(output, "failed to unmount"), "%s", output);
	cr_expect_not(fake_daemon_asked(fake).force);
	cr_expect_eq(run("-u", "-q", dir, NULL), 1);
	cr_expect_str_eq(output, "");
}

Test(fusermount, program_of_relayds_unmounts_nothing)
{
	struct fake_mount mount = {.state = SUPERVISOR_SERVING};

	setenv("RELAY_TOKEN", "secret", 1);
	cr_expect_eq(run("-u", "-q", "-z", "--", dir, NULL), 0, "%s", output);
	cr_expect_eq(run("-u", "/nonexistent", NULL), 0, "%s", output);
	fake_mount_add(fake, "it", dir, 0, &mount);
	cr_expect_eq(run("-u", dir, NULL), 0, "%s", output);
	cr_expect_eq(fake_daemon_asked(fake).unmounts, 0u);
	cr_expect_eq(run("--auto-unmount", "--", dir, NULL), 0, "%s", output);
}

Test(fusermount, mounts_of_others_go_to_the_systems_own)
{
	char bin[128], path[4096], script[160];
	FILE *file;

	snprintf(bin, sizeof(bin), "%s/bin", dir);
	cr_assert_eq(mkdir(bin, 0755), 0);
	snprintf(script, sizeof(script), "%s/fusermount3", bin);
	file = fopen(script, "w");
	cr_assert_not_null(file);
	fprintf(file, "#!/bin/sh\necho \"own: $* $LD_PRELOAD\"\nexit 3\n");
	cr_assert_eq(fclose(file), 0);
	cr_assert_eq(chmod(script, 0755), 0);
	/* The stand-in's own directory is first, as relayd sets it. */
	snprintf(path, sizeof(path), "%s:%s:%s", getenv("RELAY_WAYS_DIR"), bin, getenv("PATH"));
	setenv("PATH", path, 1);
	cr_expect_eq(run("-u", "-z", dir, NULL), 3);
	cr_expect_eq(strncmp(output, "own: -u -z ", 11), 0, "%s", output);
	cr_expect_eq(fake_daemon_asked(fake).unmounts, 0u);
	unlink(script);
	rmdir(bin);
}

Test(fusermount, help_and_version)
{
	cr_expect_eq(run("-h", NULL), 0);
	cr_expect_not_null(strstr(output, "-u  "));
	cr_expect_eq(run("-V", NULL), 0);
	cr_expect_eq(strncmp(output, "fusermount3 version: ", 21), 0);
}
