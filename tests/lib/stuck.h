/*
 * A process that waits for an answer of a FUSE filesystem, which is the test itself and gives
 * none: SIGKILL stays pending for as long as a test wants to look at that.
 */
#ifndef TESTS_STUCK_H
#define TESTS_STUCK_H

#include <sys/types.h>

extern struct stuck {
	char path[64];
	int fuse; /* -1: there is none */
	pid_t pid;
} stuck;

/* Skips the test without the right to mount. */
void stuck_begin(void);
/* Ends it, if there is one. */
void stuck_end(void);

#endif
