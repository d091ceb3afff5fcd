/*
 * Mounts a FUSE connection by hand and answers its INIT, so that the
 * descriptor, and nothing else, is what the experiments are about.
 */
#ifndef RESEARCH_MOUNT_H
#define RESEARCH_MOUNT_H

#include <stdbool.h>

struct mount_point {
	int fd; /* /dev/fuse */
	char dir[64];
};

/* The name of what is missing here for FUSE over io_uring, or NULL. */
const char *mount_lacks(void);

/* Mounts below $TMPDIR or /tmp. With `uring`, requests wait until every queue has an entry. */
int mount_open(struct mount_point *m, bool uring);

/*
 * Aborts the connection, which ends every request that it still has, and takes
 * the mount away.
 */
void mount_close(struct mount_point *m);

/* Writes FUSE_NOTIFY_RESEND. */
int mount_resend(const struct mount_point *m);

#endif
