/*
 * A filesystem that lies: FUSE without a library, on a directory, with ids and
 * cookies that mean something in this process only.
 *
 *	liar.c		the command line, the channel, the table of requests
 *	liar_nodes.c	nodes, their numbers, and what is said of them
 *	liar_names.c	requests about names and attributes
 *	liar_files.c	requests about open files
 *	liar_dirs.c	listings and their cookies
 *	liar_locks.c	locks, which only this process knows
 *
 * One lock is held while a request is served, however many threads there are.
 */
#ifndef TESTS_LIAR_H
#define TESTS_LIAR_H

#include <linux/fuse.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

enum liar_ino {
	LIAR_INO_TRUE,
	LIAR_INO_ZERO,
	LIAR_INO_NODEID,
	LIAR_INO_RANDOM,   /* another one in each life */
	LIAR_INO_CHANGING, /* another one in each answer */
};

enum liar_cookies {
	LIAR_COOKIES_STORE,   /* those of the directory below */
	LIAR_COOKIES_INDEX,   /* the place in the list that OPENDIR made */
	LIAR_COOKIES_SHUFFLE, /* the same, and the list is in another order in each life */
};

struct liar {
	enum liar_ino ino;
	enum liar_cookies cookies;
	bool reuse;	/* the nodeid forgotten last is the next one given */
	bool collide;	/* nodeids count from 2 */
	bool distinct;	/* each name of an inode is a node of its own */
	double timeout; /* of entries and attributes, in seconds */
	unsigned threads;
	int fd;
	int root;      /* O_PATH */
	uint64_t seed; /* this life's */
};

extern struct liar liar;

/* A request, its parts, and room for the answer's payload. */
struct liar_call {
	const struct fuse_in_header *head;
	const uint8_t *in; /* what follows the head */
	size_t in_size;
	uint8_t *out;
	size_t out_room;
};

/*
 * A handler returns the size of the payload, a negative errno, or that there is
 * no answer, now or ever.
 */
#define LIAR_NO_ANSWER ((long)1 << 40)
typedef long liar_handler(const struct liar_call *call);

/* Sends an answer; error is 0 or negative. */
void liar_answer(uint64_t unique, int error, const void *payload, size_t size);

/* The name that begins `at` bytes into the body; NULL if it has no end there. */
const char *liar_name(const struct liar_call *call, size_t at);

/* Pseudo-random, and the same for the same value. */
uint64_t liar_mix(uint64_t value);

/* ---- liar_nodes.c ------------------------------------------------------- */

void liar_nodes_init(void);
/* The O_PATH descriptor of a node, or -ESTALE for a number that nobody was given. */
int liar_node_fd(uint64_t nodeid);
/* Looks a name up, counts it, and fills in the entry; 0 or a negative errno. */
long liar_entry(uint64_t parent, const char *name, struct fuse_entry_out *entry);
void liar_forget(uint64_t nodeid, uint64_t count);
/* What the node at (parent, name) is called from now on; nothing if there is none. */
void liar_renamed(uint64_t parent, const char *name, uint64_t newparent, const char *newname);
void liar_attr(uint64_t nodeid, const struct stat *st, struct fuse_attr *attr);
/* What is said to be the inode number. */
uint64_t liar_ino(uint64_t nodeid, uint64_t ino);
long liar_attr_out(uint64_t nodeid, void *out);

/* ---- handlers ----------------------------------------------------------- */

extern liar_handler liar_lookup, liar_getattr, liar_setattr, liar_readlink, liar_symlink, liar_mknod, liar_mkdir,
	liar_unlink, liar_rmdir, liar_rename, liar_rename2, liar_link, liar_statfs;
extern liar_handler liar_open, liar_create, liar_read, liar_write, liar_release, liar_flush, liar_fsync;
extern liar_handler liar_opendir, liar_readdir, liar_releasedir;
extern liar_handler liar_getlk, liar_setlk, liar_setlkw, liar_interrupt;

/* Gives up a lock owner's locks of a file: all of its POSIX locks, or its flock. */
void liar_unlock_owner(uint64_t ino, uint64_t owner, bool flock);

#endif
