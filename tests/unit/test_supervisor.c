/*
 * Lives of backends: how they begin, how they end, and what comes after.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon.h"
#include "lib/supervisor_rig.h"

static struct supervisor_rig rig;
static struct supervisor *const s = &rig.supervisor;
static bool built;

static void begin(const char *line)
{
	cr_assert_eq(supervisor_rig_init(&rig, line), 0);
	built = true;
}

static void teardown(void)
{
	if (built)
		supervisor_rig_deinit(&rig);
	built = false;
}

TestSuite(supervisor, .fini = teardown, .timeout = 60);

static void launch(const char *line)
{
	begin(line);
	cr_assert_eq(supervisor_rig_launch(&rig), 0);
}

static bool process_lives(pid_t pid)
{
	int status;

	return waitpid(pid, &status, WNOHANG) == 0;
}

/* The first thing that the kernel gets. */
static void init_was_answered(void)
{
	struct fake_packet packet;

	cr_assert(fake_kernel_receive(&rig.dispatch.kernel, &packet));
	cr_expect_eq(packet.size, sizeof(packet.out) + sizeof(struct fuse_init_out));
}

/* ---- beginnings ----------------------------------------------------------- */

Test(supervisor, what_cannot_be_executed_fails_at_once)
{
	begin("/nonexistent/backend --flag");
	cr_expect_eq(supervisor_launch(s), -ENOEXEC);
	cr_expect_eq(s->exit_status, EXIT_NO_BACKEND);
	cr_expect(strstr(s->problem, "/nonexistent/backend"), "%s", s->problem);
}

Test(supervisor, a_backend_that_exits_before_init_fails)
{
	begin("sh -c 'exit 5'");
	cr_assert_eq(supervisor_launch(s), 0);
	cr_assert(supervisor_rig_until(&rig, SUPERVISOR_FAILED));
	cr_expect_eq(s->exit_status, EXIT_BACKEND_ENDED);
	cr_expect(strstr(s->problem, "exited with status 5"), "%s", s->problem);
}

Test(supervisor, a_backend_that_is_gone_when_init_comes_fails)
{
	begin("sh -c 'exit 5'");
	cr_assert_eq(supervisor_launch(s), 0);
	/* The process has ended; its supervisor has not been told. */
	cr_assert_eq(waitid(P_PID, (id_t)s->backend.pid, &(siginfo_t){0}, WEXITED | WNOWAIT), 0);
	fake_kernel_init_request(&rig.dispatch.kernel, 0);
	cr_assert(supervisor_rig_until(&rig, SUPERVISOR_FAILED));
	cr_expect(strstr(s->problem, "exited with status 5"), "%s", s->problem);
}

Test(supervisor, a_backend_that_says_nothing_is_killed_at_its_deadline)
{
	begin("sleep 1000");
	s->init_ms = 50;
	supervisor_rig_launch(&rig);
	cr_assert(supervisor_rig_until(&rig, SUPERVISOR_FAILED));
	cr_expect_eq(s->exit_status, EXIT_BACKEND_ENDED);
	cr_expect(strstr(s->problem, "did not answer INIT"), "%s", s->problem);
}

Test(supervisor, a_backend_that_answers_badly_is_refused)
{
	launch(RIG_SCRIPT(RIG_ANSWER_BADLY RIG_UNTIL_END));
	cr_assert(supervisor_rig_until(&rig, SUPERVISOR_FAILED));
	cr_expect(strstr(s->problem, "8.38"), "%s", s->problem);
}

Test(supervisor, a_backend_that_closes_its_channel_is_given_time_and_then_killed)
{
	begin("sh -c 'exec 3>&-; exec sleep 1000'");
	s->end_ms = 50;
	supervisor_rig_launch(&rig);
	cr_assert(supervisor_rig_until(&rig, SUPERVISOR_FAILED));
	cr_expect(strstr(s->problem, "signal 9"), "%s", s->problem);
}

Test(supervisor, a_backend_that_closes_its_channel_may_end_in_order)
{
	launch("sh -c '" RIG_ANSWER RIG_TAKE(2) "exec 3>&-; exit 4'");
	cr_assert(supervisor_rig_until(&rig, SUPERVISOR_SERVING));
	fake_kernel_lookup(&rig.dispatch.kernel, "x");
	cr_assert(supervisor_rig_until_life(&rig, 2, SUPERVISOR_REDOING));
	cr_expect(strstr(s->problem, "exited with status 4"), "%s", s->problem);
}

Test(supervisor, a_child_that_is_left_behind_does_not_hold_things_up)
{
	launch(RIG_SCRIPT("sleep 2 & exit 3"));
	cr_assert(supervisor_rig_until(&rig, SUPERVISOR_FAILED));
	cr_expect(strstr(s->problem, "exited with status 3"), "%s", s->problem);
}

/* ---- deaths --------------------------------------------------------------- */

Test(supervisor, the_next_life_begins_at_once)
{
	launch(RIG_SCRIPT(RIG_ANSWER RIG_UNTIL_END));
	cr_assert(supervisor_rig_until(&rig, SUPERVISOR_SERVING));
	kill(s->backend.pid, SIGKILL);
	cr_assert(supervisor_rig_until_life(&rig, 2, SUPERVISOR_SERVING));
	cr_expect_not(supervisor_rig_was(&rig, SUPERVISOR_BACKOFF));
	cr_expect_eq(atomic_load(&rig.dispatch.stats.restarts), 1);
	cr_expect_gt(atomic_load(&rig.dispatch.stats.longest_pause_us), 0);
	cr_expect_str_eq(s->problem, "");
}

Test(supervisor, ever_longer_delays_follow_bad_lives)
{
	launch(RIG_SCRIPT(RIG_TAKE(1) RIG_ANSWER "exit 1"));
	cr_assert(supervisor_rig_until_life(&rig, 6, SUPERVISOR_BACKOFF));
	cr_expect_geq(s->backoff.next_ms, 8);
	cr_expect_eq(s->exit_status, 0);
	cr_expect(strstr(s->problem, "exited with status 1"), "%s", s->problem);
	supervisor_event(s, SUPERVISOR_STOP);
	cr_expect_eq(s->state, SUPERVISOR_STOPPED);
	cr_expect_not(loop_timer_active(&s->timer));
}

Test(supervisor, the_problem_is_the_end_of_the_last_life)
{
	char why[256];

	launch(RIG_SCRIPT(RIG_TAKE(1) RIG_ANSWER RIG_UNTIL_END));
	cr_assert(supervisor_rig_until(&rig, SUPERVISOR_SERVING));
	launch_command_deinit(&rig.command);
	cr_assert_eq(launch_command_init(&rig.command, "sh -c 'exit 16'", NULL, why, sizeof(why)), 0);
	kill(s->backend.pid, SIGKILL);
	cr_assert(supervisor_rig_until(&rig, SUPERVISOR_BACKOFF));
	cr_expect_str_eq(s->problem, "the backend exited with status 16");
	launch_command_deinit(&rig.command);
	cr_assert_eq(launch_command_init(&rig.command, RIG_SCRIPT(RIG_TAKE(1) RIG_ANSWER_BADLY RIG_UNTIL_END), NULL,
					 why, sizeof(why)),
		     0);
	/* What a life was refused for is why it has ended. */
	cr_assert(supervisor_rig_until_life(&rig, s->incarnation + 1, SUPERVISOR_BACKOFF));
	cr_expect_not(strstr(s->problem, "was killed"), "%s", s->problem);
	cr_expect_not(strstr(s->problem, "exited"), "%s", s->problem);
	cr_expect(s->problem[0]);
}

Test(supervisor, a_request_that_kills_is_given_up_and_the_mount_goes_on)
{
	uint64_t unique;

	launch(RIG_SCRIPT(RIG_ANSWER RIG_TAKE(2) "kill -SEGV $$"));
	cr_assert(supervisor_rig_until(&rig, SUPERVISOR_SERVING));
	unique = fake_kernel_lookup(&rig.dispatch.kernel, "killer");
	/* The fourth life is not given it. */
	cr_assert(supervisor_rig_until_life(&rig, 4, SUPERVISOR_SERVING));
	init_was_answered();
	cr_expect(fake_kernel_gets_error(&rig.dispatch.kernel, unique, EIO));
	cr_expect_eq(atomic_load(&rig.dispatch.stats.poisoned), 1);
	cr_expect_eq(s->incarnation, 4);
}

Test(supervisor, kills_from_outside_are_not_held_against_a_request_soon)
{
	launch(RIG_SCRIPT(RIG_ANSWER RIG_UNTIL_END));
	cr_assert(supervisor_rig_until(&rig, SUPERVISOR_SERVING));
	fake_kernel_lookup(&rig.dispatch.kernel, "x");
	cr_assert(rig_inflight(&rig.dispatch, 1));
	for (uint32_t life = 2; life < 7; life++) {
		kill(s->backend.pid, SIGKILL);
		cr_assert(supervisor_rig_until_life(&rig, life, SUPERVISOR_SERVING));
	}
	init_was_answered();
	cr_expect(fake_kernel_quiet(&rig.dispatch.kernel));
	cr_expect_eq(dispatch_inflight(&rig.dispatch.dispatch), 1);
}

Test(supervisor, a_request_that_hangs_is_given_up_and_the_mount_goes_on)
{
	uint64_t unique;

	launch(RIG_SCRIPT(RIG_ANSWER RIG_UNTIL_END));
	s->dispatch->watch.limit_ns = 100000000;
	cr_assert(supervisor_rig_until(&rig, SUPERVISOR_SERVING));
	unique = fake_kernel_lookup(&rig.dispatch.kernel, "hangs");
	cr_assert(supervisor_rig_until(&rig, SUPERVISOR_DRAINING));
	cr_expect(strstr(s->problem, "LOOKUP"), "%s", s->problem);
	/* The fourth life is not given it. */
	cr_assert(supervisor_rig_until_life(&rig, 4, SUPERVISOR_SERVING));
	init_was_answered();
	cr_expect(fake_kernel_gets_error(&rig.dispatch.kernel, unique, EIO));
	cr_expect_eq(atomic_load(&rig.dispatch.stats.poisoned), 1);
	cr_expect_eq(s->incarnation, 4);
	cr_expect_not(supervisor_rig_was(&rig, SUPERVISOR_BACKOFF));
}

Test(supervisor, without_a_backend_for_too_long_applications_get_errors_until_one_serves)
{
	char why[256];
	uint64_t had, came, later;

	launch(RIG_SCRIPT(RIG_TAKE(1) RIG_ANSWER RIG_UNTIL_END));
	s->fail_after_ms = 20;
	cr_assert(supervisor_rig_until(&rig, SUPERVISOR_SERVING));
	init_was_answered();
	had = fake_kernel_lookup(&rig.dispatch.kernel, "had");
	cr_assert(rig_inflight(&rig.dispatch, 1));
	launch_command_deinit(&rig.command);
	cr_assert_eq(launch_command_init(&rig.command, "sh -c 'exit 16'", NULL, why, sizeof(why)), 0);
	kill(s->backend.pid, SIGKILL);
	cr_assert(supervisor_rig_until(&rig, SUPERVISOR_BACKOFF));
	came = fake_kernel_lookup(&rig.dispatch.kernel, "came");
	/* Both wait for the limit; the order in which they are told is that of their slots. */
	cr_assert(supervisor_rig_until_packet(&rig, rig.dispatch.kernel.fd));
	cr_expect(fake_kernel_gets_error(&rig.dispatch.kernel, had, EIO));
	cr_assert(supervisor_rig_until_packet(&rig, rig.dispatch.kernel.fd));
	cr_expect(fake_kernel_gets_error(&rig.dispatch.kernel, came, ENOTCONN));
	later = fake_kernel_lookup(&rig.dispatch.kernel, "later");
	cr_assert(supervisor_rig_until_packet(&rig, rig.dispatch.kernel.fd));
	cr_expect(fake_kernel_gets_error(&rig.dispatch.kernel, later, ENOTCONN));
	cr_expect_eq(atomic_load(&rig.dispatch.stats.failed), 3);
	/* What closes a file waits. */
	cr_assert_neq(fake_kernel_minimal(&rig.dispatch.kernel, FUSE_RELEASE), 0);
	launch_command_deinit(&rig.command);
	cr_assert_eq(launch_command_init(&rig.command, RIG_SCRIPT(RIG_TAKE(1) RIG_ANSWER RIG_UNTIL_END), NULL, why,
					 sizeof(why)),
		     0);
	cr_assert(supervisor_rig_until(&rig, SUPERVISOR_SERVING));
	cr_expect_not(s->failing);
	fake_kernel_lookup(&rig.dispatch.kernel, "again");
	cr_expect(rig_inflight(&rig.dispatch, 1));
}

Test(supervisor, a_death_during_recovery_is_an_ordinary_death)
{
	launch(RIG_SCRIPT(RIG_ANSWER RIG_UNTIL_END));
	cr_assert(supervisor_rig_until(&rig, SUPERVISOR_SERVING));
	for (uint32_t life = 2; life < 6; life++) {
		kill(s->backend.pid, SIGKILL);
		cr_assert(supervisor_rig_until_life(&rig, life, SUPERVISOR_STARTING));
	}
	cr_assert(supervisor_rig_until(&rig, SUPERVISOR_SERVING));
}

Test(supervisor, the_callers_of_a_dead_backend_are_looked_at)
{
	launch(RIG_SCRIPT(RIG_TAKE(1) RIG_ANSWER "exit 1"));
	cr_assert(supervisor_rig_until_life(&rig, 4, SUPERVISOR_BACKOFF));
	cr_expect(loop_timer_active(&s->sweep));
}

/* ---- daemons ------------------------------------------------------------ */

Test(supervisor, a_daemon_is_followed)
{
	launch(RIG_SCRIPT("(" RIG_ANSWER RIG_UNTIL_END ") & exit 0"));
	for (uint32_t life = 1; life < 4; life++) {
		cr_assert(supervisor_rig_until_life(&rig, life, SUPERVISOR_SERVING));
		cr_expect_eq(s->backend.pid, s->backend.server.pid);
		cr_expect_neq(s->backend.pid, s->backend.first.pid);
		kill(s->backend.pid, SIGKILL);
	}
	cr_assert(supervisor_rig_until_life(&rig, 4, SUPERVISOR_SERVING));
	supervisor_event(s, SUPERVISOR_STOP);
	cr_assert(supervisor_rig_until(&rig, SUPERVISOR_STOPPED));
}

Test(supervisor, what_a_daemon_leaves_behind_does_not_hold_things_up)
{
	launch(RIG_SCRIPT("(" RIG_ANSWER "sleep 3 & " RIG_UNTIL_END ") & exit 0"));
	cr_assert(supervisor_rig_until(&rig, SUPERVISOR_SERVING));
	kill(s->backend.pid, SIGKILL);
	cr_assert(supervisor_rig_until_life(&rig, 2, SUPERVISOR_SERVING));
	cr_expect_lt(atomic_load(&rig.dispatch.stats.longest_pause_us), 2000000u);
}

Test(supervisor, the_end_of_a_shell_is_not_that_of_what_it_has_started)
{
	launch(RIG_SCRIPT("(" RIG_ANSWER RIG_UNTIL_END ") & wait"));
	cr_assert(supervisor_rig_until(&rig, SUPERVISOR_SERVING));
	kill(s->backend.first.pid, SIGKILL);
	/* Nothing changes by that, so that nothing but its end itself can be waited for. */
	cr_assert(supervisor_rig_until_packet(&rig, s->backend.first.pidfd));
	cr_expect(s->backend.first.ended);
	cr_expect_eq(s->state, SUPERVISOR_SERVING);
	kill(s->backend.pid, SIGKILL);
	cr_assert(supervisor_rig_until_life(&rig, 2, SUPERVISOR_SERVING));
}

Test(supervisor, a_daemon_that_closes_its_channel_without_an_answer_has_failed)
{
	launch(RIG_SCRIPT("(exec 3>&-; sleep 3) & exit 0"));
	cr_assert(supervisor_rig_until(&rig, SUPERVISOR_FAILED));
	cr_expect(strstr(s->problem, "exited with status 0"), "%s", s->problem);
}

Test(supervisor, a_daemon_that_says_nothing_is_cut_off_at_its_deadline)
{
	begin(RIG_SCRIPT("sleep 3 & exit 0"));
	s->init_ms = 50;
	supervisor_rig_launch(&rig);
	cr_assert(supervisor_rig_until(&rig, SUPERVISOR_FAILED));
	cr_expect(strstr(s->problem, "did not answer INIT"), "%s", s->problem);
}

/* ---- backends that mount by themselves -------------------------------------- */

static struct way way;
static char ways[64], stand_in[96];

/* The way is there; what it leads through is not what is tested here. */
static void begin_placed(const char *line)
{
	char why[256];
	int fd;

	begin(line);
	strcpy(ways, "/tmp/test-supervisor-XXXXXX");
	cr_assert_not_null(mkdtemp(ways));
	snprintf(stand_in, sizeof(stand_in), "%s/fusermount3", ways);
	fd = open(stand_in, O_CREAT | O_WRONLY | O_CLOEXEC, 0755);
	cr_assert_geq(fd, 0);
	close(fd);
	setenv("RELAY_WAYS_DIR", ways, 1);
	cr_assert_eq(way_init(&way, WAY_WANTED_AUTO, true, "/nonexistent", why, sizeof(why)), 0, "%s", why);
	s->way = &way;
}

/* Before the suite's own: the supervisor uses the way. */
static void placed_teardown(void)
{
	teardown();
	way_deinit(&way);
	unlink(stand_in);
	rmdir(ways);
}

Test(supervisor, a_backend_that_mounts_by_itself_is_awaited, .fini = placed_teardown)
{
	char token[WAY_TOKEN_SIZE];
	int pair[2];

	begin_placed("sleep 1000");
	cr_assert_eq(supervisor_rig_launch(&rig), 0);
	strcpy(token, way.token);
	cr_expect(supervisor_awaits(s, token));
	cr_expect_not(supervisor_awaits(s, ""));
	cr_expect_not(supervisor_awaits(s, "0123456789abcdef0123456789abcdef"));
	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	supervisor_come_in(s, pair[0], WAY_VIA_PRELOAD);
	cr_expect_eq(s->state, SUPERVISOR_STARTING);
	/* One channel is enough; and the next life has a token of its own. */
	cr_expect_not(supervisor_awaits(s, token));
	cr_assert(supervisor_rig_until_packet(&rig, pair[1]));
	supervisor_event(s, SUPERVISOR_RESTART);
	cr_assert(supervisor_rig_until_life(&rig, 2, SUPERVISOR_STARTING));
	cr_expect_not(supervisor_awaits(s, token));
	cr_expect(supervisor_awaits(s, way.token));
	close(pair[1]);
}

Test(supervisor, a_backend_that_does_not_come_is_killed_at_its_deadline, .fini = placed_teardown)
{
	begin_placed("sleep 1000");
	s->init_ms = 50;
	cr_assert_eq(supervisor_rig_launch(&rig), 0);
	cr_assert(supervisor_rig_until(&rig, SUPERVISOR_FAILED));
	cr_expect_eq(s->exit_status, EXIT_BACKEND_ENDED);
	cr_expect(strstr(s->problem, "did not come to mount"), "%s", s->problem);
}

Test(supervisor, a_backend_that_ends_without_having_come_fails_at_once, .fini = placed_teardown)
{
	begin_placed("true");
	cr_assert_eq(supervisor_rig_launch(&rig), 0);
	cr_assert(supervisor_rig_until(&rig, SUPERVISOR_FAILED));
	cr_expect(strstr(s->problem, "exited with status 0"), "%s", s->problem);
}

Test(supervisor, what_it_was_refused_for_is_the_reason, .fini = placed_teardown)
{
	begin_placed("false");
	cr_assert_eq(supervisor_rig_launch(&rig), 0);
	supervisor_refuse(s, "that cannot be mounted", EXIT_MOUNTPOINT);
	cr_assert(supervisor_rig_until(&rig, SUPERVISOR_FAILED));
	cr_expect_str_eq(s->problem, "that cannot be mounted");
	cr_expect_eq(s->exit_status, EXIT_MOUNTPOINT);
}

/* ---- what people ask for ---------------------------------------------------- */

Test(supervisor, a_restart_waits_for_what_is_in_flight)
{
	struct fake_packet packet;
	uint64_t unique, channel;

	begin(NULL);
	cr_assert(supervisor_rig_attach(&rig, true));
	unique = fake_kernel_lookup(&rig.dispatch.kernel, "x");
	channel = fake_backend_gets(&rig.dispatch.backend, FUSE_LOOKUP);
	cr_assert_neq(channel, 0);
	supervisor_event(s, SUPERVISOR_RESTART);
	cr_expect_eq(s->state, SUPERVISOR_DRAINING);
	fake_backend_reply(&rig.dispatch.backend, channel, ENOENT, NULL, 0);
	/* The end of the channel comes after the answer was taken. */
	cr_assert(supervisor_rig_until_packet(&rig, rig.dispatch.backend.fd));
	cr_expect_not(fake_backend_receive(&rig.dispatch.backend, &packet));
	init_was_answered();
	cr_expect(fake_kernel_gets_error(&rig.dispatch.kernel, unique, ENOENT));
	fake_backend_end(&rig.dispatch.backend);
	cr_assert(supervisor_rig_until(&rig, SUPERVISOR_STOPPED));
	cr_expect_str_eq(s->problem, "");
}

Test(supervisor, a_restart_with_nothing_in_flight_is_at_once)
{
	launch(RIG_SCRIPT(RIG_ANSWER RIG_UNTIL_END));
	cr_assert(supervisor_rig_until(&rig, SUPERVISOR_SERVING));
	supervisor_event(s, SUPERVISOR_RESTART);
	cr_assert(supervisor_rig_until_life(&rig, 2, SUPERVISOR_SERVING));
	cr_expect_not(supervisor_rig_was(&rig, SUPERVISOR_BACKOFF));
}

Test(supervisor, a_backend_that_does_not_end_is_killed)
{
	launch(RIG_SCRIPT(RIG_ANSWER "exec sleep 1000"));
	s->end_ms = 50;
	cr_assert(supervisor_rig_until(&rig, SUPERVISOR_SERVING));
	supervisor_event(s, SUPERVISOR_RESTART);
	cr_assert(supervisor_rig_until_life(&rig, 2, SUPERVISOR_SERVING));
}

Test(supervisor, a_restart_during_the_first_start_is_no_failure)
{
	launch(RIG_SCRIPT(RIG_UNTIL_END));
	cr_assert(supervisor_rig_until(&rig, SUPERVISOR_STARTING));
	supervisor_event(s, SUPERVISOR_RESTART);
	cr_assert(supervisor_rig_until_life(&rig, 2, SUPERVISOR_STARTING));
	cr_expect_str_eq(s->problem, "");
}

Test(supervisor, where_an_exit_ends_the_mount_the_next_life_waits_for_that)
{
	launch(RIG_SCRIPT(RIG_ANSWER RIG_TAKE(2) "exit 0"));
	s->exit_ends = true;
	cr_assert(supervisor_rig_until(&rig, SUPERVISOR_SERVING));
	fake_kernel_lookup(&rig.dispatch.kernel, "x");
	cr_assert(supervisor_rig_until(&rig, SUPERVISOR_BACKOFF));
	cr_expect(s->left);
	/* What is still asked is answered all the same. */
	cr_assert(supervisor_rig_until_life(&rig, 2, SUPERVISOR_SERVING));
}

Test(supervisor, a_stop_ends_the_backend_and_starts_no_other)
{
	launch(RIG_SCRIPT(RIG_ANSWER RIG_UNTIL_END));
	cr_assert(supervisor_rig_until(&rig, SUPERVISOR_SERVING));
	supervisor_event(s, SUPERVISOR_STOP);
	cr_assert(supervisor_rig_until(&rig, SUPERVISOR_STOPPED));
	cr_expect_str_eq(s->backend.ending, "exited with status 0");
	cr_expect_eq(s->backend.pid, 0);
	cr_expect_eq(s->incarnation, 1);
}

/* ---- backends that attach themselves ---------------------------------------- */

Test(supervisor, one_at_a_time_may_attach)
{
	begin(NULL);
	cr_assert(supervisor_rig_attach(&rig, true));
	cr_expect_eq(supervisor_attach(s, 0, getpid(), WAY_VIA_LIBRARY), -EBUSY);
	fake_backend_end(&rig.dispatch.backend);
	kill(rig.attached, SIGKILL);
	cr_assert(supervisor_rig_until(&rig, SUPERVISOR_STOPPED));
	cr_expect_eq(supervisor_attach(s, 0, rig.attached + 100000, WAY_VIA_LIBRARY), -ESRCH);
	cr_assert(supervisor_rig_attach(&rig, true));
	cr_expect_eq(s->incarnation, 2);
}

Test(supervisor, a_channel_that_was_made_for_polling_is_waited_in)
{
	begin(NULL);
	cr_assert_eq(fake_backend_init(&rig.dispatch.backend), 0);
	cr_assert_eq(fcntl(rig.dispatch.backend.channel, F_SETFL, O_NONBLOCK), 0);
	cr_assert_eq(supervisor_attach(s, rig.dispatch.backend.channel, getpid(), WAY_VIA_LIBRARY), 0);
	cr_expect_eq(fcntl(s->channel, F_GETFL) & O_NONBLOCK, 0);
}

Test(supervisor, none_may_where_relayd_starts_them)
{
	begin("true");
	cr_expect_eq(supervisor_attach(s, 0, getpid(), WAY_VIA_LIBRARY), -EINVAL);
}

Test(supervisor, what_attached_outlives_its_mount)
{
	begin(NULL);
	s->end_ms = 50;
	cr_assert(supervisor_rig_attach(&rig, true));
	supervisor_event(s, SUPERVISOR_STOP);
	/* Though it does not close its channel. */
	cr_assert(supervisor_rig_until(&rig, SUPERVISOR_STOPPED));
	cr_expect(process_lives(rig.attached));
}

Test(supervisor, what_attached_and_closes_its_channel_lives_and_may_come_back)
{
	begin(NULL);
	cr_assert(supervisor_rig_attach(&rig, true));
	fake_backend_end(&rig.dispatch.backend);
	cr_assert(supervisor_rig_until(&rig, SUPERVISOR_STOPPED));
	cr_expect(process_lives(rig.attached));
	cr_assert(supervisor_rig_attach(&rig, true));
}

Test(supervisor, what_attached_outlives_a_mount_that_never_answered)
{
	begin(NULL);
	s->end_ms = 50;
	cr_assert(supervisor_rig_attach(&rig, false));
	supervisor_event(s, SUPERVISOR_STOP);
	cr_assert(supervisor_rig_until(&rig, SUPERVISOR_STOPPED));
	cr_expect(process_lives(rig.attached));
}
