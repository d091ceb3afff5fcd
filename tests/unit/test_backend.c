/*
 * The processes of a life: the one that was started, the one that serves, and those
 * that nobody waits for.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "backend.h"
#include "children.h"

#define DEADLINE_MS 10000u

static struct loop *loop;
static struct backend backend;
static struct launch_command command;
static struct loop_timer deadline;
static unsigned ends, orphans;

static void on_end(struct backend *b)
{
	cr_assert_eq(b, &backend);
	ends++;
	loop_break(loop);
}

static void on_orphan(void *arg)
{
	(void)arg;
	orphans++;
	loop_break(loop);
}

static void on_deadline(struct loop_timer *timer)
{
	(void)timer;
	cr_assert_fail("nothing happens");
}

static void setup(void)
{
	cr_assert_eq(loop_new(&loop), 0);
	cr_assert_eq(children_start(loop, on_orphan, NULL), 0);
	backend_init(&backend, loop, on_end);
	loop_timer_start(loop, &deadline, DEADLINE_MS, on_deadline);
}

static void teardown(void)
{
	backend_kill(&backend);
	backend_end(&backend);
	loop_timer_stop(&deadline);
	children_stop();
	loop_free(loop);
	launch_command_deinit(&command);
}

TestSuite(backend, .init = setup, .fini = teardown, .timeout = 60);

static void *thread_stay(void *arg)
{
	for (;;)
		pause();
	return arg;
}

/* Leaves its first thread, and goes on. */
static pid_t leaderless_fork(void)
{
	pid_t pid = fork();
	pthread_t thread;

	if (pid != 0)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (pthread_create(&thread, NULL, thread_stay, NULL) == 0)
		syscall(SYS_exit, 0);
	_exit(1);
}

static char state_of(pid_t pid)
{
	char path[32], stat[256] = "";
	const char *end;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	file = fopen(path, "r");
	cr_assert_not_null(file);
	cr_assert_not_null(fgets(stat, sizeof(stat), file));
	fclose(file);
	end = strrchr(stat, ')');
	return end ? end[2] : '?';
}

Test(backend, one_whose_first_thread_has_left_is_not_dying)
{
	const struct timespec pause = {.tv_nsec = 1000000};
	siginfo_t info;

	backend.child = true;
	backend.pid = leaderless_fork();
	while (state_of(backend.pid) != 'Z')
		nanosleep(&pause, NULL);
	cr_expect_not(backend_dying(&backend));
	kill(backend.pid, SIGKILL);
	cr_assert_eq(waitid(P_PID, (id_t)backend.pid, &info, WEXITED | WNOWAIT), 0);
	cr_expect(backend_dying(&backend));
	waitpid(backend.pid, NULL, 0);
	backend.child = false;
	backend.pid = 0;
}

/* Starts a script; what it prints comes out of the descriptor that is returned. */
static int start(const char *script)
{
	char *argv[] = {"sh", "-c", (char *)script, NULL};
	char *environment[] = {"PATH=/usr/bin:/bin", NULL};
	int pipes[2];

	cr_assert_eq(pipe2(pipes, O_CLOEXEC), 0);
	cr_assert_eq(launch_command_copy(&command, argv, environment), 0);
	cr_assert_eq(backend_start(&backend, &(struct launch){.command = &command,
							      .environment = environment,
							      .channel = -1,
							      .input = -1,
							      .output = pipes[1],
							      .error = STDERR_FILENO}),
		     0);
	close(pipes[1]);
	return pipes[0];
}

/* The pid that the script prints, in one line. */
static pid_t pid_read(int fd)
{
	char line[32] = "";

	cr_assert_gt(read(fd, line, sizeof(line) - 1), 0);
	close(fd);
	return (pid_t)atoi(line);
}

static void until_ends(unsigned count)
{
	while (ends < count)
		loop_run(loop);
}

Test(backend, one_process)
{
	close(start("exit 3"));
	cr_expect(backend.child);
	cr_expect_not(backend_gone(&backend));
	until_ends(1);
	cr_expect(backend_gone(&backend));
	cr_expect_str_eq(backend.ending, "exited with status 3");
	cr_expect(backend.own_fault);
	cr_expect_not(backend.in_order);
}

Test(backend, a_kill_is_nobodys_fault)
{
	close(start("exec sleep 1000"));
	cr_expect(backend_kill(&backend));
	until_ends(1);
	cr_expect(strstr(backend.ending, "signal 9"), "%s", backend.ending);
	cr_expect_not(backend.own_fault);
	cr_expect_not(backend_kill(&backend));
}

Test(backend, one_that_left_in_order_may_have_a_daemon)
{
	close(start("exit 0"));
	until_ends(1);
	cr_expect(backend.away);
	cr_expect_not(backend_gone(&backend));
	backend_give_up(&backend);
	cr_expect(backend_gone(&backend));
}

Test(backend, one_that_left_otherwise_has_none)
{
	close(start("sleep 0.1 & kill -TERM $$"));
	until_ends(1);
	cr_expect_not(backend.away);
	cr_expect(backend_gone(&backend));
}

Test(backend, a_daemon_is_followed_and_its_status_known)
{
	pid_t server = pid_read(start("sleep 1000 >&- & echo $!"));

	until_ends(1);
	cr_expect(backend.away);
	cr_assert_eq(backend_follow(&backend, server), 0);
	cr_expect_not(backend.away);
	cr_expect_eq(backend.pid, server);
	cr_expect_not(backend_gone(&backend));
	kill(server, SIGSEGV);
	until_ends(2);
	cr_expect(backend_gone(&backend));
	cr_expect(strstr(backend.ending, "signal 11"), "%s", backend.ending);
	cr_expect(backend.own_fault);
}

Test(backend, a_daemon_that_is_known_before_its_launcher_ends)
{
	pid_t server = pid_read(start("sleep 1000 >&- & echo $!; exec sleep 0.2"));

	cr_assert_eq(backend_follow(&backend, server), 0);
	until_ends(1);
	cr_expect_not(backend.away);
	cr_expect_not(backend_gone(&backend));
	cr_expect_str_eq(backend.ending, "ended");
	cr_expect(backend_kill(&backend));
	until_ends(2);
	cr_expect(strstr(backend.ending, "signal 9"), "%s", backend.ending);
}

Test(backend, a_shell_that_waits_tells_how_its_program_ended)
{
	pid_t server = pid_read(start("sleep 1000 >&- & echo $!; wait $!; exit 5"));

	cr_assert_eq(backend_follow(&backend, server), 0);
	kill(server, SIGKILL);
	until_ends(2);
	cr_expect(backend_gone(&backend));
	cr_expect_str_eq(backend.ending, "exited with status 5");
}

Test(backend, both_are_killed)
{
	pid_t server = pid_read(start("sleep 1000 >&- & echo $!; trap '' CHLD; wait; exec sleep 1000"));

	cr_assert_eq(backend_follow(&backend, server), 0);
	cr_expect(backend_kill(&backend));
	until_ends(2);
	cr_expect(backend_gone(&backend));
}

Test(backend, the_first_may_be_the_one_that_answers)
{
	close(start("exec sleep 1000"));
	cr_expect_eq(backend_follow(&backend, backend.pid), 0);
	cr_expect_eq(backend.server.pid, 0);
	backend_kill(&backend);
	until_ends(1);
	cr_expect(backend_gone(&backend));
}

Test(backend, who_is_gone_cannot_be_followed)
{
	pid_t gone = fork();

	if (gone == 0)
		_exit(0);
	waitpid(gone, NULL, 0);
	close(start("exit 0"));
	cr_expect_eq(backend_follow(&backend, gone), -ESRCH);
	until_ends(1);
	cr_expect(backend_gone(&backend));
}

Test(backend, what_is_none_of_ours_is_never_gone)
{
	pid_t other = fork();

	if (other == 0)
		_exit(0);
	cr_assert_eq(backend_take(&backend, other, geteuid()), 0);
	until_ends(1);
	cr_expect_not(backend_gone(&backend));
	/* Its status was not taken from whoever waits for it. */
	children_hold();
	children_go_on();
	backend_end(&backend);
	cr_expect_eq(backend_take(&backend, 0x3fffffff, geteuid()), -ESRCH);
}

/* root's relayd would end it: what has a number that was a user's may be anybody's by now. */
Test(backend, what_is_another_users_is_neither_taken_nor_followed)
{
	const uid_t uid = 65534;
	pid_t theirs = fork();

	if (theirs == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (setresuid(uid, uid, uid) < 0)
			_exit(1);
		pause();
		_exit(0);
	}
	if (geteuid() != 0)
		cr_skip_test("only root has a process of another user");
	cr_expect_eq(backend_take(&backend, getpid(), uid), -EPERM);
	while (backend_take(&backend, theirs, uid) == -EPERM)
		sched_yield();
	cr_assert_eq(backend.first.pid, theirs);
	cr_expect_eq(backend_follow(&backend, getpid()), -EPERM);
	cr_expect_lt(backend.server.pidfd, 0);
	backend_kill(&backend);
	until_ends(1);
	waitpid(theirs, NULL, 0);
}

Test(backend, what_is_left_behind_is_reaped_and_nothing_else)
{
	pid_t orphan = pid_read(start("sleep 0.1 >&- & echo $!; exec sleep 1000"));

	/* Its parent is the shell, which has become sleep and does not wait. */
	backend_kill(&backend);
	until_ends(1);
	cr_expect(strstr(backend.ending, "signal 9"), "%s", backend.ending);
	while (!orphans)
		loop_run(loop);
	cr_expect_eq(kill(orphan, 0), -1);
}

Test(backend, while_held_nothing_is_reaped)
{
	siginfo_t info = {0};
	pid_t held;

	children_hold();
	held = fork();
	if (held == 0)
		_exit(7);
	/* The signal comes, and is looked at, while it is held. */
	cr_assert_eq(waitid(P_PID, (id_t)held, &info, WEXITED | WNOWAIT), 0);
	close(start("exit 0"));
	until_ends(1);
	cr_expect_eq(waitid(P_PID, (id_t)held, &info, WEXITED | WNOHANG), 0);
	cr_expect_eq(info.si_pid, held);
	cr_expect_eq(info.si_status, 7);
	cr_expect_eq(orphans, 0u);
	children_go_on();
}
