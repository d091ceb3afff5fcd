/*
 * The files that the kernel reads and writes by itself for a mount (FUSE passthrough), as far
 * as relayd has registered them for its backends.  They outlive a backend, so that what
 * is open goes on while none is there.  Used by one thread at a time, as keep.h.
 */
#ifndef RELAYD_BACKING_H
#define RELAYD_BACKING_H

#include <stdbool.h>
#include <stdint.h>

/* Most files registered for one mount: each holds an open file in the kernel that no limit counts. */
#define BACKING_MAX 65536u

struct backing {
	void *root; /* tsearch(3) tree of struct backed */
	uint32_t count;
	int fd; /* a memfd, which has them for the next relayd */
	uint64_t used[BACKING_MAX / 64]; /* bits: its entries */
};

/*
 * Whether this process may register files: it takes CAP_SYS_ADMIN in the first user namespace.
 */
bool backing_allowed(void);

/* Returns 0 or a negative errno. */
int backing_init(struct backing *backing);
/*
 * Of an empty one: goes on with what another process has left behind fd, which is taken over.  What that one
 * was dying in the midst of registering is given back, if all ids are known to be its: else device is -1.
 * Returns 0 or a negative errno.
 */
int backing_resume(struct backing *backing, int device, int fd);
/* The kernel's registrations end with the mount. */
void backing_deinit(struct backing *backing);

/*
 * Registers a regular file with the kernel through the mount's /dev/fuse.  fd stays the
 * caller's.  What the kernel opens later through it is opened with this process's
 * credentials, whatever fd itself would allow: not for files of others than relayd's user.
 *
 * Returns the kernel's id (positive), or a negative errno: -EINVAL for what is no regular file,
 * -EISDIR, -ELOOP for one of a filesystem that is stacked upon another, -EPERM, -ENOSPC past
 * BACKING_MAX, -ENOMEM.
 */
int backing_add(struct backing *backing, int device, int fd);

/* Has the kernel forget the id, if it knows it. */
void backing_drop(struct backing *backing, int device, int32_t id);

/*
 * Serves a BACK (wire.h): takes the file out of the socket, and answers there; with EPERM
 * if device is -1.  The socket stays the caller's.  Never waits.
 * Returns 0, or -EPROTO if there was no file in it.
 */
int backing_serve(struct backing *backing, int device, int socket);

/* Calls each() for every id, until it returns other than 0, which is returned. */
int backing_each(const struct backing *backing, int (*each)(int32_t id, void *arg), void *arg);

#endif
