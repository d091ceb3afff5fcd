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

#include "cache_options.h"
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

/* A time of at least 0.1 s, as an option has it, in milliseconds.  Returns 0 or -EINVAL. */
int relay_internal_ctl_seconds(const char *text, uint32_t *ms);

/* "wait" (0), or "fail-after=SECONDS".  Returns 0 or -EINVAL. */
int relay_internal_ctl_down_policy(const char *text, uint32_t *ms);

/* What relayd --mount hands over to a relayd that serves the socket already. */
struct relay_ctl_mount_args {
	const char *name; /* NULL: the mountpoint */
	const char *mountpoint;
	const char *options; /* NULL: none */
	const char *backend;
	const char *directory;
	unsigned lives; /* 0: the default */
	uint32_t request_timeout_ms; /* 0: none */
	uint32_t fail_after_ms;	     /* 0: never */
	bool shared_store;
	bool write_behind;
	bool socket_lane;
	bool uring_lane;
	bool no_resend;
	struct relay_cache_options cache;
	enum relay_ctl_via_wanted via; /* how the backend comes by its channel */
};

/*
 * Asks the relayd at exactly this path for a mount, and waits until it serves.
 *
 * Returns 0; -EAGAIN if the relayd there has ended meanwhile, so that the socket may
 * be free now; or another negative errno with a sentence in why and the exit status
 * for relayd in *exit_status (never 0).
 */
int relay_internal_ctl_mount(const char *path, const struct relay_ctl_mount_args *args, char *why, size_t why_size,
			     unsigned *exit_status);

#endif
