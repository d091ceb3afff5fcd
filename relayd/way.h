/*
 * The ways in: how a program that relayd starts comes by its channel.
 *
 * Either it inherits the channel, at a descriptor that its command line names, or it
 * mounts by itself, as it always does: on a placeholder, an empty directory of
 * relayd's, with the preload library or a stand-in for fusermount3 in its environment.
 * Either of these makes a channel and brings it to relayd by ATTACH, with the token
 * that the program was started with.
 */
#ifndef RELAYD_WAY_H
#define RELAYD_WAY_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

/* What is asked for; the numbers of enum relay_ctl_via_wanted. */
enum way_wanted {
	WAY_WANTED_AUTO,
	WAY_WANTED_FD,
	WAY_WANTED_FUSERMOUNT,
	WAY_WANTED_PRELOAD,
	WAY_WANTED_COUNT,
};

/* Which way a channel came; the numbers of enum relay_ctl_via. */
enum way_via {
	WAY_VIA_LIBRARY,
	WAY_VIA_FD,
	WAY_VIA_FUSERMOUNT,
	WAY_VIA_PRELOAD,
	WAY_VIA_COUNT,
};

#define WAY_TOKEN_SIZE 33u

/* How the backends of one mount come in. */
struct way {
	enum way_wanted wanted;
	bool placed;		    /* they mount by themselves */
	char *placeholder;	    /* where they are told to; owned; NULL: nowhere yet */
	char token[WAY_TOKEN_SIZE]; /* of the present incarnation; "": none */
	const char *socket;	    /* our control socket; the caller's */
	char preload[PATH_MAX];	    /* the library; "": not installed */
	char directory[PATH_MAX];   /* with the stand-ins; "": not installed */
	bool splices;		    /* the kernel takes a spliced reply apart */
};

/* "auto", "fd", "fusermount" or "preload".  Returns 0 or -EINVAL. */
int way_wanted_parse(const char *name, enum way_wanted *wanted);
/* "fd", "fusermount", "preload"; "librelay" for relay_mount(). */
const char *way_via_name(enum way_via via);
/* For the log: "the preload library". */
const char *way_via_text(enum way_via via);

/*
 * Whether a command line fits what is asked for.
 * Returns 0, or -EINVAL with a sentence in why.
 */
int way_check(const char *line, enum way_wanted wanted, char *why, size_t why_size);

/*
 * Prepares the way for programs that mount by themselves (`placed`) or that inherit
 * their channel; makes the placeholder for the first kind.  socket is an absolute path.
 * Returns 0, or a negative errno with a sentence in why: -ENOEXEC if what is needed for
 * it is not installed, and others for the placeholder.
 */
int way_init(struct way *way, enum way_wanted wanted, bool placed, const char *socket, char *why, size_t why_size);
/* The same, of an earlier relayd, with the placeholder that it has made (NULL: none).  Returns 0 or -ENOMEM. */
int way_resume(struct way *way, enum way_wanted wanted, bool placed, const char *socket, const char *placeholder);
/*
 * What a program finds in the placeholder after it has mounted there, and before it
 * mounts: nothing (go-fuse opens a file of its own to see that its mount answers).
 */
void way_furnish(struct way *way);
void way_clear(struct way *way);
/* Whether the program has mounted there really, past relayd: neither the library nor the stand-in has reached it. */
bool way_missed(const struct way *way);
/* Removes the placeholder. */
void way_deinit(struct way *way);

/* A new token: from here on nobody gets in with the old one.  Returns 0 or a negative errno. */
int way_token_renew(struct way *way);
void way_token_forget(struct way *way);
bool way_token_is(const struct way *way, const char *token);

/*
 * The environment for a program: base, and what leads it to us.  One allocation, the
 * caller's to free, but for the strings that are base's; NULL: no memory.
 */
char **way_environment(const struct way *way, char *const *base);

/*
 * Whether a process lives that was started with the present token and has lost its
 * parent to us, as one that became a daemon has; each is sent the signal, unless it is 0.
 * A child that shows no environment, as while it executes a program, may be one: it
 * counts, but is sent nothing.  On the thread that reaps (children.h).
 */
bool way_daemons(const struct way *way, int signal);

#endif
