/*
 * Command lines, and the processes that come of them.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "launch.h"

static struct launch_command command;
static char why[512];

static void teardown(void)
{
	launch_command_deinit(&command);
}

TestSuite(launch, .fini = teardown, .timeout = 60);

Test(launch, a_line_is_split_as_the_shell_does)
{
	static const char *const expected[] = {"prog", "a b", "c\"d", "fd=3", "33", "val", NULL};

	setenv("LAUNCH_TEST", "val", 1);
	cr_assert_eq(launch_command_init(&command, "prog 'a b' c\\\"d fd={fd}  {fd}{fd} $LAUNCH_TEST", NULL, why, sizeof(why)), 0,
		     "%s", why);
	for (size_t i = 0; expected[i]; i++)
		cr_expect_str_eq(command.argv[i], expected[i]);
	cr_expect_null(command.argv[6]);
}

Test(launch, placeholders)
{
	static const char *const expected[] = {"p", "/dev/fd/3", "x/a b$c*'/y", "x/a b$c*'/y/a b$c*'", NULL};
	struct launch_marks marks = launch_marks_of("p {mountfd} x{mountpoint}");

	cr_expect(marks.mountfd && marks.mountpoint && !marks.fd);
	marks = launch_marks_of("p {fd} {mount} {mountpoin}");
	cr_expect(!marks.mountfd && !marks.mountpoint && marks.fd);
	/* Whatever its path has that a shell would take apart. */
	cr_assert_eq(launch_command_init(&command, "p {mountfd} x{mountpoint}/y 'x{mountpoint}/y'{mountpoint}", "/a b$c*'",
					 why, sizeof(why)),
		     0, "%s", why);
	for (size_t i = 0; expected[i]; i++)
		cr_expect_str_eq(command.argv[i], expected[i]);
	cr_expect_null(command.argv[4]);
	launch_command_deinit(&command);
	cr_expect_eq(launch_command_init(&command, "p \001", "/m", why, sizeof(why)), -EINVAL);
}

Test(launch, words_are_copied_and_their_program_found)
{
	char *argv[] = {"sh", "-c", "{fd}", NULL}, *here[] = {"./sh", NULL}, *none[] = {"nosuch", NULL};
	char *environment[] = {"A=b", "PATH=/nonexistent:/bin", NULL}, *nothing[] = {NULL};

	cr_assert_eq(launch_command_copy(&command, argv, environment), 0);
	cr_expect_str_eq(command.program, "/bin/sh");
	cr_expect_str_eq(command.argv[0], "sh");
	cr_expect_str_eq(command.argv[2], "{fd}");
	launch_command_deinit(&command);
	cr_assert_eq(launch_command_copy(&command, argv, nothing), 0);
	cr_expect_not_null(command.program);
	launch_command_deinit(&command);
	cr_assert_eq(launch_command_copy(&command, here, environment), 0);
	cr_expect_null(command.program);
	launch_command_deinit(&command);
	cr_assert_eq(launch_command_copy(&command, none, environment), 0);
	cr_expect_null(command.program);
}

Test(launch, what_is_no_command_is_refused)
{
	static const char *const lines[] = {"", "   ", "prog 'a", "a | b", "a; b", "a > b", "$(id)", "`id`", "$LAUNCH_NONE", "{"};

	unsetenv("LAUNCH_NONE");
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		why[0] = '\0';
		cr_expect_eq(launch_command_init(&command, lines[i], NULL, why, sizeof(why)), -EINVAL, "%s", lines[i]);
		cr_expect_neq(why[0], '\0');
		cr_expect_null(command.argv);
	}
}

/* Runs a line; what it says on its channel is in answer, its exit status is returned. */
static int run(const char *line, char *answer, size_t size)
{
	struct pollfd ended;
	int pair[2], output, pidfd, status;
	ssize_t n;
	pid_t pid;

	cr_assert_eq(launch_command_init(&command, line, NULL, why, sizeof(why)), 0, "%s", why);
	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	output = open("/dev/null", O_WRONLY | O_CLOEXEC);
	pid = launch_run(&(struct launch){.command = &command, .directory = "/usr", .channel = pair[1], .input = -1,
					  .output = output, .error = output},
			 &pidfd);
	close(output);
	close(pair[1]);
	if (pid < 0) {
		close(pair[0]);
		return pid;
	}
	ended = (struct pollfd){.fd = pidfd, .events = POLLIN};
	cr_assert_eq(poll(&ended, 1, 10000), 1);
	n = recv(pair[0], answer, size - 1, MSG_DONTWAIT);
	answer[n > 0 ? n : 0] = '\0';
	close(pair[0]);
	close(pidfd);
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	return WEXITSTATUS(status);
}

Test(launch, a_backend_finds_its_channel_and_nothing_else)
{
	char answer[512];

	/* The test's framework has some that are inherited; relayd has none. */
	close_range(3, ~0u, CLOSE_RANGE_CLOEXEC);
	cr_expect_eq(run("sh -c 'echo $RELAY_FD {fd} $PWD $(ls /proc/$$/fd) >&3; exit 7'", answer, sizeof(answer)), 7);
	/* 0, 1, 2, the channel, and where the shell has its script or its saved output. */
	cr_expect_eq(strncmp(answer, "3 3 /usr 0 1 2 3", 16), 0, "%s", answer);
}

Test(launch, signals_are_as_at_the_start_of_a_program)
{
	unsigned long long blocked = 1, ignored = 1;
	char answer[512];
	sigset_t all;

	signal(SIGPIPE, SIG_IGN);
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, NULL);
	cr_expect_eq(run("sh -c 'grep -E \"^Sig(Blk|Ign)\" /proc/self/status >&3'", answer, sizeof(answer)), 0);
	cr_assert_eq(sscanf(answer, "SigBlk: %llx SigIgn: %llx", &blocked, &ignored), 2);
	cr_expect_eq(blocked, 0);
	/* Two of the C library's own follow these. */
	cr_expect_eq(ignored & 0x7fffffff, 0);
}

Test(launch, what_cannot_be_executed_is_told)
{
	char answer[16];

	cr_expect_eq(run("/nonexistent/program", answer, sizeof(answer)), -ENOENT);
	launch_command_deinit(&command);
	cr_expect_eq(run("/etc/passwd", answer, sizeof(answer)), -EACCES);
	launch_command_deinit(&command);
	cr_expect_eq(run("/", answer, sizeof(answer)), -EACCES);
}
