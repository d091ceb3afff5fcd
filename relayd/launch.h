/*
 * Starting a backend from its command line.
 */
#ifndef RELAYD_LAUNCH_H
#define RELAYD_LAUNCH_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* The descriptor that a backend finds its channel at: $RELAY_FD, and {fd} in its command. */
#define LAUNCH_CHANNEL_FD 3
/* The same as a path, for programs that take one as their mountpoint: {mountfd}. */
#define LAUNCH_CHANNEL_PATH "/dev/fd/3"

/* A command, split into words once. */
struct launch_command {
	char **argv;
	char *program; /* the file of it; NULL: argv[0], looked for in relayd's own $PATH */
};

/* Which placeholders a command line has. */
struct launch_marks {
	bool fd;	 /* {fd} */
	bool mountfd;	 /* {mountfd} */
	bool mountpoint; /* {mountpoint} */
};
struct launch_marks launch_marks_of(const char *line);

/*
 * Splits as the shell does (wordexp(3)), without running anything, and replaces
 * {fd}, {mountfd} and {mountpoint}, the last by `mountpoint` (NULL: there is none).
 * Returns 0, -EINVAL with a sentence in why, or -ENOMEM.
 */
int launch_command_init(struct launch_command *command, const char *line, const char *mountpoint, char *why,
			size_t why_size);
/* A command of these words, copied, found by the $PATH of its environment.  Returns 0 or -ENOMEM. */
int launch_command_copy(struct launch_command *command, char *const *argv, char *const *environment);
/* The same, as an earlier relayd has found it: `program` as in struct launch_command. */
int launch_command_resume(struct launch_command *command, char *const *words, const char *program);
void launch_command_deinit(struct launch_command *command);

/* Where and with what a command is run.  All of it stays the caller's. */
struct launch {
	const struct launch_command *command;
	const char *directory;	 /* NULL: where relayd is */
	char *const *environment; /* whole; NULL: relayd's own */
	int channel;		 /* becomes LAUNCH_CHANNEL_FD, and $RELAY_FD is set; -1: none */
	int input;		 /* standard input; -1: /dev/null */
	int output;		 /* standard output */
	int error;		 /* standard error */
};

/*
 * Runs the command.  *pidfd becomes readable when the process, a child, has ended.
 * Returns its pid, or a negative errno: -ENOENT, -EACCES, … of the program.
 */
pid_t launch_run(const struct launch *launch, int *pidfd);

#endif
