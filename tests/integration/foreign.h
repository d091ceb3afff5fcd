/*
 * Ids that lie: scenarios, each run with each lie of tests/backends/liar.
 *
 *   foreign_ids.c	the lies, the mount, its deaths, the verdict
 *   foreign_names.c	links, parents, and files replaced while nobody looks
 *   foreign_data.c	open files and what is written to them
 *   foreign_dirs.c	listings that go on in another life
 *   foreign_locks.c	locks that outlive who granted them
 *
 * The answer is right or ESTALE, and of another file never.  Whether ESTALE will do
 * is for each scenario to say: only where the file cannot be found again.
 */
#ifndef TESTS_FOREIGN_H
#define TESTS_FOREIGN_H

#include <stdbool.h>
#include <stddef.h>

#include "../lib/relayd.h"

struct foreign {
	struct relayd relayd;
	const char *lie; /* the liar's options */
	bool plain;	 /* no relayd, no deaths: the kernel goes on believing its caches */
	int gate;	 /* a life begins when it can read a line from it */
	const char *scenario;
	char mnt[160];	 /* the scenario's directory, through the mount */
	char store[160]; /* and beside it */
	unsigned bad;
	unsigned deaths;
};

/* Kills the backend; the next one waits until foreign_revive(). */
void foreign_kill(struct foreign *f);
void foreign_revive(struct foreign *f);
/* Both. */
void foreign_restart(struct foreign *f);

/* Says what is wrong, if it is. */
bool foreign_expect(struct foreign *f, bool ok, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* The path of a name in the scenario's directory: one of a few static buffers. */
const char *foreign_path(const struct foreign *f, const char *name);
const char *foreign_store_path(const struct foreign *f, const char *name);

/* Makes a file through the mount, or beside it. */
void foreign_put(struct foreign *f, const char *path, const char *content);
/* Whether fd's content from the beginning is `wanted`; with stale also ESTALE will do. */
void foreign_content(struct foreign *f, int fd, const char *wanted, bool stale, const char *label);

typedef void foreign_scenario(struct foreign *f);

foreign_scenario foreign_hardlinks, foreign_renamed_parents, foreign_deleted_parents, foreign_replaced, foreign_swapped,
	foreign_odd_names, foreign_same_numbers, foreign_inode_numbers;
foreign_scenario foreign_open_files, foreign_appenders;
foreign_scenario foreign_listing, foreign_listing_changed, foreign_seekdir;
foreign_scenario foreign_posix_locks, foreign_flocks, foreign_waiting_lock;

#endif
