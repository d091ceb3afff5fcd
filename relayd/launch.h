/*
 * Starting a backend from its command line.
 */
#ifndef RELAYD_LAUNCH_H
#define RELAYD_LAUNCH_H

#include <stddef.h>
#include <sys/types.h>

/* The descriptor that a backend finds its channel at: $RELAY_FD, and {fd} in its command. */
#define LAUNCH_CHANNEL_FD 3

/* A command line, split into words once; {fd} is replaced. */
struct launch_command {
	char **argv;
};

/*
 * Splits as the shell does (wordexp(3)), without running anything.
 * Returns 0, -EINVAL with a sentence in why, or -ENOMEM.
 */
int launch_command_init(struct launch_command *command, const char *line, char *why, size_t why_size);
void launch_command_deinit(struct launch_command *command);

/*
 * Runs the command in `directory`, with `channel` as LAUNCH_CHANNEL_FD and `output` as
 * its standard output and error.  Both stay the caller's.  *pidfd becomes readable when the process, a child, has ended.
 * Returns its pid, or a negative errno: -ENOENT, -EACCES, … of the program.
 */
pid_t launch_run(const struct launch_command *command, const char *directory, int channel, int output, int *pidfd);

#endif
