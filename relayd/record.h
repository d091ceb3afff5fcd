/*
 * What a relayd has to know of a mount that an earlier one has made: what the mount is, how
 * its next backend is started, what was agreed with the kernel, and which backend it has.  In
 * a sealed memfd, with the mount's counters.
 *
 * It is written in two copies in turn, of which one store tells the true one: a process dying
 * in the midst of a change leaves what was there before.
 */
#ifndef RELAYD_RECORD_H
#define RELAYD_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "relay/fuse_abi.h"
#include "session.h"

struct stats;

/* Raised with every change of what is in it. */
#define RECORD_VERSION 3u
/* Versions of what else the mount has in memory: numbers that mean nothing to the record. */
#define RECORD_PARTS 5u

enum record_flags {
	RECORD_UNNAMED = 1 << 0,
	RECORD_SHARED_STORE = 1 << 1,
	RECORD_WRITE_BEHIND = 1 << 2,
	RECORD_SOCKET_LANE = 1 << 3,
	RECORD_NO_RESEND = 1 << 4,
	RECORD_ONCE = 1 << 5,
	RECORD_EXIT_ENDS = 1 << 6,
	RECORD_PLACED = 1 << 7,
	RECORD_HAS_COMMAND = 1 << 8,
	RECORD_DETACHED = 1 << 9,
	RECORD_ENDING = 1 << 10,
	RECORD_BY_HELPER = 1 << 11,
	RECORD_MOUNTED = 1 << 12,
	RECORD_MAY_BACK = 1 << 13,
	RECORD_AGREED = 1 << 14,
	RECORD_NATIVE = 1 << 15,
	RECORD_CHILD = 1 << 16,  /* relayd has started the backend */
	RECORD_SERVED = 1 << 17, /* some incarnation has */
	RECORD_RINGS = 1 << 18,	 /* requests are, or are to be, in rings that die with relayd */
};

enum record_text {
	RECORD_NAME,
	RECORD_MOUNTPOINT,
	RECORD_DIRECTORY,
	RECORD_OPTIONS,
	RECORD_ASKED,
	RECORD_PROGRAM,
	RECORD_PLACEHOLDER,
	RECORD_TEXTS,
};

struct record_facts {
	uint32_t flags;
	uint32_t uid;
	uint32_t gid;
	uint32_t lives;
	uint32_t wanted; /* enum way_wanted */
	uint32_t via;	 /* enum way_via */
	uint32_t state;	 /* enum supervisor_state */
	uint32_t incarnation;
	uint32_t fail_after_ms;
	uint32_t request_timeout_ms;
	uint64_t ns; /* the mount namespace of the mountpoint (place.h); 0: relayd's */
	uint32_t trust; /* enum relay_ctl_trust */
	uint32_t negative_ms;
	uint32_t bpf;	 /* enum relay_ctl_bpf */
	uint64_t device; /* s_dev; 0: not known */
	int32_t mount_id;
	uint32_t init_size;
	_Alignas(8) uint8_t init[SESSION_INIT_MAX];
	struct fuse_init_out answer;
	/* Texts, each with its NUL, follow: those that are there (bits by enum record_text), words, environment. */
	uint32_t texts;
	uint32_t words;
	uint32_t variables;
	uint32_t text_size;
};

/* What the facts' texts are taken from, and read into: nothing in it is owned. */
struct record_texts {
	const char *text[RECORD_TEXTS]; /* NULL: none */
	char *const *words;		/* NULL-terminated; NULL: none */
	char *const *variables;		/* likewise */
};

struct record_header;

struct record {
	int fd; /* owned */
	struct record_header *header;
	uint64_t size;
};

/* Makes an empty one with room for texts of so many bytes.  Returns 0 or a negative errno. */
int record_init(struct record *record, size_t room, const uint32_t parts[RECORD_PARTS]);
void record_deinit(struct record *record);

/*
 * Opens what an earlier relayd has left behind fd, which is taken over on success.  Returns 0,
 * -EPROTONOSUPPORT if it or one of the parts is another version's, -EPROTO if it is no record, or
 * another negative errno.
 */
int record_open(struct record *record, int fd, const uint32_t parts[RECORD_PARTS]);

/* The mount's counters, in the record. */
struct stats *record_stats(const struct record *record);

/* From here on these are the facts.  Returns 0, or -E2BIG if the texts have no room: nothing has changed then. */
int record_write(struct record *record, const struct record_facts *facts, const struct record_texts *texts);

/*
 * A copy of the facts, checked, and their texts.  *block holds the words' and variables' arrays,
 * and the caller frees it; the strings are the record's, and good until the second record_write().
 * Returns 0, -ENOENT if none were written, -EPROTO if they cannot be true, or -ENOMEM.
 */
int record_read(const struct record *record, struct record_facts *facts, struct record_texts *texts, void **block);

#endif
