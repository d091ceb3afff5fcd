/*
 * Places to mount on that somebody else is the master of, and the mount namespaces that they are in.
 *
 * A walk to such a place may lead over a filesystem that its owner serves, and would wait for him
 * for ever; and names may be changed under it.  So a place is a directory that its owner has
 * opened; where it is, is read from /proc; and where a walk cannot be avoided each step is looked
 * at before it is made.
 */
#ifndef RELAYD_PLACE_H
#define RELAYD_PLACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

struct place {
	int directory;	    /* O_PATH, or any other */
	int ns;		    /* its mount namespace; -1: relayd's own */
	uint64_t ns_number; /* which that is; 0: relayd's own */
};

/* ---- mounts, as /proc shows them: nobody is asked for anything ----------------- */

/* Of the calling thread, by relayd's own /proc wherever the thread is by now.  NULL with errno. */
FILE *place_proc_open(const char *file);

/* The mount that a descriptor is on, or -1. */
int place_mount_of(int fd);
/* Its path, as it is now.  Returns 0 or a negative errno. */
int place_path_of(int fd, char *path, size_t size);

/* The type and the parent of a mount of the file "mountinfo".  Returns false if it is not there. */
bool place_mount_lookup(FILE *mountinfo, int id, int *parent, char *type, size_t type_size);

struct place_mount {
	int id;
	dev_t device; /* of its superblock */
};

/* The mount that is to be seen at the path, if it is FUSE's.  Returns 0, -ENOENT or another negative errno. */
int place_find(const char *path, struct place_mount *found);
/* The same in a namespace by its number; -ESRCH if no process is in it. */
int place_find_in(uint64_t ns, const char *path, struct place_mount *found);

/* ---- namespaces -------------------------------------------------------------- */

/*
 * Runs what() on a thread with a working directory of its own, in a mount namespace (-1: relayd's), with
 * all rights that there are, and waits for it.  Returns what it returns, or a negative errno.
 */
int place_run(int ns, int (*what)(void *arg), void *arg);

/*
 * The namespace of the process that has connected a socket, as a descriptor, and its number.  pid is
 * what SO_PEERCRED has.
 * Returns -ESRCH if it has ended, or another negative errno.
 */
int place_ns_of_peer(int socket, pid_t pid, uint64_t *number);
/* That of relayd; 0: not known. */
uint64_t place_ns_own(void);

/*
 * Whether root of relayd's user namespace is root there.  Where somebody else is, he could take
 * nosuid and nodev off a mount that was made for him.
 */
bool place_ns_is_ours(int ns);

/* ---- what is done there -------------------------------------------------------- */

/*
 * Unmounts the mount of this id, which was made at the path; flags are umount2(2)'s.  Where somebody who is
 * not to be trusted has had it made, nothing is walked over that he may serve.
 * Returns 0, -ENOENT if it is not there any more, -EPERM if something is in the way, or another negative errno.
 */
int place_unmount(uint64_t ns, const char *path, int id, bool trusted, int flags);

#endif
