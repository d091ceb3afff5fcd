/*
 * The client's side of the control protocol: finding relayd, one command at a
 * time, and the two commands that programs other than relayctl give.
 */
#ifndef RELAY_CTL_CLIENT_H
#define RELAY_CTL_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "ctl_frame.h"

/* What a relayd without --socket and $RELAYD_SOCKET serves when root runs it. */
#define RELAY_CTL_SYSTEM_SOCKET "/run/relayd/relayd.sock"

/* relayd's exit status (relayd(8)) where the control socket is what failed. */
#define RELAY_CTL_EXIT_SOCKET 9u

struct relay_ctl_client {
	int fd;
	uint32_t sequence;
	uint64_t capabilities; /* relayd's */
	pid_t pid;	       /* relayd's, as it says */
	struct relay_ctl_frame frame;
};

/*
 * The path that a relayd of this user is to serve: given (--socket) unless NULL,
 * $RELAYD_SOCKET, RELAY_CTL_SYSTEM_SOCKET for root, or relayd/relayd.sock in
 * $XDG_RUNTIME_DIR.  Returns 0, -ENAMETOOLONG, or -ENOENT for a user without
 * $XDG_RUNTIME_DIR.
 */
int relay_internal_ctl_path(const char *given, char *path, size_t size);

/*
 * Connects to the relayd at that path, and for a user where it was found by
 * $XDG_RUNTIME_DIR and nobody is there, to root's; says HELLO.
 *
 * Returns 0 and a client that relay_internal_ctl_close() ends, or a negative errno
 * with a sentence in why: -ENOENT and -ECONNREFUSED where no relayd is reached.
 */
int relay_internal_ctl_open(struct relay_ctl_client **out, const char *given, char *why, size_t why_size);
void relay_internal_ctl_close(struct relay_ctl_client *client);

/* Begins a command in client->frame; as relay_internal_ctl_begin(). */
void *relay_internal_ctl_command(struct relay_ctl_client *client, uint16_t type, size_t fixed);

/*
 * Sends the command in client->frame, with descriptors, and waits for the first
 * frame of its answer, which replaces it.  relay_internal_ctl_more() waits for
 * the next frame, after one with RELAY_CTL_MORE in *flags (which may be NULL).
 *
 * Returns 0; relayd's status with its reason in why and its exit status in
 * *exit_status (which may be NULL); or -ECONNRESET if relayd went away, -EPROTO
 * if it talks nonsense.
 */
int relay_internal_ctl_call(struct relay_ctl_client *client, const int *fds, unsigned nfds, uint32_t *flags, char *why,
			    size_t why_size, unsigned *exit_status);
int relay_internal_ctl_more(struct relay_ctl_client *client, uint32_t *flags, char *why, size_t why_size);

/* The fixed part of the answer, or NULL; and a string of it, "" if it has none or a bad one. */
const void *relay_internal_ctl_answer(const struct relay_ctl_client *client, size_t fixed);
const char *relay_internal_ctl_string(const struct relay_ctl_client *client, const struct relay_ctl_string *where);

/*
 * The canonical path of a directory, and the directory itself in *fd (O_PATH), for
 * the caller to close.  Asks nothing of the filesystem that is mounted there, so
 * it does not wait for a dead one.  Returns 0 or a negative errno.
 */
int relay_internal_ctl_target(const char *directory, char *path, size_t size, int *fd);

#endif
