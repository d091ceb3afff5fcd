/*
 * The stand-in for fusermount3(1): the parts of one program.
 */
#ifndef WAYS_FUSERMOUNT_H
#define WAYS_FUSERMOUNT_H

#include <stdbool.h>

/* As it was called, for messages and for finding the system's own. */
extern const char *fusermount_name;

/*
 * Sets $RELAYD_SOCKET and $RELAY_TOKEN as the program has them that calls us, if it has
 * not handed them down.
 */
void fusermount_environment_take(void);

/*
 * Mounts on directory with the -o options, through relayd, and sends the program's
 * end of the channel over the socket comm_fd.  Returns the exit status.
 */
int fusermount_mount(const char *directory, const char *options, int comm_fd);

struct fusermount_unmount_args {
	const char *directory;
	bool lazy;
	bool quiet;
	char **argv; /* for the system's own fusermount3 */
};

/* -u.  Returns the exit status. */
int fusermount_unmount(const struct fusermount_unmount_args *args);

/*
 * --auto-unmount: to unmount when the program is gone.  relayd sees to that for its
 * own mounts; for others it is the system's fusermount3 that stays and waits.
 */
int fusermount_auto_unmount(const char *directory, char **argv);

#endif
