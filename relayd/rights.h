/*
 * What a process of root's relayd may do that others may not: its capabilities(7), which are each
 * thread's own.  docs/security.md has the table, and says what this is good for and what not.
 *
 * The bounding set is left as it is, and with it what root's backends begin with: execve(2)
 * gives root's programs all of it.
 */
#ifndef RELAYD_RIGHTS_H
#define RELAYD_RIGHTS_H

#include <stdbool.h>

enum rights {
	RIGHTS_RELAYD, /* the process that serves */
	RIGHTS_KEEPER,
	RIGHTS_NONE,
};

/*
 * From here on this thread, and those that it starts, may never have more than that.  Of another user's
 * process nothing is taken, which has nothing but what somebody has meant its backends to have.
 */
void rights_keep(enum rights rights);

/* This thread uses none of them but CAP_BPF, or all that it may have. */
void rights_lower(void);
void rights_raise(void);
bool rights_lowered(void);

#endif
