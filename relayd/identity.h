/*
 * Is this the same file?  What is known of a node's file from its attributes, and
 * what they say after a restart.
 *
 * The inode number tells, where the backend has true ones.  Some make them up: 0, their
 * own nodeid, or another in each life.  Then the type tells, and for a regular file that
 * nobody had open for writing its size and times do.  Two kinds of backends need more than
 * that: those that count their files up as they are looked up, which have some numbers
 * again in each life and others not (identity_found()), and those whose files have no time
 * but that of the asking.
 */
#ifndef RELAYD_IDENTITY_H
#define RELAYD_IDENTITY_H

#include <stdbool.h>
#include <stdint.h>

#include "relay/fuse_abi.h"

/* What size and mtime are worth. */
enum identity_times {
	IDENTITY_TIMES_VOID,  /* nothing: it was written to since */
	IDENTITY_TIMES_LEAST, /* it was open for writing: mtime goes on from there */
	IDENTITY_TIMES_REST,  /* of a file at rest */
};

struct identity {
	uint64_t ino; /* the backend's, as last seen */
	uint64_t size;
	uint64_t mtime;
	uint64_t ctime;
	uint32_t mtimensec;
	uint32_t ctimensec;
	uint32_t mode; /* S_IFMT; 0: nothing is known */
	uint32_t rdev;
	uint32_t uid;
	uint32_t gid;
	uint16_t permissions;
	uint8_t old;	   /* ctime was long past then: what changes the file gives it another */
	uint8_t reserved;
	uint8_t ino_true;  /* the number may be relied on: it is not made up, and was never seen to change */
	uint8_t times;	   /* enum identity_times */
	uint8_t linked;	   /* it had other names, through which it may change unseen */
	uint8_t gone;	   /* the backend has given its id to another file: no file is this one */
};

enum identity_verdict {
	IDENTITY_SAME,
	IDENTITY_OTHER,
};

/*
 * What the backend as a whole has shown: whether its numbers last from one life to the
 * next.  Numbers that were found again and those that were not while all else was alike.
 * They are taken for lasting while there are not more of the second kind.
 */
struct identity_evidence {
	uint32_t kept;
	uint32_t changed;
};

/*
 * Takes attributes of the file.  made_up: the number is the backend's own nodeid.
 * at_rest: nobody has it open for writing, and nobody had when they were asked for.
 * Attributes of another type are not taken: the kernel will not have them either.
 */
void identity_learn(struct identity *identity, const struct fuse_attr *attr, bool made_up, bool at_rest);

/*
 * The same from an answer that names the file for the first time in it: when it was asked
 * for is not known, so times that may be those of an earlier moment are not relied on.
 */
void identity_learn_late(struct identity *identity, const struct fuse_attr *attr, bool made_up, bool at_rest);

/* The file has been or is going to be written to: its size and times say nothing any more. */
void identity_disturb(struct identity *identity);

/*
 * Compares what is known with attributes that a later incarnation gives for the same
 * path, and takes note of what that says about its numbers.
 */
enum identity_verdict identity_compare(const struct identity *identity, const struct fuse_attr *attr, bool made_up,
				       struct identity_evidence *evidence);

/*
 * The same of what is found in the place where the file was.  There a number that differs is
 * no proof against it if the backend may only have counted its files, and the file is old and
 * has the very ctime that it had: nobody can give that to one put in its place.  Not for
 * comparing two files that exist side by side: what was made at one go has the same times.
 */
enum identity_verdict identity_found(const struct identity *identity, const struct fuse_attr *attr, bool made_up,
				     struct identity_evidence *evidence);

/*
 * Attributes have come of a file that was in sight all the time, before they are learnt: if
 * nothing but its number has changed that says something of all numbers.
 */
void identity_witness(const struct identity *identity, const struct fuse_attr *attr, bool made_up,
		      struct identity_evidence *evidence);

/*
 * The root's attributes have come, and it is always the same file: whether it has kept the
 * number that it had in an earlier incarnation is the evidence that depends on nothing else.
 */
void identity_root(const struct identity *identity, const struct fuse_attr *attr, bool made_up,
		   struct identity_evidence *evidence);

/*
 * Whether both are attributes of one file, asked of one incarnation: what a LINK or a
 * RENAME has brought about.
 */
bool identity_alike(const struct fuse_attr *a, const struct fuse_attr *b, bool made_up);

#endif
