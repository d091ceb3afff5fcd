/*
 * The supervisor's table, walked whole: what each event does in each state.
 *
 * DIED is not sent but had: the process is killed, or has ended.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "lib/supervisor_rig.h"

static struct supervisor_rig rig;
static char mark[64];

TestSuite(supervisor_table, .timeout = 120);

/* Serves until it has had a request, dies of it, and keeps it unanswered the next time. */
static const char dies_once[] = RIG_SCRIPT(RIG_ANSWER RIG_TAKE(2) "[ -e %s ] || { : >%s; kill -SEGV $$; }; " RIG_UNTIL_END);

static bool enter_redoing(void)
{
	char line[1024];

	snprintf(mark, sizeof(mark), "/tmp/test_supervisor.%d", (int)getpid());
	snprintf(line, sizeof(line), dies_once, mark, mark);
	return supervisor_rig_init(&rig, line) == 0 && supervisor_rig_launch(&rig) == 0 &&
	       supervisor_rig_until(&rig, SUPERVISOR_SERVING) && fake_kernel_lookup(&rig.dispatch.kernel, "x") &&
	       supervisor_rig_until(&rig, SUPERVISOR_REDOING);
}

static bool enter_launched(const char *line, enum supervisor_state state)
{
	return supervisor_rig_init(&rig, line) == 0 && supervisor_rig_launch(&rig) == 0 &&
	       supervisor_rig_until(&rig, state);
}

static bool enter_draining(void)
{
	if (!enter_launched(RIG_SCRIPT(RIG_ANSWER RIG_UNTIL_END), SUPERVISOR_SERVING) ||
	    !fake_kernel_lookup(&rig.dispatch.kernel, "x") || !rig_inflight(&rig.dispatch, 1))
		return false;
	supervisor_event(&rig.supervisor, SUPERVISOR_RESTART);
	return true;
}

/* Fresh, in this state, the loop at rest. */
static bool enter(enum supervisor_state state)
{
	switch (state) {
	case SUPERVISOR_STOPPED:
		return supervisor_rig_init(&rig, RIG_SCRIPT(RIG_UNTIL_END)) == 0;
	case SUPERVISOR_STARTING:
		return enter_launched(RIG_SCRIPT(RIG_UNTIL_END), state);
	case SUPERVISOR_RESTORING:
		return enter_launched(RIG_SCRIPT(RIG_HELLO RIG_UNTIL_END), state);
	case SUPERVISOR_REDOING:
		return enter_redoing();
	case SUPERVISOR_SERVING:
		return enter_launched(RIG_SCRIPT(RIG_ANSWER RIG_UNTIL_END), state);
	case SUPERVISOR_DRAINING:
		return enter_draining();
	case SUPERVISOR_BACKOFF:
		return enter_launched(RIG_SCRIPT(RIG_TAKE(1) RIG_ANSWER "exit 1"), state);
	default:
		return enter_launched(RIG_SCRIPT("exit 1"), state);
	}
}

static void leave(void)
{
	supervisor_rig_deinit(&rig);
	unlink(mark);
}

#define SAME SUPERVISOR_STATES

/* The state right after the event. */
static const enum supervisor_state expected[SUPERVISOR_STATES][SUPERVISOR_EVENTS] = {
	[SUPERVISOR_STOPPED] = {
		[SUPERVISOR_START] = SUPERVISOR_STARTING,
		[SUPERVISOR_HELLO] = SAME,
		[SUPERVISOR_READY] = SAME,
		[SUPERVISOR_REFUSED] = SAME,
		[SUPERVISOR_PROGRESS] = SAME,
		[SUPERVISOR_CLOSED] = SAME,
		[SUPERVISOR_TIMEOUT] = SAME,
		[SUPERVISOR_HUNG] = SAME,
		[SUPERVISOR_RESTART] = SUPERVISOR_STARTING,
		[SUPERVISOR_STOP] = SAME,
	},
	[SUPERVISOR_STARTING] = {
		[SUPERVISOR_START] = SAME,
		[SUPERVISOR_HELLO] = SUPERVISOR_RESTORING,
		[SUPERVISOR_READY] = SUPERVISOR_SERVING,
		[SUPERVISOR_REFUSED] = SAME, /* killed */
		[SUPERVISOR_PROGRESS] = SAME,
		[SUPERVISOR_CLOSED] = SUPERVISOR_DRAINING,
		[SUPERVISOR_TIMEOUT] = SAME, /* killed */
		[SUPERVISOR_HUNG] = SAME,
		[SUPERVISOR_RESTART] = SAME, /* killed */
		[SUPERVISOR_STOP] = SAME,    /* killed */
	},
	[SUPERVISOR_RESTORING] = {
		[SUPERVISOR_START] = SAME,
		[SUPERVISOR_HELLO] = SAME,
		[SUPERVISOR_READY] = SUPERVISOR_SERVING,
		[SUPERVISOR_REFUSED] = SAME,
		[SUPERVISOR_PROGRESS] = SAME,
		[SUPERVISOR_CLOSED] = SUPERVISOR_DRAINING,
		[SUPERVISOR_TIMEOUT] = SAME,
		[SUPERVISOR_HUNG] = SAME,
		[SUPERVISOR_RESTART] = SAME,
		[SUPERVISOR_STOP] = SAME,
	},
	[SUPERVISOR_REDOING] = {
		[SUPERVISOR_START] = SAME,
		[SUPERVISOR_HELLO] = SAME,
		[SUPERVISOR_READY] = SAME,
		[SUPERVISOR_REFUSED] = SAME,
		[SUPERVISOR_PROGRESS] = SAME, /* the suspect is not answered */
		[SUPERVISOR_CLOSED] = SUPERVISOR_DRAINING,
		[SUPERVISOR_TIMEOUT] = SAME,
		[SUPERVISOR_HUNG] = SUPERVISOR_DRAINING,
		[SUPERVISOR_RESTART] = SAME,
		[SUPERVISOR_STOP] = SAME,
	},
	[SUPERVISOR_SERVING] = {
		[SUPERVISOR_START] = SAME,
		[SUPERVISOR_HELLO] = SAME,
		[SUPERVISOR_READY] = SAME,
		[SUPERVISOR_REFUSED] = SAME,
		[SUPERVISOR_PROGRESS] = SAME,
		[SUPERVISOR_CLOSED] = SUPERVISOR_DRAINING,
		[SUPERVISOR_TIMEOUT] = SAME,
		[SUPERVISOR_HUNG] = SUPERVISOR_DRAINING,
		[SUPERVISOR_RESTART] = SUPERVISOR_DRAINING,
		[SUPERVISOR_STOP] = SUPERVISOR_DRAINING,
	},
	[SUPERVISOR_DRAINING] = {
		[SUPERVISOR_START] = SAME,
		[SUPERVISOR_HELLO] = SAME,
		[SUPERVISOR_READY] = SAME,
		[SUPERVISOR_REFUSED] = SAME,
		[SUPERVISOR_PROGRESS] = SAME, /* one is in flight still */
		[SUPERVISOR_CLOSED] = SAME,
		[SUPERVISOR_TIMEOUT] = SAME, /* killed */
		[SUPERVISOR_HUNG] = SAME,
		[SUPERVISOR_RESTART] = SAME,
		[SUPERVISOR_STOP] = SAME,
	},
	[SUPERVISOR_BACKOFF] = {
		[SUPERVISOR_START] = SAME,
		[SUPERVISOR_HELLO] = SAME,
		[SUPERVISOR_READY] = SAME,
		[SUPERVISOR_REFUSED] = SAME,
		[SUPERVISOR_PROGRESS] = SAME,
		[SUPERVISOR_CLOSED] = SAME,
		[SUPERVISOR_TIMEOUT] = SUPERVISOR_STARTING,
		[SUPERVISOR_HUNG] = SAME,
		[SUPERVISOR_RESTART] = SUPERVISOR_STARTING,
		[SUPERVISOR_STOP] = SUPERVISOR_STOPPED,
	},
	[SUPERVISOR_FAILED] = {
		[SUPERVISOR_START] = SAME,
		[SUPERVISOR_HELLO] = SAME,
		[SUPERVISOR_READY] = SAME,
		[SUPERVISOR_REFUSED] = SAME,
		[SUPERVISOR_PROGRESS] = SAME,
		[SUPERVISOR_CLOSED] = SAME,
		[SUPERVISOR_TIMEOUT] = SAME,
		[SUPERVISOR_HUNG] = SAME,
		[SUPERVISOR_RESTART] = SUPERVISOR_STARTING,
		[SUPERVISOR_STOP] = SUPERVISOR_STOPPED,
	},
};

static void cell(enum supervisor_state state, enum supervisor_event event)
{
	enum supervisor_state after = expected[state][event];
	const char *name = supervisor_state_name(state);

	cr_assert(enter(state), "%s cannot be reached", name);
	supervisor_event(&rig.supervisor, event);
	if (after == SAME)
		after = state;
	cr_expect_eq(rig.supervisor.state, after, "%s, event %d: then %s instead of %s", name, event,
		     supervisor_state_name(rig.supervisor.state), supervisor_state_name(after));
	leave();
}

#define ROW(row, STATE)                                                                                                \
	Test(supervisor_table, row)                                                                                    \
	{                                                                                                              \
		for (unsigned event = 0; event < SUPERVISOR_EVENTS; event++)                                           \
			if (event != SUPERVISOR_DIED)                                                                  \
				cell(SUPERVISOR_##STATE, (enum supervisor_event)event);                                \
	}

ROW(stopped, STOPPED)
ROW(starting, STARTING)
ROW(restoring, RESTORING)
ROW(redoing, REDOING)
ROW(serving, SERVING)
ROW(draining, DRAINING)
ROW(backoff, BACKOFF)
ROW(failed, FAILED)

/* A death in each state that has a process: where it leads in the end. */
static void death(enum supervisor_state state, enum supervisor_state after)
{
	uint32_t incarnation;

	cr_assert(enter(state), "%s", supervisor_state_name(state));
	incarnation = rig.supervisor.incarnation;
	kill(rig.supervisor.backend.pid, SIGKILL);
	cr_expect(supervisor_rig_until_life(&rig, incarnation + (after != SUPERVISOR_FAILED), after), "%s",
		  supervisor_state_name(state));
	leave();
}

Test(supervisor_table, died)
{
	death(SUPERVISOR_STARTING, SUPERVISOR_FAILED);
	death(SUPERVISOR_RESTORING, SUPERVISOR_FAILED);
	death(SUPERVISOR_REDOING, SUPERVISOR_REDOING);
	death(SUPERVISOR_SERVING, SUPERVISOR_SERVING);
	death(SUPERVISOR_DRAINING, SUPERVISOR_SERVING);
}

Test(supervisor_table, names_are_parsed_as_they_are_printed)
{
	enum supervisor_state state;

	for (unsigned i = 0; i < SUPERVISOR_STATES; i++) {
		cr_expect_eq(supervisor_state_parse(supervisor_state_name((enum supervisor_state)i), &state), 0);
		cr_expect_eq(state, i);
	}
	cr_expect_eq(supervisor_state_parse("serving", &state), 0);
	cr_expect_eq(state, SUPERVISOR_SERVING);
	cr_expect_eq(supervisor_state_parse("", &state), -EINVAL);
	cr_expect_eq(supervisor_state_parse("SERVIN", &state), -EINVAL);
	cr_expect_str_eq(supervisor_state_name(SUPERVISOR_STATES), "?");
}
