/*
 * The daemon: owns the loop, the mounts and the control socket, and ends when
 * its work is done.
 */
#ifndef RELAYD_DAEMON_H
#define RELAYD_DAEMON_H

#include <stdbool.h>
#include <stddef.h>

#include "mount.h"

struct daemon;

/* Exit statuses of relayd(8). */
enum relayd_exit {
	EXIT_OK = 0,
	EXIT_FAILED = 1,	/* anything without a status of its own */
	EXIT_USAGE = 2,
	EXIT_NO_FUSE = 3,	/* /dev/fuse is missing or not to be opened */
	EXIT_MOUNTPOINT = 4,	/* no directory, or not ours to mount on */
	EXIT_BUSY = 5,		/* something is mounted there already */
	EXIT_NO_BACKEND = 6,	/* the command cannot be executed */
	EXIT_BACKEND_ENDED = 7, /* it ended before the mount answered */
	EXIT_NO_MEMORY = 8,	/* the journal cannot be had */
	EXIT_SOCKET = 9,	/* the control socket cannot be had */
	EXIT_NO_BPF = 10,	/* --bpf=on, and the kernel does not take the programs */
};

struct daemon_config {
	const char *socket;		  /* where to serve: an absolute path */
	const struct mount_config *mount; /* the one to begin with, or NULL */
	char *const *argv;		  /* relayd's own, for another keeper */
	/*
	 * Called once from the loop: when the mount answers, or without a mount when
	 * the socket is served; or when that will not be, with the reason.
	 */
	void (*on_ready)(enum relayd_exit status, const char *why, void *arg);
	void *arg;
};

/*
 * Serves until the mount it began with is gone and no other is left, or, without
 * one, until SIGTERM or SIGINT, which unmount everything.
 *
 * Returns the exit status.  -EADDRINUSE, if a relayd serves the socket already, is
 * the one negative value; nothing has been done then.
 */
int daemon_run(const struct daemon_config *config);

/*
 * Whether what an earlier relayd has left can be gone on with (keeper.h): 0, or
 * KEEPER_EXIT_OTHER_VERSION.  `beside`: that one lives, and goes on if this one could not do all.
 */
int daemon_check(bool beside);

/* The exit status for a negative errno of mount_new() or daemon_mount_add(). */
enum relayd_exit daemon_exit_status(int err);

/* Makes a mount; as mount_new().  -EEXIST: one of that name or mountpoint is there. */
int daemon_mount_add(struct daemon *daemon, const struct mount_config *config, struct mount **out, char *why,
		     size_t why_size);

/*
 * By its mountpoint in that mount namespace (0: ours), or by its name; or NULL.  One that is detached only
 * if there is no other.
 */
struct mount *daemon_mount_find(struct daemon *daemon, const char *name, uint64_t ns);

/* The one that has started a program with this token, which has not brought its channel yet, or NULL. */
struct mount *daemon_mount_awaiting(struct daemon *daemon, const char *token);

/* The mounts, oldest first: NULL before the first and after the last. */
struct mount *daemon_mount_next(struct daemon *daemon, struct mount *after);

#endif
