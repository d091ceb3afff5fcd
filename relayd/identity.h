/*
 * Is this the same file?  What is known of a node's file from its attributes, and
 * what they say after a restart.
 *
 * The inode number tells, where the backend has true ones.  Some make them up: 0, their
 * own nodeid, or another in each life.  Then the type tells, and for a regular file that
 * nobody had open for writing its size and times do.
 */
#ifndef RELAYD_IDENTITY_H
#define RELAYD_IDENTITY_H

#include <stdbool.h>
#include <stdint.h>

#include "relay/fuse_abi.h"

struct identity {
	uint64_t ino; /* the backend's, as last seen */
	uint64_t size;
	uint64_t mtime;
	uint32_t mtimensec;
	uint32_t mode; /* S_IFMT; 0: nothing is known */
	uint32_t rdev;
	uint8_t ino_true;   /* the number may be relied on */
	uint8_t times_true; /* size and mtime are those of a file at rest */
	uint8_t reserved[2];
};

enum identity_verdict {
	IDENTITY_SAME,
	IDENTITY_OTHER,
};

/*
 * What the backend as a whole has shown: whether its numbers last from one life to the
 * next.  Numbers that were found again and those that were not while all else was alike.
 */
struct identity_evidence {
	uint32_t kept;
	uint32_t changed;
};

/*
 * Takes attributes of the file.  made_up: the number is the backend's own nodeid.
 * at_rest: nobody has it open for writing, and nobody had when they were asked for.
 */
void identity_learn(struct identity *identity, const struct fuse_attr *attr, bool made_up, bool at_rest);

/* The file has been or is going to be written to: its size and times say nothing any more. */
void identity_disturb(struct identity *identity);

/*
 * Compares what is known with attributes that a later incarnation gives for the same
 * path, and takes note of what that says about its numbers.
 */
enum identity_verdict identity_compare(const struct identity *identity, const struct fuse_attr *attr, bool made_up,
				       struct identity_evidence *evidence);

/*
 * Whether both are attributes of one file, asked of one incarnation: what a LINK or a
 * RENAME has brought about.
 */
bool identity_alike(const struct fuse_attr *a, const struct fuse_attr *b, bool made_up);

#endif
