/*
 * Upgrades: candidates that come up, that don't, and that go away on the way.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/supervisor_rig.h"
#include "upgrade.h"

#define SERVES RIG_SCRIPT(RIG_ANSWER RIG_UNTIL_END)
/* A candidate waits here for hold_end(). */
#define HOLD "until rm /tmp/relayd-test-upgrade.$PPID 2>/dev/null; do sleep 0.01; done; "

static struct supervisor_rig rig;
static struct supervisor *const s = &rig.supervisor;
static struct upgrade u;
static unsigned overs;
static uint32_t timeout_ms = FAKE_DEADLINE_MS;

static void on_over(struct upgrade *upgrade)
{
	cr_assert_eq(upgrade, &u);
	cr_expect_null(s->upgrade);
	overs++;
	loop_break(rig.dispatch.loop);
}

static void serve(const char *line)
{
	cr_assert_eq(supervisor_rig_init(&rig, line), 0);
	cr_assert_eq(supervisor_rig_launch(&rig), 0);
	cr_assert(supervisor_rig_until(&rig, SUPERVISOR_SERVING));
}

static void setup(void)
{
	serve(SERVES);
}

static void teardown(void)
{
	supervisor_rig_deinit(&rig);
	launch_command_deinit(&u.command);
}

TestSuite(upgrade, .init = setup, .fini = teardown, .timeout = 60);

static int begin(const char *line)
{
	char why[256];

	u = (struct upgrade){.timeout_ms = timeout_ms, .on_over = on_over};
	cr_assert_eq(launch_command_init(&u.command, line, NULL, why, sizeof(why)), 0);
	return upgrade_begin(&u, s);
}

static void until_over(void)
{
	while (!overs)
		loop_run(rig.dispatch.loop);
}

/* The old one has noticed nothing. */
static void goes_on(pid_t pid)
{
	cr_expect_eq(u.outcome, -ECANCELED);
	cr_expect_eq(s->state, SUPERVISOR_SERVING);
	cr_expect_eq(s->incarnation, 1);
	cr_expect_eq(s->backend.pid, pid);
	cr_expect_not(supervisor_rig_was(&rig, SUPERVISOR_DRAINING));
	cr_expect_eq(s->command, &rig.command);
}

Test(upgrade, one_that_comes_up_takes_over)
{
	pid_t old = s->backend.pid, candidate;

	cr_assert_eq(begin(SERVES), 0);
	candidate = u.backend.pid;
	cr_expect_neq(candidate, old);
	cr_expect_eq(s->backend.pid, old);
	until_over();
	cr_expect_eq(u.outcome, 0);
	cr_expect_eq(s->state, SUPERVISOR_SERVING);
	cr_expect_eq(s->incarnation, 2);
	cr_expect_eq(s->backend.pid, candidate);
	cr_expect_eq(s->command, &u.command);
	cr_expect(supervisor_rig_was(&rig, SUPERVISOR_DRAINING));
	/* From here on its command is the one. */
	kill(candidate, SIGKILL);
	cr_assert(supervisor_rig_until_life(&rig, 3, SUPERVISOR_SERVING));
}

Test(upgrade, what_is_in_flight_is_given_to_the_new_one)
{
	cr_assert_neq(fake_kernel_lookup(&rig.dispatch.kernel, "x"), 0);
	cr_assert(rig_inflight(&rig.dispatch, 1));
	s->end_ms = 50;
	cr_assert_eq(begin(SERVES), 0);
	cr_assert(supervisor_rig_until(&rig, SUPERVISOR_DRAINING));
	/* The old one does not answer it: its time to do so is over. */
	supervisor_event(s, SUPERVISOR_TIMEOUT);
	until_over();
	cr_expect_eq(u.outcome, 0);
	cr_expect_eq(dispatch_inflight(&rig.dispatch.dispatch), 1);
}

Test(upgrade, one_that_is_not_there_has_not_begun)
{
	cr_expect_eq(begin("/nonexistent/backend"), -ENOENT);
	cr_expect(strstr(u.why, "/nonexistent/backend"), "%s", u.why);
	cr_expect_null(s->upgrade);
	cr_expect_eq(overs, 0);
}

Test(upgrade, one_that_exits_leaves_the_old_one)
{
	pid_t old = s->backend.pid;

	cr_assert_eq(begin("sh -c 'exit 5'"), 0);
	until_over();
	cr_expect(strstr(u.why, "exited with status 5"), "%s", u.why);
	goes_on(old);
}

Test(upgrade, one_that_says_nothing_has_its_time)
{
	pid_t old = s->backend.pid;

	timeout_ms = 50;
	cr_assert_eq(begin("sleep 1000"), 0);
	until_over();
	cr_expect(strstr(u.why, "did not come up"), "%s", u.why);
	goes_on(old);
}

Test(upgrade, one_that_closes_its_channel_has_ended)
{
	pid_t old = s->backend.pid;

	s->end_ms = 50;
	cr_assert_eq(begin("sh -c 'exec 3>&-; exec sleep 1000'"), 0);
	until_over();
	cr_expect(strstr(u.why, "closed its channel"), "%s", u.why);
	goes_on(old);
}

Test(upgrade, one_that_answers_otherwise_is_refused)
{
	pid_t old = s->backend.pid;

	cr_assert_eq(begin(RIG_SCRIPT(RIG_ANSWER_BADLY RIG_UNTIL_END)), 0);
	until_over();
	cr_expect(strstr(u.why, "8.38"), "%s", u.why);
	goes_on(old);
}

Test(upgrade, one_of_the_other_kind_is_refused)
{
	pid_t old = s->backend.pid;

	cr_assert_eq(begin(RIG_SCRIPT(RIG_HELLO RIG_UNTIL_END)), 0);
	until_over();
	cr_expect(strstr(u.why, "linked with librelay"), "%s", u.why);
	goes_on(old);
}

Test(upgrade, one_that_ends_while_the_old_one_is_drained_is_not_waited_for)
{
	cr_assert_neq(fake_kernel_lookup(&rig.dispatch.kernel, "x"), 0);
	cr_assert(rig_inflight(&rig.dispatch, 1));
	cr_assert_eq(begin(SERVES), 0);
	cr_assert(supervisor_rig_until(&rig, SUPERVISOR_DRAINING));
	cr_expect_eq(u.state, UPGRADE_READY);
	kill(u.backend.pid, SIGKILL);
	until_over();
	cr_expect_eq(u.outcome, -EHOSTDOWN);
	supervisor_event(s, SUPERVISOR_TIMEOUT);
	cr_assert(supervisor_rig_until_life(&rig, 2, SUPERVISOR_SERVING));
	cr_expect_eq(s->command, &rig.command);
}

Test(upgrade, one_that_dies_when_it_was_taken_gives_way_to_the_old_command)
{
	supervisor_rig_deinit(&rig);
	serve(RIG_SCRIPT(RIG_HELLO RIG_ANSWER RIG_UNTIL_END));
	/* INIT, and then WELCOME, which is for the present incarnation only. */
	cr_assert_eq(begin(RIG_SCRIPT(RIG_HELLO RIG_TAKE(2) "exit 7")), 0);
	cr_assert(supervisor_rig_until_life(&rig, 2, SUPERVISOR_STARTING));
	cr_expect_eq(u.state, UPGRADE_TAKING);
	until_over();
	cr_expect_eq(u.outcome, -EHOSTDOWN);
	cr_expect(strstr(u.why, "exited with status 7"), "%s", u.why);
	cr_assert(supervisor_rig_until_life(&rig, 3, SUPERVISOR_SERVING));
	cr_expect_eq(s->command, &rig.command);
	cr_expect_not(supervisor_rig_was(&rig, SUPERVISOR_BACKOFF));
}

static void hold_end(void)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/tmp/relayd-test-upgrade.%d", (int)getpid());
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
	cr_assert_geq(fd, 0, "%s", path);
	close(fd);
}

Test(upgrade, the_old_one_may_die_while_it_starts)
{
	pid_t candidate;

	cr_assert_eq(begin(RIG_SCRIPT(HOLD RIG_ANSWER RIG_UNTIL_END)), 0);
	candidate = u.backend.pid;
	kill(s->backend.pid, SIGKILL);
	cr_assert(supervisor_rig_until(&rig, SUPERVISOR_BACKOFF));
	hold_end();
	until_over();
	cr_expect_eq(u.outcome, 0);
	cr_expect_eq(s->backend.pid, candidate);
	cr_expect_eq(s->incarnation, 2);
}

Test(upgrade, the_old_one_may_die_while_one_starts_that_does_not_come_up)
{
	cr_assert_eq(begin(RIG_SCRIPT(HOLD "exit 3")), 0);
	kill(s->backend.pid, SIGKILL);
	cr_assert(supervisor_rig_until(&rig, SUPERVISOR_BACKOFF));
	hold_end();
	until_over();
	cr_expect_eq(u.outcome, -ECANCELED);
	cr_assert(supervisor_rig_until_life(&rig, 2, SUPERVISOR_SERVING));
	cr_expect_eq(s->command, &rig.command);
}

Test(upgrade, the_end_of_the_mount_is_its_end)
{
	cr_assert_eq(begin("sleep 1000"), 0);
	supervisor_event(s, SUPERVISOR_STOP);
	cr_expect_eq(overs, 1);
	cr_expect_eq(u.outcome, -ECANCELED);
	cr_assert(supervisor_rig_until(&rig, SUPERVISOR_STOPPED));
}
