/* A mount that this relayd was started for, given to one that serves the socket already. */
#ifndef RELAYD_HAND_OVER_H
#define RELAYD_HAND_OVER_H

#include <stddef.h>

#include "mount.h"

/*
 * Asks the relayd at exactly this path for the mount, which has a command, and waits until it serves.
 *
 * Returns 0; -EAGAIN if the relayd there has ended meanwhile, so that the socket may
 * be free now; or another negative errno with a sentence in why and the exit status
 * for relayd in *exit_status (never 0).
 */
int hand_over(const char *path, const struct mount_config *config, char *why, size_t why_size, unsigned *exit_status);

#endif
