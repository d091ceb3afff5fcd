/*
 * A relayd of the test's own: its scratch directory, its control socket, its
 * mount, and the end of all of them.
 *
 *   /tmp/relayd-test.XXXXXX/{store,mnt,sock,log}
 *
 * The programs are those of the build tree that $RELAY_BUILD names ("." if it is
 * not set, as under make).  A test has at most a few of these; each is stopped,
 * and its directory removed, also when the test ends early.
 */
#ifndef TESTS_RELAYD_H
#define TESTS_RELAYD_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct relayd {
	struct relayd *next; /* the process's list, for the end */
	char dir[64];
	char store[96]; /* an empty directory for the backend */
	char mnt[96];
	char socket[96];
	char log[96]; /* relayd's standard error */
	pid_t pid;    /* 0: not running */
};

/* What `relayctl status --json` says of one mount. */
struct relayd_status {
	pid_t relayd_pid;
	pid_t backend_pid;
	char state[32];
	uint32_t incarnation;
	uint32_t inflight;
	uint64_t restarts;
	uint64_t redone;
	double longest_pause_ms;
};

/* The path of a program of the build tree, e.g. "relayd/relayd"; static memory. */
const char *relayd_program(const char *name);

/* Makes the scratch directory.  Ends the test if it cannot. */
void relayd_init(struct relayd *r);

/*
 * Starts relayd in the foreground with --mount and this backend (NULL: without
 * either, for backends that attach themselves), and further arguments up to a
 * NULL.  Does not wait for the mount.
 */
void relayd_spawn(struct relayd *r, const char *backend, const char *const *extra);

/* Waits until the mount is SERVING in `incarnation` or a later one; false after `ms`. */
bool relayd_wait(struct relayd *r, uint32_t incarnation, unsigned ms);
/* Waits until the mount is in that state. */
bool relayd_wait_state(struct relayd *r, const char *state, unsigned ms);

/* relayd_init(), relayd_spawn(), relayd_wait(1); ends the test if it does not serve. */
void relayd_start(struct relayd *r, const char *backend, const char *const *extra);

/* False if relayd does not answer or has no mount. */
bool relayd_status(const struct relayd *r, struct relayd_status *status);

/* Runs relayctl with these arguments up to a NULL; returns its exit status. */
int relayd_ctl(const struct relayd *r, const char *const *args);
/* The same, with its standard output and error in out. */
int relayd_ctl_output(const struct relayd *r, const char *const *args, char *out, size_t out_size);

/* True if the log has `text`; relayd_log_wait() gives it `ms` to appear. */
bool relayd_log_has(const struct relayd *r, const char *text);
bool relayd_log_wait(const struct relayd *r, const char *text, unsigned ms);
/* Prints the last lines of the log, for a failure. */
void relayd_log_show(const struct relayd *r);

/*
 * Unmounts, waits for relayd to end, and removes the scratch directory.  Returns
 * true if relayd ended with 0 and left nothing behind: no mount, no process, no
 * socket.  A relayd that does not end is killed.
 */
bool relayd_stop(struct relayd *r);

/* SIGKILLs the backend and returns its pid, or 0 if there was none. */
pid_t relayd_kill_backend(const struct relayd *r);

/* SIGKILLs the process that serves, and with it the backend; its keeper starts another. */
pid_t relayd_kill(const struct relayd *r, bool backend);

/*
 * SIGKILLs the keeper and waits for its heir, since the death of both is the end.  Returns its pid,
 * 0 if it was not there, or -1 if no heir has come.
 */
pid_t relayd_kill_keeper(const struct relayd *r);

/* Removes a tree, without crossing into mounts. */
void relayd_remove_tree(const char *path);

#endif
