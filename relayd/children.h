/*
 * Children that nobody waits for.  relayd is the subreaper of what it starts: a
 * backend that becomes a daemon stays its descendant and tells relayd how it ended,
 * and so does whatever else a backend leaves behind, which is reaped here.
 *
 * The state is the process's own, as SIGCHLD is.
 */
#ifndef RELAYD_CHILDREN_H
#define RELAYD_CHILDREN_H

#include <sys/types.h>

struct loop;

/* A child whose status somebody waits for; embedded in its owner. */
struct child {
	struct child *next;
	pid_t pid;
};

/*
 * Makes the process a subreaper and reaps from now on, on the loop.  on_orphan(),
 * which may be NULL, is called after some were reaped.  Returns 0 or a negative errno.
 */
int children_start(struct loop *loop, void (*on_orphan)(void *arg), void *arg);
void children_stop(void);

/* Keeps the status of pid for whoever embeds the child.  On the loop's thread. */
void children_keep(struct child *child, pid_t pid);
/* The status was taken, or is not wanted any more.  Does nothing for one that is not kept. */
void children_release(struct child *child);

/*
 * Between the two nothing is reaped: for a child that is started and waited for in
 * one go, on any thread.
 */
void children_hold(void);
void children_go_on(void);

#endif
