/*
 * From the arguments of a mount helper to those of relayd: apart from the program, so
 * that it can be tested by itself.
 */
#ifndef WAYS_MOUNT_RELAY_H
#define WAYS_MOUNT_RELAY_H

#include <stdbool.h>

/* The options by whose they are.  All are owned; NULL: none. */
struct mount_relay_options {
	char *kernel;  /* relayd's -o */
	char *program; /* the program's -o, as it was written */
	char *name;
	char *via;
	char *lives;
	char *request_timeout;
	char *down_policy;
	char *lane;
	char *resend;
	char *trust;
	char *negative_timeout;
	char *bpf;
	char *socket;
	bool shared_store;
	bool write_behind;
};

/*
 * Takes a list of options: a comma that has a backslash before it is part of its
 * option.  Returns 0, or a negative errno after saying why on standard error.
 */
int mount_relay_options_take(struct mount_relay_options *options, const char *list);
void mount_relay_options_deinit(struct mount_relay_options *options);

/* relayd's command line. */
struct mount_relay_command {
	char *backend; /* owned */
	char *argv[33];
};

/*
 * Makes it.  The strings of options and the directory stay where they are.  Returns 0,
 * or a negative errno after saying why on standard error.
 */
int mount_relay_command_make(struct mount_relay_command *command, const struct mount_relay_options *options,
			     const char *source, const char *directory);
void mount_relay_command_deinit(struct mount_relay_command *command);

#endif
