/*
 * The kernel's side of a mount: /dev/fuse, the mount itself, and the INIT
 * handshake, which the kernel does once and each incarnation anew.
 */
#ifndef RELAYD_SESSION_H
#define RELAYD_SESSION_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "relay/fuse_abi.h"

/* Longer than any INIT request of the protocol so far. */
#define SESSION_INIT_MAX 256u

struct place;

struct session {
	int fd;		  /* /dev/fuse, owned; -1: closed */
	char *mountpoint; /* owned, canonical */
	bool by_helper;	  /* mounted by fusermount3, which must unmount too */
	_Atomic bool mounted; /* and not unmounted by us */
	int mount_id;	  /* of mountinfo, -1: not known */
	dev_t device;	  /* of its superblock, as stat(2) would say it of any file there; 0: not known */
	uid_t uid;	  /* whose it is */
	uint64_t ns;	  /* the mount namespace that it is in (place.h); 0: ours */
	bool aborted;	  /* the connection has ended, and the mount is there still */

	/* The kernel's INIT, as it came. */
	_Alignas(8) uint8_t init[SESSION_INIT_MAX];
	uint32_t init_size;

	/* What the kernel was answered, once `agreed`. */
	struct fuse_init_out answer;
	bool agreed;
	bool native; /* with `agreed`: backends are linked with librelay, and see the kernel's own ids */
	bool rings;  /* INIT is, or is to be, answered with FUSE_OVER_IO_URING: the carrier's until it is agreed */
	/* Called, if set, before the kernel is told the answer: a process dying in between has to tell it again. */
	void (*on_agreed)(struct session *session);
	bool may_back; /* files may be registered for FUSE passthrough: backing_allowed(), and the mount is root's */
};

/* The exit status (daemon.h) that goes with a failure is in *status. */
struct session_config {
	const char *mountpoint;
	const struct place *place; /* that is this mountpoint, canonical; NULL: by its name, in our namespace */
	const char *options;
	const char *fsname;  /* unless the options name one */
	const char *subtype; /* likewise; NULL: none */
	uid_t uid;
	gid_t gid;
	/* Called, if set, with /dev/fuse: before the mount can be seen, or, where fusermount3 makes it, as soon as it is had. */
	void (*on_device)(int fd, void *arg);
	void *arg;
};

/*
 * Whether a FUSE filesystem can be mounted there, as far as that can be told before;
 * *canonical gets its path, to be freed.  Asks nothing of what is mounted there.
 * Returns 0 or a negative errno: as session_open().
 */
int session_place_check(const char *mountpoint, char **canonical, char *why, size_t why_size);

/* Whether a FUSE filesystem is to be seen at exactly this place, living or dead.  Asks nothing of it. */
bool session_place_used(const char *path);
/* Takes whatever is mounted there, in a directory of our own user's, out of sight. */
void session_place_free(const char *path);

/*
 * Opens /dev/fuse and mounts: by mount(2) as root, else through fusermount3.
 * Returns 0, or a negative errno with a sentence in why: -ENXIO if /dev/fuse is
 * not to be had, -EBUSY if a FUSE filesystem is mounted there, -ENOTDIR and
 * others for the mountpoint.
 */
int session_open(struct session *session, const struct session_config *config, char *why, size_t why_size);

enum session_unmount {
	SESSION_UNMOUNT,       /* only if it is not in use */
	SESSION_UNMOUNT_LAZY,  /* out of sight now; what is open goes on */
	SESSION_UNMOUNT_ABORT, /* what is open fails from now on */
};

/*
 * Unmounts.  May block for as long as the backend takes to answer what unmounting
 * asks of it.  fusermount3 cannot abort: there that is the same as lazy, and it is
 * session_close() that makes what is open fail.
 * Returns 0 or a negative errno.
 */
int session_unmount(struct session *session, enum session_unmount how);

/* Whether it is this mount that its mountpoint leads to.  Asks nothing of it. */
bool session_mounted(const struct session *session);

/* Whether the kernel's side is there.  As long as it is, so is its superblock, and s_dev is no other's. */
bool session_connected(const struct session *session);

/* Whether read() of /dev/fuse waits, by whomever: the flag is the open file's, which others may share. */
void session_nonblocking(const struct session *session, bool on);

/* Closes /dev/fuse, which ends every request still waiting on the mount. */
void session_device_close(struct session *session);
/* The same, and releases the rest. */
void session_close(struct session *session);

/* Keeps the kernel's INIT request.  Returns 0 or -EPROTO. */
int session_init_take(struct session *session, const void *request, uint32_t size);

/*
 * Writes the INIT request for a backend into buffer (SESSION_INIT_MAX bytes), with
 * `unique` as its unique: the kernel's, without what relayd cannot relay.
 * Returns its size.
 */
uint32_t session_init_request(const struct session *session, uint64_t unique, void *buffer);

/*
 * Whether a native backend may have FUSE_PASSTHROUGH, which session_init_request() leaves out:
 * who does not know relayd would register files through the descriptor that it takes for
 * /dev/fuse.  And whether it was agreed.
 */
bool session_passthrough_offered(const struct session *session);
bool session_passthrough(const struct session *session);

/* Whether the kernel's INIT has FUSE_OVER_IO_URING, which session_init_request() leaves out too. */
bool session_rings_offered(const struct session *session);

/* Tells the kernel the agreed answer, which it may have had: then it takes no notice. */
void session_init_again(const struct session *session);

/*
 * Takes a backend's answer to INIT.  The first one is clamped and sent to the
 * kernel; a later one must agree with it in everything that the kernel goes by, and
 * be of the same kind: `native` is a backend linked with librelay, which keeps its ids
 * from one life to the next.
 * Returns 0, or -EPROTO with a sentence in why.
 */
int session_init_answer(struct session *session, const void *reply, uint32_t size, bool native, char *why,
			size_t why_size);

#endif
