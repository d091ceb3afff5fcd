/*
 * The descriptors that outlive relayd: copies of them are with a keeper (keeper.h), or with a
 * service manager that speaks the same protocol (sd_notify(3), FDSTORE=1), and the next
 * relayd begins with them.
 *
 * A put has happened when it returns: a process dying after it leaves the descriptor with the
 * keeper.  So what depends on a descriptor is done after its put, and what is not to be found
 * any more is dropped before it is closed.  Where there is no keeper nothing is done.
 *
 * The state is the process's own.
 */
#ifndef RELAYD_FDSTORE_H
#define RELAYD_FDSTORE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct keeper_worker;

/* What is the daemon's own and no mount's; mounts count from 1. */
#define FDSTORE_DAEMON 0u

/*
 * Takes over what an earlier relayd has left: the keeper's, or with NULL what a service manager's
 * environment says, which is taken out of it.  To be called before there are other threads.
 * Returns 0, or a negative errno if something is there that cannot be taken over.
 */
int fdstore_begin(const struct keeper_worker *worker);
/* Whether somebody keeps descriptors for us. */
bool fdstore_kept(void);

/* Puts a copy of fd there, under a name that nothing has there.  Thread-safe.  Returns 0 or a negative errno. */
int fdstore_put(unsigned mount, const char *what, int fd);
void fdstore_drop(unsigned mount, const char *what);

/* What an earlier relayd has left under this name, the caller's from here on; -1: nothing. */
int fdstore_take(unsigned mount, const char *what);
/* The same, without taking it. */
int fdstore_look(unsigned mount, const char *what);
/* The same of a name that begins so: the rest of it is in suffix (at least 48 bytes). */
int fdstore_take_like(unsigned mount, const char *prefix, char *suffix);
/* The first mount after this one that something is left of; 0: none. */
unsigned fdstore_mount_next(unsigned mount);
/* Drops and closes what nobody has taken of this mount. */
void fdstore_discard(unsigned mount);

/* Tells the keeper: assignments as of sd_notify(3). */
void fdstore_tell(const char *text);

/* The keeper's socket, to learn of its end; -1: none, or a service manager's.  And a new one, which is taken over. */
int fdstore_keeper(void);
void fdstore_keeper_set(int socket, pid_t pid);

/* The process that people know as relayd: its keeper, or this one. */
pid_t fdstore_main_pid(void);

#endif
