/*
 * A daemon without mounts behind it, for tests of the control socket: it stands
 * in for daemon.c and mount.c, and serves the real ctl.c in a thread.  Link
 * fake_daemon.c into the test itself.
 */
#ifndef TESTS_FAKE_DAEMON_H
#define TESTS_FAKE_DAEMON_H

#include <stdbool.h>
#include <sys/types.h>

#include "supervisor.h"

struct fake_daemon;
struct mount;

/* How a fake mount behaves; to be changed by fake_mount_set() while it serves. */
struct fake_mount {
	enum supervisor_state state;
	uint32_t incarnation;
	pid_t backend_pid;
	const char *problem; /* constant; NULL: none */
	unsigned exit_status;
	int attach_result; /* of mount_attach() */
	int restart_result;
	int unmount_result; /* of mount_unmount() */
	int unmount_error;  /* what becomes of it later */
	bool detached;
	int upgrade_result; /* of mount_upgrade() */
	unsigned upgrades;  /* that are over, and what came of the last one */
	int upgrade_error;
	const char *upgrade_why; /* constant */
	const char *token; /* constant: it awaits a backend with this one; NULL: none */
};

/* What was asked of the daemon last. */
struct fake_asked {
	char name[128];
	char mountpoint[256];
	char options[256];
	char backend[256];
	char directory[256];
	uid_t uid;
	gid_t gid;
	bool shared_store;
	bool socket_lane;
	bool no_resend;
	unsigned lives;
	uint32_t request_timeout_ms, fail_after_ms, timeout_ms;
	int channel; /* of mount_attach(): the daemon's to close */
	pid_t pid;
	bool force;
	enum way_wanted wanted;
	enum way_via via; /* of mount_attach() and mount_come_in() */
	bool unnamed;
	unsigned refused; /* the exit status that mount_refuse() was given */
	unsigned words, variables; /* of a RUN */
	unsigned adds, attaches, visits, restarts, unmounts;
};

/* Serves a socket in a directory of its own, as long as the test lives. */
struct fake_daemon *fake_daemon_start(void);
void fake_daemon_stop(struct fake_daemon *daemon);
const char *fake_daemon_path(const struct fake_daemon *daemon);

/* From the test's thread; each is done when it returns. */
void fake_mount_add(struct fake_daemon *daemon, const char *name, const char *mountpoint, uid_t uid,
		    const struct fake_mount *mount);
void fake_mount_set(struct fake_daemon *daemon, const char *name, const struct fake_mount *mount);
void fake_mount_end(struct fake_daemon *daemon, const char *name);
/* Fails the next daemon_mount_add(); and what a mount that it makes is like. */
void fake_daemon_refuse(struct fake_daemon *daemon, int err, const char *why);
void fake_daemon_next(struct fake_daemon *daemon, const struct fake_mount *mount);
/* A counted request of the mount. */
void fake_mount_count(struct fake_daemon *daemon, const char *name, uint32_t opcode, int error, uint64_t latency_ns);

struct fake_asked fake_daemon_asked(struct fake_daemon *daemon);
/* Watchers of all mounts. */
unsigned fake_daemon_watchers(struct fake_daemon *daemon);

#endif
