/*
 * A supervisor over the dispatch rig, with the loop, processes and signals as they
 * are: backends are small shell scripts, or the test itself, attached in the name of
 * a process that sleeps.
 */
#ifndef TESTS_SUPERVISOR_RIG_H
#define TESTS_SUPERVISOR_RIG_H

#include "lib/dispatch_rig.h"
#include "supervisor.h"

/* What backends of one line do, as parts of a shell script. */
static_assert(RELAY_WIRE_VERSION == 3, "the HELLO below says so");
#define RIG_HELLO "printf \"\\030\\000\\000\\000\\001\\000\\000\\122\\000\\000\\000\\000\\000\\000\\000\\000\\003\\000\\000\\000\\000\\000\\000\\000\" >&3; "
/* Answers INIT as a program of version 7.38 that wants nothing. */
#define RIG_ANSWER                                                                                                     \
	"printf \"\\050\\000\\000\\000\\000\\000\\000\\000\\376\\377\\001\\000\\000\\000\\000\\000"                        \
	"\\007\\000\\000\\000\\046\\000\\000\\000\\000\\000\\000\\000\\000\\000\\000\\000\\000\\000\\000\\000"             \
	"\\000\\000\\001\\000\" >&3; "
/* The same of version 8. */
#define RIG_ANSWER_BADLY                                                                                               \
	"printf \"\\050\\000\\000\\000\\000\\000\\000\\000\\376\\377\\001\\000\\000\\000\\000\\000"                        \
	"\\010\\000\\000\\000\\046\\000\\000\\000\\000\\000\\000\\000\\000\\000\\000\\000\\000\\000\\000\\000"             \
	"\\000\\000\\001\\000\" >&3; "
/* Takes so many packets; takes all until the channel ends, and ends. */
#define RIG_TAKE(n) "dd bs=80000 count=" #n " of=/dev/null status=none <&3; "
#define RIG_UNTIL_END "exec cat <&3 >/dev/null"
#define RIG_SCRIPT(script) "sh -c '" script "'"

struct supervisor_rig {
	struct dispatch_rig dispatch;
	struct supervisor supervisor;
	struct launch_command command;
	struct output output;
	struct loop_timer deadline;
	enum supervisor_state states[64]; /* that it has been in, the last of them repeated */
	unsigned changes;
	pid_t attached; /* the process that sleeps; 0: none */
};

/* `line` is the backends' command; NULL: they attach themselves.  Returns 0 or a negative errno. */
int supervisor_rig_init(struct supervisor_rig *rig, const char *line);
/* Ends the backend and everything else. */
void supervisor_rig_deinit(struct supervisor_rig *rig);

/* Runs the loop until the state is this one.  Returns false if that does not come to be. */
bool supervisor_rig_until(struct supervisor_rig *rig, enum supervisor_state state);
/* The same, until that incarnation is in that state. */
bool supervisor_rig_until_life(struct supervisor_rig *rig, uint32_t incarnation, enum supervisor_state state);
/* Whether it has been in that state. */
bool supervisor_rig_was(const struct supervisor_rig *rig, enum supervisor_state state);

/* Starts the backend, and has the kernel send its INIT.  Returns what supervisor_launch() did. */
int supervisor_rig_launch(struct supervisor_rig *rig);
/* The fake backend of the dispatch rig, attached; up to where it serves if `ready`. */
bool supervisor_rig_attach(struct supervisor_rig *rig, bool ready);
/* Runs the loop until there is something to receive, or the channel has ended. */
bool supervisor_rig_until_packet(struct supervisor_rig *rig, int fd);

#endif
