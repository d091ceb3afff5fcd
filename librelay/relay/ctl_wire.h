/*
 * The control protocol: what relayctl, relay_mount() and relayd say to each
 * other over relayd's control socket.
 *
 * AF_UNIX, SOCK_SEQPACKET, one frame a packet.  Every number has a fixed width
 * and is little-endian.  A frame is a header, the fixed part of its type, and
 * then the strings, which the fixed part points to.  A longer fixed part than
 * the one known here is allowed: later versions add fields at its end.  In a
 * shorter one, of an earlier version, what is missing is 0: it ends where the
 * first of its strings begins.
 *
 * The first frame of a connection is HELLO.  Each command is answered by one
 * frame with its type and sequence, or by several, of which all but the last
 * have RELAY_CTL_MORE.  Answers of different commands may overtake each other.
 *
 * Internal to this project: not installed.  relay-protocol(7) is its text.
 */
#ifndef RELAY_CTL_WIRE_H
#define RELAY_CTL_WIRE_H

#include <assert.h>
#include <linux/types.h>

#define RELAY_CTL_MAGIC 0x4c544352u /* "RCTL" */
#define RELAY_CTL_VERSION 1u
#define RELAY_CTL_FRAME_MAX 65536u

enum relay_ctl_type {
	RELAY_CTL_HELLO = 1,
	RELAY_CTL_MOUNT = 2,
	RELAY_CTL_ATTACH = 3,
	RELAY_CTL_STATUS = 4,
	RELAY_CTL_STATS = 5,
	RELAY_CTL_WAIT = 6,
	RELAY_CTL_RESTART = 7,
	RELAY_CTL_UNMOUNT = 8,
	RELAY_CTL_RUN = 9,
	RELAY_CTL_UPGRADE = 10,
	RELAY_CTL_TYPES,
};

enum relay_ctl_flags {
	RELAY_CTL_REPLY = 1 << 0,
	RELAY_CTL_MORE = 1 << 1, /* another frame of the same answer follows */
};

/* The same in every version: a frame of another version is told by it. */
struct relay_ctl_header {
	__le32 magic;
	__le16 version;
	__le16 type;
	__le32 size;	 /* of the whole frame, which is the packet's */
	__le32 sequence; /* the client's choice; repeated in the answer */
	__le32 status;	 /* of an answer: 0, or a negative errno */
	__le32 flags;	 /* enum relay_ctl_flags */
	__le64 reserved;
};
static_assert(sizeof(struct relay_ctl_header) == 32, "header");

/*
 * `length` bytes from the frame's beginning on, without a NUL among them, and a
 * NUL after them that is part of the frame.  Both 0: no string.
 */
struct relay_ctl_string {
	__le32 offset;
	__le32 length;
};

/* The body of an answer with a status. */
struct relay_ctl_error {
	__le32 exit_status; /* what relayd(8) would exit with; 0: nothing particular */
	__le32 reserved;
	struct relay_ctl_string reason; /* a sentence for people */
};

enum relay_ctl_capabilities {
	RELAY_CTL_CAP_SOCKET_LANE = 1 << 0, /* ATTACH takes a channel of the socket lane */
};

struct relay_ctl_hello {
	__le32 version;
	__le32 reserved;
	__le64 capabilities;
};

struct relay_ctl_hello_reply {
	__le32 version;
	__le32 pid;
	__le64 capabilities;
	struct relay_ctl_string software; /* "0.1.0" */
};

enum relay_ctl_mount_flags {
	RELAY_CTL_MOUNT_SHARED_STORE = 1 << 0,
	RELAY_CTL_MOUNT_WRITE_BEHIND = 1 << 1,
	RELAY_CTL_MOUNT_SOCKET_LANE = 1 << 2, /* else the direct one, if the backend is linked with librelay */
	RELAY_CTL_MOUNT_NO_RESEND = 1 << 3,   /* the kernel is not asked to send requests again */
	RELAY_CTL_MOUNT_URING_LANE = 1 << 4,  /* FUSE over io_uring, if the kernel and the backend can */
};

/* How the backend's program is to come by its channel. */
enum relay_ctl_via_wanted {
	RELAY_CTL_VIA_WANTED_AUTO = 0, /* relayd looks at the program and its command line */
	RELAY_CTL_VIA_WANTED_FD = 1,
	RELAY_CTL_VIA_WANTED_FUSERMOUNT = 2,
	RELAY_CTL_VIA_WANTED_PRELOAD = 3,
};

/* Whether an eBPF program is to answer what is known not to exist. */
enum relay_ctl_bpf {
	RELAY_CTL_BPF_AUTO = 0, /* if it can be had */
	RELAY_CTL_BPF_ON = 1,	/* or there is no mount */
	RELAY_CTL_BPF_OFF = 2,
};

/* What the backend's answers are good for. */
enum relay_ctl_trust {
	RELAY_CTL_TRUST_NONE = 0,
	RELAY_CTL_TRUST_NEGATIVE = 1, /* for as long as they say */
	RELAY_CTL_TRUST_COMPLETE = 2, /* until something is changed through this mount, the only writer */
	RELAY_CTL_TRUST_GATE = 3,     /* or a notification says so */
};

struct relay_ctl_cache {
	__le32 bpf;	    /* enum relay_ctl_bpf */
	__le32 trust;	    /* enum relay_ctl_trust */
	__le32 negative_ms; /* how long a name is absent of which the backend says no time; 0: see relayd(8) */
	__le32 reserved;
};

/* Answered by a relay_ctl_status when the mount serves, or by the reason why it never will. */
struct relay_ctl_mount {
	__le32 flags;
	__le32 lives; /* 0: the default */
	struct relay_ctl_string name; /* none: the mountpoint */
	struct relay_ctl_string mountpoint;
	struct relay_ctl_string options;
	struct relay_ctl_string backend;
	struct relay_ctl_string directory;
	__le32 via_wanted; /* enum relay_ctl_via_wanted */
	__le32 request_timeout_ms; /* for how long a backend may hold a request; 0: for ever */
	__le32 fail_after_ms;	   /* without a backend for so long, applications get errors; 0: they wait */
	__le32 reserved;
	struct relay_ctl_cache cache;
};
#define RELAY_CTL_MOUNT_FIXED_MIN 48u /* without via_wanted */

/* Which way a channel came to relayd. */
enum relay_ctl_via {
	RELAY_CTL_VIA_LIBRARY = 0,    /* relay_mount() */
	RELAY_CTL_VIA_FD = 1,	      /* inherited from relayd: never in an ATTACH */
	RELAY_CTL_VIA_FUSERMOUNT = 2, /* the stand-in for fusermount3 */
	RELAY_CTL_VIA_PRELOAD = 3,    /* librelay-preload.so */
};

/*
 * The arguments of relay_mount(), with two descriptors: relayd's end of the
 * channel, and the target (O_PATH), so that relayd looks at the directory that
 * the caller meant.  Answered by a relay_ctl_status as soon as the channel is
 * the mount's: the backend has yet to read its INIT.
 */
struct relay_ctl_attach {
	__le64 flags; /* MS_* of mount(2) */
	struct relay_ctl_string source;
	struct relay_ctl_string target; /* absolute, without symbolic links */
	struct relay_ctl_string type;
	struct relay_ctl_string data;
	/*
	 * $RELAY_TOKEN, with which relayd has started the program: the channel is that
	 * mount's, whose place is not the target, which is only what the program was
	 * told.  None: a program that relayd has not started.
	 */
	struct relay_ctl_string token;
	__le32 via; /* enum relay_ctl_via */
	__le32 reserved;
};
#define RELAY_CTL_ATTACH_FDS 2u
#define RELAY_CTL_ATTACH_FIXED_MIN 40u /* without token and via */

/* STATUS, RESTART: which mount, by name or mountpoint.  None, in STATUS: all. */
struct relay_ctl_select {
	struct relay_ctl_string mount;
};

/* The states of a mount, and their bits in a mask. */
enum relay_ctl_state {
	RELAY_CTL_STOPPED = 0,
	RELAY_CTL_STARTING = 1,
	RELAY_CTL_RESTORING = 2,
	RELAY_CTL_REDOING = 3,
	RELAY_CTL_SERVING = 4,
	RELAY_CTL_DRAINING = 5,
	RELAY_CTL_BACKOFF = 6,
	RELAY_CTL_FAILED = 7,
	RELAY_CTL_STATES,
};

/* One mount.  STATUS answers with one per mount, each with MORE, and a frame without a body. */
#define RELAY_CTL_STATUS_ELSEWHERE 1u /* the mountpoint is in another mount namespace than the client's */
struct relay_ctl_status {
	__le32 state;
	__le32 incarnation;
	__le32 backend_pid; /* 0: none */
	__le32 inflight;
	__le32 uid;
	__le32 flags; /* RELAY_CTL_STATUS_* */
	__le64 restarts;
	__le64 redone;
	__le64 longest_pause_us;
	struct relay_ctl_string name;
	struct relay_ctl_string mountpoint;
	struct relay_ctl_string lane;
	struct relay_ctl_string problem; /* why it does not serve; empty if nothing is wrong */
	struct relay_ctl_string via;	 /* "fd", "fusermount", "preload", "librelay"; none until it has come in */
	struct relay_ctl_string known;	 /* what the kernel answers by itself, or "off" and why */
};

/* Answered by relay_ctl_stats, with `rows` records of `row_size` bytes after it. */
struct relay_ctl_stats {
	__le64 restarts;
	__le64 redone;
	__le64 resent;
	__le64 poisoned;
	__le64 abandoned;
	__le64 bad_replies;
	__le64 longest_pause_us;
	__le64 last_pause_us;
	__le32 rows;
	__le32 row_size;
	__le32 rows_offset; /* from the frame's beginning, a multiple of 8 */
	__le32 reserved;
	struct relay_ctl_string name;
	struct relay_ctl_string mountpoint;
	__le64 answered; /* by relayd itself */
	__le64 failed;	 /* with an error, because no backend served for too long */
	/* By the kernel alone: each is a request that was saved, but for `known_stale` and `known_passed`. */
	__le64 known_absent;   /* the name is known not to exist */
	__le64 known_complete; /* the directory is known without it */
	__le64 known_xattr;    /* the attribute is known not to exist */
	__le64 known_stale;    /* the name was looked up again */
	__le64 known_passed;   /* known, but the call might have made the name */
	/* What its maps hold. */
	__le64 known_directories;
	__le64 known_names_present;
	__le64 known_names_absent;
	__le64 known_xattrs;
};

/* An opcode that was counted.  Latencies in microseconds, to 19 %. */
struct relay_ctl_stats_row {
	char name[24]; /* "LOOKUP", with a NUL */
	__le32 opcode;
	__le32 reserved;
	__le64 count;
	__le64 errors;
	__le64 p50_us;
	__le64 p90_us;
	__le64 p99_us;
	__le64 max_us;
};

#define RELAY_CTL_FOREVER 0xffffffffu

/*
 * Answered by a relay_ctl_status once the mount is in a state of the mask, in an
 * incarnation of at least this number; ETIMEDOUT after the time, ENODEV if the
 * mount ends.
 */
struct relay_ctl_wait {
	__le32 states; /* 1 << enum relay_ctl_state */
	__le32 incarnation;
	__le32 timeout_ms; /* RELAY_CTL_FOREVER: none */
	__le32 reserved;
	struct relay_ctl_string mount;
};

enum relay_ctl_unmount_flags {
	RELAY_CTL_UNMOUNT_FORCE = 1 << 0, /* though it is in use */
};

/* Answered when the mount has ended. */
struct relay_ctl_unmount {
	__le32 flags;
	__le32 reserved;
	struct relay_ctl_string mount;
};

/*
 * A program with the command line that mounts its filesystem, to be run by relayd
 * again and again.  Answered as MOUNT is.
 *
 * With descriptors: a memfd sealed against writing and resizing, in which are the
 * arguments, each with a NUL, an empty string, the environment's strings, each
 * with a NUL, and an empty string; the working directory (O_PATH); and standard
 * input, output and error of the first life.
 */
struct relay_ctl_run {
	__le32 flags; /* enum relay_ctl_mount_flags */
	__le32 lives; /* 0: the default */
	struct relay_ctl_string name;	 /* none: the mountpoint */
	struct relay_ctl_string options; /* as a MOUNT's */
	__le32 request_timeout_ms;	 /* as a MOUNT's */
	__le32 fail_after_ms;
	struct relay_ctl_cache cache;
};
#define RELAY_CTL_RUN_FDS 5u
#define RELAY_CTL_RUN_FIXED_MIN 24u /* without request_timeout_ms */

/*
 * Another command for the mount's backend.  Answered by a relay_ctl_status when it serves; or
 * ECANCELED if it did not come up, so that the backend there was goes on, and EHOSTDOWN if it
 * failed when that one had been ended for it, so that the old command is started again.
 */
struct relay_ctl_upgrade {
	__le32 timeout_ms; /* to come up; 0: the default */
	__le32 reserved;
	struct relay_ctl_string mount;
	struct relay_ctl_string backend;
};

static_assert(sizeof(struct relay_ctl_string) == 8, "string");
static_assert(sizeof(struct relay_ctl_error) == 16, "error");
static_assert(sizeof(struct relay_ctl_hello) == 16, "hello");
static_assert(sizeof(struct relay_ctl_hello_reply) == 24, "hello reply");
static_assert(sizeof(struct relay_ctl_mount) == 80, "mount");
static_assert(sizeof(struct relay_ctl_attach) == 56, "attach");
static_assert(sizeof(struct relay_ctl_select) == 8, "select");
static_assert(sizeof(struct relay_ctl_status) == 96, "status");
static_assert(sizeof(struct relay_ctl_stats) == 184, "stats");
static_assert(sizeof(struct relay_ctl_stats_row) == 80, "stats row");
static_assert(sizeof(struct relay_ctl_wait) == 24, "wait");
static_assert(sizeof(struct relay_ctl_unmount) == 16, "unmount");
static_assert(sizeof(struct relay_ctl_upgrade) == 24, "upgrade");
static_assert(sizeof(struct relay_ctl_run) == 48, "run");

#endif
