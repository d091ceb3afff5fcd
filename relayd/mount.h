/*
 * A mount: one FUSE superblock that relayd owns, with all that serves it.  It
 * wires a session (the kernel's side), a journal, the pumps that move requests,
 * and a supervisor (the backend's side) together.  Belongs to the main thread;
 * it outlives any backend.
 */
#ifndef RELAYD_MOUNT_H
#define RELAYD_MOUNT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "mount_choices.h"
#include "supervisor.h"
#include "way.h"

struct cache_bpf;
struct cache_counts;
struct loop;
struct mount;
struct place;
struct relay_count;
struct stats;

/* What to mount.  Strings stay the caller's; mount_new() copies them. */
struct mount_config {
	const char *name;	/* NULL: the mountpoint */
	bool unnamed;		/* the name is for as long as the mountpoint is not known */
	const char *mountpoint; /* absolute; NULL, with argv: where the program mounts */
	const struct place *place; /* that is this mountpoint, canonical; NULL: by its name, in our namespace */
	const char *options;	/* -o, as fusermount3 takes them; NULL: none */
	const char *backend;	/* the command; NULL: backends attach themselves, or argv */
	char *const *argv;	/* the words of a program that mounts by itself, in place of backend */
	char *const *environment; /* of the command; NULL: relayd's own */
	const int *streams;	/* the first life's standard streams; NULL: the log.  The caller's */
	enum way_wanted via;	/* how the command's program comes in */
	const char *socket;	/* absolute path of our control socket; daemon_mount_add() sets it */
	const char *directory;	/* where the command is run; NULL: / */
	uid_t uid;		/* whose mount it is: user_id, group_id */
	gid_t gid;
	struct relay_mount_choices choices;
	struct cache_bpf *bpf;	/* by these programs; daemon_mount_add() sets it */
};

/* A snapshot for the control socket. */
struct mount_status {
	const char *name;
	const char *mountpoint; /* "": not known yet */
	enum supervisor_state state;
	const char *lane; /* "direct", "socket", "uring"; what is tried as long as no backend has agreed on INIT */
	uint32_t incarnation;
	pid_t backend_pid; /* 0: none */
	const char *via;   /* which way it came in: way_via_name(); "" until it has answered */
	const char *known; /* what the kernel answers by itself, or why nothing */
	uint32_t inflight;
	uid_t uid;
	uint64_t ns; /* the mount namespace that the mountpoint is in (place.h); 0: ours */
	uint64_t restarts;
	uint64_t redone;
	uint64_t longest_pause_us;
	const char *problem; /* why it does not serve, "" if nothing is wrong */
	unsigned exit_status; /* of relayd(8) that goes with the problem; 0: none */
	bool detached;	      /* unmounted, and kept alive by what is open there */
	int unmount_error;    /* of the last attempt to unmount, if it is over; 0: none */
	unsigned upgrades;    /* that are over; of the last one: */
	int upgrade_error;    /* upgrade.h's outcome */
	const char *upgrade_why;
};

/* Told on the main thread whenever state or incarnation may have changed. */
struct mount_watcher {
	struct mount_watcher *next;
	/* gone: the mount has ended, its status can be read a last time; the watcher is off its list. */
	void (*on_change)(struct mount_watcher *watcher, struct mount *mount, bool gone);
};

/*
 * Makes the mount and starts its first backend, if it has a command.  One that mounts
 * by itself is started first, and the mount is made when it comes.  Returns at
 * once: SERVING is told to watchers.  A mount whose first backend ends before it
 * serves ends too, with the problem in its status.  id is one that no mount has had.  on_gone() is called from the
 * loop when the mount has ended, by itself or by mount_unmount(), after its
 * watchers; the callee frees it with mount_free().
 *
 * Returns 0, or a negative errno with a whole sentence for people in why:
 * -ENXIO for /dev/fuse, -EBUSY for a mountpoint in use, -ENOEXEC for a command
 * that cannot be executed or a way in that is not installed, -ENOMEM, -EINVAL for the options, and others for the
 * mountpoint.
 */
int mount_new(struct mount **out, struct loop *loop, const struct mount_config *config, unsigned id,
	      void (*on_gone)(struct mount *mount, void *arg), void *arg, char *why, size_t why_size);
void mount_free(struct mount *mount);

/*
 * Goes on with a mount that an earlier relayd has left with the keeper (fdstore.h) under this
 * id, as mount_new() would have begun it.  Returns 0; -ENOENT if it had not come so far that anybody
 * was told of it, or another negative errno, which is logged: nothing is left of it then.
 */
int mount_resume(struct mount **out, struct loop *loop, unsigned id, const char *socket, struct cache_bpf *bpf,
		 void (*on_gone)(struct mount *mount, void *arg), void *arg);
/*
 * Whether that can be tried, which changes nothing.  Returns 0, -EPROTONOSUPPORT for another
 * version, -EOPNOTSUPP for the lane uring, which is logged, or another negative errno.
 */
int mount_resume_check(unsigned id);
/* Another keeper is there, and has nothing yet. */
void mount_put_all(struct mount *mount);

/*
 * Makes channel (which the mount takes over on success) the next incarnation of a
 * mount whose backends attach themselves.  pid is the peer, whose death is watched.
 * Returns 0, -EBUSY while a backend lives, or another negative errno.
 */
int mount_attach(struct mount *mount, int channel, pid_t pid, enum way_via via);

/* A program that was started by relayd and mounts by itself. */
struct mount_visitor {
	const char *target;  /* where it was told to mount */
	const char *options; /* what it asks for, as -o */
	gid_t gid;	     /* group_id */
	enum way_via via;
	const char *token; /* that it was started with */
};

/* Whether this is the token of an incarnation that has not brought its channel yet. */
bool mount_awaits(const struct mount *mount, const char *token);

/*
 * Makes channel (which the mount takes over on success) that incarnation's, after making
 * the kernel's mount if it is the first.
 * Returns 0, or a negative errno with a sentence in why: as mount_new().
 */
int mount_come_in(struct mount *mount, int channel, const struct mount_visitor *visitor, char *why, size_t why_size);

/* The program that is awaited asks for what it cannot have: the reason, if that is its end. */
void mount_refuse(struct mount *mount, const char *token, const char *why, unsigned exit_status);

/* A process that relayd had inherited has ended. */
void mount_orphaned(struct mount *mount);

/* Ends the backend in order and starts the next.  Returns 0 or -EINVAL (none to start). */
int mount_restart(struct mount *mount);

/*
 * Begins a change to another command (upgrade.h), which has so long to come up; 0: as long as any
 * backend.  What came of it is in the status when it is over.
 * Returns 0, or a negative errno with a sentence in why: -EALREADY while another one is under way,
 * -ECANCELED if the command cannot be executed, -EINVAL if there is nothing to be replaced.
 */
int mount_upgrade(struct mount *mount, const char *backend, uint32_t timeout_ms, char *why, size_t why_size);

/*
 * Unmounts and ends the backend.  Returns 0 when that has begun: its status tells
 * what came of it (-EBUSY if it is in use, unless `force`, which detaches); -EBUSY if
 * it is detached already and `force` is false, or another negative errno.
 */
int mount_unmount(struct mount *mount, bool force);

/* Unmounts, and if it is in use makes what is open fail; a second call does so at once. */
int mount_end(struct mount *mount);

void mount_status(const struct mount *mount, struct mount_status *out);
const struct stats *mount_stats(const struct mount *mount);
/* An opcode's row: what relayd has answered, and what backends have answered by themselves. */
void mount_count(const struct mount *mount, uint32_t opcode, struct relay_count *out);

/* What the kernel has answered by itself, and the fill of its maps, for which they are read whole. */
void mount_known(const struct mount *mount, struct cache_counts *counts);

void mount_watch(struct mount *mount, struct mount_watcher *watcher);
void mount_unwatch(struct mount *mount, struct mount_watcher *watcher);

#endif
