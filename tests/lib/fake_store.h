/*
 * A filesystem in memory behind a backend that dies: what the store holds stays, ids,
 * open files and locks are those of one incarnation.
 */
#ifndef TESTS_FAKE_STORE_H
#define TESTS_FAKE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "relay/fuse_abi.h"

#define STORE_INODES 128u
#define STORE_NAMES 160u
#define STORE_FILES 64u
#define STORE_LOCKS 16u
#define STORE_ROOT 1u /* number of its inode */

struct store_inode {
	bool used;
	uint32_t mode, uid, gid, nlink, rdev;
	uint64_t size, mtime;
	char target[64];
	char xattr[32]; /* its one attribute; empty: none */
	char value[32];
	uint32_t value_size;
};

struct store_name {
	bool used;
	uint32_t parent;
	uint32_t inode;
	char name[256];
};

/* What the present incarnation has open. */
struct store_file {
	bool used;
	bool dir;
	uint32_t inode;
	uint32_t flags;
};

struct store_lock {
	bool used;
	uint32_t inode;
	uint64_t owner, start, end;
	uint32_t type;
};

enum store_numbers {
	STORE_NUMBERS_TRUE,
	STORE_NUMBERS_ZERO,
	STORE_NUMBERS_NODEID,	/* the backend's own nodeid */
	STORE_NUMBERS_CHANGING, /* others in each life */
};

struct store {
	struct store_inode inodes[STORE_INODES];
	struct store_name names[STORE_NAMES];
	uint64_t clock;

	/* How it behaves. */
	enum store_numbers numbers;
	bool paths;	     /* ids stand for names, not for inodes */
	bool owner_backend;  /* the backend's user owns what is made */
	bool checks_modes;   /* OPEN by the caller's rights */
	bool vague;	     /* says EPERM of a name that is there, as sshfs does */
	bool nobody_is_root; /* those of user 0 too */
	bool cookies_change; /* they count entries, in an order that is another in each life */
	bool cookies_high;   /* and are as high as they can be */
	unsigned page;	     /* entries of one READDIR; 0: 3 */
	unsigned cut;	     /* bytes of the next entry that come after them */
	bool no_open;
	uint32_t foreign_lock; /* inode on which somebody else has a lock */
	uint32_t fail_opcode;  /* answered with fail_errno */
	int fail_errno;

	/* Of one life. */
	uint32_t incarnation;
	uint64_t counts[2 * STORE_INODES + STORE_NAMES]; /* lookups, by number of the id */
	struct store_file files[STORE_FILES];
	struct store_lock locks[STORE_LOCKS];
	bool dead;

	/* It dies at the die_at'th request of this life, after it was applied or before. */
	unsigned die_at;
	bool die_after;
	unsigned asked;
	unsigned by_opcode[64]; /* requests of this life */
};

void store_init(struct store *store);
/* The next life. */
void store_restart(struct store *store);

uint64_t store_id(const struct store *store, uint32_t inode, uint32_t name);
/* The inode of an id of the present life; 0: none. */
uint32_t store_inode_of(const struct store *store, uint64_t id);
uint32_t store_lookup(const struct store *store, uint32_t parent, const char *name);
/* By a path without slashes at its ends. */
uint32_t store_path(const struct store *store, const char *path);
/* Returns the inode, or 0 if the name is there. */
uint32_t store_make(struct store *store, uint32_t parent, const char *name, uint32_t mode, uint32_t uid, uint32_t gid);
uint32_t store_count_files(const struct store *store);
uint32_t store_count_locks(const struct store *store, uint32_t inode);

/*
 * A request of the kernel's, with the present life's ids.  Returns 0 or a positive errno,
 * and the payload of the reply; -EPIPE if it has died.
 */
int store_serve(struct store *store, const void *request, uint32_t size, void *payload, uint32_t *payload_size);

/* All names with what is under them, in order: the same for equal stores.  To be freed. */
char *store_dump(const struct store *store);

#endif
