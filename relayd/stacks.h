/*
 * What a process that hangs is doing: each of its threads in the log.
 */
#ifndef RELAYD_STACKS_H
#define RELAYD_STACKS_H

#include <sys/types.h>

/*
 * Logs the threads of the processes (as many as `count`, at most STACKS_MAX; a pid of 0 is
 * skipped) and then kills them, on a thread of its own: what is read of /proc can wait for a
 * lock that such a process holds.  Whoever wants them dead in any case kills them after a while.
 * Returns 0, or a negative errno: nothing is done.
 */
#define STACKS_MAX 2
struct stacks_process {
	pid_t pid;
	int pidfd; /* stays the caller's */
};
int stacks_log_and_kill(const char *name, const struct stacks_process *processes, unsigned count);

#endif
